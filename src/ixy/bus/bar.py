"""Base address regions: registers that are memory, and registers that a file stands for."""

import ctypes
import mmap
import os
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from ixy.bus.function import Bar, Doorbell
from ixy.errors import IxyError

# By the size of a register, the letter of such items
SIZES: dict[int, Literal["B", "H", "I"]] = {1: "B", 2: "H", 4: "I"}


class FileBar(Bar):
    """Registers that are reached by reading and writing a file, from `start` on: I/O ports, or what
    cannot be mapped.
    """

    def __init__(self, name: str, file: int, start: int) -> None:
        self._name, self._file, self._start = name, file, start

    def read(self, offset: int, size: int) -> int:
        """Reads a register: ones if nothing is there, as on the bus itself."""
        data = os.pread(self._file, size, self._start + offset)
        return int.from_bytes(data.ljust(size, b"\xff"), "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Writes a register."""
        os.pwrite(self._file, value.to_bytes(size, "little"), self._start + offset)

    def doorbell(self, offset: int) -> int:
        """None: raises IxyError."""
        raise IxyError(f"{self._name}: register {offset:#x} is no memory that can be mapped")

    def notifier(self, offset: int, size: int, value: int) -> Doorbell:
        """The register's place in the file."""
        return Doorbell(file=self._file, position=self._start + offset)


class Area(NamedTuple):
    """A part of a BAR, mapped."""

    begin: int  # in the BAR
    size: int  # bytes
    map: mmap.mmap
    # By their size. CPython copies such an item by one instruction: one access, as a register needs
    items: dict[int, memoryview]
    address: int


class MappedBar(Bar):
    """A BAR's registers as this process's memory: those parts, (offset, size), that `parts` names.

    The BAR begins at `start` of `file`. Registers in none of the parts are reached through
    `outside`. `suspect` is called when a register reads as ones, as those of a device that is gone
    do.
    """

    def __init__(
        self,
        file: int,
        start: int,
        parts: Iterable[tuple[int, int]],
        outside: Bar,
        suspect: Callable[[], None],
    ) -> None:
        self._outside, self._suspect = outside, suspect
        self._areas: list[Area] = []
        for begin, size in parts:
            area = mmap.mmap(file, size, offset=start + begin)
            items = {unit: memoryview(area).cast(letter) for unit, letter in SIZES.items()}
            address = ctypes.addressof(ctypes.c_char.from_buffer(area))
            self._areas.append(Area(begin, size, area, items, address))

    def read(self, offset: int, size: int) -> int:
        """Reads a register, with one access. Raises IxyError if the device is gone."""
        if area := self._area_of(offset):
            value: int = area.items[size][(offset - area.begin) // size]
        else:
            value = self._outside.read(offset, size)
        if value == (1 << 8 * size) - 1:
            self._suspect()
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        """Writes a register, with one access."""
        if area := self._area_of(offset):
            area.items[size][(offset - area.begin) // size] = value
        else:
            self._outside.write(offset, size, value)

    def doorbell(self, offset: int) -> int:
        """The address of a register. Raises IxyError if it is not memory."""
        if area := self._area_of(offset):
            return area.address + offset - area.begin
        return self._outside.doorbell(offset)

    def notifier(self, offset: int, size: int, value: int) -> Doorbell:
        """A store where the register is memory, else a write to the file."""
        if self._area_of(offset):
            return Doorbell(self.doorbell(offset))
        return self._outside.notifier(offset, size, value)

    def _area_of(self, offset: int) -> Area | None:
        return next((a for a in self._areas if a.begin <= offset < a.begin + a.size), None)

    def close(self) -> None:
        """Unmaps it."""
        for area in self._areas:
            for items in area.items.values():
                items.release()
            area.map.close()
        self._areas.clear()
