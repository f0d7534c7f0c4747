"""`ixy latency` and `ixy reflect`: what they print and write."""

import subprocess
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from command import PORT_KEYS, is_one_line, many, run_ixy, start_ixy, totals

COUNT = many(3000, 50)
RATE = many(20_000, 300)
KEYS = {
    "seconds", "ports", "requested_pps", "achieved_pps", "sent", "arrived", "lost", "corrupt",
    "corrupt_copies", "duplicates", "reordered", "extent", "mean_extent", "too_late", "foreign",
    "window", "latency", "hardware", "clock", "streams", "planted",
}  # fmt: skip
SUMMARY = {
    "count", "outside", "minimum", "maximum", "sum", "mean", "deviation", "relative_error",
    "percentiles",
}  # fmt: skip


def test_latency_s_object_and_files(tmp_path: Path) -> None:
    hgrm, v2 = tmp_path / "x.hgrm", tmp_path / "x.hlog"
    found = totals(
        "latency", "emu:loopback?loss=10&delay=100", "--count", COUNT, "--rate", RATE,
        "--streams", 2, "--hgrm", hgrm, "--v2", v2, "--size", 99,
    )  # fmt: skip
    assert set(found) == KEYS
    assert set(found["ports"][0]) == PORT_KEYS
    assert (found["sent"], found["lost"]) == (COUNT, COUNT // 10)
    assert found["ports"][0]["dropped"]["wire_fault"] == COUNT // 10
    assert found["requested_pps"] == RATE
    latency = found["latency"]
    assert set(latency) == SUMMARY
    assert latency["count"] == found["arrived"] == COUNT - COUNT // 10
    assert latency["minimum"] >= 99_999
    assert len(found["streams"]) == 2
    assert found["planted"][0]["held"]["count"] == found["arrived"]
    assert 0 < found["clock"]["relative_error"] < 0.01
    read = HistogramLogReader(str(v2), HdrHistogram(1, 2**47 - 1, 3)).get_next_interval_histogram()
    assert read.get_total_count() == latency["count"]
    for percent, value in latency["percentiles"].items():
        if latency["count"] * float(percent) % 100 == 0:
            assert value == min(read.get_value_at_percentile(float(percent)), latency["maximum"])
    lines = hgrm.read_text().splitlines()
    assert f"Total count    = {latency['count']:12d}]" in lines[-2]


@pytest.mark.parametrize(
    ("rate", "pps"), [("51.2kbit", 100), ("67.2kbit-wire", 100), ("0.001%", 148.81)]
)
def test_rates_are_those_of_generate(rate: str, pps: float) -> None:
    found = totals("latency", "emu:loopback", "--count", 5, "--rate", rate)
    assert found["requested_pps"] == pytest.approx(pps, abs=0.01)


def test_for_people() -> None:
    done = run_ixy("latency", "emu:loopback", "--count", COUNT, "--rate", RATE)
    assert done.returncode == 0
    last = done.stdout.splitlines()[-1]
    assert f"sent {COUNT}, arrived {COUNT}, lost 0, corrupt 0" in last
    assert "99.999% " in last
    assert "planted" not in last


def test_a_reflector_sends_them_back() -> None:
    totals("reflect", "emu:source", "--count", 1)  # compiled once for all
    with start_ixy("reflect", "emu:cable:reflected", "--layer", 4, "--json") as reflector:
        try:
            found = totals(
                "latency", "emu:cable:reflected", "--count", COUNT, "--rate", RATE, "--wait", 5
            )
        finally:
            reflector.terminate()
            out, _ = reflector.communicate(timeout=60)
    assert f'"reflected": {found["arrived"]}' in out
    assert found["arrived"] + found["lost"] == COUNT
    assert found["arrived"] > 0


def test_a_time_ends_it() -> None:
    found = totals("latency", "emu:loopback", "--time", 0.3, "--rate", RATE, "--wait", 0.1)
    assert found["sent"] == found["arrived"] > 10
    assert totals("reflect", "emu:source", "--time", 0.2)["reflected"] > 0
    assert totals("reflect", "emu:source", "--count", 77)["reflected"] == 77


@pytest.mark.parametrize("option", ["--hgrm", "--v2"])
def test_a_file_that_cannot_be_written(tmp_path: Path, option: str) -> None:
    path = tmp_path / "no" / "such"
    done = run_ixy("latency", "emu:loopback", "--count", 1, option, path)
    assert done.returncode == 1
    assert is_one_line(done.stderr)
    assert str(path) in done.stderr


@pytest.mark.parametrize(
    "words",
    [("--size", 59), ("--streams", 0), ("--rate", 0), ("--count", 0), ("--wait", -1), ("x", "y")],
    ids=str,
)
def test_bad_input_is_one_line(words: tuple) -> None:
    done: subprocess.CompletedProcess[str] = run_ixy("latency", "emu:loopback", *words)
    assert done.returncode != 0
    assert is_one_line(done.stderr)
    assert run_ixy("reflect", "emu:loopback", "--layer", 5).returncode == 2


def test_hardware_timestamps() -> None:
    found = totals(
        "latency", "emu:loopback?delay=200", "--timestamps", "hardware", "--time", 0.5,
        "--rate", RATE,
    )  # fmt: skip
    assert set(found["hardware"]) == {*SUMMARY, "missing", "clock"}
    assert found["hardware"]["count"] + found["hardware"]["missing"] > 0
    done = run_ixy("latency", "emu:loopback", "emu:loopback", "--timestamps", "hardware")
    assert done.returncode == 1
    assert is_one_line(done.stderr)
