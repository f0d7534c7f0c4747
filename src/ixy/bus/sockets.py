"""Unix sockets: streams of bytes, with descriptors beside them."""

import array
import errno
import os
import socket
import stat
import struct
import time
from collections.abc import Sequence

from ixy.errors import IxyError

_DESCRIPTOR = array.array("i").itemsize
MOST_FILES = 16  # descriptors beside what is taken at once


class Broken(IxyError):
    """The other end has gone, does not answer, or does not keep to the protocol."""


class Stream:
    """One end of a connection. Both ways, what takes longer than `patience` seconds is Broken."""

    def __init__(self, connection: socket.socket, patience: float) -> None:
        self._socket, self._patience = connection, patience
        span = struct.pack("ll", int(patience), int(patience % 1 * 1e6))  # struct timeval
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, direction, span)

    def fileno(self) -> int:
        """The socket's descriptor, to poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def give(self, data: bytes, files: Sequence[int] = ()) -> None:
        """Sends bytes, and descriptors beside them. Raises Broken."""
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
        try:
            sent = self._socket.sendmsg([data], beside)
            if sent < len(data):
                self._socket.sendall(data[sent:])
        except OSError as error:
            raise Broken(f"cannot send: {error.strerror}") from None

    def take(self, size: int) -> tuple[bytes, list[int]]:
        """So many bytes, and the descriptors beside them. Raises Broken, too, if they come one by
        one.
        """
        deadline = time.monotonic() + self._patience
        data = b""
        files: list[int] = []
        while len(data) < size:
            try:
                part, beside, _, _ = self._socket.recvmsg(
                    size - len(data),
                    socket.CMSG_SPACE(MOST_FILES * _DESCRIPTOR),
                    socket.MSG_WAITALL | socket.MSG_CMSG_CLOEXEC,
                )
            except BlockingIOError:
                part, beside, reason = b"", [], "it does not answer"
            except OSError as error:
                part, beside, reason = b"", [], str(error.strerror)
            else:
                reason = "it has closed the connection"
            for level, kind, content in beside:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    whole = len(content) - len(content) % _DESCRIPTOR
                    files += array.array("i", content[:whole])
            data += part
            if len(data) < size and time.monotonic() > deadline:
                part, reason = b"", "it does not answer"
            if not part:
                close_all(files)
                raise Broken(reason)
        return data, files


def connect(path: str) -> socket.socket:
    """A connection to who listens there. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def close_all(files: Sequence[int]) -> None:
    """Closes descriptors."""
    for file in files:
        os.close(file)


def listen(path: str) -> socket.socket:
    """A socket that others can connect to; one on which nobody listens any more is replaced. Raises
    IxyError if there is something else.
    """
    listener = socket.socket(socket.AF_UNIX)
    try:
        try:
            listener.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _remove_stale(path)
            listener.bind(path)
        listener.listen()
    except OSError as error:
        listener.close()
        reason = error.strerror or error
        raise IxyError(f"{path}: {reason}: choose another path for the socket") from None
    except IxyError:
        listener.close()
        raise
    return listener


def _remove_stale(path: str) -> None:
    """Removes a socket on which nobody listens. Raises IxyError if one does."""
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        raise IxyError(f"{path}: a file that is no socket: choose another path, or remove it")
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise IxyError(f"{path}: another server serves it: choose another path")
    os.unlink(path)
