"""`ixy reflect`: what arrives goes back to where it came from."""

from functools import partial

import numpy as np

from ixy.apps.forward import Way
from ixy.apps.workers import FINISH, STOP, Workers, begin, claim, refund, told
from ixy.compiled import compiled, inner
from ixy.device import Device, pool_of, rx_batch, tx_batch
from ixy.memory.ordered import records
from ixy.memory.pool import free_batch, lengths, packets
from ixy.system import rest

ETHERNET, TAG = 14, 4  # bytes of a header, and of a VLAN tag behind it
TAGS = 0x8100, 0x88A8  # their EtherTypes (IEEE 802.1Q, 9.6)
TCP, UDP = 6, 17


@inner
def swap(data, at, size):
    """Exchanges two neighbours of `size` bytes each."""
    for i in range(at, at + size):
        data[i], data[size + i] = data[size + i], data[i]


@inner
def turn_round(data, length, layer):
    """Exchanges source and destination, up to a layer: MAC addresses, IP addresses, ports. No
    checksum changes by that: it is a sum, whatever the order.
    """
    swap(data, 0, 6)
    ip = ETHERNET
    kind = ethertype(data, ip)
    while kind in TAGS and length >= ip + TAG:
        ip += TAG
        kind = ethertype(data, ip)
    ports = 0  # where they are, 0 if there are none
    if layer > 2 and kind == 0x0800 and length >= ip + 20 and data[ip] >> 4 == 4:
        swap(data, ip + 12, 4)
        fragment = (data[ip + 6] & 0x1F) != 0 or data[ip + 7] != 0
        if not fragment and (data[ip + 9] == TCP or data[ip + 9] == UDP):
            ports = ip + 4 * (np.int64(data[ip]) & 15)
    elif layer > 2 and kind == 0x86DD and length >= ip + 40:
        swap(data, ip + 8, 16)
        if data[ip + 6] == TCP or data[ip + 6] == UDP:
            ports = ip + 40
    if layer > 3 and ports >= ip + 20 and length >= ports + 4:
        swap(data, ports, 2)


@inner
def ethertype(data, end):
    """The type in front of what it tells of."""
    return np.int64(data[end - 2]) << 8 | np.int64(data[end - 1])


@compiled
def reflect(rx, tx, bufs, way, layer, control):
    """One batch; returns how many packets left. As in `forward`, what the ring has no room for
    waits.
    """
    if way.first == way.last:
        room = claim(control, len(bufs))
        received = rx_batch(rx, bufs[:room])
        refund(control, room - received)
        packet = packets(pool_of(rx))
        length = lengths(pool_of(rx))
        for buf in bufs[:received]:
            turn_round(packet[buf].bytes, np.int64(length[buf]), layer)
        way.first = 0
        way.last = received
        way.received += received
    sent = tx_batch(tx, bufs[way.first : way.last])
    way.first += sent
    way.forwarded += sent
    return sent


@compiled
def reflect_until_told(rx, tx, bufs, ways, layer, control, events):
    """One worker: a queue pair, until it is told to stop."""
    begin(control[0])
    idle = 0
    word = told(control[0])
    way = ways[0]
    while word != STOP:
        if reflect(rx[0], tx[0], bufs, way, layer, control[0]):
            idle = 0
        elif word == FINISH and way.first == way.last:
            break
        else:
            idle += 1
            rest(idle, events if way.first == way.last else -1)
        word = told(control[0])
    free_batch(pool_of(rx[0]), bufs[way.first : way.last])


class Reflector:
    """Sends back what arrives at an open device, a worker per queue. `layer`: 2 exchanges the MAC
    addresses, 3 the IP addresses too, 4 also the ports of TCP and UDP. `count` packets, None for no
    limit.
    """

    def __init__(
        self, device: Device, *, layer: int = 2, batch: int = 64, count: int | None = None
    ) -> None:
        self.device, self.count, self.workers = device, count, Workers(count)
        self._ways = [records(1, Way) for _ in device.rx]
        self._loops = []
        for rx, tx, ways in zip(device.rx, device.tx, self._ways, strict=True):
            bufs, events = np.zeros(batch, np.uint32), self.workers.events_of(rx)
            words = rx.record, tx.record, bufs, ways, layer, self.workers.control, events
            self._loops.append(partial(reflect_until_told, *words))

    def start(self) -> None:
        """Starts the workers."""
        self.workers.start(self._loops, self.device)

    @property
    def taken(self) -> int:
        """Packets taken from the receive rings so far."""
        return sum(int(ways[0]["received"]) for ways in self._ways)

    @property
    def reflected(self) -> int:
        """Packets that were given to a transmit ring so far."""
        return sum(int(ways[0]["forwarded"]) for ways in self._ways)

    @property
    def done(self) -> bool:
        """Whether all that was asked for has gone back, or nothing more will come."""
        return (
            self.count is not None and self.reflected >= self.count
        ) or self.device.beyond.ended is True
