"""Set-up of a virtio network device, by sections 3.1.1 and 5.1 of the specification.

Read `VirtioDevice._bring_up` first: it is the order of 3.1.1. Of all the features that a device may
offer, none is needed.
"""

import os
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ixy.compiled import compiled
from ixy.datasheets import virtio as sheet
from ixy.datasheets.virtio import Control, Feature
from ixy.device import Device, RxQueue, Statistics, TxQueue
from ixy.drivers.virtio.control import ROOM, ControlQueue
from ixy.drivers.virtio.queue import LIES, notify
from ixy.drivers.virtio.ring import RECORDS, Ring, RingMemory, block_of, connect, layout
from ixy.drivers.virtio.transport import Transport
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import records
from ixy.memory.pool import Mempool, taker

DEFAULT_RING, LEAST = 256, 32
BATCH = 32  # packets on their way through an app, for which a pool should have buffers
DEFAULT_SPEED = 10_000  # Mbit/s of a link whose speed the device does not tell
NONE = Feature(0)
USEFUL = (  # what is taken wherever it is offered
    Feature.VERSION_1 | Feature.ACCESS_PLATFORM | Feature.ORDER_PLATFORM
    | Feature.RING_PACKED | Feature.IN_ORDER | Feature.ANY_LAYOUT
    | Feature.MAC | Feature.STATUS | Feature.SPEED_DUPLEX
    | Feature.CTRL_VQ | Feature.CTRL_RX | Feature.CTRL_MAC_ADDR
)  # fmt: skip


@compiled
def _notify(queue):
    notify(queue[0])


class VirtioDevice(Device):
    """A virtio network device behind a transport, which is closed with it.

    `ring` descriptors per queue, or as many as the device has if those are fewer; one queue pair
    per pool. `wanted` are features that it must have, on top of what is `USEFUL`; `refused` are not
    taken. Raises IxyError for what the device does not have.
    """

    def __init__(
        self,
        transport: Transport,
        pools: Sequence[Mempool],
        ring: int = DEFAULT_RING,
        *,
        wanted: Feature = NONE,
        refused: Feature = NONE,
    ) -> None:
        self.transport, self.address, self.pools = transport, transport.address, pools
        self.beyond, self._ring_size, self.regs = transport.beyond, ring, transport.regs
        self.rx, self.tx, self.before_close = [], [], []
        self._wanted, self._refused = wanted, refused
        self._rings: list[Ring] = []
        self._mapped: list[DmaMemory] = []
        self._addresses: dict[Mempool, np.ndarray[Any, np.dtype[np.uint64]]] = {}
        self._control: ControlQueue | None = None
        self._closed = False
        for pool in pools:
            pool.join()
        try:
            self._bring_up()
        except BaseException:
            self._release()
            raise

    def _bring_up(self) -> None:
        """Section 3.1.1, step by step."""
        offered = self.transport.begin()  # 1 to 4
        self.features = self._choose(offered)
        self.transport.accept(self.features)  # 5 and 6
        has_mac = self.features & Feature.MAC
        self.mac = self.transport.config(*sheet.NET_MAC) if has_mac else _random_mac()
        pairs = self._pairs()
        self._start_queues(pairs)  # 7
        self.transport.restarted = self.restart
        self.transport.go()  # 8
        if self.features & Feature.MQ and self._control:
            self._command(Control.PAIRS_SET, len(self.pools).to_bytes(2, "little"))
        if self.features & Feature.CTRL_RX:
            self.set_promiscuous(True)
        for queue in self.rx:
            queue.receive(0)  # fills it

    def _choose(self, offered: Feature) -> Feature:
        """What is offered and of use. What a control queue controls, needs one (5.1.3.1)."""
        if not offered & Feature.CTRL_VQ:
            offered &= ~(Feature.CTRL_RX | Feature.CTRL_VLAN | Feature.CTRL_MAC_ADDR)
        wanted = self._wanted | (Feature.MQ if len(self.pools) > 1 else NONE)
        if missing := wanted & ~offered:
            raise IxyError(f"{self.address}: the device does not offer {missing.name}")
        return offered & (USEFUL | wanted) & ~self._refused

    def _pairs(self) -> int:
        """How many queue pairs there are: without MQ, one (5.1.2). Raises IxyError if too few."""
        pairs = 1
        if self.features & Feature.MQ:
            pairs = self.transport.pairs or self._number(sheet.NET_PAIRS)
        if not 1 <= len(self.pools) <= pairs:
            raise IxyError(f"{self.address}: {len(self.pools)} queues: the device has {pairs}")
        return pairs

    def _start_queues(self, pairs: int) -> None:
        """Receive queue i is number 2i, transmit queue i is 2i + 1, and behind all the pairs that
        there could be is the control queue (5.1.2).
        """
        sizes = {index: self._size_of(index) for index in range(2 * len(self.pools))}
        if self.features & Feature.CTRL_VQ:
            sizes[2 * pairs] = self._size_of(2 * pairs)
        blocks = [block_of(layout(size, *self._shape)[2]) for size in sizes.values()]
        size = sum(blocks) + max(blocks) + 2 * ROOM
        self._memory = DmaMemory(size, huge=self.pools[0].memory.huge)
        self._pages = self._map(self._memory)
        for pool in dict.fromkeys(self.pools):  # one pool may serve several queues
            self._addresses[pool] = pool.addresses(self._map(pool.memory))
        for index, size in sizes.items():
            memory = RingMemory(self._memory, self._pages, size, *self._shape)
            if index < 2 * len(self.pools):
                self._start_queue(index, memory)
            else:
                self._start_control(index, memory)

    @property
    def _shape(self) -> tuple[bool, int]:
        """Of rings: whether they are packed, and where in memory the device's area may begin."""
        return bool(self.features & Feature.RING_PACKED), self.transport.align

    @property
    def _apart(self) -> bool:
        """Whether a packet's header must have a descriptor of its own (2.7.4.1)."""
        return not self.features & (Feature.ANY_LAYOUT | Feature.VERSION_1)

    def _size_of(self, index: int) -> int:
        """Descriptors of a queue. Raises IxyError if there are none, or not as many as asked."""
        most = self.transport.queue_size(index)
        size = min(self._ring_size, most) if self.transport.resizable else most
        least = LEAST * (2 if self._apart else 1)
        pool = self.pools[min(index // 2, len(self.pools) - 1)]
        needed = (size + 2 * BATCH) * self.pools.count(pool)
        if size < least or size & (size - 1):
            trouble = f"a ring of {size}: give it a power of two, {least} or more"
        elif pool.available < needed:
            free = pool.available
            trouble = f"the pool is too small: {free} free buffers of {needed}: give it pool=N"
        else:
            return size
        raise IxyError(f"{self.address}: {trouble}")

    def _map(self, memory: DmaMemory) -> Any:
        pages = self.transport.dma_map(memory)
        self._mapped.append(memory)
        return pages

    def _start_queue(self, index: int, memory: RingMemory) -> None:
        """A receive or transmit queue."""
        queue, receives = index // 2, index % 2 == 0
        pool = self.pools[queue]
        long = self.features & (Feature.VERSION_1 | Feature.MRG_RXBUF)
        ring = Ring(
            memory, pool, self._addresses[pool], receives=receives, apart=self._apart,
            header=sheet.HEADER if long else sheet.LEGACY_HEADER,
            in_order=bool(self.features & Feature.IN_ORDER),
            mergeable=receives and bool(self.features & Feature.MRG_RXBUF),
            taker=taker(f"{'rx' if receives else 'tx'} queue {queue} of {self.address}"),
        )  # fmt: skip
        self._rings.append(ring)
        connect(ring.record, self.transport.start_queue(index, memory.entries, memory.areas), index)
        if receives:
            self.rx.append(RxQueue(ring.record, pool))
        else:
            self.tx.append(TxQueue(ring.record, pool))

    def _start_control(self, index: int, ring: RingMemory) -> None:
        place = self._memory.take(ROOM, ROOM)
        iova = int(self._pages[place // self._memory.page]) + place % self._memory.page
        record = records(1, RECORDS[ring.is_packed][0])  # only to notify with
        connect(record, self.transport.start_queue(index, ring.entries, ring.areas), index)
        wake = partial(_notify, record)
        self._control = ControlQueue(self.address, ring, self._memory, place, iova, wake)

    def _number(self, field: tuple[int, int]) -> int:
        """A field of the device's configuration."""
        return int.from_bytes(self.transport.config(*field), "little")

    def _command(self, what: Control, data: bytes, feature: Feature = Feature.CTRL_VQ) -> None:
        if self._control is None or not self.features & feature:
            raise IxyError(f"{self.address}: {what.name} needs {feature.name}, which it has not")
        self._control.command(what, data)

    def set_mac(self, mac: bytes) -> None:
        """Makes `mac` (6 bytes) the device's address. Raises IxyError for a group address, and if
        the device has no way to change it.
        """
        if len(mac) != 6 or mac[0] & 1:
            raise IxyError(f"{self.address}: {mac.hex(':')} is no address of a single station")
        if self.features & Feature.CTRL_MAC_ADDR:
            self._command(Control.MAC_ADDR_SET, mac)
        else:
            self.transport.set_config(sheet.NET_MAC[0], mac)
        self.mac = mac

    def set_promiscuous(self, on: bool) -> None:
        """Accepts all frames, or only those to the device and to all. Raises IxyError if the device
        cannot filter.
        """
        self._command(Control.PROMISCUOUS, bytes([on]), Feature.CTRL_RX)

    def set_all_multicast(self, on: bool) -> None:
        """Accepts all frames to groups, or only those to groups of `set_mac_table`."""
        self._command(Control.ALL_MULTICAST, bytes([on]), Feature.CTRL_RX)

    def set_mac_table(self, stations: Sequence[bytes], groups: Sequence[bytes]) -> None:
        """Accepts frames to these addresses (6 bytes each), too (5.1.6.5.2)."""
        data = b""
        for table in (stations, groups):
            data += len(table).to_bytes(4, "little") + b"".join(table)
        self._command(Control.MAC_TABLE_SET, data, Feature.CTRL_RX)

    def set_vlan(self, vlan: int, on: bool) -> None:
        """Accepts tagged frames of a VLAN (0 to 4095), or does not. The device filters those only
        if CTRL_VLAN was wanted: then none passes that was not set (5.1.6.5.3).
        """
        what = Control.VLAN_ADD if on else Control.VLAN_DEL
        self._command(what, vlan.to_bytes(2, "little"), Feature.CTRL_VLAN)

    def link_speed(self) -> int:
        """Mbit/s; 0 without a link. A device that does not tell its speed has 10 Gbit/s."""
        if not self.transport.connected:
            return 0
        has_status = self.features & Feature.STATUS
        if has_status and not self._number(sheet.NET_STATUS) & sheet.LINK_UP:
            return 0
        speed = self._number(sheet.NET_SPEED) if self.features & Feature.SPEED_DUPLEX else 0
        return speed if 0 < speed < 1 << 31 else DEFAULT_SPEED

    def statistics(self) -> Statistics:
        """The totals: virtio devices count nothing, we do. Raises IxyError for what a device said
        that cannot be.
        """
        self.beyond.check()
        if self.transport.needs_reset:
            raise IxyError(f"{self.address}: the device has failed and needs a reset: restart it")
        totals = Statistics(dropped={"rx_damaged": 0, "tx_lost": 0} | self.beyond.far_end())
        for ring in self._rings:
            record = ring.record[0]
            if lie := int(record["failed"]):
                what = LIES[lie].format(int(record["culprit"]))
                raise IxyError(f"{self.address}: the device is broken: {what}: restart it")
            packets, octets = int(record["packets"]), int(record["octets"])
            if ring.receives:
                totals.rx_packets += packets
                totals.rx_bytes += octets
                totals.dropped["rx_damaged"] += int(record["damaged"])
            else:
                totals.tx_packets += packets
                totals.tx_bytes += octets
                totals.dropped["tx_lost"] += ring.lost
        return totals

    def flush(self, timeout: float = 1.0) -> int:
        """Waits until all packets have been sent, at most `timeout` s; returns how many are not."""
        deadline = time.monotonic() + timeout
        while True:
            for queue in self.tx:
                queue.send([])  # takes back what has been sent
            left = sum(int(queue.record[0]["held"]) for queue in self.tx)
            if not left or time.monotonic() >= deadline:
                return left
            time.sleep(0.0001)

    def restart(self) -> None:
        """For a device that has begun anew: its rings are empty. Workers may go on meanwhile."""
        for ring in self._rings:
            ring.restart()

    def close(self) -> None:
        """Sends what is queued, resets the device and takes the memory back from it."""
        if not self._closed:
            self._closed = True
            for stop in self.before_close:
                stop()
            try:
                self.flush(0.1)
                self.transport.stop()
            finally:
                self._release()

    def _release(self) -> None:
        """Memory unmapped, buffers back to their pools."""
        for memory in self._mapped:
            self.transport.dma_unmap(memory)
        for ring in self._rings:
            ring.close()
        for memory in self._mapped[:1]:  # the rings'; the others are the pools'
            memory.close()
        self.transport.close()
        for pool in self.pools:
            pool.leave()


def _random_mac() -> bytes:
    """A locally administered address of a single station."""
    return bytes([2]) + os.urandom(5)
