"""`pcap:IN,OUT`: frames of the file IN arrive, what is sent goes to the file OUT. Either may be
empty.

Frames arrive as fast as they are taken; with `pace=real` with the gaps that they were recorded
with. A frame of fewer than 60 bytes is padded on the wire, as a network card would have. A frame
that was cut by the snap length arrives as cut.
"""

import numpy as np

from ixy.compiled import compiled
from ixy.emulator.wire.base import Wire, WireRecord
from ixy.emulator.wire.frames import LONGEST, drop, holds_frames, is_empty, peek, put, rewind
from ixy.errors import IxyError
from ixy.memory.ordered import address_of, array_at
from ixy.pcap import MAX_OVERHEAD, Frame, Reader, Writer, encode
from ixy.system import now, wall_clock

PACES = ("fast", "real")
CHUNK = 65536  # frames that are looked up at a time
BLOCK = 1024 * 1024  # bytes that are written at a time
BURST = 64  # frames per round and direction

PcapState = np.dtype(
    [
        ("frames", "u8"),  # a table of Frame, and how far it has been used
        ("count", "i8"),
        ("next", "i8"),
        ("data", "u8"),  # the file
        ("begin", "i8"),  # pace=real: when the first frame arrived, 0 before; -1 for pace=fast
        ("first", "u8"),  # and its time stamp
        ("too_long", "u8"),  # frames longer than any wire carries
        ("format", "i8"),  # of OUT; -1 if there is none
        ("block", "u8"),  # encoded, not yet written
        ("used", "i8"),
        ("encoded", "i8"),  # frames in it
    ]
)


class Pcap(Wire):
    """A wire with a file at either end. Raises PcapError for files that cannot be used."""

    OPTIONS = frozenset({"pace"})

    def __init__(self, files: str, pace: str = "fast") -> None:
        source, comma, target = files.partition(",")
        if not comma:
            raise IxyError(f"pcap:{files}: give it pcap:IN,OUT (either may be empty)")
        if pace not in PACES:
            raise IxyError(f"pace={pace}: give it one of {', '.join(PACES)}")
        self._reader = Reader(source) if source else None
        self._writer = Writer(target) if target else None
        self._block = np.zeros(BLOCK, np.uint8)
        self._failure: Exception | None = None
        state = np.zeros(1, PcapState)
        state[0]["begin"] = 0 if pace == "real" else -1
        state[0]["data"] = address_of(self._reader.data) if self._reader else 0
        state[0]["format"] = self._writer.format if self._writer else -1
        state[0]["block"] = address_of(self._block)
        super().__init__(pump_pcap, patient=True, state=state)
        self._exhausted = self._reader is None
        self.service()

    def service(self) -> None:
        """Looks up the next frames of IN, writes what was encoded to OUT."""
        super().service()
        assert self.state is not None
        state = self.state[0]
        if not self._exhausted and state["next"] == state["count"]:
            assert self._reader is not None
            self._table = self._reader.read(CHUNK)  # kept: compiled code reads it
            self._exhausted = len(self._table) == 0
            self.warning = self._reader.warning
            if state["frames"] == 0 and len(self._table):
                state["first"] = self._table["time"][0]
            state["frames"], state["count"], state["next"] = (
                address_of(self._table),
                len(self._table),
                0,
            )
        if self._writer and state["used"]:
            self._writer.write_block(self._block[: state["used"]], int(state["encoded"]))
            state["used"] = state["encoded"] = 0

    @property
    def ended(self) -> bool | None:
        """Whether all frames of IN have been handed to the port; None without IN."""
        if self._reader is None:
            return None
        return self._exhausted and not holds_frames(self.rings, 0)

    def drops(self) -> dict[str, int]:
        """Frames of IN that no wire carries."""
        assert self.state is not None
        return {"wire_too_long": int(self.state[0]["too_long"])}

    def close(self) -> None:
        """Writes the rest and closes the files."""
        self.service()
        if self._reader:
            self._reader.close()
        if self._writer:
            self._writer.close()
        super().close()


def pump_pcap(address):
    """Puts the next frames of IN on the wire, encodes those for OUT; asks for service where it
    cannot go on.
    """
    wire = array_at(address, 1, WireRecord)[0]
    state = array_at(wire.state, 1, PcapState)[0]
    rewind(wire.rx)
    frames = array_at(state.frames, state.count, Frame)
    for _ in range(BURST):
        if state.next == state.count:
            wire.service = state.count > 0
            break
        frame = frames[state.next]
        if state.begin >= 0 and not due(state, frame.time):
            break
        if frame.captured > LONGEST:
            state.too_long += np.uint64(1)
        elif not put(wire.rx, state.data + frame.offset, frame.captured):
            break
        state.next += 1
    if is_empty(wire.tx):
        return
    time = wall_clock()
    out = array_at(state.block, BLOCK, np.uint8)
    frame_at, length = peek(wire.tx)
    while length:
        if state.format >= 0:
            if BLOCK - state.used < length + MAX_OVERHEAD + 4:
                wire.service = 1
                return
            data = array_at(frame_at, length, np.uint8)
            state.used = encode(out, state.used, data, length, length, time, state.format)
            state.encoded += 1
        drop(wire.tx, length)
        frame_at, length = peek(wire.tx)
    rewind(wire.tx)


@compiled
def due(state, time):
    """Whether it is time for a frame, for pace=real."""
    if state.begin == 0:
        state.begin = now()
    return np.int64(time) - np.int64(state.first) <= now() - state.begin
