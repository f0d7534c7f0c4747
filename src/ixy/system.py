"""What compiled code asks of the machine and of the operating system: clocks, waiting, files,
threads.

Each function has a plain Python body and an overload that calls the instruction or libc: the same
source runs compiled (without the GIL) and with NUMBA_DISABLE_JIT=1.
"""

import ctypes
import os
import time
from typing import Any

from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from ixy.compiled import compiled, in_machine_code

SPINS, YIELDS = 100, 50  # rounds without work until a polling thread yields, then sleeps
NAP = 20_000  # ns: longer would show in a ping through two ports, shorter would burn an idle core


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


def _timespec(builder: Any, nanoseconds: Any) -> Any:
    """A struct timespec on the stack: pointers to it, its seconds and its nanoseconds."""
    word = ir.IntType(64)
    spec = cgutils.alloca_once(builder, ir.ArrayType(word, 2))
    seconds, rest = (cgutils.gep_inbounds(builder, spec, 0, i) for i in (0, 1))
    builder.store(word(0), seconds)
    builder.store(nanoseconds, rest)
    return builder.bitcast(spec, cgutils.voidptr_t), seconds, rest


def _clock(number: int) -> Any:
    """clock_gettime(2) in ns."""

    @intrinsic
    def call(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            word, status = ir.IntType(64), ir.IntType(32)
            spec, seconds, rest = _timespec(builder, word(0))
            kind = ir.FunctionType(status, [status, cgutils.voidptr_t])
            function = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
            builder.call(function, [status(number), spec])
            return builder.add(builder.mul(builder.load(seconds), word(10**9)), builder.load(rest))

        return types.int64(), codegen

    return call


@intrinsic
def _nanosleep(typingctx: Any, nanoseconds: Any) -> Any:
    """nanosleep(2), for less than a second."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        spec, _, _ = _timespec(builder, args[0])
        kind = ir.FunctionType(ir.IntType(32), [cgutils.voidptr_t, cgutils.voidptr_t])
        function = cgutils.get_or_insert_function(builder.module, kind, "nanosleep")
        builder.call(function, [spec, cgutils.voidptr_t(None)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


_fence = _instruction("llvm.x86.sse2.lfence")
_counter = _instruction("llvm.readcyclecounter", types.int64)
_pause = _instruction("llvm.x86.sse2.pause")


def _libc(name: str, result: Any, *arguments: Any) -> Any:
    """A function of the C library."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = [context.get_value_type(kind) for kind in arguments]
        function_type = ir.FunctionType(context.get_value_type(result), kinds)
        function = cgutils.get_or_insert_function(builder.module, function_type, name)
        return builder.call(function, args)

    if arguments:

        @intrinsic
        def call(typingctx: Any, file: Any, address: Any, size: Any) -> Any:
            return result(*arguments), codegen

    else:

        @intrinsic
        def call(typingctx: Any) -> Any:
            return result(), codegen

    return call


_sched_yield = _libc("sched_yield", types.int32)
_read = _libc("read", types.intp, types.int32, types.uint64, types.uint64)
_write = _libc("write", types.intp, types.int32, types.uint64, types.uint64)
_errno = _libc("__errno_location", types.CPointer(types.int32))


@compiled
def _cycles():  # type: ignore[no-untyped-def]
    _fence()
    count = _counter()
    _fence()
    return count


@compiled
def _read_file(file, address, size):  # type: ignore[no-untyped-def]
    count = _read(file, address, size)
    return count if count >= 0 else -types.intp(carray(_errno(), (1,))[0])


@compiled
def _write_file(file, address, size):  # type: ignore[no-untyped-def]
    count = _write(file, address, size)
    return count if count >= 0 else -types.intp(carray(_errno(), (1,))[0])


@in_machine_code(_cycles)
def cycles() -> int:
    """The time-stamp counter, read when all loads before it are done."""
    return time.perf_counter_ns()


@in_machine_code(_clock(1))
def now() -> int:
    """ns on a clock that never jumps."""
    return time.monotonic_ns()


@in_machine_code(_clock(0))
def wall_clock() -> int:
    """ns since the epoch, for time stamps in files."""
    return time.time_ns()


@in_machine_code(_pause)
def pause() -> None:
    """Tells the processor that this is a polling loop: the other hardware thread gets its turn."""


@in_machine_code(_sched_yield)
def give_way() -> None:
    """Lets another thread run on this core."""
    os.sched_yield()


@in_machine_code(_nanosleep)
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
