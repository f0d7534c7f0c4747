"""`ixy generate`."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from ixy.cli.output import Csv, Output, Plot, Prometheus
from ixy.cli.session import Count, Json, Queues, Seconds, Session

NAME = "generate"
HELP = "Send packets of a template, at a rate or as fast as possible (default: numbered UDP)."
EXAMPLE = (
    "Example: ixy generate emu:loopback --rate 1e6 --count 5000000 --template udp4"
    " --vary 'ip.src=inc(10.0.0.1,10.0.0.99)' --vary 'udp.sport=random(1024,65535)'"
)


class Arrivals(StrEnum):
    """How packets are spread over time."""

    constant = "constant"
    poisson = "poisson"


def command(
    device: Annotated[str, typer.Argument(metavar="DEV", help="A device, such as emu:source.")],
    template: Annotated[
        str | None,
        typer.Option(
            help="A frame: udp4, udp6, tcp-syn, arp, icmp, vlan; FILE.pcap:N; hex digits; or"
            " in scapy's words: 'Ether()/IP(dst=\"10.0.0.1\")/UDP()'."
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            help="FIELD=inc(A,B), inc(A,B,STEP), random(A,B) or list(A,B,...); as often as there"
            " are fields, such as ip.src, udp.dport, vlan.id, or at(OFFSET,BYTES)."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of random fields, sizes and gaps.")] = 1,
    rate: Annotated[
        str | None,
        typer.Option(
            help="Packets per second (1e6), bits per second of frames with CRC (5Gbit) or on the"
            " wire (5Gbit-wire), or percent of the link (50%). Default: as many as possible."
        ),
    ] = None,
    arrivals: Annotated[
        Arrivals, typer.Option(help="Gaps: all the same, or random ones.")
    ] = Arrivals.constant,
    size: Annotated[
        str | None,
        typer.Option(
            help="Bytes per frame, without the CRC: 100, 60..1514, sizes and weights"
            " (60:7,570:4,1514:1, which is imix). Default: the template's."
        ),
    ] = None,
    queues: Queues = 1,
    seconds: Seconds = None,
    count: Count = None,
    csv: Csv = None,
    prometheus: Prometheus = None,
    plot: Plot = None,
    as_json: Json = False,
) -> int:
    """Opens the device, sends until the end, prints the totals."""
    nothing: dict[str, Any] = {
        "requested_pps": None, "achieved_pps": 0.0, "given_up": 0, "late": None, "gaps": None,
    }  # fmt: skip
    bounded = bool(seconds or count)
    output = Output(NAME, csv, prometheus, plot)
    with Session(
        [device], as_json=as_json, bounded=bounded, results=nothing, output=output
    ) as session:
        from ixy.apps.generate import Generator
        from ixy.traffic.rates import parse_rate
        from ixy.traffic.sizes import parse_sizes
        from ixy.traffic.templates import MIN_SIZE, load_template

        wanted = parse_rate(rate) if rate is not None else None
        sizes = parse_sizes(size) if size is not None else None
        (opened,) = session.open(queues)
        frame = load_template(template, opened.mac) if template is not None else None
        pps = None
        if wanted:
            mean = sizes.mean if sizes else max(len(frame or b""), MIN_SIZE)
            pps = wanted.pps(mean, opened.wait_for_link() if wanted.of_link else 0)
        app = Generator(
            opened, template=frame, size=sizes, vary=vary or (), seed=seed, rate=pps,
            poisson=arrivals is Arrivals.poisson, count=count,
        )  # fmt: skip
        session.run(app, seconds, lambda: {"sent": app.sent, "returned": app.taken})
        session.drops[0]["unread"] = session.unread(0, app.taken)
        found = app.report()
        if found["achieved_pps"] is None:
            found["achieved_pps"] = round(app.sent / session.seconds, 3)
        session.results = {"requested_pps": pps, **(found if as_json else in_words(found))}
    return session.exit_code


def in_words(found: dict[str, Any]) -> dict[str, Any]:
    """The report for people: without the histogram."""
    words = {"achieved_pps": found["achieved_pps"]}
    if gaps := found["gaps"]:
        shown = {"mean": gaps["mean"], "min": gaps["min"]}
        shown |= {f"{percent} %": value for percent, value in gaps["percentiles"].items()}
        words["given_up"] = found["given_up"]
        words["gaps in ns:"] = " ".join(
            f"{name} {value}" for name, value in (shown | {"max": gaps["max"]}).items()
        )
    return words
