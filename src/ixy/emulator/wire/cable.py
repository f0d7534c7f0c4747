"""`cable:NAME`: every two ports with the same name are connected, also across processes.

The cable is a file in shared memory with a frame ring each way. Each end is held by a file lock, so
an end whose process was killed is free again, and the other end sees its link go down.
"""

import ctypes
import fcntl
import mmap
import os
import re
import struct

from ixy.emulator.wire.base import Wire
from ixy.emulator.wire.frames import RING_BYTES
from ixy.errors import IxyError


class Cable(Wire):
    """One end of a cable. Raises IxyError if both ends are taken."""

    def __init__(self, name: str) -> None:
        if not re.fullmatch(r"[\w.-]{1,64}", name):
            raise IxyError(
                f"a cable named {name!r}: give it a name of letters, digits, '_', '-' and '.'"
            )
        super().__init__(patient=False)
        self._path = os.path.join("/dev/shm", f"ixy-cable-{os.getuid()}-{name}")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._file = os.open(self._path, flags, 0o600)
            os.ftruncate(self._file, 2 * RING_BYTES)
        except OSError as error:
            raise IxyError(f"cable {name}: {self._path}: {error.strerror}: remove it") from None
        self._end = next((end for end in (0, 1) if self._take(end)), None)
        if self._end is None:
            os.close(self._file)
            super().close()
            raise IxyError(f"cable {name} has two ends and both are taken: choose another name")
        self._map = mmap.mmap(self._file, 2 * RING_BYTES)
        self._anchor = ctypes.c_char.from_buffer(self._map)
        base = ctypes.addressof(self._anchor)
        to_me, from_me = base + self._end * RING_BYTES, base + (1 - self._end) * RING_BYTES
        self._set(rx=to_me, tx=from_me)
        if not self.link:  # first here: nothing that an earlier pair left behind arrives
            ctypes.memset(base, 0, 2 * RING_BYTES)

    def _take(self, end: int) -> bool:
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK, end))
        except OSError:
            return False
        return True

    @property
    def link(self) -> bool:
        """Whether somebody holds the other end."""
        request = _lock(fcntl.F_WRLCK, 1 - (self._end or 0))
        answer = fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, request)
        return bool(struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK)

    def close(self) -> None:
        """Unplugs this end; the last one to go removes the file."""
        if not self.link:
            os.unlink(self._path)
        del self._anchor
        self._map.close()
        os.close(self._file)  # also ends the lock
        super().close()


def _lock(kind: int, end: int) -> bytes:
    """struct flock (fcntl(2)) for one byte of the file: an end. Locks of open files hold between
    threads too.
    """
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, end, 1, 0)
