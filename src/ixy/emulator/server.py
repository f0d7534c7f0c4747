"""A process of its own for an emulated device: a vfio-user server on a Unix socket.

One client at a time: a QEMU guest, or our own driver in another process. When it has gone, however
it went, the device is as after a reset and the next one may come.
"""

import json
import os
import select
import struct
import time
from collections.abc import Callable
from contextlib import suppress

from ixy.bus.messages import Channel, Message
from ixy.bus.sockets import Broken, close_all, listen
from ixy.datasheets import vfio_user as sheet
from ixy.datasheets.vfio_user import Command
from ixy.emulator.intel82599.model import MAX_MAPPINGS, Intel82599
from ixy.emulator.vfio_device import VfioDevice, error_of

PATIENCE = 0.15  # seconds for the rest of a message: whoever sends half a one must not hold us
GREETING = 2.0  # seconds to say the version in: nobody else is served meanwhile
TICK = 100  # ms between two looks at whether to stop
OURS = {sheet.BY_MESSAGE, sheet.FAR_END}


class Server:
    """Serves a model at a socket's path; `note` is told of clients that come and go.

    A path that a dead server has left is taken over. Raises IxyError for one that is in use.
    """

    def __init__(self, path: str, model: Intel82599, note: Callable[[str], None]) -> None:
        self.path, self.device, self._note = path, VfioDevice(model), note
        self._listener = listen(path)
        self._client: Channel | None = None
        self._greeted = False  # the client's version has been agreed on
        self._since = 0.0  # when it came
        self.clients = 0  # so far

    def serve(self, until: Callable[[], bool]) -> None:
        """Serves until told to stop."""
        while not until():
            self.serve_once()

    def serve_once(self) -> None:
        """Waits a moment for something to happen, and handles it."""
        waiting = select.poll()
        waiting.register(self._listener, select.POLLIN)
        if self._client:
            waiting.register(self._client, select.POLLIN)
        ready = {file for file, _ in waiting.poll(TICK)}
        if self._client and self._client.fileno() in ready:
            self._handle_next(self._client)
        elif self._listener.fileno() in ready:
            self._welcome()
        if self._client and self.device.has_lost_memory():
            self._part("it has cut its memory short")
        if self._client and not self._greeted and time.monotonic() > self._since + GREETING:
            self._part("it does not speak")

    def close(self) -> None:
        """Lets the client go, removes the socket."""
        self._part("the server stops")
        self._listener.close()
        with suppress(FileNotFoundError):
            os.unlink(self.path)

    def _welcome(self) -> None:
        """A new client, unless there is one."""
        connection, _ = self._listener.accept()
        if self._client:
            connection.close()
            return
        self._client, self._greeted = Channel(connection, PATIENCE), False
        self._since = time.monotonic()

    def _part(self, reason: str) -> None:
        if self._client:
            self._client.close()
            self._client = None
            self.device.forget_client()
            if self._greeted:
                self._note(f"the client has gone: {reason}")

    def _handle_next(self, client: Channel) -> None:
        try:
            message = client.receive()
            try:
                self._answer(client, message)
            finally:
                close_all(message.files)
        except Broken as reason:
            self._part(str(reason))

    def _answer(self, client: Channel, message: Message) -> None:
        """Does what a message asks for, and replies unless it does not want that."""
        head, error = message.header, 0
        payload, files = b"", ()  # type: tuple[bytes, tuple[int, ...]]
        try:
            if head.command == Command.VERSION:
                payload = self._agree(message.payload)
            elif not self._greeted or head.flags & sheet.TYPE:
                raise Broken("it does not speak vfio-user")
            else:
                payload, files = self.device.obey(head.command, message.payload, message.files)
        except (OSError, struct.error) as failure:
            error = error_of(failure)
        if head.flags & sheet.NO_REPLY:
            return
        flags = sheet.REPLY | (sheet.ERROR if error else 0)
        place = {"number": head.id, "flags": flags, "error": error}
        client.send(head.command, payload, files, **place)

    def _agree(self, payload: bytes) -> bytes:
        """Agrees on a version and on capabilities, which are a subset of the client's."""
        major, minor = sheet.VERSION.unpack(payload)
        text = payload[sheet.VERSION.size :].rstrip(b"\0")
        try:
            asked = json.loads(text or "{}")["capabilities"] if text else {}
            asked = set(asked)
        except (ValueError, KeyError, TypeError, RecursionError) as problem:
            raise Broken(f"its capabilities: {problem}") from None
        if major != sheet.MAJOR:
            raise Broken(f"it speaks version {major}.{minor}")
        ours = {
            sheet.MAX_FDS: sheet.FILES,
            sheet.MAX_TRANSFER: sheet.TRANSFER,
            sheet.PAGE_SIZES: 4096,
            sheet.MAX_MAPS: MAX_MAPPINGS,
            sheet.WRITE_MULTIPLE: True,
            **dict.fromkeys(OURS, True),
        }
        agreed = {name: value for name, value in ours.items() if name in asked}
        self.device.capabilities = OURS & asked
        if not self._greeted:
            self._greeted = True
            self.clients += 1
            self._note("a client has connected")
        version = sheet.VERSION.pack(major=major, minor=min(minor, sheet.MINOR))
        return version + json.dumps({"capabilities": agreed}).encode() + b"\0"
