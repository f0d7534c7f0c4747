"""When packets are due. The pacer looks at the real clock, so the tests set `next` around it."""

import time

import pytest

from command import many
from ixy.compiled import compiled
from ixy.system import now
from ixy.traffic.pacing import CATCH_UP, due, not_sent, pacer


@compiled
def ask(pace, most):
    return due(pace[0], most)


@compiled
def take_back(pace, count):
    not_sent(pace[0], count)


@compiled
def the_time(_):
    return now()


def test_without_a_rate_all_are_due_at_any_time() -> None:
    pace = pacer(None)
    assert [ask(pace, n) for n in (0, 1, 64, 64)] == [0, 1, 64, 64]
    take_back(pace, 10)
    assert ask(pace, 64) == 64


def test_the_first_is_due_at_once_the_second_a_gap_later() -> None:
    pace, begin = pacer(0.5), the_time(0)
    assert ask(pace, 64) == 1
    end = the_time(0)
    assert [ask(pace, 64) for _ in range(10)] == [0] * 10
    assert begin + 2e9 <= float(pace[0]["next"]) <= end + 2e9


def test_none_is_due_when_none_is_wanted() -> None:
    pace = pacer(1000.0)
    ask(pace, 1)
    before = float(pace[0]["next"])
    time.sleep(0.002)
    assert ask(pace, 0) == 0
    assert float(pace[0]["next"]) - before <= 2e6  # only what is given up may have moved it


def test_what_fell_due_meanwhile_is_due_up_to_the_most() -> None:
    pace = pacer(100_000.0)  # 10 us
    pace[0]["next"] = the_time(0) - 5e5
    assert ask(pace, 20) == 20
    assert 31 <= ask(pace, 1000) <= 101  # more when the test was held up


def test_what_was_due_for_long_is_given_up() -> None:
    pace = pacer(10_000.0)  # 100 us
    pace[0]["next"] = the_time(0) - 60e9
    count = ask(pace, 1_000_000)
    assert CATCH_UP / 1e5 <= count <= CATCH_UP / 1e5 + 1
    assert float(pace[0]["next"]) == pytest.approx(the_time(0), abs=1e8)


def test_packets_taken_back_are_due_again() -> None:
    pace = pacer(100_000.0)
    pace[0]["next"] = the_time(0) - 3e5
    count = ask(pace, 16)
    after = float(pace[0]["next"])
    take_back(pace, 5)
    assert count == 16
    assert float(pace[0]["next"]) == pytest.approx(after - 5e4, abs=1)
    assert ask(pace, 5) == 5


@pytest.mark.parametrize("rate", [1000.0, 40_000.0])
def test_a_second_holds_as_many_as_the_rate_says(rate: float) -> None:
    """Never more; fewer only by what a busy machine makes it give up."""
    pace = pacer(rate)
    begin = time.monotonic()
    count = ask(pace, 64)
    while time.monotonic() - begin < 0.3:
        count += ask(pace, 64)
    seconds = time.monotonic() - begin
    assert count <= rate * seconds + 1
    assert count >= rate * seconds * many(5, 2) / 10
