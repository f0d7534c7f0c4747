"""A network device: what every driver fills in and every app uses.

An app opens devices by address and needs nothing else:

    with ixy.open("emu:tap:ixy0") as a, ixy.open("emu:tap:ixy1") as b:
        with a.rx[0].receive(32) as batch:
            b.tx[0].send(batch)

That is the plain Python way, for notebooks and debuggers. The fast way is a compiled function that
takes the queues' records and calls `rx_batch` and `tx_batch`, which stand for the right driver's:

    @ixy.compiled
    def forward(rx, tx, bufs):
        received = rx_batch(rx[0], bufs)
        return tx_batch(tx[0], bufs[:received])

    forward(a.rx[0].record, b.tx[0].record, bufs)
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numba import from_dtype
from numba.extending import overload

from ixy.batch import Batch
from ixy.bus.function import Beyond
from ixy.compiled import compiled
from ixy.errors import IxyError
from ixy.memory.ordered import array_at
from ixy.memory.pool import BUF_SIZE, Mempool, Pool

SHORTEST = 14  # bytes: an Ethernet header
Record = np.ndarray[Any, Any]  # one element: what compiled functions take

# The compiled functions of the drivers: queue's record type to its rx_batch or tx_batch
HOT_PATHS: dict[np.dtype[Any], Callable[..., int]] = {}


def rx_batch(queue: Any, bufs: Any) -> int:
    """Receives up to len(bufs) packets into `bufs` (u4, their buffers' numbers), returns how many.

    The buffers are the caller's now, to send or to free. An empty pool makes it deliver fewer.
    """
    return HOT_PATHS[queue.dtype](queue, bufs)


def tx_batch(queue: Any, bufs: Any) -> int:
    """Sends packets, returns how many fitted into the ring: the first ones, the device's now.

    Buffers of packets that have been sent go back to their pool; call it with no packets to do only
    that.
    """
    return HOT_PATHS[queue.dtype](queue, bufs)


@overload(rx_batch)
@overload(tx_batch)
def _hot_path(queue, bufs):
    function = {from_dtype(dtype): function for dtype, function in HOT_PATHS.items()}[queue]
    return lambda queue, bufs: function(queue, bufs)


@compiled
def pool_of(queue):
    """The pool that a queue takes its buffers from and gives them back to."""
    return array_at(queue.pool, 1, Pool)[0]


def _must_be_open(record: Record) -> None:
    if not record[0]["ring"]:
        raise IxyError("this queue's device is closed: open it again")


# A Python call into compiled code takes an array of records, not a record: these cross that border.


@compiled
def _receive(queue, bufs):
    return rx_batch(queue[0], bufs)


@compiled
def _send(queue, bufs):
    return tx_batch(queue[0], bufs)


@dataclass
class RxQueue:
    """A receive queue: a record for compiled code, a pool, and a plain Python way to receive.

    `event` is an eventfd that counts the queue's interrupts, -1 without them.
    """

    record: Record
    pool: Mempool
    event: int = -1

    def receive(self, most: int = 32, timeout: float = 0.0) -> Batch:
        """The packets that are there, at most so many; waits up to `timeout` seconds for one."""
        _must_be_open(self.record)
        bufs, deadline = np.zeros(most, np.uint32), time.monotonic() + timeout
        while not (received := _receive(self.record, bufs)) and time.monotonic() < deadline:
            time.sleep(0.0001)
        return Batch(self.pool, bufs[:received])


@dataclass
class TxQueue:
    """A transmit queue: a record for compiled code, a pool, and a plain Python way to send."""

    record: Record
    pool: Mempool

    def send(self, frames: Batch | Iterable[bytes | memoryview]) -> int:
        """Sends a batch (without a copy) or frames without their CRC; returns how many the ring
        took, in order.

        What a batch could not send stays in it. Raises IxyError for a batch of another pool or too
        long a frame.
        """
        _must_be_open(self.record)
        if not isinstance(frames, Batch):
            with self._copied(list(frames)) as batch:
                return self.send(batch)
        if frames.pool is not self.pool:
            raise IxyError("packets of another pool: send copies, or open both devices with one")
        sent: int = _send(self.record, frames.bufs)
        frames.give(sent)
        return sent

    def _copied(self, frames: Sequence[bytes | memoryview]) -> Batch:
        _send(self.record, np.zeros(0, np.uint32))  # what has been sent makes room
        for frame in frames:
            if not SHORTEST <= len(frame) <= BUF_SIZE:
                raise IxyError(f"a frame of {len(frame)} bytes: give it {SHORTEST} to {BUF_SIZE}")
        batch = Batch(self.pool, self.pool.take(len(frames)))
        for buf, frame in zip(batch.bufs, frames, strict=False):
            self.pool.fill(buf, bytes(frame).ljust(17, b"\0"))  # the device pads from there on
        return batch


@dataclass
class Statistics:
    """Totals since the device was opened. Bytes are those of the frames, without the CRC."""

    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0
    dropped: dict[str, int] = field(default_factory=dict)  # reason to count


class Device(ABC):
    """An open network device. Leaving its `with` closes it: quiesced, memory released."""

    address: str
    beyond: Beyond
    regs: Any  # the registers by their names, where there are registers
    mac: bytes  # 6 bytes; set it with `set_mac`
    before_close: list[Callable[[], object]]  # called first: whoever uses it must stop
    rx: list[RxQueue]
    tx: list[TxQueue]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def set_mac(self, mac: bytes) -> None:
        """Makes `mac` (6 bytes) the device's address."""

    @abstractmethod
    def set_promiscuous(self, on: bool) -> None:
        """Accepts all frames, or only those sent to the device, to its groups and to all."""

    @abstractmethod
    def link_speed(self) -> int:
        """Mbit/s; 0 without a link."""

    @abstractmethod
    def statistics(self) -> Statistics:
        """The totals now. Raises IxyError if the device reports a fault."""

    @abstractmethod
    def flush(self, timeout: float = 1.0) -> int:
        """Waits until all packets have been sent, at most so long; returns how many have not."""

    @abstractmethod
    def close(self) -> None:
        """Quiesces the device and releases its memory. A second call does nothing."""

    def wait_for_link(self, timeout: float = 10.0) -> int:
        """Returns the link's speed in Mbit/s as soon as there is one. Raises IxyError after
        `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not (speed := self.link_speed()):
            if time.monotonic() > deadline:
                raise IxyError(f"{self.address}: still no link: is the other end there and up?")
            time.sleep(0.01)
        return speed
