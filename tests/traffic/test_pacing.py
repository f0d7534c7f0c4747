"""When packets are due: by a clock of the tests' own, and by the real one."""

import time

import numpy as np
import pytest
from scipy import stats

from command import many
from ixy.compiled import compiled
from ixy.traffic import pacing
from ixy.traffic.pacing import (
    CATCH_UP,
    HURRY,
    TOGETHER,
    due,
    due_at,
    not_sent,
    pacer,
)

BEGIN = 10**15  # the clock of the tests: ns, of an old machine


@pytest.fixture
def nanoseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick is a nanosecond."""
    monkeypatch.setattr(pacing, "clock", lambda: pacing.Clock(1.0, 0.0))


@compiled
def ask(pace, most):
    return due(pace[0], most)


@compiled
def ask_at(pace, time, most):
    return due_at(pace[0], time, most)


@compiled
def take_back(pace, count):
    not_sent(pace[0], count)


@compiled
def run(pace, counts, begin, tick):
    """Asks at each tick of a clock; notes how many are due."""
    for i in range(len(counts)):
        counts[i] = due_at(pace[0], begin + i * tick, 64)


@compiled
def leave(pace, times, begin, tick):
    """The first times at which a packet is due, by a clock with such ticks."""
    moment = begin
    found = 0
    while found < len(times):
        for _ in range(due_at(pace[0], moment, 1)):
            times[found] = moment
            found += 1
        moment += tick


def counts_of(pace, ticks: int, tick: int, begin: int = BEGIN) -> np.ndarray:
    counts = np.zeros(ticks, np.int64)
    run(pace, counts, begin, tick)
    return counts


def test_without_a_rate_all_are_due_at_any_time() -> None:
    pace = pacer(None)
    assert [ask(pace, n) for n in (0, 1, 64, 64)] == [0, 1, 64, 64]
    take_back(pace, 10)
    assert ask(pace, 64) == 64


@pytest.mark.usefixtures("nanoseconds")
def test_each_leaves_at_its_own_time() -> None:
    counts = counts_of(pacer(1e6), many(100_000, 3000), 100)  # 1 us by a clock of 100 ns
    assert list(np.flatnonzero(counts)) == list(range(0, len(counts), 10))
    assert counts.max() == 1


@pytest.mark.usefixtures("nanoseconds")
@pytest.mark.parametrize("rate", [123_456.7, 3e6])
def test_gaps_that_are_no_whole_ticks_do_not_drift(rate: float) -> None:
    ticks = many(1_000_000, 5000)
    counts = counts_of(pacer(rate), ticks, 50)
    assert counts.sum() == 1 + int((ticks - 1) * 50 * rate / 1e9)
    assert counts.max() == 1


@pytest.mark.usefixtures("nanoseconds")
def test_none_is_due_when_none_is_wanted() -> None:
    pace = pacer(1000.0)
    assert ask_at(pace, BEGIN, 0) == 0
    assert ask_at(pace, BEGIN + 10**6, 0) == 0
    assert ask_at(pace, BEGIN + 10**6, 64) == 1


@pytest.mark.usefixtures("nanoseconds")
def test_a_delay_is_made_up_gently() -> None:
    pace = pacer(100_000.0)  # 10 us
    assert ask_at(pace, BEGIN, 64) == 1
    after = counts_of(pace, 20_000, 250, BEGIN + 1_000_000)  # for 1 ms nobody asked
    gaps = np.diff(np.flatnonzero(after) * 250)
    assert after.max() == 1
    assert after.sum() == 599  # of 6 ms, and one before
    assert set(gaps[:390]) == {HURRY * 10_000}
    assert set(gaps[410:]) == {10_000}
    assert float(pace[0]["latest"]) == 1_000_000 - 10_000


@pytest.mark.usefixtures("nanoseconds")
def test_only_packets_closer_than_a_doorbell_costs_share_one() -> None:
    for rate in (2e6, 5e6, 10e6, 40e6):
        pace = pacer(rate)
        counts_of(pace, 10, 500)
        after = counts_of(pace, 500, 500, BEGIN + 100_000)
        assert 1 <= after.max() <= 1 + TOGETHER / (HURRY * 1e9 / rate)


@pytest.mark.usefixtures("nanoseconds")
def test_what_is_late_for_long_is_given_up_and_counted() -> None:
    pace = pacer(10_000.0)  # 100 us
    sent = counts_of(pace, 100, 50_000).sum()  # 5 ms: 50
    begin = BEGIN + 60 * 10**9
    sent += counts_of(pace, 4000, 25_000, begin).sum()  # and 100 ms, after a minute
    given_up = float(pace[0]["given_up"])
    assert given_up == pytest.approx((60e9 - 5e6 - CATCH_UP) / 1e5, abs=1)
    assert sent + given_up == pytest.approx(60.1e9 / 1e5, abs=2)
    assert int(pace[0]["sent"]) == sent


@pytest.mark.usefixtures("nanoseconds")
def test_packets_taken_back_are_due_again() -> None:
    pace = pacer(1000.0)
    assert ask_at(pace, BEGIN, 64) == 1
    take_back(pace, 1)
    assert [ask_at(pace, BEGIN + 1, n) for n in (0, 64, 64)] == [0, 1, 0]


@pytest.mark.usefixtures("nanoseconds")
def test_poisson_gaps_are_exponential() -> None:
    """By a clock as fine as it gets, so that its own steps do not show in a million gaps."""
    mean, count = 1000.0, many(1_000_001, 501)
    times = np.zeros(count, np.int64)
    pace = pacer(1e9 / mean / 1000, poisson=True, seed=7)  # 1 us is 1000 ticks, 1e6 ticks apart
    leave(pace, times, BEGIN, many(1000, 20_000))
    gaps = np.diff(times) / mean / 1000
    found = stats.kstest(gaps, "expon")
    assert found.pvalue > 0.01, found
    assert gaps.mean() == pytest.approx(1, abs=many(1, 40) * 0.004)


def test_the_same_seed_gives_the_same_gaps() -> None:
    first, again, other = (
        counts_of(pacer(1e6, poisson=True, seed=seed), 500, 300).tolist() for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize("rate", [1000.0, 40_000.0])
def test_a_second_holds_as_many_as_the_rate_says(rate: float) -> None:
    """Never more; fewer only by what it gives up on a busy machine, or is late with."""
    pace = pacer(rate)
    begin = time.monotonic()
    count = ask(pace, 64)
    while time.monotonic() - begin < 0.3:
        count += ask(pace, 64)
    seconds = time.monotonic() - begin
    count += ask(pace, 64)
    assert count <= rate * (time.monotonic() - begin) + 1
    assert count + float(pace[0]["given_up"]) >= rate * (seconds - CATCH_UP / 1e9 - 0.001) - 1
