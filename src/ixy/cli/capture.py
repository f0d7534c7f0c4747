"""`ixy capture`."""

import os
import re
import signal
import sys
from typing import Annotated, Literal

import typer

from ixy.cli.output import Csv, Output, Plot, Prometheus
from ixy.cli.session import DEFAULT_ITR, Count, Interrupts, Itr, Json, Queues, Seconds, Session
from ixy.errors import IxyError

NAME = "capture"
HELP = """Write what arrives to a .pcap or .pcapng file, with nanoseconds.

With - for FILE it goes to standard output (pcapng, 0.1 s after it arrived), and the totals go to
stderr. Files that are rotated are named FILE_00001_20260131235959.pcapng and so on.
"""
EXAMPLE = "Example: ixy capture emu:tap:ixy0 - --filter arp | wireshark -k -i -"

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def command(
    device: Annotated[str, typer.Argument(metavar="DEV", help="A device, such as emu:tap:ixy0.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="A new .pcap or .pcapng file, or -.")],
    expression: Annotated[
        str | None,
        typer.Option("--filter", metavar="EXPRESSION", help="Only these, in tcpdump's language."),
    ] = None,
    snaplen: Annotated[
        int | None, typer.Option(help="Bytes kept of each packet (default: all).", min=1)
    ] = None,
    times: Annotated[
        Literal["batch", "packet"],
        typer.Option(help="Read the clock once for a batch, or for each packet."),
    ] = "batch",
    format: Annotated[
        Literal["pcap", "pcapng"] | None, typer.Option(help="Whatever the file's name says.")
    ] = None,
    rotate_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Begin a new file each 100M (K, M, G: 1000).")
    ] = None,
    rotate_time: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Or after so long.", min=1, max=1e9)
    ] = None,
    keep: Annotated[
        int | None, typer.Option(help="Of these, delete all but the last so many.", min=1)
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
    size = size_of(rotate_size)
    rotates = bool(size or rotate_time)
    path = target(file, rotates)
    if keep and not rotates:
        raise IxyError("--keep is for several files: give --rotate-size or --rotate-time as well")
    bounded = bool(seconds or count)
    nothing = {"received": 0, "written": 0, "filtered": 0, **({"files": []} if rotates else {})}
    report = sys.stdout if isinstance(path, str) else sys.stderr
    output = Output(NAME, csv, prometheus, plot)
    with Session(
        [device], as_json=as_json, bounded=bounded, results=nothing, output=output, report=report
    ) as session:
        from ixy.apps.capture import Capturer
        from ixy.pcap import PCAP, PCAPNG

        formats = {"pcap": PCAP, "pcapng": PCAPNG, None: None if isinstance(path, str) else PCAPNG}
        (opened,) = session.open(queues, itr if interrupts else None)
        session.bounded = bounded or opened.beyond.ended is not None
        with Capturer(
            opened,
            path,
            snaplen=snaplen,
            count=count,
            filter=expression,
            each_time=times == "packet",
            format=formats[format],
            size=size,
            seconds=rotate_time,
            keep=keep,
        ) as app:
            session.run(
                app, seconds, lambda: {"received": app.taken, "written": app.writer.written}
            )
            app.totals = session.statistics[0]
        total = session.statistics[0]
        session.drops[0]["unread"] = session.unread(0, app.taken)
        session.drops[0]["unwritten"] = app.accepted - app.writer.written
        session.results = {
            "received": total.rx_packets + sum(total.dropped.values()),
            "written": app.writer.written,
            "filtered": app.rejected,
            **({"files": app.writer.names} if rotates else {}),
        }
        if app.reader_gone and session.bounded:
            session.exit_code = 128 + signal.SIGPIPE
    return session.exit_code


def target(file: str, rotates: bool) -> str | int:
    """A file's name, or standard output's descriptor. Raises IxyError where that is no use."""
    if file != "-":
        return file
    if rotates:
        raise IxyError("standard output is one file: name one to rotate")
    if os.isatty(1):
        raise IxyError("frames on a terminal: name a file, or pipe them, as into wireshark -k -i -")
    return 1


def size_of(words: str | None) -> int | None:
    """Bytes, of such as 100M. Raises IxyError if it is no size."""
    if words is None:
        return None
    if not (match := re.fullmatch(r"([0-9]{1,15})([KMG]?)", words)):
        raise IxyError(
            f"--rotate-size {words}: give it a number of bytes, such as 500K, 100M or 2G"
        )
    return int(match[1]) * UNITS[match[2]]
