"""A wire for a network device of QEMU's: frames go to and fro between the wire's rings and a socket
that is QEMU's network back end.
"""

import array
import errno
import fcntl
import os
import socket
import termios
import threading
import time

import numpy as np

from ixy.bus.qemu import Plug
from ixy.compiled import JIT, call, compiled
from ixy.emulator.wire import Wire
from ixy.emulator.wire.base import WireRecord
from ixy.emulator.wire.frames import LONGEST, SHORTEST, commit, drop, peek, reserve
from ixy.emulator.wire.tap import IFF_MULTI_QUEUE, open_tap
from ixy.errors import IxyError
from ixy.memory.ordered import address_of, array_at
from ixy.system import back_off, be_punctual, nap, now, read_file, write_file

# ns of compiled code between two looks at what only Python can do, and at the end
SLICE, FINAL_SLICE = 20_000_000, 1_000_000
BURST = 64  # system calls per round and direction
DOZE, DEEPER, DEEPEST = 2000, 1_000, 1_000_000  # idle rounds; ns that each nap is longer; the most
EAGAIN = errno.EAGAIN
LAST_MOMENT = 0.1  # seconds for what is still in the socket when the device is closed


class Pump(Plug):
    """Moves frames between a wire and QEMU, in a thread of its own.

    A frame that QEMU does not take waits on the wire; one that the wire does not take waits with
    QEMU if the wire is patient, else it is lost.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire, self._ready = wire, False
        self._failure: IxyError | None = None
        self._socket, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self.files = [self._far.fileno()]
        self.netdev = f"dgram,local.type=fd,local.str={self.files[0]}"
        self._until = np.zeros(1, np.int64)  # ns: when compiled code comes back
        self._begun = self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="ixy-pump", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        be_punctual()
        idle, deadline, stopping = 0, float("inf"), False
        try:
            while not (stopping and idle) and time.monotonic() < deadline:
                if self._stopping and not stopping:
                    stopping, deadline = True, time.monotonic() + LAST_MOMENT
                self._until[0] = time.monotonic_ns() + (FINAL_SLICE if stopping else SLICE)
                address, begun = address_of(self._wire.record), self._begun
                idle = carry(address, self._socket.fileno(), begun, self._until, idle)
                self._wire.service()
                self._ready = True
        except Exception as failure:
            self._failure = IxyError(f"the wire failed: {type(failure).__name__}: {failure}")
            self._ready = True

    def begin(self) -> None:
        """Frames may come: before, the device might have dropped them.

        From now on QEMU waits in the middle of sending to a full socket. It would else queue
        frames, and drop them without a word when there are too many.
        """
        os.set_blocking(self._far.fileno(), True)
        self._wire.listen(True)
        self._begun = True

    def check(self) -> None:
        """Raises IxyError for what stopped the wire."""
        if self._failure:
            raise self._failure

    @property
    def settled(self) -> bool:
        """Whether it has been compiled."""
        return self._ready

    @property
    def ended(self) -> bool | None:
        """Whether the wire has nothing more to bring, and QEMU has taken all of it."""
        ended = self._wire.ended
        if ended:
            unread = array.array("i", [0])
            fcntl.ioctl(self._socket, termios.TIOCOUTQ, unread)
            ended = unread[0] == 0
        return ended

    @property
    def warning(self) -> str | None:
        """What the wire has to say."""
        return self._wire.warning

    def far_end(self) -> dict[str, int]:
        """What the wire lost."""
        return self._wire.drops()

    def close(self) -> None:
        """Brings what QEMU has sent to the wire's far end, and unplugs it."""
        self._stopping = True
        self._until[0] = 0
        self._thread.join()
        self._wire.close()
        self._socket.close()
        self._far.close()


class TapQueues(Plug):
    """A TAP interface that QEMU itself reads and writes, through a queue for each of a device's
    queue pairs. Raises IxyError as the wire `tap` does.
    """

    def __init__(self, interface: str, queues: int) -> None:
        self.files: list[int] = []
        try:
            while len(self.files) < queues:
                self.files.append(open_tap(interface, IFF_MULTI_QUEUE))
        except BaseException:
            self.close()
            raise
        self.netdev = f"tap,fds={':'.join(map(str, self.files))}"

    def close(self) -> None:
        """Removes the interface, unless it was made to stay."""
        while self.files:
            os.close(self.files.pop())


@compiled
def carry(address, file, begun, until, idle):
    """Moves frames between a wire (its record's address) and a socket until a time (i8[1], ns),
    which others may set meanwhile, or until the wire needs service; none to the socket unless
    `begun`. Takes and returns how many rounds in a row were idle.
    """
    wire = array_at(address, 1, WireRecord)[0]
    pump = wire.pump
    while now() < until[0]:
        call(pump, address)
        moved = from_socket(wire, file)
        if begun:
            moved += to_socket(wire, file)
        if not JIT:
            nap(1)  # or nobody else would be interpreted in time
        if wire.service:
            return 0
        idle = 0 if moved else idle + 1
        if idle > DOZE:
            nap(min((idle - DOZE) * DEEPER, DEEPEST))
        elif idle:
            back_off(idle)
    return idle


@compiled
def to_socket(wire, file):
    """Gives QEMU frames for the port; returns how many."""
    for count in range(BURST):
        frame, length = peek(wire.rx)
        if length == 0:
            return count
        written = write_file(file, frame, length)
        if written == -EAGAIN:
            return count
        if written < 0:
            wire.lost += 1
        drop(wire.rx, length)
    return BURST


@compiled
def from_socket(wire, file):
    """Takes frames that the port has sent; returns how many."""
    nowhere = np.empty(1, np.uint64)
    for count in range(BURST):
        target = reserve(wire.tx, LONGEST)
        if target == 0:
            if wire.patient or read_file(file, nowhere.ctypes.data, 1) <= 0:
                return count
            wire.lost += 1
            continue
        size = np.int64(read_file(file, target, LONGEST))
        if size <= 0:
            return count
        if size < SHORTEST:
            array_at(target + np.uint64(size), SHORTEST - size, np.uint8)[:] = 0
            size = np.int64(SHORTEST)
        commit(wire.tx, size)
    return BURST
