"""A delay that a wire has on purpose.

Options of any wire, for what the port sends: `delay=US` holds each frame so many microseconds;
`delay=US:US` is two ways of different length, the second of which a `share=0.5` of the frames
takes, at random. The emulator's thread does not sleep then. How long each frame was really held is
in a histogram: that thread may come late, and a measurement is judged by what it did.
"""

import re
from typing import Any

import numpy as np

from ixy.compiled import compiled
from ixy.emulator.wire.base import Wire, WireRecord
from ixy.emulator.wire.between import Between, pump_beyond
from ixy.emulator.wire.frames import (
    RING_BYTES,
    commit,
    drop,
    holds_frames,
    is_full,
    peek,
    put,
    reserve,
    rewind,
)
from ixy.errors import IxyError
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import address_of, array_at, copy_bytes
from ixy.system import now
from ixy.traffic.chance import draw, seeded
from ixy.traffic.histogram import Histogram, HistogramRecord, record_value

LONGEST_DELAY = 1e6  # microseconds
Stamp = np.dtype([("entered", "i8"), ("due", "i8")])  # ns; in front of each frame that is held
PREFIX = Stamp.itemsize

DelayState = np.dtype(
    [
        ("beyond", "u8"),
        ("random", "u8"),
        ("second", "u8"),  # the chance of the second way, in 2**32
        ("ways", "u8", 2),  # frame rings of what is under way
        ("delays", "i8", 2),  # ns
        ("full", "u8"),  # frames lost, as too many were under way
        ("held", "u8"),  # the histogram of each frame's time
    ]
)


class Delayed(Between):
    """Another wire, further away. Raises IxyError for values that there are not."""

    OPTIONS = frozenset({"delay", "share"})

    def __init__(self, beyond: Wire, delay: str | int = "", share: str | float = 0.5) -> None:
        delays = [_microseconds(text) for text in str(delay).split(":")]
        if len(delays) > 2:
            raise IxyError(f"delay={delay}: give it US or US:US (microseconds)")
        if not re.fullmatch(r"0|1|0?\.\d+", str(share)):
            raise IxyError(f"share={share}: give it a part from 0 to 1, such as 0.1")
        self.held = Histogram()
        self._ways = DmaMemory(2 * RING_BYTES)
        state = np.zeros(1, DelayState)
        state[0]["random"] = seeded("delay")
        state[0]["second"] = round(float(share) * 2**32) if len(delays) > 1 else 0
        state[0]["ways"] = self._ways.address, self._ways.address + RING_BYTES
        state[0]["delays"] = delays[0], delays[-1]
        state[0]["held"] = address_of(self.held.record)
        super().__init__(beyond, pump_delay, state)
        self._set(punctual=1)

    @property
    def under_way(self) -> bool:
        """Whether frames are on one of the ways."""
        ways = (holds_frames(self._ways, offset) for offset in (0, RING_BYTES))
        return any(ways) or super().under_way

    def drops(self) -> dict[str, int]:
        """Frames for which there was no room, besides those of the wire beyond."""
        assert self.state is not None
        return super().drops() | {"wire_delay_full": int(self.state[0]["full"])}

    def planted(self) -> dict[str, Any]:
        """How long frames were held, in ns."""
        return super().planted() | {"held": self.held.summary()}

    def close(self) -> None:
        """Unplugs it; what is under way is gone."""
        super().close()
        self._ways.close()


def _microseconds(text: str) -> int:
    if not re.fullmatch(r"\d{1,7}(\.\d{1,3})?", text) or float(text) > LONGEST_DELAY:
        raise IxyError(f"delay={text}: give it microseconds, up to {LONGEST_DELAY:g}")
    return round(float(text) * 1000)


def pump_delay(address):
    """Takes in what the port has sent, hands on what is due."""
    wire = array_at(address, 1, WireRecord)[0]
    state = array_at(wire.state, 1, DelayState)[0]
    frame, length = peek(wire.tx)
    while length:
        take_in(state, frame, length)
        drop(wire.tx, length)
        frame, length = peek(wire.tx)
    rewind(wire.tx)
    target = array_at(state.beyond, 1, WireRecord)[0].tx
    held = array_at(state.held, 1, HistogramRecord)[0]
    for way in state.ways:
        hand_on(way, target, held)
    pump_beyond(wire, state.beyond)


@compiled
def take_in(state, frame, length):
    """Puts a frame on one of the ways, stamped; without room it is lost."""
    way = 1 if draw(state) >> np.uint64(32) < state.second else 0
    target = reserve(state.ways[way], length + PREFIX)
    if target == 0:
        state.full += np.uint64(1)
        return
    copy_bytes(target + np.uint64(PREFIX), frame, length)
    stamp = array_at(target, 1, Stamp)[0]
    stamp.entered = now()
    stamp.due = stamp.entered + state.delays[way]
    commit(state.ways[way], length + PREFIX)


@compiled
def hand_on(way, target, held):
    """Hands on the frames of a way that are due, and counts how long they were held."""
    frame, length = peek(way)
    while length and not is_full(target):
        stamp = array_at(frame, 1, Stamp)[0]
        time = now()
        if time < stamp.due:
            break
        record_value(held, time - stamp.entered)
        put(target, frame + np.uint64(PREFIX), length - PREFIX)
        drop(way, length)
        frame, length = peek(way)
    rewind(way)
