"""`ixy capture`."""

from typing import Annotated

import typer

from ixy.cli.output import Csv, Output, Plot, Prometheus
from ixy.cli.session import DEFAULT_ITR, Count, Interrupts, Itr, Json, Queues, Seconds, Session

NAME = "capture"
HELP = "Write what arrives to a .pcap or .pcapng file, with nanoseconds."
EXAMPLE = "Example: ixy capture emu:tap:ixy0 out.pcapng --time 10"


def command(
    device: Annotated[str, typer.Argument(metavar="DEV", help="A device, such as emu:tap:ixy0.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="A new .pcap or .pcapng file.")],
    snaplen: Annotated[
        int | None, typer.Option(help="Bytes kept of each packet (default: all).", min=1)
    ] = None,
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
    """Opens the device and the file, captures until the end, prints totals that add up."""
    bounded = bool(seconds or count)
    nothing = {"received": 0, "written": 0}
    output = Output(NAME, csv, prometheus, plot)
    with Session(
        [device], as_json=as_json, bounded=bounded, results=nothing, output=output
    ) as session:
        from ixy.apps.capture import Capturer

        (opened,) = session.open(queues, itr if interrupts else None)
        session.bounded = bounded or opened.beyond.ended is not None
        with Capturer(opened, file, snaplen=snaplen, count=count) as app:
            session.run(
                app, seconds, lambda: {"received": app.taken, "written": app.writer.written}
            )
        total = session.statistics[0]
        session.drops[0]["unread"] = session.unread(0, app.taken)
        received = total.rx_packets + sum(total.dropped.values())
        session.results = {"received": received, "written": app.writer.written}
    return session.exit_code
