"""The time-stamp counter as a clock: how long its ticks are, and how well that is known.

Compiled code reads `system.cycles()`; a Clock turns ticks into ns. It is calibrated against
CLOCK_MONOTONIC: at two moments the kernel's clock is read between two readings of the counter. So
each reading is known to lie between two ticks, and the relative error has a bound that is computed,
not assumed.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ixy.compiled import JIT, compiled
from ixy.errors import IxyError
from ixy.system import cycles, now

CPUINFO = Path("/proc/cpuinfo")
NEEDED = ("constant_tsc", "nonstop_tsc")  # it ticks at one speed, and on while a core sleeps
TRIES = 32  # brackets per moment, of which the narrowest counts


@dataclass(frozen=True)
class Clock:
    """`ticks_per_ns` of `system.cycles()`, and the bound of its relative `error`."""

    ticks_per_ns: float
    error: float

    @property
    def ns_per_tick(self) -> float:
        """What compiled code multiplies by."""
        return 1 / self.ticks_per_ns


@compiled
def _bracket(result, tries):
    """Reads the kernel's clock between two readings of the counter, the closest of some tries:
    ticks before, ns, ticks after.
    """
    for i in range(tries):
        before = cycles()
        moment = now()
        after = cycles()
        if i == 0 or after - before < result[2] - result[0]:
            result[0] = before
            result[1] = moment
            result[2] = after


def calibrate(seconds: float = 0.05, *, promised: bool = True) -> Clock:
    """Compares the counter with CLOCK_MONOTONIC at two moments so far apart: the error falls as
    they part, to some millionths in 0.05 s.

    Raises IxyError on a processor that does not promise a counter of one speed which never stops,
    unless none need be `promised`: virtual machines often do not tell.
    """
    if JIT and promised:
        _must_be_steady()
    first, last = np.zeros(3, np.int64), np.zeros(3, np.int64)
    _bracket(first, TRIES)
    time.sleep(seconds)
    _bracket(last, TRIES)
    elapsed = int(last[1] - first[1])
    least, most = int(last[0] - first[2]), int(last[2] - first[0])
    rounding = 2 / elapsed  # each reading of the kernel's clock is a whole number of ns
    error = (most - least) / (most + least) + rounding
    return Clock(ticks_per_ns=(most + least) / 2 / elapsed, error=error)


def _must_be_steady() -> None:
    """Raises IxyError unless the processor promises a counter of one speed that never stops."""
    lines = (line for line in CPUINFO.read_text().splitlines() if line.startswith("flags"))
    flags = next(lines, "").split()
    missing = [flag for flag in NEEDED if flag not in flags]
    if missing:
        raise IxyError(
            f"this processor's time-stamp counter is no clock ({' and '.join(missing)} missing in"
            f" {CPUINFO}): measure on another one; a virtual machine needs QEMU's -cpu host,+invtsc"
        )
