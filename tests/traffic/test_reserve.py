"""Buffers set apart: they come back here, and to the pool at the end."""

import numpy as np
import pytest

from ixy.compiled import compiled
from ixy.memory.pool import Mempool, alloc_batch, free_batch
from ixy.traffic.reserve import Reserve


@compiled
def take(pool, bufs):
    return alloc_batch(pool[0], bufs)


@compiled
def give(pool, bufs):
    free_batch(pool[0], bufs)


@pytest.fixture
def pool():
    pool = Mempool(64)
    yield pool
    assert pool.available == 64
    pool.close()


def test_nobody_else_gets_them_until_it_is_closed(pool: Mempool) -> None:
    reserve = Reserve(pool, 20)
    assert pool.available == 44
    others = pool.take(64)
    assert len(others) == 44
    assert not set(others) & set(reserve.bufs)
    mine = np.zeros(64, np.uint32)
    assert take(reserve.record, mine) == 20
    assert set(mine[:20]) == set(reserve.bufs)
    give(reserve.record, mine[:20])
    pool.give(others)
    assert pool.available == 44
    reserve.close()


def test_there_may_be_fewer(pool: Mempool) -> None:
    reserve = Reserve(pool, 100)
    assert len(reserve.bufs) == 64
    assert pool.available == 0
    reserve.close()


def test_those_that_are_under_way_go_to_the_pool_by_themselves(pool: Mempool) -> None:
    reserve = Reserve(pool, 8)
    mine = np.zeros(3, np.uint32)
    take(reserve.record, mine)
    reserve.close()
    assert pool.available == 61
    pool.give(mine)


def test_what_they_hold_is_the_pool_s_memory(pool: Mempool) -> None:
    reserve = Reserve(pool, 1)
    pool.fill(reserve.bufs[0], b"abc")
    assert bytes(pool.view(reserve.bufs[0])) == b"abc"
    reserve.close()


def test_there_is_room_for_others(pool: Mempool) -> None:
    others = pool.take(10)
    reserve = Reserve(pool, 20)
    give(reserve.record, others)
    assert pool.available == 34
    mine = np.zeros(64, np.uint32)
    assert take(reserve.record, mine) == 30
    assert not reserve.filled[mine[:30] - pool.first].any()
    give(reserve.record, mine[:30])
    reserve.close()
