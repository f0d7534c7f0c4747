"""`bench forward`: what two cores do together, one with the forwarder, one with both devices.

Each figure is a run of the command itself, `ixy forward emu:source emu:source`, which counts both
ways from its first packet on. On virtual machines such rates follow the round trip between the
cores, which flips between regimes: it is measured before and after each run. Compare only figures
of one regime.
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


def measure(
    batches: Sequence[int] = BATCHES, rounds: int = 3, seconds: float = 24.0
) -> dict[str, Any]:
    """Measures all batches; returns the JSON object of `ixy bench forward --json`, in Mpps.

    `round_trips` are the ns before and after each figure of `rounds`. Raises IxyError if the
    command fails.
    """
    raw: dict[str, list[float]] = {}
    trips: dict[str, list[tuple[float | None, float | None]]] = {}
    for _, batch in itertools.product(range(rounds), map(str, batches)):
        before = round_trip()
        figure = forward(batch, seconds / rounds / len(batches))
        raw.setdefault(batch, []).append(round(figure, 2))
        trips.setdefault(batch, []).append((before, round_trip()))
    rows = {batch: round(median(figures), 2) for batch, figures in raw.items()}
    return {
        "unit": "Mpps",
        "machine": describe(),
        "rows": {"ixy": rows},
        "rounds": {"ixy": raw},
        "round_trips": {"unit": "ns", "ixy": trips},
        "bounds": {"ixy": {"goal": GOAL, "met": max(rows.values()) >= GOAL}},
    }


def forward(batch: str, seconds: float) -> float:
    """Mpps of one run."""
    ports = ["emu:source", "emu:source"]
    options = ["--batch", batch, "--time", f"{seconds:.3f}", "--json"]
    command = [sys.executable, "-m", "ixy", "forward", *ports, *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise IxyError(f"ixy forward failed: {result.stderr.strip()}")
    return float(json.loads(result.stdout)["mpps"])
