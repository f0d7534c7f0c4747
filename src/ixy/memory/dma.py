"""Memory that a device may read and write by itself (direct memory access)."""

import ctypes
import fcntl
import mmap
import os
from contextlib import suppress

from ixy.errors import IxyError
from ixy.system import more_huge_pages

HUGE_PAGE = 2 * 1024 * 1024


class DmaMemory:
    """Zeroed shared memory without a name in the file system, mapped into this process.

    `address` is where it starts here, `size` its bytes, `file` its descriptor (to share it with
    another process). A device knows it by other addresses: those come from the bus that maps it
    (`PciFunction.dma_map`). `page` bytes from a multiple of `page` on are contiguous for every
    device: a huge page where real hardware wants physical addresses, all of the memory where the
    bus translates. `huge` tells which it is.

    Raises IxyError when there are not enough huge pages.
    """

    def __init__(self, size: int, *, huge: bool = False) -> None:
        unit = HUGE_PAGE if huge else mmap.PAGESIZE
        self.size = -(-size // unit) * unit
        self.huge, self.page = huge, HUGE_PAGE if huge else self.size
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | (os.MFD_HUGETLB if huge else 0)
        self.file = os.memfd_create("ixy", flags)
        try:
            os.ftruncate(self.file, self.size)
            # whoever is given the file cannot cut it short: that would kill who uses the memory
            fcntl.fcntl(self.file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
            self._map = mmap.mmap(self.file, self.size)
        except OSError as error:
            os.close(self.file)
            mend = more_huge_pages(self.size // HUGE_PAGE) if huge else "free some memory"
            raise IxyError(f"no {self.size >> 10} KiB of DMA memory ({error}): {mend}") from None
        self._anchor = ctypes.c_char.from_buffer(self._map)
        self.address = ctypes.addressof(self._anchor)
        self._used = 0

    def take(self, size: int, align: int = 128) -> int:
        """Hands out `size` bytes, never to be returned; gives their offset. Raises IxyError if none
        are left.
        """
        offset = -(-self._used // align) * align
        if offset + size > self.size:
            raise IxyError(f"DMA memory of {self.size} bytes has no {size} left")
        self._used = offset + size
        return offset

    def view(self, offset: int, size: int) -> memoryview:
        """A writable window on the memory."""
        return memoryview(self._map)[offset : offset + size]

    def close(self) -> None:
        """Gives the memory back, or leaves that to the last view of it."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1
            del self._anchor
            with suppress(BufferError):  # a view is still held: unmapping it would be a crash
                self._map.close()
