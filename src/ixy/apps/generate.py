"""`ixy generate`: numbered UDP frames, at a rate or as fast as possible."""

from functools import partial

import numpy as np

from ixy.apps.workers import RUN, Workers, begin, claim, refund, told
from ixy.compiled import compiled
from ixy.device import Device, pool_of, rx_batch, tx_batch
from ixy.memory.ordered import address_of, copy_bytes, records
from ixy.memory.pool import alloc_batch, free_batch, lengths, packet_address
from ixy.system import back_off
from ixy.traffic.pacing import due, not_sent, pacer
from ixy.traffic.templates import numbered_frame, set_number

BATCH = 64

Stream = np.dtype(
    [
        ("frame", "u8"),  # the template
        ("size", "u4"),
        ("sent", "u8"),  # packets given to the ring, and so the next one's number
        ("received", "u8"),  # packets that came back
    ],
    align=True,
)


@compiled
def send_numbered(tx, bufs, stream):
    """Fills and numbers buffers and sends them; returns how many the ring took."""
    pool = pool_of(tx)
    count = alloc_batch(pool, bufs)
    length = lengths(pool)
    for i in range(count):
        target = packet_address(pool, bufs[i])
        copy_bytes(target, stream.frame, stream.size)
        set_number(target, stream.sent + np.uint64(i))
        length[bufs[i]] = stream.size
    sent = tx_batch(tx, bufs[:count])
    free_batch(pool, bufs[sent:count])
    stream.sent += np.uint64(sent)
    return sent


@compiled
def generate_until_told(tx, rx, bufs, stream, pace, control):
    """One worker: a queue pair, until it is told to stop or the budget is used up. What comes back
    is only counted.
    """
    begin(control[0])
    idle = 0
    while told(control[0]) == RUN:
        granted = claim(control[0], due(pace[0], BATCH))
        sent = send_numbered(tx[0], bufs[:granted], stream[0])
        refund(control[0], granted - sent)
        not_sent(pace[0], granted - sent)
        received = rx_batch(rx[0], bufs)
        free_batch(pool_of(rx[0]), bufs[:received])
        stream[0].received += np.uint64(received)
        idle = 0 if sent or received else idle + 1
        if idle:
            back_off(idle)


class Generator:
    """Sends `size`-byte frames (without the CRC) from an open device, a worker and a flow per
    queue.

    `rate` in packets per second, None for as many as possible; `count` frames, None for no limit.
    Raises IxyError for a size that Ethernet does not carry.
    """

    def __init__(
        self, device: Device, *, size: int = 60, rate: float | None = None, count: int | None = None
    ) -> None:
        self.device, self.count = device, count
        self.workers = Workers(count)
        queues = range(len(device.tx))
        self._frames = [
            np.frombuffer(numbered_frame(size, flow, device.mac), np.uint8) for flow in queues
        ]
        self._streams = [records(1, Stream) for _ in queues]
        self._loops = []
        for queue, stream, frame in zip(queues, self._streams, self._frames, strict=True):
            stream[0]["frame"], stream[0]["size"] = address_of(frame), size
            records_of_queue = device.tx[queue].record, device.rx[queue].record
            pace = pacer(rate / len(queues) if rate else None)
            self._loops.append(
                partial(
                    generate_until_told,
                    *records_of_queue,
                    np.zeros(BATCH, np.uint32),
                    stream,
                    pace,
                    self.workers.control,
                )
            )

    def start(self) -> None:
        """Starts the workers."""
        self.workers.start(self._loops, self.device)

    @property
    def sent(self) -> int:
        """Packets that were given to a transmit ring so far."""
        return sum(int(stream[0]["sent"]) for stream in self._streams)

    @property
    def taken(self) -> int:
        """Packets that came back and were taken from the receive rings."""
        return sum(int(stream[0]["received"]) for stream in self._streams)

    @property
    def done(self) -> bool:
        """Whether all that was asked for has been given to the ring."""
        return self.count is not None and self.sent >= self.count
