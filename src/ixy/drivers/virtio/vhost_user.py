"""A virtio device in another process, without PCI: the front end of the vhost-user protocol.

The back end maps our memory and works on our rings. When it has gone, however it went, a thread of
ours waits for the next one: rings begin anew, packets that it had not sent are lost and counted.
Addresses are those of this process, for the back end as for us: no two kinds to mix up.
"""

import array
import os
import select
import socket
import stat
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ixy.bus.function import Doorbell
from ixy.datasheets import vhost_user as sheet
from ixy.datasheets.vhost_user import Protocol, Request
from ixy.datasheets.virtio import Feature
from ixy.drivers.virtio.transport import Areas, Transport
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory

PATIENCE = 2.0  # seconds that the back end has for an answer
LISTENING = 60.0  # and to connect, the first time
RETRY = 0.05  # seconds between two tries to find the next one
MOST = 32768  # descriptors of a ring (2.7)
# A back end moves packets and no more: what configures a device is not its affair
OTHERS = (
    Feature.MAC | Feature.STATUS | Feature.SPEED_DUPLEX | Feature.ACCESS_PLATFORM
    | Feature.CTRL_VQ | Feature.CTRL_RX | Feature.CTRL_VLAN | Feature.CTRL_MAC_ADDR
)  # fmt: skip


class Broken(IxyError):
    """The back end has gone, does not answer, or does not keep to the protocol."""


class VhostUser(Transport):
    """The back end at a socket: `path` is where it listens or, if we `listen`, where it connects
    to. Raises IxyError if it cannot be reached.
    """

    likes_huge = True

    def __init__(self, address: str, path: str, *, listen: bool) -> None:
        self.address, self._path = address, path
        self._server = _listen(address, path) if listen else None
        self._socket: socket.socket | None = None
        self._protocol = Protocol(0)
        self._features = Feature(0)
        self._memories: list[DmaMemory] = []
        self._rings: list[tuple[Areas, int, int]] = []  # and the eventfds, of kick and call
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._watcher = threading.Thread(target=self._watch, name="ixy-vhost-user", daemon=True)
        self._error: IxyError | None = None

    def begin(self) -> Feature:
        """What the back end offers, of what concerns rings."""
        try:
            self._meet(LISTENING)
            offered = self._greet()
        except BaseException:
            self.close()
            raise
        return offered & ~(OTHERS if self._protocol & Protocol.MQ else OTHERS | Feature.MQ)

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

    def start_queue(self, index: int, areas: Areas) -> Doorbell:
        """Told by `go`. An eventfd notifies the back end; another, which nobody reads, us."""
        kick, call = (os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(2))
        self._rings.append((areas, kick, call))
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
        with suppress(Broken):
            for index in range(len(self._rings)):
                self._ask(Request.GET_VRING_BASE, sheet.RING_STATE.pack(index, 0), sheet.RING_STATE)

    def dma_map(self, memory: DmaMemory) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Told by `go`. Raises IxyError if there are more than the protocol has room for."""
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
        """Hangs up."""
        self._hang_up()
        if self._server:
            self._server.close()
            self._server = None
            with suppress(OSError):
                os.unlink(self._path)
        for _, kick, call in self._rings:
            os.close(kick)
            os.close(call)
        self._rings.clear()
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1

    @property
    def connected(self) -> bool:
        """Whether a back end is there."""
        return self._socket is not None

    def check(self) -> None:
        """Raises IxyError if no back end can be had any more."""
        if self._error:
            raise self._error

    def _meet(self, seconds: float) -> None:
        """Connects, or waits so long to be connected to."""
        if self._server is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(self._path)
            except OSError as error:
                connection.close()
                raise IxyError(f"{self.address}: {_why_not(self._path, error)}") from None
        else:
            self._server.settimeout(seconds)
            try:
                connection, _ = self._server.accept()
            except OSError:
                raise IxyError(
                    f"{self.address}: no back end has connected within {seconds:g} s"
                ) from None
        connection.settimeout(PATIENCE)
        self._socket = connection

    def _hang_up(self) -> None:
        connection, self._socket = self._socket, None
        if connection:
            connection.close()

    def _greet(self) -> Feature:
        """The features of both, and how many queue pairs there are."""
        offered = Feature(self._number(Request.GET_FEATURES))
        self._protocol, self.pairs = Protocol(0), 1
        if offered & Feature.PROTOCOL_FEATURES:
            known = Protocol(self._number(Request.GET_PROTOCOL_FEATURES))
            taken = known & (Protocol.MQ | Protocol.REPLY_ACK)
            self._send(Request.SET_PROTOCOL_FEATURES, sheet.NUMBER.pack(taken))
            self._protocol = taken
            if taken & Protocol.MQ:
                self.pairs = self._number(Request.GET_QUEUE_NUM)
        self._offered = offered
        return offered

    def _tell(self) -> None:
        """Memory and rings. In this order; what is left out, no back end complains of."""
        extra = self._offered & Feature.PROTOCOL_FEATURES
        self._set(Request.SET_OWNER)
        self._set(Request.SET_FEATURES, sheet.NUMBER.pack(self._features | extra))
        table = sheet.MEMORY.pack(len(self._memories), 0)
        for memory in self._memories:
            table += sheet.REGION.pack(memory.address, memory.size, memory.address, 0)
        self._set(Request.SET_MEM_TABLE, table, [memory.file for memory in self._memories])
        base = sheet.PACKED_BASE if self._features & Feature.RING_PACKED else 0
        for index, (areas, kick, call) in enumerate(self._rings):
            addresses = areas.descriptors, areas.device, areas.driver, 0
            self._set(Request.SET_VRING_NUM, sheet.RING_STATE.pack(index, areas.size))
            self._set(Request.SET_VRING_BASE, sheet.RING_STATE.pack(index, base))
            self._set(Request.SET_VRING_ADDR, sheet.RING_ADDRESS.pack(index, 0, *addresses))
            self._set(Request.SET_VRING_CALL, sheet.NUMBER.pack(index), [call])
            self._set(Request.SET_VRING_KICK, sheet.NUMBER.pack(index), [kick])
        if extra:  # rings are disabled then, until they are told otherwise
            for index in range(len(self._rings)):
                self._set(Request.SET_VRING_ENABLE, sheet.RING_STATE.pack(index, 1))

    def _watch(self) -> None:
        """Waits until the back end goes, and then for the next one."""
        while True:
            if self._socket and self._woken(self._socket):
                return
            self._hang_up()
            if self._woken(None):
                return
            try:
                self._meet(RETRY)
                if missing := self._features & ~self._greet():
                    lacks = f"the new back end does not offer {missing.name}"
                    raise IxyError(f"{self.address}: {lacks}: restart both")
                self.restarted()
                self._tell()
                self._error = None
            except IxyError as error:
                if self._socket and not isinstance(error, Broken):
                    self._error = error  # it is there, but not one that we can use
                self._hang_up()

    def _woken(self, connection: socket.socket | None) -> bool:
        """Waits until we are to stop, or there is something to read: that it has gone, or what
        nobody has asked for. Without a connection, a moment.
        """
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if connection:
            poll.register(connection, select.POLLIN)
        files = [file for file, _ in poll.poll(None if connection else RETRY * 1000)]
        return self._wake in files

    def _number(self, request: Request) -> int:
        number: int = self._ask(request, b"", sheet.NUMBER)[0]
        return number

    def _set(self, request: Request, payload: bytes = b"", files: Sequence[int] = ()) -> None:
        """Tells the back end something. Raises IxyError if it says that it refuses it."""
        if not self._protocol & Protocol.REPLY_ACK:
            self._send(request, payload, files)
            return
        self._send(request, payload, files, sheet.NEED_REPLY)
        if self._receive(request, sheet.NUMBER)[0]:
            raise IxyError(f"{self.address}: the back end refuses {request.name}: see its log")

    def _ask(self, request: Request, payload: bytes, answer: struct.Struct) -> tuple[Any, ...]:
        self._send(request, payload)
        return self._receive(request, answer)

    def _send(
        self, request: Request, payload: bytes, files: Sequence[int] = (), flags: int = 0
    ) -> None:
        message = sheet.HEADER.pack(request, sheet.VERSION | flags, len(payload)) + payload
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
        try:
            if self._socket is None:
                raise OSError("it is not there")
            if self._socket.sendmsg([message], beside) < len(message):
                raise OSError("it reads nothing")
        except OSError as error:
            raise self._broken(request, str(error)) from None

    def _receive(self, request: Request, answer: struct.Struct) -> tuple[Any, ...]:
        """The payload of an answer. Descriptors beside it are closed by the kernel."""
        number, flags, size = sheet.HEADER.unpack(self._read(request, sheet.HEADER.size))
        good = flags & sheet.VERSION_MASK == sheet.VERSION and flags & sheet.REPLY
        if number != request or size != answer.size or not good:
            said = f"request {number}, flags {flags:#x}, {size} bytes"
            raise self._broken(request, f"its answer is none: {said}")
        return answer.unpack(self._read(request, size))

    def _read(self, request: Request, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                assert self._socket
                more = self._socket.recv(size - len(data))
            except OSError as error:
                raise self._broken(request, str(error)) from None
            if not more:
                raise self._broken(request, "it has hung up")
            data += more
        return data

    def _broken(self, request: Request, why: str) -> Broken:
        return Broken(
            f"{self.address}: {request.name} failed: {why}: does a vhost-user back end run there?"
        )


def _listen(address: str, path: str) -> socket.socket:
    """A socket that a back end can connect to; one that nobody listens at any more is replaced."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
                other.connect(path)
            raise IxyError(
                f"{address}: somebody listens at {path}: connect to it, without listen=1"
            )
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError as error:
        server.close()
        raise IxyError(f"{address}: {_why_not(path, error)}") from None
    try:
        server.bind(path)
        server.listen(1)
    except OSError as error:
        server.close()
        raise IxyError(f"{address}: {_why_not(path, error)}") from None
    return server


def _why_not(path: str, error: OSError) -> str:
    """What is wrong with a socket, and what to do."""
    if isinstance(error, FileNotFoundError):
        return f"there is no {path}: start the back end first, or let it connect: ?listen=1"
    if isinstance(error, PermissionError):
        return f"no permission on {path}: sudo chown $USER {path}"
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens at {path}: start the back end again"
    return f"{path}: {error.strerror or error}: name the back end's socket"
