"""`ixy throughput`: at which rate does what lies between two ports begin to drop?

A worker sends numbered frames at an exact rate from one port and counts them at the other; one
thread does both, so frames cannot be lost because one of two threads stood still. Trials follow one
another without the devices being opened again; a search in plain Python chooses their rates.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ixy.apps.workers import HOLD, RUN, Workers, begin, told
from ixy.compiled import compiled, inner
from ixy.device import Device, pool_of, rx_batch, tx_batch
from ixy.errors import IxyError
from ixy.memory.ordered import (
    address_of,
    array_at,
    copy_bytes,
    load_acquire,
    records,
    store_release,
)
from ixy.memory.pool import alloc_batch, free_batch, lengths, packet_address
from ixy.system import back_off, cycles
from ixy.traffic.pacing import Pacer, await_due, clock, due, not_sent, pacer
from ixy.traffic.rates import CRC, FRAMING
from ixy.traffic.search import Cancelled, Load, Measured, Rates, Search
from ixy.traffic.templates import Numbered, big_endian, numbered_frame, set_number

BATCH = 64
SIZES = 64, 128, 256, 512, 1024, 1280, 1518  # bytes with the CRC: RFC 2544, 9.1
LEAST_SIZE = 64
NUMBERED = Numbered.itemsize  # bytes that tell a frame's number
TAG_SHIFT = 40  # a frame's number: the trial it belongs to, then which one of that it is
QUIET = 0.2  # s: when nothing has come for so long, nothing more is on its way,
LONGEST_WAIT = 2.0  # and after this nothing counts any more: RFC 2544, 23
# A sender that was held up makes good, a third faster than the rate, what a device's ring holds or
# what is due in LEAST s, but no more than in MOST s: the rest is late, and never a burst
CATCH_UP, LEAST, MOST = 512, 0.2e-3, 10e-3
PAUSES = 0.005  # part of a trial that it may be held up altogether; a rate may be so much too high
PATIENCE = 1.1  # how much longer than it should a trial may take
TRIES = 5  # of a trial whose sender was held up: for this once, perhaps
WARM_UP = 0.2  # s: at the link's rate, as often as TRIES, to learn what the sender is able to
SEEN = 65536  # numbers: a frame that comes again so much later, or so late, is not known any more
TICK = 0.002  # s between two looks at a trial that ends,
GLANCE = 0.05  # and before: whoever looks may take the emulated card's core from it

# One way of one queue pair. Python fills the first half and sets the tag, for which the worker then
# counts. When all do (frames may arrive at another's queue) it tells them to send; a worker has
# ended a trial when it has begun that and has none left.
Way = np.dtype(
    [
        ("frame", "u8"),
        ("size", "u4"),
        ("turn", "u8"),  # which of the ways it is, of so many: they number their frames in turns
        ("turns", "u8"),
        ("seen", "u8"),  # u8[SEEN]: the last number that came at each place
        ("quota", "i8"),  # frames to send
        ("ticks", "i8"),  # in which time
        ("tag", "u8"),
        ("send", "u8"),  # the tag of the frames to send
        ("counting", "u8"),  # the tag of those that are counted,
        ("sending", "u8"),  # and of those that are sent
        ("left", "i8"),  # frames still to send; 0 too when the time is over
        ("until", "i8"),
        ("sent", "i8"),
        ("begun", "i8"),  # ticks: when the first and the last one were sent
        ("ended", "i8"),
        ("received", "i8"),
        ("others", "i8"),  # received, but no frames of the trial, or for the second time
    ]
)


@inner
def begin_trial(way):
    """Notices a new tag, and the word to send."""
    tag = load_acquire(way, "tag")
    if tag != way.counting:
        way.sent = 0
        way.received = 0
        way.others = 0
        way.begun = 0
        store_release(way, "counting", tag)
    tag = load_acquire(way, "send")
    if tag != way.sending:
        way.left = way.quota
        way.until = cycles() + way.ticks
        store_release(way, "sending", tag)


@inner
def send(tx, bufs, way, pace):
    """Sends what is due of a trial; returns how many frames that were."""
    wanted = due(pace, min(len(bufs), way.left))
    if wanted == 0:
        return 0
    pool = pool_of(tx)
    count = alloc_batch(pool, bufs[:wanted])
    length = lengths(pool)
    for i in range(count):
        target = packet_address(pool, bufs[i])
        copy_bytes(target, way.frame, way.size)
        number = np.uint64(way.sent + i) * way.turns + way.turn
        set_number(target, way.tag << np.uint64(TAG_SHIFT) | number)
        length[bufs[i]] = way.size
    sent = tx_batch(tx, bufs[:count])
    free_batch(pool, bufs[sent:count])
    not_sent(pace, wanted - sent)
    if sent:
        way.ended = cycles()
        way.begun = way.begun or way.ended
        way.sent += sent
    return sent


@inner
def is_news(way, number):
    """Whether a frame is of the trial, and comes for the first time."""
    seen = array_at(way.seen, SEEN, np.uint64)
    place = number & np.uint64(SEEN - 1)
    if number >> np.uint64(TAG_SHIFT) != way.counting or number <= seen[place]:
        return False
    seen[place] = number
    return True


@inner
def receive(rx, bufs, way):
    """Counts what has arrived; returns how many packets that were."""
    received = rx_batch(rx, bufs)
    pool = pool_of(rx)
    length = lengths(pool)
    for buf in bufs[:received]:
        frame = array_at(packet_address(pool, buf), 1, Numbered)[0]
        whole = length[buf] >= NUMBERED and frame.number == ~frame.complement
        if whole and is_news(way, big_endian(frame.number)):
            way.received += 1
        else:
            way.others += 1
    free_batch(pool, bufs[:received])
    return received


@inner
def step(tx, rx, bufs, way, pace):
    """One round of one way; returns how many packets it moved."""
    begin_trial(way)
    sent = 0
    if way.left:
        sent = send(tx, bufs, way, pace)
        over = cycles() > way.until
        store_release(way, "left", 0 if over else way.left - sent)
    return sent + receive(rx, bufs, way)


@compiled
def measure_until_told(tx_a, rx_b, tx_b, rx_a, bufs, ways, paces, control):
    """One worker: a queue pair, from the first port to the second, and back with two ways."""
    begin(control[0])
    idle = 0
    while told(control[0]) == RUN:
        moved = step(tx_a[0], rx_b[0], bufs, ways[0], paces[0])
        left = ways[0].left
        if len(ways) > 1:
            moved += step(tx_b[0], rx_a[0], bufs, ways[1], paces[1])
            left += ways[1].left
        idle = 0 if moved else idle + 1
        if idle and left and paces[0].gap > 0:
            await_due(paces[0])
        elif idle:
            back_off(idle)


@dataclass(frozen=True)
class Trial(Measured):
    """A trial, of frames of `size` bytes with the CRC. `offered_pps` is the rate that was sent at,
    each way; `late` the part of its time in which the sender was held up; `others` what was
    received besides.
    """

    size: int = 0
    offered_pps: float = 0.0
    late: float = 0.0
    others: int = 0


class Throughput:
    """Searches, between two open devices, the highest rates without a loss and with at most a loss
    ratio of `loss`, for frames of each of the `sizes` (bytes with the CRC).

    Rates are those of each way: from the first device to the second, with `both` also back. A trial
    takes `trial` s, a rate is known to a part of `width`, and after `limit` s the search ends with
    what it knows. Raises IxyError for sizes that Ethernet does not carry.
    """

    def __init__(
        self,
        a: Device,
        b: Device,
        *,
        sizes: Sequence[int] = SIZES,
        loss: float = 0.005,
        trial: float = 1.0,
        width: float = 0.005,
        both: bool = False,
        limit: float | None = None,
    ) -> None:
        self.devices = a, b
        self.sizes, self.loss, self.trial, self.width = sizes, loss, trial, width
        self.limit = limit
        self.workers = Workers()
        self.trials: list[Trial] = []
        self.found: list[Rates] = []
        self._sources = (a, b) if both else (a,)
        pairs = range(len(a.tx))
        self._ways = [records(len(self._sources), Way) for _ in pairs]
        self._paces = [records(len(self._sources), Pacer) for _ in pairs]
        self._seen = np.zeros((len(pairs) * len(self._sources), SEEN), np.uint64)
        for turn, seen in enumerate(self._seen):
            way = self._ways[turn // len(self._sources)][turn % len(self._sources)]
            way["turn"], way["turns"], way["seen"] = turn, len(self._seen), address_of(seen)
        self._frames = {size: self._frames_of(size) for size in sizes}
        self._loops = []
        for i, ways in enumerate(self._ways):
            there, back = (a.tx[i].record, b.rx[i].record), (b.tx[i].record, a.rx[i].record)
            words = np.zeros(BATCH, np.uint32), ways, self._paces[i], self.workers.control
            self._loops.append(partial(measure_until_told, *there, *back, *words))

    def _frames_of(self, size: int) -> list[list[np.ndarray[Any, Any]]]:
        """A frame for each queue and way: flows of their own, so that RSS spreads them."""
        ends = [device.mac for device in self.devices]
        towards = [(ends[0], ends[1]), (ends[1], ends[0])][: len(self._sources)]
        if size < LEAST_SIZE:
            raise IxyError(f"frames of {size} bytes: give it {LEAST_SIZE} or more, with the CRC")
        return [
            [np.frombuffer(numbered_frame(size - CRC, i, *macs), np.uint8) for macs in towards]
            for i in range(len(self._ways))
        ]

    def start(self) -> None:
        """Starts the workers and the search."""
        self.workers.start(self._loops, *self.devices, beside=self._search, urgent=True)

    def _search(self) -> None:
        while self.workers.word == HOLD or (
            self.workers.word == RUN and not all(device.link_speed() for device in self.devices)
        ):
            time.sleep(TICK)
        begin = time.monotonic()
        for index, size in enumerate(self.sizes):
            limit = None
            if self.limit is not None:
                left = begin + self.limit - time.monotonic()
                if left <= 0:
                    return
                limit = left / (len(self.sizes) - index)
            try:
                self.found.append(self._search_size(size, limit))
            except Cancelled:
                return

    def _search_size(self, size: int, limit: float | None) -> Rates:
        line = min(device.link_speed() for device in self.devices) * 1e6
        line /= 8 * (size + FRAMING)
        able = max(self._measure(size, line, WARM_UP).offered_pps for _ in range(TRIES))
        search = Search(
            partial(self._trial, size), size=size, line=line, able=able,
            loss=self.loss, trial=self.trial, width=self.width,
        )  # fmt: skip
        return search.run(limit)

    def _trial(self, size: int, load: Load) -> Trial:
        """A trial, again if the sender was held up and nothing follows from that, which may not
        happen twice: short ones as often as a full one's tries last.
        """
        tried: list[Trial] = []
        while len(tried) < TRIES or len(tried) * load.seconds < self.trial:
            tried.append(self._measure(size, load.pps, load.seconds))
            self.trials.append(tried[-1])
            if tried[-1].says_something(self.loss):
                return tried[-1]
        return max(tried, key=lambda trial: trial.sent)

    def _measure(self, size: int, pps: float, seconds: float) -> Trial:
        """One trial at a rate each way."""
        queues = len(self._ways)
        total = max(round(pps * seconds), queues)
        tag = int(self._ways[0][0]["tag"]) + 1
        catch_up = min(max(CATCH_UP / pps, LEAST), MOST)
        ticks = int(seconds * PATIENCE * 1e9 * clock().ticks_per_ns)
        for i, (ways, paces) in enumerate(zip(self._ways, self._paces, strict=True)):
            for j, frames in enumerate(self._frames[size][i]):
                paces[j] = pacer(pps / queues)[0]
                paces[j]["catch_up"] = catch_up * 1e9 * clock().ticks_per_ns
                values = address_of(frames), size - CRC, total // queues, ticks, tag
                names = "frame", "size", "quota", "ticks", "tag"
                for name, value in zip(names, values, strict=True):  # the tag is the last one
                    ways[j][name] = value
        self._wait(tag, seconds)
        ways = np.concatenate(self._ways)
        sent, received = int(ways["sent"].sum()), int(ways["received"].sum())
        span = (int(ways["ended"].max()) - int(ways["begun"].min())) * clock().ns_per_tick / 1e9
        each = sent / len(self._sources)
        given_up = float(np.concatenate(self._paces)["given_up"].sum())
        return Trial(
            pps=pps, seconds=seconds, asked=total // queues * queues * len(self._sources),
            sent=sent, received=received, kept=self._kept(ways, given_up),
            size=size, offered_pps=round(max(each - 1, 0) / span, 3) if span > 0 else 0.0,
            late=round(given_up / max(sent, 1), 6), others=int(ways["others"].sum()),
        )  # fmt: skip

    def _kept(self, ways: np.ndarray[Any, Any], given_up: float) -> bool:
        sent, asked = int(ways["sent"].sum()), int(ways["quota"].sum())
        return sent == asked and given_up <= PAUSES * asked

    def _wait(self, tag: int, seconds: float) -> None:
        """Has all workers count, then send; waits until all has been sent, and has arrived."""
        begin = time.monotonic()
        deadline = begin + seconds * PATIENCE + LONGEST_WAIT + 10
        while not self._all("counting", tag):
            self._must_go_on(deadline)
        for ways in self._ways:
            ways["send"] = tag
        while (left := begin + seconds - time.monotonic()) > TICK:
            self._must_go_on(deadline, min(left, GLANCE))
        while not self._all("sending", tag) or self._total("left"):
            self._must_go_on(deadline)
        self._wait_for_arrivals()

    def _wait_for_arrivals(self) -> None:
        """Waits until all that was sent has come, or nothing does any more."""
        last_change = time.monotonic()
        deadline, before = last_change + LONGEST_WAIT, -1
        while (moment := time.monotonic()) < deadline:
            received = self._total("received")
            if received != before:
                before, last_change = received, moment
            if received >= self._total("sent") or moment - last_change > QUIET:
                return
            self._must_go_on()

    def _all(self, name: str, tag: int) -> bool:
        return all((ways[name] == tag).all() for ways in self._ways)

    def _total(self, name: str) -> int:
        return sum(int(ways[name].sum()) for ways in self._ways)

    def _must_go_on(self, deadline: float = math.inf, seconds: float = TICK) -> None:
        if self.workers.word != RUN:
            raise Cancelled
        if time.monotonic() > deadline:
            raise IxyError(f"{self.devices[0].address} does not send any more: is it there?")
        time.sleep(seconds)

    @property
    def complete(self) -> bool:
        """Whether all rates are known as well as was asked for."""
        return len(self.found) == len(self.sizes) and all(rates.complete for rates in self.found)

    @property
    def done(self) -> bool:
        """Whether the search has ended."""
        return self.workers.running and not self.workers.accompanied
