"""`ixy emulate`."""

import json
import sys
import time
from typing import Annotated

import typer

from ixy.cli import signals
from ixy.cli.session import Json

NAME = "emulate"
HELP = "Be a network card: an emulated 82599 for a QEMU guest, or for ixy in another process."
EXAMPLE = "Example: ixy emulate --vfio-user /tmp/nic.sock --wire tap:ixy0"


def command(
    socket: Annotated[
        str, typer.Option("--vfio-user", metavar="SOCKET", help="Serve vfio-user at this path.")
    ],
    wire: Annotated[
        str, typer.Option(help="What the port is plugged into: what follows emu: in an address.")
    ] = "loopback",
    model: Annotated[str, typer.Option(help="The card, such as x540.")] = "82599",
    mac: Annotated[str, typer.Option(help="Its MAC address.")] = "02:00:00:00:00:01",
    fault: Annotated[
        str | None, typer.Option(help="What is wrong with it, such as stuck-reset: for tests.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Serves one client after the other, until a signal comes."""
    signals.leave_at_once()
    from ixy.address import emulated_card, parse
    from ixy.emulator.runner import RUNNER, compile_ahead
    from ixy.emulator.server import Server

    compile_ahead()
    address = f"emu:{wire}"
    _, rest, options = parse(address)
    chosen = {"model": model, "mac": mac} | ({"fault": fault} if fault else {})
    card = emulated_card(address, rest, options | chosen)
    RUNNER.attach(card)
    try:
        while not card.settled:
            time.sleep(0.001)
        signals.abandon = None
        server = Server(socket, card, _note)
        try:
            print(f"{socket}: ready, an emulated {model} on {wire}", file=sys.stderr, flush=True)
            server.serve(lambda: bool(signals.received or card.failure))
        finally:
            server.close()
        totals = {"clients": server.clients, "dropped": card.wire.drops()}
    finally:
        if RUNNER.detach(card):
            card.close()
    if card.failure:
        raise card.failure
    print(json.dumps(totals) if as_json else f"served {server.clients} clients", flush=True)
    return 0


def _note(words: str) -> None:
    print(f"ixy: {words}", file=sys.stderr, flush=True)
