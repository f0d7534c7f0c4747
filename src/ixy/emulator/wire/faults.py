"""Faults that a wire has on purpose, each frame of which is counted: what a measurement must find.

Options of any wire, for what the port sends: `loss=`, `corrupt=`, `duplicate=` and `reorder=` take
N, for every N-th frame, or a probability such as 0.001 (`seed=`, so that it can be repeated). A
frame meets at most one of them, the first in this order. `behind=3`: so many frames pass one that
is reordered. `rate=PPS`: what comes faster is dropped, but for `burst=` frames at once.
"""

import numpy as np

from ixy.compiled import inner
from ixy.emulator.wire.base import Wire, WireRecord
from ixy.emulator.wire.between import Between, pump_beyond
from ixy.emulator.wire.frames import LONGEST, drop, is_full, peek, put, rewind
from ixy.errors import IxyError
from ixy.memory.ordered import address_of, array_at, copy_bytes
from ixy.system import now
from ixy.traffic.chance import draw, seeded

LOSS, CORRUPT, DUPLICATE, REORDER = range(4)
FAULTS = ("loss", "corrupt", "duplicate", "reorder")
DONE = ("lost", "corrupted", "duplicated", "reordered")  # what has become of frames, in this order
HEADERS = 42  # bytes of Ethernet, IPv4 and UDP: damage is done behind them
PATIENCE = 1_000_000  # ns that a frame is held back at most, when none comes to pass it
LEAST_BURST, BURST_TIME = 1024, 0.002  # frames, or seconds at the rate: a thread that stood still
# for a moment has so much to catch up with

FaultState = np.dtype(
    [
        ("beyond", "u8"),
        ("frames", "u8"),  # that came from the port
        ("random", "u8"),
        ("every", "u8", 4),  # of each fault: it strikes every so many frames,
        ("chance", "u8", 4),  # or with a chance of so many in 2**32
        ("done", "u8", 4),
        ("gap", "f8"),  # ns between frames at `rate`; 0 without
        ("burst", "f8"),  # ns of that time that may be used ahead
        ("next", "f8"),  # when the next frame would come at that rate
        ("over_rate", "u8"),
        ("held", "u8"),  # where a frame that is held back is kept,
        ("length", "i8"),  # its length, 0 if there is none,
        ("since", "i8"),
        ("passed", "i8"),  # how many have passed it
        ("behind", "i8"),  # and how many should
    ]
)


class Faulty(Between):
    """Another wire with faults. Raises IxyError for values that there are not."""

    OPTIONS = frozenset({*FAULTS, "seed", "behind", "rate", "burst"})

    def __init__(
        self,
        beyond: Wire,
        *,
        seed: int = 1,
        behind: int = 3,
        rate: str | float = 0,
        burst: int = 0,
        **faults: str | int,
    ) -> None:
        state = np.zeros(1, FaultState)
        for name, value in faults.items():
            every, chance = _how_often(name, value)
            state[0]["every"][FAULTS.index(name)] = every
            state[0]["chance"][FAULTS.index(name)] = chance
        if rate:
            pps = _number("rate", rate, 1, 1e9)
            state[0]["gap"] = 1e9 / pps
            frames = burst and _number("burst", burst, 1, 1e9)
            state[0]["burst"] = (frames or max(LEAST_BURST, pps * BURST_TIME)) * 1e9 / pps
        state[0]["random"] = seeded("faults", int(_number("seed", seed, 1, 2**63)))
        state[0]["behind"] = int(_number("behind", behind, 1, 10**6))
        self._held = np.zeros(LONGEST, np.uint8)
        state[0]["held"] = address_of(self._held)
        super().__init__(beyond, pump_faults, state)

    @property
    def under_way(self) -> bool:
        """Whether a frame is held back for others to pass it."""
        assert self.state is not None
        return bool(self.state[0]["length"]) or super().under_way

    def drops(self) -> dict[str, int]:
        """Frames that it lost on purpose, besides those of the wire beyond."""
        assert self.state is not None
        own = {"wire_over_rate": int(self.state[0]["over_rate"])}
        return super().drops() | own | {"wire_fault": int(self.state[0]["done"][LOSS])}

    def planted(self) -> dict[str, int]:
        """How many frames it has lost, corrupted, duplicated, reordered, and dropped above the
        rate.
        """
        assert self.state is not None
        done = dict(zip(DONE, map(int, self.state[0]["done"]), strict=True))
        return super().planted() | done | {"over_rate": int(self.state[0]["over_rate"])}


def _how_often(name: str, value: str | int) -> tuple[int, int]:
    """Every so many frames, or a chance in 2**32."""
    number = _number(name, value, 1e-9, 1e18)
    if number >= 1 and number != int(number):
        raise IxyError(f"{name}={value}: give it N, for every N-th frame, or a probability below 1")
    return (int(number), 0) if number >= 1 else (0, max(round(number * 2**32), 1))


def _number(name: str, value: str | float, least: float, most: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not least <= number <= most:
        raise IxyError(f"{name}={value}: give it a number from {least:g} to {most:g}")
    return number


def pump_faults(address):
    """Hands on what the port has sent, or does to it what was asked for."""
    wire = array_at(address, 1, WireRecord)[0]
    state = array_at(wire.state, 1, FaultState)[0]
    target = array_at(state.beyond, 1, WireRecord)[0].tx
    time = now()
    frame, length = peek(wire.tx)
    while length and not is_full(target):
        if state.gap == 0 or conforms(state, time):
            pass_on(state, target, frame, length, time)
        drop(wire.tx, length)
        frame, length = peek(wire.tx)
    if state.length and time - state.since > PATIENCE and not is_full(target):
        release(state, target)
    rewind(wire.tx)
    pump_beyond(wire, state.beyond)


@inner
def conforms(state, time):
    """Whether a frame keeps to the rate; one that does not is dropped and counted. It is the
    generic cell rate algorithm (ITU-T I.371, annex A), in its form of virtual scheduling.
    """
    state.next = max(state.next, float(time))
    if state.next - time > state.burst:
        state.over_rate += np.uint64(1)
        return False
    state.next += state.gap
    return True


@inner
def pass_on(state, target, frame, length, time):
    """A frame on its way, with at most one fault."""
    state.frames += np.uint64(1)
    fault = next_fault(state)
    if fault == LOSS:
        state.done[LOSS] += np.uint64(1)
        return
    if fault == REORDER and state.length == 0:
        copy_bytes(state.held, frame, length)
        state.length = length
        state.since = time
        state.passed = 0
        return
    if fault == CORRUPT and length > HEADERS:
        damage(state, frame, length)
    put(target, frame, length)
    if fault == DUPLICATE:
        state.done[DUPLICATE] += np.uint64(1)
        put(target, frame, length)
    if state.length and fault != CORRUPT:
        state.passed += 1
        if state.passed == state.behind:
            release(state, target)


@inner
def next_fault(state):
    """The fault that strikes a frame, -1 for none."""
    for fault in range(4):
        every = state.every[fault]
        if every:  # those of the same N take turns
            if (state.frames + every * np.uint64(fault) // np.uint64(4)) % every == 0:
                return fault
        elif state.chance[fault] and draw(state) >> np.uint64(32) < state.chance[fault]:
            return fault
    return -1


@inner
def damage(state, frame, length):
    """Changes a byte behind the headers."""
    data = array_at(frame, length, np.uint8)
    bits = draw(state)
    place = HEADERS + np.int64(bits >> np.uint64(32)) % (length - HEADERS)
    data[place] ^= np.uint8(1 + np.int64(bits & np.uint64(0xFFFF)) % 255)
    state.done[CORRUPT] += np.uint64(1)


@inner
def release(state, target):
    """Sends on what was held back: it is reordered if a frame has passed it."""
    put(target, state.held, state.length)
    state.length = 0
    if state.passed:
        state.done[REORDER] += np.uint64(1)
