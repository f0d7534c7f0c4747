"""The device under every candidate of `bench driver`: an 82599's descriptors, and nothing else.

A NIC works beside the core, not in its caches. The emulated 82599 would work in them: its frame
rings and tables, 40 kB a round, would push out what the driver has there. So this device does no
more than the datasheet has a NIC do in memory: it writes frames to the buffers of receive
descriptors and writes these back (7.1.6), reads the frames of transmit descriptors and marks these
done (7.2.3). Each frame has a number, and each one sent is compared with what it should be.
"""

from typing import Any

import numpy as np

from ixy.compiled import call, compiled
from ixy.datasheets.intel82599 import RX_DD, RX_EOP, TX_DD, RxDescriptor, TxDescriptor
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import (
    Word,
    address_of,
    array_at,
    copy_bytes,
    load_acquire,
    records,
    store_release,
)
from ixy.system import cycles
from ixy.traffic.templates import MIN_SIZE, numbered_frame, set_number

RING = 512  # descriptors in each ring
BUFS = 4096  # in each candidate's pool
MOST = 256  # the largest batch
TOUCHED = 1  # the byte of each packet that the candidates' forwarders touch: one of its address

Nic = np.dtype(
    [
        ("rx_ring", "u8"),
        ("tx_ring", "u8"),
        ("rx_tail", "u8"),  # addresses of RDT and TDT
        ("tx_tail", "u8"),
        ("frame", "u8"),  # what is received next: 60 bytes
        ("expected", "u8"),  # what should be sent next
        ("received", "u8"),
        ("sent", "u8"),
        ("harmed", "u8"),  # sent, but not what was expected: changed, late, or one is missing
        ("rx_head", "u4"),
        ("tx_head", "u4"),
    ],
    align=True,
)
Job = np.dtype(  # what a candidate's step is given
    [
        ("rx", "u8"),  # its queues, in its own form
        ("tx", "u8"),
        ("bufs", "u8"),  # room for a batch of buffer numbers
        ("batch", "u8"),
        ("writes", "u8"),  # how each packet is touched: byte TOUCHED is incremented, or only read,
        ("seen", "u8"),  # and added to this
    ],
    align=True,
)


class Rings:
    """Descriptor rings and doorbells in memory of their own, and the device that works on them."""

    def __init__(self) -> None:
        self._memory = DmaMemory(RING * 32 + 4096)
        self._frames = np.frombuffer(numbered_frame() * 2, np.uint8).copy()
        self.nic = records(1, Nic)
        sizes = {"rx_ring": RING * 16, "tx_ring": RING * 16, "rx_tail": 4, "tx_tail": 4}
        for field, size in sizes.items():
            self.nic[0][field] = self._memory.address + self._memory.take(size)
        self.nic[0]["frame"] = address_of(self._frames)
        self.nic[0]["expected"] = address_of(self._frames) + MIN_SIZE

    def at(self, field: str) -> int:
        """One of the device's fields."""
        return int(self.nic[0][field])

    def array(self, field: str, count: int, dtype: Any) -> np.ndarray[Any, Any]:
        """What one of the device's addresses points to."""
        offset = self.at(field) - self._memory.address
        return np.frombuffer(self._memory.view(offset, count * np.dtype(dtype).itemsize), dtype)

    def offer(self, addresses: np.ndarray[Any, Any]) -> None:
        """Fills the receive ring with buffers, given RING device addresses.

        They are the device's as soon as RDT moves.
        """
        self.array("rx_ring", RING, RxDescriptor)["buffer"] = addresses

    def expect(self, writes: bool) -> None:
        """Says whether what is sent should have its touched byte incremented."""
        frame, expected = self._frames[:MIN_SIZE], self._frames[MIN_SIZE:]
        expected[TOUCHED] = frame[TOUCHED] + writes


@compiled
def bring(nic, count):
    """Receives up to `count` frames into the buffers that the driver offers."""
    ring = array_at(nic.rx_ring, RING, RxDescriptor)
    tail = load_acquire(array_at(nic.rx_tail, 1, Word)[0], "value")
    head = np.int64(nic.rx_head)
    for _ in range(count):
        if head == tail:
            break
        set_number(nic.frame, nic.received)
        copy_bytes(ring[head].buffer, nic.frame, MIN_SIZE)
        ring[head].info = 0
        ring[head].rss = 0
        store_release(ring[head], "done", RX_DD | RX_EOP | MIN_SIZE << 32)
        nic.received += np.uint64(1)
        head = (head + 1) & (RING - 1)
    nic.rx_head = head


@compiled
def take(nic):
    """Sends what the driver has put on the ring."""
    ring = array_at(nic.tx_ring, RING, TxDescriptor)
    tail = load_acquire(array_at(nic.tx_tail, 1, Word)[0], "value")
    head = np.int64(nic.tx_head)
    expected = array_at(nic.expected, MIN_SIZE, np.uint8)
    while head != tail:
        set_number(nic.expected, nic.sent)
        frame = array_at(ring[head].buffer, MIN_SIZE, np.uint8)
        difference = (ring[head].command & 0xFFFF) ^ MIN_SIZE
        for i in range(MIN_SIZE):
            difference |= frame[i] ^ expected[i]
        nic.harmed += np.uint64(difference != 0)
        nic.sent += np.uint64(1)
        store_release(ring[head], "status", TX_DD)
        head = (head + 1) & (RING - 1)
    nic.tx_head = head


@compiled
def simulate(nics, entry, job, batch, times):
    """Runs device and driver in turns; notes the cycles of each of the driver's.

    The driver is an entry point and the address of its job.
    """
    nic = nics[0]
    for i in range(len(times)):
        bring(nic, batch)
        begin = cycles()
        call(entry, job)
        times[i] = cycles() - begin
        take(nic)


@compiled
def bring_once(nics, count):
    """`bring`, for Python."""
    bring(nics[0], count)


@compiled
def take_once(nics):
    """`take`, for Python."""
    take(nics[0])


@compiled
def clock_costs(times):
    """Notes the cycles that two looks at the clock take."""
    for i in range(len(times)):
        begin = cycles()
        times[i] = cycles() - begin
