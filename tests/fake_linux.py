"""A Linux for tests: PCI cards in a sysfs of ordinary files, and a VFIO that answers by literal
numbers, as linux/vfio.h has them. What the real ones do is seen in a guest.
"""

import errno
import os
import struct
from pathlib import Path
from typing import Any, ClassVar

from ixy.bus.cards import Card

CARD = "0000:03:00.0"
NATIVE = {0x10FB: "ixgbe", 0x10C9: "igb"}  # the kernel's own driver of a device


def config_space(device: int = 0x10FB, msix_bar: int = 3) -> bytes:
    """An 82599's, with power management at 0x40, in D3hot, and MSI-X at 0x70: 64 entries."""
    space = bytearray(4096)
    struct.pack_into("<HHHH", space, 0, 0x8086, device, 0, 0x10)
    space[9:12] = bytes([0, 0, 2])
    space[0x34] = 0x40
    struct.pack_into("<BBHH", space, 0x40, 0x01, 0x70, 0, 3)
    struct.pack_into("<BBHII", space, 0x70, 0x11, 0, 63, msix_bar | 0x2000, msix_bar | 0x3000)
    return bytes(space)


class FakeSysfs:
    """A /sys with PCI cards. `write` is what its kernel does when somebody writes to it."""

    def __init__(self, root: Path) -> None:
        self.root, self.pci = root, root / "bus" / "pci"
        (self.pci / "devices").mkdir(parents=True)
        self.load("vfio-pci")
        self.orders: list[tuple[str, str]] = []

    def load(self, driver: str) -> None:
        """Loads a driver's module."""
        (self.pci / "drivers" / driver).mkdir(parents=True)

    def add(
        self,
        address: str = CARD,
        *,
        device: int = 0x10FB,
        kind: int = 0x020000,
        driver: str | None = "ixgbe",
        group: int | None = None,
        translated: bool = True,
        **files: str,
    ) -> Card:
        """A card in a slot."""
        real = self.root / "devices" / "pci0000:00" / address
        real.mkdir(parents=True)
        (self.pci / "devices" / address).symlink_to(real)
        texts = {"vendor": "0x8086\n", "device": f"{device:#06x}\n", "class": f"{kind:#08x}\n"}
        for name, text in (texts | {"driver_override": "(null)\n"} | files).items():
            (real / name).write_text(text)
        (real / "config").write_bytes(config_space(device))
        (real / "resource0").write_bytes(bytes(128 << 10))
        if group is not None:
            folder = self.root / "kernel" / "iommu_groups" / str(group)
            (folder / "devices").mkdir(parents=True, exist_ok=True)
            (folder / "type").write_text("DMA-FQ\n" if translated else "identity\n")
            (folder / "devices" / address).symlink_to(real)
            (real / "iommu_group").symlink_to(folder)
        card = Card(self.pci / "devices" / address)
        if driver:
            self._attach(card, driver)
        return card

    def _attach(self, card: Card, driver: str) -> None:
        folder = self.pci / "drivers" / driver
        if folder.exists() or not self.orders:
            folder.mkdir(exist_ok=True)
            (card.path / "driver").symlink_to(folder)

    def write(self, file: Path, text: str) -> None:
        """An order to the kernel."""
        self.orders.append((str(file.relative_to(self.pci)), text))
        if file.name == "driver_override":
            file.write_text(text)
        elif file.name == "unbind":
            card = Card(self.pci / "devices" / text)
            assert file.parent.name == "driver"
            assert file.parent.parent == card.path
            (card.path / "driver").unlink()
        elif file.name == "drivers_probe":
            card = Card(self.pci / "devices" / text)
            wanted = (card.path / "driver_override").read_text().strip("\n")
            native = NATIVE[int((card.path / "device").read_text(), 16)]
            if card.driver == "none":
                self._attach(card, wanted if wanted not in ("", "(null)") else native)
        else:
            raise AssertionError(f"the kernel has no file {file}")


class FakeVfio:
    """/dev/vfio, and the kernel behind its ioctls. A device is a sparse file: region i begins at
    i << 40.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "vfio").touch()
        self.ranges: list[tuple[int, int]] | None = [(0, 0xFEDFFFFF), (0xFEF00000, (1 << 39) - 1)]
        self.viable, self.limit, self.kinds = True, 1 << 40, {}
        self.devices: dict[str, int] = {}
        self.sizes = {0: 128 << 10, 3: 16 << 10, 7: 4096}
        self.sparse: dict[int, list[tuple[int, int]]] = {}
        self.irqs = {2: 64, 3: 1, 4: 1}
        self.maps: dict[tuple[int, int], tuple[int, int]] = {}  # container, iova: address, size
        self.members: dict[str, int] = {}  # a group: its container's descriptor
        self.eventfds: dict[tuple[int, int], int] = {}
        self.calls: list[str] = []

    def add(self, address: str, group: int, kind: str = "one") -> None:
        """A device in a group, whose IOMMU is of a kind."""
        (self.folder / str(group)).touch()
        self.kinds[str(group)] = kind
        file = os.memfd_create(address)
        os.ftruncate(file, 8 << 40)
        os.pwrite(file, config_space(), 7 << 40)
        self.devices[address] = file

    def close(self) -> None:
        """Removes all devices."""
        for file in self.devices.values():
            os.close(file)

    def ioctl(self, file: int, request: int, argument: Any = 0) -> int:
        """What fcntl.ioctl would do."""
        name, answer = self.CALLS[request]
        self.calls.append(name)
        assert request & 0xFF00 == 0x3B00
        result = answer(self, file, argument)
        return 0 if result is None else result

    def _version(self, file: int, argument: int) -> int:
        return 0

    def _extension(self, file: int, argument: int) -> int:
        return int(argument == 3)

    def _set_iommu(self, file: int, argument: int) -> None:
        assert argument == 3
        assert file in self.members.values(), "the container is empty"

    def _status(self, file: int, data: bytearray) -> None:
        struct.pack_into("<II", data, 0, 8, int(self.viable))

    def _set_container(self, file: int, data: bytearray) -> None:
        group, [container] = _name(file), struct.unpack("<i", data)
        kinds = {self.kinds[other] for other, its in self.members.items() if its == container}
        if kinds - {self.kinds[group]}:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.members[group] = container

    def _device(self, file: int, data: bytearray) -> int:
        assert _name(file) in self.members
        assert data.endswith(b"\0")
        return os.dup(self.devices[data[:-1].decode()])

    def _region(self, file: int, data: bytearray) -> None:
        argsz, _, index = struct.unpack_from("<III", data)
        size, areas = self.sizes.get(index, 0), self.sparse.get(index)
        flags = (7 if index != 7 and size else 3) | (8 if areas is not None else 0)
        struct.pack_into("<IIIIQQ", data, 0, argsz, flags, index, 48, size, index << 40)
        _chain(data, areas or [])

    def _irq_info(self, file: int, data: bytearray) -> None:
        argsz, _, index = struct.unpack_from("<III", data)
        if index > 4:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        struct.pack_into("<IIII", data, 0, argsz, 1, index, self.irqs.get(index, 0))

    def _set_irqs(self, file: int, data: bytearray) -> None:
        argsz, flags, index, start, count = struct.unpack_from("<IIIII", data)
        assert argsz == len(data) == 20 + 4 * count
        assert flags == 0b100100  # eventfds, trigger
        for i, eventfd in enumerate(struct.unpack_from(f"<{count}i", data, 20)):
            self.eventfds[index, start + i] = eventfd

    def _iommu_info(self, file: int, data: bytearray) -> None:
        flags = 1 if self.ranges is None else 3
        struct.pack_into("<IIQI", data, 0, 24, flags, 0xFFFFF000, 48)
        _chain(data, self.ranges or [])

    def _map(self, file: int, data: bytearray) -> None:
        argsz, flags, address, iova, size = struct.unpack("<IIQQQ", data)
        assert (argsz, flags) == (32, 3)
        if size > self.limit:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        allowed = self.ranges or [(0, (1 << 39) - 1)]
        assert any(first <= iova and iova + size - 1 <= last for first, last in allowed)
        for (other, begin), (_, length) in self.maps.items():
            assert other != file or iova + size <= begin or begin + length <= iova
        self.maps[file, iova] = address, size

    def _unmap(self, file: int, data: bytearray) -> None:
        argsz, flags, iova, size = struct.unpack("<IIQQ", data)
        assert (argsz, flags) == (24, 0)
        assert self.maps.pop((file, iova))[1] == size

    CALLS: ClassVar = {
        0x3B64: ("GET_API_VERSION", _version),
        0x3B65: ("CHECK_EXTENSION", _extension),
        0x3B66: ("SET_IOMMU", _set_iommu),
        0x3B67: ("GROUP_GET_STATUS", _status),
        0x3B68: ("GROUP_SET_CONTAINER", _set_container),
        0x3B6A: ("GROUP_GET_DEVICE_FD", _device),
        0x3B6C: ("DEVICE_GET_REGION_INFO", _region),
        0x3B6D: ("DEVICE_GET_IRQ_INFO", _irq_info),
        0x3B6E: ("DEVICE_SET_IRQS", _set_irqs),
        0x3B70: ("IOMMU_GET_INFO", _iommu_info),
        0x3B71: ("IOMMU_MAP_DMA", _map),
        0x3B72: ("IOMMU_UNMAP_DMA", _unmap),
    }


def _name(file: int) -> str:
    return os.path.basename(os.readlink(f"/proc/self/fd/{file}"))


def _chain(data: bytearray, rows: list[tuple[int, int]]) -> None:
    """Two capabilities from 48 on: one that nobody knows, and one with these rows."""
    struct.pack_into("<HHI", data, 48, 9, 1, 64)
    struct.pack_into("<HHIII", data, 64, 1, 1, 0, len(rows), 0)
    for i, row in enumerate(rows):
        struct.pack_into("<QQ", data, 80 + 16 * i, *row)
