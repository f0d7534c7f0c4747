"""When to send: so many packets per second, without bursts to make up an average."""

import numpy as np

from ixy.compiled import compiled
from ixy.memory.ordered import records
from ixy.system import now

CATCH_UP = 1e6  # ns: what is due for longer is given up, not sent in one burst

Pacer = np.dtype(
    [("gap", "f8"), ("next", "f8")]
)  # ns between packets, 0 for no limit; when the next one is due


def pacer(rate: float | None) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """A pacer for `rate` packets per second; None: as fast as possible."""
    record = records(1, Pacer)
    record[0]["gap"] = 1e9 / rate if rate else 0
    return record


@compiled
def due(pacer, most):
    """How many packets are to be sent now, at most so many. They count as sent: give the rest to
    `not_sent`.
    """
    if pacer.gap == 0:
        return most
    time = float(now())
    if pacer.next == 0:
        pacer.next = time
    if time < pacer.next:
        return 0
    pacer.next = max(pacer.next, time - CATCH_UP)
    count = min(most, np.int64((time - pacer.next) / pacer.gap) + 1)
    pacer.next += count * pacer.gap
    return count


@compiled
def not_sent(pacer, count):
    """Takes back packets that were due and that the ring had no room for."""
    pacer.next -= count * pacer.gap
