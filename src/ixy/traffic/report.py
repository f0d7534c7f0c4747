"""How well a rate was kept: the achieved one, the gaps between packets, and what was late."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ixy.traffic import pacing
from ixy.traffic.histogram import ERROR, Histogram, highest_of, lowest_of

PERCENTILES = ("50", "90", "99", "99.9")
Record = np.ndarray[Any, Any]  # one element


def report(
    paces: Sequence[Record], gone: Sequence[Record], gaps: Sequence[Histogram]
) -> dict[str, Any]:
    """What queues did together, given each one's Pacer, Departures and histogram of gaps.

    `achieved_pps` between the first and the last doorbell, None if there was only one; `given_up`
    packets that were due and never sent; `late`, how long behind their times packets were; `gaps`
    as `describe_gaps` has them. The last two are None without a rate.
    """
    rates = [_rate(each[0]) for each in gone]
    paced = any(pace[0]["gap"] for pace in paces)
    return {
        "achieved_pps": round(sum(filter(None, rates)), 3) if any(rates) else None,
        "given_up": round(sum(float(pace[0]["given_up"]) for pace in paces)),
        "late": _lateness(paces, pacing.clock().ns_per_tick) if paced else None,
        "gaps": describe_gaps(gone, gaps) if paced else None,
    }


def _rate(gone: Any) -> float | None:
    ns = (int(gone["last"]) - int(gone["first"])) * pacing.clock().ns_per_tick
    return (int(gone["sent"]) - int(gone["opening"])) / ns * 1e9 if ns else None


def _lateness(paces: Sequence[Record], ns_per_tick: float) -> dict[str, Any]:
    sent = sum(int(pace[0]["sent"]) for pace in paces)
    total = sum(float(pace[0]["late"]) for pace in paces)
    latest = max(float(pace[0]["latest"]) for pace in paces)
    return {
        "unit": "ns",
        "mean": round(total / max(sent, 1) * ns_per_tick, 1),
        "max": round(latest * ns_per_tick, 1),
    }


def describe_gaps(gone: Sequence[Record], gaps: Sequence[Histogram]) -> dict[str, Any]:
    """Gaps from packet to packet of each queue, in ns. A packet that shares its doorbell with the
    one before has the gap 0.

    Count, mean, minimum and maximum are exact, percentiles to `relative_error`. `nominal` is what
    each gap should be, and `deviation` how far they are from that: the mean, and the root of the
    mean square; both None for random gaps, of which the `distance` to exponential ones is told.
    `buckets` are the histogram's counters that are not 0: lowest value, highest value, count.
    """
    all_of = Histogram()
    for each in gaps:
        all_of.merge(each)
    nominal, poisson = float(gone[0][0]["nominal"]), bool(gone[0][0]["poisson"])
    count = max(all_of.total, 1)
    sums = [sum(float(each[0][name]) for each in gone) for name in ("deviation", "squares")]
    off = {"mean": round(sums[0] / count, 1), "rms": round(math.sqrt(sums[1] / count), 1)}
    return {
        "unit": "ns",
        "count": all_of.total,
        "mean": round(all_of.mean, 3),
        "min": all_of.minimum,
        "max": all_of.maximum,
        "percentiles": all_of.percentiles(PERCENTILES),
        "relative_error": ERROR,
        "nominal": None if poisson else round(nominal, 3),
        "deviation": None if poisson else off,
        "distance": round(_distance(all_of, nominal), 6) if poisson else None,
        "buckets": [[lowest_of(step), highest_of(step), n] for step, n in all_of.recorded()],
    }


def _distance(gaps: Histogram, mean: float) -> float:
    """How far gaps are from exponential ones of a mean (ns): the most by which the share of those
    up to some length differs from what it should be (the statistic of Kolmogorov and Smirnov).
    """
    counted = list(gaps.recorded())
    if not counted:
        return 0.0
    shares = np.cumsum([n for _, n in counted]) / gaps.total
    begin = np.array([lowest_of(step) for step, _ in counted]) - 0.5  # gaps are rounded to ns
    end = np.array([highest_of(step) for step, _ in counted]) + 0.5
    below = np.append(0.0, shares[:-1]) - -np.expm1(-np.maximum(begin, 0) / mean)
    upto = shares - -np.expm1(-end / mean)
    return float(np.abs(np.append(below, upto)).max())
