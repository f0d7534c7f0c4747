"""`ixy latency`: what becomes of packets between two ports, and how long they take."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ixy.apps.hardware_clock import HardwareClock
from ixy.apps.workers import RUN, STOP, Workers, begin, told
from ixy.compiled import compiled, inner
from ixy.device import Device, pool_of, rx_batch, tx_batch
from ixy.errors import IxyError
from ixy.memory.ordered import array_at, copy_bytes, records
from ixy.memory.pool import alloc_batch, free_batch, lengths, packet_address
from ixy.system import SPINS, cycles, give_way, pause
from ixy.traffic.clock import calibrate
from ixy.traffic.histogram import ERROR, Histogram
from ixy.traffic.pacing import due, not_sent, pacer
from ixy.traffic.sequence import MAX_STREAMS, Flow, Sequence, stamp, take_packet

BATCH = 64
SAMPLE_GAP = 0.001  # seconds between two packets that the card stamps

Run = np.dtype(
    [
        ("limit", "i8"),  # packets to send
        ("duration", "i8"),  # ticks to send for; 0: no limit
        ("linger", "i8"),  # ticks without a packet, after the last was sent, until it is over
        ("first", "i8"),  # ticks: when sending began, and when packets were last due
        ("last", "i8"),
        ("taken", "i8"),  # packets from the receive rings
        ("over", "i8"),  # whether all have been sent
    ]
)


@compiled
def send_stamped(tx, bufs, streams):
    """Sends packets, the streams in turns, stamped with the time just before the ring gets them;
    returns how many it took.
    """
    pool = pool_of(tx)
    count = alloc_batch(pool, bufs)
    length = lengths(pool)
    flows = array_at(streams.flows, streams.count, Flow)
    for i in range(count):
        flow = flows[(streams.sent + i) % streams.count]
        copy_bytes(packet_address(pool, bufs[i]), flow.frame, streams.size)
        length[bufs[i]] = streams.size
    time = cycles()
    for i in range(count):
        turn = streams.sent + i
        flow = flows[turn % streams.count]
        stamp(packet_address(pool, bufs[i]), flow, turn // streams.count, time)
    sent = tx_batch(tx, bufs[:count])
    free_batch(pool, bufs[sent:count])
    for i in range(sent):
        flows[(streams.sent + i) % streams.count].sent += 1
    streams.sent += sent
    return sent


@compiled
def take_packets(rx, bufs, streams):
    """Receives packets, all at the time when they were seen, and looks at each; returns how many
    there were.
    """
    received = rx_batch(rx, bufs)
    if received:
        time = cycles()
        pool = pool_of(rx)
        length = lengths(pool)
        for buf in bufs[:received]:
            take_packet(streams, packet_address(pool, buf), np.int64(length[buf]), time)
        free_batch(pool, bufs[:received])
    return received


@inner
def spin(idle):
    """Lets a moment pass, as `back_off`, but never sleeps: it would see packets late."""
    if idle < SPINS:
        pause()
    else:
        give_way()


@compiled
def measure_until_told(tx, rx, bufs, streams, run, pace, control):
    """The worker: sends at its pace and takes what comes; ends some time after the last packet."""
    begin(control[0])
    run[0].first = cycles()
    run[0].last = run[0].first
    seen = run[0].first
    sending = True
    idle = 0
    word = told(control[0])
    while word != STOP:
        moment = cycles()
        over = 0 < run[0].duration <= moment - run[0].first
        sending = sending and word == RUN and not over and streams[0].sent < run[0].limit
        run[0].over = not sending
        sent = 0
        if sending:
            wanted = due(pace[0], min(len(bufs), run[0].limit - streams[0].sent))
            if wanted:
                sent = send_stamped(tx[0], bufs[:wanted], streams[0])
                not_sent(pace[0], wanted - sent)
                run[0].last = moment
        received = take_packets(rx[0], bufs, streams[0])
        run[0].taken += received
        if sending or received:
            seen = moment
        elif moment - seen > run[0].linger:
            break
        idle = 0 if sent or received else idle + 1
        if idle:
            spin(idle)
        word = told(control[0])


@compiled
def _begin(control):
    begin(control[0])


class Latency:
    """Sends `streams` streams of `size`-byte frames from one open device and takes them at another,
    or the same; one worker, the first queue of each.

    `rate` in packets per second, all streams together, None for as many as possible; `count`
    packets or `seconds`, None for no limit. It is over `linger` seconds after the last packet came.
    `hardware`: besides, the card itself stamps some more packets, in its last pair of queues.
    Raises IxyError for what cannot be, and on a processor without a steady time-stamp counter.
    """

    def __init__(
        self,
        tx: Device,
        rx: Device,
        *,
        size: int = 60,
        streams: int = 1,
        rate: float | None = None,
        count: int | None = None,
        seconds: float | None = None,
        linger: float = 0.5,
        hardware: bool = False,
    ) -> None:
        if not 1 <= streams <= MAX_STREAMS:
            raise IxyError(f"{streams} streams: give it 1 to {MAX_STREAMS}")
        self.devices = (tx,) if tx is rx else (tx, rx)
        self.clock = calibrate()
        self.requested = rate
        ticks = 1e9 * self.clock.ticks_per_ns
        self.sequence = Sequence(streams, size, tx.mac, rx.mac, self.clock.ns_per_tick)
        if hardware and (tx is not rx or len(tx.tx) < 2):
            raise IxyError("hardware time stamps: give it one device, with two pairs of queues")
        self.hardware = HardwareClock(tx, rx.mac) if hardware else None
        self.stamped = Histogram()  # by the hardware
        self.workers = Workers()
        self._run = records(1, Run)
        self._run[0]["limit"] = 2**62 if count is None else count
        self._run[0]["duration"] = round((seconds or 0) * ticks)
        self._run[0]["linger"] = round(linger * ticks)
        bufs = np.zeros(BATCH, np.uint32)
        queues = tx.tx[0].record, rx.rx[0].record
        words = bufs, self.sequence.record, self._run, pacer(rate), self.workers.control
        self._loop = partial(measure_until_told, *queues, *words)

    def start(self) -> None:
        """Starts the worker. The devices should have a link: what waits for one is late."""
        loops: list[Callable[[], object]] = [self._loop]
        if self.hardware:
            loops.append(self._sample)
        self.workers.start(loops, *self.devices, urgent=True)

    def _sample(self) -> None:
        """The second worker: has the card stamp packets while the first one sends."""
        assert self.hardware is not None
        _begin(self.workers.control)
        while int(self.workers.control[0]["stop"]) == RUN and not self._run[0]["over"]:
            elapsed = self.hardware.sample()
            if elapsed is not None:
                self.stamped.add([round(elapsed)])
            time.sleep(SAMPLE_GAP)
        self.hardware.close()

    def _by_hardware(self) -> dict[str, Any] | None:
        if self.hardware is None:
            return None
        found = {"missing": self.hardware.missing, "clock": self.hardware.speed()}
        return self.stamped.summary() | found

    @property
    def done(self) -> bool:
        """Whether all has been sent, and nothing has come for a while."""
        return self.workers.running and not self.workers.busy

    @property
    def taken(self) -> int:
        """Packets from the receive ring so far."""
        return int(self._run[0]["taken"])

    @property
    def achieved(self) -> float:
        """Packets sent per second, from the first to the last."""
        seconds = int(self._run[0]["last"] - self._run[0]["first"]) * self.clock.ns_per_tick / 1e9
        return (self.sequence.sent - 1) / seconds if seconds else 0.0

    def report(self, latency: Histogram) -> dict[str, Any]:
        """What was found; `latency` is `sequence.latency()`. Times are in ns.

        Raises IxyError if its histogram and its exact figures contradict each other.
        """
        streams = []
        for stream, histogram in enumerate(self.sequence.latencies):
            must_agree(histogram, f"stream {stream}")
            found = self.sequence.of_stream(stream)
            streams.append({"stream": stream, **found, "latency": histogram.summary()})
        must_agree(latency, "all streams")
        totals = self.sequence.totals()
        totals["foreign"] -= self.stamped.total + self.stamped.outside  # those come here, too
        return {
            "requested_pps": self.requested,
            "achieved_pps": round(self.achieved, 3),
            **totals,
            "latency": latency.summary(),
            "hardware": self._by_hardware(),
            "clock": {
                "ticks_per_ns": self.clock.ticks_per_ns,
                "relative_error": self.clock.error,
            },
            "streams": streams,
            "planted": [device.beyond.planted() for device in self.devices],
        }


def must_agree(latency: Histogram, name: str) -> None:
    """Raises IxyError unless the mean by the histogram is the exact one, within its error."""
    if not latency.agrees():
        raise IxyError(
            f"latency of {name}: the mean is {latency.mean:.3f} ns, but {latency.mean_of_steps:.3f}"
            f" ns by the histogram, whose error is {ERROR:.4%}: do not trust these figures"
        )
