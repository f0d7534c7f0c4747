"""The rows of `bench driver`: one driver written in several ways, each on rings of its own."""

import ctypes
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from ixy.bench import header_layout
from ixy.bench.header_layout import HeaderPool, Packet
from ixy.bench.nic import (
    BUFS,
    MOST,
    RING,
    TOUCHED,
    Job,
    Rings,
    bring_once,
    clock_costs,
    simulate,
    take_once,
)
from ixy.bench.plain import Numpy, Python
from ixy.bench.yardstick import HEADER_LAYOUT, OUR_LAYOUT, compiler, library
from ixy.compiled import entry_point
from ixy.device import pool_of, rx_batch, tx_batch
from ixy.drivers.intel.rings import RxQueue, TxQueue
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import address_of, array_at, records
from ixy.memory.pool import Mempool, free_batch, packets
from ixy.system import cycles


class Candidate:
    """A driver in machine code: an entry point that is given a job, and the rings it works on."""

    interpreted = False

    def __init__(self, rings: Rings, entry: int, rx: int, tx: int, *keep: object) -> None:
        self.rings, self._entry = rings, entry
        self._keep = keep  # what compiled code knows only the addresses of
        self._bufs, self._job = np.zeros(MOST, np.uint32), records(1, Job)
        for name, place in {"rx": rx, "tx": tx, "bufs": address_of(self._bufs)}.items():
            self._job[0][name] = place

    def run(self, batch: int, writes: bool, times: np.ndarray[Any, Any]) -> None:
        """Lets device and driver take turns, len(times) of them; notes the driver's cycles."""
        self._job[0]["batch"], self._job[0]["writes"] = batch, writes
        self.rings.expect(writes)
        simulate(self.rings.nic, self._entry, address_of(self._job), batch, times)

    def clock(self) -> float:
        """The cycles that reading the clock twice takes."""
        times = np.zeros(1000, np.int64)
        clock_costs(times)
        return float(np.median(times))


class Interpreted(Candidate):
    """A driver that the Python interpreter runs."""

    interpreted = True

    def __init__(self, kind: type[Numpy] | type[Python]) -> None:
        self.rings = Rings()
        self._driver = kind(self.rings)

    def run(self, batch: int, writes: bool, times: np.ndarray[Any, Any]) -> None:
        """Lets device and driver take turns, len(times) of them; notes the driver's cycles."""
        self.rings.expect(writes)
        step = self._driver.step
        for i in range(len(times)):
            bring_once(self.rings.nic, batch)
            begin = cycles()
            step(batch, writes)
            times[i] = cycles() - begin
            take_once(self.rings.nic)

    def clock(self) -> float:
        """The cycles that reading the clock twice takes."""
        return median(-cycles() + cycles() for _ in range(1000))


class Queues:
    """Our queue records, on rings of their own: receive full of `slots`, transmit empty."""

    def __init__(
        self,
        slots: np.ndarray[Any, Any],
        addresses: np.ndarray[Any, Any],  # of their buffers
        pool: np.ndarray[Any, Any],
        *keep: object,
    ) -> None:
        self.rings, self.rx, self.tx = Rings(), records(1, RxQueue), records(1, TxQueue)
        self._slots = slots.copy(), np.zeros(RING, np.uint32)
        self._keep = (pool, *keep)
        self.rings.offer(addresses)
        self.set(pool=address_of(pool), mask=RING - 1)
        for side, record, bufs in zip(("rx", "tx"), (self.rx, self.tx), self._slots, strict=True):
            record[0]["ring"] = self.rings.at(f"{side}_ring")
            record[0]["doorbell"] = self.rings.at(f"{side}_tail")
            record[0]["bufs"] = address_of(bufs)
        self.rings.array("rx_tail", 1, np.uint32)[0] = RING - 1

    def set(self, **values: int) -> None:
        """Fields that both records have."""
        for name, value in values.items():
            self.rx[0][name] = self.tx[0][name] = value

    @property
    def addresses(self) -> tuple[int, int]:
        """Where the two records are."""
        return address_of(self.rx), address_of(self.tx)


def candidates() -> dict[str, Callable[[], Candidate]]:
    """The rows that this machine can run: call one to set it up."""
    c_rows: dict[str, Callable[[], Candidate]] = {
        "c-O2": partial(_c, "-O2"),
        "c-O3": partial(_c, "-O3"),
        "c-O3-lto": partial(_c, "-O3", "-flto"),
        "c-soa-O3": _c_soa,
    }
    return {
        "ixy": _ixy,
        "ixy-header-layout": _header_layout,
        **(c_rows if compiler() else {}),
        "numpy": partial(Interpreted, Numpy),
        "python": partial(Interpreted, Python),
    }


def step_ixy(address):
    """Forwards a batch."""
    job = array_at(address, 1, Job)[0]
    rx = array_at(job.rx, 1, RxQueue)[0]
    tx = array_at(job.tx, 1, TxQueue)[0]
    bufs = array_at(job.bufs, job.batch, np.uint32)
    received = rx_batch(rx, bufs)
    packet = packets(pool_of(rx))
    if job.writes:
        for buf in bufs[:received]:
            packet[buf].bytes[TOUCHED] += 1
    else:
        seen = job.seen
        for buf in bufs[:received]:
            seen += packet[buf].bytes[TOUCHED]
        job.seen = seen
    sent = tx_batch(tx, bufs[:received])
    if sent < received:
        free_batch(pool_of(rx), bufs[sent:received])


def _ixy() -> Candidate:
    queues = our_layout(Mempool(BUFS))
    return Candidate(queues.rings, entry_point(step_ixy), *queues.addresses, queues)


def _c_soa() -> Candidate:
    """C on the same records."""
    queues, code = our_layout(Mempool(BUFS)), library(OUR_LAYOUT, "-O3")
    return Candidate(queues.rings, _address(code.forward), *queues.addresses, queues)


def our_layout(pool: Mempool) -> Queues:
    """Our queues, with buffers of this pool."""
    addresses = pool.addresses(np.array([pool.memory.address], np.uint64))
    slots = pool.take(RING)
    queues = Queues(slots, addresses[slots - pool.first], pool.record, pool, addresses)
    queues.set(addresses=address_of(addresses) - 8 * pool.first)
    return queues


def _header_layout() -> Candidate:
    memory = DmaMemory(BUFS * Packet.itemsize)
    packets = np.frombuffer(memory.view(0, memory.size), Packet)
    packets["index"] = stack = np.arange(BUFS, dtype=np.uint32)
    offsets = stack.astype(np.uint64) * Packet.itemsize
    packets["address"] = memory.address + offsets + header_layout.HEADER
    pool = records(1, HeaderPool)
    pool[0] = (memory.address, address_of(stack), BUFS - RING, 0, BUFS)
    slots = stack[-RING:]
    queues = Queues(slots, packets["address"][slots], pool, memory, packets, stack)
    entry = entry_point(header_layout.step)
    return Candidate(queues.rings, entry, *queues.addresses, queues)


def _c(*flags: str) -> Candidate:
    """C in ixy's layout."""
    rings, memory = Rings(), DmaMemory(BUFS * Packet.itemsize)
    code = library(HEADER_LAYOUT, *flags)
    code.nic_create.restype = ctypes.c_void_p
    places = [rings.at(name) for name in ("rx_ring", "tx_ring", "rx_tail", "tx_tail")]
    nic = code.nic_create(
        *map(ctypes.c_void_p, places), RING, ctypes.c_void_p(memory.address), BUFS
    )
    return Candidate(rings, _address(code.forward), nic, nic, memory)


def _address(function: Any) -> int:
    """The entry point of a C function."""
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)
