"""Packet buffers: none twice, none lost; and what IXY_DEBUG=1 says about those who get it wrong."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.compiled import compiled
from ixy.errors import IxyError
from ixy.memory.pool import (
    BUF_SIZE,
    HEADROOM,
    STRIDE,
    BufferMisuse,
    Mempool,
    alloc_batch,
    free_batch,
    lengths,
    packet_address,
    packets,
)
from rig import run_python, u32


@compiled
def _see(pool, buf):
    """A buffer as compiled code sees it: first byte, last byte, length, address."""
    data = packets(pool[0])[buf].bytes
    return data[0], data[2047], lengths(pool[0])[buf], packet_address(pool[0], buf)


@compiled
def _hammer(pool, marks, rounds, batch, seed):
    """Takes and frees batches; returns how often a buffer came that another thread had."""
    bufs = np.zeros(batch, np.uint32)
    clashes = 0
    for i in range(rounds):
        wanted = (seed + i * 7) % batch + 1
        count = alloc_batch(pool[0], bufs[:wanted])
        for buf in bufs[:count]:
            place = np.int64(buf) - np.int64(pool[0].first)
            clashes += marks[place] != 0
            marks[place] = seed
        for buf in bufs[:count]:
            place = np.int64(buf) - np.int64(pool[0].first)
            clashes += marks[place] != seed
            marks[place] = 0
        free_batch(pool[0], bufs[:count])
    return clashes


@pytest.fixture
def pool():
    pool = Mempool(64)
    yield pool
    pool.close()


def test_sizes() -> None:
    assert (BUF_SIZE, HEADROOM, STRIDE) == (2048, 64, 2112)
    assert STRIDE // 64 % 2 == 1  # an odd number of cache lines: starts visit all cache sets


def test_a_new_pool_has_all_its_buffers(pool: Mempool) -> None:
    assert (pool.available, pool.count) == (64, 64)
    bufs = pool.take(64)
    assert bufs.dtype == np.uint32
    assert sorted(bufs.tolist()) == list(range(pool.first, pool.first + 64))
    assert pool.available == 0
    pool.give(bufs)
    assert pool.available == 64


def test_an_empty_pool_gives_fewer(pool: Mempool) -> None:
    first = pool.take(60)
    rest = pool.take(60)
    assert (len(first), len(rest), len(pool.take(1)), len(pool.take(0))) == (60, 4, 0, 0)
    pool.give(first)
    pool.give(rest)


def test_the_last_one_freed_is_the_first_taken(pool: Mempool) -> None:
    bufs = pool.take(3)
    pool.give(bufs[1:2])
    assert pool.take(1).tolist() == bufs[1:2].tolist()
    pool.give(bufs)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=60))
@settings(deadline=None, max_examples=60)
def test_no_buffer_twice_none_lost(script: list[tuple[bool, int]]) -> None:
    pool = Mempool(50)
    ours: list[int] = []
    for take, count in script:
        if take:
            got = pool.take(count).tolist()
            assert len(got) == min(count, 50 - len(ours))
            assert not set(got) & set(ours)
            assert all(pool.first <= buf < pool.first + 50 for buf in got)
            ours += got
        else:
            pool.give(u32(*ours[:count]))
            ours = ours[count:]
        assert pool.available == 50 - len(ours)
        assert len(set(ours)) == len(ours)
    pool.give(u32(*ours))
    assert sorted(pool.take(50).tolist()) == list(range(pool.first, pool.first + 50))
    pool.close()


def test_numbers_are_unique_in_the_process() -> None:
    pools = [Mempool(10) for _ in range(20)]
    numbers = [buf for pool in pools for buf in pool.take(10).tolist()]
    assert len(set(numbers)) == 200
    for pool in pools:
        pool.close()


def test_any_number_of_pools_can_be_made_one_after_the_other() -> None:
    """Numbers grow by 2**20 a pool, and wrap before 2**32."""
    for _ in range(5000):
        pool = Mempool(4)
        buf = pool.take(4)[3]
        pool.fill(buf, b"\1" * 2048)
        assert [int(value) for value in _see(pool.record, buf)][:3] == [1, 1, 2048]
        pool.close()


def test_python_and_compiled_code_see_the_same_packet(pool: Mempool) -> None:
    bufs = pool.take(64)
    for i, buf in enumerate(bufs):
        pool.fill(buf, bytes([i]) * (i + 1))
    for i, buf in enumerate(bufs):
        first, _, length, address = (int(value) for value in _see(pool.record, buf))
        assert (first, length) == (i, i + 1)
        assert address == pool.memory.address + (int(buf) - pool.first) * STRIDE + HEADROOM
        assert bytes(pool.view(buf)) == bytes([i]) * (i + 1)
    pool.give(bufs)


def test_a_view_is_writable_without_a_copy(pool: Mempool) -> None:
    buf = pool.take(1)[0]
    pool.fill(buf, b"abc")
    pool.view(buf)[1:2] = b"X"
    assert bytes(pool.view(buf)) == b"aXc"
    pool.give(u32(buf))


def test_a_frame_that_does_not_fit_is_refused(pool: Mempool) -> None:
    buf = pool.take(2)
    pool.fill(buf[1], b"\1" * 2048)
    with pytest.raises(Exception, match=r"2049|size|large|long|buffer"):
        pool.fill(buf[0], bytes(2049))
    assert bytes(pool.view(buf[1])) == b"\1" * 2048
    pool.give(buf)


def test_device_addresses_with_one_run_of_memory(pool: Mempool) -> None:
    found = pool.addresses(np.array([1 << 40], np.uint64))
    assert found.tolist() == [(1 << 40) + i * STRIDE + HEADROOM for i in range(64)]


def test_device_addresses_with_pages() -> None:
    pool = Mempool(64)
    pool.memory.page = 8192
    pages = np.arange(1, 1 + -(-pool.memory.size // 8192), dtype=np.uint64) << np.uint64(30)
    found = pool.addresses(pages)
    for i, address in enumerate(found.tolist()):
        page, rest = divmod(i * STRIDE + HEADROOM, 8192)
        assert address == (page + 1 << 30) + rest
    pool.memory.page = pool.memory.size
    pool.close()


def test_a_buffer_across_two_pages_is_never_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from ixy.memory import pool as module

    class Paged(module.DmaMemory):
        def __init__(self, size: int, *, huge: bool = False) -> None:
            super().__init__(size)
            self.page = 8192

    monkeypatch.setattr(module, "DmaMemory", Paged)
    pool = Mempool(100, huge=True)
    bufs = pool.take(100)
    whole = [i for i in range(100) if i * STRIDE // 8192 == (i * STRIDE + STRIDE - 1) // 8192]
    assert sorted(bufs.tolist()) == [pool.first + i for i in whole]
    assert pool.count == len(whole) < 100
    pool.give(bufs)
    with pytest.raises(BufferMisuse):
        pool.give(bufs[:1])
    pool.close()


def test_a_pool_that_nobody_owns_closes_with_its_last_device() -> None:
    pool = Mempool(8, owned=False)
    pool.join()
    pool.join()
    pool.leave()
    assert pool.memory.file >= 0
    pool.leave()
    assert pool.memory.file == -1
    owned = Mempool(8)
    owned.join()
    owned.leave()
    assert owned.memory.file >= 0
    owned.close()


@pytest.mark.parametrize("count", [0, -1, 2**20 + 1])
def test_sizes_that_are_refused(count: int) -> None:
    with pytest.raises(IxyError, match=rf"a pool of {count} buffers: give it 1 to 1048576"):
        Mempool(count)


def test_more_freed_than_there_are_is_an_error_and_changes_nothing(pool: Mempool) -> None:
    bufs = pool.take(3)
    pool.give(bufs)
    with pytest.raises(BufferMisuse, match=str(bufs[0])):
        pool.give(bufs[:1])
    assert pool.available == 64
    assert len(set(pool.take(64).tolist())) == 64


def test_the_lock_is_free_after_an_error(pool: Mempool) -> None:
    with pytest.raises(BufferMisuse):
        pool.give(u32(pool.first))
    assert int(pool.record[0]["lock"]) == 0
    pool.give(pool.take(2))


@pytest.mark.parametrize(
    ("rounds", "count"), [(60, 16), pytest.param(100_000, 40, marks=pytest.mark.compiled)]
)
def test_threads_never_get_the_same_buffer(rounds: int, count: int) -> None:
    pool = Mempool(count)  # small: it is often empty
    marks = np.zeros(count, np.int64)
    clashes: list[int] = []
    _hammer(pool.record, marks, 1, 8, 1)

    def work(seed: int) -> None:
        clashes.append(int(_hammer(pool.record, marks, rounds, 8, seed)))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert clashes == [0, 0, 0]
    assert pool.available == count
    assert sorted(pool.take(count).tolist()) == list(range(pool.first, pool.first + count))
    pool.close()


def test_buffers_may_be_freed_by_another_thread(pool: Mempool) -> None:
    bufs = pool.take(64)
    thread = threading.Thread(target=pool.give, args=(bufs,))
    thread.start()
    thread.join()
    assert pool.available == 64


# IXY_DEBUG=1, in a process of its own: what is said, by what was done

DEBUG_PRELUDE = """
import sys
from pathlib import Path
import numpy as np
from ixy.memory.pool import BufferMisuse, Mempool
from ixy.address import open_device
pool = Mempool(1024)
def attempt(function, *arguments):
    try:
        function(*arguments)
    except BufferMisuse as error:
        print(error)
    else:
        print("nothing noticed")
"""


def debug(code: str) -> list[str]:
    """What a program prints; `{line}` lines are numbered from the program's start."""
    result = run_python(DEBUG_PRELUDE + code, IXY_DEBUG="1")
    assert result.returncode == 0, result.stderr[-1000:]
    return result.stdout.splitlines()


def test_debug_a_double_free_names_buffer_and_taker() -> None:
    lines = debug("""
bufs, others = pool.take(2), pool.take(5)
pool.give(bufs[:1])
print(bufs[0])
attempt(pool.give, bufs[:1])
attempt(pool.give, np.repeat(bufs[1:], 2))
""")
    assert lines[1].startswith(f"freed twice: buffer {lines[0]}, ")
    assert "<string>:" in lines[1], "it does not say where the buffer was taken"
    assert "freed twice" in lines[2]


def test_debug_a_foreign_buffer() -> None:
    lines = debug("""
other = Mempool(8)
buf = other.take(1)
kept = pool.take(10)
print(buf[0])
attempt(pool.give, buf)
attempt(pool.give, np.array([0], np.uint32))
attempt(pool.give, np.array([0xFFFFFFFF], np.uint32))
print(pool.available)
""")
    for line, buf in zip(lines[1:4], (lines[0], 0, 4294967295), strict=True):
        assert line.startswith(f"foreign buffer: buffer {buf}, ")
        assert line.endswith("another pool")
    assert lines[4:] == ["1014"]


def test_debug_a_leak_at_close_names_the_line() -> None:
    lines = debug("""
bufs = pool.take(3)
line = sys._getframe().f_lineno - 1
pool.give(bufs[1:])
print(bufs[0], line)
attempt(pool.close)
""")
    buf, line = lines[0].split()
    assert lines[1] == f"1 leaked at close, the first: buffer {buf}, taken by <string>:{line}"


def test_debug_nothing_is_said_when_all_came_back() -> None:
    assert debug("""
pool.give(pool.take(100))
attempt(pool.close)
""") == ["nothing noticed"]


def test_debug_a_leak_after_a_double_free_is_still_reported() -> None:
    lines = debug("""
bufs = pool.take(2)
attempt(pool.give, np.repeat(bufs[:1], 2))
pool.give(bufs[1:])
attempt(pool.close)
""")
    assert "freed twice" in lines[0]
    assert lines[1] == "nothing noticed" or "leaked" in lines[1]


def test_debug_after_a_refused_batch_none_of_it_is_lost() -> None:
    """Whatever part of a batch was good is either back or still the caller's."""
    lines = debug("""
bufs, kept = pool.take(3), pool.take(10)
attempt(pool.give, np.append(bufs, bufs[:1]))
attempt(pool.give, bufs[3 - (1014 - pool.available):])
pool.give(kept)
print(pool.available)
""")
    assert lines[0].startswith("freed twice")
    assert lines[-1] == "1024"


OPEN = """
device = open_device("emu:loopback?ring=64", pools=[pool])
bufs = pool.take(2)
for buf in bufs:
    pool.fill(buf, bytes(60))
from ixy.device import Batch
"""


def test_debug_a_packet_that_is_sent_after_it_was_freed() -> None:
    lines = debug(
        OPEN
        + """
print(bufs[0])
pool.give(bufs[:1])
attempt(device.tx[0].send, Batch(pool, bufs[:1]))
"""
    )
    assert lines[1].startswith(f"sent after it was freed: buffer {lines[0]}, ")


def test_debug_a_packet_that_is_sent_twice() -> None:
    lines = debug(
        OPEN
        + """
print(bufs[0])
attempt(device.tx[0].send, Batch(pool, np.repeat(bufs[:1], 2)))
"""
    )
    queue = "taken by tx queue 0 of emu:loopback?ring=64"
    assert lines[1] == f"sent twice: buffer {lines[0]}, {queue}"


def test_debug_who_has_a_buffer_is_a_queue_after_receiving() -> None:
    lines = debug("""
device = open_device("emu:loopback?ring=64", pools=[pool])
attempt(pool.close)
""")
    assert lines == [lines[0]]
    assert lines[0].startswith("64 leaked at close, the first: buffer ")
    assert lines[0].endswith("taken by rx queue 0 of emu:loopback?ring=64")


def test_debug_sending_and_receiving_is_no_misuse() -> None:
    assert debug("""
import time
device = open_device("emu:loopback?ring=64", pools=[pool])
got = 0
while got < 500:
    device.tx[0].send([bytes(60)] * 20)
    batch = device.rx[0].receive(32)
    got += len(batch)
    if got % 3:
        device.tx[0].send(batch)
    batch.free()
device.close()
attempt(pool.close)
""") == ["nothing noticed"]


def test_debug_is_off_without_the_variable() -> None:
    result = run_python(
        DEBUG_PRELUDE
        + """
bufs = pool.take(2)
pool.give(bufs[:1])
attempt(pool.give, bufs[:1])
attempt(pool.close)
""",
        IXY_DEBUG="0",
    )
    assert result.stdout.splitlines() == ["nothing noticed"] * 2, result.stderr
