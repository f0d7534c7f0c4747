import pytest

from command import totals
from ixy.bench import filter as bench
from ixy.bench.yardstick import compiler
from ixy.errors import IxyError


@pytest.mark.compiled
@pytest.mark.skipif(compiler() is None, reason="install gcc")
def test_a_tiny_run_gives_all_rows():
    found = bench.measure(rounds=2, seconds=0.1)
    assert list(found["rows"]) == ["ixy", "libpcap"]
    for name, row in found["rows"].items():
        assert list(row) == [*bench.FRAMES, "mixed"]
        assert all(cycles > 0 for cycles in row.values())
        assert all(len(figures) == 2 for figures in found["rounds"][name].values())
        assert all(rate > 0.01 for rate in found["mpps"][name].values())
    assert found["bounds"]["mixed"]["mpps"] == found["mpps"]["ixy"]["mixed"]


@pytest.mark.compiled
def test_what_the_command_prints():
    found = totals("bench", "filter", "--rounds", 1, "--time", 0.1)
    assert found["rows"]["ixy"].keys() == {*bench.FRAMES, "mixed"}


@pytest.mark.compiled
def test_without_gcc_there_is_no_yardstick(monkeypatch):
    monkeypatch.setattr(bench, "compiler", lambda: None)
    assert list(bench.measure(rounds=1, seconds=0.1)["rows"]) == ["ixy"]


@pytest.mark.compiled
def test_a_wrong_verdict_is_an_error():
    with pytest.raises(IxyError, match="1 packets were accepted, of 2"):
        bench.cost(lambda repeat: repeat, 2, 0)


def test_without_the_compiler_it_refuses(monkeypatch):
    monkeypatch.setattr(bench, "JIT", False)
    with pytest.raises(IxyError, match="NUMBA_DISABLE_JIT"):
        bench.measure()
