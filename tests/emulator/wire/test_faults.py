"""Planted faults: each is counted, and nothing else happens to a frame."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from command import many
from ixy.compiled import JIT, compiled, interpretable
from ixy.emulator.wire.faults import FAULTS, HEADERS, PATIENCE, Faulty, conforms
from rig import Bench, numbered, pump, put_frame


@compiled
def _conforms(state, time):
    return conforms(state[0], time)


class Line:
    """A wire with faults: frames in, frames out."""

    def __init__(self, **options) -> None:
        self.far = Bench()
        self.wire = Faulty(self.far, **options)

    def send(self, *frames: bytes) -> list[bytes]:
        out = []
        for begin in range(0, len(frames), 500):
            for frame in frames[begin : begin + 500]:
                assert put_frame(int(self.wire.record[0]["tx"]), frame)
            pump(self.wire)
            out += self.far.sent()
        return out

    def rest(self) -> list[bytes]:
        """What was still held back."""
        state = self.wire.state
        state[0]["since"] -= 2 * PATIENCE
        pump(self.wire)
        return self.far.sent()

    def close(self) -> dict[str, int]:
        planted = self.wire.planted()
        self.wire.close()
        return planted


def frames_of(count: int, size: int = 60) -> list[bytes]:
    return [numbered(number, size) for number in range(count)]


def test_every_third_is_lost() -> None:
    line = Line(loss=3)
    assert line.send(*frames_of(9)) == [frames_of(9)[i] for i in (0, 1, 3, 4, 6, 7)]
    assert line.close()["lost"] == 3


def test_every_fourth_comes_twice() -> None:
    line = Line(duplicate=4)
    sent = frames_of(8)
    assert line.send(*sent) == [*sent[:2], sent[1], *sent[2:6], sent[5], *sent[6:]]
    assert line.close()["duplicated"] == 2


def test_a_frame_is_passed_by_so_many() -> None:
    line = Line(reorder=8, behind=2)
    sent = frames_of(9)  # the third of each eight
    assert line.send(*sent) == [sent[0], sent[2], sent[3], sent[1], *sent[4:9]]
    assert line.close()["reordered"] == 1


def test_faults_of_two_take_turns() -> None:
    line = Line(loss=2, duplicate=2)
    frames = frames_of(10)
    assert line.send(*frames) == [frame for frame in frames[::2] for _ in range(2)]
    assert (line.close()["lost"], line.wire.state[0]["done"][2]) == (5, 5)


@pytest.mark.parametrize("seed", [1, 7, 42, 1000])
def test_a_small_seed_is_as_random_as_any(seed: int) -> None:
    line = Line(loss="0.001", seed=seed)
    assert len(line.send(*frames_of(20))) == 20
    line.close()


def test_one_byte_behind_the_headers_is_changed() -> None:
    line = Line(corrupt=2)
    sent = frames_of(400, 100)
    places = set()
    for before, after in zip(sent, line.send(*sent), strict=True):
        changed = [i for i in range(100) if before[i] != after[i]]
        assert len(changed) <= 1
        places.update(changed)
    assert line.close()["corrupted"] == 200
    assert min(places) >= HEADERS
    assert len(places) > 40


def test_what_nobody_passes_is_not_reordered() -> None:
    line = Line(reorder=1)
    assert line.send(numbered(0)) == []
    assert line.rest() == [numbered(0)]
    assert line.close()["reordered"] == 0


def test_who_waits_too_long_for_the_last_to_pass_is_released() -> None:
    line = Line(reorder=4, behind=3)
    first, *others = frames_of(3)
    assert line.send(first, *others) == others
    assert line.rest() == [first]
    assert line.close()["reordered"] == 1


options = st.fixed_dictionaries(
    {"behind": st.integers(1, 5), "seed": st.integers(1, 2**63)},
    optional={
        name: st.one_of(st.integers(1, 20), st.sampled_from(["0.5", "0.1", "0.001"]))
        for name in FAULTS
    },
)


@given(options, st.integers(1, 200))
@settings(deadline=None, max_examples=many(100, 25))
def test_counts_are_what_was_done(options: dict, count: int) -> None:
    line = Line(**options)
    sent = frames_of(count)
    out = line.send(*sent) + line.rest()
    planted = line.close()
    known = set(sent)
    good = [frame for frame in out if frame in known]
    copies = Counter(good)
    assert planted["corrupted"] == len(out) - len(good)
    assert planted["duplicated"] == sum(n - 1 for n in copies.values())
    assert planted["lost"] == count - len(copies) - planted["corrupted"]
    late, highest = 0, -1
    for number in map(sent.index, dict.fromkeys(good)):
        late += number < highest
        highest = max(highest, number)
    assert planted["reordered"] == late


@pytest.mark.parametrize("name", FAULTS)
def test_a_probability_is_kept_and_a_seed_repeats_it(name: str) -> None:
    def run(seed: int) -> tuple[list[bytes], dict[str, int]]:
        line = Line(seed=seed, **{name: "0.25"})
        out = line.send(*frames_of(many(8000, 800)))
        return out, line.close()

    first, again, other = run(7), run(7), run(8)
    assert first == again
    assert first[0] != other[0]
    done = sum(first[1].values()) / many(8000, 800)
    most = 0.2 if name == "reorder" else 0.32  # none is held back while another one is
    assert 0.1 < done < most


def rated(rate: int, burst: int, arrivals: list[int]) -> list[bool]:
    """Who passes, by the leaky bucket of I.371 in rational steps."""
    gap, due, passed = 10**9 / rate, 0.0, []
    for time in arrivals:
        due = max(due, time)
        passed.append(due - time <= burst * gap)
        due += gap if passed[-1] else 0
    return passed


@given(
    st.sampled_from([1000, 40_000, 10**6]), st.integers(1, 50),
    st.lists(st.integers(0, 100_000), min_size=1, max_size=200),
)  # fmt: skip
@settings(deadline=None, max_examples=many(50, 20))
def test_a_rate_drops_what_comes_faster(rate: int, burst: int, gaps: list[int]) -> None:
    wire = Faulty(Bench(), rate=rate, burst=burst)
    state = wire.state if JIT else interpretable(wire.state)
    times = np.cumsum(gaps).tolist()
    found = [bool(_conforms(state, time)) for time in times]
    assert found == rated(rate, burst, times)
    assert wire.drops()["wire_over_rate"] == found.count(False)
    wire.close()


def test_a_slow_sender_is_not_dropped_and_a_burst_is() -> None:
    line = Line(rate="1e3", burst=20)
    assert 20 <= len(line.send(*frames_of(300))) <= 200  # some ms for a thousandth of a second each
    planted = line.close()
    assert planted["over_rate"] >= 100
    assert planted["lost"] == 0
