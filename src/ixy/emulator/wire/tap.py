"""`tap:IF`: the other end is the Linux TAP interface IF, made (or joined) when it is plugged in."""

import errno
import fcntl
import os
import select
import socket
import struct
from contextlib import suppress

import numpy as np

from ixy.emulator.wire.base import Wire, WireRecord
from ixy.emulator.wire.frames import LONGEST, SHORTEST, commit, drop, peek, reserve, rewind
from ixy.errors import IxyError
from ixy.memory.ordered import array_at
from ixy.system import read_file, write_file

TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_MULTI_QUEUE = 0x400454CA, 2, 0x1000, 0x0100  # linux/if_tun.h
BURST = 64  # system calls per round and direction
EAGAIN = errno.EAGAIN

TapState = np.dtype([("file", "i8")])


class Tap(Wire):
    """A TAP interface. Raises IxyError without the right to make one, or if it is in use."""

    def __init__(self, interface: str) -> None:
        self.interface = interface
        self.file = open_tap(interface)
        state = np.zeros(1, TapState)
        state[0]["file"] = self.file
        self._writable = select.poll()
        self._writable.register(self.file, select.POLLOUT)
        super().__init__(pump_tap, patient=True, state=state)

    @property
    def link(self) -> bool:
        """Whether the interface is there and up: only then does Linux call its file writable."""
        return any(state == select.POLLOUT for _, state in self._writable.poll(0))

    def close(self) -> None:
        """Removes the interface, unless it was made to stay (`ip tuntap add`)."""
        self._writable.unregister(self.file)
        os.close(self.file)
        super().close()


def open_tap(interface: str, flags: int = 0) -> int:
    """A descriptor of a TAP interface, which is switched on. Raises IxyError as `Tap` does."""
    if not 0 < len(interface.encode()) < 16 or "/" in interface:
        raise IxyError(f"a TAP interface named {interface!r}: give it a name of 1 to 15 characters")
    mend = f"run as root, or: sudo ip tuntap add {interface} mode tap user $USER"
    try:
        file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise IxyError(f"no TAP interfaces here (/dev/net/tun: {error.strerror}): {mend}") from None
    try:
        request = struct.pack("16sH22x", interface.encode(), IFF_TAP | IFF_NO_PI | flags)
        fcntl.ioctl(file, TUNSETIFF, request)
    except OSError as error:
        os.close(file)
        if error.errno == errno.EBUSY:
            raise IxyError(
                f"TAP interface {interface} is already open: choose another name"
            ) from None
        if error.errno == errno.EINVAL:
            raise IxyError(f"{interface} is no TAP interface: choose another name") from None
        raise IxyError(f"TAP interface {interface}: {error.strerror}: {mend}") from None
    _set_up(interface)
    return file


def _set_up(interface: str) -> None:
    """Switches the interface on, as plugging a cable in would; without the right to, its owner
    must.
    """
    SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1  # linux/sockios.h, linux/if.h
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH22x", interface.encode(), 0)
        flags = struct.unpack_from("16xH", fcntl.ioctl(control, SIOCGIFFLAGS, request))[0]
        request = struct.pack("16sH22x", interface.encode(), flags | IFF_UP)
        with suppress(OSError):
            fcntl.ioctl(control, SIOCSIFFLAGS, request)


def pump_tap(address):
    """Reads and writes frames until there are no more, or for a burst."""
    wire = array_at(address, 1, WireRecord)[0]
    state = array_at(wire.state, 1, TapState)[0]
    rewind(wire.rx)
    for _ in range(BURST):
        target = reserve(wire.rx, LONGEST)
        if target == 0:
            break
        count = np.int64(read_file(state.file, target, LONGEST))
        if count <= 0:
            break
        if count < SHORTEST:
            array_at(target + np.uint64(count), SHORTEST - count, np.uint8)[:] = 0
            count = np.int64(SHORTEST)
        commit(wire.rx, count)
    for _ in range(BURST):
        frame, length = peek(wire.tx)
        if length == 0:
            break
        written = write_file(state.file, frame, length)
        if written == -EAGAIN:
            break
        if written < 0:
            wire.lost += 1
        drop(wire.tx, length)
