"""VFIO, Linux's door to devices for user space: what its header linux/vfio.h has in numbers.

A container is an address space of the IOMMU. Groups of devices, which the IOMMU cannot tell apart,
are put into it; a group's devices have regions (BARs, configuration space) and interrupts. The
protocol vfio-user speaks of regions and interrupts in the same structs.
"""

import struct
from collections import namedtuple
from typing import Any


class Layout:
    """A struct: its fields in their order, each with a letter of Python's module struct."""

    def __init__(self, **fields: str) -> None:
        self._struct = struct.Struct("<" + "".join(fields.values()))
        record = namedtuple("Fields", fields, defaults=[0] * len(fields))  # type: ignore[misc]
        self._tuple: Any = record
        self.size = self._struct.size

    def pack(self, **values: int) -> bytes:
        """The bytes of a struct; a field without a value is 0."""
        return self._struct.pack(*self._tuple(**values))

    def unpack(self, data: bytes | bytearray | memoryview) -> Any:
        """The fields of the struct that `data` begins with. Raises struct.error if it is shorter
        than that.
        """
        return self._tuple(*self._struct.unpack_from(data))


# ioctl numbers: type ';', from 100 on
GET_API_VERSION, CHECK_EXTENSION, SET_IOMMU = 0x3B64, 0x3B65, 0x3B66  # of a container
GROUP_GET_STATUS, GROUP_SET_CONTAINER, GROUP_GET_DEVICE_FD = 0x3B67, 0x3B68, 0x3B6A
DEVICE_GET_INFO, DEVICE_GET_REGION_INFO, DEVICE_GET_IRQ_INFO = 0x3B6B, 0x3B6C, 0x3B6D
DEVICE_SET_IRQS = 0x3B6E
IOMMU_GET_INFO, IOMMU_MAP_DMA, IOMMU_UNMAP_DMA = 0x3B70, 0x3B71, 0x3B72  # of a container
API_VERSION, TYPE1V2_IOMMU = 0, 3

GROUP_STATUS = Layout(argsz="I", flags="I")
GROUP_VIABLE = 1 << 0  # no kernel driver has a device of the group

CAPABILITY = Layout(id="H", version="H", next="I")  # heads each part of a chain of them

IOMMU_INFO = Layout(argsz="I", flags="I", page_sizes="Q", cap_offset="I", pad="I")
IOMMU_CAPS = 1 << 1
IOVA_RANGES = 1  # a capability: RANGES, then so many RANGE; an address outside is refused
RANGES = Layout(count="I", reserved="I")
RANGE = Layout(first="Q", last="Q")
MAP = Layout(argsz="I", flags="I", address="Q", iova="Q", size="Q")
MAP_READ, MAP_WRITE = 1 << 0, 1 << 1
UNMAP = Layout(argsz="I", flags="I", iova="Q", size="Q")

DEVICE_INFO = Layout(argsz="I", flags="I", num_regions="I", num_irqs="I")
DEVICE_RESETS, DEVICE_IS_PCI = 1 << 0, 1 << 1

REGION_INFO = Layout(argsz="I", flags="I", index="I", cap_offset="I", size="Q", offset="Q")
REGION_READABLE, REGION_WRITEABLE, REGION_MMAP, REGION_CAPS = (1 << bit for bit in range(4))
CONFIG_REGION, PCI_REGIONS = 7, 9  # 0 to 5 are the BARs
SPARSE_MMAP = 1  # a capability: AREAS, then so many AREA; only these may be mapped
AREAS = Layout(count="I", reserved="I")
AREA = Layout(offset="Q", size="Q")

IRQ_INFO = Layout(argsz="I", flags="I", index="I", count="I")
IRQ_EVENTFD, IRQ_MASKABLE, IRQ_AUTOMASKED = (1 << bit for bit in range(3))
INTX, MSI, MSIX, ERR, REQ = range(5)  # ERR: PCI Express reports an error; REQ: the device is wanted
SET_IRQS = Layout(argsz="I", flags="I", index="I", start="I", count="I")  # then the data
DATA_NONE, DATA_BOOL, DATA_EVENTFD, MASK, UNMASK, TRIGGER = (1 << bit for bit in range(6))


def rows(
    data: bytes | bytearray, offset: int, number: int, head: Layout, row: Layout
) -> list[Any] | None:
    """The rows of the capability `number`, which has a `head` with their count: None if the chain
    that begins at `offset` does not have it.
    """
    while offset:
        capability = CAPABILITY.unpack(data[offset:])
        if capability.id == number:
            begin = offset + CAPABILITY.size
            count, first = head.unpack(data[begin:]).count, begin + head.size
            return [row.unpack(data[first + i * row.size :]) for i in range(count)]
        offset = capability.next if capability.next > offset else 0  # never in a circle
    return None
