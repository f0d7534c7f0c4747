"""What compiled code asks of the machine and of the operating system: clocks, waiting, files,
threads.

Each function has a plain Python body and an overload that calls the instruction or libc: the same
source runs compiled (without the GIL) and with NUMBA_DISABLE_JIT=1.
"""

import ctypes
import os
import platform
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numba import carray, types

from ixy import native
from ixy.compiled import JIT, compiled, in_machine_code

HUGE_PAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
SPINS, YIELDS = 100, 50  # rounds without work until a polling thread yields, then sleeps
PATIENCE = 50  # ms that a worker sleeps without an interrupt: it may have been told to stop
NAP = 20_000  # ns: longer would show in a ping through two ports, shorter would burn an idle core
SLICE = 4_000_000  # ns: a nap may last so much longer, while another thread has the core


@compiled
def _cycles():
    native.fence()
    count = native.counter()
    native.fence()
    return count


@compiled
def _read_file(file, address, size):
    count = native.read(file, address, size)
    return count if count >= 0 else -types.intp(carray(native.errno(), (1,))[0])


@compiled
def _write_file(file, address, size):
    count = native.write(file, address, size)
    return count if count >= 0 else -types.intp(carray(native.errno(), (1,))[0])


@compiled
def _write_file_at(file, address, size, position):
    count = native.pwrite(file, address, size, position)
    return count if count >= 0 else -types.intp(carray(native.errno(), (1,))[0])


@in_machine_code(_cycles)
def cycles() -> int:
    """The time-stamp counter, read when all loads before it are done."""
    return time.perf_counter_ns()


@in_machine_code(native.clock(1))
def now() -> int:
    """ns on a clock that never jumps."""
    return time.monotonic_ns()


@in_machine_code(native.clock(0))
def wall_clock() -> int:
    """ns since the epoch, for time stamps in files."""
    return time.time_ns()


@in_machine_code(native.pause)
def pause() -> None:
    """Tells the processor that this is a polling loop: the other hardware thread gets its turn."""


@in_machine_code(native.sched_yield)
def give_way() -> None:
    """Lets another thread run on this core."""
    time.sleep(0)  # unlike os.sched_yield, it also lets go of the interpreter


@in_machine_code(native.nanosleep)
def nap(nanoseconds: Any) -> None:
    """Sleeps for about so many ns (and Linux's timer slack, see `be_punctual`)."""
    time.sleep(int(nanoseconds) / 1e9)


@in_machine_code(_read_file)
def read_file(file: Any, address: Any, size: Any) -> int:
    """Reads up to `size` bytes from a descriptor to an address; returns how many, or -errno."""
    try:
        data = os.read(int(file), int(size))
    except OSError as error:
        return -(error.errno or 1)
    ctypes.memmove(int(address), data, len(data))
    return len(data)


@in_machine_code(_write_file)
def write_file(file: Any, address: Any, size: Any) -> int:
    """Writes `size` bytes from an address to a descriptor; returns how many, or -errno."""
    try:
        return os.write(int(file), ctypes.string_at(int(address), int(size)))
    except OSError as error:
        return -(error.errno or 1)


@in_machine_code(_write_file_at)
def write_file_at(file: Any, address: Any, size: Any, position: Any) -> int:
    """The same at a place in the file, of which the descriptor's own position knows nothing."""
    try:
        return os.pwrite(int(file), ctypes.string_at(int(address), int(size)), int(position))
    except OSError as error:
        return -(error.errno or 1)


@compiled
def _await_event(epoll, milliseconds):
    event = np.empty(2, np.uint64)  # one struct epoll_event
    return native.epoll_wait(epoll, event.ctypes.data, 1, milliseconds)


@in_machine_code(_await_event)
def await_event(epoll: Any, milliseconds: Any) -> int:
    """Sleeps until an epoll instance has an event, at most so long; returns whether it has."""
    return int(
        ctypes.CDLL(None).epoll_wait(
            int(epoll), ctypes.create_string_buffer(16), 1, int(milliseconds)
        )
    )


@compiled
def back_off(idle):
    """Waits longer the more rounds in a row were idle: first spins, then yields, then sleeps."""
    if idle < SPINS:
        pause()
    elif idle < SPINS + YIELDS:
        give_way()
    else:
        nap(NAP)


@compiled
def await_moment(left, far):
    """Lets a moment pass until something that is so far off: spins, but sleeps while it is farther
    than `far`.
    """
    if left > far:
        nap(NAP)
    elif JIT:
        pause()
    else:
        give_way()


@compiled
def rest(idle, events):
    """Like `back_off`, but with interrupts, whose epoll instance `events` is (-1: none), it sleeps
    until one comes.
    """
    if events < 0 or idle < SPINS + YIELDS:
        back_off(idle)
    else:
        await_event(events, PATIENCE)


def more_huge_pages(count: int) -> str:
    """What to run so that Linux has `count` free huge pages of 2 MiB, and some for rings."""
    state: dict[str, int] = {}
    for name in ("nr", "resv", "free"):
        with suppress(OSError):
            state[name] = int((HUGE_PAGES / f"{name}_hugepages").read_text())
    used = state.get("nr", 0) - state.get("free", 0) + state.get("resv", 0)
    return f"run: echo {used + count + 8} | sudo tee /proc/sys/vm/nr_hugepages"


def cpu_name() -> str:
    """What the processor calls itself."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def be_punctual() -> None:
    """Sets this thread's timer slack to 1 us: Linux would add 50 us to each nap."""
    ctypes.CDLL(None).prctl(29, ctypes.c_ulong(1000), 0, 0, 0)  # PR_SET_TIMERSLACK


def go_first() -> None:
    """Gives this thread nearly all the time of its core (nice -20), if the user may ask for that.

    Not SCHED_FIFO: Linux stops what never sleeps for 50 ms of each second there.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -20)


def pin(index: int) -> None:
    """Pins this thread to the index-th of its allowed cores, counted from the last one.

    The first core is left for whoever is not pinned: the emulator's thread and the command's own.
    """
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1 - index % len(cores)]})
