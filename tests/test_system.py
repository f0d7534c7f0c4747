"""Clocks, waiting, files and threads, compiled and as plain Python."""

import ctypes
import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ixy import system
from ixy.compiled import compiled
from ixy.memory.ordered import address_of
from ixy.system import (
    NAP,
    SPINS,
    YIELDS,
    back_off,
    cycles,
    give_way,
    nap,
    now,
    pause,
    pin,
    read_file,
    wall_clock,
    write_file,
)
from rig import run_python


@compiled
def _clocks():
    return now(), wall_clock(), cycles()


@compiled
def _waits(nanoseconds):
    pause()
    give_way()
    before = now()
    nap(nanoseconds)
    return now() - before


@compiled
def _read(file, address, size):
    return read_file(file, address, size)


@compiled
def _write(file, address, size):
    return write_file(file, address, size)


def test_the_clock_that_never_jumps() -> None:
    before = time.monotonic_ns()
    readings = [int(_clocks()[0]) for _ in range(100)]
    assert before <= readings[0]
    assert readings == sorted(readings)
    assert readings[-1] <= time.monotonic_ns()


def test_the_wall_clock() -> None:
    before = time.time_ns()
    assert before <= int(_clocks()[1]) <= time.time_ns()


def test_cycles_go_on() -> None:
    readings = [int(_clocks()[2]) for _ in range(100)]
    assert readings == sorted(readings)
    assert readings[-1] > readings[0]


@pytest.mark.parametrize("nanoseconds", [0, 1_000_000, 50_000_000])
def test_a_nap_lasts_at_least_as_long(nanoseconds: int) -> None:
    took = int(_waits(nanoseconds))
    assert nanoseconds <= took < nanoseconds + 2 * 10**9


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    yield ends
    for end in ends:
        os.close(end)


def test_files_are_read_and_written(pipe: tuple[int, int]) -> None:
    data = np.frombuffer(b"hello", np.uint8).copy()
    target = np.zeros(100, np.uint8)
    assert _write(pipe[1], address_of(data), 5) == 5
    assert _read(pipe[0], address_of(target), 100) == 5
    assert target.tobytes() == b"hello" + bytes(95)


def test_errors_are_negative_numbers(pipe: tuple[int, int], tmp_path: Path) -> None:
    target = np.zeros(10, np.uint8)
    assert _read(pipe[0], address_of(target), 10) == -errno.EAGAIN
    assert _read(pipe[1], address_of(target), 10) == -errno.EBADF
    assert _write(pipe[0], address_of(target), 10) == -errno.EBADF
    full = os.open("/dev/full", os.O_WRONLY)
    assert _write(full, address_of(target), 10) == -errno.ENOSPC
    os.close(full)


def test_the_end_of_a_file_is_zero(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    file = os.open(tmp_path / "empty", os.O_RDONLY)
    target = np.zeros(10, np.uint8)
    assert _read(file, address_of(target), 10) == 0
    os.close(file)


def test_nothing_is_read_beyond_the_size(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"0123456789")
    target = np.zeros(10, np.uint8)
    assert _read(pipe[0], address_of(target), 4) == 4
    assert target.tobytes() == b"0123" + bytes(6)


def test_backing_off_spins_then_yields_then_sleeps() -> None:
    def took(idle: int, rounds: int) -> float:
        back_off(idle)
        before = time.perf_counter()
        for _ in range(rounds):
            back_off(idle)
        return (time.perf_counter() - before) / rounds

    sleeping = took(SPINS + YIELDS, 50)
    assert sleeping >= NAP / 1e9
    assert min(took(0, 20) for _ in range(20)) < NAP / 1e9
    assert 0 < SPINS < 10_000
    assert 0 < YIELDS < 10_000


def test_a_thread_is_pinned_to_an_allowed_core_counted_from_the_last() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    seen: list[set[int]] = []

    def work(index: int) -> None:
        pin(index)
        seen.append(os.sched_getaffinity(0))

    for index in range(2 * len(allowed)):
        thread = threading.Thread(target=work, args=(index,))
        thread.start()
        thread.join()
    assert seen == [{core} for core in allowed[::-1] * 2]
    assert sorted(os.sched_getaffinity(0)) == allowed  # this thread is where it was


def test_a_thread_can_be_punctual() -> None:
    slack: list[int] = []

    def work() -> None:
        system.be_punctual()
        slack.append(ctypes.CDLL(None).prctl(30, 0, 0, 0, 0))  # PR_GET_TIMERSLACK

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert slack == [1000]


def test_a_thread_goes_first_if_it_may_and_the_others_do_not() -> None:
    nice: list[int] = []

    def work() -> None:
        system.go_first()
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    assert nice[0] == (-20 if os.geteuid() == 0 else usual)
    assert usual > -20


@pytest.mark.compiled
def test_waiting_and_reading_leave_other_threads_running() -> None:
    code = """
import threading, time
from ixy.compiled import compiled
from ixy.system import nap, now
@compiled
def sleep(nanoseconds):
    until = now() + nanoseconds
    while now() < until:
        nap(1_000_000)
sleep(0)
thread = threading.Thread(target=sleep, args=(600_000_000,))
thread.start()
count, before = 0, time.monotonic()
while thread.is_alive():
    count += 1
    time.sleep(0.001)
print(count > 50)
"""
    assert run_python(code).stdout == "True\n"
