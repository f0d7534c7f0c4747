import json
import subprocess
import sys

import pytest

from ixy.bench import forward
from ixy.errors import IxyError


class Command:
    """Stands for the command: notes how it was run, and has a result that can be set."""

    def __init__(self) -> None:
        self.calls: list = []
        self.result = subprocess.CompletedProcess([], 0, json.dumps({"mpps": 21.5}), "")

    def run(self, words, **_):
        self.calls.append(words)
        return self.result


@pytest.fixture
def command(monkeypatch):
    command = Command()
    monkeypatch.setattr(forward.subprocess, "run", command.run)
    monkeypatch.setattr(forward, "round_trip", lambda: 80.0)
    monkeypatch.setattr(forward, "describe", dict)
    return command


def test_each_batch_is_run_in_each_round(command):
    found = forward.measure(batches=(8, 32), rounds=2, seconds=4)
    assert found["rows"] == {"ixy": {"8": 21.5, "32": 21.5}}
    assert found["rounds"] == {"ixy": {"8": [21.5, 21.5], "32": [21.5, 21.5]}}
    assert found["round_trips"]["ixy"]["8"] == [(80.0, 80.0)] * 2
    assert [words[words.index("--batch") + 1] for words in command.calls] == ["8", "32"] * 2
    assert command.calls[0][:4] == [sys.executable, "-m", "ixy", "forward"]
    assert command.calls[0][-3:] == ["--time", "1.000", "--json"]
    assert found["bounds"]["ixy"]["met"]


def test_the_median_is_of_quiet_runs(command, monkeypatch):
    trips = iter([80.0, 90.0, 80.0, 900.0, 300.0, 85.0])
    monkeypatch.setattr(forward, "round_trip", lambda: next(trips))
    figures = iter([22.0, 5.0, 1.0])
    monkeypatch.setattr(forward, "forward", lambda *_: next(figures))
    found = forward.measure(batches=(32,), rounds=3, seconds=1)
    assert found["rows"] == {"ixy": {"32": 22.0}}
    assert found["rounds"] == {"ixy": {"32": [22.0, 5.0, 1.0]}}
    assert found["quiet"] == {"ixy": {"32": 1}}


def test_where_no_run_was_quiet_all_count(command, monkeypatch):
    trips = iter([80.0, 900.0, 800.0, 900.0])
    monkeypatch.setattr(forward, "round_trip", lambda: next(trips))
    assert forward.measure(batches=(32,), rounds=2, seconds=1)["rows"] == {"ixy": {"32": 21.5}}


def test_a_single_core_has_no_round_trips(command, monkeypatch):
    monkeypatch.setattr(forward, "round_trip", lambda: None)
    found = forward.measure(batches=(32,), rounds=1, seconds=1)
    assert found["quiet"] == {"ixy": {"32": 1}}


def test_a_command_that_fails_is_an_error(command):
    command.result = subprocess.CompletedProcess([], 1, "", "ixy: no\n")
    with pytest.raises(IxyError, match="ixy forward failed: ixy: no"):
        forward.measure(batches=(8,), rounds=1, seconds=1)


@pytest.mark.compiled
def test_the_command_runs():
    assert forward.forward("32", 0.2) > 0.01
