"""The one encoder of both formats: compiled, for packet loops and for `Writer` alike."""

from typing import Any

import numpy as np

from ixy.compiled import compiled
from ixy.memory.ordered import array_at, copy_bytes
from ixy.pcap.scan import Bytes

PCAP, PCAPNG = 0, 1

MAX_OVERHEAD = 32  # bytes that a record needs beyond its frame, padded to a multiple of 4

_SECOND = np.uint64(1_000_000_000)

# What stands in front of a frame: a record header of the classic format (section 5), an enhanced
# packet block of pcapng (section 4.3), which ends with its total length once more
_Classic = np.dtype([("seconds", "<u4"), ("rest", "<u4"), ("captured", "<u4"), ("length", "<u4")])
_Enhanced = np.dtype(
    [("kind", "<u4"), ("total", "<u4"), ("interface", "<u4"), ("high", "<u4"), ("low", "<u4")]
    + [("captured", "<u4"), ("length", "<u4")]
)
_Trailer = np.dtype([("total", "<u4")])


@compiled
def encode(
    out: Bytes, position: int, data: Bytes, captured: int, length: int, time: Any, format: int
) -> int:
    """Writes one record at a position of `out`; returns the position behind it.

    The record holds the first `captured` bytes of `data` (uint8, at least as long), the length on
    the wire and the time in nanoseconds since 1970, below 2^64. `format` is PCAP (section 5; its
    seconds wrap in the year 2106) or PCAPNG (an enhanced packet block of interface 0, section 4.3).
    If the record does not fit, nothing is written and the same position is returned.
    """
    begin, size, moment = np.int64(position), np.int64(captured), np.uint64(time)
    padded = (size + 3) // 4 * 4
    total = 16 + size if format == PCAP else 32 + padded
    if begin + total > len(out):
        return begin  # type: ignore[return-value]
    at = np.uint64(out.ctypes.data) + np.uint64(begin)
    if format == PCAP:
        head = array_at(at, 1, _Classic)[0]
        head.seconds = np.uint32(moment // _SECOND)
        head.rest = np.uint32(moment % _SECOND)
        head.captured = size
        head.length = np.uint32(length)
        copy_bytes(at + np.uint64(16), data.ctypes.data, size)
    else:
        block = array_at(at, 1, _Enhanced)[0]
        block.kind = 6
        block.total = total
        block.interface = 0
        block.high = np.uint32(moment >> np.uint64(32))
        block.low = np.uint32(moment & np.uint64(0xFFFFFFFF))
        block.captured = size
        block.length = np.uint32(length)
        copy_bytes(at + np.uint64(28), data.ctypes.data, size)
        out[begin + 28 + size : begin + 28 + padded] = 0
        array_at(at + np.uint64(28) + np.uint64(padded), 1, _Trailer)[0].total = total
    return begin + total  # type: ignore[return-value]
