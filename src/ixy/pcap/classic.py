"""The classic pcap format: a file header, then a header of 16 bytes in front of each frame."""

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from ixy.compiled import compiled
from ixy.pcap.scan import (
    CUT,
    END,
    FAULTS,
    FULL,
    MAXIMUM_SNAPLEN,
    TOO_LONG,
    Bytes,
    PcapError,
    Scanner,
    require_ethernet,
    store,
    word,
)

# Section 4.1: the first four bytes give the byte order and the nanoseconds in a fraction.
MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}

_HEADER = 24  # bytes of the file header, section 4


class Classic(Scanner):
    """Scans a pcap file."""

    def __init__(self, data: Bytes, name: str) -> None:
        super().__init__(data, name)
        if len(data) < _HEADER:
            raise PcapError(f"{name} ends within its file header: record it again")
        header = data[:_HEADER].tobytes()
        order, self._unit = MAGICS[header[:4]]
        self._big = order == ">"
        # The snap length is not needed: some writers put 0 there and mean that there is none.
        major, minor, link = struct.unpack(f"{order}4x2H12xI", header)
        if (major, minor) != (2, 4):  # before 2.4 the two lengths stood in another order
            raise PcapError(
                f"{name} is a pcap file of version {major}.{minor}, ixy reads 2.4: "
                "convert it with editcap -F pcap"
            )
        require_ethernet(link & 0xFFFF, name)
        # Figure 2: with the P bit, four bits count the 16-bit words of FCS behind each frame.
        self._fcs = (link >> 28) * 2 if link >> 26 & 1 else 0
        self.position = _HEADER

    def scan(self, frames: npt.NDArray[Any]) -> int:
        """Fills the next elements of `frames` (dtype Frame) and says how many: 0 at the end."""
        filled, self.position, stop = scan(
            self.data, self.position, self._big, self._unit, self._fcs, frames
        )
        self.damage = FAULTS.get(stop)
        return int(filled)


@compiled
def scan(
    data: Bytes, position: int, big: bool, unit: int, fcs: int, frames: npt.NDArray[Any]
) -> tuple[int, int, int]:
    """Walks over packet records (section 5); returns frames filled, position, why it stopped."""
    for filled in range(len(frames)):
        rest = len(data) - position
        if rest < 16:
            return filled, position, CUT if rest else END
        captured = word(data, position + 8, big)
        if captured > MAXIMUM_SNAPLEN:
            return filled, position, TOO_LONG
        if captured > rest - 16:
            return filled, position, CUT
        time = word(data, position, big) * 1_000_000_000 + word(data, position + 4, big) * unit
        length = word(data, position + 12, big)
        store(frames[filled : filled + 1], position + 16, captured, length, fcs, np.uint64(time))
        position += 16 + captured
    return len(frames), position, FULL
