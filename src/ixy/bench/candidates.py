"""The rows of `bench driver`: one driver written in several ways, each with rings and packet memory of its own."""

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ixy.apps.forward import Way, forward
from ixy.apps.workers import Control
from ixy.bench import header_layout
from ixy.bench.header_layout import HeaderPool, Packet
from ixy.bench.nic import BUFS, MOST, RING, Job, Rings, bring_once, simulate, take_once
from ixy.bench.plain import Numpy, Python
from ixy.bench.yardstick import HEADER_LAYOUT, OUR_LAYOUT, compiler, library
from ixy.compiled import entry_point
from ixy.drivers.ixgbe.rings import RxQueue, TxQueue
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import address_of, array_at, records
from ixy.memory.pool import Mempool
from ixy.system import cycles


class Candidate:
    """A driver in machine code: an entry point, which is given a job, and the rings that it works on."""

    interpreted = False

    def __init__(
        self, rings: Rings, entry: int, queues: "Queues | tuple[int, int]", *keep: object
    ) -> None:
        self.rings, self._entry = rings, entry
        self._keep = (queues, *keep)  # what compiled code knows only the addresses of
        self._bufs, self._way, self._control = (
            np.zeros(MOST, np.uint32),
            records(1, Way),
            records(1, Control),
        )
        self._job = records(1, Job)
        rx, tx = queues.addresses if isinstance(queues, Queues) else queues
        places = {
            "rx": rx,
            "tx": tx,
            "bufs": self._bufs,
            "way": self._way,
            "control": self._control,
        }
        for name, place in places.items():
            self._job[0][name] = address_of(place) if isinstance(place, np.ndarray) else place

    def run(self, batch: int, times: np.ndarray[Any, Any]) -> None:
        """Runs device and driver in turns, len(times) of them; notes the cycles that each took the driver."""
        self._job[0]["batch"] = batch
        simulate(self.rings.nic, self._entry, address_of(self._job), batch, times)


class Interpreted(Candidate):
    """A driver that the Python interpreter runs."""

    interpreted = True

    def __init__(self, kind: type[Numpy] | type[Python]) -> None:
        self.rings = Rings()
        self._driver = kind(self.rings)

    def run(self, batch: int, times: np.ndarray[Any, Any]) -> None:
        """Runs device and driver in turns, len(times) of them; notes the cycles that each took the driver."""
        step = self._driver.step
        for i in range(len(times)):
            bring_once(self.rings.nic, batch)
            begin = cycles()
            step(batch)
            times[i] = cycles() - begin
            take_once(self.rings.nic)


class Queues:
    """Our queue records for full receive rings and empty transmit rings."""

    def __init__(
        self, rings: Rings, slots: np.ndarray[Any, Any], pool: int, addresses: int = 0
    ) -> None:
        self.rx, self.tx = records(1, RxQueue), records(1, TxQueue)
        self._slots = slots.copy(), np.zeros(RING, np.uint32)
        shared = {"pool": pool, "addresses": addresses, "mask": RING - 1}
        for side, record, bufs in zip(("rx", "tx"), (self.rx, self.tx), self._slots, strict=True):
            own = {"ring": rings.at(f"{side}_ring"), "doorbell": rings.at(f"{side}_tail")}
            for name, value in (shared | own | {"bufs": address_of(bufs)}).items():
                record[0][name] = value
        rings.array("rx_tail", 1, np.uint32)[0] = RING - 1

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


def step_ixy(address):  # type: ignore[no-untyped-def]
    """One turn of `ixy forward`, one way."""
    job = array_at(address, 1, Job)[0]
    rx = array_at(job.rx, 1, RxQueue)[0]
    tx = array_at(job.tx, 1, TxQueue)[0]
    way = array_at(job.way, 1, Way)[0]
    control = array_at(job.control, 1, Control)[0]
    forward(rx, tx, array_at(job.bufs, job.batch, np.uint32), way, control)


def _ixy() -> Candidate:
    rings = Rings()
    return Candidate(rings, entry_point(step_ixy), *_our_layout(rings))


def _c_soa() -> Candidate:
    """C on the same records."""
    rings, code = Rings(), library(OUR_LAYOUT, "-O3")
    return Candidate(rings, _address(code.forward), *_our_layout(rings))


def _our_layout(rings: Rings) -> tuple[Queues, Mempool, object]:
    pool = Mempool(BUFS)
    addresses = pool.device_addresses(np.array([pool.memory.address], np.uint64))
    slots = pool.take(RING)
    rings.offer(addresses[slots - pool.first])
    return (
        Queues(rings, slots, address_of(pool.record), address_of(addresses) - 8 * pool.first),
        pool,
        addresses,
    )


def _header_layout() -> Candidate:
    rings, memory = Rings(), DmaMemory(BUFS * Packet.itemsize)
    packets = np.frombuffer(memory.view(0, memory.size), Packet)
    packets["index"] = stack = np.arange(BUFS, dtype=np.uint32)
    packets["address"] = (
        memory.address + stack.astype(np.uint64) * Packet.itemsize + header_layout.HEADER
    )
    pool = records(1, HeaderPool)
    pool[0] = (memory.address, address_of(stack), BUFS - RING, 0, BUFS)
    slots = stack[-RING:]
    rings.offer(packets["address"][slots])
    queues = Queues(rings, slots, address_of(pool))
    return Candidate(rings, entry_point(header_layout.step), queues, memory, packets, stack, pool)


def _c(*flags: str) -> Candidate:
    """C in ixy's layout."""
    rings, memory = Rings(), DmaMemory(BUFS * Packet.itemsize)
    code = library(HEADER_LAYOUT, *flags)
    code.nic_create.restype = ctypes.c_void_p
    places = [
        ctypes.c_void_p(rings.at(name)) for name in ("rx_ring", "tx_ring", "rx_tail", "tx_tail")
    ]
    nic = code.nic_create(*places, RING, ctypes.c_void_p(memory.address), BUFS)
    return Candidate(rings, _address(code.forward), (nic, nic), memory)


def _address(function: Any) -> int:
    """The entry point of a C function."""
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)
