"""Set-up of the 82599: reset, link, receive and transmit units, as chapters 4.6.3 to 4.6.8 of the
datasheet say.

Read `IxgbeDevice._bring_up` first: it is the order of the datasheet, a method per section.
"""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ixy.bus.function import PciFunction
from ixy.datasheets import pci
from ixy.datasheets.intel82599 import (
    INTEL82599,
    MODELS,
    QUEUES,
    RING_SIZES,
    RSS_QUEUES,
    TX_DD,
    VENDOR,
    RxDescriptor,
    TxDescriptor,
)
from ixy.datasheets.registers import Registers
from ixy.device import Device, Record, RxQueue, Statistics, TxQueue
from ixy.drivers.ixgbe import rings
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import address_of, records
from ixy.memory.pool import Mempool, taker

DEFAULT_RING = 512
CRC = 4  # bytes that GOTC includes and users do not
FRAME_LIMIT = 1518  # with CRC; a VLAN tag may come on top
# The key of Microsoft's RSS specification: hashes can be compared with published ones
RSS_KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)
SPEEDS = {0: 0, 1: 100, 2: 1000, 3: 10000}  # LINKS.SPEED to Mbit/s
# Received is what reached memory: GPRC would also count what was then dropped (8.2.3.23.26, .74)
COUNTERS = ("QPRC", "GPTC")
OCTETS = {"QBRC": "QBRC_", "GOTC": "GOTC"}  # 36 bits in two registers, named so and L, H
# Dropped packets: the reason, and the register that counts them
DROPS = {
    "rx_missed": "RXMPC",  # the device's packet buffer was full
    "rx_no_descriptor": "QPRDC",
    "rx_oversize": "ROC",
    "rx_undersize": "RUC",
    "rx_crc_errors": "CRCERRS",
}


class IxgbeDevice(Device):
    """An 82599, X540 or X550 behind a PCI function.

    `ring` descriptors per queue (a power of two from 64 to 4096); one queue pair per pool: queue i
    takes its buffers from `pools[i]`. Raises IxyError for what the device does not have,
    DeviceTimeout if it does not answer.
    """

    def __init__(
        self, function: PciFunction, pools: Sequence[Mempool], ring: int = DEFAULT_RING
    ) -> None:
        self.function, self.address, self.pools, self.ring = function, function.address, pools, ring
        self._refuse_what_the_device_lacks()
        self.regs = Registers(INTEL82599, function.bar(0), self.address)
        self._totals = dict.fromkeys((*COUNTERS, *OCTETS, *DROPS.values()), 0)
        self._counting = threading.Lock()
        self._rings: list[tuple[Record, np.ndarray[Any, Any], np.ndarray[Any, Any]]] = []
        self.rx, self.tx = [], []
        self._closed = False
        self._mapped: list[DmaMemory] = []
        self._memory = DmaMemory(
            len(pools) * ring * 32, huge=pools[0].memory.page != pools[0].memory.size
        )
        try:
            self._bring_up()
        except BaseException:
            self._release()
            raise

    def _bring_up(self) -> None:
        """The datasheet's order, 4.6.3 to 4.6.8."""
        queues = range(len(self.pools))
        self._reset()  # 4.6.3
        self._map_memory()
        self.regs.AUTOC.update(
            LMS=3, AN_RESTART=1
        )  # 4.6.4: 10 Gbit/s serial; `wait_for_link` waits
        self.statistics()  # 4.6.5: the counters clear when they are read
        self._totals = dict.fromkeys(self._totals, 0)
        self.mac = self._read_mac()
        self._init_rx()  # 4.6.7
        self._init_tx()  # 4.6.8
        self.rx = [self._start_rx(queue) for queue in queues]
        self.tx = [self._start_tx(queue) for queue in queues]
        self.regs.RXCTRL.update(RXEN=1)  # last of all, 4.6.7
        self.set_promiscuous(True)

    def _refuse_what_the_device_lacks(self) -> None:
        queues, config = len(self.pools), self.function.config_read
        device = config(pci.DEVICE_ID, 2)
        if config(pci.VENDOR_ID, 2) != VENDOR or device not in MODELS.values():
            raise IxyError(f"{self.address}: {device:#06x} is no 82599, X540 or X550")
        if not 1 <= queues <= QUEUES:
            raise IxyError(f"{self.address}: {queues} queues: give it 1 to {QUEUES}")
        if self.ring not in RING_SIZES or self.ring & self.ring - 1:
            raise IxyError(
                f"{self.address}: a ring of {self.ring}: give it a power of two from"
                f" {RING_SIZES.start} to {RING_SIZES.stop - 1}"
            )
        for pool in self.pools:
            needed = (
                self.ring + 2 * rings.CLEAN_BATCH
            )  # a full ring, and a batch on its way through
            if pool.available < needed:
                raise IxyError(
                    f"{self.address}: the pool is too small: {pool.available} free buffers,"
                    f" a ring of {self.ring} needs {needed}: give it more with pool=N"
                )

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
        self._ring_pages = self._map(self._memory)
        self._addresses = {
            id(pool): pool.device_addresses(self._map(pool.memory)) for pool in self.pools
        }
        command = self.function.config_read(pci.COMMAND, 2)
        self.function.config_write(pci.COMMAND, 2, command | pci.COMMAND_BUS_MASTER)

    def _map(self, memory: DmaMemory) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
        self._mapped.append(memory)
        return self.function.dma_map(memory)

    def _init_rx(self) -> None:
        """Receive set-up, section 4.6.7. Long there; without DCB, virtualization and offloads it is
        short.
        """
        regs = self.regs
        regs.RXCTRL.update(RXEN=0)  # never reconfigure a running receiver
        regs.RXPBSIZE[0].write(SIZE=512)  # all of the packet buffer for traffic class 0, 4.6.11.3.4
        for i in range(1, 8):
            regs.RXPBSIZE[i].write(0)
        regs.HLREG0.update(RXCRCSTRP=1, JUMBOEN=0)
        regs.RDRXCTL.update(
            CRCSTRIP=1, RSCFRSTSIZE=0, RSCACKC=1, FCOE_WRFIX=1
        )  # CRC: both, or neither
        regs.MAXFRS.update(MFS=FRAME_LIMIT)
        regs.FCTRL.update(BAM=1)
        regs.CTRL_EXT.update(NS_DIS=1)
        self._init_rss()

    def _init_rss(self) -> None:
        """Spreads flows over the queues, section 7.1.2.8: the hash's low 7 bits pick a queue from
        the table.
        """
        for i in range(10):
            self.regs.RSSRK[i].write(int.from_bytes(RSS_KEY[4 * i : 4 * i + 4], "little"))
        queues = min(len(self.pools), RSS_QUEUES)
        for i in range(32):
            entries = bytes((4 * i + j) % queues for j in range(4))
            self.regs.RETA[i].write(int.from_bytes(entries, "little"))
        if queues > 1:
            self.regs.MRQC.write(
                MRQE=1, IPV4=1, TCP_IPV4=1, UDP_IPV4=1, IPV6=1, TCP_IPV6=1, UDP_IPV6=1
            )

    def _init_tx(self) -> None:
        """Transmit set-up, section 4.6.8."""
        regs = self.regs
        regs.HLREG0.update(TXCRCEN=1, TXPADEN=1)
        regs.TXPBSIZE[0].write(SIZE=160)  # all of it for traffic class 0, 4.6.11.3.4
        regs.TXPBTHRESH[0].write(THRESH=160)
        for i in range(1, 8):
            regs.TXPBSIZE[i].write(0)
            regs.TXPBTHRESH[i].write(0)
        regs.DTXMXSZRQ.write(0xFFF)  # without DCB: as many requests as there can be
        regs.RTTDCS.update(ARBDIS=0)
        regs.MTQC.write(0)  # 64 queues in one packet buffer
        regs.DMATXCTL.update(TE=1)

    def _start_rx(self, queue: int) -> RxQueue:
        """A receive queue with a buffer in each slot, enabled: the per-queue half of 4.6.7."""
        regs, pool = self.regs, self.pools[queue]
        ring, iova = self._take_ring(RxDescriptor)
        name = f"rx queue {queue} of {self.address}"
        record = self._record(rings.RxQueue, ring, regs.RDT[queue].offset, pool, name)
        slots = self._rings[-1][2]
        slots[:] = pool.take(self.ring, record[0]["taker"])
        ring["buffer"] = self._addresses[id(pool)][slots - pool.first]
        regs.RDBAL[queue].write(iova & 0xFFFFFFFF)
        regs.RDBAH[queue].write(iova >> 32)
        regs.RDLEN[queue].write(ring.nbytes)
        # DROP_EN stays 0: packets wait in the device's own buffer for a queue's descriptors, and
        # none is lost as long as there is room; the price is that they wait behind one another
        regs.SRRCTL[queue].write(BSIZEPACKET=2, BSIZEHEADER=4, DESCTYPE=1)
        regs.DCA_RXCTRL[queue].update(BIT12=0)
        regs.RXDCTL[queue].update(ENABLE=1)
        regs.RXDCTL[queue].wait(1.0, ENABLE=1)
        regs.RDT[queue].write(self.ring - 1)  # tail == head would mean an empty ring
        return RxQueue(record, pool)

    def _start_tx(self, queue: int) -> TxQueue:
        """A transmit queue, enabled: the per-queue half of 4.6.8."""
        regs, pool = self.regs, self.pools[queue]
        ring, iova = self._take_ring(TxDescriptor)
        name = f"tx queue {queue} of {self.address}"
        record = self._record(rings.TxQueue, ring, regs.TDT[queue].offset, pool, name)
        regs.TDBAL[queue].write(iova & 0xFFFFFFFF)
        regs.TDBAH[queue].write(iova >> 32)
        regs.TDLEN[queue].write(ring.nbytes)
        regs.TXDCTL[queue].write(PTHRESH=36, HTHRESH=8, WTHRESH=4)  # 7.2.3.4.1
        regs.TXDCTL[queue].update(ENABLE=1)
        regs.TXDCTL[queue].wait(1.0, ENABLE=1)
        return TxQueue(record, pool)

    def _take_ring(self, descriptor: np.dtype[Any]) -> tuple[np.ndarray[Any, Any], int]:
        """Memory for a queue's descriptors, and where the device finds it."""
        size = self.ring * descriptor.itemsize
        offset = self._memory.take(size)
        page, rest = divmod(offset, self._memory.page)
        return np.frombuffer(self._memory.view(offset, size), descriptor), int(
            self._ring_pages[page]
        ) + rest

    def _record(
        self, kind: np.dtype[Any], ring: np.ndarray[Any, Any], tail: int, pool: Mempool, name: str
    ) -> Record:
        """A queue's record, and the arrays it points to, which live as long as the device."""
        record, slots = records(1, kind), np.zeros(self.ring, np.uint32)
        self._rings.append((record, ring, slots))
        for field, value in {
            "ring": address_of(ring),
            "doorbell": self.function.bar(0).doorbell(tail),
            "pool": address_of(pool.record),
            "addresses": address_of(self._addresses[id(pool)]) - pool.first * 8,
            "bufs": address_of(slots),
            "mask": self.ring - 1,
            "taker": taker(name),
        }.items():
            record[0][field] = value
        return record

    def _read_mac(self) -> bytes:
        """The address that the device has loaded from its EEPROM into the first receive address
        register.
        """
        high = self.regs.RAH[0].field("HIGH")
        return self.regs.RAL[0].read().to_bytes(4, "little") + high.to_bytes(2, "little")

    def set_mac(self, mac: bytes) -> None:
        """Makes `mac` (6 bytes) the device's address. Raises IxyError for a group address."""
        if len(mac) != 6 or mac[0] & 1:
            raise IxyError(f"{self.address}: {mac.hex(':')} is no address for a single station")
        self.regs.RAL[0].write(int.from_bytes(mac[:4], "little"))
        self.regs.RAH[0].update(HIGH=int.from_bytes(mac[4:], "little"), AV=1)
        self.mac = mac

    def set_promiscuous(self, on: bool) -> None:
        """Accepts all frames, or only those sent to the device, to its groups and to all
        (8.2.3.7.1).
        """
        self.regs.FCTRL.update(UPE=int(on), MPE=int(on))

    def link_speed(self) -> int:
        """Mbit/s; 0 without a link."""
        links = self.regs.LINKS.read()
        fields = self.regs.sheet.registers["LINKS"].fields
        return SPEEDS[fields["SPEED"].of(links)] if fields["UP"].of(links) else 0

    def statistics(self) -> Statistics:
        """The totals since the device was opened; no clear-on-read count is ever lost."""
        self.function.check()
        with self._counting:
            totals = self._totals
            for name in totals:
                totals[name] += self._octets(OCTETS[name]) if name in OCTETS else self._count(name)
            dropped = {reason: totals[name] for reason, name in DROPS.items()}
            dropped["rx_damaged"] = sum(int(queue.record[0]["damaged"]) for queue in self.rx)
            return Statistics(
                rx_packets=totals["QPRC"],
                rx_bytes=totals["QBRC"],  # without the CRC, which was stripped
                tx_packets=totals["GPTC"],
                tx_bytes=totals["GOTC"] - CRC * totals["GPTC"],
                dropped=dropped | self.function.far_end(),
            )

    def _count(self, name: str) -> int:
        """A row's counters, added up. Reading clears them."""
        row = self.regs.sheet.registers[name]
        return sum(getattr(self.regs, name)[i].read() for i in range(row.count))

    def _octets(self, name: str) -> int:
        """A row's 36-bit counters: the low half is read first, it latches the high one."""
        low, high = getattr(self.regs, name + "L"), getattr(self.regs, name + "H")
        count = self.regs.sheet.registers[name + "L"].count
        return sum(low[i].read() | high[i].read() << 32 for i in range(count))

    def registers(self) -> Iterator[tuple[int, str, int, str]]:
        """Each register: offset, name, word, decoded fields. The statistics among them are cleared."""
        for row in self.regs.sheet.rows:
            for index in range(row.count):
                register = getattr(self.regs, row.name)[index]
                word = register.read()
                yield register.offset, repr(register), word, row.decode(word)

    @property
    def ended(self) -> bool | None:
        """Whether the far end has nothing more to send; None where nobody can know."""
        return self.function.ended

    def flush(self, timeout: float = 1.0) -> int:
        """Waits until all packets have been sent, at most `timeout` seconds; returns how many have
        not.
        """
        deadline = time.monotonic() + timeout
        while (left := self._unsent()) and time.monotonic() < deadline:
            time.sleep(0.0001)
        return left

    def _unsent(self) -> int:
        left = 0
        for record, ring, _ in self._rings:
            if ring.dtype == TxDescriptor:
                waiting = _between(int(record[0]["clean"]), int(record[0]["index"]), self.ring)
                left += int(np.count_nonzero(~ring["status"][waiting] & TX_DD))
        return left

    def close(self) -> None:
        """Sends what is queued, stops the device and takes the memory back from it."""
        if self._closed:
            return
        self._closed = True
        try:
            self.flush()
            self._quiesce()
        finally:
            self._release()

    def _quiesce(self) -> None:
        """Queues off, then the master disable of 5.2.5.3.2: no DMA is under way when it is through."""
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
        command = self.function.config_read(pci.COMMAND, 2)
        self.function.config_write(pci.COMMAND, 2, command & ~pci.COMMAND_BUS_MASTER)
        for memory in self._mapped:
            self.function.dma_unmap(memory)
        for pool, (record, ring, slots) in zip(
            itertools.cycle(self.pools), self._rings, strict=False
        ):
            if ring.dtype == TxDescriptor:
                slots = slots[_between(int(record[0]["clean"]), int(record[0]["index"]), self.ring)]
            pool.give(slots)
        self._rings.clear()
        self._memory.close()
        self.function.close()


def _between(start: int, end: int, size: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """The slots of a ring from `start` up to, not including, `end`."""
    return (start + np.arange((end - start) % size)) % size
