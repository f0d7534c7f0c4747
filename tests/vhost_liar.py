"""A vhost-user back end that lies about its rings: for each lie, whether a driver must find it."""

import array
import random
import socket
import struct
from collections import Counter
from contextlib import suppress
from typing import Any

from vhost_backend import Backend, Session, Vring
from vhost_rings import AVAIL, USED, WRITE, Chain, Packed, Refused, Split

BUFFER = 2048  # bytes of a packet buffer
FRAME = bytes(range(60))


class Liar:
    """Tells lies about the rings of a back end's session, and some truth in between.

    `clean`: since the last `reset` it has told nothing that the driver may have believed. Only
    then it knows what the driver expects, and so what it must find.
    """

    def __init__(self, backend: Backend, seed: int) -> None:
        self.backend, self.random = backend, random.Random(seed)
        self.clean = True

    @property
    def session(self) -> Session:
        assert self.backend.session
        return self.backend.session

    def _vring(self, index: int) -> Vring:
        return self.session.vrings[index]

    def ring(self, index: int) -> Any:
        """0 receives (for the driver), 1 transmits."""
        return self._vring(index).ring

    def reset(self) -> None:
        """Begins anew, with a driver that does so, too."""
        packed = isinstance(self.ring(0), Packed)
        for index in (0, 1):
            vring = self._vring(index)
            kind = Packed if packed else Split
            vring.ring = kind(self.session.memory, vring.size, vring.at, 0x8000 if packed else 0)
        self.clean = True

    def truth(self) -> None:
        """Frames both ways, in good order."""
        self.backend.take(most=self.random.randrange(24))
        self.backend.give([FRAME] * self.random.randrange(12))

    def lie(self) -> tuple[str, int | None]:
        """Tells a lie; returns its name, and the number of the ring whose driver must find it."""
        must = None
        while must is None:
            kind, index = self.random.choice(LIES), self.random.randrange(2)
            must = kind(self, index)
        was_clean, self.clean = self.clean, False
        return kind.__name__, index if must and was_clean else None

    # What a lie is made of

    def _chain(self, index: int) -> Chain | None:
        """A buffer that the driver waits for."""
        return self.ring(index).next()

    def _say_used(self, index: int, number: int, length: int, chain: Chain | None = None) -> None:
        """A used element or descriptor, with all that belongs to it."""
        ring, number = self.ring(index), number & (0xFFFF if self.packed else 0xFFFFFFFF)
        if isinstance(ring, Packed):
            flags = WRITE if index == 0 else 0
            ring.write_used(number, length, chain.slots if chain else 1, flags)
        else:
            ring.write_used(number, length)

    @property
    def packed(self) -> bool:
        return isinstance(self.ring(0), Packed)

    def _looks(self, index: int) -> bool:
        """Whether the driver looks at the ids of a ring: in a split one, not at those of what was
        sent in order (2.7.14).
        """
        return index == 0 or self.packed or not self.session.has(35)

    def _some_length(self) -> int:
        return self.session.header + self.random.choice((1, 60, 1514, BUFFER))

    # The lies. Each returns whether it must be found, None if there was nothing to lie about

    def id_out_of_range(self, index: int) -> bool:
        ring = self.ring(index)
        chain = self._chain(index)
        number = self.random.choice((ring.size, ring.size + 1, 700, 0xFFFF, 1 << 31, (1 << 32) - 1))
        number = number & 0xFFFF if self.packed else number
        self._say_used(index, number, self._some_length(), chain)
        return chain is not None and self._looks(index) and number >= ring.size

    def id_twice(self, index: int) -> bool | None:
        first = self._chain(index)
        second = self._chain(index)
        if first is None:
            return None
        length = self._some_length()
        if index == 0:
            self.backend.fill(first, FRAME)
        self._say_used(index, first.id, length, first)
        self._say_used(index, first.id, length, second)
        return second is not None and self._looks(index)

    def id_never_given(self, index: int) -> bool:
        ring = self.ring(index)
        chain = self._chain(index)
        others = set(range(ring.size)) - self._in_flight(index)
        if not others or chain is None:
            self._say_used(index, self.random.randrange(ring.size), self._some_length(), chain)
            return False
        number = self.random.choice(sorted(others))
        self._say_used(index, number, self._some_length(), chain)
        return index == 0  # it may have been given before the driver looks at what was sent

    def _in_flight(self, index: int) -> set[int]:
        ring = self.ring(index)
        if isinstance(ring, Split):
            count = (ring.available[1] - ring.used_index) & 0xFFFF
            return {ring.available[2 + (ring.used_index + i) % ring.size] for i in range(count)}
        wrap, at, found = ring.used_wrap, ring.used_at, set()
        for _ in range(ring.size):
            if not ring._available(at, wrap):
                break
            found.add(ring.words[8 * at + 6])
            at += 1
            if at == ring.size:
                at, wrap = 0, wrap ^ 1
        return found

    def length_beyond(self, index: int) -> bool | None:
        header, chain = self.session.header, self._chain(index)
        if chain is None:
            return None
        if index == 0:
            self.backend.fill(chain, FRAME)
        more = header + BUFFER
        length = self.random.choice((more + 1, 4096, 65536 + 60, 1 << 31, (1 << 32) - 1, 0, 9))
        self._say_used(index, chain.id, length, chain)
        return index == 0

    def index_jumps(self, index: int) -> bool:
        ring = self.ring(index)
        if not isinstance(ring, Split):
            return self.flags_flip(index)
        jump = self.random.choice((1, 2, 31, 32, 33, ring.size, ring.size + 1, 32768, 65535))
        waiting = (ring.available[1] - ring.used_index) & 0xFFFF
        ring.used_words[1] = (ring.used_index + jump) & 0xFFFF
        # it may have sent more before it looks at what was sent, and with none there it never does
        return jump > (waiting if index == 0 else ring.size) and waiting > 0

    def flags_flip(self, index: int) -> bool:
        ring = self.ring(index)
        if isinstance(ring, Packed):
            slot = 8 * self.random.choice((ring.used_at, self.random.randrange(ring.size)))
            ring.words[slot + 7] ^= self.random.choice((USED, AVAIL, USED | AVAIL, 0xFFFF))
        else:
            ring.used_words[0] = self.random.randrange(65536)
        return False

    def phantoms(self, index: int) -> bool:
        """Used, all of them."""
        ring = self.ring(index)
        if isinstance(ring, Packed):
            for slot in range(ring.size):
                both = self.random.choice((0, USED | AVAIL))
                struct.pack_into("<IHH", ring.table, 16 * slot + 8, 80, slot, both)
        else:
            for slot in range(ring.size):
                number = self.random.randrange(ring.size)
                struct.pack_into("<II", ring.used, 4 + 8 * slot, number, 80)
            ring.used_words[1] = self.random.randrange(65536)
        return False

    def buffers_spanned(self, index: int) -> bool | None:
        """num_buffers of what arrives (5.1.6.3.1)."""
        chain = self._chain(0) if self.session.has(15) else None
        if chain is None:
            return None
        count = self.random.choice((0, 2, 3, self.ring(0).size + 1, 0xFFFF))
        chain.fill(bytes(10) + count.to_bytes(2, "little") + FRAME)
        self._say_used(0, chain.id, 12 + len(FRAME), chain)
        return False

    def ring_scribbled(self, index: int) -> bool:
        """Anything anywhere in a ring."""
        ring = self.ring(index)
        parts = (
            (ring.table, ring.driver.cast("B"), ring.device.cast("B"))
            if isinstance(ring, Packed)
            else (ring.table, ring.available.cast("B"), ring.used)
        )
        part = self.random.choice(parts)
        self._scribble(part)
        return False

    def memory_scribbled(self, index: int) -> bool:
        """Anything anywhere in what is shared."""
        self._scribble(self.random.choice(self.session.memory.regions).view)
        return False

    def _scribble(self, part: memoryview) -> None:
        size = self.random.choice((1, 2, 4, 8, 16))
        if len(part) >= size:
            at = self.random.randrange(0, len(part) - size + 1)
            part[at : at + size] = self.random.choice(
                (bytes(size), b"\xff" * size, self.random.randbytes(size))
            )


LIES = (
    Liar.id_out_of_range, Liar.id_twice, Liar.id_never_given, Liar.length_beyond, Liar.index_jumps,
    Liar.flags_flip, Liar.phantoms, Liar.buffers_spanned, Liar.ring_scribbled,
    Liar.memory_scribbled,
)  # fmt: skip


class Gossip(Backend):
    """A back end whose messages lie: of all that it says, some is honest."""

    def __init__(self, path: object, seed: int, honest: float = 0.8, **options: Any) -> None:
        self.random, self.honest = random.Random(seed), honest
        self.lies: Counter[str] = Counter()
        super().__init__(path, **options)

    def reply(self, connection: socket.socket, request: int, payload: bytes) -> None:
        if self.random.random() < self.honest:
            super().reply(connection, request, payload)
            return
        head = struct.pack("<III", request, 5, len(payload))
        noise = self.random.randbytes(self.random.choice((1, 8, 12, 20, 100)))
        number = self.random.choice(
            (0, 1, 2**15, 2**32, 2**63, 2**64 - 1, self.random.getrandbits(64))
        )
        other = struct.pack("<III", self.random.randrange(64), 5, len(payload))
        flags = struct.pack("<III", request, self.random.choice((0, 1, 4, 6, 7)), len(payload))
        size = struct.pack("<III", request, 5, self.random.choice((0, 1, 7, 9, 4096, 2**32 - 1)))
        kind, said = self.random.choice(
            (
                ("noise", noise),
                ("a number", head + number.to_bytes(8, "little")[: len(payload)]),
                ("another request", other + payload),
                ("flags", flags + payload),
                ("size", size + payload),
                ("half of it", (head + payload)[: self.random.randrange(12 + len(payload))]),
                ("nothing", b""),
                ("twice", 2 * (head + payload)),
                ("descriptors", head + payload),
            )
        )
        self.lies[kind] += 1
        files = (
            [connection.fileno()] * self.random.randrange(1, 254) if kind == "descriptors" else []
        )
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
        if said:
            connection.sendmsg([said], beside)
        if kind in ("noise", "half of it", "nothing", "size"):
            raise ConnectionError  # an answer that never ends would only wait

    def refuse(self, refusal: Refused) -> None:
        """No wonder: it was told lies."""

    def unasked(self) -> None:
        """Says something of its own accord, or hangs up."""
        with self.turn:
            connection = self._connection
            if connection is None:
                return
            self.lies["unasked"] += 1
            if self.random.random() < 0.5:
                with suppress(OSError):  # the front end has hung up
                    connection.sendall(self.random.randbytes(self.random.randrange(1, 40)))
            else:
                self.disconnect()
