import pytest

from ixy.bench import interrupts


@pytest.mark.compiled
def test_a_tiny_run_gives_all_rows():
    found = interrupts.measure(waits=("polling", "itr 20"), rounds=2, seconds=0.8)
    assert list(found["rows"]) == ["polling", "itr 20"]
    for wait, row in found["rows"].items():
        assert list(row) == ["50 %", "99 %", "99.9 %", "idle"]
        assert 0 < row["50 %"] <= row["99 %"] <= row["99.9 %"]
        assert row["idle"] >= 0
        assert len(found["rounds"][wait]) == 2
    assert found["unit"].startswith("us at 0.1 Mpps")
