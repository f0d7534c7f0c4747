import pytest

from ixy.bench import emulator
from ixy.errors import IxyError


@pytest.mark.compiled
def test_a_tiny_run_gives_all_rows():
    found = emulator.measure(sizes=(60, 1514), rounds=2, seconds=0.1)
    assert list(found["rows"]) == ["receive", "transmit", "both"]
    for name, row in found["rows"].items():
        assert list(row) == ["60", "1514"]
        assert all(rate > 0.01 for rate in row.values())
        assert all(len(rates) == 2 for rates in found["rounds"][name].values())
    assert found["unit"] == "Mpps"
    assert set(found["bounds"]) == set(found["rows"])


@pytest.mark.compiled
def test_a_count_that_differs_from_the_devices_is_an_error(monkeypatch):
    check = emulator.check
    monkeypatch.setattr(
        emulator, "check", lambda row, device, rx, tx: check(row, device, rx, tx + 1)
    )
    with pytest.raises(IxyError, match=r"transmit: the device counts 0 received and [0-9]+ sent"):
        emulator.rate("transmit", 60, 0)


def test_without_the_compiler_it_refuses(monkeypatch):
    monkeypatch.setattr(emulator, "JIT", False)
    with pytest.raises(IxyError, match="NUMBA_DISABLE_JIT"):
        emulator.measure()
