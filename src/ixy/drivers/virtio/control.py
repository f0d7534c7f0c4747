"""The control queue (5.1.6.5): one command at a time, in plain Python."""

import time
from collections.abc import Callable

from ixy.datasheets import virtio as sheet
from ixy.datasheets.virtio import Control
from ixy.drivers.virtio import split
from ixy.drivers.virtio.packed import BOTH, DONE, FLAGS, ID
from ixy.drivers.virtio.ring import RingMemory
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory

TIMEOUT = 1.0  # seconds
ROOM = 2048  # bytes of a command with its data
PARTS = 3  # descriptors: command, data, answer. Old devices want them apart


class ControlQueue:
    """Sends commands. `ring` is empty, `place` is an offset in `memory`, which the device finds at
    `iova`, with room for a command; `notify` wakes the device.
    """

    def __init__(
        self,
        address: str,
        ring: RingMemory,
        memory: DmaMemory,
        place: int,
        iova: int,
        notify: Callable[[], None],
    ) -> None:
        self._address, self._ring, self._iova, self._notify = address, ring, iova, notify
        self._buffer = memory.view(place, ROOM)
        self._next, self._turn = 0, BOTH  # as in `packed`; in a split ring, commands so far
        ring.clear()

    def command(self, what: Control, data: bytes) -> None:
        """Raises IxyError if the device refuses it or does not answer."""
        answer = 2 + len(data)
        if answer >= ROOM:
            raise IxyError(f"{self._address}: {what.name} of {len(data)} bytes: at most {ROOM - 3}")
        self._buffer[:answer] = int(what).to_bytes(2, "big") + data
        self._buffer[answer] = 0xFF
        parts = (0, 2), (2, len(data)), (answer, 1)
        is_done = self._offer_packed(parts) if self._ring.is_packed else self._offer_split(parts)
        self._notify()
        deadline = time.monotonic() + TIMEOUT
        while not is_done():
            if time.monotonic() > deadline:
                raise IxyError(f"{self._address}: no answer to {what.name} within {TIMEOUT:g} s")
            time.sleep(0.0001)
        if self._buffer[answer] != sheet.CONTROL_OK:
            raise IxyError(f"{self._address}: the device refuses {what.name}")

    def _flags(self, part: int) -> int:
        return sheet.DESC_WRITE if part == PARTS - 1 else sheet.DESC_NEXT

    def _offer_split(self, parts: tuple[tuple[int, int], ...]) -> Callable[[], bool]:
        """Always the same descriptors, 0 to 2."""
        ring = self._ring
        for i, (begin, size) in enumerate(parts):
            ring.descriptors[i] = self._iova + begin, size, self._flags(i), i + 1
        entries = ring.array(ring.driver + split.RINGS, ring.entries, "u2")
        entries[self._next % ring.entries] = 0
        self._next = wanted = self._next + 1 & 0xFFFF
        ring.array(ring.driver, 1, sheet.RingHead)["index"] = wanted
        used = ring.array(ring.device, 1, sheet.RingHead)
        return lambda: bool(used[0]["index"] == wanted)

    def _offer_packed(self, parts: tuple[tuple[int, int], ...]) -> Callable[[], bool]:
        """The next three descriptors, the first one last; the device marks the first one."""
        ring, first, turn = self._ring.descriptors, self._next, self._turn
        words = []
        for i, (begin, size) in enumerate(parts):
            flags = self._turn ^ DONE | self._flags(i) << FLAGS
            words.append((self._next, flags | first << ID | size))
            ring[self._next]["address"] = self._iova + begin
            self._next += 1
            if self._next == len(ring):
                self._next, self._turn = 0, self._turn ^ BOTH
        for place, word in reversed(words):
            ring[place]["word"] = word
        return lambda: int(ring[first]["word"]) & BOTH == turn
