"""A card through sysfs: as root, without an IOMMU, without interrupts.

The card finds memory by physical addresses, which are contiguous in a huge page. Nothing protects
the machine: a wrong address is somebody else's memory, and a process that was killed leaves a card
behind that still writes into what was its memory. Linux moves huge pages only when somebody takes
memory out of service.
"""

import fcntl
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np

from ixy.bus.cards import Card
from ixy.bus.function import Bar
from ixy.bus.linux import LinuxFunction
from ixy.errors import IxyError
from ixy.memory.dma import HUGE_PAGE, DmaMemory

PAGEMAP = Path("/proc/self/pagemap")  # 8 bytes per page: bit 63 present, bits 54:0 frame number
PRESENT, FRAME = 1 << 63, (1 << 55) - 1


class SysfsFunction(LinuxFunction):
    """A PCI function that no kernel driver has, by the files of its sysfs folder.

    Raises IxyError if it is not free, or if the user may not.
    """

    huge = True

    def __init__(self, address: str, card: Card) -> None:
        super().__init__(address)
        self.card = card
        self._must_be_free()
        try:
            self._lock(self._open(card.path / "config"))
            self.wake()
        except IxyError:
            self.close()
            raise

    def _must_be_free(self) -> None:
        if self.card.driver != "none":
            trouble = (
                f"the kernel's driver {self.card.driver} has it: sudo ixy bind {self.card.address}"
            )
        elif self.card.translated:
            trouble = (
                "an IOMMU translates its addresses, so sysfs does not do: sudo ixy bind"
                f" {self.card.address} --driver vfio-pci"
            )
        else:
            return
        raise IxyError(f"{self.address}: {trouble}")

    def _open(self, path: Path) -> int:
        try:
            self._files.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except PermissionError:
            raise IxyError(f"{self.address}: {path}: be root, or use VFIO: see ixy bind") from None
        except OSError as error:
            raise IxyError(f"{self.address}: {path}: {error.strerror}") from None
        return self._files[-1]

    def _lock(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise IxyError(f"{self.address}: another process has it open: end that first") from None

    def bar(self, index: int) -> Bar:
        """A memory BAR, mapped as a whole. Raises IxyError if there is none of this index."""
        if index in self._bars:
            return self._bars[index]
        file = self._open(self.card.path / f"resource{index}")
        return self.map_bar(index, file, 0, [(0, os.fstat(file).st_size)])

    def dma_map(self, memory: DmaMemory) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Where in physical memory each huge page is. Raises IxyError for other pages than huge
        ones.
        """
        return physical_addresses(self.address, memory)

    def dma_unmap(self, memory: DmaMemory) -> None:
        """Nothing: all that keeps the device from memory here is that its driver has stopped it."""

    def interrupts(self, count: int) -> list[int]:
        """None: raises IxyError."""
        raise IxyError(
            f"{self.address}: sysfs has no interrupts for user space: run: sudo ixy bind"
            f" {self.card.address} --driver vfio-pci"
        )


def physical_addresses(
    address: str, memory: DmaMemory, pagemap: Path = PAGEMAP
) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Where each huge page of `memory` is in physical memory (Linux: admin-guide/mm/pagemap).

    Raises IxyError, naming the device `address`, if the pages are not huge or Linux does not tell.
    """
    if not memory.huge:
        raise IxyError(f"{address}: needs packet memory in huge pages: Mempool(..., huge=True)")
    for offset in range(0, memory.size, HUGE_PAGE):
        _ = memory.view(offset, 1)[0]  # before it is touched there is no page
    places = physical_pages(memory.address, memory.size, pagemap)
    if not all(places):
        raise IxyError(f"{address}: {pagemap} hides physical addresses: be root")
    return np.array(places, np.uint64)


def physical_pages(begin: int, size: int, pagemap: Path = PAGEMAP) -> list[int]:
    """Where each huge page of this process's memory from `begin` on is in physical memory; 0 where
    Linux does not tell, or nobody has touched it here.
    """
    places = []
    with pagemap.open("rb", buffering=0) as file:
        for address in range(begin, begin + size, HUGE_PAGE):
            entry = os.pread(file.fileno(), 8, address // mmap.PAGESIZE * 8)
            word = int.from_bytes(entry, "little")
            places.append((word & FRAME) * mmap.PAGESIZE if word & PRESENT else 0)
    return places
