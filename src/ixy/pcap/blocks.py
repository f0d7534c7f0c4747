"""The blocks of a pcapng file that hold no frames: where they come from, and what was counted.

Options beyond the format's own are left out where nothing is known.
"""

import platform
import struct
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from ixy.pcap.scan import ETHERNET
from ixy.system import cpu_name

LONGEST_OPTION = 65535  # bytes: its length has 16 bits


@dataclass
class Interface:
    """What a file says of the port that its frames came from."""

    name: str = ""
    speed: int = 0  # bit/s; 0 is unknown
    filter: str = ""  # the expression that chose them, pcap-filter(7)


class Counts(NamedTuple):
    """An interface's counters since the capture began; the times are ns since 1970.

    received = accepted + those the filter rejected + dropped.
    """

    begin: int
    end: int
    received: int
    dropped: int
    accepted: int
    delivered: int  # of those accepted, how many the file got


@cache
def section_header() -> bytes:
    """Section 4.1; the section's length is not known before it ends."""
    options = _option(2, cpu_name().encode())  # shb_hardware
    options += _option(3, f"{platform.system()} {platform.release()}".encode())  # shb_os
    options += _option(4, _application().encode())  # shb_userappl
    return _block(0x0A0D0D0A, struct.pack("<I2Hq", 0x1A2B3C4D, 1, 0, -1) + _ended(options))


def _application() -> str:
    try:
        return f"ixy {version('ixy')}"
    except PackageNotFoundError:  # run from a directory that is not installed
        return "ixy"


def interface_description(interface: Interface, snaplen: int) -> bytes:
    """Section 4.2: Ethernet, its times in nanoseconds."""
    options = b""
    if interface.name:
        options += _option(2, interface.name.encode(errors="replace"))  # if_name
    if interface.speed:
        options += _option(8, struct.pack("<Q", interface.speed))  # if_speed
    options += _option(9, b"\x09")  # if_tsresol
    if interface.filter:
        options += _option(
            11, b"\0" + interface.filter.encode(errors="replace")
        )  # if_filter: an expression
    return _block(1, struct.pack("<2HI", ETHERNET, 0, snaplen) + _ended(options))


def interface_statistics(counts: Counts) -> bytes:
    """Section 4.6. ifdrop has all reasons together: the ring was full, the file was too slow."""
    options = _option(2, _time(counts.begin)) + _option(3, _time(counts.end))  # isb_starttime, end
    for code, count in ((4, counts.received), (5, counts.dropped)):  # isb_ifrecv, isb_ifdrop
        options += _option(code, struct.pack("<Q", count))
    for code, count in ((6, counts.accepted), (8, counts.delivered)):  # filteraccept, usrdeliv
        options += _option(code, struct.pack("<Q", count))
    return _block(5, struct.pack("<I", 0) + _time(counts.end) + _ended(options))


def _time(nanoseconds: int) -> bytes:
    """A time stamp: the higher word first, whatever the byte order."""
    return struct.pack("<2I", nanoseconds >> 32, nanoseconds & 0xFFFFFFFF)


def _block(kind: int, body: bytes) -> bytes:
    """A block of a body that is a multiple of 4 bytes long, section 3.1."""
    size = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + size + body + size


def _option(code: int, value: bytes) -> bytes:
    """An option, padded to a multiple of 4 bytes, section 3.5."""
    value = value[:LONGEST_OPTION]
    return struct.pack("<2H", code, len(value)) + value + bytes(-len(value) % 4)


def _ended(options: bytes) -> bytes:
    return options + _option(0, b"")  # opt_endofopt


STATISTICS_SIZE = len(interface_statistics(Counts(0, 0, 0, 0, 0, 0)))  # bytes, always
