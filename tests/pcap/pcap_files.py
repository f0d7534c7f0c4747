"""Capture files built from the drafts' figures, and a plain way to read them back."""

import struct
import tempfile
from pathlib import Path

from ixy.pcap import Frame, Reader


def record(order, seconds, fraction, frame, length=None, captured=None):
    captured = len(frame) if captured is None else captured
    length = len(frame) if length is None else length
    return struct.pack(f"{order}4I", seconds, fraction, captured, length) + frame


def pcap(order="<", magic=0xA1B2C3D4, snaplen=65535, link=1, version=(2, 4), records=b""):
    return struct.pack(f"{order}I2H4I", magic, *version, 0, 0, snaplen, link) + records


def block(order, kind, body):
    body += bytes(-len(body) % 4)
    size = struct.pack(f"{order}I", 12 + len(body))
    return struct.pack(f"{order}I", kind) + size + body + size


def section(order="<", version=(1, 0), length=-1):
    return block(order, 0x0A0D0D0A, struct.pack(f"{order}I2Hq", 0x1A2B3C4D, *version, length))


def option(order, code, value):
    return struct.pack(f"{order}2H", code, len(value)) + value + bytes(-len(value) % 4)


def interface(order="<", link=1, snaplen=0, options=b""):
    return block(order, 1, struct.pack(f"{order}2HI", link, 0, snaplen) + options)


def enhanced(order, frame, ticks=0, number=0, length=None, captured=None, options=b""):
    captured = len(frame) if captured is None else captured
    length = len(frame) if length is None else length
    head = struct.pack(f"{order}5I", number, ticks >> 32, ticks & 2**32 - 1, captured, length)
    return block(order, 6, head + frame + bytes(-len(frame) % 4) + options)


def simple(order, frame, length=None):
    return block(order, 3, struct.pack(f"{order}I", length or len(frame)) + frame)


def obsolete(order, frame, ticks=0, number=0):
    head = (number, 0xFFFF, ticks >> 32, ticks & 2**32 - 1, len(frame), len(frame))
    return block(order, 2, struct.pack(f"{order}2H4I", *head) + frame)


def open_bytes(content):
    """A Reader of a file with this content, called x.pcap."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "x.pcap")
        path.write_bytes(content)
        return Reader(path)  # the map outlives the name


def take(reader, count=3):
    """(time, bytes, length) of every frame, read in small portions, each in bounds."""
    frames = []
    while len(table := reader.read(count)):
        assert table.dtype == Frame
        assert len(table) <= count
        for offset, captured, length, time in table.tolist():
            assert offset + captured <= len(reader.data)
            frames.append((time, reader.data[offset : offset + captured].tobytes(), length))
    assert reader.frames == len(frames)
    return frames


def read(content):
    """Frames and warning of a file with this content."""
    with open_bytes(content) as reader:
        return take(reader), reader.warning
