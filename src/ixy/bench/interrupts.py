"""`bench interrupts`: what sleeping until an interrupt costs in latency, and saves when idle.

One worker sends frames at a modest rate into a cable between two emulated devices, each frame with
the time at which it was given to the ring. Another worker takes them at the other end, polling or
waiting for interrupts. All threads share the cores, so a polling receiver shows what it costs the
others, too. Then nothing is sent for a while, and the processor time of all threads is taken.
"""

import itertools
import os
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ixy.apps.workers import RUN, Workers, begin, told
from ixy.bench.machine import describe
from ixy.compiled import compiled
from ixy.device import Device, pool_of, rx_batch, tx_batch
from ixy.drivers.intel.device import DEFAULT_RING
from ixy.drivers.ixgbe.driver import IxgbeDevice
from ixy.emulator.bus import EmulatedFunction
from ixy.emulator.intel82599.model import Intel82599
from ixy.emulator.wire.cable import Cable
from ixy.memory.ordered import array_at
from ixy.memory.pool import Mempool, alloc_batch, free_batch, lengths, packet_address
from ixy.system import back_off, now, rest
from ixy.traffic.pacing import due, not_sent, pacer
from ixy.traffic.templates import MIN_SIZE, Numbered, big_endian, numbered_frame, set_number

RATE = 100_000  # packets per second
WAITS: dict[str, float | None] = {"polling": None, "itr 0": 0, "itr 20": 20, "itr 100": 100}
PERCENTILES = 50, 99, 99.9
BATCH = 64


def measure(
    waits: Sequence[str] = tuple(WAITS), rounds: int = 3, seconds: float = 24.0
) -> dict[str, Any]:
    """Measures all ways to wait; returns the JSON object of `ixy bench interrupts --json`: us of
    latency by percentile, and percent of a core when idle.
    """
    raw: dict[str, list[dict[str, float]]] = {wait: [] for wait in waits}
    for _, wait in itertools.product(range(rounds), waits):
        raw[wait].append(latency(WAITS[wait], seconds / rounds / len(waits) / 2))
    rows = {
        wait: {key: float(np.median([figures[key] for figures in of])) for key in of[0]}
        for wait, of in raw.items()
    }
    return {
        "unit": f"us at {RATE / 1e6:g} Mpps, and % of a core when idle",
        "machine": describe(),
        "rows": rows,
        "rounds": raw,
    }


def latency(itr: float | None, seconds: float) -> dict[str, float]:
    """Runs one way to wait, with traffic for so many seconds and then without for as many."""
    with _port(itr) as source, _port(itr) as sink:
        while not sink.beyond.settled:  # it is being compiled
            time.sleep(0.001)
        source.wait_for_link()
        samples = np.zeros(int(2 * RATE * seconds) + BATCH, np.int64)
        taken = np.zeros(1, np.int64)
        receiver = _receiver(sink, samples, taken)
        sender = _sender(source)
        time.sleep(seconds)
        sender.finish()
        receiver.check()
        sender.check()
        idle = _busy(seconds)
        receiver.finish()
    percentiles = np.percentile(samples[: taken[0]], PERCENTILES) / 1e3
    figures = {
        f"{p:g} %": round(float(x), 1) for p, x in zip(PERCENTILES, percentiles, strict=True)
    }
    return {**figures, "idle": round(idle, 1)}


def _port(itr: float | None) -> IxgbeDevice:
    """An end of the cable."""
    model = Intel82599(Cable(f"bench-{os.getpid()}"), bytes([2, 0, 0, 0, 0, 1]))
    pool = Mempool(4 * DEFAULT_RING, owned=False)
    return IxgbeDevice(EmulatedFunction("bench", model), [pool], DEFAULT_RING, itr)


def _sender(device: Device) -> Workers:
    workers, frame = Workers(), np.frombuffer(numbered_frame(MIN_SIZE), np.uint8)
    return _start(workers, send_stamped, device, device.tx[0].record, frame, pacer(RATE))


def _receiver(device: Device, samples: Any, taken: Any) -> Workers:
    workers = Workers()
    events = workers.events_of(device.rx[0])
    return _start(workers, take_stamps, device, device.rx[0].record, samples, taken, events)


def _start(workers: Workers, loop: Any, device: Device, *arguments: Any) -> Workers:
    bufs = np.zeros(BATCH, np.uint32)
    workers.start([partial(loop, *arguments, bufs, workers.control)], device)
    while not workers.running:  # it is being compiled
        time.sleep(0.001)
    return workers


def _busy(seconds: float) -> float:
    """Percent of a core that this process uses, after a moment to calm down."""
    time.sleep(0.2)
    before = time.process_time()
    time.sleep(seconds)
    return (time.process_time() - before) / seconds * 100


@compiled
def send_stamped(tx, frame, pace, bufs, control):
    """Sends frames that carry the time, until it is told to stop."""
    begin(control[0])
    idle = 0
    pool = pool_of(tx[0])
    while told(control[0]) == RUN:
        wanted = due(pace[0], BATCH)
        count = alloc_batch(pool, bufs[:wanted])
        for buf in bufs[:count]:
            target = packet_address(pool, buf)
            data = array_at(target, MIN_SIZE, np.uint8)
            data[:] = frame
            set_number(target, np.uint64(now()))
            lengths(pool)[buf] = MIN_SIZE
        sent = tx_batch(tx[0], bufs[:count])
        free_batch(pool, bufs[sent:count])
        not_sent(pace[0], wanted - sent)
        idle = 0 if sent else idle + 1
        if idle:
            back_off(idle)


@compiled
def take_stamps(rx, samples, taken, events, bufs, control):
    """Notes how old the frames are that arrive, in ns, until it is told to stop."""
    begin(control[0])
    idle = 0
    pool = pool_of(rx[0])
    while told(control[0]) == RUN:
        received = rx_batch(rx[0], bufs)
        moment = now()
        for buf in bufs[:received]:
            if taken[0] < len(samples):
                stamp = array_at(packet_address(pool, buf), 1, Numbered)[0].number
                samples[taken[0]] = moment - np.int64(big_endian(stamp))
                taken[0] += 1
        free_batch(pool, bufs[:received])
        idle = 0 if received else idle + 1
        if idle:
            rest(idle, events)
