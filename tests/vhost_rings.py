"""Virtio's rings as a device sees them, by literal offsets: split (2.7 of the specification, 1.2)
and packed (2.8). What a driver must not do is Refused.
"""

import mmap
import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

NEXT, WRITE, INDIRECT = 1, 2, 4  # flags of a descriptor
AVAIL, USED = 1 << 7, 1 << 15
NO_SIGNAL = 1


class Refused(AssertionError):
    """What a front end did, and what it must not do."""


def must(holds: object, otherwise: str) -> None:
    """Raises Refused unless it holds."""
    if not holds:
        raise Refused(otherwise)


class Region(NamedTuple):
    """Memory of the front end: by its own addresses (user) and by those in descriptors (guest)."""

    guest: int
    size: int
    user: int
    view: memoryview


class Memory:
    """All regions of a table (vhost-user: "Memory region description"). Maps the descriptors."""

    def __init__(self, rows: Sequence[tuple[int, int, int, int]], files: Sequence[int]) -> None:
        self.regions: list[Region] = []
        for (guest, size, user, offset), file in zip(rows, files, strict=True):
            must(size > 0, "an empty region")
            must(offset + size <= os.fstat(file).st_size, "a region beyond the end of its file")
            for other in self.regions:
                apart = guest + size <= other.guest or other.guest + other.size <= guest
                must(apart, "regions overlap, by guest addresses")
                apart = user + size <= other.user or other.user + other.size <= user
                must(apart, "regions overlap, by user addresses")
            whole = memoryview(mmap.mmap(file, os.fstat(file).st_size))
            self.regions.append(Region(guest, size, user, whole[offset : offset + size]))

    def user(self, address: int, size: int, alignment: int) -> memoryview:
        """Memory by the front end's own address."""
        must(address % alignment == 0, f"{address:#x} is not aligned to {alignment}")
        for region in self.regions:
            if region.user <= address and address + size <= region.user + region.size:
                return region.view[address - region.user :][:size]
        raise Refused(f"{size} bytes at user address {address:#x} are in no region")

    def guest(self, address: int, size: int) -> memoryview:
        """Memory by the address in a descriptor."""
        for region in self.regions:
            if region.guest <= address and address + size <= region.guest + region.size:
                return region.view[address - region.guest :][:size]
        raise Refused(f"{size} bytes at guest address {address:#x} are in no region")


class Chain(NamedTuple):
    """A buffer that was made available: its id, its descriptors, and how many of these it took."""

    id: int
    parts: list[memoryview]
    slots: int
    writable: bool

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self.parts))

    def read(self) -> bytes:
        """What the driver wrote."""
        return b"".join(self.parts)

    def fill(self, data: bytes) -> None:
        """Writes from the beginning."""
        must(len(data) <= self.size, f"{len(data)} bytes for a buffer of {self.size}")
        for part in self.parts:
            part[: len(data)] = data[: len(part)]
            data = data[len(part) :]


def _chain(memory: Memory, number: int, rows: Sequence[tuple[int, int, int]]) -> Chain:
    """Raises Refused for descriptors that no device takes."""
    kinds = {bool(flags & WRITE) for _, _, flags in rows}
    must(len(kinds) == 1, "a chain both to read and to write")
    must(all(size for _, size, _ in rows), "an empty descriptor")
    must(not any(flags & INDIRECT for *_, flags in rows), "an indirect descriptor: not offered")
    parts = [memory.guest(address, size) for address, size, _ in rows]
    return Chain(number, parts, len(rows), kinds.pop())


class Split:
    """A split ring. `base` is the available index to begin with."""

    def __init__(self, memory: Memory, size: int, at: tuple[int, int, int], base: int) -> None:
        must(size & (size - 1) == 0, f"a split ring of {size}: not a power of two")
        must(base < 65536, f"a split ring's base of {base:#x}")
        self.memory, self.size = memory, size
        table, available, used = at
        self.table = memory.user(table, 16 * size, 16)
        self.available = memory.user(available, 6 + 2 * size, 2).cast("H")
        self.used = memory.user(used, 6 + 8 * size, 4)
        self.used_words = self.used.cast("H")
        self.last = base
        self.held: dict[int, Chain] = {}  # by id
        self._indices: dict[int, list[int]] = {}  # of their descriptors

    @property
    def used_index(self) -> int:
        """What the device has written last."""
        return self.used_words[1]

    @property
    def base(self) -> int:
        """Where to begin again."""
        return self.last

    @property
    def wants_signals(self) -> bool:
        """Whether the driver is to be called."""
        return not self.available[0] & NO_SIGNAL

    def next(self) -> Chain | None:
        """Takes the next buffer that is available."""
        waiting = (self.available[1] - self.last) & 0xFFFF
        must(waiting <= self.size, f"{waiting} available in a ring of {self.size}")
        if not waiting:
            return None
        head = at = self.available[2 + self.last % self.size]
        rows, indices = [], []
        while True:
            must(at < self.size, f"descriptor {at} of {self.size}")
            must(at not in indices, f"descriptor {at} is in its own chain")
            address, size, flags, following = struct.unpack_from("<QIHH", self.table, 16 * at)
            must(flags & ~(NEXT | WRITE | INDIRECT) == 0, f"descriptor flags {flags:#x}")
            rows.append((address, size, flags))
            indices.append(at)
            if not flags & NEXT:
                break
            at = following
        for other in self._indices.values():
            must(not set(indices) & set(other), f"descriptors {indices} are in flight")
        chain = _chain(self.memory, head, rows)
        self.held[head] = chain
        self._indices[head] = indices
        self.last = (self.last + 1) & 0xFFFF
        return chain

    def use(self, chain: Chain, length: int) -> None:
        """Gives a buffer back, `length` bytes of it written."""
        self.forget(chain)
        self.write_used(chain.id, length)

    def forget(self, chain: Chain) -> None:
        """The driver may use the descriptors again."""
        del self.held[chain.id]
        del self._indices[chain.id]

    def write_used(self, number: int, length: int) -> None:
        """Writes a used element, and then the index."""
        index = self.used_words[1]
        struct.pack_into("<II", self.used, 4 + 8 * (index % self.size), number, length)
        self.used_words[1] = (index + 1) & 0xFFFF


class Packed:
    """A packed ring. `base` is the slot to begin with, and the wrap counter in bit 15."""

    def __init__(self, memory: Memory, size: int, at: tuple[int, int, int], base: int) -> None:
        must(size & (size - 1) == 0, f"a ring of {size}: DPDK refuses what is no power of two")
        base &= 0xFFFF
        must(base & 0x7FFF < size, f"a packed ring's base of {base:#x}")
        self.memory, self.size = memory, size
        table, driver, device = at
        self.table = memory.user(table, 16 * size, 16)
        self.words = self.table.cast("H")
        self.driver = memory.user(driver, 4, 4).cast("H")
        self.device = memory.user(device, 4, 4).cast("H")
        self.last = self.used_at = base & 0x7FFF
        self.wrap = self.used_wrap = base >> 15
        self.held: dict[int, Chain] = {}

    @property
    def base(self) -> int:
        """Where to begin again: available, and used in the upper half."""
        available = self.last | self.wrap << 15
        return available | (self.used_at | self.used_wrap << 15) << 16

    @property
    def wants_signals(self) -> bool:
        """Whether the driver is to be called."""
        must(self.driver[1] < 2, f"event flags {self.driver[1]:#x}: that feature is not offered")
        return self.driver[1] == 0

    def next(self) -> Chain | None:
        """Takes the next buffer that is available."""
        at, wrap = self.last, self.wrap
        if not self._available(at, wrap):
            return None
        rows, number = [], 0
        while True:
            must(self._available(at, wrap), f"slot {at}: a part of a chain is not available")
            address, size, number, flags = struct.unpack_from("<QIHH", self.table, 16 * at)
            must(flags & ~(NEXT | WRITE | INDIRECT | AVAIL | USED) == 0, f"flags {flags:#x}")
            rows.append((address, size, flags))
            must(len(rows) + self._slots_held <= self.size, "more than the ring available")
            at += 1
            if at == self.size:
                at, wrap = 0, wrap ^ 1
            if not flags & NEXT:
                break
        must(number not in self.held, f"id {number} is in flight")
        chain = _chain(self.memory, number, rows)
        self.held[number] = chain
        self.last, self.wrap = at, wrap
        return chain

    @property
    def _slots_held(self) -> int:
        return sum(chain.slots for chain in self.held.values())

    def _available(self, at: int, wrap: int) -> bool:
        flags = self.words[8 * at + 7]
        return bool(flags & AVAIL) == bool(wrap) and bool(flags & USED) != bool(wrap)

    def use(self, chain: Chain, length: int) -> None:
        """Gives a buffer back, `length` bytes of it written."""
        self.forget(chain)
        self.write_used(chain.id, length, chain.slots, WRITE if chain.writable else 0)

    def forget(self, chain: Chain) -> None:
        """The driver may use the slots again."""
        del self.held[chain.id]

    def write_used(self, number: int, length: int, slots: int = 1, flags: int = 0) -> None:
        """Writes a used descriptor, its flags last, and goes on by so many slots."""
        at = 16 * self.used_at
        struct.pack_into("<IH", self.table, at + 8, length, number)
        both = AVAIL | USED if self.used_wrap else 0
        self.words[at // 2 + 7] = flags | both
        self.used_at += slots
        if self.used_at >= self.size:
            self.used_at, self.used_wrap = self.used_at - self.size, self.used_wrap ^ 1
