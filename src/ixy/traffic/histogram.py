"""A log-linear histogram of times in ns, and exact figures beside it.

Values below 2048 have a counter each. Above, every power of two is divided into 1024 steps: a value
is known to one part in 1024 whatever its size, and to half of that by the middle of its step. This
is the layout of HdrHistogram with three significant digits, so its tools read what is exported.
Count, minimum, maximum and sum are exact.
"""

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Self

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ixy.compiled import compiled, in_machine_code
from ixy.memory.ordered import address_of, array_at, records

STEP_BITS = 10  # each power of two has 2**10 steps
DIGITS = 3  # significant ones, that so many steps tell apart
ERROR = 2.0**-STEP_BITS  # the width of a step, relative to its values
HIGHEST = 2**47 - 1  # ns, 39 hours
STEPS = (47 - STEP_BITS + 1) << STEP_BITS
PERCENTILES = ("50", "90", "99", "99.9", "99.99", "99.999")
TICKS = 5  # lines of a .hgrm file each time that the distance to 100 % is halved

HistogramRecord = np.dtype(
    [
        ("counts", "u8"),  # the counters, u8[STEPS]
        ("total", "i8"),  # values, those outside not among them
        ("minimum", "i8"),
        ("maximum", "i8"),
        ("sum", "i8"),  # exact up to 292 years
        ("squares", "f8"),  # sum of squares, rounded
        ("below", "i8"),  # values less than 0, and beyond the highest: in no other figure
        ("above", "i8"),
    ]
)


@intrinsic
def _bits_of_word(typingctx: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zeros = builder.ctlz(args[0], ir.IntType(1)(0))
        return builder.sub(ir.IntType(64)(64), zeros)

    return types.int64(types.int64), codegen


@in_machine_code(_bits_of_word)
def bit_length(value: Any) -> int:
    """Bits that a number needs, 0 for 0."""
    return int(value).bit_length()


@compiled
def step_of(value):
    """The index of a value's counter."""
    power = max(bit_length(value) - STEP_BITS - 1, 0)
    return (power << STEP_BITS) + (value >> power)


@compiled
def record_value(histogram, value):
    """Counts a value (i8, ns)."""
    if value < 0:
        histogram.below += 1
        return
    if value > HIGHEST:
        histogram.above += 1
        return
    array_at(histogram.counts, STEPS, np.int64)[step_of(value)] += 1
    if histogram.total == 0 or value < histogram.minimum:
        histogram.minimum = value
    histogram.maximum = max(histogram.maximum, value)
    histogram.total += 1
    histogram.sum += value
    histogram.squares += float(value) * float(value)


@compiled
def _record_all(histogram, values):
    for value in values:
        record_value(histogram[0], value)


def lowest_of(step: int) -> int:
    """The lowest value that a counter counts."""
    power = max((step >> STEP_BITS) - 1, 0)
    return (step - (power << STEP_BITS)) << power


def highest_of(step: int) -> int:
    """The highest one."""
    return lowest_of(step + 1) - 1


class Histogram:
    """A histogram: `record` for compiled code's `record_value`, and what is to be learned from it.

    A worker may go on counting while it is read: figures are then of some moment in between.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(STEPS, np.int64)
        self.record = records(1, HistogramRecord)
        self.record[0]["counts"] = address_of(self.counts)

    def add(self, values: Sequence[int] | np.ndarray[Any, Any]) -> None:
        """Counts values (ns)."""
        _record_all(self.record, np.asarray(values, np.int64))

    def merge(self, other: Self) -> None:
        """Adds what another one has counted."""
        mine, its = self.record[0], other.record[0]
        if its["total"]:
            known = [int(each["minimum"]) for each in (mine, its) if each["total"]]
            mine["minimum"] = min(known)
            mine["maximum"] = max(int(mine["maximum"]), int(its["maximum"]))
        for name in ("total", "sum", "squares", "below", "above"):
            mine[name] += its[name]
        self.counts += other.counts

    def _figure(self, name: str) -> int:
        return int(self.record[0][name])

    @property
    def total(self) -> int:
        """How many values, without those outside."""
        return self._figure("total")

    @property
    def outside(self) -> int:
        """Values less than 0 or beyond 39 hours: no other figure has them."""
        return self._figure("below") + self._figure("above")

    @property
    def minimum(self) -> int:
        """The least value, exactly; 0 without any, as the other figures."""
        return self._figure("minimum")

    @property
    def maximum(self) -> int:
        """The greatest value, exactly."""
        return self._figure("maximum")

    @property
    def sum(self) -> int:
        """Of all values, exactly."""
        return self._figure("sum")

    @property
    def mean(self) -> float:
        """The exact one: sum by count."""
        return self.sum / self.total if self.total else 0.0

    @property
    def deviation(self) -> float:
        """The standard deviation, of the exact values."""
        if not self.total:
            return 0.0
        return math.sqrt(max(float(self.record[0]["squares"]) / self.total - self.mean**2, 0.0))

    @property
    def mean_of_steps(self) -> float:
        """The mean as the counters know it, each value taken for the middle of its step: within
        ERROR of the exact one, or the two have not seen the same values.
        """
        middles = [count * (lowest_of(step) + highest_of(step)) for step, count in self.recorded()]
        return sum(middles) / 2 / self.total if self.total else 0.0

    def agrees(self) -> bool:
        """Whether counters and exact figures tell of the same values."""
        found = list(self.recorded())
        if sum(count for _, count in found) != self.total:
            return False
        return abs(self.mean_of_steps - self.mean) <= ERROR * self.mean

    def recorded(self) -> Iterator[tuple[int, int]]:
        """Counters that are not 0: index and count, by rising value."""
        for step in np.flatnonzero(self.counts):
            yield int(step), int(self.counts[step])

    def percentile(self, percent: str | float | Decimal) -> int:
        """The least recorded value that at least so many percent of all do not exceed (the nearest
        rank): the highest value of its step, so at most ERROR too high, and never too low.
        """
        rank = max(math.ceil(Decimal(str(percent)) * self.total / 100), 1)
        for step, reached in self._cumulated():
            if reached >= rank:
                return min(highest_of(step), self.maximum)
        return 0

    def _cumulated(self) -> Iterator[tuple[int, int]]:
        reached = 0
        for step, count in self.recorded():
            reached += count
            yield step, reached

    def percentiles(self, wanted: Sequence[str] = PERCENTILES) -> dict[str, int]:
        """Values in ns by percentage."""
        return {percent: self.percentile(percent) for percent in wanted}

    def summary(self) -> dict[str, Any]:
        """What a report says of it. Times are in ns; `relative_error` is that of the percentiles,
        all else is exact.
        """
        return {
            "count": self.total,
            "outside": self.outside,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "sum": self.sum,
            "mean": round(self.mean, 3),
            "deviation": round(self.deviation, 3),
            "relative_error": ERROR,
            "percentiles": self.percentiles(),
        }

    def hgrm(self) -> str:
        """The percentile distribution as HdrHistogram's tools print and plot it, in ns."""
        lines = ["       Value     Percentile TotalCount 1/(1-Percentile)", ""]
        level = 0.0  # percent
        for step, reached in self._cumulated():
            share = 100 * reached / self.total
            while level <= share < 100:
                far = 100 / (100 - level)
                lines.append(
                    f"{highest_of(step):12.3f} {level / 100:.12f} {reached:10d} {far:14.2f}"
                )
                level += 100 / (TICKS * 2.0 ** (math.floor(math.log2(far)) + 1))
            if reached == self.total:
                lines.append(f"{highest_of(step):12.3f} {1:.12f} {reached:10d}")
        powers = STEPS >> STEP_BITS
        lines += [
            f"#[Mean    = {self.mean:12.3f}, StdDeviation   = {self.deviation:12.3f}]",
            f"#[Max     = {self.maximum:12.3f}, Total count    = {self.total:12d}]",
            f"#[Buckets = {powers - 1:12d}, SubBuckets     = {2 << STEP_BITS:12d}]",
        ]
        return "\n".join(lines) + "\n"
