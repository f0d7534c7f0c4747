"""The pcapng format: sections of blocks, each block with its length at both ends.

The compiled scan reads the blocks that hold frames and skips those it has no use for. At the blocks
that say how to read the others, section headers and interface descriptions, it stops and lets
Python read them: they are few, and have options.
"""

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from ixy.compiled import compiled
from ixy.pcap.scan import (
    BAD_SIZE,
    BAD_TRAILER,
    CONTROL,
    CUT,
    END,
    ETHERNET,
    FAULTS,
    FOREIGN,
    FULL,
    MAXIMUM_SNAPLEN,
    SHORT,
    SOUND,
    TOO_LONG,
    UNKNOWN,
    Bytes,
    Scanner,
    require_ethernet,
    store,
    word,
)

# Block types, section 10.1. That of a section header reads the same in either byte order.
INTERFACE, PACKET, SIMPLE, ENHANCED, SECTION = 1, 2, 3, 6, 0x0A0D0D0A
MAGIC = b"\x0a\x0d\x0d\x0a"

# What an interface's frames need to be read. Their time in nanoseconds is
# (ticks >> coarser) * multiply / divide + offset.
Interface = np.dtype(
    [
        *[("link", "u4"), ("snaplen", "u4"), ("fcs", "u1"), ("coarser", "u1")],
        *[("multiply", "u8"), ("divide", "u8"), ("offset", "i8")],
    ]
)

_LATEST = np.uint64(2**64 - 1)  # times that do not fit are clamped to it


class Pcapng(Scanner):
    """Scans a pcapng file."""

    def __init__(self, data: Bytes, name: str) -> None:
        super().__init__(data, name)
        self._big = False
        self._interfaces = np.zeros(4, Interface)  # of this section; doubled when it is full
        self._declared = 0

    def scan(self, frames: npt.NDArray[Any]) -> int:
        """Fills the next elements of `frames` (dtype Frame) and says how many: 0 at the end.

        It gives fewer than fit in front of a block that changes how those behind it are read.
        """
        while self.damage is None:
            interfaces = self._interfaces[: self._declared]
            filled, self.position, stop = scan(
                self.data, self.position, self._big, interfaces, frames
            )
            self.damage = FAULTS.get(stop)
            if filled or stop in (END, FULL):
                return int(filled)
            if stop == FOREIGN:
                number = interface_of(self.data, self.position, self._big)
                require_ethernet(int(interfaces[number]["link"]), self.name)
            if stop == CONTROL:
                self._read_control_block()
        return 0

    def _read_control_block(self) -> None:
        """Reads a section header or an interface description and moves on to the next block."""
        begin = self.position
        try:
            if self.data[begin : begin + 4].tobytes() == MAGIC:
                size = self._begin_section()
            else:
                size = self._declare_interface()
            self.position += size
        except struct.error:
            self.damage = "an option of the wrong length"
        except ValueError as error:
            self.damage = str(error)

    def _begin_section(self) -> int:
        """Section 4.1: sets this section's byte order, forgets the interfaces of the one before."""
        magic = self.data[self.position + 8 : self.position + 12].tobytes()
        if magic not in (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"):
            raise ValueError("a section header without the byte-order magic")
        self._big = magic[0] == 0x1A
        block = self._block(28)
        # The section's length is not needed, and often not known: its blocks are walked anyway.
        major, minor = struct.unpack_from(">2H" if self._big else "<2H", block, 12)
        if major != 1:
            raise ValueError(f"a section of version {major}.{minor}, ixy reads 1.0")
        self._declared = 0
        return len(block)

    def _declare_interface(self) -> int:
        """Section 4.2: link type, snap length, clock and FCS of one more interface."""
        block = self._block(20)
        order = ">" if self._big else "<"
        link, snaplen = struct.unpack_from(f"{order}H2xI", block, 8)
        options = dict(_options(block[16:-4], order))
        (resolution,) = struct.unpack("B", options.get(9, b"\6"))  # if_tsresol
        (offset,) = struct.unpack(f"{order}q", options.get(14, bytes(8)))  # if_tsoffset, seconds
        (fcs,) = struct.unpack("B", options.get(13, b"\0"))  # if_fcslen
        # The FCS is counted in bits, but the draft's own example is 4 and means bytes.
        fcs = fcs // 8 if fcs >= 8 else fcs
        nanoseconds = max(-(2**63) + 1, min(2**63 - 1, offset * 10**9))
        if self._declared == len(self._interfaces):
            self._interfaces = np.concatenate([self._interfaces, np.zeros_like(self._interfaces)])
        multiply, divide, coarser = clock(resolution)
        row = (link, snaplen, fcs, coarser, multiply, divide, nanoseconds)
        self._interfaces[self._declared] = row
        self._declared += 1
        return len(block)

    def _block(self, least: int) -> bytes:
        """The bytes of the block at hand; raises ValueError if it is faulty or under `least`."""
        fault = block_fault(self.data, self.position, self._big)
        if fault != SOUND:
            raise ValueError(FAULTS[fault])
        size = int(word(self.data, self.position + 4, self._big))
        if size < least:
            raise ValueError(FAULTS[SHORT])
        return self.data[self.position : self.position + size].tobytes()


def clock(resolution: int) -> tuple[int, int, int]:
    """Multiplier, divisor and shift (see Interface) for an if_tsresol, section 4.2.

    A tick is 10^-n or (top bit set) 2^-n seconds, with n up to 127. The products must fit into 64
    bits, so that ticks far below a nanosecond are made coarser first; some are too fine to count.
    """
    ticks_per_second = 2 ** (resolution & 127) if resolution & 128 else 10**resolution
    multiply, divide = Fraction(10**9, ticks_per_second).as_integer_ratio()
    coarser = max(0, (multiply * divide).bit_length() - 64)
    return (multiply, divide >> coarser, coarser) if coarser < 64 else (1, 2**64 - 1, 63)


def _options(body: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Code and value of each option (section 3.5); struct.error or ValueError for a broken list."""
    while body:
        code, size = struct.unpack_from(f"{order}2H", body)
        if code == 0:  # opt_endofopt
            return
        if size > len(body) - 4:
            raise ValueError("an option that is longer than its block")
        yield code, body[4 : 4 + size]
        body = body[4 + (size + 3) // 4 * 4 :]


@compiled
def scan(
    data: Bytes, position: int, big: bool, interfaces: npt.NDArray[Any], frames: npt.NDArray[Any]
) -> tuple[int, int, int]:
    """Walks over blocks (section 3.1); returns frames filled, position, why it stopped."""
    filled = 0
    while True:
        rest = len(data) - position
        if rest < 12:
            return filled, position, CUT if rest else END
        kind = word(data, position, big)
        if kind == SECTION:  # checked by its reader: its byte order is its own
            return filled, position, CONTROL
        stop = block_fault(data, position, big)
        if kind == INTERFACE and stop == SOUND:
            stop = CONTROL
        if stop == SOUND and kind in (ENHANCED, SIMPLE, PACKET):
            stop = read_frame(data, position, big, interfaces, frames[filled : filled + 1])
            filled += stop == SOUND
        if stop != SOUND:
            return filled, position, stop
        position += word(data, position + 4, big)


@compiled
def block_fault(data: Bytes, position: int, big: bool) -> int:
    """What is wrong with the lengths of the block at a position, section 3.1."""
    rest = len(data) - position
    if rest < 12:
        return CUT
    size = word(data, position + 4, big)
    if size < 12 or size % 4 != 0:
        return BAD_SIZE
    if size > rest:
        return CUT
    if word(data, position + size - 4, big) != size:
        return BAD_TRAILER
    return SOUND


@compiled
def interface_of(data: Bytes, position: int, big: bool) -> Any:
    """The number of the interface that a block's frame came from."""
    kind = word(data, position, big)
    number = word(data, position + 8, big)
    if kind == SIMPLE:
        return np.int64(0)
    if kind == PACKET:  # 16 bits, then 16 bits of a drop count
        return number >> 16 if big else number & 0xFFFF
    return number


@compiled
def read_frame(
    data: Bytes, position: int, big: bool, interfaces: npt.NDArray[Any], frame: npt.NDArray[Any]
) -> int:
    """Reads the frame of an enhanced, simple or obsolete packet block into a table of one.

    Sections 4.3 and 4.4, appendix A. An empty table is FULL, once the block has proved to be one
    that could be read. A simple packet block has no time: it is given 0.
    """
    simple = word(data, position, big) == SIMPLE
    room = word(data, position + 4, big) - (16 if simple else 32)  # for frame and options
    if room < 0:
        return SHORT
    number = interface_of(data, position, big)
    if number >= len(interfaces):
        return UNKNOWN
    interface = interfaces[number]
    if interface["link"] != ETHERNET:
        return FOREIGN
    if len(frame) == 0:
        return FULL
    begin = position + (12 if simple else 28)
    length = word(data, begin - 4, big)
    captured = length
    time = np.uint64(0)
    if not simple:
        captured = word(data, position + 20, big)
        high, low = word(data, position + 12, big), word(data, position + 16, big)
        time = nanoseconds(np.uint64(high) << np.uint64(32) | np.uint64(low), interface)
    elif interface["snaplen"] > 0:
        captured = min(length, np.int64(interface["snaplen"]))
    stop = TOO_LONG if captured > MAXIMUM_SNAPLEN else SHORT if captured > room else SOUND
    if stop == SOUND:
        store(frame, begin, captured, length, interface["fcs"], time)
    return stop


@compiled
def nanoseconds(ticks: Any, interface: Any) -> Any:
    """Ticks of an interface's clock as nanoseconds since 1970, clamped to 64 unsigned bits."""
    multiply, divide = interface["multiply"], interface["divide"]
    ticks >>= np.uint64(interface["coarser"])
    whole, part = ticks // divide, ticks % divide
    more = part * multiply // divide
    time = _LATEST
    if whole <= (_LATEST - more) // multiply:
        time = whole * multiply + more
    offset = interface["offset"]
    if offset < 0:
        back = np.uint64(-offset)
        return time - back if time > back else np.uint64(0)
    ahead = np.uint64(offset)
    return _LATEST if ahead > _LATEST - time else time + ahead
