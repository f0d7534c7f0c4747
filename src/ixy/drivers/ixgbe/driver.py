"""Set-up of the 82599: reset, link, receive and transmit units, by the datasheet's chapter 4.6.

Read `IxgbeDevice._bring_up` first: it is the order of the datasheet, a method per section.
"""

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ixy.bus.function import PciFunction
from ixy.datasheets import intel82599 as sheet
from ixy.datasheets import pci
from ixy.datasheets.registers import Registers
from ixy.device import Device, Record, RxQueue, Statistics, TxQueue
from ixy.drivers.ixgbe import rings
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import address_of, records
from ixy.memory.pool import Mempool, taker

DEFAULT_RING = 512
# The key of Microsoft's RSS specification: hashes can be compared with published ones
RSS_KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)
# Packets are counted where they reached memory: GPRC would include what was dropped after it had
# been counted (8.2.3.23.26, 8.2.3.23.74). Those ending in _ or C are two registers, behind it L, H.
COUNTERS, OCTETS = ("QPRC", "GPTC"), ("QBRC_", "GOTC")
DROPS = {  # reason: the register that counts it
    "rx_missed": "RXMPC",  # the device's own packet buffer was full
    "rx_no_descriptor": "QPRDC",
    "rx_oversize": "ROC",
    "rx_undersize": "RUC",
    "rx_crc_errors": "CRCERRS",
}
Bufs = np.ndarray[Any, np.dtype[np.uint32]]


class IxgbeDevice(Device):
    """An 82599, X540 or X550 behind a PCI function, which is closed with it.

    `ring` descriptors per queue (a power of two from 64 to 4096); one queue pair per pool: queue i
    takes its buffers from `pools[i]`. With `itr` each receive queue interrupts, at most every so
    many microseconds. Raises IxyError for what the device does not have, DeviceTimeout if it does
    not answer.
    """

    def __init__(
        self, function: PciFunction, pools: Sequence[Mempool], ring: int, itr: float | None = None
    ) -> None:
        self.function, self.address, self.pools, self.ring = function, function.address, pools, ring
        self.beyond, self.itr = function, itr
        self.rx, self.tx, self.before_close = [], [], []
        self._totals = dict.fromkeys((*COUNTERS, *OCTETS, *DROPS.values()), 0)
        self._counting = threading.Lock()
        self._mapped: list[DmaMemory] = []
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
        """The datasheet's order, 4.6.3 to 4.6.8."""
        self.regs = Registers(sheet.INTEL82599, self.function.bar(0), self.address)
        self._reset()  # 4.6.3
        self._map_memory()
        self.regs.AUTOC.update(LMS=3, AN_RESTART=1)  # 4.6.4: 10 Gbit/s; see `wait_for_link`
        self.statistics()  # 4.6.5: the counters clear when they are read
        self._totals = dict.fromkeys(self._totals, 0)
        self.mac = self._read_mac()
        self._init_rx()  # 4.6.7
        self._init_tx()  # 4.6.8
        for queue in range(len(self.pools)):
            self.rx.append(self._start_rx(queue))
            self.tx.append(self._start_tx(queue))
        if self.itr is not None:
            self._init_interrupts(self.itr)  # 4.6.6
        self.set_promiscuous(True)  # before it receives: nothing that arrives first is filtered
        self.regs.RXCTRL.update(RXEN=1)  # last of all, 4.6.7

    def _refuse_what_the_device_lacks(self) -> None:
        device = self.function.config_read(pci.DEVICE_ID, 2)
        vendor = self.function.config_read(pci.VENDOR_ID, 2)
        # full receive rings, and for each a batch on its way through; a pool may serve several
        needed = (self.ring + 2 * rings.CLEAN_BATCH) * max(
            map(self.pools.count, self.pools), default=0
        )
        free = min((pool.available for pool in self.pools), default=0)
        sizes = sheet.RING_SIZES
        if vendor != sheet.VENDOR or device not in sheet.MODELS.values():
            trouble = f"{vendor:04x}:{device:04x} is no 82599, X540 or X550"
        elif not 1 <= len(self.pools) <= sheet.QUEUES:
            trouble = f"{len(self.pools)} queues: give it 1 to {sheet.QUEUES}"
        elif self.itr is not None and len(self.pools) > sheet.QUEUE_CAUSES:
            trouble = f"interrupts for {len(self.pools)} queues: give it 1 to {sheet.QUEUE_CAUSES}"
        elif self.itr is not None and not 0 <= self.itr <= sheet.MAX_ITR:
            trouble = f"an interval of {self.itr:g} us: give it 0 to {int(sheet.MAX_ITR)}"
        elif self.ring not in sizes:
            trouble = f"a ring of {self.ring}: give it a power of two, {sizes[0]} to {sizes[-1]}"
        elif free < needed:
            trouble = f"the pool is too small: {free} free buffers of {needed}: give it pool=N"
        else:
            return
        raise IxyError(f"{self.address}: {trouble}")

    def _reset(self) -> None:
        """Interrupts off, reset, wait until the device has read its EEPROM: section 4.6.3."""
        self.regs.EIMC.write(0xFFFFFFFF)
        self.regs.CTRL.write(LNK_RST=1, RST=1)
        self.regs.CTRL.wait(1.0, LNK_RST=0, RST=0)
        time.sleep(0.01)
        self.regs.EIMC.write(0xFFFFFFFF)  # the reset has enabled them again
        self.regs.EICR.read()
        self.regs.EEC.wait(1.0, ARD=1)
        self.regs.RDRXCTL.wait(1.0, DMAIDONE=1)

    def _map_memory(self) -> None:
        """Lets the device reach rings and packets, and only then use the bus at all."""
        size = 2 * len(self.pools) * self.ring * sheet.RxDescriptor.itemsize
        self._memory = DmaMemory(size, huge=self.pools[0].memory.huge)
        self._ring_pages = self._map(self._memory)
        for pool in dict.fromkeys(self.pools):  # one pool may serve several queues
            self._addresses[pool] = pool.addresses(self._map(pool.memory))
        command = self.function.config_read(pci.COMMAND, 2)
        self.function.config_write(pci.COMMAND, 2, command | pci.COMMAND_BUS_MASTER)

    def _map(self, memory: DmaMemory) -> np.ndarray[Any, np.dtype[np.uint64]]:
        pages = self.function.dma_map(memory)
        self._mapped.append(memory)
        return pages

    def _init_rx(self) -> None:
        """Receive set-up, section 4.6.7. It looks long there; without DCB, virtualization and
        offloads it is short."""
        regs = self.regs
        regs.RXCTRL.update(RXEN=0)  # never reconfigure a running receiver
        for i, buffer in enumerate(regs.RXPBSIZE):
            buffer.write(SIZE=0 if i else 512)  # all for traffic class 0, 4.6.11.3.4
        regs.HLREG0.update(RXCRCSTRP=1, JUMBOEN=0)
        regs.RDRXCTL.update(CRCSTRIP=1, RSCFRSTSIZE=0, RSCACKC=1, FCOE_WRFIX=1)
        regs.MAXFRS.update(MFS=1518)  # with CRC; a VLAN tag may come on top
        regs.FCTRL.update(BAM=1)
        regs.CTRL_EXT.update(NS_DIS=1)
        self._init_rss()

    def _init_rss(self) -> None:
        """Spreads flows over the queues, section 7.1.2.8: 7 bits of the hash pick a table entry."""
        for i, register in enumerate(self.regs.RSSRK):
            register.write(int.from_bytes(RSS_KEY[4 * i : 4 * i + 4], "little"))
        queues = min(len(self.pools), sheet.RSS_QUEUES)
        for i, register in enumerate(self.regs.RETA):
            entries = bytes((4 * i + j) % queues for j in range(4))
            register.write(int.from_bytes(entries, "little"))
        if queues > 1:
            ports = {"TCP_IPV4": 1, "UDP_IPV4": 1, "TCP_IPV6": 1, "UDP_IPV6": 1}
            self.regs.MRQC.write(MRQE=1, IPV4=1, IPV6=1, **ports)

    def _init_tx(self) -> None:
        """Transmit set-up, section 4.6.8."""
        regs = self.regs
        regs.HLREG0.update(TXCRCEN=1, TXPADEN=1)
        for i, buffer in enumerate(regs.TXPBSIZE):
            buffer.write(SIZE=0 if i else 160)  # all for traffic class 0, 4.6.11.3.4
            regs.TXPBTHRESH[i].write(THRESH=0 if i else 160)
        regs.DTXMXSZRQ.write(0xFFF)  # without DCB: as many requests as there can be
        regs.RTTDCS.update(ARBDIS=0)
        regs.MTQC.write(0)  # 64 queues in one packet buffer
        regs.DMATXCTL.update(TE=1)

    def _start_rx(self, queue: int) -> RxQueue:
        """A receive queue with a buffer in each slot, enabled: the per-queue half of 4.6.7."""
        regs, pool = self.regs, self.pools[queue]
        who = taker(f"rx queue {queue} of {self.address}")
        slots = pool.take(self.ring, who)
        record, ring = self._make_ring(queue, who, slots, rings.RxQueue, sheet.RxDescriptor)
        ring["buffer"] = self._addresses[pool][slots - pool.first]
        # DROP_EN stays 0: packets wait in the device's own buffer for a queue's descriptors, and
        # none is lost while that has room; the price is that they wait behind one another
        regs.SRRCTL[queue].write(BSIZEPACKET=2, BSIZEHEADER=4, DESCTYPE=1)
        regs.DCA_RXCTRL[queue].update(BIT12=0)
        regs.RXDCTL[queue].update(ENABLE=1)
        regs.RXDCTL[queue].wait(1.0, ENABLE=1)
        regs.RDT[queue].write(self.ring - 1)  # tail == head would mean an empty ring
        return RxQueue(record, pool)

    def _start_tx(self, queue: int) -> TxQueue:
        """A transmit queue, enabled: the per-queue half of 4.6.8."""
        regs = self.regs
        who = taker(f"tx queue {queue} of {self.address}")
        slots = np.zeros(self.ring, np.uint32)
        record, _ = self._make_ring(queue, who, slots, rings.TxQueue, sheet.TxDescriptor)
        regs.TXDCTL[queue].write(PTHRESH=36, HTHRESH=8, WTHRESH=4)  # 7.2.3.4.1
        regs.TXDCTL[queue].update(ENABLE=1)
        regs.TXDCTL[queue].wait(1.0, ENABLE=1)
        return TxQueue(record, self.pools[queue])

    def _init_interrupts(self, itr: float) -> None:
        """A vector per receive queue, which clears its own cause: sections 4.6.6 and 7.3.

        The vectors are never masked. A worker that polls pays for an interrupt per interval, but no
        register access stands between it and its sleep.
        """
        regs, causes = self.regs, (1 << len(self.pools)) - 1
        regs.GPIE.write(MULTIPLE_MSIX=1)
        for queue, event in enumerate(self.function.interrupts(len(self.pools))):
            side = f"RX{queue % 2}"
            regs.IVAR[queue // 2].update(**{side: queue, f"{side}_VALID": 1})
            regs.EITR[queue].write(INTERVAL=round(itr / 2.048), CNT_WDIS=1)
            self.rx[queue].event = event
        regs.EIAC.write(causes)
        regs.EIMS.write(causes)

    def _make_ring(
        self, queue: int, who: int, slots: Bufs, kind: np.dtype[Any], descriptor: np.dtype[Any]
    ) -> tuple[Record, np.ndarray[Any, Any]]:
        """A queue's record and descriptors, and its base and length registers; `slots` are its
        buffers."""
        size, pool = self.ring * descriptor.itemsize, self.pools[queue]
        side = "RD" if kind == rings.RxQueue else "TD"
        offset = self._memory.take(size)
        page, rest = divmod(offset, self._memory.page)
        iova = int(self._ring_pages[page]) + rest
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
            raise IxyError(f"{self.address}: no address from its EEPROM: is that damaged? (4.6.3)")
        low, high = self.regs.RAL[0].read(), self.regs.RAH[0].field("HIGH")
        mac: bytes = (high << 32 | low).to_bytes(6, "little")
        return mac

    def set_mac(self, mac: bytes) -> None:
        """Makes `mac` (6 bytes) the device's address. Raises IxyError for a group address."""
        if len(mac) != 6 or mac[0] & 1:
            raise IxyError(f"{self.address}: {mac.hex(':')} is no address of a single station")
        self.regs.RAL[0].write(int.from_bytes(mac[:4], "little"))
        self.regs.RAH[0].update(HIGH=int.from_bytes(mac[4:], "little"), AV=1)
        self.mac = mac

    def set_promiscuous(self, on: bool) -> None:
        """Accepts all frames, or only those to the device and to all (8.2.3.7.1)."""
        self.regs.FCTRL.update(UPE=int(on), MPE=int(on))

    def link_speed(self) -> int:
        """Mbit/s; 0 without a link."""
        up, speed = self.regs.LINKS.field("UP"), self.regs.LINKS.field("SPEED")
        return (0, 100, 1000, 10000)[speed] if up else 0

    def statistics(self) -> Statistics:
        """The totals since the device was opened; no clear-on-read count is ever lost."""
        self.function.check()
        with self._counting:
            for name in self._totals:
                self._totals[name] += self._count(name)
            totals = dict(self._totals)
        dropped = {reason: totals[name] for reason, name in DROPS.items()}
        dropped["rx_damaged"] = sum(int(queue.record[0]["damaged"]) for queue in self.rx)
        return Statistics(
            rx_packets=totals["QPRC"],
            rx_bytes=totals["QBRC_"],  # the CRC was stripped
            tx_packets=totals["GPTC"],
            tx_bytes=totals["GOTC"] - 4 * totals["GPTC"],  # without the CRC
            dropped=dropped | self.beyond.far_end(),
        )

    def _count(self, name: str) -> int:
        """A row's counters, added up; reading clears them. 36-bit ones: the low half latches the
        high one."""
        if name not in OCTETS:
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
            if ring.dtype == sheet.TxDescriptor:
                sent = ring["status"][_in_flight(record)] & sheet.TX_DD
                left += len(sent) - int(sent.sum())
        return left

    def close(self) -> None:
        """Sends what is queued, stops the device and takes the memory back from it."""
        if not self._closed:
            self._closed = True
            for stop in self.before_close:
                stop()
            try:
                self.flush(0.1)
            finally:
                try:
                    self._quiesce()
                finally:
                    self._release()

    def _quiesce(self) -> None:
        """Queues off, then the master disable of 5.2.5.3.2: no DMA is under way afterwards."""
        regs = self.regs
        regs.RXCTRL.update(RXEN=0)
        for queue in range(len(self.pools)):
            for register in (regs.RXDCTL[queue], regs.TXDCTL[queue]):
                register.update(ENABLE=0)
                register.wait(0.1, ENABLE=0)
        regs.DMATXCTL.update(TE=0)
        regs.CTRL.update(GIO_DIS=1)
        regs.STATUS.wait(0.1, GIO=0)

    def _release(self) -> None:
        """Bus mastering off, memory unmapped, buffers back to their pools."""
        if self._mapped:
            command = self.function.config_read(pci.COMMAND, 2)
            self.function.config_write(pci.COMMAND, 2, command & ~pci.COMMAND_BUS_MASTER)
        for memory in self._mapped:
            self.function.dma_unmap(memory)
        for record, ring, slots, pool in self._rings:
            pool.give(slots[_in_flight(record)] if ring.dtype == sheet.TxDescriptor else slots)
            record[0]["ring"] = 0  # the queue's sign that it is closed
        self._rings.clear()
        for memory in self._mapped[:1]:  # the rings'; the others are the pools'
            memory.close()
        self.function.close()
        for pool in self.pools:
            pool.leave()


def _in_flight(record: Record) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The slots of a transmit ring whose buffers have not gone back to the pool."""
    clean, index, mask = (int(record[0][name]) for name in ("clean", "index", "mask"))
    return clean + np.arange(index - clean & mask) & mask
