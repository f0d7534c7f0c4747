"""`@compiled` and its cache: machine code of this very source, or none."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

import ixy
from ixy import compiled as module
from ixy.compiled import JIT, call, compiled, entry_point
from rig import run_python


@compiled
def _add(a, b):
    return a + b


@compiled
def _call(address, argument):
    call(address, argument)


def _store_seven(address):
    from ixy.memory.ordered import array_at

    array_at(address, 1, np.uint64)[0] = np.uint64(7)


def test_a_compiled_function_is_machine_code_unless_the_jit_is_off() -> None:
    assert _add(2, 3) == 5
    assert hasattr(_add, "signatures") is JIT
    assert os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0") or not JIT


@pytest.mark.compiled
def test_it_runs_without_the_gil() -> None:
    assert _add.targetoptions["nogil"] is True


@pytest.mark.compiled
def test_numba_is_asked_for_a_cache_and_its_setting_is_left_alone() -> None:
    import numba

    before = numba.config.CACHE_DIR
    compiled(_store_seven)
    assert before == numba.config.CACHE_DIR


PROGRAM = """
import numpy as np
from ixy.compiled import call, compiled, entry_point
from ixy.memory.ordered import address_of, array_at

def set_to_seven(address):
    array_at(address, 1, np.uint64)[0] = np.uint64(7)

def add_one(address):
    array_at(address, 1, np.uint64)[0] += np.uint64(1)

@compiled
def both(first, second, argument):
    call(first, argument)
    call(second, argument)

word = np.zeros(1, np.uint64)
both(entry_point(set_to_seven), entry_point(add_one), address_of(word))
assert entry_point(set_to_seven) == entry_point(set_to_seven) != entry_point(add_one)
print(int(word[0]))
"""


def test_functions_are_called_by_their_entry_points() -> None:
    result = run_python(PROGRAM)
    assert result.stdout == "8\n", result.stderr[-500:]


def test_an_entry_point_is_made_once() -> None:
    from ixy.emulator.wire.base import no_pump

    assert entry_point(no_pump) == entry_point(no_pump) > 0
    _call(entry_point(no_pump), 0)


# The cache


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}


USE = """
from ixy.compiled import compiled
from ixy.traffic.templates import big_endian
print(hex(big_endian(0x0102030405060708)))
"""


@pytest.mark.compiled
def test_machine_code_is_kept_and_found_again(home: dict[str, str]) -> None:
    assert run_python(USE, **home).stdout == "0x807060504030201\n"
    files = sorted(Path(home["XDG_CACHE_HOME"]).rglob("*.nbc"))
    assert any("big_endian" in file.name for file in files)
    times = [file.stat().st_mtime_ns for file in files]
    assert run_python(USE, **home).stdout == "0x807060504030201\n"
    assert sorted(Path(home["XDG_CACHE_HOME"]).rglob("*.nbc")) == files
    assert [file.stat().st_mtime_ns for file in files] == times


@pytest.mark.compiled
def test_another_source_has_a_cache_of_its_own(home: dict[str, str], tmp_path: Path) -> None:
    """A constant that a compiled function imports is changed: no stale machine code may run."""
    package = Path(ixy.__file__).parent
    copy = tmp_path / "copy" / "ixy"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    code = """
from ixy.emulator.wire.frames import put, reserve, commit, peek
from ixy.memory.dma import DmaMemory
ring, frame = DmaMemory(1 << 20), DmaMemory(4096)
put(ring.address, frame.address, 20)
print(int(peek(ring.address)[1]))
"""
    path = os.pathsep.join([str(copy.parent), os.environ.get("PYTHONPATH", "")])
    prelude = f"import sys; sys.path.insert(0, {str(copy.parent)!r})\n"
    assert run_python(prelude + code, **home).stdout == "60\n", path
    frames = copy / "emulator" / "wire" / "frames.py"
    frames.write_text(frames.read_text().replace("SHORTEST = 60", "SHORTEST = 64"))
    assert run_python(prelude + code, **home).stdout == "64\n"
    other = copy / "errors.py"
    other.write_text(other.read_text() + "\n")
    assert run_python(prelude + code, **home).stdout == "64\n"
    assert len(list(Path(home["XDG_CACHE_HOME"], "ixy").iterdir())) == 3


@pytest.mark.compiled
def test_debugging_has_a_cache_of_its_own(home: dict[str, str]) -> None:
    run_python(USE, **home)
    run_python(USE, IXY_DEBUG="1", **home)
    assert len(list(Path(home["XDG_CACHE_HOME"], "ixy").iterdir())) == 2


def test_without_a_directory_to_cache_in_it_still_runs(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    result = run_python(USE, XDG_CACHE_HOME=str(blocked), HOME=str(blocked))
    assert result.stdout == "0x807060504030201\n", result.stderr[-500:]


def test_functions_that_were_typed_in_are_not_cached(home: dict[str, str]) -> None:
    code = """
from ixy.compiled import compiled
@compiled
def twice(x):
    return 2 * x
print(twice(21))
"""
    assert run_python(code, **home).stdout == "42\n"
    assert not any("twice" in file.name for file in Path(home["HOME"]).rglob("*"))


def test_caches_of_older_sources_are_removed(tmp_path: Path) -> None:
    old, young = tmp_path / "old", tmp_path / "young"
    for directory in (old, young):
        directory.mkdir()
        (directory / "x.nbc").write_text("")
    past = time.time() - 15 * 24 * 3600
    os.utime(old, (past, past))
    module._forget_old(tmp_path)
    assert not old.exists()
    assert (young / "x.nbc").exists()
