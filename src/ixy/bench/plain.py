"""Our driver without a compiler: in vectorized NumPy, and in plain Python loops."""

from typing import Any

import numpy as np

from ixy.bench.nic import BUFS, RING, TOUCHED, Rings
from ixy.datasheets.intel82599 import (
    TX_DD,
    TX_PAYLEN_SHIFT,
    RxDescriptor,
    TxDescriptor,
)
from ixy.drivers.intel.rings import CLEAN_BATCH, COMMAND, GOOD, GOOD_MASK
from ixy.memory.dma import DmaMemory
from ixy.memory.pool import HEADROOM, STRIDE

MASK = RING - 1


class Numpy:
    """Each batch is a dozen array operations."""

    def __init__(self, rings: Rings) -> None:
        self.memory = DmaMemory(BUFS * STRIDE)
        bytes_of = np.frombuffer(self.memory.view(0, BUFS * STRIDE), np.uint8).reshape(BUFS, STRIDE)
        self.packets = bytes_of[:, HEADROOM:]
        self.addresses = np.arange(BUFS, dtype=np.uint64) * STRIDE + (
            self.memory.address + HEADROOM
        )
        self.lengths = np.zeros(BUFS, np.uint32)
        self.stack = np.arange(BUFS, dtype=np.uint32)
        self.rx = rings.array("rx_ring", RING, RxDescriptor)
        self.tx = rings.array("tx_ring", RING, TxDescriptor)
        self.rx_tail = rings.array("rx_tail", 1, np.uint32)
        self.tx_tail = rings.array("tx_tail", 1, np.uint32)
        self.rx_slots, self.stack = self.stack[:RING].copy(), self.stack[RING:].copy()
        self.top = len(self.stack)
        self.stack = np.concatenate([self.stack, self.rx_slots])
        self.tx_slots = np.zeros(RING, np.uint32)
        self.rx_index = self.tx_index = self.clean = self.seen = 0
        self.rx["buffer"] = self.addresses[self.rx_slots]
        self.rx_tail[0] = MASK

    def step(self, batch: int, writes: bool) -> None:
        """Forwards a batch."""
        bufs = self.receive(batch)
        if writes:
            self.packets[bufs, TOUCHED] += 1
        else:
            self.seen += int(self.packets[bufs, TOUCHED].sum())
        sent = self.send(bufs)
        self.free(bufs[sent:])

    def receive(self, most: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
        """Takes up to `most` packets off the ring."""
        slots = (self.rx_index + np.arange(min(most, self.top))) & MASK
        done = self.rx["done"][slots]
        bad = np.flatnonzero(done & GOOD_MASK != GOOD)
        count = int(bad[0]) if len(bad) else len(slots)
        slots, done = slots[:count], done[:count]
        bufs: np.ndarray[Any, np.dtype[np.uint32]] = self.rx_slots[slots]
        self.lengths[bufs] = done >> 32
        self.top -= count
        fresh = self.stack[self.top : self.top + count]
        self.rx_slots[slots] = fresh
        self.rx["buffer"][slots] = self.addresses[fresh]
        self.rx["header"][slots] = 0
        if count:
            self.rx_index = (self.rx_index + count) & MASK
            self.rx_tail[0] = (self.rx_index - 1) & MASK
        return bufs

    def send(self, bufs: np.ndarray[Any, np.dtype[np.uint32]]) -> int:
        """Puts packets on the ring; returns how many fitted."""
        while (self.tx_index - self.clean) & MASK >= CLEAN_BATCH:
            if not self.tx["status"][self.clean + CLEAN_BATCH - 1] & TX_DD:
                break
            self.free(self.tx_slots[self.clean : self.clean + CLEAN_BATCH])
            self.clean = (self.clean + CLEAN_BATCH) & MASK
        count = min(len(bufs), (self.clean - self.tx_index - 1) & MASK)
        bufs = bufs[:count]
        slots = (self.tx_index + np.arange(count)) & MASK
        sizes = self.lengths[bufs]
        self.tx_slots[slots] = bufs
        self.tx["buffer"][slots] = self.addresses[bufs]
        self.tx["command"][slots] = COMMAND | sizes
        self.tx["offload"][slots] = sizes << TX_PAYLEN_SHIFT
        self.tx_index = (self.tx_index + count) & MASK
        self.tx_tail[0] = self.tx_index
        return count

    def free(self, bufs: np.ndarray[Any, np.dtype[np.uint32]]) -> None:
        """Gives buffers back."""
        self.stack[self.top : self.top + len(bufs)] = bufs
        self.top += len(bufs)


class Python:
    """Each packet is some reads and writes of memoryviews."""

    def __init__(self, rings: Rings) -> None:
        self.memory = DmaMemory(BUFS * STRIDE)
        first = self.memory.address + HEADROOM
        self.bytes = self.memory.view(0, BUFS * STRIDE)
        self.addresses = [first + i * STRIDE for i in range(BUFS)]
        self.lengths = [0] * BUFS
        self.free = list(range(RING, BUFS))
        self.rx_slots, self.tx_slots = list(range(RING)), [0] * RING
        self.rx = view(rings.array("rx_ring", RING * 2, np.uint64))
        self.tx = view(rings.array("tx_ring", RING * 2, np.uint64))
        self.rx_tail = view(rings.array("rx_tail", 1, np.uint32))
        self.tx_tail = view(rings.array("tx_tail", 1, np.uint32))
        self.rx_index = self.tx_index = self.clean = self.seen = 0
        for slot in self.rx_slots:
            self.rx[2 * slot] = self.addresses[slot]
        self.rx_tail[0] = MASK

    def step(self, batch: int, writes: bool) -> None:
        """Forwards a batch."""
        bufs = self.receive(batch)
        if writes:
            for buf in bufs:
                place = buf * STRIDE + HEADROOM + TOUCHED
                self.bytes[place] = self.bytes[place] + 1 & 0xFF
        else:
            for buf in bufs:
                self.seen += self.bytes[buf * STRIDE + HEADROOM + TOUCHED]
        sent = self.send(bufs)
        self.free += bufs[sent:]

    def receive(self, most: int) -> list[int]:
        """Takes up to `most` packets off the ring."""
        bufs: list[int] = []
        rx, slots, index = self.rx, self.rx_slots, self.rx_index
        while len(bufs) < most and self.free:
            done = rx[2 * index + 1]
            if done & GOOD_MASK != GOOD:
                break
            buf = slots[index]
            self.lengths[buf] = done >> 32 & 0xFFFF
            bufs.append(buf)
            fresh = slots[index] = self.free.pop()
            rx[2 * index] = self.addresses[fresh]
            rx[2 * index + 1] = 0
            index = (index + 1) & MASK
        if bufs:
            self.rx_index = index
            self.rx_tail[0] = (index - 1) & MASK
        return bufs

    def send(self, bufs: list[int]) -> int:
        """Puts packets on the ring; returns how many fitted."""
        tx, slots, index = self.tx, self.tx_slots, self.tx_index
        while (index - self.clean) & MASK >= CLEAN_BATCH:
            end = self.clean + CLEAN_BATCH
            if not tx[2 * end - 1] >> 32 & TX_DD:
                break
            self.free += slots[self.clean : end]
            self.clean = end & MASK
        room = min(len(bufs), (self.clean - index - 1) & MASK)
        for buf in bufs[:room]:
            size = self.lengths[buf]
            slots[index] = buf
            tx[2 * index] = self.addresses[buf]
            tx[2 * index + 1] = COMMAND | size | size << 32 + TX_PAYLEN_SHIFT
            index = (index + 1) & MASK
        self.tx_index = index
        self.tx_tail[0] = index
        return room


def view(array: Any) -> memoryview:
    """An array for who does not want NumPy: its items are plain numbers, and quicker to reach."""
    return memoryview(array)
