"""Registers as memory: one access each, in the place that is meant."""

import ctypes
import mmap
import os
import struct
from collections.abc import Iterator

import pytest

from ixy.bus.bar import FileBar, MappedBar
from ixy.bus.function import Doorbell
from ixy.errors import IxyError

PAGE = mmap.PAGESIZE
START = 2 * PAGE


@pytest.fixture
def file() -> Iterator[int]:
    file = os.memfd_create("bar")
    os.ftruncate(file, START + 4 * PAGE)
    yield file
    os.close(file)


def nothing() -> None:
    """The device is there."""


def word(file: int, offset: int) -> int:
    return struct.unpack("<I", os.pread(file, 4, START + offset))[0]


def test_registers_in_and_outside_of_the_mapped_parts(file: int) -> None:
    bar = MappedBar(file, START, [(0, PAGE), (3 * PAGE, PAGE)], FileBar("x", file, START), nothing)
    for i, offset in enumerate((0, 4, PAGE - 4, PAGE, 2 * PAGE, 3 * PAGE, 4 * PAGE - 4)):
        bar.write(offset, 4, 0x80000000 + i)
        assert bar.read(offset, 4) == word(file, offset) == 0x80000000 + i
    bar.close()


@pytest.mark.parametrize("begin", [0, PAGE])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_registers_of_other_sizes(file: int, begin: int, size: int) -> None:
    bar = MappedBar(file, START, [(0, PAGE)], FileBar("x", file, START), nothing)
    os.pwrite(file, bytes.fromhex("00112233445566778899aabbccddeeff"), START + begin)
    bar.write(begin + 8, size, 0x4F4E4D4C & (1 << 8 * size) - 1)
    after = b"LMNO"[:size] + bytes.fromhex("8899aabbccddeeff")[size:]
    assert os.pread(file, 16, START + begin) == bytes.fromhex("0011223344556677") + after
    assert bar.read(begin + 8, size) == int.from_bytes(b"LMNO"[:size], "little")
    assert bar.read(begin + 4, size) == 0x77665544 & (1 << 8 * size) - 1
    bar.close()


def test_a_notifier_is_the_register_or_its_place_in_the_file(file: int) -> None:
    outside = FileBar("x", file, START)
    bar = MappedBar(file, START, [(PAGE, PAGE)], outside, nothing)
    assert bar.notifier(PAGE + 16, 2, 1) == Doorbell(bar.doorbell(PAGE + 16))
    assert bar.notifier(16, 2, 1) == Doorbell(0, file, START + 16) == outside.notifier(16, 2, 1)
    bar.close()


def test_a_doorbell_is_the_register_itself(file: int) -> None:
    bar = MappedBar(file, START, [(PAGE, 2 * PAGE)], FileBar("x", file, START), nothing)
    ctypes.c_uint32.from_address(bar.doorbell(2 * PAGE + 8)).value = 77
    assert bar.read(2 * PAGE + 8, 4) == word(file, 2 * PAGE + 8) == 77
    for offset in (0, PAGE - 4, 3 * PAGE):
        with pytest.raises(IxyError, match=f"x: register {offset:#x}"):
            bar.doorbell(offset)
    bar.close()


def test_ones_are_suspect(file: int) -> None:
    def gone() -> None:
        raise IxyError("the device is gone")

    bar = MappedBar(file, START, [(0, PAGE)], FileBar("x", file, START), gone)
    for size in (1, 2, 4):
        bar.write(16, size, (1 << 8 * size) - 1)
        with pytest.raises(IxyError, match="gone"):
            bar.read(16, size)
    for offset in (8, PAGE):
        bar.write(offset, 4, 0xFFFFFFFE)
        assert bar.read(offset, 4) == 0xFFFFFFFE
        bar.write(offset, 4, 0xFFFFFFFF)
        with pytest.raises(IxyError, match="gone"):
            bar.read(offset, 4)
    bar.close()


def test_behind_the_end_nothing_answers(file: int) -> None:
    assert FileBar("x", file, START).read(4 * PAGE, 4) == 0xFFFFFFFF


def test_closing_unmaps(file: int) -> None:
    def mapped() -> int:
        with open("/proc/self/maps") as maps:
            return sum("memfd:bar" in line for line in maps)

    bar = MappedBar(file, START, [(0, PAGE), (2 * PAGE, PAGE)], FileBar("x", file, START), nothing)
    assert mapped() == 2
    bar.close()
    assert mapped() == 0
