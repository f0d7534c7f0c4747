"""A card in another process: `ixy emulate`, or another server that speaks vfio-user.

Registers are reached by messages, doorbells as memory that the server shares. The device reaches
what was mapped for it, through the descriptors of that memory.
"""

import json
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ixy.bus.foreign import ForeignMemory
from ixy.bus.function import Bar, PciFunction
from ixy.bus.iova import Range, place
from ixy.bus.messages import Channel, Message
from ixy.bus.sockets import Broken, close_all, connect
from ixy.datasheets import vfio
from ixy.datasheets import vfio_user as sheet
from ixy.datasheets.vfio_user import Command
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory

PATIENCE = 5.0  # seconds for a reply: a server may share one core with many others
REACH = [Range(0, 2**64 - 1)]  # no IOMMU limits the addresses
CAPABILITIES = {sheet.MAX_FDS: sheet.FILES, sheet.MAX_TRANSFER: sheet.TRANSFER}
NONSENSE = ValueError, TypeError, AttributeError, LookupError, OSError, struct.error
OURS = {sheet.BY_MESSAGE: True, sheet.FAR_END: True}


class VfioUserFunction(PciFunction):
    """The PCI function that a server shows at a socket. Raises IxyError if there is none.

    A server that dies is a card that was pulled out: `check` and the registers say so,
    configuration space reads as ones.
    """

    def __init__(self, address: str, path: str) -> None:
        self.address = address
        self._turn = threading.Lock()
        self._number = 0  # of the last message
        self._gone: IxyError | None = None
        self._iovas: dict[int, Range] = {}
        self._eventfds: list[int] = []
        self._bars: dict[int, MessageBar] = {}
        self._channel = Channel(_connect(address, path), PATIENCE)
        try:
            self._agreed = self._agree()
        except BaseException:
            self.close()
            raise

    def _agree(self) -> dict[str, Any]:
        """Agrees on a version; returns the server's capabilities."""
        text = json.dumps({"capabilities": CAPABILITIES | OURS}).encode() + b"\0"
        version = sheet.VERSION.pack(major=sheet.MAJOR, minor=sheet.MINOR)
        try:
            reply = self.ask(Command.VERSION, version + text).payload
        except IxyError:
            raise IxyError(
                f"{self.address}: the server ends the connection: it has another client, or"
                f" does not speak version {sheet.MAJOR} of vfio-user"
            ) from None
        with self.understanding():
            if sheet.VERSION.unpack(reply).major != sheet.MAJOR:
                raise IxyError(f"{self.address}: the server speaks another version of vfio-user")
            text = reply[sheet.VERSION.size :].rstrip(b"\0")
            known = dict[str, Any](json.loads(text or "{}").get("capabilities", {}))
            return known | {sheet.MAX_FDS: max(int(known.get(sheet.MAX_FDS, 1)), 1)}

    @contextmanager
    def understanding(self) -> Iterator[None]:
        """Raises IxyError for what a server says that cannot be, or that makes no sense."""
        try:
            yield
        except NONSENSE as reason:
            raise IxyError(
                f"{self.address}: what the server says makes no sense ({reason}): restart it"
            ) from None

    def ask(self, command: Command, payload: bytes = b"", files: Sequence[int] = ()) -> Message:
        """Sends a command, returns the reply; its descriptors are closed. Raises IxyError if it is
        refused, and from the moment when the server has gone.
        """
        reply = self.ask_for_files(command, payload, files)
        close_all(reply.files)
        return reply

    def ask_for_files(self, command: Command, payload: bytes, files: Sequence[int] = ()) -> Message:
        """As `ask`, but the reply's descriptors are the caller's."""
        with self._turn:
            self._send(command, payload, files, 0)
            try:
                reply = self._channel.receive()
                self._must_answer(reply, command)
            except Broken as failure:
                raise self._lose(failure) from None
        if reply.header.flags & sheet.ERROR:
            close_all(reply.files)
            reason = os.strerror(reply.header.error)
            raise IxyError(f"{self.address}: the server refuses {command.name}: {reason}")
        return reply

    def _must_answer(self, reply: Message, command: Command) -> None:
        """Raises Broken unless a message is the reply to the last one of ours."""
        head = reply.header
        expected = self._number, command, sheet.REPLY
        if (head.id, head.command, head.flags & sheet.TYPE) != expected:
            close_all(reply.files)
            raise Broken(f"it answers {command.name} with another message")

    def post(self, command: Command, payload: bytes) -> None:
        """Sends a command that needs no reply."""
        with self._turn:
            self._send(command, payload, (), sheet.NO_REPLY)

    def _send(self, command: int, payload: bytes, files: Sequence[int], flags: int) -> None:
        if self._gone:
            raise self._gone
        self._number = (self._number + 1) % 0x10000
        try:
            self._channel.send(command, payload, files, number=self._number, flags=flags)
        except Broken as reason:
            raise self._lose(reason) from None

    def _lose(self, reason: object) -> IxyError:
        """The server has gone, for good."""
        self._gone = IxyError(f"{self.address}: the device has gone: {reason}")
        return self._gone

    # Regions

    def read(self, region: int, offset: int, size: int) -> bytes:
        """Bytes of a region, read with one access."""
        access = sheet.ACCESS.pack(offset=offset, region=region, count=size)
        data = self.ask(Command.REGION_READ, access).payload[sheet.ACCESS.size :]
        if len(data) != size:
            raise IxyError(f"{self.address}: the server gives {len(data)} bytes for {size}")
        return data

    def config_read(self, offset: int, size: int) -> int:
        """Reads 1, 2 or 4 bytes of configuration space: ones if the server has gone."""
        if self._gone:
            return (1 << 8 * size) - 1
        return int.from_bytes(self.read(vfio.CONFIG_REGION, offset, size), "little")

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Writes 1, 2 or 4 bytes of configuration space: in vain if the server has gone."""
        if not self._gone:
            access = sheet.ACCESS.pack(offset=offset, region=vfio.CONFIG_REGION, count=size)
            self.ask(Command.REGION_WRITE, access + value.to_bytes(size, "little"))

    def bar(self, index: int) -> "MessageBar":
        """A BAR. Raises IxyError if the function has none of this index."""
        if index not in self._bars:
            self._bars[index] = MessageBar(self, index)
        return self._bars[index]

    # Memory

    def dma_map(self, memory: DmaMemory) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Lets the device reach `memory`; returns where it finds each page."""
        iova = place(memory.size, REACH, self._iovas.values())
        fields = {"argsz": sheet.DMA_MAP.size, "address": iova, "size": memory.size}
        flags = sheet.DMA_READABLE | sheet.DMA_WRITEABLE
        self.ask(Command.DMA_MAP, sheet.DMA_MAP.pack(flags=flags, **fields), [memory.file])
        self._iovas[memory.address] = Range(iova, iova + memory.size - 1)
        return np.arange(iova, iova + memory.size, memory.page, dtype=np.uint64)

    def dma_unmap(self, memory: DmaMemory) -> None:
        """Ends a mapping. With the server gone, it has ended."""
        iova = self._iovas.pop(memory.address).first
        if not self._gone:
            fields = {"argsz": sheet.DMA_UNMAP.size, "address": iova, "size": memory.size}
            self.ask(Command.DMA_UNMAP, sheet.DMA_UNMAP.pack(**fields))

    # Interrupts

    def interrupts(self, count: int) -> list[int]:
        """Enables MSI-X vectors 0 to `count` - 1; returns an eventfd for each."""
        at_once = int(self._agreed.get(sheet.MAX_FDS, 1))
        self._eventfds += [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(count)]
        chosen = self._eventfds[-count:]
        for start in range(0, count, at_once):
            files = chosen[start : start + at_once]
            head = vfio.SET_IRQS.pack(
                argsz=vfio.SET_IRQS.size,
                flags=vfio.DATA_EVENTFD | vfio.TRIGGER,
                index=vfio.MSIX,
                start=start,
                count=len(files),
            )
            self.ask(Command.DEVICE_SET_IRQS, head, files)
        return chosen

    # The far end

    def _far_end(self) -> dict[str, Any]:
        """What the server knows of its wire; nothing if it is not one of ours."""
        if not self._agreed.get(sheet.FAR_END):
            return {}
        data = self.read(sheet.FAR_END_REGION, 0, sheet.FAR_END_SIZE)
        with self.understanding():
            known: dict[str, Any] = json.loads(data.rstrip(b"\0"))
            return dict(known)

    def check(self) -> None:
        """Raises IxyError if the server has gone, after a DMA fault, and for what stopped the
        wire.
        """
        waiting = select.poll()
        waiting.register(self._channel, select.POLLRDHUP)
        if not self._gone and waiting.poll(0):
            self._lose("the server has closed the connection")
        if any(bar.is_lost for bar in self._bars.values()):
            self._lose("the server has cut its memory short")
        if self._gone:
            raise self._gone
        known = self._far_end()
        if fault := known.get("fault"):
            raise IxyError(f"{self.address}: DMA fault: {fault}")
        if failure := known.get("failure"):
            raise IxyError(f"{self.address}: {failure}")

    @property
    def ended(self) -> bool | None:
        """Whether the server's wire has nothing more to bring."""
        ended: bool | None = self._far_end().get("ended")
        return ended

    @property
    def warning(self) -> str | None:
        """What the server's wire has to say."""
        warning: str | None = self._far_end().get("warning")
        return warning

    def far_end(self) -> dict[str, int]:
        """What the server's wire lost."""
        drops: dict[str, int] = self._far_end().get("drops", {})
        return drops

    def close(self) -> None:
        """Lets go of the function; the server resets it."""
        for bar in self._bars.values():
            bar.close()
        self._bars.clear()
        close_all(self._eventfds)
        self._eventfds.clear()
        self._channel.close()


class MessageBar(Bar):
    """Registers that are reached by messages, and doorbells in pages that the server shares."""

    def __init__(self, function: VfioUserFunction, index: int) -> None:
        self._function, self._index = function, index
        self._pages: list[tuple[int, ForeignMemory]] = []
        with function.understanding():
            info, data, files = self._info()
            try:
                if info.size == 0:
                    raise IxyError(f"{function.address} has no BAR {index}")
                chain = info.cap_offset if info.flags & vfio.REGION_CAPS else 0
                for area in vfio.rows(data, chain, vfio.SPARSE_MMAP, vfio.AREAS, vfio.AREA) or []:
                    start = info.offset + area.offset
                    page = ForeignMemory(files[0], start, area.size, writeable=True)
                    self._pages.append((area.offset, page))
            finally:
                close_all(files)

    def _info(self) -> tuple[Any, bytes, list[int]]:
        """The region's info, all its bytes, and descriptors: asked for again with the room that it
        needs.
        """
        room = vfio.REGION_INFO.size
        for _ in range(2):
            request = vfio.REGION_INFO.pack(argsz=room, index=self._index)
            reply = self._function.ask_for_files(Command.DEVICE_GET_REGION_INFO, request)
            try:
                info = vfio.REGION_INFO.unpack(reply.payload)
            except struct.error:
                close_all(reply.files)
                raise
            if info.argsz <= room:
                return info, reply.payload, reply.files
            close_all(reply.files)
            room = info.argsz
        raise ValueError("a region's info that does not fit into the room it asks for")

    def read(self, offset: int, size: int) -> int:
        """Reads a register. Raises IxyError if the server has gone."""
        return int.from_bytes(self._function.read(self._index, offset, size), "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Writes a register; returns before that is done, but not before an earlier one."""
        access = sheet.ACCESS.pack(offset=offset, region=self._index, count=size)
        self._function.post(Command.REGION_WRITE, access + value.to_bytes(size, "little"))

    def doorbell(self, offset: int) -> int:
        """The address of a register in a shared page. Raises IxyError if it is in none."""
        for start, page in self._pages:
            if start <= offset <= start + page.size - 4:
                return page.address + offset - start
        address = self._function.address
        raise IxyError(f"{address}: the server shares no memory for the register {offset:#x}")

    @property
    def is_lost(self) -> bool:
        """Whether the server has cut the doorbells' memory short."""
        return any(page.lost for _, page in self._pages)

    def close(self) -> None:
        """Lets go of the pages."""
        for _, page in self._pages:
            page.close()
        self._pages.clear()


def _connect(address: str, path: str) -> socket.socket:
    try:
        return connect(path)
    except OSError as error:
        reason = error.strerror or error
        start = f"start one: ixy emulate --vfio-user {path}"
        mend = "be its owner, or: sudo chmod" if isinstance(error, PermissionError) else start
        raise IxyError(f"{address}: no server at {path or 'no path'}: {reason}: {mend}") from None
