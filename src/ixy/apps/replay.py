"""`ixy replay`: the frames of a capture leave by a port, at their own pace or another.

A thread in plain Python reads the file ahead, in blocks of frames for each queue. The workers send
them and never leave compiled code in between: nothing but a frame's own time decides when it goes.
"""

import time
from functools import partial
from typing import Any

import numpy as np

from ixy.apps.workers import HOLD, RUN, Workers, begin, told
from ixy.compiled import JIT, compiled, interpretable
from ixy.device import Device, pool_of, rx_batch, tx_batch
from ixy.memory.ordered import (
    address_of,
    array_at,
    copy_bytes,
    load_acquire,
    records,
    store_release,
)
from ixy.memory.pool import alloc_batch, free_batch, lengths, packet_address
from ixy.pcap import Frame, Reader
from ixy.system import SLICE, await_moment, back_off, now
from ixy.traffic.flows import conversation
from ixy.traffic.histogram import Histogram, record_value
from ixy.traffic.templates import MAX_SIZE

BATCH = 64
CHUNK = 16384  # frames looked up at a time
BLOCKS = 4  # per queue: how many of those the reader may be ahead
LEAD = 2_000_000  # ns between the first frame's arrival at a worker and its departure
LATEST = 2**62 - 1  # ns: a sum of two such times fits into 64 bits. Until 2116, if it is a date
SHORTEST = 14  # bytes: an Ethernet header
LONGEST = MAX_SIZE + 4  # with a VLAN tag

# A block passes between the reader, who fills it, and a worker, who empties it; without frames it
# is the end. The times of its frames are those at which they are due: ns since the first one was.
Block = np.dtype([("full", "u4"), ("count", "i8"), ("next", "i8"), ("frames", "u8")], align=True)
Schedule = np.dtype([("begin", "i8")])  # when the first frame is due; 0: all are at once
Replay = np.dtype(
    [
        ("data", "u8"),  # the capture file
        ("block", "i8"),  # the one in use
        ("sent", "u8"),
        ("bad_size", "u8"),  # frames that Ethernet does not carry
        ("received", "u8"),  # packets that came back
    ]
)


@compiled
def due_time(schedule, frame):
    """When a frame is due, ns."""
    return schedule.begin + np.int64(frame.time)


@compiled
def ready(schedule, frames, most):
    """How many of the next frames are due, at most so many."""
    if schedule.begin == 0:
        return most
    moment = now()
    count = 0
    while count < most and due_time(schedule, frames[count]) <= moment:
        count += 1
    return count


@compiled
def replay_batch(tx, bufs, frames, state):
    """Sends frames; returns how many of them are through: sent, or counted as of a bad size."""
    pool = pool_of(tx)
    length = lengths(pool)
    count = alloc_batch(pool, bufs[: len(frames)])
    filled = 0
    through = 0
    while through < count:
        frame = frames[through]
        size = frame.captured
        if size < SHORTEST or size > LONGEST:
            break  # sent up to here; the next call begins with it
        copy_bytes(packet_address(pool, bufs[filled]), state.data + frame.offset, size)
        length[bufs[filled]] = size
        filled += 1
        through += 1
    sent = tx_batch(tx, bufs[:filled])
    free_batch(pool, bufs[sent:count])
    state.sent += np.uint64(sent)
    if filled == 0 and count:
        state.bad_size += np.uint64(1)
        return 1
    return sent


@compiled
def replay_block(tx, bufs, block, state, schedule, timing):
    """Sends what is due of a block; returns how many frames are through."""
    frames = array_at(block.frames, block.count, Frame)[block.next :]
    count = ready(schedule, frames, min(len(bufs), len(frames)))
    before = state.sent
    through = replay_batch(tx, bufs, frames[:count], state)
    if schedule.begin:
        moment = now()
        for i in range(np.int64(state.sent - before)):
            record_value(timing, moment - due_time(schedule, frames[i]))
    block.next += through
    if block.next == block.count:
        state.block = (state.block + 1) % BLOCKS
        store_release(block, "full", 0)
    return through


@compiled
def await_frame(block, schedule):
    """Lets a moment pass until the next frame is due."""
    frame = array_at(block.frames, block.count, Frame)[block.next]
    await_moment(due_time(schedule, frame) - now(), SLICE)


@compiled
def replay_until_told(tx, rx, bufs, blocks, state, schedule, timing, control):
    """One worker: a queue pair, until the end or until it is told to stop. What comes back is only
    counted.
    """
    begin(control[0])
    idle = 0
    while told(control[0]) == RUN:
        block = blocks[state[0].block]
        full = load_acquire(block, "full")
        if full and block.count == 0:
            break
        through = 0
        if full:
            through = replay_block(tx[0], bufs, block, state[0], schedule[0], timing[0])
        received = rx_batch(rx[0], bufs)
        free_batch(pool_of(rx[0]), bufs[:received])
        state[0].received += np.uint64(received)
        idle = 0 if through or received else idle + 1
        if idle and full and schedule[0].begin:
            await_frame(block, schedule[0])
        elif idle:
            back_off(idle)


@compiled
def assign(frames, data, queues, queue_of):
    """Gives each frame the queue of its conversation."""
    for i in range(len(frames)):
        frame = frames[i]
        queue_of[i] = conversation(data[frame.offset : frame.offset + frame.captured]) % queues


class Replayer:
    """Replays a capture from an open device, `loops` times. Conversations are spread over its
    queues: each stays in order.

    `speed`: a factor of the recorded speed, None for as fast as possible; or `rate` in packets per
    second. Unless it is as fast as possible each frame has a time at which it is due, and `timing`
    counts how much later than that it left (ns). At a factor that is so long after the first one as
    it was recorded, divided by the factor; a loop begins one mean gap of the recording after the
    last frame of the loop before. These times are all computed from the one beginning, so no error
    adds up.
    """

    def __init__(
        self,
        device: Device,
        reader: Reader,
        *,
        speed: float | None = None,
        rate: float | None = None,
        loops: int = 1,
    ) -> None:
        self.device, self.loops = device, loops
        self.warning: str | None = None
        self.frames = 0  # read from the file so far, all loops together
        self.workers = Workers()
        self._reader = reader
        self._speed, self._rate = speed, rate
        self._timed = bool(speed or rate)
        self._schedule = records(1, Schedule)
        queues = range(len(device.tx))
        self._blocks = [records(BLOCKS, Block) for _ in queues]
        self._tables: list[list[Any]] = [[None] * BLOCKS for _ in queues]  # what blocks point to
        self._next = [0] * len(queues)
        self._states = [records(1, Replay) for _ in queues]
        self._timings = [Histogram() for _ in queues]
        self._loops = []
        for i in queues:
            self._states[i][0]["data"] = address_of(self._reader.data)
            pair = device.tx[i].record, device.rx[i].record
            words = self._blocks[i], self._states[i], self._schedule, self._timings[i].record
            bufs = np.zeros(BATCH, np.uint32)
            loop = partial(replay_until_told, *pair, bufs, *words, self.workers.control)
            self._loops.append(loop)

    def start(self) -> None:
        """Starts the workers and the reader."""
        self.workers.start(self._loops, self.device, beside=self._read, urgent=self._timed)

    def _read(self) -> None:
        self._spread(np.zeros(0, Frame))  # compiled before anything is due
        while self.workers.word == HOLD or (self._timed and self._waits_for_link()):
            time.sleep(0.0005)
        age = 0
        for loop in range(self.loops):
            if loop:
                self._reader.rewind()
            age = min(age + self._read_once(age), LATEST)
        for queue in range(len(self._blocks)):
            self._put(queue, np.zeros(0, Frame))

    def _waits_for_link(self) -> bool:
        return self.workers.word == RUN and not self.device.link_speed()

    def _read_once(self, age: int) -> int:
        """Hands out the frames of one loop, which begins so many ns, as recorded, after the first
        one; returns how long it takes until the next one begins.
        """
        first, last = None, 0
        while len(table := self._reader.read(CHUNK)) and self.workers.word == RUN:
            times = np.minimum(table["time"], LATEST).astype(np.int64)
            first = int(times[0]) if first is None else first
            last = max(last, int(times.max()))
            if self._timed:
                table["time"] = self._due(times - first + age)
                self._schedule[0]["begin"] = (
                    self._schedule[0]["begin"] or time.monotonic_ns() + LEAD
                )
            self.frames += len(table)
            for queue, part in enumerate(self._spread(table)):
                if len(part):
                    self._put(queue, part)
        self.warning = self._reader.warning
        gaps = self._reader.frames - 1
        span = last - (first or 0)
        return span + span // gaps if gaps > 0 else 0

    def _due(self, ages: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """When the next frames are due, of such ages as they were recorded (ns)."""
        if self._rate:
            due = np.arange(self.frames, self.frames + len(ages)) * (1e9 / self._rate)
        else:
            assert self._speed
            due = ages / self._speed
        return due.clip(0, LATEST)  # an age is negative where a clock was set back

    def _spread(self, table: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """A table for each queue, in the order of the file."""
        queues = len(self._blocks)
        if queues == 1:
            return [table]
        queue_of = np.zeros(len(table), np.uint8)
        assign(table if JIT else interpretable(table), self._reader.data, queues, queue_of)
        return [table[queue_of == queue] for queue in range(queues)]

    def _put(self, queue: int, table: np.ndarray[Any, Any]) -> None:
        index = self._next[queue]
        block = self._blocks[queue][index]
        while block["full"]:
            if self.workers.word != RUN:
                return
            time.sleep(0.0005)
        self._tables[queue][index] = table
        block["count"], block["next"] = len(table), 0
        block["frames"] = address_of(table)
        block["full"] = 1
        self._next[queue] = (index + 1) % BLOCKS

    def _total(self, name: str) -> int:
        return sum(int(state[0][name]) for state in self._states)

    @property
    def sent(self) -> int:
        """Packets that were given to a transmit ring so far."""
        return self._total("sent")

    @property
    def bad_size(self) -> int:
        """Frames too short or too long for Ethernet: not sent."""
        return self._total("bad_size")

    @property
    def taken(self) -> int:
        """Packets that came back and were taken from the receive rings."""
        return self._total("received")

    @property
    def timing(self) -> Histogram | None:
        """How much later than due frames left, ns; None where that is as fast as possible."""
        if not self._timed:
            return None
        timing = Histogram()
        for each in self._timings:
            timing.merge(each)
        return timing

    @property
    def done(self) -> bool:
        """Whether all has been given to the rings."""
        return self.workers.running and not self.workers.busy
