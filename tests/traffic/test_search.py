"""The search, over devices and senders whose limits are known exactly."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from ixy.errors import IxyError
from ixy.traffic.search import Bound, Cancelled, Load, Measured, Search
from rig import run_python

LINE = 14_880_952.0


def device(limit: float, sender: float = 1e9, burst: int = 0) -> Callable[[Load], Measured]:
    """One that passes so many packets per second and `burst` at once; the sender can no more than
    `sender`.
    """

    def trial(load: Load) -> Measured:
        asked = round(load.pps * load.seconds)
        sent = min(asked, round(sender * load.seconds))
        received = min(sent, round(limit * load.seconds) + burst)
        return Measured(load.pps, load.seconds, asked, sent, received, kept=sent == asked)

    return trial


def search(measure: Callable[[Load], Measured], able: float = 1e9, **settings) -> Search:
    return Search(measure, size=64, line=LINE, able=able, **settings)


@pytest.mark.parametrize("limit", [1234.0, 100_000.0, 1e6, 7_654_321.0, 14e6])
def test_a_known_rate_is_found_within_the_width(limit: float) -> None:
    found = search(device(limit)).run()
    assert found.complete
    assert limit * 0.994 <= found.ndr.lower <= limit * 1.0001
    assert limit * 0.999 <= found.ndr.upper <= limit * 1.006
    partial = limit / (1 - 0.005)
    assert partial * 0.994 <= found.pdr.lower <= partial * 1.0001
    assert found.ndr.limited_by == found.pdr.limited_by == "device"
    assert found.trials < 60


@pytest.mark.parametrize("width", [0.001, 0.02])
def test_the_width_is_kept(width: float) -> None:
    found = search(device(3e6), width=width).run()
    for bound in (found.ndr, found.pdr):
        assert bound.upper * (1 - 1.01 * width) <= bound.lower < bound.upper


def test_only_full_trials_count() -> None:
    """A device with a buffer passes short bursts: a short trial says too much."""
    loads: list[Load] = []
    known = device(1e6, burst=20_000)

    def trial(load: Load) -> Measured:
        loads.append(load)
        return known(load)

    found = search(trial, trial=2.0).run()
    assert found.ndr.lower == pytest.approx(1_010_000, rel=0.006)
    assert any(load.seconds == 2.0 and load.pps == pytest.approx(found.ndr.lower) for load in loads)
    assert min(load.seconds for load in loads) == pytest.approx(0.2)


def test_a_device_as_fast_as_the_link() -> None:
    found = search(device(1e9)).run()
    assert found.ndr == Bound(0.0, pytest.approx(LINE), None, "link")
    assert found.pdr.limited_by == "link"


def test_a_slow_sender_is_not_the_device() -> None:
    found = search(device(1e9, sender=2e6)).run()
    assert found.ndr.limited_by == found.pdr.limited_by == "sender"
    assert found.ndr.lower == pytest.approx(2e6, rel=0.006)
    able = search(device(1e9, sender=2e6), able=2e6).run()
    assert able.ndr == Bound(0.0, pytest.approx(2e6), None, "sender")
    assert search(device(1e6, sender=2e6)).run().ndr.limited_by == "device"


def test_a_sender_that_paused_proves_no_rate() -> None:
    """Neither one that lost nothing nor one that lost a little."""

    def trial(load: Load) -> Measured:
        asked = round(load.pps * load.seconds)
        kept = load.pps < 1e6
        return Measured(load.pps, load.seconds, asked, asked, asked - (not kept), kept)

    found = search(trial).run()
    assert found.ndr.lower < 1e6
    assert found.pdr.lower < 1e6
    assert found.pdr.limited_by == "sender"


def test_a_loss_in_spite_of_pauses_is_the_device_s() -> None:
    known = device(1e6)

    def trial(load: Load) -> Measured:
        measured = known(load)
        return replace(measured, kept=measured.lost == 0)

    found = search(trial).run()
    assert found.ndr.lower == pytest.approx(1e6, rel=0.006)
    assert found.ndr.limited_by == "device"
    assert found.pdr.lower == pytest.approx(1e6, rel=0.006)  # a little more, and it paused


def test_nothing_passes() -> None:
    found = search(device(0.0)).run()
    assert found.ndr.lower is None
    assert found.pdr.lower is None
    assert found.ndr.limited_by == "device"


def test_no_loss_allowed_is_one_search() -> None:
    found = search(device(1e6), loss=0.0).run()
    assert found.ndr == found.pdr


def test_a_search_that_takes_too_long_says_what_it_knows() -> None:
    known = device(1e6)

    def trial(load: Load) -> Measured:
        time.sleep(0.002)
        return known(load)

    found = search(trial).run(limit=1e-3)
    assert not found.complete
    assert found.trials >= 2


def test_it_can_be_cancelled() -> None:
    def trial(load: Load) -> Measured:
        raise Cancelled

    with pytest.raises(Cancelled):
        search(trial).run()


def test_losses_are_counted() -> None:
    measured = Measured(1e6, 1.0, 1000, 1000, 990, kept=True)
    assert (measured.lost, measured.loss_ratio) == (10, 0.01)
    assert Measured(1e6, 1.0, 1000, 0, 0, kept=False).loss_ratio == 0.0


def test_without_the_package_it_is_named() -> None:
    code = """
import sys
sys.modules["MLRsearch"] = None
from ixy.traffic.search import Search
Search(None, size=64, line=1e6, able=1e6)
"""
    done: subprocess.CompletedProcess[str] = run_python(code)
    assert f"{IxyError.__name__}: a search needs MLRsearch: pip install MLRsearch" in done.stderr
