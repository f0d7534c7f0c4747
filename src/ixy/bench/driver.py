"""`bench driver`: what the driver costs, in cycles per packet, beside other ways to write it.

Device and driver take turns in one thread, so nothing is measured but the driver: a device step hands it a batch, the
driver forwards it, the device sends it. The time-stamp counter is read with fences around the driver's part, and what
reading it costs is subtracted. Candidates take turns in each round, on rings and packets of their own.
"""

from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

from ixy.bench.machine import describe

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
INTERRUPTED = 50_000  # cycles: a turn that took longer was interrupted, and does not count
PACKETS = 16384  # in a row: 32 times round the rings
INTERPRETED_PACKETS = 1024
# Our driver's cost over the yardstick's in C ixy's layout must not be above these
YARDSTICK = "c-O3"
BOUNDS = {32: 0.45, 256: 0.30}


def measure(
    batches: Iterable[int] = BATCHES,
    rounds: int = 5,
    seconds: float = 30.0,
    rows: Iterable[str] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measures all rows (or those named); returns the JSON object of `ixy bench driver --json`.

    `seconds` is about how long all of it takes, without set-up. Raises IxyError when a driver loses or harms a packet.
    """
    batches, chosen = list(batches), _choose(rows)
    machine = describe()
    drivers = {name: make() for name, make in chosen.items()}
    for name, driver in drivers.items():
        check(name, driver)
    budget = seconds / (rounds * len(batches) * len(drivers))
    raw: dict[str, dict[str, list[float]]] = {
        name: {str(batch): [] for batch in batches} for name in drivers
    }
    for number in range(rounds):
        for batch in batches:
            for name, driver in drivers.items():
                raw[name][str(batch)].append(round(cost(driver, batch, budget), 2))
        progress(f"round {number + 1} of {rounds}")
    for name, driver in drivers.items():
        driver.verify(name)
    rows_of = {
        name: {batch: median(figures) for batch, figures in row.items()}
        for name, row in raw.items()
    }
    return {
        "unit": "cycles per packet",
        "machine": machine,
        "rows": rows_of,
        "rounds": raw,
        "ratios": _ratios(rows_of),
        "bounds": _bounds(rows_of),
    }
