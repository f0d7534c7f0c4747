"""The 82599's registers as storage: what their side effects, one room per chapter, build on."""

import threading
from typing import Any

import numpy as np

from ixy.compiled import compiled
from ixy.datasheets import intel82599_device as sheet
from ixy.datasheets.registers import Register
from ixy.emulator.intel82599.port import Port
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import lock, records, unlock


class Storage:
    """The words of BAR 0, and the port: the record that the compiled data path works on.

    Used as a context manager, which may be nested, it holds the port's lock.
    """

    def __init__(self) -> None:
        self._memory = DmaMemory(sheet.REGISTER_SPACE)
        self.registers = np.frombuffer(self._memory.view(0, sheet.REGISTER_SPACE), np.uint32)
        self.registers_address, self.registers_file = self._memory.address, self._memory.file
        self.known = np.zeros(len(self.registers), np.uint32)  # as stored here: see `watch`
        self.stored: tuple[int, int] | None = None  # a driver's store that is being obeyed
        self.port = records(1, Port)
        self._guard = threading.RLock()
        self._depth = 0
        self.faults: frozenset[str] = frozenset()

    def __enter__(self) -> None:
        self._guard.acquire()
        self._depth += 1
        if self._depth == 1:
            _lock(self.port)

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            _unlock(self.port)
        self._guard.release()

    def clear_storage(self) -> None:
        """Registers to the values that the datasheet gives after a reset; CTRL's memory is left to
        its end.
        """
        self.registers[1:] = self.known[:] = 0
        for row in sheet.WHOLE.rows:
            for index in range(len(row.offsets) if row.reset else 0):
                self._store(row, index, row.reset)

    def free_storage(self) -> None:
        """Gives the memory back."""
        del self.registers
        self._memory.close()

    def _field(self, field: Any, name: str) -> int:
        return int(field.of(self._word(name)))

    def _word(self, name: str, index: int = 0) -> int:
        return int(self.known[sheet.WHOLE.registers[name].offsets[index] // 4])

    def _store_named(self, name: str, index: int, value: int) -> None:
        self._store(sheet.WHOLE.registers[name], index, value)

    def _store(self, row: Register, index: int, value: int) -> None:
        place = row.offsets[index] // 4
        value &= sheet.WRITABLE.get(row.name, 0xFFFFFFFF)
        if row.access == "W1S":
            value |= int(self.known[place])
        if row.access == "W1C":
            value = int(self.known[place]) & ~value
        word = 0 if row.access == "WO" else value
        self.known[place] = word
        if self.stored != (place, word):
            self.registers[place] = word

    def _set(self, **values: int) -> None:
        for name, value in values.items():
            self.port[0][name] = value


@compiled
def _lock(port):
    lock(port[0])


@compiled
def _unlock(port):
    unlock(port[0])
