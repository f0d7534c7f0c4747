"""What compiled code asks of the machine and of the operating system: clocks, waiting, files, threads.

Each function has a plain Python body and an overload that calls the instruction or libc: the same source runs compiled
(without the GIL) and with NUMBA_DISABLE_JIT=1.
"""

import ctypes
import os
import time
from typing import Any

from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from ixy.compiled import compiled

SPINS, YIELDS = 100, 50  # rounds without work until a polling thread yields, then sleeps
NAP = 20_000  # ns: longer would show in a ping through two ports, shorter would burn an idle core


def cycles() -> int:
    """The time-stamp counter, read when all loads before it are done."""
    return time.perf_counter_ns()


def now() -> int:
    """ns on a clock that never jumps."""
    return time.monotonic_ns()


def wall_clock() -> int:
    """ns since the epoch, for time stamps in files."""
    return time.time_ns()


def pause() -> None:
    """Tells the processor that this is a polling loop: the other hardware thread gets its turn."""


def give_way() -> None:
    """Lets another thread run on this core."""
    os.sched_yield()


def nap(nanoseconds: Any) -> None:
    """Sleeps for about so many ns (and Linux's timer slack, see `be_punctual`)."""
    time.sleep(int(nanoseconds) / 1e9)


def read_file(file: Any, address: Any, size: Any) -> int:
    """Reads up to `size` bytes from a descriptor to an address; returns how many, or -errno."""
    try:
        data = os.read(int(file), int(size))
    except OSError as error:
        return -(error.errno or 1)
    ctypes.memmove(int(address), data, len(data))
    return len(data)


def write_file(file: Any, address: Any, size: Any) -> int:
    """Writes `size` bytes from an address to a descriptor; returns how many, or -errno."""
    try:
        return os.write(int(file), ctypes.string_at(int(address), int(size)))
    except OSError as error:
        return -(error.errno or 1)


@compiled
def back_off(idle):  # type: ignore[no-untyped-def]
    """Waits a little longer the more rounds in a row were idle: first spin, then yield, then sleep."""
    if idle < SPINS:
        pause()
    elif idle < SPINS + YIELDS:
        give_way()
    else:
        nap(NAP)


def be_punctual() -> None:
    """Sets this thread's timer slack to 1 us: Linux would add 50 us to each nap."""
    ctypes.CDLL(None).prctl(29, ctypes.c_ulong(1000), 0, 0, 0)  # PR_SET_TIMERSLACK


def pin(index: int) -> None:
    """Pins this thread to the index-th of its allowed cores, counted from the last one.

    The first core is left for whoever is not pinned: the emulator's thread and the command's own.
    """
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1 - index % len(cores)]})


@intrinsic
def as_pointer(typingctx: Any, address: Any) -> Any:
    """An integer as a C pointer, for compiled code only."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(types.uint64), codegen


def _instruction(name: str, result: Any = None) -> Any:
    """One machine instruction, by the name of LLVM's intrinsic."""

    @intrinsic
    def call(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = ir.FunctionType(ir.IntType(64) if result else ir.VoidType(), [])
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            value = builder.call(function, [])
            return value if result else context.get_dummy_value()

        return (result or types.void)(), codegen

    return call


def _with_timespec(name: str) -> Any:
    """clock_gettime(number, &t) or nanosleep(&t, NULL) with t on the stack: number is a clock or a time in ns."""

    @intrinsic
    def call(typingctx: Any, number: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            word, status = ir.IntType(64), ir.IntType(32)
            spec = cgutils.alloca_once(builder, ir.ArrayType(word, 2))
            seconds, rest = (cgutils.gep_inbounds(builder, spec, 0, i) for i in (0, 1))
            builder.store(word(0), seconds)
            builder.store(args[0], rest)
            pointer = builder.bitcast(spec, cgutils.voidptr_t)
            clock = [builder.trunc(args[0], status), pointer]
            arguments = clock if name == "clock_gettime" else [pointer, cgutils.voidptr_t(None)]
            kind = ir.FunctionType(status, [value.type for value in arguments])
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            builder.call(function, arguments)
            return builder.add(builder.mul(builder.load(seconds), word(10**9)), builder.load(rest))

        return types.int64(types.int64), codegen

    return call


_fence = _instruction("llvm.x86.sse2.lfence")
_counter = _instruction("llvm.readcyclecounter", types.int64)
_pause = _instruction("llvm.x86.sse2.pause")
_clock_gettime = _with_timespec("clock_gettime")
_nanosleep = _with_timespec("nanosleep")
_sched_yield = types.ExternalFunction("sched_yield", types.int32())
_read = types.ExternalFunction("read", types.intp(types.int32, types.voidptr, types.uintp))
_write = types.ExternalFunction("write", types.intp(types.int32, types.voidptr, types.uintp))
_errno = types.ExternalFunction("__errno_location", types.CPointer(types.int32)())


@overload(cycles)
def _():  # type: ignore[no-untyped-def]
    def call():  # type: ignore[no-untyped-def]
        _fence()
        count = _counter()
        _fence()
        return count

    return call


@overload(pause)
def _():  # type: ignore[no-untyped-def]
    return lambda: _pause()


@overload(give_way)
def _():  # type: ignore[no-untyped-def]
    def call():  # type: ignore[no-untyped-def]
        _sched_yield()

    return call


@overload(now)
def _():  # type: ignore[no-untyped-def]
    return lambda: _clock_gettime(1)


@overload(wall_clock)
def _():  # type: ignore[no-untyped-def]
    return lambda: _clock_gettime(0)


@overload(nap)
def _(nanoseconds):  # type: ignore[no-untyped-def]
    def call(nanoseconds):  # type: ignore[no-untyped-def]
        _nanosleep(nanoseconds)

    return call


@overload(read_file)
def _(file, address, size):  # type: ignore[no-untyped-def]
    def call(file, address, size):  # type: ignore[no-untyped-def]
        count = _read(file, as_pointer(address), size)
        return count if count >= 0 else -types.intp(carray(_errno(), (1,))[0])

    return call


@overload(write_file)
def _(file, address, size):  # type: ignore[no-untyped-def]
    def call(file, address, size):  # type: ignore[no-untyped-def]
        count = _write(file, as_pointer(address), size)
        return count if count >= 0 else -types.intp(carray(_errno(), (1,))[0])

    return call
