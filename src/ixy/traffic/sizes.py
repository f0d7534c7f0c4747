"""How long frames are: all the same, of a range, or of some sizes with weights."""

import math
import re
from dataclasses import dataclass

from ixy.errors import IxyError
from ixy.traffic.templates import MAX_SIZE, MIN_SIZE

IMIX = "60:7,570:4,1514:1"
MOST_WEIGHT = 65536  # of all sizes together


@dataclass(frozen=True)
class Sizes:
    """Sizes in bytes without the CRC, all as likely: `first` and `count - 1` above it, or those of
    a table.
    """

    first: int
    count: int = 1
    table: tuple[int, ...] = ()

    @property
    def least(self) -> int:
        """The shortest."""
        return min(self.table, default=self.first)

    @property
    def most(self) -> int:
        """The longest."""
        return max(self.table, default=self.first + self.count - 1)

    @property
    def mean(self) -> float:
        """The mean."""
        if self.table:
            return sum(self.table) / len(self.table)
        return self.first + (self.count - 1) / 2


def parse_sizes(text: str) -> Sizes:
    """Understands `--size`: 60, 60..1514, 60:7,570:4,1514:1 (size and weight), or imix.

    Raises IxyError for anything else, and for a size that Ethernet does not carry.
    """
    text = text.strip()
    if re.fullmatch(r"-?[0-9]{1,9}", text):
        return Sizes(_size(text))
    if found := re.fullmatch(r"([0-9]{1,9})\.\.([0-9]{1,9})", text):
        first, last = map(_size, found.groups())
        if first > last:
            raise IxyError(f"--size {text}: the first size is the smaller one: turn them round")
        return Sizes(first, last - first + 1)
    pairs = re.findall(r"([0-9]{1,9}):([0-9]{1,9})(?:,|$)", IMIX if text == "imix" else text)
    weights = {_size(size): int(weight) for size, weight in pairs}
    if ",".join(map(":".join, pairs)) != (IMIX if text == "imix" else text) or not weights:
        raise IxyError(f"--size {text}: give it 100, 60..1514, 60:7,570:4,1514:1, or imix")
    shared = math.gcd(*weights.values())
    if not 0 < sum(weights.values()) // max(shared, 1) <= MOST_WEIGHT or len(weights) < len(pairs):
        raise IxyError(
            f"--size {text}: give it weights of {MOST_WEIGHT} at most, all together, each size once"
        )
    table = [size for size, weight in weights.items() for _ in range(weight // shared)]
    return Sizes(table[0], len(table), tuple(table))


def _size(text: str) -> int:
    if not MIN_SIZE <= int(text) <= MAX_SIZE:
        raise IxyError(
            f"a frame of {text} bytes: give it {MIN_SIZE} to {MAX_SIZE} (without the CRC)"
        )
    return int(text)
