"""When to send: each packet at its own time, by the time-stamp counter.

Nothing is sent in bursts to make up an average. A packet that is late follows the one before it
after three quarters of its gap, so a delay is made up gently; what is late for longer than
CATCH_UP is given up, and counted. Only late packets that are closer than a doorbell costs share
one.
"""

import math
from functools import cache

import numpy as np

from ixy.compiled import inner
from ixy.memory.ordered import records
from ixy.system import SLICE, await_moment, cycles
from ixy.traffic.chance import draw, seeded
from ixy.traffic.clock import Clock, calibrate
from ixy.traffic.histogram import record_value

CATCH_UP = 25e6  # ns: what is due for longer is given up
HURRY = 0.75  # of its gap, from a packet to one that is late
TOGETHER = 600.0  # ns: what a doorbell costs at most, when the card is another core's
BITS, STEP = np.uint64(11), 2.0**-53  # of a random word that make a fraction

Pacer = np.dtype(
    [
        ("gap", "f8"),  # ticks between packets, in the mean; 0 for no limit
        ("poisson", "u4"),  # gaps are exponential
        ("owed", "u4"),  # packets whose time has come, but the ring had no room
        ("random", "u8"),
        ("origin", "i8"),  # ticks: when the first one was due, 0 before
        ("next", "f8"),  # since then: when the next one is due,
        ("free", "f8"),  # and not before this, if it is late
        ("together", "f8"),  # TOGETHER (0 at low rates), CATCH_UP and SLICE in ticks
        ("catch_up", "f8"),
        ("far", "f8"),
        ("sent", "u8"),  # packets that were due,
        ("given_up", "f8"),  # and those that were late for too long
        ("late", "f8"),  # ticks behind their times: sum, and the most
        ("latest", "f8"),
    ]
)
Departures = np.dtype(
    [
        ("ns_per_tick", "f8"),
        ("nominal", "f8"),  # ns between packets, in the mean
        ("poisson", "u4"),
        ("gaps", "u4"),  # whether gaps are noted
        ("sent", "u8"),
        ("opening", "u8"),  # those of the first doorbell
        ("returned", "u8"),  # packets that came back
        ("first", "i8"),  # ticks: when packets left
        ("last", "i8"),
        ("deviation", "f8"),  # of gaps from the nominal one: sums of ns, and of squares
        ("squares", "f8"),
    ],
    align=True,
)


@cache
def clock() -> Clock:
    """The time-stamp counter of this process's pacers."""
    return calibrate(promised=False)  # rates must do on any machine


def pacer(
    rate: float | None, *, poisson: bool = False, seed: object = 0
) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """A pacer for `rate` packets per second; None: as fast as possible. `poisson`: gaps are
    exponential, those of the seed.
    """
    record = records(1, Pacer)
    if rate:
        ticks = clock().ticks_per_ns
        record[0]["gap"] = 1e9 / rate * ticks
        record[0]["poisson"] = poisson
        record[0]["random"] = seeded("gaps", seed)
        together = TOGETHER if HURRY * 1e9 / rate <= TOGETHER else 0
        for name, ns in {"together": together, "catch_up": CATCH_UP, "far": SLICE}.items():
            record[0][name] = ns * ticks
    return record


def departures(
    rate: float | None, *, poisson: bool = False
) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """A record for `departed`, of packets that a pacer of the same settings sends."""
    record = records(1, Departures)
    if rate:
        record[0]["gaps"], record[0]["ns_per_tick"] = True, clock().ns_per_tick
        record[0]["nominal"], record[0]["poisson"] = 1e9 / rate, poisson
    return record


@inner
def due(pacer, most):
    """How many packets are to be sent now, at most so many. They count as sent: give the rest to
    `not_sent`.
    """
    if pacer.gap == 0:
        return most
    return due_at(pacer, cycles(), most)


@inner
def due_at(pacer, time, most):
    """`due` at a time of your own: ticks."""
    if pacer.origin == 0:
        pacer.origin = time
    moment = float(time - pacer.origin)
    lost = moment - pacer.next - pacer.catch_up
    if lost > 0:
        pacer.next += lost
        pacer.given_up += lost / pacer.gap
    count = min(np.int64(pacer.owed), most)
    pacer.owed -= np.uint32(count)
    while count < most and pacer.next <= moment and pacer.free <= moment + pacer.together:
        count += 1
        late = moment - pacer.next
        pacer.late += late
        pacer.latest = max(pacer.latest, late)
        pacer.sent += np.uint64(1)
        gap = next_gap(pacer)
        pacer.free = max(pacer.free, moment) + HURRY * gap
        pacer.next += gap
    return count


@inner
def next_gap(pacer):
    """Ticks from one packet to the next."""
    if pacer.poisson:
        return -math.log1p(-float(draw(pacer) >> BITS) * STEP) * pacer.gap
    return pacer.gap


@inner
def not_sent(pacer, count):
    """Takes back packets that were due and that the ring had no room for: they are due again."""
    if pacer.gap:
        pacer.owed += np.uint32(count)


@inner
def await_due(pacer):
    """Lets a moment pass until the next packet is due."""
    await_moment(pacer.next - float(cycles() - pacer.origin), pacer.far)


@inner
def departed(departures, gaps, time, count):
    """Notes that packets left at a time (ticks), with one doorbell: one after the other, without a
    gap between them. `gaps` is a histogram's record.
    """
    if departures.sent == 0:
        departures.first = time
        departures.last = time
        departures.opening = count
    if departures.gaps:
        gap = float(time - departures.last) * departures.ns_per_tick
        for _ in range(count - (departures.sent == 0)):
            record_value(gaps, np.int64(gap + 0.5))
            off = abs(gap - departures.nominal)
            departures.deviation += off
            departures.squares += off * off
            gap = 0.0
    departures.last = time
    departures.sent += np.uint64(count)
