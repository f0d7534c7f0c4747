"""A queue's ring in memory, as it is before the first packet: the control path's side of it."""

from typing import Any, NamedTuple

import numpy as np

from ixy.bus.function import Doorbell
from ixy.compiled import compiled
from ixy.datasheets import virtio as sheet
from ixy.device import Record
from ixy.drivers.virtio import packed, split
from ixy.drivers.virtio.queue import CLOSED
from ixy.drivers.virtio.transport import Areas
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import address_of, lock, records, unlock
from ixy.memory.pool import BUF_SIZE, Mempool

# By whether the ring is packed: receive, transmit
KINDS = {False: (split.RxQueue, split.TxQueue), True: (packed.RxQueue, packed.TxQueue)}
PACKED_AREA = 64  # bytes: a cache line for each side's event suppression


class Layout(NamedTuple):
    """Where in a queue's memory its parts begin, and its bytes."""

    driver: int
    device: int
    size: int


def layout(entries: int, is_packed: bool, align: int) -> Layout:
    """The parts of a ring of so many descriptors (2.7, 2.8). `align`: of a used ring, in bytes."""
    driver = entries * sheet.Descriptor.itemsize
    if is_packed:
        driver = -(-driver // PACKED_AREA) * PACKED_AREA
        return Layout(driver, driver + PACKED_AREA, driver + 2 * PACKED_AREA)
    device = -(-(driver + 6 + 2 * entries) // align) * align
    return Layout(driver, device, device + 6 + 8 * entries)


class RingMemory:
    """The memory of one ring: `entries` descriptors in `memory`, which the device finds at
    `pages`.
    """

    def __init__(
        self,
        memory: DmaMemory,
        pages: np.ndarray[Any, np.dtype[np.uint64]],
        entries: int,
        is_packed: bool,
        align: int,
    ) -> None:
        parts = layout(entries, is_packed, align)
        self.entries, self.is_packed = entries, is_packed
        offset = memory.take(parts.size, block_of(parts.size))
        self.here = memory.address + offset
        iova = int(pages[offset // memory.page]) + offset % memory.page
        self.areas = Areas(entries, iova, iova + parts.driver, iova + parts.device)
        self.view = memory.view(offset, parts.size)
        self.parts = parts
        kind = sheet.PackedDescriptor if is_packed else sheet.Descriptor
        self.descriptors = self.array(0, entries, kind)

    def array(self, offset: int, count: int, kind: Any) -> np.ndarray[Any, Any]:
        """A part of it."""
        return np.frombuffer(self.view, kind, count, offset)

    def clear(self) -> None:
        """All zero; and the device is asked for no interrupts."""
        self.array(0, len(self.view), np.uint8)[:] = 0
        if self.is_packed:
            events = self.array(self.parts.driver, 1, sheet.EventSuppression)
            events["flags"] = sheet.EVENTS_DISABLE
        else:
            self.array(self.parts.driver, 1, sheet.RingHead)["flags"] = sheet.NO_INTERRUPT


def block_of(size: int) -> int:
    """The power of two that a ring of so many bytes is aligned to: then no huge page's end is in
    the middle of it.
    """
    return 1 << (size - 1).bit_length()


class Ring:
    """A receive or transmit ring and its record. `header` bytes are before each packet, in the same
    descriptor or, if they are `apart`, in one of their own. `in_order`, `mergeable`: what was
    negotiated.
    """

    def __init__(
        self,
        memory: RingMemory,
        pool: Mempool,
        addresses: np.ndarray[Any, np.dtype[np.uint64]],
        taker: int,
        *,
        receives: bool,
        header: int,
        apart: bool,
        in_order: bool,
        mergeable: bool,
    ) -> None:
        self.memory, self.pool, self.receives = memory, pool, receives
        self.lost = 0  # packets that a device had not sent when it went
        self.size = memory.entries // 2 if apart else memory.entries
        self._bufs = np.zeros(self.size, np.uint32)
        self._ids = np.zeros(self.size, np.uint16)
        self.record: Record = records(1, KINDS[memory.is_packed][0 if receives else 1])
        for name, value in {
            "ring": memory.here,
            "driver": memory.here + memory.parts.driver,
            "device": memory.here + memory.parts.device,
            "pool": address_of(pool.record),
            "addresses": address_of(addresses) - pool.first * 8,
            "bufs": address_of(self._bufs),
            "ids": address_of(self._ids),
            "size": self.size,
            "entries": memory.entries,
            "header": header,
            "apart": self.size if apart else 0,
            "taker": taker,
            "in_order": in_order,
            "mergeable": mergeable and receives,
        }.items():
            self.record[0][name] = value
        self._start()

    def connect(self, bell: Doorbell, index: int) -> None:
        """How the queue of this index notifies its device."""
        ring_with(self.record, bell, index)

    def _start(self) -> None:
        """An empty ring, its descriptors written as far as they never change."""
        record, memory = self.record[0], self.memory
        self._ids[:] = np.arange(self.size)
        record["oldest"] = record["held"] = record["shuffled"] = record["broken"] = 0
        memory.clear()
        if memory.is_packed:
            record["turn"] = packed.BOTH
            return
        available = memory.array(memory.parts.driver + split.RINGS, memory.entries, "u2")
        available[:] = np.arange(memory.entries) % self.size
        header, apart = int(record["header"]), int(record["apart"])
        flags = sheet.DESC_WRITE if self.receives else 0
        memory.descriptors["flags"] = flags
        memory.descriptors["length"] = BUF_SIZE + (0 if apart else header)
        if apart:
            heads = memory.descriptors[:apart]
            heads["flags"], heads["length"] = flags | sheet.DESC_NEXT, header
            heads["next"] = np.arange(apart, 2 * apart)

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
        self.record[0]["ring"] = 0  # the queue's sign that it is closed
        self.record[0]["failed"] = CLOSED  # for compiled loops


def ring_with(record: Record, bell: Doorbell, index: int) -> None:
    """Lets `notify` tell the device of queue `index`: its number, or a 1 to an eventfd."""
    is_event = bell.file >= 0 and bell.position < 0
    for name, value in {
        "doorbell": bell.address,
        "file": bell.file,
        "position": bell.position,
        "notice": 1 if is_event else index,
        "notice_at": address_of(record) + record.dtype.fields["notice"][1],
    }.items():
        record[0][name] = value


@compiled
def _hold(queue):
    lock(queue[0])


@compiled
def _let_go(queue):
    unlock(queue[0])
