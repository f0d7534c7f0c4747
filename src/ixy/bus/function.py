"""What a driver knows of the hardware: one PCI function, however it is reached."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ixy.datasheets import pci
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory


class Doorbell(NamedTuple):
    """How compiled code notifies a device: by a store to `address`, if there is one. Else it writes
    to `file`: the register at `position`, or, if that is -1, a 1 (of 8 bytes) to an eventfd, and
    the bus does the rest.
    """

    address: int = 0
    file: int = -1
    position: int = -1


class Bar(ABC):
    """A base address region: registers."""

    @abstractmethod
    def read(self, offset: int, size: int) -> int:
        """Reads a register of 1, 2 or 4 bytes, with one access."""

    @abstractmethod
    def write(self, offset: int, size: int, value: int) -> None:
        """Writes a register of 1, 2 or 4 bytes, with one access."""

    @abstractmethod
    def doorbell(self, offset: int) -> int:
        """The address at which compiled code writes a hot register as plain memory.

        Where registers are no memory, this is a word that the bus watches.
        """

    def notifier(self, offset: int, size: int, value: int) -> Doorbell:
        """How compiled code writes `value`, always the same, to a register of `size` bytes that
        notifies the device.
        """
        return Doorbell(self.doorbell(offset))


class Beyond:
    """What lies beyond a device, as far as can be known: on a real wire, nothing."""

    def check(self) -> None:
        """Raises IxyError if something is known to be wrong: a DMA that was refused, a device that
        is gone.
        """

    @property
    def settled(self) -> bool:
        """Whether it runs by now: an emulated device must be compiled first."""
        return True

    @property
    def ended(self) -> bool | None:
        """Whether the far end has nothing more to send. None where nobody can know, as on a real
        wire.
        """
        return None

    @property
    def under_way(self) -> bool:
        """Whether packets that were sent are held back on their way, on purpose."""
        return False

    @property
    def warning(self) -> str | None:
        """What the user should know when the run is over, such as that its input was damaged."""
        return None

    def far_end(self) -> dict[str, int]:
        """Drops, by reason, that happened beyond the device and that only its bus can know of."""
        return {}

    def planted(self) -> dict[str, Any]:
        """What happened to packets beyond the device on purpose: a measurement must find it."""
        return {}


class PciFunction(Beyond, ABC):
    """A PCI function: configuration space, BARs, DMA. Close it when done."""

    address: str  # as the user wrote it; errors name the device by it
    huge = False  # whether DMA memory must be huge pages: the device knows physical addresses only
    likes_huge = False  # whether they are better: an IOMMU has its tables and caches by the page

    @abstractmethod
    def config_read(self, offset: int, size: int) -> int:
        """Reads 1, 2 or 4 bytes of configuration space."""

    @abstractmethod
    def config_write(self, offset: int, size: int, value: int) -> None:
        """Writes 1, 2 or 4 bytes of configuration space."""

    def capabilities(self, number: int) -> Iterator[int]:
        """Where in configuration space the function's capabilities of this number are."""
        place = 0
        if self.config_read(pci.STATUS, 2) & pci.STATUS_CAPABILITIES:
            place = self.config_read(pci.CAPABILITIES, 1) & ~3
        for _ in range(pci.CONFIG_SPACE // 4):  # a broken list may be a circle
            if place == 0:
                return
            if self.config_read(place, 1) == number:
                yield place
            place = self.config_read(place + 1, 1) & ~3

    @abstractmethod
    def bar(self, index: int) -> Bar:
        """A BAR: memory or I/O ports. Raises IxyError if the function has none of this index."""

    @abstractmethod
    def dma_map(self, memory: DmaMemory) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Lets the device reach `memory`; returns where it finds each of its pages of `memory.page`
        bytes.
        """

    @abstractmethod
    def dma_unmap(self, memory: DmaMemory) -> None:
        """Ends what `dma_map` began: an access from now on is a fault."""

    def begin(self) -> None:
        """The driver has set the device up: frames may come."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of the function."""

    def interrupts(self, count: int) -> list[int]:
        """Enables MSI-X vectors 0 to `count` - 1; returns an eventfd for each, which counts its
        interrupts and is closed with the function. Raises IxyError if there are not so many.
        """
        raise IxyError(f"{self.address}: no interrupts over this bus: poll instead")
