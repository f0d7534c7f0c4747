"""`Histogram` against sorted lists, and against HdrHistogram on the same samples."""

import io
import math
import re
import statistics
from collections.abc import Iterable

import numpy as np
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from command import many
from ixy.traffic.histogram import (
    DIGITS,
    ERROR,
    HIGHEST,
    PERCENTILES,
    STEPS,
    Histogram,
    highest_of,
    lowest_of,
    step_of,
)

times = st.one_of(
    st.integers(0, 3000), st.integers(0, HIGHEST), st.integers(0, 47).map(lambda n: 2**n - 1)
)


def histogram_of(values: Iterable[int]) -> Histogram:
    histogram = Histogram()
    histogram.add(list(values))
    return histogram


def judge_of(values: Iterable[int]) -> HdrHistogram:
    judge = HdrHistogram(1, HIGHEST, DIGITS)
    for value in values:
        assert judge.record_value(value)
    return judge


def nearest_rank(values: list[int], percent: str) -> int:
    rank = math.ceil(round(float(percent) * 1000) * len(values) / 100_000)
    return sorted(values)[max(rank, 1) - 1]


@given(times)
@settings(deadline=None)
def test_a_step_holds_its_values_within_the_error(value: int) -> None:
    step = int(step_of(value))
    assert lowest_of(step) <= value <= highest_of(step)
    assert highest_of(step) - lowest_of(step) <= ERROR * value


def test_steps_follow_one_another_up_to_the_highest() -> None:
    assert [lowest_of(step) for step in range(2049)] == [*range(2048), 2048]
    assert [lowest_of(step) for step in (2049, 3071, 3072, 3073)] == [2050, 4094, 4096, 4100]
    assert highest_of(STEPS - 1) == HIGHEST
    judge = HdrHistogram(1, HIGHEST, DIGITS)
    assert judge.counts_len == STEPS
    for step in range(0, STEPS, 97):
        assert judge.get_value_from_index(step) == lowest_of(step)


@given(st.lists(times, max_size=200))
@settings(deadline=None)
def test_exact_figures_and_percentiles(values: list[int]) -> None:
    histogram = histogram_of(values)
    assert histogram.total == len(values)
    assert (histogram.sum, histogram.outside) == (sum(values), 0)
    if not values:
        assert histogram.summary()["percentiles"] == dict.fromkeys(PERCENTILES, 0)
        return
    assert (histogram.minimum, histogram.maximum) == (min(values), max(values))
    assert histogram.mean == sum(values) / len(values)
    assert histogram.agrees()
    for percent in (*PERCENTILES, "0", "100"):
        true, found = nearest_rank(values, percent), histogram.percentile(percent)
        assert true <= found <= true * (1 + ERROR)


@given(st.lists(times, min_size=1, max_size=100))
@settings(deadline=None, max_examples=20)
def test_hdrhistogram_counts_the_same(values: list[int]) -> None:
    histogram, judge = histogram_of(values), judge_of(values)
    assert histogram.counts.tolist() == list(judge.counts)
    assert math.isclose(histogram.mean_of_steps, judge.get_mean_value(), rel_tol=2 * ERROR)
    for rank in {1, len(values) // 2 + 1, len(values)}:
        percent = 100 * rank / len(values)
        hers = judge.get_value_at_percentile(percent)
        assert histogram.percentile(f"{percent - 1e-9:.12f}") == min(hers, max(values))


def test_percentiles_of_many_samples_are_those_of_hdrhistogram() -> None:
    generator = np.random.default_rng(1)
    values = (generator.lognormal(10, 2, 100_000)).astype(np.int64).tolist()
    histogram, judge = histogram_of(values), judge_of(values)
    for percent in PERCENTILES:  # whole ranks: she rounds others to the nearest, we up
        assert histogram.percentile(percent) == judge.get_value_at_percentile(float(percent))
    assert histogram.mean == statistics.fmean(values)
    assert math.isclose(histogram.deviation, statistics.pstdev(values), rel_tol=1e-9)
    assert abs(judge.get_mean_value() - histogram.mean) <= ERROR * histogram.mean


@given(st.lists(times, max_size=50), st.lists(times, max_size=50))
@settings(deadline=None, max_examples=many(100, 20))
def test_merged_is_as_if_counted_by_one(first: list[int], second: list[int]) -> None:
    merged, both = histogram_of([*first, -1]), histogram_of([*first, *second, -1, HIGHEST + 1])
    merged.merge(histogram_of([*second, HIGHEST + 1]))
    assert merged.counts.tolist() == both.counts.tolist()
    merged_summary, summary = merged.summary(), both.summary()
    assert math.isclose(merged_summary.pop("deviation"), summary.pop("deviation"), rel_tol=1e-6)
    assert merged_summary == summary


def test_values_outside_are_counted_apart() -> None:
    histogram = histogram_of([-1, -(2**62), 5, HIGHEST, HIGHEST + 1, 2**62])
    assert (histogram.total, histogram.outside) == (2, 4)
    assert [int(histogram.record[0][name]) for name in ("below", "above")] == [2, 2]
    assert (histogram.minimum, histogram.maximum) == (5, HIGHEST)


def test_lost_values_are_noticed() -> None:
    histogram = histogram_of([100, 200, 3000])
    assert histogram.agrees()
    histogram.record[0]["sum"] += 10
    assert not histogram.agrees()
    histogram.record[0]["sum"] -= 10
    histogram.counts[100] += 1
    assert not histogram.agrees()


def test_a_summary_by_its_figures() -> None:
    summary = histogram_of([1, 2, 3, 4, 10_000]).summary()
    assert summary == {
        "count": 5, "outside": 0, "minimum": 1, "maximum": 10_000, "sum": 10_010, "mean": 2002.0,
        "deviation": 3999.0, "relative_error": 1 / 1024,
        "percentiles": {
            "50": 3, "90": 10_000, "99": 10_000, "99.9": 10_000, "99.99": 10_000, "99.999": 10_000,
        },
    }  # fmt: skip


def test_hgrm_by_its_lines() -> None:
    text = histogram_of([1, 2, 3, 5000]).hgrm()
    lines = text.splitlines()
    assert lines[:3] == [
        "       Value     Percentile TotalCount 1/(1-Percentile)",
        "",
        "       1.000 0.000000000000          1           1.00",
    ]
    assert lines[-4:] == [
        "    5003.000 1.000000000000          4",
        "#[Mean    =     1251.500, StdDeviation   =     2164.198]",
        "#[Max     =     5000.000, Total count    =            4]",
        "#[Buckets =           37, SubBuckets     =         2048]",
    ]


@given(st.lists(times, min_size=1, max_size=300))
@settings(deadline=None, max_examples=12)
def test_hgrm_has_the_rows_of_hdrhistogram(values: list[int]) -> None:
    """Up to the levels, which she lets come closer with each line, where the Java original and ours
    keep them for half the distance: every row of ours holds by her counts.
    """
    judge, out = judge_of(values), io.BytesIO()
    judge.output_percentile_distribution(out, 1.0)
    hers, ours = out.getvalue().decode().splitlines(), histogram_of(values).hgrm().splitlines()
    assert (ours[:2], ours[-1]) == (hers[:2], hers[-1])
    rows = [row.split() for row in ours if re.match(r" *[\d.]+ +[01]\.", row)]
    last = [row.split() for row in hers if re.match(r" *[\d.]+ +[01]\.", row)][-1]
    assert rows[-1] == last
    levels = [float(row[1]) for row in rows]
    assert levels == sorted(levels)
    reached_at = np.cumsum(judge.counts)
    for value, level, count, *_ in rows:
        reached = reached_at[step_of(int(float(value)))]
        assert int(count) == reached
        assert reached >= float(level) * len(values) - 1e-6
