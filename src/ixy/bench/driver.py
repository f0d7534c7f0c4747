"""`bench driver`: what the driver costs, in cycles per packet, beside other ways to write it.

Device and driver take turns in one thread, so nothing is measured but the driver: the device hands
over a batch, the driver forwards it, the device sends it. The time-stamp counter is read with
fences around the driver's turn, and what reading it costs is subtracted. Candidates take turns in
each round, on rings and packets of their own. Each packet that the device sends is compared with
the one that it should be, in the measured turns too.

The forwarder increments a byte of each packet, as C ixy's does and as a router must. `reads` is the
same of one that only reads it: dirty lines that compete for few cache sets cost most, so there the
layouts are less far apart.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any

import numpy as np

from ixy.bench.candidates import Candidate, candidates
from ixy.bench.machine import describe
from ixy.bench.yardstick import compiler
from ixy.compiled import JIT
from ixy.errors import IxyError

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
INTERRUPTED = 50_000  # cycles: a turn that took longer was interrupted, and does not count
PACKETS, INTERPRETED_PACKETS = 16384, 1024  # in a run: some times round rings and pools
LEAST_RUNS = 2
CHECKED = (1, 3, 32, 100, 256, 31)  # batches of the checking run
CHECKED_PACKETS = 10_000  # of each: more than rings and pools hold, so a leak would show
# The driver's cost over that of a yardstick in C ixy's layout must not be above these, per batch
YARDSTICK = "c-O3"
BOUNDS = {32: 0.45, 256: 0.30}

Figures = dict[str, dict[str, list[float]]]  # candidate, batch, a figure per round


def measure(
    batches: Iterable[int] = BATCHES,
    rounds: int = 5,
    seconds: float = 60.0,
    rows: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Measures all rows (or those named); returns the JSON object of `ixy bench driver --json`.

    `seconds` is about how long it takes, without set-up. Raises IxyError if a packet is lost or
    harmed.
    """
    if not JIT:
        raise IxyError("a benchmark needs the compiler: unset NUMBA_DISABLE_JIT")
    drivers = {name: make() for name, make in chosen(rows).items()}
    for name, driver in drivers.items():
        check(name, driver)
    cells = [
        (name, str(batch), writes)
        for batch, writes in itertools.product(batches, (True, False))
        for name, driver in drivers.items()
        if writes or not driver.interpreted
    ]
    raw: dict[bool, Figures] = {True: {}, False: {}}
    for _, (name, batch, writes) in itertools.product(range(rounds), cells):
        figure = cost(drivers[name], int(batch), writes, seconds / rounds / len(cells))
        raw[writes].setdefault(name, {}).setdefault(batch, []).append(round(figure, 2))
    for name, driver in drivers.items():
        verify(name, driver)  # what was measured was right, too
    return {
        "unit": "cycles per packet",
        "machine": describe(),
        **summary(raw[True]),
        "reads": summary(raw[False]),
        "note": None if compiler() else "no rows for C: install gcc",
    }


def summary(rounds: Figures) -> dict[str, Any]:
    """Medians, raw figures, and how they stand to the bounds."""
    rows = {
        name: {batch: round(median(figures), 2) for batch, figures in row.items()}
        for name, row in rounds.items()
    }
    return {"rows": rows, "rounds": rounds, "bounds": bounds(rows)}


def chosen(rows: Iterable[str] | None) -> dict[str, Callable[[], Candidate]]:
    """The candidates by name: those asked for, or all."""
    known = candidates()
    for name in rows or ():
        if name not in known:
            raise IxyError(f"no row {name}: give it one of {', '.join(known)}")
    return {name: known[name] for name in rows or known}


def check(name: str, driver: Candidate) -> None:
    """Sends packets through in batches of all sizes. Raises IxyError if one is lost or harmed."""
    brought = 0
    for batch in CHECKED:
        turns = CHECKED_PACKETS // batch
        driver.run(batch, batch % 2 == 0, np.zeros(turns, np.int64))
        brought += turns * batch
    if int(driver.rings.nic[0]["received"]) != brought:
        raise IxyError(f"{name} keeps buffers: the device found no descriptor for a packet")
    verify(name, driver)


def verify(name: str, driver: Candidate) -> None:
    """Raises IxyError unless each packet that was received was sent, unharmed and in order."""
    nic = driver.rings.nic[0]
    if nic["harmed"] or nic["sent"] != nic["received"]:
        lost = int(nic["received"]) - int(nic["sent"])
        raise IxyError(f"{name}: {lost} packets lost, {nic['harmed']} harmed or out of order")


def cost(driver: Candidate, batch: int, writes: bool, seconds: float) -> float:
    """The driver's cycles per packet, measured for about so many seconds.

    A run is the mean of its turns, since only every other turn cleans the transmit ring; the cost
    is the median of the runs.
    """
    packets = INTERPRETED_PACKETS if driver.interpreted else PACKETS
    times = np.zeros(max(packets // batch, 1), np.int64)
    driver.run(batch, writes, times)  # warms the caches, and the predictors of branches
    clock = driver.clock()
    deadline = time.monotonic() + seconds
    runs: list[float] = []
    while time.monotonic() < deadline or len(runs) < LEAST_RUNS:
        driver.run(batch, writes, times)
        limit = max(INTERRUPTED, 4 * float(np.median(times)))  # the interpreter may take longer
        runs.append((float(times[times <= limit].mean()) - clock) / batch)
    return median(runs)


def bounds(rows: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | bool]]:
    """For each bounded batch: our cost over the yardstick's, the bound, and whether it is kept."""
    outcome: dict[str, dict[str, float | bool]] = {}
    for batch, bound in BOUNDS.items():
        ours, theirs = (rows.get(name, {}).get(str(batch)) for name in ("ixy", YARDSTICK))
        if ours and theirs:
            ratio = ours / theirs
            outcome[str(batch)] = {"ratio": round(ratio, 3), "bound": bound, "met": ratio <= bound}
    return outcome
