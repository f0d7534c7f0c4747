"""Random numbers: the same for a seed, within their limits, evenly spread."""

import numpy as np
import pytest
from scipy import stats

from command import many
from ixy.compiled import compiled
from ixy.memory.ordered import records
from ixy.traffic.chance import draw, draw_below, seeded
from ixy.traffic.pacing import Pacer


@compiled
def fill(state, limit, words):
    for i in range(len(words)):
        words[i] = draw_below(state[0], limit)


@compiled
def one(state):
    return draw(state[0])


def drawn(limit: int, count: int, seed: object = 1) -> np.ndarray:
    state, words = records(1, Pacer), np.zeros(count, np.uint64)
    state[0]["random"] = seeded(seed)
    fill(state, np.uint64(limit), words)
    return words


def test_marsaglia_s_generator_with_the_shifts_13_7_17() -> None:
    state, word = records(1, Pacer), 1
    state[0]["random"] = word
    for _ in range(100):
        word ^= word << 13 & 2**64 - 1
        word ^= word >> 7
        word ^= word << 17 & 2**64 - 1
        assert int(one(state)) == word


@pytest.mark.parametrize("limit", [1, 2, 3, 1000, 2**16, 2**32, 2**32 + 1, 2**48, 2**63, 0])
def test_numbers_are_below_their_limit_and_evenly_spread(limit: int) -> None:
    words = drawn(limit, many(20_000, 500)).astype(object)
    span = limit or 2**64
    assert words.max() < span
    if span >= 1000:
        assert stats.kstest([int(word) / span for word in words], "uniform").pvalue > 0.001
    else:
        counts = [list(words).count(n) for n in range(span)]
        assert sum(counts) == len(words)
        assert stats.chisquare([*counts, *counts][: max(span, 2)]).pvalue > 0.001


def test_seeds() -> None:
    assert list(drawn(0, 5)) == list(drawn(0, 5)) != list(drawn(0, 5, seed=2))
    assert len({seeded(kind, n) for kind in ("gaps", "fields") for n in range(100)}) == 200
    assert all(0 < seeded(n) < 2**64 for n in range(100))
