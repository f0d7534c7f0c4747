"""The one encoder of both formats: compiled, for packet loops and for `Writer` alike."""

from typing import Any

import numpy as np

from ixy.compiled import compiled
from ixy.pcap.scan import Bytes

PCAP, PCAPNG = 0, 1

MAX_OVERHEAD = 32  # bytes that a record needs beyond its frame, padded to a multiple of 4

_SECOND = np.uint64(1_000_000_000)


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
    size = np.int64(captured)
    padded = (size + 3) // 4 * 4
    total = 16 + size if format == PCAP else 32 + padded
    end = np.int64(position) + total
    if end > len(out):
        return np.int64(position)  # type: ignore[return-value]
    at = np.uint64(position)  # unsigned indices need no check for negative ones: twice as fast
    if format == PCAP:
        seconds = np.uint64(time) // _SECOND
        put(out, at, seconds)
        put(out, at + np.uint64(4), np.uint64(time) - seconds * _SECOND)
        at += np.uint64(8)
    else:
        put(out, at, 6)
        put(out, at + np.uint64(4), total)
        put(out, at + np.uint64(8), 0)
        put(out, at + np.uint64(12), np.uint64(time) >> np.uint64(32))
        put(out, at + np.uint64(16), time)
        put(out, at + np.uint64(28) + np.uint64(padded), total)
        at += np.uint64(20)
    put(out, at, size)
    put(out, at + np.uint64(4), length)
    at += np.uint64(8)
    for i in range(np.uint64(size)):
        out[at + np.uint64(i)] = data[i]
    if format == PCAPNG:
        for i in range(np.uint64(size), np.uint64(padded)):
            out[at + np.uint64(i)] = 0
    return end  # type: ignore[return-value]


@compiled
def put(out: Bytes, at: Any, value: Any) -> None:
    """Stores a 32-bit word, little-endian; the compiler makes one store of the four."""
    bits = np.uint64(value)
    for i in range(4):
        out[at + np.uint64(i)] = bits >> np.uint64(8 * i) & np.uint64(255)
