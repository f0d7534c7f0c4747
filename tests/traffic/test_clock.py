"""`calibrate`: the counter against the kernel's clock, and its bound against other readings."""

import time
from pathlib import Path

import pytest

from ixy.compiled import compiled
from ixy.errors import IxyError
from ixy.system import cycles, now
from ixy.traffic import clock
from ixy.traffic.clock import Clock, calibrate


@compiled
def look():
    before = now()
    count = cycles()
    return before, count, now()


def test_ticks_become_nanoseconds_within_the_stated_error() -> None:
    found = calibrate(0.02)
    assert 0 < found.error < 0.5  # a busy machine widens the brackets; the bound says so
    before, begin, begun = look()
    time.sleep(0.05)
    ended, end, after = look()
    nanoseconds = (end - begin) * found.ns_per_tick
    assert (ended - begun) * (1 - found.error) - 1 <= nanoseconds
    assert nanoseconds <= (after - before) * (1 + found.error) + 1


def test_a_longer_look_has_the_smaller_error() -> None:
    errors = [min(calibrate(seconds).error for _ in range(5)) for seconds in (0.001, 0.1)]
    assert errors[1] < errors[0]


def test_calibrations_agree_within_their_errors() -> None:
    first, second = calibrate(0.01), calibrate(0.03)
    apart = abs(first.ticks_per_ns / second.ticks_per_ns - 1)
    assert apart <= 2 * (first.error + second.error)


def test_ns_per_tick_is_the_inverse() -> None:
    assert Clock(2.5, 0).ns_per_tick == 0.4


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("flags", "missing"),
    [
        ("fpu tsc constant_tsc", "nonstop_tsc"),
        ("fpu tsc nonstop_tsc", "constant_tsc"),
        ("fpu", "constant_tsc and nonstop_tsc"),
    ],
)
def test_a_counter_that_is_no_clock_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, missing: str
) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor : 0\nmodel name : X\nflags\t\t: {flags}\nbugs : none\n")
    monkeypatch.setattr(clock, "CPUINFO", path)
    with pytest.raises(IxyError, match=missing) as error:
        calibrate(0)
    assert "\n" not in str(error.value)
    assert calibrate(0.001, promised=False).ticks_per_ns > 0
