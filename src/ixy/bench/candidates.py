"""The rows of `bench driver`: ways to write one driver, each with rings and packet memory of its own."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
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


@dataclass
class Candidate:
    """A driver on rings of its own. `run` notes the cycles of each of its turns with the device."""

    rings: Rings
    run: Callable[[int, np.ndarray[Any, Any]], None]  # batch, times
    compiled: bool = True
    keep: list[Any] = field(default_factory=list)  # what lives as long


def candidates() -> dict[str, Callable[[], Candidate]]:
    """All rows that this machine can run, by name: call one to set it up."""
    rows: dict[str, Callable[[], Candidate]] = {
        "ixy": _ixy,
        "ixy-header-layout": _header_layout,
    }
    if compiler():
        rows |= {
            "c-O2": partial(_c, "-O2"),
            "c-O3": partial(_c, "-O3"),
            "c-O3-lto": partial(_c, "-O3", "-flto"),
            "c-soa-O3": _c_soa,
        }
    return rows | {"numpy": partial(_interpreted, Numpy), "python": partial(_interpreted, Python)}


class Ways:
    """What the app's forward function needs beside queues and buffers."""

    def __init__(self) -> None:
        self.way, self.control = records(1, Way), records(1, Control)


def step_ixy(address):  # type: ignore[no-untyped-def]
    """One turn of `ixy forward`, one way."""
    job = array_at(address, 1, Job)[0]
    rx = array_at(job.rx, 1, RxQueue)[0]
    tx = array_at(job.tx, 1, TxQueue)[0]
    way = array_at(job.way, 1, Way)[0]
    control = array_at(job.control, 1, Control)[0]
    forward(rx, tx, array_at(job.bufs, job.batch, np.uint32), way, control)


def _ixy() -> Candidate:
    rings = Rings.build()
    pool, addresses, rx, tx = _our_queues(rings)
    return _compiled(rings, entry_point(step_ixy), rx, tx, [pool, addresses])


def _c_soa() -> Candidate:
    """The same queues, given to C."""
    rings = Rings.build()
    pool, addresses, rx, tx = _our_queues(rings)
    code = library(OUR_LAYOUT, "-O3")
    return _compiled(rings, _address(code.forward), rx, tx, [pool, addresses, code])


def _our_queues(rings: Rings) -> tuple[Any, ...]:
    pool = Mempool(BUFS)
    addresses = pool.device_addresses(np.array([pool.memory.address], np.uint64))
    slots = pool.take(RING)
    rings.array("rx_ring", 2 * RING, np.uint64)[::2] = addresses[slots - pool.first]
    shared = {"pool": address_of(pool.record), "addresses": address_of(addresses) - 8 * pool.first}
    return pool, addresses, *_queues(rings, slots, shared)


def _header_layout() -> Candidate:
    rings = Rings.build()
    memory = DmaMemory(BUFS * Packet.itemsize)
    packets = np.frombuffer(memory.view(0, memory.size), Packet)
    stack = np.arange(BUFS, dtype=np.uint32)
    packets["index"] = stack
    packets["address"] = memory.address + Packet.fields["bytes"][1] + stack.astype(np.uint64) * Packet.itemsize
    pool = records(1, HeaderPool)
    pool[0]["packets"], pool[0]["stack"] = memory.address, address_of(stack)
    pool[0]["count"], pool[0]["top"] = BUFS, BUFS - RING
    rings.array("rx_ring", 2 * RING, np.uint64)[::2] = packets["address"][-RING:]
    queues = _queues(rings, stack[-RING:].copy(), {"pool": address_of(pool)})
    return _compiled(rings, entry_point(header_layout.step), *queues, [memory, packets, stack, pool])


def _queues(rings: Rings, slots: np.ndarray[Any, Any], shared: dict[str, int]) -> tuple[Any, Any]:
    """Queue records for full receive and empty transmit rings."""
    made = []
    for kind, side in ((RxQueue, "rx"), (TxQueue, "tx")):
        queue = np.zeros(RING, np.uint32) if side == "tx" else slots
        record = records(1, kind)
        place = {"ring": rings.at(f"{side}_ring"), "doorbell": rings.at(f"{side}_tail")}
        for name, value in (shared | place | {"bufs": address_of(queue), "mask": RING - 1}).items():
            record[0][name] = value
        made.append((record, queue))
    rings.array("rx_tail", 1, np.uint32)[0] = RING - 1
    return made[0], made[1]
