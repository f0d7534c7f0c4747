"""`bench forward`: what two cores do together, one with the forwarder, one with both devices.

Each figure is a run of the command itself, `ixy forward emu:source emu:source`, which counts both
ways from its first packet on. On virtual machines such rates follow the round trip between the
cores, which flips between regimes, and rises when somebody else uses a core: it is measured before
and after each run. The medians are of quiet runs: both round trips at most twice the shortest one.
"""

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

from ixy.bench.machine import describe, round_trip
from ixy.errors import IxyError

BATCHES = (8, 32, 64, 256)
GOAL = 20.0  # Mpps, both ways together
Trips = tuple[float | None, float | None]  # ns before and after a run; None on a single core


def measure(
    batches: Sequence[int] = BATCHES, rounds: int = 3, seconds: float = 24.0
) -> dict[str, Any]:
    """Measures all batches; returns the JSON object of `ixy bench forward --json`, in Mpps.

    `round_trips` are the ns before and after each figure of `rounds`, `quiet` is how many of these
    are in the median: where none is, all are. Raises IxyError if the command fails.
    """
    raw: dict[str, list[float]] = {}
    trips: dict[str, list[Trips]] = {}
    for _, batch in itertools.product(range(rounds), map(str, batches)):
        before = round_trip()
        figure = forward(batch, seconds / rounds / len(batches))
        raw.setdefault(batch, []).append(round(figure, 2))
        trips.setdefault(batch, []).append((before, round_trip()))
    best = min(trip or 0.0 for of in trips.values() for pair in of for trip in pair)
    kept = {batch: quiet(raw[batch], trips[batch], 2 * best) for batch in raw}
    rows = {batch: round(median(kept[batch] or raw[batch]), 2) for batch in raw}
    return {
        "unit": "Mpps",
        "machine": describe(),
        "rows": {"ixy": rows},
        "rounds": {"ixy": raw},
        "round_trips": {"unit": "ns", "ixy": trips},
        "quiet": {"ixy": {batch: len(figures) for batch, figures in kept.items()}},
        "bounds": {"ixy": {"goal": GOAL, "met": max(rows.values()) >= GOAL}},
    }


def quiet(figures: Sequence[float], trips: Sequence[Trips], limit: float) -> list[float]:
    """The figures with no round trip above `limit`."""
    return [
        figure
        for figure, pair in zip(figures, trips, strict=True)
        if all((trip or 0.0) <= limit for trip in pair)
    ]


def forward(batch: str, seconds: float) -> float:
    """Mpps of one run."""
    ports = ["emu:source", "emu:source"]
    options = ["--batch", batch, "--time", f"{seconds:.3f}", "--json"]
    command = [sys.executable, "-m", "ixy", "forward", *ports, *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise IxyError(f"ixy forward failed: {result.stderr.strip()}")
    return float(json.loads(result.stdout)["mpps"])
