"""`ixy forward`: what arrives at one port leaves by the other."""

from functools import partial

import numpy as np

from ixy.apps.workers import FINISH, STOP, Workers, begin, claim, refund, told
from ixy.compiled import compiled
from ixy.device import Device, pool_of, rx_batch, tx_batch
from ixy.memory.ordered import records
from ixy.memory.pool import free_batch, packets
from ixy.system import rest

# bufs[first:last] have been received and not yet sent; `seen` is the sum of a byte of each packet
Way = np.dtype(
    [("first", "u4"), ("last", "u4"), ("received", "u8"), ("forwarded", "u8"), ("seen", "u8")]
)


@compiled
def forward(rx, tx, bufs, way, control):
    """Moves one batch one way; returns how many packets left.

    What the transmit ring has no room for waits, and nothing more is received meanwhile: under
    overload the device drops, which costs nothing and is counted, and a capture passes without a
    loss.
    """
    if way.first == way.last:
        room = claim(control, len(bufs))
        received = rx_batch(rx, bufs[:room])
        refund(control, room - received)
        packet = packets(pool_of(rx))
        seen = way.seen
        for buf in bufs[:received]:
            seen += packet[buf].bytes[13]  # a packet that nobody reads is not a workload
        way.seen = seen
        way.first = 0
        way.last = received
        way.received += received
    sent = tx_batch(tx, bufs[way.first : way.last])
    way.first += sent
    way.forwarded += sent
    return sent


@compiled
def forward_until_told(rx_a, tx_b, rx_b, tx_a, bufs, ways, control, events):
    """One worker: a pair of queues, both ways (or the first only), until it is told to stop."""
    begin(control[0])
    idle = 0
    word = told(control[0])
    while word != STOP:
        sent = forward(rx_a[0], tx_b[0], bufs[0], ways[0], control[0])
        waiting = ways[0].last - ways[0].first
        if len(ways) > 1:
            sent += forward(rx_b[0], tx_a[0], bufs[1], ways[1], control[0])
            waiting += ways[1].last - ways[1].first
        if sent:
            idle = 0
        elif word == FINISH and waiting == 0:
            break
        else:
            idle += 1
            rest(idle, -1 if waiting else events)  # no interrupt says that a ring has room
        word = told(control[0])
    for i in range(len(ways)):
        free_batch(pool_of(rx_a[0]), bufs[i][ways[i].first : ways[i].last])


class Forwarder:
    """Forwards between two open devices, a worker per queue. `one_way`: only from the first to the
    second.
    """

    def __init__(
        self,
        a: Device,
        b: Device,
        *,
        one_way: bool = False,
        batch: int = 64,
        count: int | None = None,
    ) -> None:
        self.devices = a, b
        self.sources = (a,) if one_way else (a, b)
        self.count, self.workers = count, Workers(count)
        self._ways = [records(len(self.sources), Way) for _ in a.rx]
        self._loops = []
        for i, ways in enumerate(self._ways):
            bufs = np.zeros((2, batch), np.uint32)
            there, back = (a.rx[i].record, b.tx[i].record), (b.rx[i].record, a.tx[i].record)
            events = self.workers.events_of(*(port.rx[i] for port in self.sources))
            words = *there, *back, bufs, ways, self.workers.control, events
            self._loops.append(partial(forward_until_told, *words))

    def start(self) -> None:
        """Starts the workers."""
        self.workers.start(self._loops, *self.devices)

    @property
    def taken(self) -> list[tuple[int, int]]:
        """For each way, packets taken from the receive ring, and those of them that found room in
        the transmit ring."""
        names = ("received", "forwarded")
        ways = range(len(self.sources))
        taken, forwarded = ([sum(int(w[i][n]) for w in self._ways) for i in ways] for n in names)
        return list(zip(taken, forwarded, strict=True))

    @property
    def forwarded(self) -> int:
        """Packets that were given to a transmit ring so far."""
        return sum(forwarded for _, forwarded in self.taken)

    @property
    def done(self) -> bool:
        """Whether all that was asked for has been forwarded, or nothing more will come."""
        if self.count is not None and self.forwarded >= self.count:
            return True
        ends = [port.beyond.ended for port in self.sources]
        return any(ends) and all(end is not False for end in ends)
