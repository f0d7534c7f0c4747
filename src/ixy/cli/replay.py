"""`ixy replay`."""

from typing import Annotated, Any

import typer

from ixy.cli.output import Csv, Output, Plot, Prometheus
from ixy.cli.session import Json, Queues, Seconds, Session
from ixy.errors import IxyError

NAME = "replay"
HELP = "Send the frames of a capture file."
EXAMPLE = "Example: ixy replay examples/real.pcap emu:loopback --speed 1x"


def command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A pcap or pcapng file.")],
    device: Annotated[str, typer.Argument(metavar="DEV", help="A device, such as emu:tap:ixy0.")],
    speed: Annotated[
        str,
        typer.Option(help="max, a factor of the recorded speed such as 1x, or packets per second."),
    ] = "max",
    loop: Annotated[int, typer.Option(help="How many times.", min=1)] = 1,
    queues: Queues = 1,
    seconds: Seconds = None,
    csv: Csv = None,
    prometheus: Prometheus = None,
    plot: Plot = None,
    as_json: Json = False,
) -> int:
    """Opens file and device, sends until the end, prints the totals."""
    factor, rate = parse_speed(speed)
    nothing: dict[str, Any] = {"frames": 0, "sent": 0, "timing": None}
    output = Output(NAME, csv, prometheus, plot)
    with Session(
        [device], as_json=as_json, bounded=True, results=nothing, output=output
    ) as session:
        from ixy.apps.replay import Replayer
        from ixy.pcap import Reader

        reader = Reader(file)  # before the device, which may write to a file
        (opened,) = session.open(queues)
        app = Replayer(opened, reader, speed=factor, rate=rate, loops=loop)
        session.run(
            app,
            seconds,
            lambda: {"sent": app.sent, "returned": app.taken},
        )
        if app.warning:
            session.warn(app.warning)
        unread = session.unread(0, app.taken)
        session.drops[0] |= {"unread": unread, "bad_size": app.bad_size}
        timing = app.timing.summary() if app.timing else None
        session.results = {"frames": app.frames, "sent": app.sent}
        session.results |= {"timing": timing} if as_json else in_words(timing) if timing else {}
    return session.exit_code


def parse_speed(text: str) -> tuple[float | None, float | None]:
    """A factor of the recorded speed, or packets per second; neither for max. Raises IxyError for
    anything else.
    """
    if text == "max":
        return None, None
    number = text.removesuffix("x")
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if not 1e-9 <= value <= 1e9:
        raise IxyError(
            f"--speed {text}: give it max, a factor such as 1x or 0.5x, or packets per second, up"
            " to 1e9"
        )
    return (value, None) if text.endswith("x") else (None, value)


def in_words(timing: dict[str, Any]) -> dict[str, Any]:
    """How late frames left, for people."""
    shown = {f"{percent} %": value for percent, value in timing["percentiles"].items()}
    shown["max"] = timing["maximum"]
    return {"late in ns:": " ".join(f"{name} {value}" for name, value in shown.items())}
