"""Memory shared with a device or with another thread, seen through records.

The compiler and the processor may reorder, merge or drop plain loads and stores. A descriptor's
DONE bit, a doorbell and a ring's indices must be accessed once each and in order: the functions
here do that. In compiled code they are atomic LLVM loads and stores (plain `mov` on x86); with
NUMBA_DISABLE_JIT=1 their plain Python bodies run.

A field is named by a literal: `load_acquire(descriptor, "status")`.
"""

import ctypes
import threading
from typing import Any

import numpy as np

from ixy import native
from ixy.compiled import JIT, compiled, in_machine_code, interpretable
from ixy.system import give_way

Word = np.dtype([("value", "u4")])  # a register of a device: one aligned 32-bit word
_interpreted = threading.Lock()  # what an atomic instruction is to compiled code


@in_machine_code(native.load_acquire)
def load_acquire(record: Any, field: str) -> Any:
    """Reads a field; nothing after this line is done before it."""
    return record[field]


@in_machine_code(native.store_release)
def store_release(record: Any, field: str, value: int) -> None:
    """Writes a field; everything before this line is done before it."""
    with _interpreted:  # an `exchange` between its two halves would undo it
        record[field] = value


@in_machine_code(native.atomic("xchg"))
def exchange(record: Any, field: str, value: int) -> Any:
    """Writes a field and returns what it held, in one step that no other thread can divide."""
    with _interpreted:
        old = record[field]
        record[field] = value
        return old


@in_machine_code(native.atomic("add"))
def fetch_add(record: Any, field: str, value: int) -> Any:
    """Adds to a field and returns what it held, in one step that no other thread can divide."""
    with _interpreted:
        old = record[field]
        record[field] = int(old) + value
        return old


@in_machine_code(native.array_at)
def array_at(address: Any, count: Any, dtype: Any) -> Any:
    """The memory at an address, as an array of `count` items of `dtype`. Nothing checks that it is
    mapped.
    """
    dtype = np.dtype(dtype)
    raw = (ctypes.c_char * (int(count) * dtype.itemsize)).from_address(int(address))
    return interpretable(np.frombuffer(raw, dtype))


@in_machine_code(native.copy_bytes)
def _copy(target: Any, source: Any, size: Any) -> None:
    ctypes.memmove(int(target), int(source), int(size))


@compiled
def copy_bytes(target, source, size):
    """Copies `size` bytes between two addresses that do not overlap."""
    if 32 <= size <= 64:  # most packets: two vectors that may overlap cost less than a call
        rest = np.uint64(size - 32)
        _copy(target, source, 32)
        _copy(target + rest, source + rest, 32)
    else:
        _copy(target, source, size)


@compiled
def lock(record):
    """Takes the spin lock in a record's field `lock`. Such locks are held for microseconds, so
    whoever waits tries on.
    """
    while exchange(record, "lock", 1):
        give_way()


@compiled
def unlock(record):
    """Lets the next thread in."""
    store_release(record, "lock", 0)


def records(count: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Zeroed records that compiled functions and, with the JIT off, plain Python can take.

    A plain struct array crosses into compiled code in 0.2 us, a recarray in 2.4 us; only the latter
    knows `.field`.
    """
    plain = np.zeros(count, dtype)
    return plain if JIT else interpretable(plain)


def address_of(array: np.ndarray[Any, Any]) -> int:
    """Where an array's first byte is. Keep the array alive as long as the address is used."""
    return int(array.ctypes.data)
