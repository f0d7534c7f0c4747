"""Base address regions: registers that are memory, and registers that a file stands for."""

import ctypes
import mmap
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ixy.bus.function import Bar
from ixy.errors import IxyError

ONES = 0xFFFFFFFF  # what a read returns that no device answers


class FileBar:
    """Registers that are reached by reading and writing a file, from `start` on."""

    def __init__(self, name: str, file: int, start: int) -> None:
        self._name, self._file, self._start = name, file, start

    def read32(self, offset: int) -> int:
        """Reads a 32-bit register: ones if nothing is there, as on the bus itself."""
        data = os.pread(self._file, 4, self._start + offset)
        return int.from_bytes(data.ljust(4, b"\xff"), "little")

    def write32(self, offset: int, value: int) -> None:
        """Writes a 32-bit register."""
        os.pwrite(self._file, value.to_bytes(4, "little"), self._start + offset)

    def doorbell(self, offset: int) -> int:
        """None: raises IxyError."""
        raise IxyError(f"{self._name}: register {offset:#x} is no memory that can be mapped")


class Area(NamedTuple):
    """A part of a BAR, mapped."""

    begin: int  # in the BAR
    size: int  # bytes
    map: mmap.mmap
    # CPython copies an item of a known size by one instruction: one access, as a register needs it
    words: memoryview
    address: int


class MappedBar:
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
            words = memoryview(area).cast("I")
            address = ctypes.addressof(ctypes.c_char.from_buffer(area))
            self._areas.append(Area(begin, size, area, words, address))

    def read32(self, offset: int) -> int:
        """Reads a 32-bit register, with one access. Raises IxyError if the device is gone."""
        area = self._area_of(offset)
        word = area.words[(offset - area.begin) // 4] if area else self._outside.read32(offset)
        if word == ONES:
            self._suspect()
        return word

    def write32(self, offset: int, value: int) -> None:
        """Writes a 32-bit register, with one access."""
        if area := self._area_of(offset):
            area.words[(offset - area.begin) // 4] = value
        else:
            self._outside.write32(offset, value)

    def doorbell(self, offset: int) -> int:
        """The address of a register. Raises IxyError if it is not memory."""
        if area := self._area_of(offset):
            return area.address + offset - area.begin
        return self._outside.doorbell(offset)

    def _area_of(self, offset: int) -> Area | None:
        return next((a for a in self._areas if a.begin <= offset < a.begin + a.size), None)

    def close(self) -> None:
        """Unmaps it."""
        for area in self._areas:
            area.words.release()
            area.map.close()
        self._areas.clear()
