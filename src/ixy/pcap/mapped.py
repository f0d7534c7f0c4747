"""Files as memory, and which ones are: whoever overwrote one would take that memory away."""

import mmap
import os
from typing import BinaryIO
from weakref import WeakSet

import numpy as np

from ixy.pcap.scan import Bytes


class _Mapped(mmap.mmap):
    """A file in memory, as long as an array shows a part of it."""

    identity: tuple[int, int]


_all_mapped: WeakSet[_Mapped] = WeakSet()


def map_file(file: BinaryIO) -> Bytes:
    """The bytes of a file that is not empty, read-only. Raises OSError if it cannot be mapped."""
    mapped = _Mapped(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped.identity = _identity(file.fileno())
    _all_mapped.add(mapped)
    return np.frombuffer(mapped, np.uint8)


def is_mapped(path: str | os.PathLike[str] | int) -> bool:
    """Whether a file, if there is one, is in memory."""
    try:
        identity = _identity(path)
    except OSError:
        return False
    return any(mapped.identity == identity for mapped in _all_mapped)


def _identity(path: str | os.PathLike[str] | int) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
