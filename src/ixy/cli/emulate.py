"""`ixy emulate`."""

import json
import sys
import time
from typing import Annotated

import typer

from ixy.cli import emulate_run, signals
from ixy.cli.emulate_run import WIRE, note
from ixy.cli.session import Json
from ixy.errors import IxyError

NAME = "emulate"
HELP = """Be a network card: an emulated 82599 for a QEMU guest, for ixy in another process, or for
any driver in user space.

With --run, as root, COMMAND finds two cards, 0000:03:00.0 and 0000:03:00.1, in /sys/bus/pci/devices
(config, resource0, vendor, device, class) and a hugetlbfs at /mnt/huge; nobody else sees them. Its
packet memory must be huge pages that it shares (a file of hugetlbfs, a memfd), known to the card by
physical addresses. The registers are memory there, not a device, and that cannot imitate: registers
that clear when they are read (statistics stand at 0), those that clear where a 1 is written (EICR),
two writes to one register at once, of which the last counts; interrupts.
"""
EXAMPLE = "Example: ixy emulate --vfio-user /tmp/nic.sock --wire tap:ixy0"


def command(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND...]", help="What to --run.")
    ] = None,
    socket: Annotated[
        str | None,
        typer.Option("--vfio-user", metavar="SOCKET", help="Serve vfio-user at this path."),
    ] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Run a command that finds two cards in sysfs.")
    ] = False,
    wire: Annotated[
        list[str] | None,
        typer.Option(
            help="What the port is plugged into: what follows emu: in an address, by default"
            " loopback. With --run once for each port."
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="The card, such as x540.")] = "82599",
    mac: Annotated[
        str, typer.Option(help="Its MAC address; a second card has the next one.")
    ] = "02:00:00:00:00:01",
    fault: Annotated[
        str | None, typer.Option(help="What is wrong with it, such as stuck-reset: for tests.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Serves clients until a signal comes, or a command until it ends."""
    wires = wire or [WIRE]
    options = {"model": model, "mac": mac} | ({"fault": fault} if fault else {})
    if run == (socket is not None) or run != bool(arguments) or (socket and len(wires) > 1):
        raise IxyError(
            "give ixy emulate either --vfio-user SOCKET, with one --wire, or --run -- COMMAND"
        )
    signals.leave_at_once()
    from ixy.emulator.runner import compile_ahead

    compile_ahead()
    if arguments:
        return emulate_run.run(arguments, wires, options, as_json=as_json)
    return _serve(str(socket), wires[0], options, as_json=as_json)


def _serve(socket: str, wire: str, chosen: dict[str, str], *, as_json: bool) -> int:
    from ixy.address import emulated_card, parse
    from ixy.emulator.runner import RUNNER
    from ixy.emulator.server import Server

    address = f"emu:{wire}"
    _, rest, options = parse(address)
    card = emulated_card(address, rest, options | chosen)
    RUNNER.attach(card)
    try:
        card.compile_offloads()  # the client's watchdogs have little patience
        while not card.settled:
            time.sleep(0.001)
        signals.abandon = None
        server = Server(socket, card, note)
        try:
            ready = f"{socket}: ready, an emulated {chosen['model']} on {wire}"
            print(ready, file=sys.stderr, flush=True)
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
