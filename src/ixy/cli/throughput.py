"""`ixy throughput`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ixy.cli.output import Csv, Output, Plot, Prometheus
from ixy.cli.samples import FRAMING
from ixy.cli.session import Json, Queues, Seconds, Session
from ixy.cli.tables import print_table
from ixy.errors import IxyError

if TYPE_CHECKING:
    from ixy.apps.throughput import Throughput
    from ixy.traffic.search import Bound, Rates

NAME = "throughput"
HELP = """Find the highest rates at which nothing, and hardly anything, is lost between two ports.

RFC 2544 (26.1) by MLRsearch. Sizes are those of frames with their CRC, rates those of each way. A
rate is the highest one that was measured to lose no more than allowed; from WIDTH above, more is.
Limited by sender: not the device, but this program at the other end could no more.
"""
EXAMPLE = "Example: ixy throughput emu:cable:a emu:cable:a --sizes 64,1518 --plot rates.png"


def command(
    a: Annotated[str, typer.Argument(metavar="A", help="The port that sends.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The port that receives.")],
    sizes: Annotated[
        str, typer.Option(help="Bytes per frame, with the CRC.")
    ] = "64,128,256,512,1024,1280,1518",
    loss: Annotated[
        float, typer.Option(help="Loss ratio of the partial-drop rate.", min=0, max=0.999)
    ] = 0.005,
    trial: Annotated[
        float, typer.Option(help="Seconds that a trial takes.", min=0.01, max=1e5)
    ] = 1.0,
    width: Annotated[
        float, typer.Option(help="How well rates are to be known.", min=1e-5, max=0.5)
    ] = 0.005,
    both: Annotated[bool, typer.Option("--both", help="Send both ways at once.")] = False,
    queues: Queues = 1,
    seconds: Seconds = None,
    csv: Csv = None,
    prometheus: Prometheus = None,
    plot: Plot = None,
    as_json: Json = False,
) -> int:
    """Opens both devices, searches, prints the rates."""
    lengths = parse_sizes(sizes)
    output = Output(NAME, csv, prometheus, plot)
    nothing: dict[str, Any] = {"complete": False, "rates": [], "trials": []}
    with Session([a, b], as_json=as_json, bounded=True, results=nothing, output=output) as session:
        from ixy.apps.throughput import Throughput

        devices = session.open(queues)
        if len({len(device.tx) for device in devices}) > 1:
            raise IxyError(f"{a} and {b} have different numbers of queues: give both as many")
        app = Throughput(
            *devices, sizes=lengths, loss=loss, trial=trial, width=width, both=both, limit=seconds
        )
        session.run(app, counters=lambda: {"trials": len(app.trials)})
        rows = [describe(rates, loss) for rates in app.found]
        if app.found and plot:
            from ixy.cli import plots

            output.paint = plots.throughput(rows)
        if as_json:
            trials = [vars(one) | {"lost": one.lost} for one in app.trials]
            session.results = {"complete": app.complete, "rates": rows, "trials": trials}
        else:
            session.results = {"trials": len(app.trials)}
            show(rows)
        explain(session, app)
    return session.exit_code


def parse_sizes(text: str) -> list[int]:
    """Frame sizes, separated by commas. Raises IxyError for anything else."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 64 <= int(word) <= 1518 for word in words):
        raise IxyError(f"--sizes {text}: give it bytes with the CRC, 64 to 1518, such as 64,1518")
    return list(dict.fromkeys(map(int, words)))


def describe(rates: "Rates", loss: float) -> dict[str, Any]:
    """A frame size's part of the JSON object."""
    row: dict[str, Any] = {
        "size": rates.size,
        "line_pps": round(rates.line, 3),
        "sender_pps": round(rates.able, 3),
        "complete": rates.complete,
        "trials": rates.trials,
    }
    for name, bound in (("ndr", rates.ndr), ("pdr", rates.pdr)):
        row |= {f"{name}_{key}": value for key, value in _bound(bound, rates.size).items()}
    return row


def _bound(bound: "Bound", size: int) -> dict[str, Any]:
    lower, upper = (each and round(each, 3) for each in (bound.lower, bound.upper))
    return {
        "loss_ratio": bound.loss,
        "pps": lower,
        "upper_pps": upper,
        "mbit_s": lower and round(lower * size * 8 / 1e6, 6),
        "wire_mbit_s": lower and round(lower * (size + FRAMING) * 8 / 1e6, 6),
        "limited_by": bound.limited_by,
    }


def show(rows: list[dict[str, Any]]) -> None:
    """The rates as a table."""
    columns = (
        "bytes", "link Mpps", "no drop Mpps", "Mbit/s on the wire", "limited by",
        "partial drop Mpps", "Mbit/s on the wire", "limited by",
    )  # fmt: skip
    table = []
    for row in rows:
        cells = [str(row["size"]), f"{row['line_pps'] / 1e6:.4f}"]
        for name in ("ndr", "pdr"):
            pps, wire = row[f"{name}_pps"], row[f"{name}_wire_mbit_s"]
            cells += [f"{pps / 1e6:.4f}", f"{wire:.1f}"] if pps else ["none", "-"]
            cells.append(row[f"{name}_limited_by"])
        table.append(cells)
    print_table(columns, table)


def explain(session: Session, app: "Throughput") -> None:
    """Says what a search has not found."""
    if not app.complete:
        session.warn("the search was cut short: its rates are bounds of what it had measured")
    elif any(one.lower is None for rates in app.found for one in (rates.ndr, rates.pdr)):
        session.warn("no rate lost as little as allowed: is there a way from A to B?")
