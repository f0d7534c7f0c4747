"""The two conversations with QEMU: qtest, which reaches a machine's ports and memory, and QMP, its
monitor.

A line of text each way (QEMU's manual: "QTest Device Emulation Testing Framework", "QMP").
"""

import json
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ixy.errors import IxyError

PATIENCE = 30.0  # seconds for an answer: QEMU may share one core with many others
POSTED = 64  # writes whose answers nobody has read: after some hundred QEMU would wait for us
LETTERS = {1: "b", 2: "w", 4: "l"}  # by the size of an access


class Gone(Exception):
    """QEMU does not answer any more."""


class Line:
    """A connection to QEMU on which each request is a line, and each answer."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        self.connection, self._lines = connection, connection.makefile("rb")
        self.turn = threading.Lock()  # of who asks

    def send(self, text: str, files: Sequence[int] = ()) -> None:
        """Sends a line, and descriptors with it. Raises Gone."""
        try:
            if files:
                socket.send_fds(self.connection, [text.encode()], files)
            else:
                self.connection.sendall(text.encode())
        except OSError as error:
            raise Gone(error.strerror) from None

    def receive(self) -> bytes:
        """The next line. Raises Gone."""
        try:
            line: bytes = self._lines.readline()
        except OSError as error:
            raise Gone(error.strerror or "it does not answer") from None
        if not line.endswith(b"\n"):
            raise Gone("it has closed the connection")
        return line

    def close(self) -> None:
        """Ends the conversation."""
        self._lines.close()
        self.connection.close()


class Qtest(Line):
    """Accesses to a machine's I/O ports and memory. A write returns before its answer comes."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self._owed = 0  # answers to writes

    def read(self, ports: bool, address: int, size: int) -> int:
        """Reads 1, 2 or 4 bytes of a port or of memory. Raises Gone."""
        command = ("in" if ports else "read") + LETTERS[size]
        with self.turn:
            self.send(f"{command} {address:#x}\n")
            self._settle()
            return int(self._answer(), 16)

    def write(self, ports: bool, address: int, size: int, value: int) -> None:
        """Writes 1, 2 or 4 bytes to a port or to memory. Raises Gone."""
        command = ("out" if ports else "write") + LETTERS[size]
        with self.turn:
            self.send(f"{command} {address:#x} {value:#x}\n")
            self._owed += 1
            if self._owed == POSTED:
                self._settle()

    def _settle(self) -> None:
        while self._owed:
            self._answer()
            self._owed -= 1

    def _answer(self) -> str:
        line = self.receive().decode()
        if not line.startswith("OK"):
            raise Gone(f"it refuses an access: {line.strip()}")
        return line[2:].strip()


class Monitor(Line):
    """QEMU's monitor."""

    def begin(self) -> None:
        """Waits until QEMU is there. Raises Gone."""
        self.receive()  # its greeting
        self.execute("qmp_capabilities", {})

    def execute(
        self, command: str, arguments: Mapping[str, object], files: Sequence[int] = ()
    ) -> Any:
        """What a command returns. Raises IxyError if it is refused, Gone."""
        with self.turn:
            self.send(json.dumps({"execute": command, "arguments": arguments}), files)
            reply = json.loads(self.receive())
            while "event" in reply:
                reply = json.loads(self.receive())
        if "error" in reply:
            raise IxyError(f"QEMU refuses {command}: {reply['error']['desc']}")
        return reply["return"]
