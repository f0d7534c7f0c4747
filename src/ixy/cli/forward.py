"""`ixy forward`."""

from typing import Annotated

import typer

from ixy.cli.output import Csv, Output, Plot, Prometheus
from ixy.cli.session import DEFAULT_ITR, Count, Interrupts, Itr, Json, Queues, Seconds, Session
from ixy.errors import IxyError

NAME = "forward"
HELP = "Forward packets between two devices, both ways."
EXAMPLE = "Example: ixy forward 'emu:pcap:in.pcap,' 'emu:pcap:,out.pcap' --one-way"


def command(
    a: Annotated[str, typer.Argument(metavar="A", help="A device, such as emu:tap:ixy0.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other device.")],
    one_way: Annotated[bool, typer.Option("--one-way", help="Only from A to B.")] = False,
    batch: Annotated[int, typer.Option(help="Packets at a time.", min=1, max=4096)] = 64,
    queues: Queues = 1,
    interrupts: Interrupts = False,
    itr: Itr = DEFAULT_ITR,
    seconds: Seconds = None,
    count: Count = None,
    csv: Csv = None,
    prometheus: Prometheus = None,
    plot: Plot = None,
    as_json: Json = False,
) -> int:
    """Opens both devices, forwards until the end, prints the totals."""
    bounded = bool(seconds or count)
    nothing = {"forwarded": 0, "mpps": 0.0}
    output = Output(NAME, csv, prometheus, plot)
    with Session(
        [a, b], as_json=as_json, bounded=bounded, results=nothing, output=output
    ) as session:
        from ixy.apps.forward import Forwarder

        devices = session.open(queues, itr if interrupts else None)
        counts = [len(device.rx) for device in devices]
        if counts[0] != counts[1]:
            raise IxyError(f"{a} has {counts[0]} queues, {b} {counts[1]}: give both as many")
        session.bounded = bounded or any(device.beyond.ended is not None for device in devices)
        app = Forwarder(*devices, one_way=one_way, batch=batch, count=count)
        session.run(app, seconds, lambda: {"forwarded": app.forwarded})
        for port, (taken, sent) in enumerate(app.taken):
            unread = session.unread(port, taken)
            session.drops[port] |= {"unsent": taken - sent, "unread": unread}
        session.results = {"forwarded": app.forwarded, "mpps": session.mpps(app.forwarded)}
    return session.exit_code
