"""The bus between our drivers and the emulated devices in this process.

A function made with `threaded=False` runs only when a test calls `step`.
"""

import os
from typing import Any

import numpy as np

from ixy.bus.function import Bar, PciFunction
from ixy.emulator.intel82599.model import Intel82599
from ixy.emulator.runner import RUNNER
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory

FIRST_IOVA, GAP = 1 << 32, 1 << 21  # device addresses are not virtual ones: a mix-up shows at once


class EmulatedFunction(PciFunction):
    """An emulated device as a PCI function."""

    def __init__(self, address: str, model: Intel82599, *, threaded: bool = True) -> None:
        self.address, self.model = address, model
        self._iovas: dict[int, int] = {}
        self._events: list[int] = []
        self._next_iova = FIRST_IOVA
        self._threaded = threaded
        if threaded:
            RUNNER.attach(model)

    @property
    def settled(self) -> bool:
        """Waits until the device runs."""
        return self.model.settled

    def config_read(self, offset: int, size: int) -> int:
        """Reads configuration space."""
        return self.model.config_read(offset, size)

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Writes configuration space."""
        self.model.config_write(offset, size, value)

    def bar(self, index: int) -> "EmulatedBar":
        """BAR 0. Raises IxyError for any other."""
        if index != 0:
            raise IxyError(f"{self.address} has no BAR {index}")
        return EmulatedBar(self.model)

    def dma_map(self, memory: DmaMemory) -> "np.ndarray[Any, np.dtype[np.uint64]]":
        """Lets the device reach `memory`; returns where it finds each page."""
        iova = self._next_iova
        self._next_iova += memory.size + GAP
        self.model.dma_map(iova, memory.address, memory.size)
        self._iovas[memory.address] = iova
        return np.arange(iova, iova + memory.size, memory.page, dtype=np.uint64)

    def dma_unmap(self, memory: DmaMemory) -> None:
        """Ends a mapping."""
        self.model.dma_unmap(self._iovas.pop(memory.address))

    def check(self) -> None:
        """Raises IxyError after a DMA fault, and what stopped the wire."""
        if fault := self.model.fault():
            raise IxyError(f"{self.address}: DMA fault: {fault}")
        if self.model.failure:
            raise self.model.failure

    @property
    def ended(self) -> bool | None:
        """Whether the wire has nothing more to bring."""
        return self.model.wire.ended

    @property
    def under_way(self) -> bool:
        """Whether the wire holds back frames."""
        return self.model.wire.under_way

    @property
    def warning(self) -> str | None:
        """What the wire has to say."""
        return self.model.wire.warning

    def interrupts(self, count: int) -> list[int]:
        """An eventfd for each of the first `count` MSI-X vectors."""
        for vector in range(count):
            self._events.append(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
            self.model.connect_interrupt("msix", vector, self._events[-1])
        return self._events

    def far_end(self) -> dict[str, int]:
        """What the wire lost."""
        return self.model.wire.drops()

    def planted(self) -> dict[str, Any]:
        """What the wire has done on purpose."""
        return self.model.wire.planted()

    def close(self) -> None:
        """Stops the device and unplugs its wire."""
        self.model.disconnect_interrupts()
        while self._events:
            os.close(self._events.pop())
        if not self._threaded or RUNNER.detach(self.model):
            self.model.close()


class EmulatedBar(Bar):
    """The model's registers: all have 4 bytes. Doorbells are its own storage, which the data path
    reads.
    """

    def __init__(self, model: Intel82599) -> None:
        self._model = model

    def read(self, offset: int, size: int) -> int:
        """Reads a register."""
        return self._model.read(offset)

    def write(self, offset: int, size: int, value: int) -> None:
        """Writes a register."""
        self._model.write(offset, value)

    def doorbell(self, offset: int) -> int:
        """The address of a hot register."""
        return self._model.registers_address + offset
