"""Ordered loads and stores, compiled and as plain Python; raw memory as arrays and records."""

import ctypes
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.compiled import compiled
from ixy.memory.ordered import (
    Word,
    address_of,
    array_at,
    copy_bytes,
    exchange,
    fetch_add,
    load_acquire,
    lock,
    records,
    store_release,
    unlock,
)

Inner = np.dtype([("size", "u4"), ("data", "u8")])
Things = np.dtype(
    [
        ("lock", "u4"),
        ("narrow", "u4"),
        ("wide", "u8"),
        ("signed", "i8"),
        # names that NumPy's arrays and scalars use themselves
        ("size", "u8"),
        ("data", "u8"),
        ("item", "u4"),
        ("base", "u4"),
        ("flags", "u8", 3),
        ("inner", Inner, 2),
    ],
    align=True,
)


@compiled
def _load_store(things, value):
    thing = things[0]
    store_release(thing, "narrow", value)
    store_release(thing, "wide", value)
    store_release(thing, "signed", -value)
    return load_acquire(thing, "narrow"), load_acquire(thing, "wide"), load_acquire(thing, "signed")


@compiled
def _exchange(things, value):
    return exchange(things[0], "narrow", value), exchange(things[0], "wide", value)


@compiled
def _fetch_add(things, value):
    return fetch_add(things[0], "wide", value)


@compiled
def _count(things, rounds):
    """Adds one to `wide` so many times, under the lock."""
    thing = things[0]
    for _ in range(rounds):
        lock(thing)
        thing.wide += np.uint64(1)
        unlock(thing)


@compiled
def _add(things, rounds):
    for _ in range(rounds):
        fetch_add(things[0], "signed", 1)


@compiled
def _sum_at(address, count):
    total = 0
    for word in array_at(address, count, Word):
        total += np.int64(word.value)
    return total


@compiled
def _write_at(address, place, value):
    array_at(address, place + 1, Word)[place].value = value


@compiled
def _bytes_at(address, count):
    total = 0
    for byte in array_at(address, count, np.uint8):
        total += np.int64(byte)
    return total


@compiled
def _copy(target, source, size):
    copy_bytes(target, source, size)


@compiled
def _odd_names(things):
    """Writes and reads fields by names that mean something else to NumPy."""
    thing = array_at(things, 1, Things)[0]
    thing.size = 100
    thing.data = 200
    thing.item = 300
    thing.base = 400
    thing.flags[1] = 500
    thing.inner[1].size = 600
    thing.inner[1].data = 700
    inner = thing.inner[1]
    fields = np.int64(thing.size) + np.int64(thing.data) + np.int64(thing.item)
    return fields + np.int64(thing.base), np.int64(inner.size), np.int64(inner.data)


@given(st.integers(0, 2**31 - 1))
@settings(deadline=None, max_examples=30)
def test_what_is_stored_is_loaded(value: int) -> None:
    things = records(1, Things)
    assert tuple(map(int, _load_store(things, value))) == (value, value, -value)
    assert int(things[0]["wide"]) == value


def test_exchange_gives_the_old_value_and_leaves_the_new() -> None:
    things = records(1, Things)
    assert tuple(map(int, _exchange(things, 5))) == (0, 0)
    assert tuple(map(int, _exchange(things, 6))) == (5, 5)
    assert (int(things[0]["narrow"]), int(things[0]["wide"])) == (6, 6)


def test_fetch_add_gives_the_value_before() -> None:
    things = records(1, Things)
    assert [int(_fetch_add(things, 3)) for _ in range(4)] == [0, 3, 6, 9]
    assert int(things[0]["wide"]) == 12


def in_threads(function, *arguments, count: int = 3) -> None:
    threads = [threading.Thread(target=function, args=arguments) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize("rounds", [300, pytest.param(100_000, marks=pytest.mark.compiled)])
def test_the_lock_keeps_threads_apart(rounds: int) -> None:
    things = records(1, Things)
    _count(things, 1)
    in_threads(_count, things, rounds)
    assert int(things[0]["wide"]) == 3 * rounds + 1
    assert int(things[0]["lock"]) == 0


@pytest.mark.parametrize("rounds", [300, pytest.param(300_000, marks=pytest.mark.compiled)])
def test_fetch_add_is_one_step(rounds: int) -> None:
    things = records(1, Things)
    _add(things, 1)
    in_threads(_add, things, rounds)
    assert int(things[0]["signed"]) == 3 * rounds + 1


def test_memory_at_an_address() -> None:
    words = np.arange(10, dtype=np.uint32)
    assert _sum_at(address_of(words), 10) == 45
    assert _sum_at(address_of(words) + 8, 3) == 2 + 3 + 4
    assert _sum_at(address_of(words), 0) == 0
    assert _bytes_at(address_of(words), 40) == 45
    _write_at(address_of(words), 7, 0xFFFFFFFF)
    assert words[7] == 0xFFFFFFFF
    assert words[6] == 6


def test_an_array_of_nothing_at_no_address() -> None:
    assert _sum_at(0, 0) == 0
    assert _bytes_at(0, 0) == 0


@given(st.binary(max_size=300))
@settings(deadline=None, max_examples=30)
def test_copied_bytes(data: bytes) -> None:
    source = ctypes.create_string_buffer(data, max(len(data), 1))
    target = ctypes.create_string_buffer(b"\xaa" * 310, 310)
    _copy(ctypes.addressof(target) + 1, ctypes.addressof(source), len(data))
    assert target.raw == b"\xaa" + data + b"\xaa" * (309 - len(data))


def test_any_field_name_is_a_field() -> None:
    things = records(1, Things)
    assert tuple(map(int, _odd_names(address_of(things)))) == (1000, 600, 700)
    assert int(things[0]["size"]) == 100
    assert [int(flag) for flag in things[0]["flags"]] == [0, 500, 0]


def test_records_are_zeroed() -> None:
    things = records(3, Things)
    assert len(things) == 3
    assert things.tobytes() == bytes(3 * Things.itemsize)
