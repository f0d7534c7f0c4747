"""A queue's ring in memory: the control path's side of it."""

from typing import Any

import numpy as np

from ixy.bus.function import Doorbell
from ixy.compiled import compiled
from ixy.datasheets import virtio as sheet
from ixy.device import Record
from ixy.drivers.virtio import packed, split
from ixy.drivers.virtio.queue import CLOSED
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import address_of, lock, records, unlock
from ixy.memory.pool import Mempool

CHUNK = 32  # buffers that a receive ring gets at once, if it is long enough
# By whether the ring is packed: transmit, receive
RECORDS = {False: (split.TxQueue, split.RxQueue), True: (packed.TxQueue, packed.RxQueue)}


def layout(entries: int, is_packed: bool, align: int) -> tuple[int, int, int]:
    """Where, in the memory of a ring, the driver's and the device's area begin behind the
    descriptors, and its bytes (2.7, 2.8). `align`: of the device's area.
    """
    driver = entries * sheet.Descriptor.itemsize
    device = -(-(driver + 6 + 2 * entries) // align) * align
    return driver, device, device + 4 if is_packed else device + 6 + 8 * entries


def block_of(size: int) -> int:
    """The power of two that a ring of so many bytes is aligned to: then no huge page's end is in
    the middle of it.
    """
    return 1 << (size - 1).bit_length()


class RingMemory:
    """The memory of a ring of `entries` descriptors, in `memory`, which the device finds at
    `pages`. `areas` are the addresses of its descriptors, driver's and device's area there.
    """

    def __init__(
        self, memory: DmaMemory, pages: Any, entries: int, is_packed: bool, align: int
    ) -> None:
        self.driver, self.device, size = layout(entries, is_packed, align)
        self.entries, self.is_packed = entries, is_packed
        offset = memory.take(size, block_of(size))
        self.here = memory.address + offset
        iova = int(pages[offset // memory.page]) + offset % memory.page
        self.areas = iova, iova + self.driver, iova + self.device
        self._view = memory.view(offset, size)
        kind = sheet.PackedDescriptor if is_packed else sheet.Descriptor
        self.descriptors = self.array(0, entries, kind)

    def array(self, offset: int, count: int, kind: Any) -> np.ndarray[Any, Any]:
        """A part of it."""
        return np.frombuffer(self._view, kind, count, offset)

    def clear(self) -> None:
        """All zero; and the device is asked for no interrupts."""
        self.array(0, len(self._view), np.uint8)[:] = 0
        kind = sheet.EventSuppression if self.is_packed else sheet.RingHead
        flags = sheet.EVENTS_DISABLE if self.is_packed else sheet.NO_INTERRUPT
        self.array(self.driver, 1, kind)["flags"] = flags


class Ring:
    """A receive or transmit ring and its record. Each buffer has a header of `header` bytes, in the
    same descriptor or, if they are `apart`, in one of its own. `addresses`: where the device finds
    the pool's buffers; `words` are further words of the record.
    """

    def __init__(
        self, memory: RingMemory, pool: Mempool, addresses: Any, *,
        receives: bool, header: int, apart: bool, **words: int,
    ) -> None:  # fmt: skip
        self.memory, self.pool, self.receives = memory, pool, receives
        self.lost = 0  # packets that a device had not sent when it went
        self.size = memory.entries // 2 if apart else memory.entries
        self._bufs, self._ids = np.zeros(self.size, np.uint32), np.zeros(self.size, np.uint16)
        self.record: Record = records(1, RECORDS[memory.is_packed][receives])
        own = {"ring": memory.here, "driver": memory.here + memory.driver,
               "device": memory.here + memory.device, "pool": address_of(pool.record),
               "addresses": address_of(addresses) - pool.first * 8, "size": self.size,
               "bufs": address_of(self._bufs), "ids": address_of(self._ids), "header": header,
               "apart": self.size if apart else 0, "chunk": min(CHUNK, self.size // 4),
               "flags": sheet.DESC_WRITE if receives else 0}  # fmt: skip
        set_words(self.record, own | words)
        self.restart()  # compiled now: a back end that comes anew later is not kept waiting

    def _start(self) -> None:
        """An empty ring, its descriptors written as far as they never change."""
        memory, record = self.memory, self.record[0]
        self._ids[:] = np.arange(self.size)
        set_words(self.record, dict.fromkeys(("oldest", "seen", "held", "shuffled", "broken"), 0))
        memory.clear()
        if not memory.is_packed:
            entries = memory.array(memory.driver + split.RINGS, memory.entries, "u2")
            entries[:] = np.arange(memory.entries) % self.size
            memory.descriptors["flags"] = record["flags"]
            if apart := int(record["apart"]):
                heads = memory.descriptors[:apart]
                heads["length"], heads["next"] = record["header"], np.arange(apart, 2 * apart)
                heads["flags"] |= sheet.DESC_NEXT

    def restart(self) -> None:
        """For a device that has begun anew: what the last one had is back in the pool."""
        _hold(self.record)
        try:
            held = self._take_back()
            self.lost += 0 if self.receives else held
            self._start()
        finally:
            _let_go(self.record)

    def _take_back(self) -> int:
        held, oldest = int(self.record[0]["held"]), int(self.record[0]["oldest"])
        self.pool.give(self._bufs[(oldest + np.arange(held)) % self.size])
        self.record[0]["held"] = 0
        return held

    def close(self) -> None:
        """The device has been stopped: the buffers go back to the pool."""
        self._take_back()
        set_words(self.record, {"ring": 0, "failed": CLOSED})


def set_words(record: Record, words: dict[str, int]) -> None:
    """Writes words of a queue's record."""
    for name, value in words.items():
        record[0][name] = value


def connect(record: Record, bell: Doorbell, index: int) -> None:
    """Lets a queue notify its device: by its number, or by a 1 to an eventfd."""
    notice = 1 if bell.file >= 0 and bell.position < 0 else index
    at = address_of(record) + record.dtype.fields["notice"][1]
    how = {"doorbell": bell.address, "file": bell.file, "position": bell.position}
    set_words(record, how | {"notice": notice, "notice_at": at})


@compiled
def _hold(queue):
    lock(queue[0])


@compiled
def _let_go(queue):
    unlock(queue[0])
