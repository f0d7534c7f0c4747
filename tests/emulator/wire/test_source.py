"""`source`: numbered frames without end, and a sink that finds what was lost, late or damaged."""

import struct
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.compiled import call, compiled, entry_point
from ixy.emulator.wire import plug_in
from ixy.emulator.wire.source import BURST, MAX_FLOWS, Source, pump_source
from ixy.errors import IxyError
from ixy.memory.ordered import address_of
from rig import Nic, put_frame, take_frame


@compiled
def _call(address, argument):
    call(address, argument)


def pump(wire: Source) -> None:
    """One round of the wire."""
    _call(entry_point(pump_source), address_of(wire.record))


def frames_of(wire: Source) -> list[bytes]:
    """The frames that wait for the port."""
    return list(iter(lambda: take_frame(int(wire.record[0]["rx"])), None))


def sink(wire: Source, *frames: bytes) -> None:
    for frame in frames:
        assert put_frame(int(wire.record[0]["tx"]), frame)
    pump(wire)


def state(wire: Source) -> dict[str, int]:
    return {name: int(wire.state[0][name]) for name in ("good", "gaps", "late", "damaged")}


def flow_and_number(frame: bytes) -> tuple[int, int]:
    return struct.unpack_from(">H", frame, 34)[0] - 10000, struct.unpack_from(">Q", frame, 42)[0]


def test_frames_by_their_bytes() -> None:
    wire = Source(size=60, flows=2)
    pump(wire)
    first, second, third = frames_of(wire)[:3]
    assert first == bytes.fromhex(
        "020000000002 020000000001 0800"
        "4500002e 00004000 401126bd 0a000001 0a000002"
        "2710 0009 001a c49e"
        "0000000000000000 ffffffffffffffff 0000"
    )
    assert (second[34:36], third[34:36]) == (b"\x27\x11", b"\x27\x10")
    assert third[42:58] == bytes(7) + b"\1" + b"\xff" * 7 + b"\xfe"
    wire.close()


@pytest.mark.parametrize(("size", "flows"), [(60, 1), (64, 64), (1514, 3), (61, MAX_FLOWS)])
def test_flows_take_turns_and_numbers_have_no_gaps(size: int, flows: int) -> None:
    wire = Source(size=size, flows=flows)
    seen = []
    for _ in range(5):
        pump(wire)
        seen += frames_of(wire)
    assert len(seen) == 5 * BURST
    assert {len(frame) for frame in seen} == {size}
    assert list(map(flow_and_number, seen)) == [(i % flows, i // flows) for i in range(len(seen))]
    wire.close()


def test_the_source_waits_until_its_frames_are_taken() -> None:
    wire = Source()
    pump(wire)
    pump(wire)
    assert len(frames_of(wire)) == BURST
    wire.close()


def test_a_sink_that_does_not_verify_takes_anything() -> None:
    wire = Source()
    sink(wire, bytes(60), b"\xff" * 1514)
    assert wire.drops() == {}
    assert take_frame(int(wire.record[0]["tx"])) is None
    wire.close()


def planted(faults: list[str], flows: int) -> tuple[list[bytes], Counter]:
    """Frames of a source with faults at every third place, and how they should be counted."""
    source = Source(flows=flows)
    pump(source)
    frames = frames_of(source)
    source.close()
    result: list[bytes] = []
    expected: Counter = Counter()
    places = {3 * flows * (i + 1): fault for i, fault in enumerate(faults)}
    for place, frame in enumerate(frames[: 3 * flows * (len(faults) + 1)]):
        fault = places.get(place)
        if fault == "lost":
            expected["gaps"] += 1
            continue
        if fault == "duplicated":
            expected["late"] += 1
            result.append(frame)
        if fault == "damaged":  # the number no longer agrees with its complement: also missing
            expected["damaged"] += 1
            expected["gaps"] += 1
            result.append(frame[:45] + bytes([frame[45] ^ 0x10]) + frame[46:])
            continue
        result.append(frame)
        expected["good"] += 1
    return result, expected


@given(st.lists(st.sampled_from(["lost", "duplicated", "damaged"]), max_size=8), st.integers(1, 8))
@settings(deadline=None, max_examples=25)
def test_planted_faults_are_counted_exactly(faults: list[str], flows: int) -> None:
    frames, expected = planted(faults, flows)
    wire = Source(verify=1)
    sink(wire, *frames)
    assert state(wire) == {name: expected[name] for name in ("good", "gaps", "late", "damaged")}
    assert wire.drops() == {f"sink_{name}": expected[name] for name in ("gaps", "late", "damaged")}
    wire.close()


def test_reordering_is_a_gap_and_a_late_frame() -> None:
    source = Source(flows=1)
    pump(source)
    frames = frames_of(source)[:6]
    frames[2], frames[4] = frames[4], frames[2]
    wire = Source(verify=1)
    sink(wire, *frames)
    assert state(wire) == {"good": 4, "gaps": 2, "late": 2, "damaged": 0}
    wire.close()
    source.close()


@pytest.mark.parametrize("place", range(42, 58))
def test_each_bit_of_number_and_complement_is_checked(place: int) -> None:
    source, wire = Source(flows=1), Source(verify=1)
    pump(source)
    frame = frames_of(source)[5]
    sink(wire, frame[:place] + bytes([frame[place] ^ 1]) + frame[place + 1 :])
    assert wire.drops()["sink_damaged"] == 1
    wire.close()
    source.close()


@pytest.mark.parametrize("port", [0, 9999, 10000 + MAX_FLOWS, 65535])
def test_flows_that_no_source_has_are_damaged_frames(port: int) -> None:
    source, wire = Source(flows=1), Source(verify=1)
    pump(source)
    frame = frames_of(source)[0]
    sink(wire, frame[:34] + port.to_bytes(2, "big") + frame[36:])
    assert wire.drops()["sink_damaged"] == 1
    wire.close()
    source.close()


def test_through_a_nic_nothing_is_lost() -> None:
    wire = Source(verify=1, flows=16)
    with Nic(wire, buffers=512) as nic:
        for _ in range(200):
            nic.step()
            with nic.device.rx[0].receive(32) as batch:
                nic.device.tx[0].send(batch)
        nic.step(4)
        assert nic.device.flush(0) == 0
        assert state(wire)["good"] > 1000
        assert nic.device.statistics().dropped["sink_gaps"] == 0
        assert state(wire)["late"] == state(wire)["damaged"] == 0


@pytest.mark.parametrize(
    "options",
    [{"size": 59}, {"size": 1515}, {"size": -1}, {"flows": 0}, {"flows": MAX_FLOWS + 1}]
    + [{"size": "big"}, {"flows": "many"}, {"verify": "yes"}, {"size": ""}, {"verify": -1}],
    ids=str,
)  # fmt: skip
def test_bad_options(options: dict) -> None:
    with pytest.raises(IxyError) as error:
        plug_in("source", options)
    assert "\n" not in str(error.value)
