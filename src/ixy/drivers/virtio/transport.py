"""How a virtio device is reached, and the two ways over PCI: modern (4.1) and legacy (4.1.4.10)."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ixy.bus.function import Bar, Beyond, Doorbell, PciFunction
from ixy.datasheets import pci
from ixy.datasheets import virtio as sheet
from ixy.datasheets.registers import Registers
from ixy.datasheets.virtio import Feature
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory

RESET_SECONDS = 1.0


class Transport(ABC):
    """What the driver sees of a device: features, queues, configuration, memory, status.

    `dma_map` lets the device reach memory, and returns where it finds each page of it (u8);
    `dma_unmap` ends that. `restarted` is called when another device has taken the place of one that
    was lost.
    """

    address: str  # as the user wrote it
    huge = likes_huge = False  # whether memory must be huge pages, or had better be
    align = 64  # bytes: where the device's area of a ring may begin
    resizable = True  # whether a queue may have fewer descriptors than it can
    pairs: int | None = None  # queue pairs, where the device's configuration does not tell
    regs: Any = None
    beyond: Beyond
    dma_map: Callable[[DmaMemory], Any]
    dma_unmap: Callable[[DmaMemory], None]
    restarted: Callable[[], None]

    @abstractmethod
    def begin(self) -> Feature:
        """Resets the device; returns what it offers (3.1.1, steps 1 to 4)."""

    @abstractmethod
    def accept(self, features: Feature) -> None:
        """Settles the features (steps 5 and 6). Raises IxyError if the device will not have it."""

    @abstractmethod
    def config(self, offset: int, size: int) -> bytes:
        """A part of the device's own configuration."""

    @abstractmethod
    def set_config(self, offset: int, data: bytes) -> None:
        """Writes a part of it. Raises IxyError where that cannot be done."""

    @abstractmethod
    def queue_size(self, index: int) -> int:
        """The most descriptors that a queue can have; 0 if there is no such queue."""

    @abstractmethod
    def start_queue(self, index: int, size: int, areas: tuple[int, int, int]) -> Doorbell:
        """Tells the device where it finds a queue's descriptors, driver's and device's area (2.6);
        returns how to notify it.
        """

    @abstractmethod
    def go(self) -> None:
        """Lets the device work (step 8)."""

    @abstractmethod
    def stop(self) -> None:
        """Resets the device: it does not touch memory any more."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of the device."""

    @property
    def connected(self) -> bool:
        """Whether there is a device at the other end."""
        return True

    @property
    def needs_reset(self) -> bool:
        """Whether the device has met an error that it cannot recover from (2.1.2)."""
        return False


class Window:
    """A structure of registers within a BAR."""

    def __init__(self, bar: Bar, start: int) -> None:
        self.bar, self.start = bar, start

    def read(self, offset: int, size: int) -> int:
        """Reads a register of 1, 2 or 4 bytes."""
        return self.bar.read(self.start + offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """Writes one."""
        self.bar.write(self.start + offset, size, value)


class PciTransport(Transport):
    """What modern and legacy devices have in common: the status, and a PCI function beneath."""

    def __init__(self, function: PciFunction) -> None:
        self.function, self.beyond, self.address = function, function, function.address
        self.huge, self.likes_huge = function.huge, function.likes_huge
        self.dma_map, self.dma_unmap = function.dma_map, function.dma_unmap
        self._device: Window  # the device's own configuration

    def begin(self) -> Feature:
        """Reset, then what both ends must know of each other."""
        self.stop()
        self._master(pci.COMMAND_BUS_MASTER)
        self.regs.DEVICE_STATUS.write(ACKNOWLEDGE=1)
        self.regs.DEVICE_STATUS.update(DRIVER=1)
        return self._offered()

    def _master(self, on: int) -> None:
        command = self.function.config_read(pci.COMMAND, 2) & ~pci.COMMAND_BUS_MASTER
        self.function.config_write(pci.COMMAND, 2, command | on)

    @abstractmethod
    def _offered(self) -> Feature:
        """What the device offers."""

    def config(self, offset: int, size: int) -> bytes:
        """A field of 2 or 4 bytes with one access, any other byte by byte (4.1.3.1)."""
        step = size if size in (2, 4) else 1
        parts = (self._device.read(offset + i, step) for i in range(0, size, step))
        return b"".join(part.to_bytes(step, "little") for part in parts)

    def queue_size(self, index: int) -> int:
        """The select register, and what it selects."""
        self.regs.QUEUE_SELECT.write(index)
        return int(self.regs.QUEUE_SIZE.read())

    def go(self) -> None:
        """DRIVER_OK."""
        self.regs.DEVICE_STATUS.update(DRIVER_OK=1)

    def stop(self) -> None:
        """Writes 0 and waits until it reads as 0 (2.4.1, 4.1.4.3.2)."""
        self.regs.DEVICE_STATUS.write(0)
        self.regs.DEVICE_STATUS.wait(RESET_SECONDS, WHOLE=0)

    @property
    def needs_reset(self) -> bool:
        """What its status says."""
        return bool(self.regs.DEVICE_STATUS.field("NEEDS_RESET"))

    def close(self) -> None:
        """Bus mastering off."""
        self._master(0)
        self.function.close()


class ModernPci(PciTransport):
    """A device whose structures capabilities tell of (4.1.4): registers in memory."""

    def __init__(self, function: PciFunction, places: dict[int, int]) -> None:
        super().__init__(function)
        common, self._notify, self._device = (
            self._window(places, kind)
            for kind in (sheet.COMMON_CFG, sheet.NOTIFY_CFG, sheet.DEVICE_CFG)
        )
        self.regs = Registers(sheet.MODERN, common, self.address)
        at = places[sheet.NOTIFY_CFG] + sheet.CAP_MULTIPLIER
        self._multiplier = function.config_read(at, 4)

    def _window(self, places: dict[int, int], kind: int) -> Window:
        if kind not in places:
            raise IxyError(f"{self.address}: no capability of type {kind}: is it broken? (4.1.4)")
        bar = self.function.bar(self.function.config_read(places[kind] + sheet.CAP_BAR, 1))
        return Window(bar, self.function.config_read(places[kind] + sheet.CAP_OFFSET, 4))

    def _offered(self) -> Feature:
        offered = 0
        for half in (0, 1):
            self.regs.DEVICE_FEATURE_SELECT.write(half)
            offered |= self.regs.DEVICE_FEATURE.read() << 32 * half
        return Feature(offered)

    def accept(self, features: Feature) -> None:
        """FEATURES_OK stays only if the device agrees."""
        if not features & Feature.VERSION_1:
            raise IxyError(f"{self.address}: it does not offer VERSION_1: is it broken? (6.1)")
        for half in (0, 1):
            self.regs.DRIVER_FEATURE_SELECT.write(half)
            self.regs.DRIVER_FEATURE.write(int(features) >> 32 * half & 0xFFFFFFFF)
        self.regs.DEVICE_STATUS.update(FEATURES_OK=1)
        if not self.regs.DEVICE_STATUS.field("FEATURES_OK"):
            raise IxyError(f"{self.address}: it refuses the features {features!r} (3.1.1)")

    def set_config(self, offset: int, data: bytes) -> None:
        """Only a legacy device's can be written (5.1.4.1)."""
        raise IxyError(f"{self.address}: it offers no CTRL_MAC_ADDR: its address cannot be changed")

    def start_queue(self, index: int, size: int, areas: tuple[int, int, int]) -> Doorbell:
        """Size, addresses, enable: section 4.1.5.1.3."""
        regs = self.regs
        regs.QUEUE_SELECT.write(index)
        regs.QUEUE_SIZE.write(size)
        regs.QUEUE_MSIX_VECTOR.write(sheet.NO_VECTOR)
        for name, area in zip(("QUEUE_DESC", "QUEUE_DRIVER", "QUEUE_DEVICE"), areas, strict=True):
            for half in (0, 1):
                regs[name][half].write(area >> 32 * half & 0xFFFFFFFF)
        regs.QUEUE_ENABLE.write(1)
        offset = self._notify.start + regs.QUEUE_NOTIFY_OFF.read() * self._multiplier
        return self._notify.bar.notifier(offset, 2, index)


class LegacyPci(PciTransport):
    """A device of version 0.9.5: registers in I/O ports, queues where they start in memory."""

    align = sheet.LEGACY_PAGE
    resizable = False

    def __init__(self, function: PciFunction) -> None:
        super().__init__(function)
        self._bar = function.bar(0)
        self._device = Window(self._bar, sheet.LEGACY_CONFIG)
        self.regs = Registers(sheet.LEGACY, self._bar, self.address)

    def _offered(self) -> Feature:
        return Feature(self.regs.DEVICE_FEATURE.read())

    def accept(self, features: Feature) -> None:
        """There is no answer."""
        self.regs.DRIVER_FEATURE.write(int(features))

    def set_config(self, offset: int, data: bytes) -> None:
        """Byte by byte, as it is read."""
        for i, byte in enumerate(data):
            self._device.write(offset + i, 1, byte)

    def start_queue(self, index: int, size: int, areas: tuple[int, int, int]) -> Doorbell:
        """The number of its first page: the device knows where the rest is (2.7.2)."""
        self.regs.QUEUE_SELECT.write(index)
        self.regs.QUEUE_PFN.write(areas[0] // sheet.LEGACY_PAGE)
        return self._bar.notifier(self.regs.QUEUE_NOTIFY.offset, 2, index)


def pci_transport(function: PciFunction) -> PciTransport:
    """Modern if the function's capabilities say where everything is (4.1.4), else legacy."""
    places: dict[int, int] = {}
    for place in function.capabilities(sheet.CAP_VENDOR):
        kind = function.config_read(place + sheet.CAP_TYPE, 1)
        places.setdefault(kind, place)  # the first one of a type is the best (4.1.4.1)
    return ModernPci(function, places) if sheet.COMMON_CFG in places else LegacyPci(function)
