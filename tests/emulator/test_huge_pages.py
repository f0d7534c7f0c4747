"""Other programs' huge pages: found, mapped, given back."""

import ctypes
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from huge import huge_pages_of_this_machine
from ixy.bus.sysfs import physical_addresses
from ixy.emulator import huge_pages, namespace
from ixy.emulator.huge_pages import HugePages
from ixy.errors import IxyError
from ixy.memory.dma import HUGE_PAGE, DmaMemory

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for huge pages"),
]


@pytest.fixture(autouse=True)
def pages() -> Iterator[None]:
    with huge_pages_of_this_machine():
        yield


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Iterator[HugePages]:
    """Looks at this process as if it were another one."""
    monkeypatch.setattr(huge_pages, "members", lambda: [os.getpid()])
    known = HugePages()
    yield known
    known.close()


def test_memory_without_a_name_is_found_by_its_physical_addresses(found: HugePages) -> None:
    memory = DmaMemory(5 * HUGE_PAGE, huge=True)
    expected = physical_addresses("test", memory)
    mappings = list(found.appeared())
    assert sum(size for _, _, size in mappings) == 5 * HUGE_PAGE
    places = {
        physical + at: address + at
        for physical, address, size in mappings
        for at in range(0, size, HUGE_PAGE)
    }
    assert sorted(places) == sorted(expected)
    for page, physical in enumerate(expected):
        memory.view(page * HUGE_PAGE + 77, 1)[:] = bytes([page + 1])
        assert ctypes.string_at(places[int(physical)] + 77, 1) == bytes([page + 1])
        ctypes.memset(places[int(physical)] + 78, 99, 1)
        assert bytes(memory.view(page * HUGE_PAGE + 78, 1)) == b"c"
    assert list(found.appeared()) == []  # nothing new
    memory.close()


HOLDER = """
from ixy.memory.dma import DmaMemory
memory = DmaMemory(1, huge=True)
memory.view(5, 3)[:] = b"ixy"
print(flush=True)
input()
"""


def test_memory_of_another_program_is_kept_until_that_ends(
    found: HugePages, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(program, stdin=-1, stdout=-1, text=True) as holder:
        monkeypatch.setattr(huge_pages, "members", lambda: [holder.pid])
        assert holder.stdout
        holder.stdout.readline()
        [mapping] = found.appeared()
        assert ctypes.string_at(mapping[1] + 5, 3) == b"ixy"
        assert found.vanished() == []
        holder.kill()
    assert ctypes.string_at(mapping[1] + 5, 3) == b"ixy"  # who uses it still may
    [(gone, its)] = found.vanished()
    assert its == [mapping]
    assert found.vanished() == []
    gone.close()


def test_contiguous_pages_are_one_mapping(
    found: HugePages, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [8, 10, 12, 2, 20, 22]  # in MiB
    monkeypatch.setattr(huge_pages, "physical_pages", lambda *_: [page << 20 for page in pages])
    with closing(DmaMemory(6 * HUGE_PAGE, huge=True)):
        mappings = list(found.appeared())
        base = mappings[0][1]
        expected = [(8, 0, 3), (2, 3, 1), (20, 4, 2)]
        assert mappings == [
            (mib << 20, base + at * HUGE_PAGE, count * HUGE_PAGE) for mib, at, count in expected
        ]


def test_private_copies_and_small_pages_are_not_shared_memory(found: HugePages) -> None:
    file = os.memfd_create("private", os.MFD_HUGETLB)
    os.ftruncate(file, HUGE_PAGE)
    with mmap.mmap(file, HUGE_PAGE, flags=mmap.MAP_PRIVATE) as copy, closing(DmaMemory(4096)):
        copy[0] = 1
        assert list(found.appeared()) == []
    os.close(file)


def test_a_kernel_that_hides_physical_addresses(
    found: HugePages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huge_pages, "physical_pages", lambda *_: [0])
    with closing(DmaMemory(HUGE_PAGE, huge=True)), pytest.raises(IxyError, match="be root"):
        list(found.appeared())


def test_the_processes_of_a_namespace() -> None:
    """A new one has nobody but its own; who left for it is not in ours."""
    program = (
        "from ixy.emulator import namespace; import os, subprocess, sys\n"
        "namespace.enter()\n"
        "child = subprocess.Popen(['sh', '-c', 'echo; sleep 5 & wait'], stdout=-1)\n"
        "child.stdout.readline()\n"
        "print(os.getpid(), child.pid, *namespace.members(), flush=True)\n"
        "child.kill()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=-1, text=True) as process:
        assert process.stdout
        ours, child, *others = np.fromstring(process.stdout.readline(), int, sep=" ")
        assert child in others
        assert ours not in others
        assert len(others) in (1, 2)  # the shell, and what it may have started by then
        outside = set(namespace.members())
        assert os.getppid() in outside
        assert not outside & {ours, child}
    assert process.returncode == 0


def test_without_root_there_is_no_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(IxyError, match="needs root: run it with sudo"):
        namespace.enter()
