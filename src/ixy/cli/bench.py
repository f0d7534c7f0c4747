"""`ixy bench`."""

import json
import sys
from importlib import import_module
from typing import Annotated, Any

import typer

from ixy.cli import signals
from ixy.cli.session import Json
from ixy.cli.tables import print_table
from ixy.errors import IxyError

NAME = "bench"
HELP = "Measure, on this machine, the figures of the README."
EXAMPLE = "Example: ixy bench driver --json"
BENCHES = ("driver", "emulator", "filter", "forward", "generate", "interrupts")
PEERED = ("vhost-user",)  # need programs of others, and huge pages: not a part of `all`
KNOWN = ", ".join((*BENCHES, *PEERED))


def command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help=f"{KNOWN}, or all (without vhost-user).")
    ],
    rounds: Annotated[int, typer.Option(help="Alternating rounds; medians are shown.", min=1)] = 5,
    seconds: Annotated[
        float | None, typer.Option("--time", help="About how long each one takes.", min=0.1)
    ] = None,
    as_json: Json = False,
) -> int:
    """Runs benchmarks, prints their tables, or one JSON object (of each, by name, for all)."""
    signals.leave_at_once()
    if name not in (*BENCHES, *PEERED, "all"):
        raise IxyError(f"no benchmark named {name}: give it one of {KNOWN}, all")
    results = {}
    for bench in BENCHES if name == "all" else (name,):
        limit = {} if seconds is None else {"seconds": seconds}
        print(f"measuring: {bench}", file=sys.stderr, flush=True)
        module = import_module(f"ixy.bench.{bench.replace('-', '_')}")
        signals.closing += [module.clean_up] if hasattr(module, "clean_up") else []
        results[bench] = module.measure(rounds=rounds, **limit)
        if not as_json:
            show(bench, results[bench])
    if as_json:
        print(json.dumps(results if name == "all" else results[name]))
    return 0


def show(name: str, result: dict[str, Any]) -> None:
    """A benchmark's table: a row per candidate, a column per parameter."""
    machine = result["machine"]
    title = f"{name}: {result['unit']}, medians ({machine['cpu']}, {machine['cores']} cores)"
    columns = list(dict.fromkeys(key for row in result["rows"].values() for key in row))
    rows = [
        (candidate, *(f"{figures[key]:g}" if key in figures else "" for key in columns))
        for candidate, figures in result["rows"].items()
    ]
    print_table(["", *columns], rows, title)
    for parameter, bound in result.get("bounds", {}).items():
        words = ", ".join(f"{key} {value}" for key, value in bound.items())
        print(f"{name} {parameter}: {words}")
