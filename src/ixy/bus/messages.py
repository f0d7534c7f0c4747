"""The messages of vfio-user on a Unix socket: whole ones, with the descriptors beside them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ixy.bus.sockets import Broken, Stream, close_all
from ixy.datasheets import vfio_user as sheet


class Message(NamedTuple):
    """A message. The descriptors are the receiver's, to close."""

    header: Any
    payload: bytes
    files: list[int]


class Channel(Stream):
    """A connection of vfio-user."""

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
        self.give(head + payload, files)

    def receive(self) -> Message:
        """The next message. Raises Broken."""
        head, files = self.take(sheet.HEADER.size)
        try:
            header = sheet.HEADER.unpack(head)
            if not sheet.HEADER.size <= header.size <= sheet.LONGEST:
                raise Broken(f"a message of {header.size} bytes")
            size = header.size - sheet.HEADER.size
            payload, more = self.take(size) if size else (b"", [])
            return Message(header, payload, files + more)
        except Broken:
            close_all(files)
            raise
