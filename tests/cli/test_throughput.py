"""`ixy throughput`: its object, its table, and what it refuses."""

import json
import os
from pathlib import Path

import pytest

from command import is_one_line, keeps_to_schema, many, run_ixy
from ixy.cli.throughput import parse_sizes
from ixy.errors import IxyError

CABLE = f"emu:cable:test-command-{os.getpid()}"
QUICK = "--sizes", "64", "--trial", 0.05, "--width", 0.3, "--time", many(6, 3)


@pytest.mark.compiled
def test_its_object_and_plot(tmp_path: Path) -> None:
    file = tmp_path / "x.svg"
    done = run_ixy("throughput", CABLE, CABLE, *QUICK, "--plot", file, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == int(not found["complete"])  # a busy machine may need longer
    keeps_to_schema("throughput", found)
    (rates,) = found["rates"]
    assert rates["size"] == 64
    assert rates["line_pps"] == pytest.approx(14_880_952.381)
    assert all(trial["received"] == trial["sent"] for trial in found["trials"] if trial["kept"])
    assert file.read_text().lstrip().startswith("<?xml")


def test_sizes() -> None:
    assert parse_sizes("64, 1518,64") == [64, 1518]
    for wrong in ("", "63", "1519", "64,", "64;128", "-64", "x"):
        with pytest.raises(IxyError, match="--sizes"):
            parse_sizes(wrong)


def test_what_is_wrong_is_one_line() -> None:
    for arguments in (["--sizes", "9000"], ["--loss", "2"], ["--trial", "0"]):
        done = run_ixy("throughput", CABLE, CABLE, *arguments)
        assert done.returncode != 0
        assert is_one_line(done.stderr), done.stderr
