import itertools

import numpy as np
import pytest

from ixy.bench import candidates, driver
from ixy.bench.nic import RING, TOUCHED, Rings
from ixy.bench.plain import Numpy, Python
from ixy.bench.yardstick import compiler
from ixy.errors import IxyError
from ixy.traffic.templates import MIN_SIZE

C_ROWS = ("c-O2", "c-O3", "c-O3-lto", "c-soa-O3")
OWN_ROWS = ("ixy", "ixy-header-layout", "numpy", "python")
needs_gcc = pytest.mark.skipif(compiler() is None, reason="install gcc")


@pytest.fixture(scope="module")
def measured():
    return driver.measure(batches=[1, 32], rounds=2, seconds=0.5)


@pytest.mark.compiled
def test_a_tiny_run_gives_all_rows(measured):
    assert set(OWN_ROWS) <= set(measured["rows"])
    assert measured["unit"] == "cycles per packet"
    for name, row in measured["rows"].items():
        assert list(row) == ["1", "32"]
        assert all(0 < figure < 1e6 for figure in row.values())
        assert all(len(measured["rounds"][name][batch]) == 2 for batch in row)


@pytest.mark.compiled
def test_the_machine_is_described(measured):
    assert {"cpu", "cores", "python", "numba", "gcc"} <= set(measured["machine"])


@pytest.mark.compiled
def test_reading_is_measured_for_machine_code_only(measured):
    assert set(measured["reads"]["rows"]) == set(measured["rows"]) - {"numpy", "python"}


@pytest.mark.compiled
@needs_gcc
def test_c_rows_are_there_when_gcc_is(measured):
    assert set(C_ROWS) <= set(measured["rows"])
    assert set(measured["bounds"]) == {"32"}
    assert measured["note"] is None


@pytest.mark.compiled
def test_without_gcc_the_c_rows_are_left_out_with_a_note(monkeypatch):
    monkeypatch.setenv("PATH", "")
    found = driver.measure(batches=[4], rounds=1, seconds=0.02)
    assert set(found["rows"]) == set(OWN_ROWS)
    assert "gcc" in found["note"]
    assert found["bounds"] == {}
    assert found["machine"]["gcc"] is None


@pytest.mark.compiled
def test_chosen_rows(monkeypatch):
    found = driver.measure(batches=[4], rounds=1, seconds=0.02, rows=["python", "ixy"])
    assert set(found["rows"]) == {"python", "ixy"}


def test_an_unknown_row_is_refused_with_the_known_ones():
    with pytest.raises(IxyError, match=r"no row rust.*ixy, ixy-header-layout"):
        driver.chosen(["rust"])


def test_without_the_compiler_it_refuses(monkeypatch):
    monkeypatch.setattr(driver, "JIT", False)
    with pytest.raises(IxyError, match="NUMBA_DISABLE_JIT"):
        driver.measure()


def test_bounds_compare_with_c_in_ixys_layout():
    rows = {"ixy": {"32": 9.0, "256": 16.0}, "c-O3": {"32": 20.0, "256": 40.0}}
    assert driver.bounds(rows) == {
        "32": {"ratio": 0.45, "bound": 0.45, "met": True},
        "256": {"ratio": 0.4, "bound": 0.30, "met": False},
    }


@pytest.mark.compiled
@pytest.mark.parametrize("name", candidates.candidates())
def test_every_candidate_forwards_all_packets_in_order(name):
    driver.check(name, candidates.candidates()[name]())


@pytest.mark.compiled
@pytest.mark.parametrize("name", candidates.candidates())
def test_the_touch_is_seen_by_the_device(name):
    candidate = candidates.candidates()[name]()
    candidate.rings.expect = lambda writes: Rings.expect(candidate.rings, not writes)
    candidate.run(4, True, np.zeros(3, np.int64))
    assert candidate.rings.nic[0]["harmed"] == 12


class Loses(Python):
    def send(self, bufs):
        self.free += bufs[:1]
        return super().send(bufs[1:]) + 1


class Keeps(Python):
    def send(self, bufs):
        return len(bufs) if len(bufs) == 3 else super().send(bufs)


class Swaps(Python):
    def send(self, bufs):
        return super().send(bufs[::-1])


class Harms(Python):
    def send(self, bufs):
        self.bytes[self.addresses[bufs[0]] - self.memory.address + MIN_SIZE - 1] ^= 0x10
        return super().send(bufs)


class Shortens(Numpy):
    def send(self, bufs):
        self.lengths[bufs] -= 1
        return super().send(bufs)


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (Loses, "[1-9][0-9]* packets lost"),
        (Keeps, "packets lost|keeps buffers"),
        (Swaps, "[1-9][0-9]* harmed"),
        (Harms, "[1-9][0-9]* harmed"),
        (Shortens, "[1-9][0-9]* harmed"),
    ],
)
def test_the_checking_run_finds_what_is_planted(monkeypatch, kind, complaint):
    monkeypatch.setattr(driver, "CHECKED_PACKETS", 300)
    monkeypatch.setattr(driver, "CHECKED", (3, 4))
    with pytest.raises(IxyError, match=complaint):
        driver.check("bad", candidates.Interpreted(kind))


@pytest.mark.compiled
def test_a_leak_is_found(monkeypatch):
    class Leaks(Python):
        def receive(self, most):
            self.free[:1] = []
            return super().receive(most)

    with pytest.raises(IxyError, match="keeps buffers"):
        driver.check("leaky", candidates.Interpreted(Leaks))


def test_the_device_brings_no_more_than_there_are_descriptors():
    rings = Rings()
    rings.array("rx_tail", 1, np.uint32)[0] = 5
    memory = np.zeros((RING, 64), np.uint8)
    rings.offer(memory.ctypes.data + 64 * np.arange(RING, dtype=np.uint64))
    candidates.bring_once(rings.nic, 8)
    assert rings.nic[0]["received"] == 5
    numbers = [int.from_bytes(frame[42:50].tobytes(), "big") for frame in memory[:5]]
    assert numbers == [0, 1, 2, 3, 4]
    assert not memory[5:].any()


@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("kind", [Numpy, Python])
def test_interpreted_candidates_fill_and_clean_the_ring(kind, writes):
    candidate = candidates.Interpreted(kind)
    for batch in (1, 7, 32, 100):
        candidate.run(batch, writes, np.zeros(600 // batch, np.int64))
    driver.verify("plain", candidate)
    slots = itertools.chain(candidate.rings.array("tx_ring", 2 * RING, np.uint64)[::2])
    assert len(set(slots)) > RING / 2
    assert TOUCHED < MIN_SIZE
