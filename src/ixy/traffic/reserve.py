"""Buffers that a stream of packets has for itself."""

import numpy as np

from ixy.compiled import compiled
from ixy.memory.ordered import address_of, records
from ixy.memory.pool import Mempool, Pool, alloc_batch


@compiled
def _take(pool, bufs):
    return alloc_batch(pool[0], bufs)


class Reserve:
    """Buffers of a pool that are set apart for one user, as far as there are `count` of them.

    `record[0]` is a pool to compiled code: the pool's own memory, with a stack of these buffers
    alone. A transmit queue whose `pool` is this record gives its buffers back here: nobody else
    writes to them, and what they hold stays. There is room for others of the pool too, which
    the queue may still hold from before: `filled` tells the buffers in which the user has written.
    """

    def __init__(self, pool: Mempool, count: int) -> None:
        self._pool = pool
        self.bufs = pool.take(count)
        """Their numbers, u4."""
        self.record = records(1, Pool)
        self.record[:] = pool.record
        reserve = self.record[0]
        self._stack = np.zeros(int(reserve["count"]), np.uint32)
        self._stack[: len(self.bufs)] = self.bufs
        reserve["stack"], reserve["lock"] = address_of(self._stack), 0
        reserve["top"], reserve["usable"] = len(self.bufs), len(self._stack)
        self.filled = np.zeros(len(self._stack), np.uint8)
        """By number, from the pool's first on."""

    def close(self) -> None:
        """Gives back to the pool those that are here. Those still on a ring go there with it."""
        free = np.zeros(len(self._stack), np.uint32)
        self._pool.give(free[: _take(self.record, free)])
