import os
from collections.abc import Iterator

import pytest

from huge import huge_pages_of_this_machine
from ixy.bench import testpmd, vhost_user
from ixy.bench.vhost_user import Round
from ixy.errors import IxyError
from vhost_peers import missing

NEAR, FAR, DISTURBED = (80.0, 90.0, 0.0), (80.0, 350.0, 0.0), (80.0, 90.0, 0.5)


def figures(*rounds: tuple[float, tuple[float, float, float]]) -> dict[str, list[Round]]:
    """The same for each parameter."""
    return {p: [Round(mpps, *others) for mpps, others in rounds] for p in vhost_user.PARAMETERS}


def test_medians_are_of_one_regime():
    found = vhost_user.summary(
        {
            "ixy-split": figures((20.0, NEAR), (30.0, NEAR), (5.0, FAR)),
            "ixy-packed": figures((33.0, NEAR), (1.0, DISTURBED), (9.0, FAR)),
            "dpdk-packed": figures((4.0, FAR), (30.0, NEAR)),
        }
    )
    assert found["rows"]["ixy-split"] == dict.fromkeys(vhost_user.PARAMETERS, 25.0)
    assert found["rows"]["ixy-packed"]["rx"] == 33.0
    assert found["rows"]["dpdk-packed"]["tx"] == 30.0
    assert found["regime"]["forward"] == "near"
    assert found["counted"]["ixy-split"]["forward"] == 2
    assert found["bounds"]["tx"] == {"ratio": 1.1, "goal": 1.0, "regime": "near", "met": True}
    assert found["rounds"]["ixy-packed"]["tx"][1] == {
        "mpps": 1.0, "before": 80.0, "after": 90.0, "waited": 0.5,
    }  # fmt: skip


def test_disturbed_figures_count_where_there_are_no_others():
    rounds = {
        "ixy-split": figures((20.0, DISTURBED), (5.0, FAR)),
        "dpdk-default": figures((10.0, NEAR)),
    }
    found = vhost_user.summary(rounds)
    assert found["regime"]["tx"] == "near, disturbed"
    assert found["rows"] == {
        row: dict.fromkeys(vhost_user.PARAMETERS, mpps)
        for row, mpps in (("ixy-split", 20.0), ("dpdk-default", 10.0))
    }
    assert not found["bounds"]["tx"]["met"]


def test_no_regime_has_figures_of_all_rows():
    rounds = {"ixy-split": figures((20.0, NEAR)), "dpdk-default": figures((10.0, FAR))}
    found = vhost_user.summary(rounds)
    assert found["regime"]["tx"] == "mixed"
    assert found["bounds"]["tx"]["ratio"] == 2.0
    assert not found["bounds"]["tx"]["met"]  # what is not comparable does not count


def test_the_far_regime_is_compared_but_not_met():
    rounds = {"ixy-split": figures((20.0, FAR)), "dpdk-default": figures((10.0, FAR))}
    found = vhost_user.summary(rounds)
    assert found["regime"]["rx"] == "far"
    assert not found["bounds"]["rx"]["met"]


def test_without_testpmd_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(testpmd.shutil, "which", lambda _: None)
    with pytest.raises(IxyError, match="sudo apt install dpdk-dev"):
        testpmd.must_be_there()


def test_without_huge_pages_it_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr(testpmd.shutil, "which", lambda name: name)
    monkeypatch.setattr(testpmd.Path, "read_text", lambda _: "HugePages_Free:       3\n")
    with pytest.raises(IxyError, match=r"there are 3: echo \d+ \| sudo tee /proc/sys/vm/nr_huge"):
        testpmd.must_be_there()


@pytest.fixture
def pages() -> Iterator[None]:
    with huge_pages_of_this_machine(128):
        yield


@pytest.mark.root
@pytest.mark.compiled
@pytest.mark.usefixtures("pages", "no_shared_pools")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for huge pages")
@pytest.mark.skipif("dpdk-dev" in missing, reason="needs apt install dpdk-dev librte-meta-net")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_tiny_run_gives_all_rows():
    """And both ends have counted the same, or it had raised."""
    found = vhost_user.measure(rounds=1, seconds=9.0)
    assert found["unit"] == "Mpps"
    assert list(found["rows"]) == list(vhost_user.ROWS)
    for row, of in found["rounds"].items():
        assert list(of) == ["tx", "rx", "forward"]
        assert all(figure["mpps"] > 0 for rounds in of.values() for figure in rounds), row
        assert all(figure["before"] > 0 for rounds in of.values() for figure in rounds)
    assert set(found["bounds"]) == {"tx", "rx", "forward"}
    assert all(bound["ratio"] > 0 for bound in found["bounds"].values())


@pytest.mark.compiled
def test_rounds_whose_ends_do_not_agree_are_errors(monkeypatch):
    class Back:
        counted = iter((testpmd.Counts(0, 0, 0, 0), testpmd.Counts(0, 10_000, 0, 0)))

        def counts(self):
            return next(self.counted)

        def wait_for_link(self, up):
            pass

    class Front(vhost_user.TheirFront):
        def __init__(self, *_):
            pass

        def counts(self):
            return 9_000, 0

        def close(self):
            pass

    monkeypatch.setattr(vhost_user, "TheirFront", Front)
    monkeypatch.setattr(vhost_user, "_figure", lambda *_: Round(1.0, 80.0, 80.0, 0.0))
    with pytest.raises(IxyError, match="dpdk-default: 10000 packets sent, but 9000 received"):
        vhost_user._take_turn("dpdk-default", Back(), "", 1, 1.0)
