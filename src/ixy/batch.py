"""The plain Python way to hold packets, for notebooks and debuggers."""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from ixy.memory.pool import Mempool


class Batch:
    """Packets in their buffers: iterate for memoryviews, without a copy. Free it, send it, or leave
    its `with`.
    """

    def __init__(self, pool: Mempool, bufs: np.ndarray[Any, Any]) -> None:
        self.pool, self.bufs = pool, bufs
        self._views: list[memoryview] = []  # fmt: skip

    def __len__(self) -> int:
        return len(self.bufs)

    def __iter__(self) -> Iterator[memoryview]:
        for buf in self.bufs:
            self._views.append(self.pool.view(buf))
            yield self._views[-1]  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    def free(self) -> None:
        """Gives the buffers back. The memoryviews end: reading one later raises ValueError."""
        self.pool.give(self.give(len(self.bufs)))

    def give(self, count: int) -> np.ndarray[Any, Any]:
        """Takes the first `count` buffers out of the batch, for a new owner."""
        for view in self._views:
            view.release()
        self._views.clear()
        given, self.bufs = self.bufs[:count], self.bufs[count:]  # fmt: skip
        return given
