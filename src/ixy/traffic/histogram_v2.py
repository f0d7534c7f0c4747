"""HdrHistogram's V2 encoding: what its tools and logs keep a histogram in.

Integers are big-endian. Counters are written up to the last one that is not 0, as ZigZag LEB128
numbers; a negative one stands for so many counters of 0.
"""

import base64
import struct
import time
import zlib

import numpy as np

from ixy.traffic.histogram import DIGITS, HIGHEST, Histogram

COUNTERS, COMPRESSED = 0x1C849313, 0x1C849314  # cookies; the 1 says that words vary in length


def encode(histogram: Histogram) -> str:
    """The compressed V2 payload in base64, which begins with HISTFAAA."""
    words = _words(histogram.counts)
    header = struct.pack(">IIIIQQd", COUNTERS, len(words), 0, DIGITS, 1, HIGHEST, 1.0)
    compressed = zlib.compress(header + words)
    return base64.b64encode(struct.pack(">II", COMPRESSED, len(compressed)) + compressed).decode()


def log(histogram: Histogram, begin: float, seconds: float) -> str:
    """A histogram log of one interval, that began `begin` s after the epoch. Its maximum is in ms,
    as is the custom for ns.
    """
    started = time.strftime("%a %b %d %H:%M:%S UTC %Y", time.gmtime(begin))
    return (
        "#[Histogram log format version 1.3]\n"
        f"#[StartTime: {begin:.3f} (seconds since epoch), {started}]\n"
        '"StartTimestamp","Interval_Length","Interval_Max","Compressed_Histogram"\n'
        f"0.000,{seconds:.3f},{histogram.maximum / 1e6:.3f},{encode(histogram)}\n"
    )


def _words(counts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> bytes:
    result = bytearray()
    after = 0  # the counter behind the last one that is not 0
    for step in map(int, np.flatnonzero(counts)):
        if step > after:
            result += _word(after - step)
        result += _word(int(counts[step]))
        after = step + 1
    return bytes(result)


def _word(value: int) -> bytes:
    """A ZigZag LEB128 number of at most 9 bytes: seven bits each, eight in the ninth."""
    rest = value << 1 if value >= 0 else -value * 2 - 1
    result = bytearray()
    while rest > 0x7F and len(result) < 8:
        result.append(0x80 | rest & 0x7F)
        rest >>= 7
    result.append(rest)
    return bytes(result)
