"""A virtio device in another process, without PCI: the front end of the vhost-user protocol.

The back end maps our memory and works on our rings. When it has gone, however it went, a thread of
ours waits for the next one: rings begin anew, packets that it had not sent are lost and counted.
Addresses are those of this process, for the back end as for us: no two kinds to mix up.
"""

import os
import select
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ixy.bus.function import Beyond, Doorbell
from ixy.bus.sockets import Broken, Stream, close_all, connect, listen
from ixy.datasheets import vhost_user as sheet
from ixy.datasheets.vhost_user import Protocol, Request
from ixy.datasheets.virtio import Feature
from ixy.drivers.virtio.transport import Transport
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory

PATIENCE = 10.0  # seconds that the back end has for an answer: some make their buffers meanwhile
LISTENING = 60.0  # and to connect, the first time
RETRY = 0.05  # seconds between two tries to find the next one
MOST = 32768  # descriptors of a ring (2.7)
# A back end moves packets and no more: what configures a device is not its affair
OTHERS = (
    Feature.MAC | Feature.STATUS | Feature.SPEED_DUPLEX | Feature.ACCESS_PLATFORM
    | Feature.CTRL_VQ | Feature.CTRL_RX | Feature.CTRL_VLAN | Feature.CTRL_MAC_ADDR
)  # fmt: skip


# Requests that are answered in any case, and the answer's payload
ANSWERS = dict.fromkeys(
    (Request.GET_FEATURES, Request.GET_PROTOCOL_FEATURES, Request.GET_QUEUE_NUM), sheet.NUMBER
) | {Request.GET_VRING_BASE: sheet.RING_STATE}


class VhostUser(Transport, Beyond):
    """The back end at a socket: `path` is where it listens or, if we are the `listener`, where it
    connects to.
    """

    likes_huge = True

    def __init__(self, address: str, path: str, *, listener: bool) -> None:
        self.address, self._path, self.beyond = address, path, self
        self._server = listen(path) if listener else None
        self._stream: Stream | None = None
        self._protocol, self._features = Protocol(0), Feature(0)
        self._memories: list[DmaMemory] = []
        self._rings: list[tuple[int, tuple[int, int, int], int, int]] = []  # and kick, call
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._watcher = threading.Thread(target=self._watch, name="ixy-vhost-user", daemon=True)
        self._error: IxyError | None = None
        self._told = False

    def begin(self) -> Feature:
        """What the back end offers, of what concerns rings. Raises IxyError if there is none."""
        self._meet(LISTENING)
        offered = self._greet() & ~OTHERS
        return offered if self._protocol & Protocol.MQ else offered & ~Feature.MQ

    def accept(self, features: Feature) -> None:
        """They are told with the rest."""
        self._features = features

    def config(self, offset: int, size: int) -> bytes:
        """None: all that it would tell is of the features that are not taken here."""
        return bytes(size)

    def set_config(self, offset: int, data: bytes) -> None:
        """Nobody but us has to know our MAC address."""

    def queue_size(self, index: int) -> int:
        """As many as the specification allows."""
        return MOST if index < 2 * (self.pairs or 1) else 0

    def start_queue(self, index: int, size: int, areas: tuple[int, int, int]) -> Doorbell:
        """Told by `go`. An eventfd notifies the back end; another, which nobody reads, us."""
        kick, call = (os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(2))
        self._rings.append((size, areas, kick, call))
        return Doorbell(file=kick)

    def go(self) -> None:
        """Tells the back end everything, and watches it from now on."""
        self._tell()
        self._watcher.start()

    def stop(self) -> None:
        """Ends the watch, and stops the rings: a ring whose base was asked for does not run."""
        if self._watcher.ident is not None:
            os.eventfd_write(self._wake, 1)
            self._watcher.join()
        with suppress(IxyError):
            for index in range(len(self._rings)):
                self._ask(Request.GET_VRING_BASE, sheet.RING_STATE.pack(index, 0))

    def dma_map(self, memory: DmaMemory) -> Any:
        """Told by `go`. Raises IxyError if there is more than the protocol has room for."""
        if len(self._memories) == sheet.MAX_REGIONS:
            most = sheet.MAX_REGIONS - 1
            raise IxyError(f"{self.address}: vhost-user has room for {most} pools: queues={most}")
        self._memories.append(memory)
        end = memory.address + memory.size
        return np.arange(memory.address, end, memory.page, dtype=np.uint64)

    def dma_unmap(self, memory: DmaMemory) -> None:
        """The next back end does not get it."""
        self._memories.remove(memory)

    def close(self) -> None:
        """Hangs up. A second call does nothing."""
        if self._wake < 0:
            return
        self._hang_up()
        if self._server:
            self._server.close()
            with suppress(OSError):
                os.unlink(self._path)
        close_all([file for ring in self._rings for file in ring[2:]] + [self._wake])
        self._wake = -1

    @property
    def connected(self) -> bool:
        """Whether a back end is there, and has been told everything."""
        return self._told

    def check(self) -> None:
        """Raises IxyError if the back end that is there is of no use."""
        if self._error:
            raise self._error

    def _meet(self, seconds: float) -> None:
        """Connects, or waits so long to be connected to."""
        try:
            if self._server is None:
                connection = connect(self._path)
            else:
                self._server.settimeout(seconds)
                connection, _ = self._server.accept()
        except OSError as error:
            raise IxyError(f"{self.address}: {_why_not(self._path, error)}") from None
        self._stream = Stream(connection, PATIENCE)

    def _hang_up(self) -> None:
        stream, self._stream, self._told = self._stream, None, False
        if stream:
            stream.close()

    def _greet(self) -> Feature:
        """Agrees on features of the protocol; returns those of the device."""
        self._protocol, self.pairs = Protocol(0), 1
        offered = Feature(self._ask(Request.GET_FEATURES))
        self._extra = offered & Feature.PROTOCOL_FEATURES
        if self._extra:
            known = Protocol(self._ask(Request.GET_PROTOCOL_FEATURES))
            taken = known & (Protocol.MQ | Protocol.REPLY_ACK)
            self._ask(Request.SET_PROTOCOL_FEATURES, sheet.NUMBER.pack(taken))
            self._protocol = taken
            if taken & Protocol.MQ:
                self.pairs = self._ask(Request.GET_QUEUE_NUM)
        return offered

    def _tell(self) -> None:
        """Memory and rings. What is left out of it, no back end complains of."""
        self._ask(Request.SET_OWNER)
        self._ask(Request.SET_FEATURES, sheet.NUMBER.pack(self._features | self._extra))
        table = sheet.MEMORY.pack(len(self._memories), 0)
        for memory in self._memories:
            table += sheet.REGION.pack(memory.address, memory.size, memory.address, 0)
        self._ask(Request.SET_MEM_TABLE, table, [memory.file for memory in self._memories])
        base = sheet.PACKED_BASE if self._features & Feature.RING_PACKED else 0
        for index, (size, areas, kick, call) in enumerate(self._rings):
            descriptors, driver, device = areas
            places = sheet.RING_ADDRESS.pack(index, 0, descriptors, device, driver, 0)
            self._ask(Request.SET_VRING_NUM, sheet.RING_STATE.pack(index, size))
            self._ask(Request.SET_VRING_BASE, sheet.RING_STATE.pack(index, base))
            self._ask(Request.SET_VRING_ADDR, places)
            self._ask(Request.SET_VRING_CALL, sheet.NUMBER.pack(index), [call])
            self._ask(Request.SET_VRING_KICK, sheet.NUMBER.pack(index), [kick])
        if self._extra:  # rings are disabled then, until they are told otherwise
            for index in range(len(self._rings)):
                self._ask(Request.SET_VRING_ENABLE, sheet.RING_STATE.pack(index, 1))
        self._told = True

    def _watch(self) -> None:
        """Waits until the back end goes, and then for the next one."""
        while not self._told_to_stop():
            self._hang_up()
            try:
                self._meet(RETRY)
                if missing := self._features & ~self._greet():
                    lacks = f"the new back end does not offer {missing.name}"
                    raise IxyError(f"{self.address}: {lacks}: restart both")
                self.restarted()
                self._tell()
                self._error = None
            except IxyError as error:
                if self._stream and not isinstance(error, Broken):
                    self._error = error  # it is there, but not one that we can use
                self._hang_up()

    def _told_to_stop(self) -> bool:
        """Waits until there is something to read: that we are to stop, that the back end has gone,
        or what nobody has asked for. Without a back end, a moment.
        """
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._stream:
            poll.register(self._stream, select.POLLIN)
        ready = poll.poll(None if self._stream else RETRY * 1000)
        return self._wake in (file for file, _ in ready)

    def _ask(self, request: Request, payload: bytes = b"", files: Sequence[int] = ()) -> Any:
        """Tells the back end something; returns its answer, if it gives one. Raises IxyError if it
        refuses, Broken if it is not there or does not keep to the protocol.
        """
        answer, flags = ANSWERS.get(request), sheet.VERSION
        if not answer and self._protocol & Protocol.REPLY_ACK:
            answer, flags = sheet.NUMBER, sheet.VERSION | sheet.NEED_REPLY
        try:
            if self._stream is None:
                raise Broken("it has gone")
            self._stream.give(sheet.HEADER.pack(request, flags, len(payload)) + payload, files)
            if answer is None:
                return 0
            number, said, size = _take(self._stream, sheet.HEADER)
            if (number, said & sheet.KIND, size) != (request, sheet.REPLY, answer.size):
                raise Broken(f"answered by {number}, flags {said:#x}, {size} bytes")
            data = _take(self._stream, answer)
        except Broken as error:
            mend = "does a vhost-user back end run there?"
            raise Broken(f"{self.address}: {request.name}: {error}: {mend}") from None
        if request not in ANSWERS and data[0]:
            raise IxyError(f"{self.address}: the back end refuses {request.name}: see its log")
        return data[0]


def _take(stream: Stream, kind: struct.Struct) -> tuple[Any, ...]:
    """A part of an answer. Descriptors that come beside it are of no use."""
    data, files = stream.take(kind.size)
    close_all(files)
    return kind.unpack(data)


def _why_not(path: str, error: OSError) -> str:
    """What is wrong with a socket, and what to do."""
    if isinstance(error, PermissionError):
        return f"no permission on {path}: sudo chown $USER {path}"
    if isinstance(error, TimeoutError):
        return f"no back end connects to {path}: start it as the client"
    return f"no back end at {path}: {error.strerror or error}: start it, or we listen: ?listen=1"
