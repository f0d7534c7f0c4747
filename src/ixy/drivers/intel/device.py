"""What the drivers of Intel's cards have in common: the memory of rings and packets, the queues'
records, counting, closing.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from ixy.bus.function import PciFunction
from ixy.datasheets import pci
from ixy.datasheets.intel82599 import TX_DD, RxDescriptor, TxDescriptor
from ixy.device import Device, Record, RxQueue, Statistics, TxQueue
from ixy.drivers.intel import rings
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import address_of, records
from ixy.memory.pool import Mempool, taker

DEFAULT_RING, RING_SIZES = 512, [64 << i for i in range(7)]  # descriptors
# The key of Microsoft's RSS specification: hashes can be compared with published ones
RSS_KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)
# By how the registers of a queue begin
SIDES = {"RD": (rings.RxQueue, RxDescriptor), "TD": (rings.TxQueue, TxDescriptor)}


class IntelDevice(Device):
    """A card behind a PCI function, which is closed with it.

    `ring` descriptors per queue (a power of two); one queue pair per pool: queue i takes its
    buffers from `pools[i]`. With `itr` each receive queue interrupts, at most every so many
    microseconds. Raises IxyError for what the device does not have, DeviceTimeout if it does not
    answer.
    """

    sheet: ModuleType  # the datasheet
    # Registers that count packets, octets (two registers: behind it L, H), each received and sent,
    # and how many bytes of CRC are among a packet's octets
    PACKETS, OCTETS, CRC = ("GPRC", "GPTC"), ("GORC", "GOTC"), (4, 4)
    # reason to drop: the register that counts it
    DROPS: ClassVar = {"rx_oversize": "ROC", "rx_undersize": "RUC", "rx_crc_errors": "CRCERRS"}

    def __init__(
        self, function: PciFunction, pools: Sequence[Mempool], ring: int, itr: float | None = None
    ) -> None:
        self.function, self.address, self.pools, self.ring = function, function.address, pools, ring
        self.beyond, self.itr = function, itr
        self.rx, self.tx, self.before_close = [], [], []
        self._totals = dict.fromkeys((*self.PACKETS, *self.OCTETS, *self.DROPS.values()), 0)
        self._counting = threading.Lock()
        self._pages: dict[DmaMemory, np.ndarray[Any, np.dtype[np.uint64]]] = {}  # those mapped
        self._addresses: dict[Mempool, np.ndarray[Any, np.dtype[np.uint64]]] = {}
        self._rings: list[tuple[Record, np.ndarray[Any, Any], np.ndarray[Any, Any], Mempool]] = []
        self._closed = False
        for pool in pools:
            pool.join()
        try:
            self._refuse_what_the_device_lacks()
            self._bring_up()
        except BaseException:
            self._release()
            raise

    def _bring_up(self) -> None:
        """From a reset to queues that run, in the order of the datasheet."""
        raise NotImplementedError

    def _quiesce(self) -> None:
        """Ends all DMA: raises IxyError if the device does not say that it has."""
        raise NotImplementedError

    def _refuse_what_the_device_lacks(self) -> None:
        sheet, queues, itr = self.sheet, len(self.pools), self.itr
        device = self.function.config_read(pci.DEVICE_ID, 2)
        vendor = self.function.config_read(pci.VENDOR_ID, 2)
        # full receive rings, and for each a batch on its way through; a pool may serve several
        served = max(map(self.pools.count, self.pools), default=0)
        needed = served * (self.ring + 2 * rings.CLEAN_BATCH)
        free = min((pool.available for pool in self.pools), default=0)
        if vendor != sheet.VENDOR or device not in sheet.MODELS.values():
            trouble = f"{vendor:04x}:{device:04x} is no {sheet.NAMES}"
        elif not 1 <= queues <= sheet.QUEUES:
            trouble = f"{queues} queues: give it 1 to {sheet.QUEUES}"
        elif itr is not None and queues > sheet.QUEUE_CAUSES:
            trouble = f"interrupts for {queues} queues: give it 1 to {sheet.QUEUE_CAUSES}"
        elif itr is not None and not 0 <= itr <= sheet.MAX_ITR:
            trouble = f"an interval of {itr:g} us: give it 0 to {int(sheet.MAX_ITR)}"
        elif self.ring not in RING_SIZES:
            trouble = f"a ring of {self.ring}: give it a power of two, 64 to {RING_SIZES[-1]}"
        elif free < needed:
            trouble = f"the pool is too small: {free} free buffers of {needed}: give it pool=N"
        else:
            return
        raise IxyError(f"{self.address}: {trouble}")

    def _map_memory(self) -> None:
        """Lets the device reach rings and packets, and only then use the bus at all."""
        size = 2 * len(self.pools) * self.ring * RxDescriptor.itemsize
        self._memory = DmaMemory(size, huge=self.pools[0].memory.huge)
        for memory in dict.fromkeys([self._memory, *(pool.memory for pool in self.pools)]):
            self._pages[memory] = self.function.dma_map(memory)
        for pool in self.pools:
            self._addresses[pool] = pool.addresses(self._pages[pool.memory])
        command = self.function.config_read(pci.COMMAND, 2)
        self.function.config_write(pci.COMMAND, 2, command | pci.COMMAND_BUS_MASTER)

    def _init_rss(self, mode: int) -> None:
        """Spreads flows over the queues: 7 bits of the hash pick a table entry. `mode` is MRQC.MRQE
        for that.
        """
        for i, register in enumerate(self.regs.RSSRK):
            register.write(int.from_bytes(RSS_KEY[4 * i : 4 * i + 4], "little"))
        queues = min(len(self.pools), self.sheet.RSS_QUEUES)
        for i, register in enumerate(self.regs.RETA):
            entries = bytes((4 * i + j) % queues for j in range(4))
            register.write(int.from_bytes(entries, "little"))
        if queues > 1:
            ports = {"TCP_IPV4": 1, "UDP_IPV4": 1, "TCP_IPV6": 1, "UDP_IPV6": 1}
            self.regs.MRQC.write(MRQE=mode, IPV4=1, IPV6=1, **ports)

    def _start_queues(self) -> None:
        """All queues, enabled; nothing moves before the units they belong to are."""
        for queue in range(len(self.pools)):
            self.rx.append(self._start_rx(queue))
            self.tx.append(self._start_tx(queue))

    def _start_rx(self, queue: int) -> RxQueue:
        """A receive queue with a buffer in each slot, enabled."""
        regs, pool = self.regs, self.pools[queue]
        who = taker(f"rx queue {queue} of {self.address}")
        slots = pool.take(self.ring, who)
        record, ring = self._make_ring("RD", queue, who, slots)
        ring["buffer"] = self._addresses[pool][slots - pool.first]
        # DROP_EN stays 0: packets wait in the device's own buffer for a queue's descriptors, and
        # none is lost while that has room; the price is that they wait behind one another
        regs.SRRCTL[queue].write(BSIZEPACKET=2, BSIZEHEADER=4, DESCTYPE=1)
        regs.RXDCTL[queue].update(ENABLE=1)
        regs.RXDCTL[queue].wait(1.0, ENABLE=1)
        regs.RDT[queue].write(self.ring - 1)  # tail == head would mean an empty ring
        return RxQueue(record, pool)

    def _start_tx(self, queue: int) -> TxQueue:
        """A transmit queue, enabled."""
        regs = self.regs
        who = taker(f"tx queue {queue} of {self.address}")
        record, _ = self._make_ring("TD", queue, who, np.zeros(self.ring, np.uint32))
        regs.TXDCTL[queue].write(**self.sheet.TX_THRESHOLDS)
        regs.TXDCTL[queue].update(ENABLE=1)
        regs.TXDCTL[queue].wait(1.0, ENABLE=1)
        return TxQueue(record, self.pools[queue])

    def _make_ring(self, side: str, queue: int, who: int, slots: Any) -> tuple[Record, Any]:
        """A queue's record and descriptors, and its base and length registers; `slots` are its
        buffers."""
        kind, descriptor = SIDES[side]
        size, pool = self.ring * descriptor.itemsize, self.pools[queue]
        offset = self._memory.take(size)
        page, rest = divmod(offset, self._memory.page)
        iova = int(self._pages[self._memory][page]) + rest
        record, ring = records(1, kind), np.frombuffer(self._memory.view(offset, size), descriptor)
        self._rings.append((record, ring, slots, pool))
        for field, value in {
            "ring": address_of(ring),
            "doorbell": self.function.bar(0).doorbell(self.regs[side + "T"][queue].offset),
            "pool": address_of(pool.record),
            "addresses": address_of(self._addresses[pool]) - pool.first * 8,
            "bufs": address_of(slots),
            "mask": self.ring - 1,
            "taker": who,
        }.items():
            record[0][field] = value
        self.regs[side + "BAL"][queue].write(iova & 0xFFFFFFFF)
        self.regs[side + "BAH"][queue].write(iova >> 32)
        self.regs[side + "LEN"][queue].write(size)
        return record, ring

    def _read_mac(self) -> bytes:
        """What the device has loaded from its EEPROM into the first receive address register."""
        if not self.regs.RAH[0].field("AV"):
            raise IxyError(f"{self.address}: no address from its EEPROM: is that damaged?")
        low, high = self.regs.RAL[0].read(), self.regs.RAH[0].field("HIGH")
        return bytes((high << 32 | low).to_bytes(6, "little"))

    def set_mac(self, mac: bytes) -> None:
        """Makes `mac` (6 bytes) the device's address. Raises IxyError for a group address."""
        if len(mac) != 6 or mac[0] & 1:
            raise IxyError(f"{self.address}: {mac.hex(':')} is no address of a single station")
        self.regs.RAL[0].write(int.from_bytes(mac[:4], "little"))
        self.regs.RAH[0].update(HIGH=int.from_bytes(mac[4:], "little"), AV=1)
        self.mac = mac

    def statistics(self) -> Statistics:
        """The totals since the device was opened; no clear-on-read count is ever lost."""
        self.function.check()
        dropped = {"rx_damaged": sum(int(queue.record[0]["damaged"]) for queue in self.rx)}
        with self._counting:
            for name in self._totals:
                self._totals[name] += self._count(name)
            totals = dict(self._totals)
        packets, octets = [[totals[name] for name in row] for row in (self.PACKETS, self.OCTETS)]
        dropped |= {reason: totals[name] for reason, name in self.DROPS.items()}
        return Statistics(
            rx_packets=packets[0] - dropped["rx_damaged"],  # a card counts them, and their bytes
            rx_bytes=octets[0] - self.CRC[0] * packets[0],
            tx_packets=packets[1],
            tx_bytes=octets[1] - self.CRC[1] * packets[1],
            dropped=dropped | self.beyond.far_end(),
        )

    def _count(self, name: str) -> int:
        """A row's counters, added up; reading clears them. 36-bit ones: the low half latches the
        high one."""
        if name not in self.OCTETS:
            return sum(register.read() for register in self.regs[name])
        pairs = zip(self.regs[name + "L"], self.regs[name + "H"], strict=True)
        return sum(low.read() | high.read() << 32 for low, high in pairs)

    def flush(self, timeout: float = 1.0) -> int:
        """Waits until all packets have been sent, at most `timeout` s; returns how many are not.

        Raises IxyError if the device has sent them but does not say so.
        """
        deadline = time.monotonic() + timeout
        while (left := self._unsent()) and time.monotonic() < deadline:
            time.sleep(0.0001)
        ends = [(self.regs.TDH[i].read(), self.regs.TDT[i].read()) for i in range(len(self.tx))]
        if left and all(head == tail for head, tail in ends) and left == self._unsent():
            raise IxyError(f"{self.address}: {left} sent descriptors not written back (7.2.3.5)")
        return left

    def _unsent(self) -> int:
        left = 0
        for record, ring, _, _ in self._rings:
            if ring.dtype == TxDescriptor:
                sent = ring["status"][_in_flight(record)] & TX_DD
                left += len(sent) - int(sent.sum())
        return left

    def close(self) -> None:
        """Sends what is queued, stops the device and takes the memory back from it."""
        if not self._closed:
            self._closed = True
            for stop in self.before_close:
                stop()
            with ExitStack() as steps:  # each is done, though the one before may raise
                steps.callback(self._release)
                steps.callback(self._quiesce)
                self.flush(0.1)

    def _release(self) -> None:
        """Bus mastering off, memory unmapped, buffers back to their pools."""
        if self._pages:
            command = self.function.config_read(pci.COMMAND, 2)
            self.function.config_write(pci.COMMAND, 2, command & ~pci.COMMAND_BUS_MASTER)
        for memory in self._pages:
            self.function.dma_unmap(memory)
        for record, ring, slots, pool in self._rings:
            pool.give(slots[_in_flight(record)] if ring.dtype == TxDescriptor else slots)
            record[0]["ring"] = 0  # the queue's sign that it is closed
        self._rings.clear()
        for memory in list(self._pages)[:1]:  # the rings'; the others are the pools'
            memory.close()
        self.function.close()
        for pool in self.pools:
            pool.leave()


def _in_flight(record: Record) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The slots of a transmit ring whose buffers have not gone back to the pool."""
    clean, index, mask = (int(record[0][name]) for name in ("clean", "index", "mask"))
    return clean + np.arange(index - clean & mask) & mask
