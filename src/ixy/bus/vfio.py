"""A card through VFIO: behind an IOMMU, with interrupts, for any user who owns its group.

The device reaches what was mapped for it and nothing else, and when the process ends, however it
ends, the kernel stops it. The numbers and structs are those of linux/vfio.h.
"""

import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from ixy.bus.cards import Card
from ixy.bus.container import ask, control, enter
from ixy.bus.function import Bar
from ixy.bus.linux import LinuxFunction
from ixy.datasheets import pci, vfio
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory

EVENTS = {  # an interrupt of VFIO's own, and what it means
    vfio.ERR: "PCI Express reports an error of the device: see dmesg",
    vfio.REQ: "the kernel wants the device back: it is being unbound or removed",
}


class VfioFunction(LinuxFunction):
    """A PCI function that the kernel's driver vfio-pci has. Raises IxyError if it cannot be
    opened.
    """

    likes_huge = True

    def __init__(self, address: str, card: Card) -> None:
        super().__init__(address)
        self._eventfds: list[int] = []
        self._events: dict[int, int] = {}
        try:
            self._group = enter(card)
        except IxyError as error:
            raise IxyError(f"{address}: {error}") from None
        try:
            self._open(card.address)
        except OSError as error:
            self.close()
            raise IxyError(f"{address}: {error.strerror}: see dmesg") from None
        except BaseException:
            self.close()
            raise

    def _open(self, slot: str) -> None:
        name = bytearray(slot.encode() + b"\0")
        self._files.append(control(self._group.file, vfio.GROUP_GET_DEVICE_FD, name))
        region, _ = self._region(vfio.CONFIG_REGION)
        self._config = region.offset
        self.wake()
        for index in filter(self._vectors, EVENTS):
            [self._events[index]] = self._signal(index, 1)

    def _region(self, index: int) -> tuple[Any, bytearray]:
        device = self._files[0]
        return ask(device, vfio.DEVICE_GET_REGION_INFO, vfio.REGION_INFO, index=index)

    def bar(self, index: int) -> Bar:
        """A BAR, mapped as far as the kernel allows, but for the page with the interrupt table.
        Raises IxyError if the function has none of this index.
        """
        if index in self._bars:
            return self._bars[index]
        region, data = self._region(index)
        if not region.size:
            raise IxyError(f"{self.address} has no BAR {index}")
        parts = [(0, region.size)] if region.flags & vfio.REGION_MMAP else []
        chain = region.cap_offset if region.flags & vfio.REGION_CAPS else 0
        areas = vfio.rows(data, chain, vfio.SPARSE_MMAP, vfio.AREAS, vfio.AREA)
        if parts and areas is not None:
            parts = [(area.offset, area.size) for area in areas]
        parts = list(without(parts, *self._interrupt_table(index)))
        return self.map_bar(index, self._files[0], region.offset, parts)

    def _interrupt_table(self, index: int) -> tuple[int, int]:
        """First byte and end of the MSI-X table in a BAR (PCI Local Bus 3.0, 6.8.2); 0, 0 if it is
        not there. A stray write to it would send interrupts anywhere.
        """
        for place in self.capabilities(pci.CAP_MSIX):
            table = self.config_read(place + pci.MSIX_TABLE, 4)
            if table & pci.MSIX_BAR == index:
                control = self.config_read(place + pci.MSIX_CONTROL, 2)
                begin = table & ~pci.MSIX_BAR
                return begin, begin + pci.MSIX_ENTRY * ((control & pci.MSIX_SIZE) + 1)
        return 0, 0

    def dma_map(self, memory: DmaMemory) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Lets the device, and those that share its address space, reach `memory`. Raises IxyError
        if the platform or the user's limits do not allow it.
        """
        try:
            iova = self._group.container.map(memory)
        except IxyError as error:
            raise IxyError(f"{self.address}: {error}") from None
        return np.arange(iova, iova + memory.size, memory.page, dtype=np.uint64)

    def dma_unmap(self, memory: DmaMemory) -> None:
        """Ends a mapping, unless another device of this process still uses it."""
        self._group.container.unmap(memory)

    def interrupts(self, count: int) -> list[int]:
        """An eventfd for each of the first `count` MSI-X vectors. Raises IxyError if the device has
        fewer.
        """
        if count > (vectors := self._vectors(vfio.MSIX)):
            raise IxyError(f"{self.address}: {count} interrupts: it has {vectors}")
        return self._signal(vfio.MSIX, count)

    def _vectors(self, index: int) -> int:
        """How many interrupts of a kind the device has."""
        with suppress(OSError):  # EINVAL: there are none of this kind
            info, _ = ask(self._files[0], vfio.DEVICE_GET_IRQ_INFO, vfio.IRQ_INFO, index=index)
            return int(info.count)
        return 0

    def _signal(self, index: int, count: int) -> list[int]:
        """Enables the first `count` interrupts of a kind: an eventfd for each."""
        files = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(count)]
        self._eventfds += files
        size = vfio.SET_IRQS.size + 4 * count
        flags = vfio.DATA_EVENTFD | vfio.TRIGGER
        head = vfio.SET_IRQS.pack(argsz=size, flags=flags, index=index, start=0, count=count)
        data = b"".join(file.to_bytes(4, "little") for file in files)
        control(self._files[0], vfio.DEVICE_SET_IRQS, bytearray(head + data))
        return files

    def check(self) -> None:
        """Raises IxyError if the device is gone, failed, is wanted back, or was refused memory."""
        for index, file in self._events.items():
            with suppress(BlockingIOError):
                os.eventfd_read(file)
                raise IxyError(f"{self.address}: {EVENTS[index]}")
        super().check()

    def close(self) -> None:
        """Lets go of the function; the kernel ends its interrupts and resets it."""
        super().close()
        while self._eventfds:
            os.close(self._eventfds.pop())
        self._group.leave()


def without(parts: Iterable[tuple[int, int]], begin: int, end: int) -> Iterator[tuple[int, int]]:
    """`parts`, (offset, size), without the pages that bytes `begin` to `end` are in."""
    page = mmap.PAGESIZE
    first, after = begin // page * page, -(-end // page) * page
    for offset, size in parts:
        for start, stop in (offset, min(offset + size, first)), (max(offset, after), offset + size):
            if start < stop:
                yield start, stop - start
