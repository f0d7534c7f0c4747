"""Memory that a device reaches: zeroed, shared, aligned, given back."""

import mmap
import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.errors import IxyError
from ixy.memory.dma import HUGE_PAGE, DmaMemory


@pytest.fixture
def memory() -> Iterator[DmaMemory]:
    memory = DmaMemory(3 * mmap.PAGESIZE)
    yield memory
    memory.close()


@pytest.mark.parametrize("size", [1, mmap.PAGESIZE, mmap.PAGESIZE + 1, 1 << 20])
def test_sizes_are_whole_pages_and_zeroed(size: int) -> None:
    memory = DmaMemory(size)
    assert memory.size % mmap.PAGESIZE == 0
    assert size <= memory.size < size + mmap.PAGESIZE
    assert memory.page == memory.size  # one run, for every device
    assert memory.address % mmap.PAGESIZE == 0
    assert bytes(memory.view(0, memory.size)) == bytes(memory.size)
    memory.close()


def test_a_view_is_the_memory_itself(memory: DmaMemory) -> None:
    import ctypes

    memory.view(100, 5)[:] = b"hello"
    assert ctypes.string_at(memory.address + 100, 5) == b"hello"
    assert os.pread(memory.file, 5, 100) == b"hello"  # and what another process would map


def test_the_descriptor_is_not_inherited(memory: DmaMemory) -> None:
    assert not os.get_inheritable(memory.file)


@given(st.lists(st.tuples(st.integers(1, 5000), st.sampled_from([1, 64, 128, 4096])), max_size=20))
@settings(deadline=None, max_examples=40)
def test_what_is_taken_is_aligned_and_never_overlaps(takes: list[tuple[int, int]]) -> None:
    memory = DmaMemory(8 * mmap.PAGESIZE)
    end = 0
    for size, align in takes:
        start = -(-end // align) * align
        if start + size > memory.size:
            with pytest.raises(IxyError, match=f"no {size} left"):
                memory.take(size, align)
            continue
        assert memory.take(size, align) == start
        end = start + size
    memory.close()


def test_rings_are_aligned_to_128_bytes(memory: DmaMemory) -> None:
    assert [memory.take(100), memory.take(1), memory.take(128)] == [0, 128, 256]


def test_it_can_be_closed_twice(memory: DmaMemory) -> None:
    memory.close()
    assert memory.file == -1
    memory.close()


def test_closing_gives_descriptor_and_address_space_back() -> None:
    def state() -> tuple[int, int]:
        with open("/proc/self/maps") as maps:
            return len(os.listdir("/proc/self/fd")), sum("memfd:ixy" in line for line in maps)

    before = state()
    memory = DmaMemory(1 << 20)
    assert state()[1] == before[1] + 1
    memory.close()
    assert state() == before


def test_a_view_outlives_the_memory(memory: DmaMemory) -> None:
    view = memory.view(0, 5)
    view[:] = b"still"
    memory.close()
    assert bytes(view) == b"still"
    view.release()


def test_without_huge_pages_the_error_says_how_to_get_them() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(IxyError, match=r"run: echo 8388\d\d\d . sudo tee /proc/sys/vm/nr_huge"):
        DmaMemory(1 << 44, huge=True)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.root
def test_huge_pages() -> None:
    path = "/proc/sys/vm/nr_hugepages"
    with open(path) as file:
        before = file.read()
    try:
        with open(path, "w") as file:
            file.write(str(int(before) + 2))
        memory = DmaMemory(HUGE_PAGE + 1, huge=True)
    except (OSError, IxyError) as error:
        pytest.skip(f"no huge pages to be had here ({error}): free some memory, be root")
    else:
        assert (memory.size, memory.page) == (2 * HUGE_PAGE, HUGE_PAGE)
        assert memory.address % HUGE_PAGE == 0
        memory.view(HUGE_PAGE, 1)[:] = b"x"
        memory.close()
    finally:
        with open(path, "w") as file:
            file.write(before)


def test_too_much_memory_is_an_error_of_ours() -> None:
    with pytest.raises(IxyError, match="DMA memory"):
        DmaMemory(1 << 50)


def test_who_is_given_the_file_cannot_cut_it_short() -> None:
    memory = DmaMemory(8192)
    with pytest.raises(PermissionError):
        os.ftruncate(memory.file, 0)
    memory.close()
