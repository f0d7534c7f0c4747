"""A vfio-user client made of literal bytes, and a server in a thread: what their tests share."""

import array
import json
import os
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

from ixy.emulator.intel82599.model import Intel82599
from ixy.emulator.runner import RUNNER
from ixy.emulator.server import Server
from rig import MAC, Bench

VERSION, DMA_MAP, DMA_UNMAP, INFO, REGION_INFO, IRQ_INFO = 1, 2, 3, 4, 5, 7
SET_IRQS, READ, WRITE, RESET, WRITE_MULTI = 8, 9, 10, 13, 15
TRIGGER_EVENTFD = 0x24
QEMU = {"max_msg_fds": 8, "max_data_xfer_size": 1048576, "pgsizes": 4096, "max_dma_maps": 65535}


def memfd(size: int, content: bytes = b"") -> int:
    file = os.memfd_create("test")
    os.ftruncate(file, size)
    os.pwrite(file, content, 0)
    return file


def set_irqs(flags: int, index: int, start: int, count: int, data: bytes = b"") -> bytes:
    return struct.pack("<IIIII", 20 + len(data), flags, index, start, count) + data


class Client:
    """Speaks to a server in bytes. `size` of the reply's header is checked, and its number."""

    def __init__(self, path: Path | str, capabilities: dict[str, Any] | None = None) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        self._number = 0
        if capabilities is not None:
            self.version = self.greet(capabilities)

    def greet(self, capabilities: dict[str, Any]) -> bytes:
        text = json.dumps({"capabilities": capabilities}).encode() + b"\0"
        return self.ask(VERSION, struct.pack("<HH", 0, 1) + text)

    def send(self, command: int, payload: bytes = b"", files=(), flags: int = 0) -> None:
        self._number = (self._number + 1) % 65536
        size = 16 + len(payload)
        data = struct.pack("<HHIII", self._number, command, size, flags, 0) + payload
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
        self.socket.sendmsg([data], beside)

    def reply(self) -> tuple[int, bytes, list[int]]:
        """errno (0 if all went well), payload, descriptors."""
        data, files, _, _ = socket.recv_fds(self.socket, 1 << 20, 16)
        if not data:
            raise ConnectionResetError
        number, _, size, flags, error = struct.unpack_from("<HHIII", data)
        assert (number, size, flags & 0xF) == (self._number, len(data), 1)
        assert bool(flags & 0x20) == bool(error)
        return error, data[16:], list(files)

    def ask(self, command: int, payload: bytes = b"", files=()) -> bytes:
        """The payload of a reply without an error."""
        self.send(command, payload, files)
        error, data, _ = self.reply()
        assert error == 0, os.strerror(error)
        return data

    def refused(self, command: int, payload: bytes = b"", files=()) -> int:
        """The errno of a command that fails."""
        self.send(command, payload, files)
        error, data, _ = self.reply()
        assert error
        assert data == b""
        return error

    def read(self, offset: int, size: int = 4, region: int = 0) -> int:
        place = struct.pack("<QII", offset, region, size)
        data = self.ask(READ, place)
        assert data[:16] == place
        assert len(data) == 16 + size
        return int.from_bytes(data[16:], "little")

    def write(self, offset: int, value: int, size: int = 4, region: int = 0) -> None:
        place = struct.pack("<QII", offset, region, size)
        assert self.ask(WRITE, place + value.to_bytes(size, "little")) == place

    def map(self, iova: int, size: int, file: int | None, flags: int = 3, offset: int = 0) -> None:
        fields = struct.pack("<IIQQQ", 32, flags, offset, iova, size)
        assert self.ask(DMA_MAP, fields, [] if file is None else [file]) == b""

    def unmap(self, iova: int, size: int) -> None:
        fields = struct.pack("<IIQQ", 24, 0, iova, size)
        assert self.ask(DMA_UNMAP, fields) == fields

    def close(self) -> None:
        self.socket.close()


class Serving:
    """A server in a thread. Its model runs in the emulator's thread, or when the test steps it."""

    def __init__(self, path: Path, wire: Any = None, *, runs: bool = False) -> None:
        self.path, self.wire = path / "nic.sock", wire or Bench()
        self.model = Intel82599(self.wire, MAC)
        self.notes: list[str] = []
        self.server = Server(str(self.path), self.model, self.notes.append)
        self._runs = runs
        if runs:
            RUNNER.attach(self.model)
            while not self.model.settled:
                time.sleep(0.001)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        self.server.serve(self._end.is_set)

    def client(self, capabilities: dict[str, Any] | None = None) -> Client:
        return Client(self.path, QEMU if capabilities is None else capabilities)

    def __enter__(self) -> "Serving":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._end.is_set() or self._thread.is_alive(), "the server has ended by itself"
        self.die()
        if not self._runs or RUNNER.detach(self.model):
            self.model.close()

    def die(self) -> None:
        """The server ends; its clients see what they would see of one that was killed."""
        self._end.set()
        self._thread.join()
        self.server.close()
