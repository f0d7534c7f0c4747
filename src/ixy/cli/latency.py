"""`ixy latency`."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ixy.cli.output import Csv, Output, Plot, Prometheus
from ixy.cli.session import LINK_TIMEOUT, TICK, Count, Json, Seconds, Session
from ixy.errors import IxyError

NAME = "latency"
HELP = "Send stamped packets, and find how long they take and what becomes of each."
EXAMPLE = "Example: ixy latency 'emu:loopback?delay=50&loss=1000' --rate 1e5 --time 5"


COUNTS = (
    "sent", "arrived", "lost", "corrupt", "corrupt_copies", "duplicates", "reordered", "too_late",
    "foreign",
)  # fmt: skip
NOTHING: dict[str, Any] = {  # the report of a run that has not begun
    **dict.fromkeys(("requested_pps", "achieved_pps", "extent", "mean_extent", "window"), 0),
    **dict.fromkeys(COUNTS, 0),
    **dict.fromkeys(("latency", "hardware", "clock")),
    "streams": [],
    "planted": [],
}


class Timestamps(StrEnum):
    """Who takes times."""

    software, hardware = "software", "hardware"


def command(
    tx: Annotated[str, typer.Argument(metavar="TX", help="The device that sends.")],
    rx: Annotated[
        str | None, typer.Argument(metavar="[RX]", help="The one that receives (default: TX).")
    ] = None,
    rate: Annotated[
        str, typer.Option(help="Packets or bits per second, or percent, as of generate.")
    ] = "1e5",
    size: Annotated[
        int, typer.Option(help="Bytes per frame, without the CRC.", min=60, max=1514)
    ] = 60,
    streams: Annotated[
        int, typer.Option(help="UDP flows that take turns, each numbered.", min=1, max=1024)
    ] = 1,
    wait: Annotated[
        float, typer.Option(help="Seconds without a packet until it is over.", min=0, max=1e6)
    ] = 0.5,
    timestamps: Annotated[
        Timestamps,
        typer.Option(help="hardware: besides, the card stamps a packet each millisecond."),
    ] = Timestamps.software,
    hgrm: Annotated[
        Path | None, typer.Option(help="Write the distribution, in ns, for HdrHistogram's plotter.")
    ] = None,
    v2: Annotated[
        Path | None, typer.Option(help="Write the histogram as an HdrHistogram log (V2).")
    ] = None,
    seconds: Seconds = None,
    count: Count = None,
    csv: Csv = None,
    prometheus: Prometheus = None,
    plot: Plot = None,
    as_json: Json = False,
) -> int:
    """Opens the devices, measures until the end, prints what was found."""
    addresses, bounded = [tx] if rx is None else [tx, rx], bool(seconds or count)
    for path in filter(None, (hgrm, v2)):
        write(path, "")  # what cannot be written shows before the run
    output = Output(NAME, csv, prometheus, plot)
    nothing = NOTHING if as_json else {"sent": 0}
    with Session(
        addresses, as_json=as_json, bounded=bounded, results=nothing, output=output
    ) as session:
        from ixy.apps.latency import Latency
        from ixy.traffic.histogram_v2 import log
        from ixy.traffic.rates import parse_rate

        wanted = parse_rate(rate)
        hardware = timestamps is Timestamps.hardware
        devices = session.open(2 if hardware else 1)
        await_links(devices)  # what is sent before waits there, and is late
        pps = wanted.pps(size, devices[0].link_speed())
        app = Latency(
            devices[0], devices[-1], size=size, streams=streams, rate=pps, count=count,
            seconds=seconds, linger=wait, hardware=hardware,
        )  # fmt: skip
        begin = time.time()
        session.run(app)
        found = app.sequence.latency()
        report = app.report(found)
        if plot and found.total:
            from ixy.cli import plots
            from ixy.traffic.histogram import highest_of

            times = [(highest_of(step), count) for step, count in found.recorded()]
            output.paint = plots.latencies({"latency": times})
        session.drops[-1]["unread"] = session.unread(-1, app.taken)
        session.results = report if as_json else brief(report)
        if hgrm:
            write(hgrm, found.hgrm())
        if v2:
            write(v2, log(found, begin, session.seconds))
    return session.exit_code


def await_links(devices: list[Any]) -> None:
    """Waits until all devices run and have a link. Raises IxyError if one gets none."""
    while not all(device.beyond.settled for device in devices):
        time.sleep(TICK)
    for device in devices:
        device.wait_for_link(LINK_TIMEOUT)


def write(path: Path, text: str) -> None:
    """Raises IxyError if it cannot."""
    try:
        path.write_text(text)
    except OSError as error:
        raise IxyError(f"{path}: {error.strerror}: choose another file") from None


def brief(report: dict[str, Any]) -> dict[str, Any]:
    """For people: what became of the packets, and microseconds."""
    latency = report["latency"]
    exact = {name: latency[name] for name in ("minimum", "mean", "maximum")}
    times = exact | {f"{percent}%": ns for percent, ns in latency["percentiles"].items()}
    if report["hardware"]:
        times["mean by the card"] = report["hardware"]["mean"]
    found = {name: report[name] for name in COUNTS}
    return found | {name: f"{ns / 1000:.3f} us" for name, ns in times.items()}
