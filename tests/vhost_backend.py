"""A vhost-user back end in plain Python, by the protocol's text and by literal numbers.

It is strict: what any back end may refuse is Refused here. A refusal ends the connection, as DPDK's
does, and is kept in `refused`.
"""

import array
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

from vhost_rings import Chain, Memory, Packed, Refused, Split, must

# Features (5.1.3, 6) and vhost-user's own bit 30
CSUM, GUEST_CSUM, MRG_RXBUF, CTRL_VQ, MQ, ANY_LAYOUT = 0, 1, 15, 17, 22, 27
PROTOCOL, VERSION_1, RING_PACKED, IN_ORDER = 30, 32, 34, 35
OFFERED = (MRG_RXBUF, CTRL_VQ, MQ, ANY_LAYOUT, PROTOCOL, VERSION_1, RING_PACKED, IN_ORDER)
# Protocol features
P_MQ, P_REPLY_ACK, P_STATUS = 0, 3, 16
P_OFFERED = (P_MQ, P_REPLY_ACK)

FILES = 8  # descriptors beside a message
SIZES = {  # of a message's payload, by its request
    1: 0, 2: 8, 3: 0, 5: None, 8: 8, 9: 40, 10: 8, 11: 8, 12: 8, 13: 8, 14: 8,
    15: 0, 16: 8, 17: 0, 18: 8, 39: 8, 40: 0,
}  # fmt: skip
(GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE) = 1, 2, 3, 5
(SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE) = 8, 9, 10, 11
(SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR) = 12, 13, 14
(GET_PROTOCOL, SET_PROTOCOL, GET_QUEUE_NUM, SET_VRING_ENABLE) = 15, 16, 17, 18
SET_STATUS, GET_STATUS = 39, 40
# DPDK says SET_OWNER first, QEMU after it has asked what there is
BEFORE_OWNED = (SET_OWNER, GET_FEATURES, GET_PROTOCOL, SET_PROTOCOL, GET_QUEUE_NUM)
VERSION, REPLY, NEED_REPLY = 1, 4, 8  # flags of a message


def bits(*numbers: int) -> int:
    """A mask."""
    return sum(1 << number for number in numbers)


class Vring:
    """What messages have said of a ring."""

    def __init__(self) -> None:
        self.size = self.base = 0
        self.at: tuple[int, int, int] | None = None
        self.kick: int | None = None  # -1: without a descriptor
        self.call: int | None = None
        self.enabled = False
        self.ring: Split | Packed | None = None

    def close(self) -> None:
        """Closes its descriptors."""
        for file in (self.kick, self.call):
            if file is not None and file >= 0:
                os.close(file)
        self.kick = self.call = None
        self.ring = None


class Session:
    """A connection: its state, and the answer to each message."""

    def __init__(self, backend: "Backend") -> None:
        self.backend = backend
        self.features: int | None = None
        self.protocol = self.status = 0
        self.owned = False
        self.memory: Memory | None = None
        self.vrings: dict[int, Vring] = {}

    def close(self) -> None:
        """Lets go of all that came with messages."""
        for vring in self.vrings.values():
            vring.close()
        self.vrings.clear()
        self.memory = None

    def has(self, bit: int) -> bool:
        """Whether a feature was agreed on."""
        return bool((self.features or 0) >> bit & 1)

    @property
    def header(self) -> int:
        """Bytes in front of each packet (5.1.6)."""
        return 12 if self.has(VERSION_1) or self.has(MRG_RXBUF) else 10

    def handle(self, request: int, flags: int, payload: bytes, files: list[int]) -> bytes | None:
        """Does what a message asks for; returns the payload of the reply, None without one."""
        must(request in SIZES, f"request {request}")
        must(flags & ~NEED_REPLY == VERSION, f"flags {flags:#x}")
        size = SIZES[request]
        must(size is None or len(payload) == size, f"{len(payload)} bytes for request {request}")
        expected = self._files(request, payload)
        must(len(files) == expected, f"{len(files)} descriptors for request {request}")
        must(self.owned or request in BEFORE_OWNED, "no SET_OWNER first")
        answer = self._answers[request](self, payload, files)
        if answer is None and flags & NEED_REPLY:
            must(self.protocol >> P_REPLY_ACK & 1, "a reply is wanted, without REPLY_ACK")
            answer = bytes(8)
        return answer

    def _files(self, request: int, payload: bytes) -> int:
        if request == SET_MEM_TABLE:
            return int.from_bytes(payload[:4], "little")
        if request in (SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR):
            return 0 if payload[1] & 1 else 1
        return 0

    def _get_features(self, *_: Any) -> bytes:
        return struct.pack("<Q", self.backend.features)

    def _set_features(self, payload: bytes, _: Any) -> None:
        (features,) = struct.unpack("<Q", payload)
        more = features & ~self.backend.features
        must(not more, f"features {more:#x} were not offered")
        must(not self._running, "features change while a ring runs")
        self.features = features

    def _set_owner(self, *_: Any) -> None:
        must(not self.owned, "a second SET_OWNER")
        self.owned = True

    def _get_protocol(self, *_: Any) -> bytes:
        must(self.backend.features >> PROTOCOL & 1, "protocol features were not offered")
        return struct.pack("<Q", self.backend.protocol)

    def _set_protocol(self, payload: bytes, _: Any) -> None:
        (features,) = struct.unpack("<Q", payload)
        must(not features & ~self.backend.protocol, "protocol features that were not offered")
        self.protocol = features

    def _get_queue_num(self, *_: Any) -> bytes:
        must(self.backend.protocol >> P_MQ & 1, "GET_QUEUE_NUM without MQ")
        return struct.pack("<Q", self.backend.queues)

    def _set_mem_table(self, payload: bytes, files: list[int]) -> None:
        count, padding = struct.unpack_from("<II", payload)
        must(1 <= count <= FILES, f"{count} regions")
        must(padding == 0 and len(payload) == 8 + 32 * count, "a malformed memory table")
        rows = list(struct.iter_unpack("<QQQQ", payload[8:]))
        self.memory = Memory(rows, files)

    def _vring(self, index: int) -> Vring:
        must(index < 2 * self.backend.queues, f"ring {index}")
        return self.vrings.setdefault(index, Vring())

    def _stopped(self, index: int) -> Vring:
        vring = self._vring(index)
        must(vring.ring is None, f"ring {index} is set up while it runs")
        return vring

    def _set_num(self, payload: bytes, _: Any) -> None:
        index, size = struct.unpack("<II", payload)
        must(0 < size <= 32768, f"a ring of {size}")
        self._stopped(index).size = size

    def _set_addr(self, payload: bytes, _: Any) -> None:
        index, flags, table, used, available, _log = struct.unpack("<IIQQQQ", payload)
        must(flags == 0, "dirty logging was not offered")
        must(self.memory, "SET_VRING_ADDR before SET_MEM_TABLE")
        self._stopped(index).at = table, available, used

    def _set_base(self, payload: bytes, _: Any) -> None:
        index, base = struct.unpack("<II", payload)
        self._stopped(index).base = base

    def _get_base(self, payload: bytes, _: Any) -> bytes:
        index, _zero = struct.unpack("<II", payload)
        vring = self._vring(index)
        must(vring.ring, f"GET_VRING_BASE of ring {index}, which does not run")
        base = vring.ring.base
        vring.close()
        return struct.pack("<II", index, base)

    def _set_kick(self, payload: bytes, files: list[int]) -> None:
        vring = self._vring(payload[0])
        must(vring.kick is None, "a second kick descriptor")
        vring.kick = self._kept(files)
        must(vring.size and vring.at, f"ring {payload[0]} starts without size or addresses")
        kind = Packed if self.has(RING_PACKED) else Split
        vring.ring = kind(self.memory, vring.size, vring.at, vring.base)
        if not self.has(PROTOCOL):
            vring.enabled = True

    def _set_call(self, payload: bytes, files: list[int]) -> None:
        vring = self._vring(payload[0])
        if vring.call is not None and vring.call >= 0:
            os.close(vring.call)
        vring.call = self._kept(files)

    def _set_err(self, *_: Any) -> None:
        pass

    def _kept(self, files: list[int]) -> int:
        if not files:
            return -1
        link = os.readlink(f"/proc/self/fd/{files[0]}")
        must("eventfd" in link, f"a descriptor of {link}")
        return files.pop()

    def _set_enable(self, payload: bytes, _: Any) -> None:
        index, on = struct.unpack("<II", payload)
        must(self.has(PROTOCOL), "SET_VRING_ENABLE without protocol features")
        must(on < 2, f"SET_VRING_ENABLE {on}")
        self._vring(index).enabled = bool(on)

    def _set_status(self, payload: bytes, _: Any) -> None:
        must(self.protocol >> P_STATUS & 1, "SET_STATUS without STATUS")
        (self.status,) = struct.unpack("<Q", payload)

    def _get_status(self, *_: Any) -> bytes:
        must(self.protocol >> P_STATUS & 1, "GET_STATUS without STATUS")
        return struct.pack("<Q", self.status)

    @property
    def _running(self) -> bool:
        return any(vring.ring for vring in self.vrings.values())

    _answers: ClassVar[dict[int, Callable[..., bytes | None]]] = {
        GET_FEATURES: _get_features, SET_FEATURES: _set_features, SET_OWNER: _set_owner,
        GET_PROTOCOL: _get_protocol, SET_PROTOCOL: _set_protocol, GET_QUEUE_NUM: _get_queue_num,
        SET_MEM_TABLE: _set_mem_table, SET_VRING_NUM: _set_num, SET_VRING_ADDR: _set_addr,
        SET_VRING_BASE: _set_base, GET_VRING_BASE: _get_base, SET_VRING_KICK: _set_kick,
        SET_VRING_CALL: _set_call, SET_VRING_ERR: _set_err, SET_VRING_ENABLE: _set_enable,
        SET_STATUS: _set_status, GET_STATUS: _get_status,
    }  # fmt: skip


class Backend:
    """Answers messages in a thread; frames move when `take` and `give` are called.

    It listens at `path`, or connects to it (`connect`). Leaving its `with` ends it, and raises the
    first refusal. `buffers_sent`: num_buffers of what is sent need not be 0, as it must (5.1.6.2).
    """

    session_type = Session

    def __init__(
        self,
        path: str | Path,
        *,
        connect: bool = False,
        features: Iterable[int] = OFFERED,
        protocol: Iterable[int] = P_OFFERED,
        queues: int = 1,
        buffers_sent: bool = False,
    ) -> None:
        self.path, self._connects = str(path), connect
        self.features, self.protocol, self.queues = bits(*features), bits(*protocol), queues
        self._buffers_sent = buffers_sent
        self.session: Session | None = None
        self.requests: list[int] = []  # of the last session
        self.refused: list[Refused] = []
        self.sessions = self.signals = 0
        self.turn = threading.RLock()
        self._connection: socket.socket | None = None
        self._ending = False
        self._listener: socket.socket | None = None
        if not connect:
            with suppress(FileNotFoundError):
                os.unlink(self.path)
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(self.path)
            self._listener.listen(1)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        if kind is None and self.refused:
            raise self.refused[0]

    # Messages

    def _serve(self) -> None:
        while not self._ending:
            try:
                connection = self._next_connection()
            except OSError:
                time.sleep(0.002)
                continue
            with self.turn:
                self._connection = connection
                self.session = self.session_type(self)
                self.requests.clear()
                self.sessions += 1
            try:
                while self._answer(connection):
                    pass
            except Refused as refusal:
                self.refuse(refusal)
            except OSError:
                pass  # the front end has gone
            with self.turn:
                self._connection = None
                self.session.close()
                self.session = None
            connection.close()

    def refuse(self, refusal: Refused) -> None:
        """Remembers what the front end must not have done."""
        self.refused.append(refusal)

    def _next_connection(self) -> socket.socket:
        if self._listener:
            return self._listener.accept()[0]
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(self.path)
        except OSError:
            connection.close()
            raise
        return connection

    def _answer(self, connection: socket.socket) -> bool:
        """One message; returns whether the front end is still there."""
        head, files = receive(connection, 12)
        try:
            if not head:
                return False
            request, flags, size = struct.unpack("<III", head)
            must(size <= 4096, f"a message of {size} bytes")
            payload, more = receive(connection, size) if size else (b"", [])
            must(not more, "descriptors in the middle of a message")
            with self.turn:
                self.requests.append(request)
                answer = self.session.handle(request, flags, payload, files)
            if answer is not None:
                self.reply(connection, request, answer)
            return True
        finally:
            for file in files:
                os.close(file)

    def reply(self, connection: socket.socket, request: int, payload: bytes) -> None:
        """Sends a reply."""
        head = struct.pack("<III", request, VERSION | REPLY, len(payload))
        connection.sendall(head + payload)

    def disconnect(self) -> None:
        """Ends the connection, as a back end that dies does."""
        with self.turn:
            if self._connection:
                with suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends the back end."""
        self._ending = True
        self.disconnect()
        if self._listener:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            with suppress(FileNotFoundError):
                os.unlink(self.path)
        self._thread.join(5)

    # Frames

    def ring(self, index: int) -> Split | Packed | None:
        """A ring that runs and is enabled."""
        vring = self.session.vrings.get(index) if self.session else None
        return vring.ring if vring and vring.enabled else None

    @property
    def ready(self) -> bool:
        """Whether all rings run."""
        with self.turn:
            return all(self.ring(index) for index in range(2 * self.queues))

    def wait(self, timeout: float = 10.0) -> None:
        """Until all rings run."""
        deadline = time.monotonic() + timeout
        while not self.ready:
            if self.refused:
                raise self.refused[0]
            assert time.monotonic() < deadline, f"the rings do not run: {self.requests}"
            time.sleep(0.001)

    def take(self, queue: int = 0, most: int = 65536) -> list[bytes]:
        """Frames that the front end has sent, without the header, which must be empty."""
        frames: list[bytes] = []
        with self.turn:
            ring = self.ring(2 * queue + 1)
            while ring and len(frames) < most and (chain := ring.next()):
                must(not chain.writable, "a buffer to write, in a transmit ring")
                data = chain.read()
                must(len(data) >= self.session.header + 14, f"a frame of {len(data)} bytes")
                head = data[: self.session.header]
                checked = head[:10] if self._buffers_sent else head
                must(not any(checked), f"a header that asks for an offload: {head.hex()}")
                frames.append(data[len(head) :])
                ring.use(chain, 0)
            if frames:
                self._signal(2 * queue + 1)
        return frames

    def give(self, frames: Iterable[bytes], queue: int = 0) -> int:
        """Frames for the front end; returns how many it had buffers for."""
        given = 0
        with self.turn:
            ring = self.ring(2 * queue)
            for frame in frames:
                chain = ring.next() if ring else None
                if chain is None:
                    break
                self.fill(chain, frame)
                ring.use(chain, self.session.header + len(frame))
                given += 1
            if given:
                self._signal(2 * queue)
        return given

    def fill(self, chain: Chain, frame: bytes) -> None:
        """Writes a header and a frame; num_buffers is 1 where the header has it."""
        must(chain.writable, "a buffer to read, in a receive ring")
        header = self.session.header
        must(chain.size >= header + 1514, f"a receive buffer of {chain.size} bytes")
        chain.fill(bytes(10) + b"\1\0"[: header - 10] + frame)

    def _signal(self, index: int) -> None:
        vring = self.session.vrings[index]
        if vring.ring.wants_signals:
            self.signals += 1
            if vring.call is not None and vring.call >= 0:
                os.eventfd_write(vring.call, 1)


def receive(connection: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """So many bytes, and the descriptors beside them; none at the end."""
    data, files = b"", []
    while len(data) < size:
        part, beside, _, _ = connection.recvmsg(size - len(data), socket.CMSG_SPACE(4 * FILES))
        for level, kind, content in beside:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                files += array.array("i", content[: len(content) // 4 * 4])
        if not part:
            return b"", files
        data += part
    return data, files
