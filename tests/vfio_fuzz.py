"""Garbage for a vfio-user server: from noise to almost honest messages."""

import array
import os
import random
import socket
import struct
from contextlib import suppress

from vfio_client import QEMU, Client

COMMANDS = (2, 3, 4, 5, 7, 8, 9, 10, 15)
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 9, 16, 31, 32, 63, 64, 255, 4095, 4096, 0x6000, 0x1FFFC, 0x20000)
LARGE = (2**31 - 1, 2**31, 2**32 - 4, 2**32 - 1)
HUGE = (2**63 - 1, 2**63, 2**64 - 4096, 2**64 - 4, 2**64 - 1)
IOVA, SIZE = 0x70000000, 0x10000  # what is mapped most of the time
HOT = (0x1000, 0x1004, 0x1008, 0x1010, 0x1014, 0x1018, 0x1028, 0x2100, 0x3000, 0x5080, 0x4240)
RINGS = {  # of 8 descriptors each, and all that it takes for the device to use them
    0x1000: IOVA, 0x1004: 0, 0x1008: 128, 0x1028: 1 << 25, 0x1018: 7, 0x5080: 0x700, 0x3000: 1,
    0x6000: IOVA + 128, 0x6004: 0, 0x6008: 128, 0x4A80: 1, 0x6028: 1 << 25, 0x6018: 7,
}  # fmt: skip
HOT += (0x6000, 0x6004, 0x6008, 0x6010, 0x6018, 0x6028, 0x4A80, 0x0, 0x880, 0x808, 0x898, 0x900)


class Fuzzer:
    """Sends garbage, reads what comes back, connects again when it is thrown out."""

    def __init__(self, path: str, seed: int) -> None:
        self.path, self.random = path, random.Random(seed)
        self.memory, other = os.memfd_create("fuzz"), os.memfd_create("other")
        os.ftruncate(self.memory, 3 * SIZE)  # of which the middle is mapped
        os.ftruncate(other, SIZE)
        self.files = [os.open("/dev/null", os.O_RDWR), os.eventfd(0), other]
        self.connections = self.answered = 0  # and bytes of answers
        self.client: Client | None = None

    def run(self, count: int) -> None:
        """Sends so many messages."""
        for _ in range(count):
            if self.random.random() < 0.001:
                self._part()
            if self.client is None:
                self._connect()
            try:
                self._send(*self._message())
                self._drain()
            except (ConnectionError, TimeoutError):
                self._part()
        self._part()

    @property
    def mapped(self) -> bytes:
        """What the server may touch."""
        return os.pread(self.memory, SIZE, SIZE)

    @property
    def unmapped(self) -> bytes:
        """What the server must not have touched."""
        return os.pread(self.memory, SIZE, 0) + os.pread(self.memory, SIZE, 2 * SIZE)

    def close(self) -> None:
        for file in (self.memory, *self.files):
            os.close(file)

    def _connect(self) -> None:
        self.connections += 1
        self.client = Client(self.path)
        try:
            if self.random.random() < 0.95:
                self.client.greet(QEMU)
                self.client.map(IOVA, SIZE, self.memory, offset=SIZE)
                self._set_up(self.client)
            self.client.socket.setblocking(False)
        except ConnectionError:
            self._part()

    def _set_up(self, client: Client) -> None:
        """Rings whose descriptors name buffers in the mapped memory, at its ends, beyond."""
        for slot in range(16):
            edge = self.random.choice((0x4000, SIZE - 60, SIZE - 1, SIZE, -1, -0x1000))
            edge = edge if slot % 8 > 2 else 0x2000  # the first fault stops a queue
            command = self.random.choice((0x2B30003C, 0x2B30FFFF, 0x20300010, self._number()))
            data = struct.pack("<QII", IOVA + edge, command & 0xFFFFFFFF, 60 << 14)
            os.pwrite(self.memory, data, SIZE + 16 * slot)
        client.write(4, 6, 2, region=7)
        for offset, value in RINGS.items():
            client.write(offset, value)

    def _part(self) -> None:
        """Ends the connection when all that was sent has been handled."""
        if self.client:
            with suppress(ConnectionError):
                self.client.socket.shutdown(socket.SHUT_WR)
                while True:
                    self._drain(wait=10)
            self.client.close()
        self.client = None

    def _send(self, data: bytes, files: list[int]) -> None:
        if self.client is None:
            return
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
        try:
            self.client.socket.sendmsg([data], beside)
        except BlockingIOError:
            self._drain(wait=5)

    def _drain(self, wait: float = 0) -> None:
        """Takes the replies that are there: a client who reads nothing would be thrown out."""
        assert self.client
        try:
            self.client.socket.settimeout(wait)
            data, files, _, _ = socket.recv_fds(self.client.socket, 1 << 16, 16)
        except BlockingIOError:
            return
        for file in files:
            os.close(file)
        if not data:
            raise ConnectionResetError
        self.answered += len(data)

    def _message(self) -> tuple[bytes, list[int]]:
        choose = self.random.random()
        files: list[int] = []
        if choose < 0.0005:
            return self.random.randbytes(self.random.randrange(1, 200)), files
        command = self.random.choice(COMMANDS)
        if choose < 0.5:  # registers, rings in the mapped memory, configuration
            command, payload = 10, self._write()
        else:
            payload = self._payload(command)
        if command in (2, 8) and self.random.random() < 0.8:
            files = [self.random.choice(self.files) for _ in range(self.random.randrange(4))]
        size = 16 + len(payload)
        flags = self.random.choice((0, 0, 0, 0x10))
        if choose > 0.998:
            command = 13  # a reset
        if choose > 0.999:
            command, flags = self.random.randrange(65536), self.random.randrange(64)
        if choose > 0.9999:
            size = self.random.choice((*NUMBERS, *LARGE))
        return struct.pack("<HHIII", 1, command, size, flags, 0) + payload, files

    def _write(self) -> bytes:
        region = self.random.choice((0, 0, 0, 0, 0, 7, 2, 4))
        offset = self.random.choice(HOT) if region == 0 else self.random.randrange(0, 256, 4)
        value = self.random.choice(
            (IOVA, IOVA + 0x80, 128, 1 << 25, 7, self._number() & 0xFFFFFFFF)
        )
        return struct.pack("<QIII", offset, region, 4, value)

    def _number(self) -> int:
        return self.random.choice((*NUMBERS, *LARGE, *HUGE, self.random.getrandbits(64)))

    def _payload(self, command: int) -> bytes:
        """Numbers at the edges, in the places where the command has its fields."""
        words = [self._number() & 0xFFFFFFFF for _ in range(5)]
        long = [self._number() for _ in range(3)]
        if command == 2:
            payload = struct.pack("<IIQQQ", *words[:2], *long)
        elif command == 3:
            payload = struct.pack("<IIQQ", *words[:2], self.random.choice((IOVA, long[0])), SIZE)
        elif command == 5:
            payload = struct.pack("<IIIIQQ", *words[:4], *long[:2])
        elif command == 8:
            flags = self.random.choice((0x21, 0x22, 0x24, 0x09, 0x11, words[1]))
            payload = struct.pack("<IIIII", words[0], flags, *words[2:])
        elif command in (9, 10):
            place = long[0], self.random.choice((0, 2, 4, 7, words[0])), words[1]
            payload = struct.pack("<QII", *place)
        else:
            payload = struct.pack("<IIII", *words[:4])
        keep = len(payload) if self.random.random() < 0.9 else self.random.randrange(len(payload))
        return payload[:keep] + self.random.randbytes(self.random.choice((0, 0, 1, 4, 8)))
