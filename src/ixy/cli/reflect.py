"""`ixy reflect`."""

from enum import StrEnum
from typing import Annotated

import typer

from ixy.cli.output import Csv, Output, Plot, Prometheus
from ixy.cli.session import DEFAULT_ITR, Count, Interrupts, Itr, Json, Queues, Seconds, Session

NAME = "reflect"
HELP = "Send back what arrives, its addresses exchanged."
EXAMPLE = "Example: ixy reflect emu:cable:x --layer 3"


class Layer(StrEnum):
    """Up to which layer source and destination are exchanged."""

    mac, ip, ports = "2", "3", "4"


def command(
    device: Annotated[str, typer.Argument(metavar="DEV", help="A device, such as emu:cable:x.")],
    layer: Annotated[
        Layer, typer.Option(help="2: MAC addresses; 3: those of IP, too; 4: and ports.")
    ] = Layer.mac,
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
    """Opens the device, reflects until the end, prints the totals."""
    bounded, nothing = bool(seconds or count), {"reflected": 0, "mpps": 0.0}
    output = Output(NAME, csv, prometheus, plot)
    with Session(
        [device], as_json=as_json, bounded=bounded, results=nothing, output=output
    ) as session:
        from ixy.apps.reflect import Reflector

        (opened,) = session.open(queues, itr if interrupts else None)
        session.bounded = bounded or opened.beyond.ended is not None
        app = Reflector(opened, layer=int(layer), count=count)
        session.run(app, seconds, lambda: {"reflected": app.reflected})
        unsent = app.taken - app.reflected
        session.drops[0] |= {"unsent": unsent, "unread": session.unread(0, app.taken)}
        session.results = {"reflected": app.reflected, "mpps": session.mpps(app.reflected)}
    return session.exit_code
