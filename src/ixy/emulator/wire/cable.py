"""`cable:NAME`: every two ports with the same name are connected, also across processes.

The cable is a file in shared memory: a frame ring each way, and a byte per end that says whether
its port receives. Each end is held by a file lock, so an end whose process was killed is free
again, and the other end sees its link go down.
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

LISTENING = 2 * RING_BYTES  # where the two bytes are
SIZE = LISTENING + 2


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
            os.ftruncate(self._file, SIZE)
        except OSError as error:
            raise IxyError(f"cable {name}: {self._path}: {error.strerror}: remove it") from None
        free = next((end for end in (0, 1) if self._take(end)), None)
        if free is None:
            os.close(self._file)
            super().close()
            raise IxyError(f"cable {name} has two ends and both are taken: choose another name")
        self._end = free
        self._map = mmap.mmap(self._file, SIZE)
        self._anchor = ctypes.c_char.from_buffer(self._map)
        base = ctypes.addressof(self._anchor)
        to_me, from_me = base + self._end * RING_BYTES, base + (1 - self._end) * RING_BYTES
        self._set(rx=to_me, tx=from_me)
        self.listen(False)
        if not self._is_taken(1 - free):  # first here: what an earlier pair left does not arrive
            ctypes.memset(base, 0, 2 * RING_BYTES)

    def _take(self, end: int) -> bool:
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK, end))
        except OSError:
            return False
        return True

    def _is_taken(self, end: int) -> bool:
        answer = fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, _lock(fcntl.F_WRLCK, end))
        return bool(struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK)

    def listen(self, on: bool) -> None:
        """Tells the other end whether this one's port receives."""
        self._map[LISTENING + self._end] = on

    @property
    def link(self) -> bool:
        """Whether somebody holds the other end and receives there."""
        other = 1 - self._end
        return bool(self._map[LISTENING + other]) and self._is_taken(other)

    def close(self) -> None:
        """Unplugs this end; the last one to go removes the file."""
        if not self._is_taken(1 - self._end):
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
