"""What is told of a run: the rate that was achieved, and its gaps."""

import math

import numpy as np
import pytest
from scipy import stats

from command import many
from ixy.compiled import compiled
from ixy.traffic import pacing
from ixy.traffic.histogram import Histogram
from ixy.traffic.pacing import departed, departures, due_at, pacer
from ixy.traffic.report import report

BEGIN = 10**15


@pytest.fixture(autouse=True)
def nanoseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick is a nanosecond."""
    monkeypatch.setattr(pacing, "clock", lambda: pacing.Clock(1.0, 0.0))


@compiled
def ask_at(pace, time, most):
    return due_at(pace[0], time, most)


@compiled
def note(gone, gaps, time, count):
    departed(gone[0], gaps[0], time, count)


def test_the_report_tells_of_every_gap() -> None:
    pace, gone, gaps = pacer(1e6), departures(1e6), Histogram()
    for moment, count in ((0, 1), (1000, 1), (2100, 1), (3000, 2), (5000, 1)):
        assert all(ask_at(pace, BEGIN + moment + 1000 * i, 1) == 1 for i in range(count))
        note(gone, gaps.record, BEGIN + moment, count)
    found = report([pace], [gone], [gaps])
    assert found["achieved_pps"] == pytest.approx(5 / 5e-6)
    assert found["given_up"] == 0
    assert found["late"] == {"unit": "ns", "mean": 16.7, "max": 100}
    told = found["gaps"]
    assert (told["unit"], told["count"], told["min"], told["max"]) == ("ns", 5, 0, 2000)
    assert (told["mean"], told["nominal"]) == (1000, 1000)
    assert told["deviation"] == {"mean": 440, "rms": pytest.approx(635.6, abs=0.1)}
    assert set(told["percentiles"]) == {"50", "90", "99", "99.9"}
    assert told["buckets"] == [[n, n, 1] for n in (0, 900, 1000, 1100, 2000)]


def test_without_a_rate_no_gap_is_told_of() -> None:
    gone, gaps = departures(None), Histogram()
    note(gone, gaps.record, BEGIN, 64)
    found = report([pacer(None)], [gone], [gaps])
    assert found == {"achieved_pps": None, "given_up": 0, "late": None, "gaps": None}


def test_queues_are_told_of_together() -> None:
    paces = [pacer(1e6) for _ in range(3)]
    gone, gaps = [departures(1e6) for _ in paces], [Histogram() for _ in paces]
    for i, (pace, left, histogram) in enumerate(zip(paces, gone, gaps, strict=True)):
        for moment in range(0, 5000, 1000):
            ask_at(pace, BEGIN + moment, 1)
            note(left, histogram.record, BEGIN + moment + i, 1)
    found = report(paces, gone, gaps)
    assert found["achieved_pps"] == pytest.approx(3e6)
    assert found["gaps"]["buckets"] == [[1000, 1000, 12]]


def test_random_gaps_have_no_nominal_one() -> None:
    pace, gone = pacer(1e6, poisson=True), departures(1e6, poisson=True)
    found = report([pace], [gone], [Histogram()])
    assert found["gaps"]["nominal"] is None
    assert found["gaps"]["deviation"] is None
    assert found["gaps"]["count"] == found["gaps"]["distance"] == 0


def distance_of(gaps: np.ndarray) -> float:
    """What is told of packets that left with such gaps (ns), 1 us in the mean."""
    gone, histogram = departures(1e6, poisson=True), Histogram()
    for moment in np.append(0, np.cumsum(gaps)).tolist():
        note(gone, histogram.record, BEGIN + moment, 1)
    return report([pacer(1e6, poisson=True)], [gone], [histogram])["gaps"]["distance"]


def test_the_distance_of_random_gaps_is_kolmogorov_s_and_smirnov_s() -> None:
    gaps = np.random.default_rng(1).exponential(1000, many(20_000, 2000)).astype(np.int64)
    wanted = stats.kstest(gaps, "expon", args=(0, 1000)).statistic
    assert distance_of(gaps) == pytest.approx(wanted, abs=0.001)  # gaps are whole ns, in steps


def test_equal_gaps_are_far_from_random_ones() -> None:
    assert distance_of(np.full(100, 1000)) == pytest.approx(1 - math.exp(-1), abs=0.001)
    assert distance_of(np.zeros(100, np.int64)) == pytest.approx(1, abs=0.001)
