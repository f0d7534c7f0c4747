"""The messages of vfio-user on a Unix socket: whole ones, with the descriptors beside them."""

import array
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from ixy.datasheets import vfio_user as sheet
from ixy.errors import IxyError

_DESCRIPTOR = array.array("i").itemsize


class Broken(IxyError):
    """The other end has gone, does not answer, or does not keep to the protocol."""


class Message(NamedTuple):
    """A message. The descriptors are the receiver's, to close."""

    header: Any
    payload: bytes
    files: list[int]


class Channel:
    """One end of a connection. Both ways, what takes longer than `patience` seconds is Broken."""

    def __init__(self, connection: socket.socket, patience: float) -> None:
        self._socket = connection
        span = struct.pack("ll", int(patience), int(patience % 1 * 1e6))  # struct timeval
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, direction, span)

    def fileno(self) -> int:
        """The socket's descriptor, to poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def send(
        self,
        command: int,
        payload: bytes = b"",
        files: Sequence[int] = (),
        *,
        number: int,
        flags: int = 0,
        error: int = 0,
    ) -> None:
        """Sends a message with the given number. Raises Broken."""
        size = sheet.HEADER.size + len(payload)
        head = sheet.HEADER.pack(id=number, command=command, size=size, flags=flags, error=error)
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
        try:
            sent = self._socket.sendmsg([head, payload], beside)
            if sent < size:
                self._socket.sendall((head + payload)[sent:])
        except OSError as error_:
            raise Broken(f"cannot send: {error_.strerror}") from None

    def receive(self) -> Message:
        """The next message. Raises Broken."""
        head, files = self._take(sheet.HEADER.size)
        try:
            header = sheet.HEADER.unpack(head)
            if not sheet.HEADER.size <= header.size <= sheet.LONGEST:
                raise Broken(f"a message of {header.size} bytes")
            size = header.size - sheet.HEADER.size
            payload, more = self._take(size) if size else (b"", [])
            return Message(header, payload, files + more)
        except Broken:
            close_all(files)
            raise

    def _take(self, size: int) -> tuple[bytes, list[int]]:
        """So many bytes, and the descriptors beside them."""
        data = b""
        files: list[int] = []
        while len(data) < size:
            try:
                part, beside, _, _ = self._socket.recvmsg(
                    size - len(data),
                    socket.CMSG_SPACE(sheet.FILES * _DESCRIPTOR),
                    socket.MSG_WAITALL | socket.MSG_CMSG_CLOEXEC,
                )
            except OSError as error:
                part, beside, reason = b"", [], error.strerror
            else:
                reason = "it has closed the connection"
            for level, kind, content in beside:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    whole = len(content) - len(content) % _DESCRIPTOR
                    files += array.array("i", content[:whole])
            if not part:
                close_all(files)
                raise Broken(reason)
            data += part
        return data, files


def close_all(files: Sequence[int]) -> None:
    """Closes descriptors."""
    for file in files:
        os.close(file)
