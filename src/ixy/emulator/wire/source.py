"""`source`: saturated with frames, and a sink that counts.

Options: `size=60` bytes without the CRC; `flows=64`: frames come from so many UDP ports in turn;
`verify=1`: the sink takes only frames of a source (another port's is fine), and counts per flow
what is lost, late and damaged.
"""

import numpy as np

from ixy.compiled import compiled
from ixy.emulator.wire.base import Wire, WireRecord
from ixy.emulator.wire.frames import commit_all, drop, empty, peek, place, rewind
from ixy.errors import IxyError
from ixy.memory.ordered import address_of, array_at, copy_bytes
from ixy.traffic.templates import FIRST_PORT, Numbered, big_endian, numbered_frame, set_word

MAX_FLOWS = 1024
BURST = 256  # frames put in per round

SourceState = np.dtype(
    [
        ("frames", "u8"),  # the flows' frames, one after the other
        ("size", "u8"),  # bytes of each
        ("flows", "u8"),
        ("flow", "u8"),  # the next frame's flow
        ("number", "u8"),  # and its number: the same for all flows, one more after each turn
        ("expected", "u8"),  # verify: the number that each flow's next frame should have
        ("verify", "u8"),
        ("good", "u8"),
        ("gaps", "u8"),  # numbers left out so far
        ("late", "u8"),  # numbers below the expected one: reordered or duplicated
        ("damaged", "u8"),  # not a frame of a source
    ]
)


class Source(Wire):
    """A source of numbered frames and a sink. Raises IxyError for a size or number of flows that it
    has not.
    """

    OPTIONS = frozenset({"size", "flows", "verify"})

    def __init__(self, size: int = 60, flows: int = 64, verify: int = 0) -> None:
        if not 1 <= flows <= MAX_FLOWS:
            raise IxyError(f"{flows} flows: give the source 1 to {MAX_FLOWS}")
        if verify not in (0, 1):
            raise IxyError(f"verify={verify}: give the source 0 or 1")
        self._frames = np.frombuffer(
            b"".join(numbered_frame(size, flow) for flow in range(flows)), np.uint8
        )
        self._expected = np.zeros(MAX_FLOWS, np.uint64)
        state = np.zeros(1, SourceState)
        for name, value in {
            "frames": address_of(self._frames),
            "size": size,
            "flows": flows,
            "expected": address_of(self._expected),
            "verify": verify,
        }.items():
            state[0][name] = value
        super().__init__(pump_source, patient=True, state=state)

    def drops(self) -> dict[str, int]:
        """What the sink found: nothing if it does not verify."""
        assert self.state is not None
        if not self.state[0]["verify"]:
            return {}
        return {f"sink_{name}": int(self.state[0][name]) for name in ("gaps", "late", "damaged")}


def pump_source(address):
    """Fills the ring to the port, empties the one from it."""
    wire = array_at(address, 1, WireRecord)[0]
    state = array_at(wire.state, 1, SourceState)[0]
    rewind(wire.rx)
    if peek(wire.rx)[1] == 0:
        word = big_endian(state.number)
        for i in range(BURST):
            target = place(wire.rx, i, state.size)
            copy_bytes(target, state.frames + state.flow * state.size, state.size)
            set_word(target, word)
            state.flow += np.uint64(1)
            if state.flow == state.flows:
                state.flow = 0
                state.number += np.uint64(1)
                word = big_endian(state.number)
        commit_all(wire.rx, BURST, state.size)
    if state.verify:
        frame, length = peek(wire.tx)
        while length:
            verify_frame(state, frame)
            drop(wire.tx, length)
            frame, length = peek(wire.tx)
    empty(wire.tx)
    rewind(wire.tx)


@compiled
def verify_frame(state, address):
    """Compares a frame's number with the one that its flow expects."""
    frame = array_at(address, 1, Numbered)[0]
    flow = (np.int64(frame.port) >> 8 | np.int64(frame.port) << 8 & 0xFF00) - FIRST_PORT
    if flow < 0 or flow >= MAX_FLOWS or frame.number != ~frame.complement:
        state.damaged += np.uint64(1)
        return
    expected = array_at(state.expected, MAX_FLOWS, np.uint64)
    number = big_endian(frame.number)
    if number < expected[flow]:
        state.late += np.uint64(1)
        return
    state.gaps += number - expected[flow]
    state.good += np.uint64(1)
    expected[flow] = number + np.uint64(1)
