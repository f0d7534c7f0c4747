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


def test_a_command_that_fails_is_an_error(command):
    command.result = subprocess.CompletedProcess([], 1, "", "ixy: no\n")
    with pytest.raises(IxyError, match="ixy forward failed: ixy: no"):
        forward.measure(batches=(8,), rounds=1, seconds=1)


@pytest.mark.compiled
def test_the_command_runs():
    assert forward.forward("32", 0.2) > 0.01
