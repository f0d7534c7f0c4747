"""VFIO's containers and groups: address spaces of the IOMMU, and the cards in them.

All cards of a process are put into one container where their IOMMUs agree to that: memory is then
pinned once, and all find it at the same address.
"""

import errno
import fcntl
import os
import resource
from pathlib import Path
from typing import Any

from ixy.bus.cards import Card
from ixy.bus.iova import Range, place
from ixy.datasheets import vfio
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory

INFO_BYTES = 4096  # room for a struct and the chain of capabilities behind it
# Where the kernel does not tell what the IOMMU can address: below the window of interrupt messages
COMMON_RANGES = [Range(0, 0xFEDFFFFF)]


def control(file: int, request: int, argument: int | bytearray = 0) -> int:
    """ioctl(2) with a number, or with bytes that the kernel reads and writes."""
    return fcntl.ioctl(file, request, argument)


def ask(file: int, request: int, layout: vfio.Layout, **values: int) -> tuple[Any, bytearray]:
    """Asks the kernel for a struct: its fields, and all the bytes that came, capabilities too."""
    data = bytearray(INFO_BYTES)
    data[: layout.size] = layout.pack(argsz=INFO_BYTES, **values)
    control(file, request, data)
    return layout.unpack(data), data


class Container:
    """An address space of the IOMMU."""

    def __init__(self, folder: Path) -> None:
        self.groups: dict[int | None, Group] = {}
        self._maps: dict[DmaMemory, Range] = {}
        self._users: dict[DmaMemory, int] = {}
        self.file = _open(folder / "vfio", "run: sudo modprobe vfio-pci")
        version = control(self.file, vfio.GET_API_VERSION)
        type1 = control(self.file, vfio.CHECK_EXTENSION, vfio.TYPE1V2_IOMMU)
        if version != vfio.API_VERSION or not type1:
            os.close(self.file)
            raise IxyError("this kernel's VFIO has no IOMMU of type 1: run: sudo modprobe vfio-pci")

    def adopt(self, group: "Group") -> None:
        """Takes a group in. Raises OSError if its IOMMU is of another kind than those here."""
        control(group.file, vfio.GROUP_SET_CONTAINER, bytearray(self.file.to_bytes(4, "little")))
        if not self.groups:
            control(self.file, vfio.SET_IOMMU, vfio.TYPE1V2_IOMMU)
        self.groups[group.number] = group

    def ranges(self) -> list[Range]:
        """The addresses that the platform allows now: a group more may narrow them."""
        info, data = ask(self.file, vfio.IOMMU_GET_INFO, vfio.IOMMU_INFO)
        chain = info.cap_offset if info.flags & vfio.IOMMU_CAPS else 0
        known = vfio.rows(data, chain, vfio.IOVA_RANGES, vfio.RANGES, vfio.RANGE)
        return COMMON_RANGES if known is None else [Range(row.first, row.last) for row in known]

    def map(self, memory: DmaMemory) -> int:
        """Lets the devices reach `memory`; returns where. Raises IxyError, without a name, if the
        platform or the user's limits do not allow it.
        """
        if memory not in self._maps:
            iova = place(memory.size, self.ranges(), self._maps.values())
            where = {"address": memory.address, "iova": iova, "size": memory.size}
            flags = vfio.MAP_READ | vfio.MAP_WRITE
            request = vfio.MAP.pack(argsz=vfio.MAP.size, flags=flags, **where)
            try:
                control(self.file, vfio.IOMMU_MAP_DMA, bytearray(request))
            except OSError as error:
                raise IxyError(_why_not_mapped(memory, error)) from None
            self._maps[memory], self._users[memory] = Range(iova, iova + memory.size - 1), 0
        self._users[memory] += 1
        return self._maps[memory].first

    def unmap(self, memory: DmaMemory) -> None:
        """Ends what `map` began; the mapping itself ends with the last device that uses it."""
        self._users[memory] -= 1
        if not self._users[memory]:
            del self._users[memory]
            where = {"iova": self._maps.pop(memory).first, "size": memory.size}
            request = vfio.UNMAP.pack(argsz=vfio.UNMAP.size, **where)
            control(self.file, vfio.IOMMU_UNMAP_DMA, bytearray(request))


class Group:
    """Cards that the IOMMU cannot tell apart; the kernel lets a group be opened once.

    Raises IxyError, without a name, if it cannot be opened.
    """

    def __init__(self, card: Card) -> None:
        self.number, self.users = card.group, 0
        self.file = _open(card.group_file, f"run: sudo chown $USER {card.group_file}")
        try:
            status, _ = ask(self.file, vfio.GROUP_GET_STATUS, vfio.GROUP_STATUS)
            if not status.flags & vfio.GROUP_VIABLE:
                mend = "; ".join(f"sudo ixy bind {other.address}" for other in card.neighbours)
                raise IxyError(f"the kernel uses others of its IOMMU group: run: {mend}")
            self.container = self._join(card.group_file.parent)
        except BaseException:
            os.close(self.file)
            raise

    def _join(self, folder: Path) -> Container:
        for container in _containers:
            try:
                container.adopt(self)
            except OSError:  # its IOMMU is of another kind
                continue
            return container
        container = Container(folder)
        try:
            container.adopt(self)
        except OSError as error:
            os.close(container.file)
            raise IxyError(f"the IOMMU refuses it: {error.strerror}: see dmesg") from None
        _containers.append(container)
        return container

    def leave(self) -> None:
        """A device has let go; after the last one the group closes, after the last group its
        container.
        """
        self.users -= 1
        if self.users:
            return
        os.close(self.file)
        del self.container.groups[self.number]
        if not self.container.groups:
            os.close(self.container.file)
            _containers.remove(self.container)


_containers: list[Container] = []  # of this process


def enter(card: Card) -> Group:
    """The group of a card, with a user more. Raises IxyError, without a name, if it cannot be
    opened.
    """
    known = (container.groups.get(card.group) for container in _containers)
    group = next(filter(None, known), None) or Group(card)
    group.users += 1
    return group


def _open(path: Path, mend: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            mend = "another process has it open: end that first"
        raise IxyError(f"{path}: {error.strerror}: {mend}") from None


def _why_not_mapped(memory: DmaMemory, error: OSError) -> str:
    what = f"{memory.size >> 10} KiB cannot be mapped for DMA: {error.strerror}"
    if error.errno != errno.ENOMEM:
        return what
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] >> 10
    return f"{what}: you may lock {limit} KiB: run: sudo prlimit --memlock=unlimited --pid $$"
