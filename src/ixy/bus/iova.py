"""Where in an IOMMU's address space memory is put."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ixy.errors import IxyError

ALIGN = 1 << 21  # of huge pages: the IOMMU's tables and caches may use them, too
GUARD = ALIGN  # between two mappings, and at 0: who runs over an end, or forgets an address, faults


class Range(NamedTuple):
    """Addresses from `first` to `last`, both included."""

    first: int
    last: int


def place(size: int, allowed: Sequence[Range], taken: Iterable[Range]) -> int:
    """The lowest address for `size` bytes within one of the `allowed` ranges and with a distance
    from each of those that are `taken`. Raises IxyError if there is none.
    """
    used = sorted([Range(0, 0), *taken])
    for first, last in sorted(allowed):
        start = _align(first)
        for other in used:
            if start + size - 1 + GUARD >= other.first and start <= other.last + GUARD:
                start = _align(other.last + 1 + GUARD)
        if start + size - 1 <= last:
            return start
    listed = ", ".join(f"{first:#x}-{last:#x}" for first, last in allowed)
    raise IxyError(f"no room for {size} bytes in what the IOMMU can address: {listed}")


def _align(address: int) -> int:
    return -(-address // ALIGN) * ALIGN
