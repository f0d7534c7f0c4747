import os

import pytest

from ixy.bench import generate, generators
from ixy.bench.generators import PEERS, Peer
from ixy.errors import IxyError


class Fixed(Peer):
    """A peer that is always as fast."""

    def mpps(self, seconds: float) -> float:
        return 2.0


THERE, ABSENT = Fixed("there", "true", "coreutils"), Fixed("absent", "no-such-program", "nothing")


@pytest.mark.compiled
def test_a_tiny_run_gives_all_rows() -> None:
    found = generate.measure(rounds=2, seconds=0.2, peers=(THERE, ABSENT))
    assert list(found["rows"]) == [*generate.ROWS, "there"]
    for name, row in found["rows"].items():
        assert row["cycles"] > 0
        assert row["Mpps"] > 0
        assert all(len(figures) == 2 for figures in found["rounds"][name].values())
    assert found["rows"]["there"]["Mpps"] == 2.0
    assert found["note"] == "no row absent: install nothing"
    assert set(found["bounds"]["five fields"]) == {"mpps", "goal", "met"}


@pytest.mark.compiled
def test_a_wrong_checksum_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = generate.Turns(vary=generators.FIVE)
    turns.check()
    monkeypatch.setattr(generate, "checksum", lambda data: 1)
    with pytest.raises(IxyError, match="a wrong checksum"):
        turns.check()


def test_without_the_compiler_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "JIT", False)
    with pytest.raises(IxyError, match="NUMBA_DISABLE_JIT"):
        generate.measure()


def test_what_a_peer_lacks() -> None:
    assert THERE.missing() is None
    assert ABSENT.missing() == "install nothing"
    assert len({peer.name for peer in PEERS}) == len(PEERS)


@pytest.mark.root
@pytest.mark.compiled
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_each_peer_runs(peer: Peer) -> None:
    if missing := peer.missing():
        pytest.skip(f"{peer.name}: {missing}")
    assert peer.mpps(0.2) > 0.001
