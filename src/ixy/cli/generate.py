"""`ixy generate`."""

from typing import Annotated

import typer

from ixy.cli.session import Count, Json, Queues, Seconds, Session

NAME = "generate"
HELP = "Send numbered UDP frames with valid checksums, at a rate or as fast as possible."
EXAMPLE = "Example: ixy generate emu:loopback --rate 1e6 --count 5000000"


def command(
    device: Annotated[str, typer.Argument(metavar="DEV", help="A device, such as emu:source.")],
    rate: Annotated[
        float | None,
        typer.Option(help="Packets per second (default: as many as possible).", min=1, max=1e12),
    ] = None,
    size: Annotated[
        int, typer.Option(help="Bytes per frame, without the CRC.", min=60, max=1514)
    ] = 60,
    queues: Queues = 1,
    seconds: Seconds = None,
    count: Count = None,
    as_json: Json = False,
) -> int:
    """Opens the device, sends until the end, prints the totals."""
    nothing = {"requested_pps": rate, "achieved_pps": 0.0}
    bounded = bool(seconds or count)
    with Session([device], as_json=as_json, bounded=bounded, results=nothing) as session:
        from ixy.apps.generate import Generator

        app = Generator(*session.open(queues), size=size, rate=rate, count=count)
        session.run(app, seconds)
        achieved = round(app.sent / session.seconds, 3)
        session.drops[0]["unread"] = session.unread(0, app.taken)
        session.results = {"requested_pps": rate, "achieved_pps": achieved}
    return session.exit_code
