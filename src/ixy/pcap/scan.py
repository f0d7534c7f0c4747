"""What the scanners of both formats share: the table of frames, words in either order, faults.

A scan is a compiled loop over the bytes of a file. It fills a table that says where the frames are,
and stops at the end of the table, at the end of the file or at the first byte that cannot be right.
It never reads outside of the bytes it was given, whatever they say.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ixy.compiled import compiled
from ixy.errors import IxyError

Bytes = npt.NDArray[np.uint8]

Frame = np.dtype([("offset", "u8"), ("captured", "u4"), ("length", "u4"), ("time", "u8")])
"""A frame in a file: where its bytes begin, how many there are, how many there were on the wire,
and its time in nanoseconds since 1970 (UTC)."""

MAXIMUM_SNAPLEN = 262144  # bytes; a longer frame is damage (the limit of libpcap, too)

ETHERNET = 1  # LINKTYPE_ETHERNET

# Why a scan stopped. The words of a fault complete "damaged at byte N (...)".
SOUND, END, FULL, CONTROL, FOREIGN, CUT, TOO_LONG, BAD_SIZE, BAD_TRAILER, SHORT, UNKNOWN = range(11)
FAULTS = {
    CUT: "the file ends within a record",
    TOO_LONG: f"a frame longer than {MAXIMUM_SNAPLEN} bytes",
    BAD_SIZE: "a block length that is not a multiple of 4 from 12 up",
    BAD_TRAILER: "a block whose two lengths differ",
    SHORT: "a block too short for what it holds",
    UNKNOWN: "a frame from an interface that was not declared",
}

_LINK_TYPES = {
    0: "BSD loopback", 6: "Token Ring", 9: "PPP", 101: "raw IP", 105: "802.11",
    108: "OpenBSD loopback", 113: "Linux cooked", 127: "802.11 radiotap", 187: "Bluetooth HCI",
    189: "USB", 195: "802.15.4", 220: "USB", 227: "CAN", 228: "raw IPv4", 229: "raw IPv6",
    249: "USBPcap", 253: "netlink", 276: "Linux cooked v2",
}  # fmt: skip


class PcapError(IxyError):
    """A capture file that cannot be read or written: one line that says why and what to do."""


class Scanner:
    """A position in the bytes of a file, and what is wrong there, if anything is."""

    def __init__(self, data: Bytes, name: str) -> None:
        self.data = data
        self.name = name
        self.position = 0
        self.damage: str | None = None

    def scan(self, frames: npt.NDArray[Any]) -> int:
        """Fills the next elements of `frames` (dtype Frame) and says how many: 0 at the end.

        Raises PcapError at a frame that is not Ethernet, unless others could be given out first.
        """
        raise NotImplementedError


def require_ethernet(link_type: int, name: str) -> None:
    """Raises PcapError for another link type than Ethernet's (draft-ietf-opsawg-pcaplinktype)."""
    if link_type != ETHERNET:
        known = _LINK_TYPES.get(link_type, "unknown to ixy")
        raise PcapError(
            f"{name} holds frames of link type {link_type} ({known}), ixy reads Ethernet: record "
            "on one Ethernet interface (not on 'any'), or convert it with tcprewrite --dlt=enet"
        )


@compiled
def word(data: Bytes, position: int, big: bool) -> Any:
    """The 32-bit word at a position, unaligned, as a signed 64-bit number.

    Four bytes are put together by shifts, which the compiler turns into one load. uint8 would
    overflow in plain NumPy, and uint64 mixed with int64 would become a float in Numba.
    """
    a, b = np.int64(data[position]), np.int64(data[position + 1])
    c, d = np.int64(data[position + 2]), np.int64(data[position + 3])
    if big:
        return a << 24 | b << 16 | c << 8 | d
    return d << 24 | c << 16 | b << 8 | a


@compiled
def store(frame: Any, offset: int, captured: int, length: int, fcs: int, time: Any) -> None:
    """Fills a one-element table: a frame without the `fcs` bytes of check sequence at its end.

    A frame that the snap length has cut short may have lost them already, all or some.
    """
    kept = max(length, captured) - fcs
    frame[0]["offset"] = offset
    frame[0]["captured"] = max(min(captured, kept), 0)
    frame[0]["length"] = max(length - fcs, 0)
    frame[0]["time"] = time
