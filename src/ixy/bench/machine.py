"""The machine that figures come from, and how far apart its cores are just now."""

import os
import platform
import threading
from importlib.metadata import version
from statistics import median
from typing import Any

import numpy as np

from ixy.bench.yardstick import compiler_version
from ixy.compiled import compiled
from ixy.memory.ordered import load_acquire, records, store_release
from ixy.system import cpu_name, now

Ball = np.dtype(
    [("at", "u4"), ("_", "u1", 124)]
)  # a line of its own, the next one too (prefetched in pairs)
BOUNCES = 20_000
SERVES = 5


def describe() -> dict[str, Any]:
    """What a reader must know to compare figures."""
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numba": version("numba"),
        "llvmlite": version("llvmlite"),
        "numpy": version("numpy"),
        "gcc": compiler_version(),
    }


@compiled
def _play(ball, mine, last):
    """Sends the ball back each time that it is `mine` modulo 2, until it has been at `last`."""
    begin = now()
    for number in range(mine, last, 2):
        while load_acquire(ball[0], "at") != number:
            pass
        store_release(ball[0], "at", number + 1)
    return now() - begin


def round_trip() -> float | None:
    """ns for a cache line to go from one core to another and back, the median of some tries.

    None with fewer than two cores. On virtual machines it flips between regimes, and the rates of
    two cores with it: such figures compare only at one and the same round trip.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return None
    return round(median(_serve(cores[0], cores[-1]) for _ in range(SERVES)), 1)


def _serve(core: int, other: int) -> float:
    ball = records(1, Ball)
    _play(ball, 2, 2)  # compiles it
    nanoseconds: list[int] = []

    def play(mine: int, core: int) -> None:
        os.sched_setaffinity(0, {core})
        nanoseconds.append(_play(ball, mine, 2 * BOUNCES))

    players = [threading.Thread(target=play, args=pair) for pair in ((0, core), (1, other))]
    for player in players:
        player.start()
    for player in players:
        player.join()
    return min(nanoseconds) / BOUNCES  # the other one has also waited for the first to begin
