"""`ixy generate`: packets of a template, at a rate or as fast as possible."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ixy.apps.workers import RUN, Workers, begin, claim, refund, told
from ixy.compiled import compiled, inner
from ixy.device import Device, pool_of, rx_batch, tx_batch
from ixy.errors import IxyError
from ixy.memory.ordered import address_of
from ixy.memory.pool import free_batch
from ixy.system import back_off, cycles
from ixy.traffic.histogram import Histogram
from ixy.traffic.pacing import TOGETHER, await_due, departed, departures, due, not_sent, pacer
from ixy.traffic.report import report
from ixy.traffic.reserve import Reserve
from ixy.traffic.sizes import Sizes, parse_sizes
from ixy.traffic.stream import Stream, prepare
from ixy.traffic.templates import MIN_SIZE, numbered_frame

BATCH = 64
FEW = 8  # packets prepared at a time, at the least: of random gaps some are short
MOST_BUFFERS = 640  # of the stream's own: as many as a usual ring holds, and more
LEAST_BUFFERS = 48  # a ring gives them back in batches of 32


@inner
def depart(tx, bufs, pace, gone, gaps):
    """Sends packets whose time has come; returns how many the ring took."""
    count = due(pace, len(bufs))
    sent = tx_batch(tx, bufs[:count])
    not_sent(pace, count - sent)
    if sent:
        departed(gone, gaps, cycles(), sent)
    return sent


@compiled
def generate_until_told(tx, rx, bufs, stream, fields, pace, gone, gaps, control):
    """One worker: a queue pair, until it is told to stop or the budget is used up. What comes back
    is only counted.

    Packets are prepared while the one before them waits for its time. Those that the ring has no
    room for are sent later, as they are.
    """
    begin(control[0])
    pool = pool_of(tx[0])
    ready, back = bufs[0], bufs[1]
    first = 0
    last = 0
    idle = 0
    while told(control[0]) == RUN:
        if first == last:
            granted = claim(control[0], len(ready))
            first = 0
            last = prepare(pool, ready[:granted], stream[0], fields)
            refund(control[0], granted - last)
        sent = depart(tx[0], ready[first:last], pace[0], gone[0], gaps[0])
        first += sent
        received = rx_batch(rx[0], back)
        free_batch(pool_of(rx[0]), back[:received])
        gone[0].returned += np.uint64(received)
        if sent or received:
            idle = 0
        elif first < last and pace[0].gap > 0:
            await_due(pace[0])
        else:
            idle += 1
            back_off(idle)
    if first < last:
        free_batch(pool, ready[first:last])


class Generator:
    """Sends packets from an open device, a worker and a stream per queue.

    `template` is a frame without its CRC, None for numbered UDP frames, a flow per queue. `size`
    in bytes, or as `--size` says; None: that of the template. `vary`: what varies in it, see
    `Stream`. `rate` in packets per second, None for as many as possible; `poisson`: their gaps are
    exponential; `count` packets, None for no limit. Raises IxyError for what cannot be sent.
    """

    def __init__(
        self,
        device: Device,
        *,
        template: bytes | None = None,
        size: int | str | Sizes | None = None,
        vary: Sequence[str] = (),
        seed: int = 1,
        rate: float | None = None,
        poisson: bool = False,
        count: int | None = None,
    ) -> None:
        self.device, self.count, self.poisson = device, count, poisson
        self.workers = Workers(count)
        queues = len(device.tx)
        sizes = parse_sizes(str(size)) if isinstance(size, int | str) else size
        shortest = sizes.least if sizes else MIN_SIZE
        self._streams = [
            Stream(
                numbered_frame(shortest, queue, device.mac) if template is None else template,
                sizes=sizes, vary=vary, seed=seed, part=(queue, queues), numbered=template is None,
            )
            for queue in range(queues)
        ]  # fmt: skip
        self._paced = rate is not None
        pace = rate / queues if rate else None
        self._paces = [pacer(pace, poisson=poisson, seed=(seed, queue)) for queue in range(queues)]
        self._gone = [departures(pace, poisson=poisson) for _ in range(queues)]
        self._gaps = [Histogram() for _ in range(queues)]
        self._batch = min(max(math.ceil(4e-9 * TOGETHER * pace), FEW), BATCH) if pace else BATCH
        self._reserves: list[Reserve] = []

    def start(self) -> None:
        """Sets buffers apart and starts the workers. Raises IxyError if there are too few."""
        self.device.before_close.append(self.close)
        loops = [self._loop(queue) for queue in range(len(self._streams))]
        self.workers.start(loops, self.device, urgent=self._paced)

    def _loop(self, queue: int) -> partial[None]:
        tx, rx, stream = self.device.tx[queue], self.device.rx[queue], self._streams[queue]
        reserve = Reserve(tx.pool, min(MOST_BUFFERS, tx.pool.available * 3 // 4))
        self._reserves.append(reserve)
        if len(reserve.bufs) < LEAST_BUFFERS:
            raise IxyError(f"{self.device.address}: too few free packet buffers: give it pool=N")
        stream.live_in(reserve)
        tx.record[0]["pool"] = address_of(reserve.record)
        bufs = np.zeros((2, self._batch), np.uint32)
        pace, gone, gaps = self._paces[queue], self._gone[queue], self._gaps[queue].record
        words: tuple[Any, ...] = (stream.record, stream.fields, pace, gone, gaps)
        words = (tx.record, rx.record, bufs, *words, self.workers.control)
        return partial(generate_until_told, *words)

    def close(self) -> None:
        """Stops the workers; the device and its buffers are free for others then."""
        self.workers.stop()
        for tx, reserve in zip(self.device.tx, self._reserves, strict=False):
            tx.record[0]["pool"] = address_of(tx.pool.record)
            reserve.close()
        self._reserves.clear()

    def report(self) -> dict[str, Any]:
        """What was achieved: see `traffic.report`."""
        return report(self._paces, self._gone, self._gaps)

    @property
    def sent(self) -> int:
        """Packets that were given to a transmit ring so far."""
        return sum(int(gone[0]["sent"]) for gone in self._gone)

    @property
    def taken(self) -> int:
        """Packets that came back and were taken from the receive rings."""
        return sum(int(gone[0]["returned"]) for gone in self._gone)

    @property
    def done(self) -> bool:
        """Whether all that was asked for has been given to the ring."""
        return self.count is not None and self.sent >= self.count
