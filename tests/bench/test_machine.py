import os

import pytest

from ixy.bench import machine


def test_the_description_is_complete():
    found = machine.describe()
    assert found["cpu"]
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert all(found[name] for name in ("system", "python", "numba", "llvmlite", "numpy"))


@pytest.mark.compiled
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_round_trip_takes_longer_than_a_cache_hit(monkeypatch):
    monkeypatch.setattr(machine, "SERVES", 1)
    before = os.sched_getaffinity(0)
    assert 5 < machine.round_trip() < 1e6
    assert os.sched_getaffinity(0) == before


def test_one_core_has_no_round_trip(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert machine.round_trip() is None
