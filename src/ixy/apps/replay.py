"""`ixy replay`: the frames of a capture leave by a port, at their own pace or another."""

import numpy as np

from ixy.apps.workers import FINISH, RUN, STOP, Workers, begin, told
from ixy.compiled import JIT, compiled, interpretable
from ixy.device import Device, pool_of, rx_batch, tx_batch
from ixy.memory.ordered import address_of, copy_bytes, records
from ixy.memory.pool import alloc_batch, free_batch, lengths, packet_address
from ixy.pcap import Reader
from ixy.system import back_off, now
from ixy.traffic.pacing import due, not_sent, pacer
from ixy.traffic.templates import MAX_SIZE

BATCH = 64
CHUNK = 65536  # frames looked up at a time
SHORTEST = 14  # bytes: an Ethernet header
LONGEST = MAX_SIZE + 4  # with a VLAN tag

Replay = np.dtype(
    [
        ("data", "u8"),  # the capture file
        ("factor", "f8"),  # speed relative to the recording; 0: the pacer alone decides
        ("begin", "i8"),  # when the first frame left, 0 before
        ("first", "i8"),  # and its time stamp
        ("sent", "u8"),
        ("bad_size", "u8"),  # frames that Ethernet does not carry
        ("received", "u8"),  # packets that came back
    ]
)


@compiled
def ready(state, frames, most):
    """How many of the next frames are due by their own time stamps, at most so many."""
    if state.factor == 0:
        return most
    moment = now()
    if state.begin == 0:
        state.begin = moment
        state.first = np.int64(frames[0].time)
    count = 0
    while count < most:
        age = (np.int64(frames[count].time) - state.first) / state.factor
        if age > moment - state.begin:
            break
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
def replay_until_told(tx, rx, bufs, frames, state, pace, control):
    """Sends all frames of a table, unless it is told to stop. What comes back is only counted."""
    begin(control[0])
    idle = 0
    done = 0
    while done < len(frames) and told(control[0]) == RUN:
        wanted = due(pace[0], min(len(bufs), len(frames) - done))
        count = ready(state[0], frames[done:], wanted)
        through = replay_batch(tx[0], bufs, frames[done : done + count], state[0])
        not_sent(pace[0], wanted - through)
        done += through
        received = rx_batch(rx[0], bufs)
        free_batch(pool_of(rx[0]), bufs[:received])
        state[0].received += np.uint64(received)
        idle = 0 if through or received else idle + 1
        if idle:
            back_off(idle)


class Replayer:
    """Replays a capture file from an open device's first queue, `loops` times.

    `speed`: a factor of the recorded speed, None for as fast as possible; or `rate` in packets per
    second. Raises PcapError for a file that cannot be read.
    """

    def __init__(
        self,
        device: Device,
        path: str,
        *,
        speed: float | None = None,
        rate: float | None = None,
        loops: int = 1,
    ) -> None:
        self.device, self.path, self.loops = device, path, loops
        self.warning: str | None = None
        self.frames = 0  # read from the file so far, all loops together
        self.workers = Workers()
        self._reader = Reader(path)
        self._state = records(1, Replay)
        self._state[0]["factor"] = speed or 0
        queue = device.tx[0].record, device.rx[0].record
        pace = pacer(rate)
        bufs = np.zeros(BATCH, np.uint32)
        self._send = lambda table: replay_until_told(
            *queue, bufs, table, self._state, pace, self.workers.control
        )

    def start(self) -> None:
        """Starts the worker."""
        self.workers.start([self._replay], self.device)

    def _replay(self) -> None:
        for loop in range(self.loops):
            reader = self._reader if loop == 0 else Reader(self.path)
            with reader:
                self._state[0]["data"] = address_of(reader.data)
                self._state[0]["begin"] = 0
                while len(table := reader.read(CHUNK)) and not self.stopped:
                    self.frames += len(table)
                    self._send(table if JIT else interpretable(table))
                self.warning = reader.warning

    @property
    def stopped(self) -> bool:
        """Whether the worker has been told to stop."""
        return int(self.workers.control[0]["stop"]) in (FINISH, STOP)

    @property
    def sent(self) -> int:
        """Packets that were given to the transmit ring so far."""
        return int(self._state[0]["sent"])

    @property
    def bad_size(self) -> int:
        """Frames too short or too long for Ethernet: not sent."""
        return int(self._state[0]["bad_size"])

    @property
    def taken(self) -> int:
        """Packets that came back and were taken from the receive rings."""
        return int(self._state[0]["received"])

    @property
    def done(self) -> bool:
        """Whether all has been given to the ring."""
        return self.workers.running and not self.workers.busy
