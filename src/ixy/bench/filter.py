"""`bench filter`: what a capture filter costs, in cycles per packet, beside libpcap's interpreter.

Packets lie in a pool, as received ones do, and each passes through the filter again and again:
frames that it accepts, some that it rejects sooner or later, and all of these mixed, in an order
that the processor cannot predict. `libpcap` is its bpf_filter(3PCAP), called from C. Rounds
alternate between the two.
"""

import ctypes
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from ixy.bench.machine import describe
from ixy.bench.yardstick import compiler, library
from ixy.compiled import JIT, compiled
from ixy.errors import IxyError
from ixy.memory.ordered import address_of
from ixy.memory.pool import Mempool, lengths, packet_address
from ixy.system import cycles
from ixy.traffic import libpcap
from ixy.traffic.filter import Filter, verdict
from ixy.traffic.templates import numbered_frame

EXPRESSION = "ip and udp port 53"
PACKETS = 1024  # of each mix
VISITS = 2**16  # in an order that is too long to be remembered by what predicts branches
GOAL = 10.0  # Mpps of the mixed frames
SLICE = 0.0005  # seconds that one measurement takes, about

Figure = Callable[[int], int]  # lets the packets pass so many times; returns how many were accepted


def changed(*bytes_at: tuple[int, int]) -> bytes:
    """A UDP frame with some bytes changed; its checksums are nobody's concern here."""
    frame = bytearray(numbered_frame(60))
    for at, byte in bytes_at:
        frame[at] = byte
    return bytes(frame)


FRAMES = {
    "dns": changed((36, 0), (37, 53)),  # accepted
    "udp": changed(),  # rejected at its ports
    "tcp": changed((23, 6)),  # at its protocol
    "arp": changed((13, 6)),  # at its type
}


def measure(rounds: int = 5, seconds: float = 2.0) -> dict[str, Any]:
    """Measures all mixes; returns the JSON object of `ixy bench filter --json`."""
    if not JIT:
        raise IxyError("a benchmark needs the compiler: unset NUMBA_DISABLE_JIT")
    mixes = {name: [frame] * PACKETS for name, frame in FRAMES.items()}
    mixes["mixed"] = list(FRAMES.values()) * (PACKETS // len(FRAMES))
    raw: dict[str, dict[str, list[float]]] = {}
    mpps: dict[str, dict[str, list[float]]] = {}
    budget = seconds / rounds / len(mixes) / 2
    order = np.random.default_rng(1).integers(0, PACKETS, VISITS)
    for _, (mix, frames) in itertools.product(range(rounds), mixes.items()):
        accepted = int(np.array([frame == FRAMES["dns"] for frame in frames])[order].sum())
        with candidates(frames, order) as rows:
            for row, figure in rows.items():
                spent, rate = cost(figure, accepted, budget)
                raw.setdefault(row, {}).setdefault(mix, []).append(round(spent, 2))
                mpps.setdefault(row, {}).setdefault(mix, []).append(round(rate, 2))
    rates = {row: {mix: median(found) for mix, found in of.items()} for row, of in mpps.items()}
    met = rates["ixy"]["mixed"] >= GOAL
    return {
        "unit": "cycles per packet",
        "machine": describe(),
        "expression": EXPRESSION,
        "rows": {row: {mix: median(found) for mix, found in of.items()} for row, of in raw.items()},
        "rounds": raw,
        "mpps": rates,
        "bounds": {"mixed": {"mpps": rates["ixy"]["mixed"], "goal": GOAL, "met": met}},
    }


def cost(figure: Figure, accepted: int, budget: float) -> tuple[float, float]:
    """Cycles per packet, and Mpps: medians of slices. Raises IxyError for a wrong verdict."""
    repeat = 1
    slices: list[tuple[float, float]] = []
    end = time.monotonic() + budget
    while time.monotonic() < end or len(slices) < 2:
        begin, before = time.perf_counter_ns(), cycles()
        passed = figure(repeat)
        spent, took = cycles() - before, time.perf_counter_ns() - begin
        if passed != accepted * repeat:
            raise IxyError(f"{passed} packets were accepted, of {accepted * repeat} that should be")
        if took < SLICE * 1e9:
            repeat *= 2
        else:
            slices.append((spent / repeat / VISITS, repeat * VISITS / took * 1e3))
    spent_each, rates = zip(*slices, strict=True)
    return median(spent_each), median(rates)


@contextmanager
def candidates(frames: list[bytes], order: npt.NDArray[Any]) -> Iterator[dict[str, Figure]]:
    """What lets these frames pass, in this order, by its name: ours, and libpcap's where gcc is."""
    pool, chosen = Mempool(PACKETS), Filter(EXPRESSION)
    bufs = pool.take(PACKETS)
    for buf, frame in zip(bufs, frames, strict=True):
        pool.fill(buf, frame)
    visits = bufs[order]
    rows: dict[str, Figure] = {
        "ixy": lambda rounds: ours(pool.record, visits, chosen.entry, rounds)
    }
    if compiler():
        yardstick = library(("filter.c",), "-O3").filter_all
        yardstick.restype = ctypes.c_uint64
        kind = libpcap.BpfInstruction * len(chosen.program)
        program = kind(*(libpcap.BpfInstruction(*each) for each in chosen.program))
        places, sizes = np.zeros(VISITS, np.uint64), np.full(VISITS, 60, np.uint32)
        locate(pool.record, visits, places)
        words = [
            ctypes.cast(libpcap.library().bpf_filter, ctypes.c_void_p),
            ctypes.cast(program, ctypes.c_void_p),
            ctypes.c_void_p(address_of(places)),
            ctypes.c_void_p(address_of(sizes)),
            ctypes.c_uint64(VISITS),
        ]
        rows["libpcap"] = lambda rounds: int(yardstick(*words, ctypes.c_uint64(rounds)))
    try:
        yield rows
    finally:
        pool.give(bufs)
        pool.close()


@compiled
def ours(pool, bufs, entry, rounds):
    """Lets the packets pass; returns how many were accepted."""
    passed = 0
    length = lengths(pool[0])
    for _ in range(rounds):
        for buf in bufs:
            passed += verdict(entry, packet_address(pool[0], buf), length[buf], length[buf]) != 0
    return passed


@compiled
def locate(pool, bufs, places):
    """Notes where the packets are."""
    for i in range(len(bufs)):
        places[i] = packet_address(pool[0], bufs[i])
