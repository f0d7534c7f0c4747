"""A known delay: no frame is early, and how long each was held is known."""

import pytest

from command import many
from ixy.emulator.wire.delay import Delayed
from ixy.emulator.wire.frames import SIZE
from rig import Bench, numbered, pump, put_frame


class Line:
    """A wire with a delay."""

    def __init__(self, *options, **named) -> None:
        self.far = Bench()
        self.wire = Delayed(self.far, *options, **named)
        self.taken_in = 0

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            self.taken_in += put_frame(int(self.wire.record[0]["tx"]), frame)
        pump(self.wire)

    def wait(self, count: int) -> list[bytes]:
        out: list[bytes] = []
        while len(out) < count:
            pump(self.wire)
            out += self.far.sent()
        return out


def test_a_frame_is_held_for_its_time_and_then_handed_on_as_it_was() -> None:
    line = Line("20000.5")
    frames = [numbered(number, size) for number, size in enumerate((60, 61, 1514))]
    line.send(*frames)
    assert line.far.sent() == []
    assert line.wait(3) == frames
    held = line.wire.held
    assert (held.total, held.minimum >= 20_000_500) == (3, True)
    assert line.wire.planted()["held"] == held.summary()
    line.wire.close()


def test_a_frame_is_under_way_until_it_is_handed_on() -> None:
    line = Line(20_000)
    assert not line.wire.under_way
    assert put_frame(int(line.wire.record[0]["tx"]), numbered(1))
    assert line.wire.under_way
    pump(line.wire)
    assert line.wire.under_way
    line.wait(1)
    assert not line.wire.under_way
    line.wire.close()


def test_no_delay_is_none() -> None:
    line = Line(0)
    line.send(numbered(1))
    assert line.far.sent() == [numbered(1)]
    line.wire.close()


def test_two_ways_share_the_frames_and_each_keeps_its_order() -> None:
    count = many(4000, 400)
    line = Line("0:30000", share="0.25")
    for number in range(count):
        line.send(numbered(number))
    early = line.far.sent()
    late = line.wait(count - len(early)) if len(early) < count else []
    assert early + late != [numbered(number) for number in range(count)]
    assert sorted(early + late) == sorted(numbered(number) for number in range(count))
    assert 0.15 * count < _held_longer(line.wire, 30_000_000) < 0.5 * count
    line.wire.close()


def _held_longer(wire: Delayed, nanoseconds: int) -> int:
    from ixy.traffic.histogram import highest_of

    return sum(count for step, count in wire.held.recorded() if highest_of(step) >= nanoseconds)


@pytest.mark.parametrize(("share", "soon"), [(0, 50), (1, 0)])
def test_all_on_one_way(share: int, soon: int) -> None:
    line = Line("0:900000", share=share)
    line.send(*(numbered(number) for number in range(50)))
    assert len(line.far.sent()) == soon
    line.wire.close()


def test_too_many_under_way_are_lost_and_counted() -> None:
    line = Line(500_000)
    for number in range(500):
        line.send(numbered(number, 1514))
    room = SIZE // (1514 + 16 + 4)
    full = line.wire.drops()["wire_delay_full"]
    assert line.taken_in == 500
    assert 500 - room - 1 <= full <= 500 - room + 1
    assert len(line.wait(500 - full)) == 500 - full
    line.wire.close()
