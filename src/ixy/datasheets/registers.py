"""The language of register tables.

A table has a line per register (or array of registers), as the datasheet has:

    NAME  OFFSET[+STEP*COUNT][,OFFSET...][,~ALIAS...][:BYTES]  ACCESS  RESET  SECTION  Title

Several ranges continue one another's index; a range behind `~` is another address of the first
entries. A register has 4 bytes, or BYTES. ACCESS is RW, RO, WO, RC (clears on read), W1C (clears
where a 1 is written) or W1S (sets there). RESET is the value after a reset, `-` for 0.

A driver binds the table to a device: `regs.RXDCTL[q].update(ENABLE=1)`. An emulated device asks it
the other way round: `sheet.at(offset)`. With IXY_TRACE=1 each access of a driver is printed,
decoded, to stderr.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from ixy.errors import IxyError

TRACE = os.environ.get("IXY_TRACE", "") not in ("", "0")
ACCESSES = ("RW", "RO", "WO", "RC", "W1C", "W1S")


class Field(NamedTuple):
    """Some neighbouring bits of a register."""

    low: int
    width: int

    @property
    def mask(self) -> int:
        """The bits in their place."""
        return (1 << self.width) - 1 << self.low

    def of(self, word: int) -> int:
        """The field's value in a register's word."""
        return (word & self.mask) >> self.low

    def put(self, word: int, value: int) -> int:
        """The word with the field set. Raises ValueError if the value needs more bits than there
        are.
        """
        if value < 0 or value >> self.width:
            raise ValueError(f"{value:#x} does not fit in {self.width} bits")
        return word & ~self.mask | value << self.low


def bit(position: int) -> Field:
    """A field of one bit."""
    return Field(position, 1)


def bits(low: int, high: int) -> Field:
    """A field of the bits `low` to `high`, both included."""
    return Field(low, high - low + 1)


class Fields:
    """The fields of the register of the same name, as class attributes."""


def union(size: int, **fields: tuple[int, str]) -> np.dtype[Any]:
    """A record of `size` bytes whose fields, (offset, type), may overlap."""
    kinds = {
        "offsets": [at for at, _ in fields.values()],
        "formats": [k for _, k in fields.values()],
    }
    layout: Any = {"names": list(fields), **kinds, "itemsize": size}
    record: np.dtype[Any] = np.dtype(layout)
    return record


@dataclass(frozen=True)
class Register:
    """A row of the table: a register, or an array of them with an offset each.

    `aliases` are further offsets of the first entries. `access` is one of ACCESSES.
    """

    name: str
    offsets: tuple[int, ...]
    aliases: tuple[int, ...]
    access: str
    reset: int
    section: str
    title: str
    fields: dict[str, Field]
    size: int = 4

    def decode(self, word: int) -> str:
        """The word's fields that are not 0, for people."""
        values = {name: field.of(word) for name, field in self.fields.items()}
        return " ".join(
            name if self.fields[name].width == 1 else f"{name}={value:#x}"
            for name, value in values.items()
            if value
        )


class Datasheet:
    """A device's registers by name and by offset. `fields` holds, by name, classes of Fields."""

    def __init__(self, table: str, fields: Mapping[str, Any]) -> None:
        lines = [line.split(None, 5) for line in table.splitlines() if line.strip()]
        self.rows = [_row(words, fields) for words in lines]
        self.registers = {row.name: row for row in self.rows}

    def with_rows(self, table: str, fields: Mapping[str, Any]) -> "Datasheet":
        """A sheet with this one's rows and those of `table`; `fields` may add some to rows here."""
        more = Datasheet(table, fields)
        own = [replace(row, fields=row.fields | _declared(row.name, fields)) for row in self.rows]
        more.rows = own + more.rows
        more.registers = {row.name: row for row in more.rows}
        return more

    @cached_property
    def _by_offset(self) -> dict[int, tuple[Register, int]]:
        return {
            offset: (row, index)
            for row in self.rows
            for offsets in (row.offsets, row.aliases)
            for index, offset in enumerate(offsets)
        }

    def at(self, offset: int) -> tuple[Register, int] | None:
        """The register at an offset and its index, None if the table has none there."""
        return self._by_offset.get(offset)


def _row(words: list[str], fields: Mapping[str, Any]) -> Register:
    name, where, access, reset, section, title = words
    where, _, size = where.partition(":")
    places = where.split(",")
    offsets = [offset for place in places if place[0] != "~" for offset in _offsets(place)]
    aliases = [offset for place in places if place[0] == "~" for offset in _offsets(place[1:])]
    own = _declared(name, fields)
    value = 0 if reset == "-" else int(reset, 16)
    ways = tuple(offsets), tuple(aliases), access
    return Register(name, *ways, value, section, title, own, int(size or 4))


def _declared(name: str, fields: Mapping[str, Any]) -> dict[str, Field]:
    attributes = vars(fields[name]).items() if name in fields else ()
    return {key: value for key, value in attributes if isinstance(value, Field)}


def _offsets(place: str) -> range:
    offset, _, array = place.partition("+")
    step, _, count = (array or "4*1").partition("*")
    return range(int(offset, 16), int(offset, 16) + int(step, 16) * int(count), int(step, 16))


class RegisterFile(Protocol):
    """What registers are reached through: a BAR."""

    def read(self, offset: int, size: int) -> int:
        """Reads a register of so many bytes."""

    def write(self, offset: int, size: int, value: int) -> None:
        """Writes a register of so many bytes."""


class DeviceTimeout(IxyError):
    """A device did not do in time what its datasheet says."""


class Bound:
    """One register of one device."""

    def __init__(self, registers: "Registers", row: Register, index: int = 0) -> None:
        self._device, self.row, self._index = registers, row, index

    def __getitem__(self, index: int) -> "Bound":
        if not 0 <= index < len(self.row.offsets):
            raise IndexError(f"{self.row.name} has {len(self.row.offsets)} entries")
        return Bound(self._device, self.row, index)

    def __iter__(self) -> Iterator["Bound"]:
        return (self[index] for index in range(len(self.row.offsets)))

    def __repr__(self) -> str:
        name = self.row.name
        return f"{name}[{self._index}]" if len(self.row.offsets) > 1 else name

    @property
    def offset(self) -> int:
        """Where the register is in its BAR."""
        return self.row.offsets[self._index]

    def read(self) -> int:
        """The register's word."""
        word = self._device.file.read(self.offset, self.row.size)
        self._trace("->", word)
        return word

    def field(self, name: str) -> int:
        """One field's value, read now."""
        return self.row.fields[name].of(self.read())

    def write(self, word: int = 0, **fields: int) -> None:
        """Writes a word, with fields set in it."""
        for name, value in fields.items():
            word = self.row.fields[name].put(word, value)
        self._trace("<-", word)
        self._device.file.write(self.offset, self.row.size, word)

    def update(self, **fields: int) -> None:
        """Sets fields and leaves the other bits as they are."""
        self.write(self.read(), **fields)

    def wait(self, timeout: float, **fields: int) -> None:
        """Waits until fields have these values. Raises DeviceTimeout, with the section, after
        `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            word = self.read()
            if all(self.row.fields[name].of(word) == value for name, value in fields.items()):
                return
            if time.monotonic() > deadline:
                wanted = ", ".join(f"{self!r}.{name} = {value}" for name, value in fields.items())
                raise DeviceTimeout(
                    f"{self._device.name}: no {wanted} within {timeout:g} s"
                    f" (it reads {word:#010x}; datasheet {self.row.section})"
                )
            time.sleep(0.0001)

    def _trace(self, arrow: str, word: int) -> None:
        if TRACE:
            line = f"{self._device.name} {self!r} {arrow} {word:#010x} {self.row.decode(word)}"
            print(line.rstrip(), file=sys.stderr)


class Registers:
    """A device's registers by the datasheet's names: `regs.CTRL.read()`,
    `regs.RXDCTL[3].update(ENABLE=1)`.
    """

    def __init__(self, sheet: Datasheet, file: RegisterFile, name: str) -> None:
        self.sheet, self.file, self.name = sheet, file, name

    def __getattr__(self, name: str) -> Bound:
        if name not in self.sheet.registers:
            raise AttributeError(f"the datasheet has no register {name}")
        return Bound(self, self.sheet.registers[name])

    __getitem__ = __getattr__
