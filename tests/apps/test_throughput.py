"""Trials and searches over emulated cables. Their rates depend on how busy the machine is, so what
is compared is what was counted.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import ixy
from command import many
from ixy.apps.throughput import Throughput, Trial
from ixy.errors import IxyError
from ixy.traffic.search import Cancelled
from rig import numbered

pytestmark = pytest.mark.usefixtures("no_shared_pools")
LOAD = many(20_000, 300)  # packets per second


@contextmanager
def between(options: str = "", queues: int = 1, **settings) -> Iterator[Throughput]:
    """An app between two ports of a cable, its workers running; no search is started."""
    cable = f"emu:cable:test-throughput-{os.getpid()}?queues={queues}"
    with ixy.open(cable + options) as a, ixy.open(cable) as b:
        app = Throughput(a, b, **{"sizes": [64], "trial": 0.1, **settings})
        app.workers.start(app._loops, a, b)
        try:
            for device in (a, b):
                device.wait_for_link(60)
            while not app.workers.running:
                app.workers.check()
                time.sleep(0.001)
            yield app
        finally:
            app.workers.stop(30)


def measure(app: Throughput, size: int = 64, pps: float = LOAD, seconds: float = 0.1) -> Trial:
    trial = app._measure(size, pps, seconds)
    app.workers.check()
    return trial


@pytest.mark.parametrize("queues", [1, 2])
@pytest.mark.parametrize("both", [False, True])
def test_a_whole_cable_loses_nothing(queues: int, both: bool) -> None:
    with between(queues=queues, both=both, sizes=[64, 1518]) as app:
        trials = [measure(app, size) for size in (64, 1518, 64)]
        sent = [device.statistics() for device in app.devices]
    for trial in trials:
        assert trial.asked == round(LOAD * 0.1) // queues * queues * (2 if both else 1)
        assert 0 < trial.sent <= trial.asked
        assert trial.received == trial.sent
        assert trial.lost == trial.others == 0
    assert sum(port.tx_packets for port in sent) == sum(trial.sent for trial in trials)
    assert (sent[1].tx_packets > 0) == both
    octets = sum((trial.size - 4) * trial.sent for trial in trials)
    assert sum(port.tx_bytes for port in sent) == octets


def test_losses_are_exact() -> None:
    with between("&loss=7") as app:
        trials = [measure(app) for _ in range(3)]
        (planted,) = [app.devices[0].statistics().dropped["wire_fault"]]
    assert sum(trial.lost for trial in trials) == planted
    assert sum(trial.sent for trial in trials) // 7 == planted


@pytest.mark.parametrize("queues", [1, 2])
def test_second_copies_hide_no_losses(queues: int) -> None:
    with between("&loss=10&duplicate=10", queues=queues, both=True) as app:
        trials = [measure(app) for _ in range(2)]
        planted = app.devices[0].beyond.planted()
    assert sum(trial.lost for trial in trials) == planted["lost"] > 0
    assert sum(trial.others for trial in trials) == planted["duplicated"] > 0


def test_damaged_frames_and_others_do_not_count() -> None:
    with between("&corrupt=5&seed=3") as app:
        trial = measure(app)
        assert trial.received + trial.others == trial.sent
        assert trial.others > 0
        app.devices[1].tx[0].send([numbered(1)])
        back = measure(app)
        assert back.received + back.others == back.sent


def test_what_is_late_is_no_frame_of_the_next_trial() -> None:
    """A wire that holds frames back for longer than a trial waits."""
    with between("&delay=400000") as app:
        first = measure(app)
        second = measure(app, pps=LOAD / 2)
    assert first.received == second.received == 0
    assert first.lost == first.sent


def test_a_sender_that_cannot_is_noticed() -> None:
    with between() as app:
        trial = measure(app, pps=1e9, seconds=0.05)
    assert not trial.kept
    assert trial.sent < trial.asked
    assert trial.offered_pps < 1e9


def test_a_trial_is_repeated_while_the_sender_is_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from ixy.traffic.search import Load

    with between(trial=0.2) as app:
        results = [
            Trial(LOAD, 0.05, 10, sent, sent, kept=kept)
            for sent, kept in zip((5, 7, 6, 4, 3, 2, 10), 6 * [False] + [True], strict=True)
        ]
        monkeypatch.setattr(app, "_measure", lambda *_: results[len(app.trials)])
        assert app._trial(64, Load(LOAD, 0.2)).sent == 7  # of five
        app.trials.clear()
        assert app._trial(64, Load(LOAD, 0.03)).sent == 10  # short ones may be more


@pytest.mark.compiled
def test_a_search_ends_with_bounds_that_were_measured() -> None:
    cable = f"emu:cable:test-search-{os.getpid()}"
    with ixy.open(f"{cable}?rate=30000&burst=100") as a, ixy.open(cable) as b:
        app = Throughput(a, b, sizes=[64, 512], trial=0.1, width=0.05, limit=12.0)
        app.start()
        deadline = time.monotonic() + 60
        while not app.done:
            app.workers.check()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        app.workers.stop(10)
        app.workers.check()
        dropped = b.statistics().rx_packets, a.statistics().dropped["wire_over_rate"]
    assert [rates.size for rates in app.found] == [64, 512]
    assert dropped[1] > 0
    for rates in app.found:
        of_size = [trial for trial in app.trials if trial.size == rates.size]
        assert rates.line == pytest.approx(1e10 / 8 / (rates.size + 20))
        for bound in (rates.ndr, rates.pdr):
            if rates.complete and bound.lower:
                at = [t for t in of_size if t.kept and t.pps == pytest.approx(bound.lower)]
                assert any(t.loss_ratio <= bound.loss for t in at)
                assert bound.lower < 36_000  # 30 000 and a burst of 100 in 0.1 s, and the width


def test_told_to_stop_a_trial_ends() -> None:
    with between() as app:
        app.workers.finish(10)
        with pytest.raises(Cancelled):
            measure(app)


def test_sizes_that_there_are_not() -> None:
    with between() as app:
        for size in (63, 1519):
            with pytest.raises(IxyError, match="bytes"):
                Throughput(*app.devices, sizes=[size])
