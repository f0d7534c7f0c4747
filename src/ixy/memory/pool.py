"""Packet buffers.

A buffer is a number. Its bytes are `packets(pool)[number].bytes`, its packet's length is
`lengths(pool)[number]`; where a device finds it stands in a table per device. Nothing about a
packet stands in packet memory itself: a driver that only moves packets never touches their cache
lines, and that is most of what makes it fast.

Buffers lie 2112 bytes apart, 33 cache lines, an odd number: packet starts visit all cache sets in
turn. (At 2048 they would all compete for two of 64.) The 64 bytes before the packet are headroom:
virtio puts its header there.

Numbers are unique in the process, so a buffer given to the wrong pool can be told. Any thread may
take and free buffers: a spin lock is held once per batch.
"""

import itertools
import os
import sys
from typing import Any

import numpy as np

from ixy.compiled import DEBUG, compiled
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import address_of, array_at, lock, records, unlock

HEADROOM, BUF_SIZE = 64, 2048
STRIDE = HEADROOM + BUF_SIZE
DEFAULT_BUFS = 16384  # untouched buffers cost no memory

# Addresses first. Those of packets, lengths (u4) and takers (u4: who has a buffer, 0 if it is free;
# IXY_DEBUG=1) are where the buffer with the number 0 would be. The stack (u4) is the free buffers,
# `top` of at most `usable`: the last one freed is the first taken, its lines still in the cache.
_ADDRESSES = [("packets", "u8"), ("lengths", "u8"), ("takers", "u8"), ("stack", "u8")]
_NUMBERS = [("top", "u4"), ("lock", "u4"), ("first", "u4"), ("count", "u4"), ("usable", "u4")]
Pool = np.dtype(_ADDRESSES + _NUMBERS, align=True)
PacketBuffer = np.dtype([("headroom", "u1", HEADROOM), ("bytes", "u1", BUF_SIZE)])


class BufferMisuse(IxyError):
    """A buffer that is freed twice, foreign, sent after it was freed, sent twice, or leaked. Found
    with IXY_DEBUG=1. `holder` is what the pool's takers say of it.
    """

    def __init__(self, what: str, buf: int, holder: int) -> None:
        taker = int(holder) & ~FREED
        where = _TAKERS[taker] if taker < len(_TAKERS) else "a buffer of another pool"
        super().__init__(f"{what}: buffer {buf}, {where}")


FREED = 1 << 31  # on top of a taker's number: it has given the buffer back
_TAKERS = ["never taken", "taken by compiled code"]  # by their numbers
_TAKER_INDEX: dict[str, int] = {}
_BLOCK = 2**20  # each pool's numbers are a block of so many
_blocks = itertools.cycle(range(1, 2**32 // _BLOCK - 1))


def taker(name: str) -> int:
    """The number under which `name` is remembered as a taker of buffers."""
    if name not in _TAKER_INDEX:
        _TAKER_INDEX[name] = len(_TAKERS)
        _TAKERS.append(f"taken by {name}")
    return _TAKER_INDEX[name]


def call_site() -> int:
    """The taker number of the Python line outside this package that asked for a buffer (1 if not
    debugging).
    """
    if not DEBUG:
        return 1
    package = os.path.dirname(os.path.dirname(__file__)) + os.sep
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(package):
        frame = frame.f_back
    return taker(f"{frame.f_code.co_filename}:{frame.f_lineno}")


@compiled
def packets(pool):
    """The packet memory, indexed by buffer number: `packets(pool)[buf].bytes[i]`."""
    return array_at(pool.packets, pool.first + pool.count, PacketBuffer)


@compiled
def packet_address(pool, buf):
    """Where a buffer's packet begins."""
    return pool.packets + np.uint64(buf) * np.uint64(STRIDE) + np.uint64(HEADROOM)


@compiled
def lengths(pool):
    """The packets' lengths in bytes, indexed by buffer number."""
    return array_at(pool.lengths, pool.first + pool.count, np.uint32)


@compiled
def takers(pool):
    """Who has each buffer, indexed by buffer number (IXY_DEBUG=1)."""
    return array_at(pool.takers, pool.first + pool.count, np.uint32)


@compiled
def free_stack(pool):
    """The free buffers: the first `top` entries."""
    return array_at(pool.stack, pool.count, np.uint32)


@compiled
def alloc_batch(pool, bufs, who=1):
    """Fills `bufs` (u4) with free buffers as far as there are any; returns how many."""
    lock(pool)
    count = min(len(bufs), pool.top)
    stack = free_stack(pool)
    top = pool.top - count
    for i in range(count):
        bufs[i] = stack[top + i]
        if DEBUG:
            takers(pool)[bufs[i]] = who
    pool.top = top
    unlock(pool)
    return count


@compiled
def free_batch(pool, bufs):
    """Gives buffers back. With IXY_DEBUG=1 raises BufferMisuse for a double free or a foreign
    buffer.
    """
    lock(pool)
    stack = free_stack(pool)
    top = np.uint64(pool.top)
    if not DEBUG and top + np.uint64(len(bufs)) > pool.usable:
        unlock(pool)
        raise BufferMisuse("more buffers freed than were taken, the first", bufs[0], FREED - 1)
    for buf in bufs:
        if DEBUG:
            pool.top = top  # a bad buffer ends it here: those before it are back
            check(pool, buf, "freed twice")
            takers(pool)[buf] |= np.uint32(FREED)
        stack[top] = buf
        top += np.uint64(1)
    pool.top = top
    unlock(pool)


@compiled
def check(pool, buf, what):
    """Raises BufferMisuse, the pool's lock released, unless `buf` is the pool's own and taken."""
    foreign = buf < pool.first or buf >= pool.first + pool.count
    holder = np.uint32(FREED - 1) if foreign else takers(pool)[buf]
    if foreign or holder == 0 or holder & np.uint32(FREED):
        unlock(pool)
        if foreign:
            raise BufferMisuse("foreign buffer", buf, holder)
        raise BufferMisuse(what, buf, holder)


@compiled
def hand_over(pool, buf, who):
    """IXY_DEBUG=1: `who` takes a buffer to send it. Raises BufferMisuse if it is free, foreign or
    being sent.
    """
    lock(pool)
    check(pool, buf, "sent after it was freed")
    before = takers(pool)[buf]
    takers(pool)[buf] = who
    unlock(pool)
    if before == who:
        raise BufferMisuse("sent twice", buf, who)


# A Python call into compiled code takes an array of records, not a record: these cross that border.


@compiled
def _alloc(pool, bufs, who):
    return alloc_batch(pool[0], bufs, who)


@compiled
def _free(pool, bufs):
    free_batch(pool[0], bufs)


class Mempool:
    """A pool of `count` packet buffers of 2048 bytes.

    `record[0]` is what compiled code takes as `pool`. A pool may serve several devices (each maps
    `memory`), so that a packet received from one can be sent by another without a copy. Unless it
    is `owned`, it closes when the last device has left it.
    """

    def __init__(
        self, count: int = DEFAULT_BUFS, *, huge: bool = False, owned: bool = True
    ) -> None:
        if not 1 <= count <= _BLOCK:
            raise IxyError(f"a pool of {count} buffers: give it 1 to {_BLOCK}")
        self.memory = DmaMemory(count * STRIDE, huge=huge)
        self.first = next(_blocks) * _BLOCK
        self._users, self._owned = 0, owned
        self._lengths = np.zeros(count, np.uint32)
        self._takers = np.zeros(count, np.uint32)
        offsets = np.arange(count, dtype=np.uint64) * STRIDE
        page = self.memory.page
        # a buffer that lies across two pages is never used
        whole = offsets // page == (offsets + STRIDE - 1) // page
        self.count = int(whole.sum())
        self._stack = np.zeros(count, np.uint32)
        self._stack[: self.count] = np.flip(self.first + np.flatnonzero(whole))
        self.record = records(1, Pool)
        pool = self.record[0]
        pool["packets"] = self.memory.address - self.first * STRIDE
        pool["lengths"] = address_of(self._lengths) - self.first * 4
        pool["takers"] = address_of(self._takers) - self.first * 4
        pool["stack"] = address_of(self._stack)
        pool["first"], pool["count"] = self.first, count
        pool["top"] = pool["usable"] = self.count

    def join(self) -> None:
        """A device begins to use the pool."""
        self._users += 1

    def leave(self) -> None:
        """A device has stopped using it; a pool that nobody owns closes after the last one."""
        self._users -= 1
        if self._users == 0 and not self._owned:
            self.close()

    @property
    def available(self) -> int:
        """How many buffers are free now."""
        return int(self.record[0]["top"])

    def take(self, count: int, who: int | None = None) -> np.ndarray[Any, Any]:
        """Up to `count` free buffers (u4). `who` is their taker's number, by default the calling
        Python line.
        """
        bufs = np.zeros(count, np.uint32)
        return bufs[: _alloc(self.record, bufs, call_site() if who is None else int(who))]

    def give(self, bufs: np.ndarray[Any, Any]) -> None:
        """Takes buffers (u4) back. With IXY_DEBUG=1 raises BufferMisuse for a double free or a
        foreign buffer.
        """
        _free(self.record, np.ascontiguousarray(bufs))

    def addresses(self, pages: np.ndarray[Any, np.dtype[np.uint64]]) -> Any:
        """Where a device finds each buffer's packet, given where it finds each page of `memory`.
        u8[count].
        """
        offsets = np.arange(len(self._lengths), dtype=np.uint64) * STRIDE + HEADROOM
        page = np.uint64(self.memory.page)
        return pages[offsets // page] + offsets % page

    def view(self, buf: int) -> memoryview:
        """The packet in a buffer, writable, without a copy."""
        index = int(buf) - self.first
        return self.memory.view(index * STRIDE + HEADROOM, int(self._lengths[index]))

    def fill(self, buf: int, frame: bytes | memoryview) -> None:
        """Copies a frame into a buffer. Raises IxyError if it is longer than that."""
        if len(frame) > BUF_SIZE:
            raise IxyError(f"a frame of {len(frame)} bytes: a buffer holds {BUF_SIZE}")
        index = int(buf) - self.first
        self._lengths[index] = len(frame)
        self.view(buf)[:] = frame

    def close(self) -> None:
        """Releases the memory. IXY_DEBUG=1: raises BufferMisuse if a buffer was not given back."""
        self.memory.close()
        held = np.flatnonzero((self._takers != 0) & (self._takers < FREED))
        if DEBUG and len(held):
            what = f"{len(held)} leaked at close, the first"
            raise BufferMisuse(what, self.first + held[0], self._takers[held[0]])
