"""The emulated 82599's PCI configuration space, by literal offset."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.datasheets.intel82599_pci import CONFIGURATION, REGION_SIZES
from rig import Bare, Bench, numbered

ONES = 0xFFFFFFFF


def test_rows_do_not_overlap_and_fit() -> None:
    places = [place for row in CONFIGURATION for place in range(row.offset, row.offset + row.size)]
    assert len(places) == len(set(places))
    assert max(places) < 256
    for row in CONFIGURATION:
        assert row.reset >> 8 * row.size == row.writable >> 8 * row.size == 0


@pytest.mark.parametrize(
    ("bar", "flags", "size"),
    [(0x10, 0xC, 128 * 1024), (0x18, 0x1, 32), (0x20, 0xC, 16 * 1024)],
)
def test_regions_tell_their_size(bare: Bare, bar: int, flags: int, size: int) -> None:
    config = bare.model
    config.config_write(bar, 4, ONES)
    answer = config.config_read(bar, 4)
    assert answer & 0xF == flags
    assert (~(answer & ~0xF if flags != 1 else answer & ~3) & ONES) + 1 == size
    assert REGION_SIZES[(bar - 0x10) // 4] == size
    config.config_write(bar, 4, 0xFE000000)
    assert config.config_read(bar, 4) == 0xFE000000 | flags


@pytest.mark.parametrize("bar", [0x14, 0x24])
def test_upper_halves_of_regions(bare: Bare, bar: int) -> None:
    bare.model.config_write(bar, 4, ONES)
    assert bare.model.config_read(bar, 4) == ONES


@pytest.mark.parametrize("bar", [0x1C, 0x30])
def test_there_are_no_other_regions(bare: Bare, bar: int) -> None:
    bare.model.config_write(bar, 4, ONES)
    assert bare.model.config_read(bar, 4) == 0


def test_the_list_of_capabilities(bare: Bare) -> None:
    read = bare.model.config_read
    assert read(6, 2) & 0x10
    found, at = [], read(0x34, 1)
    while at:
        found.append((at, read(at, 1)))
        at = read(at + 1, 1)
    assert found == [(0x40, 0x01), (0x50, 0x05), (0x70, 0x11), (0xA0, 0x10)]


def test_what_capabilities_say(bare: Bare) -> None:
    read = bare.model.config_read
    assert read(0x72, 2) == 63  # 64 vectors
    assert (read(0x74, 4), read(0x78, 4)) == (4, 0x2004)  # table and pending bits in BAR 4
    assert read(0x52, 2) & 0x180 == 0x180  # 64-bit address, mask
    assert read(0xA4, 4) >> 28 & 1  # function level reset
    assert read(0xA4, 4) & 7 == 2  # 512 bytes
    assert read(0xB2, 2) & 0x3FF == 0x82  # 5 GT/s, 8 lanes
    assert read(0x0B, 1) == 2  # network controller


def test_message_registers_can_be_written(bare: Bare) -> None:
    for offset, size, value, stored in (
        (0x44, 2, 0xFFFF, 0x010B), (0x52, 2, 0xFFFF, 0x01F1), (0x54, 4, 0xFEE00001, 0xFEE00000),
        (0x58, 4, 5, 5), (0x5C, 2, 0x4021, 0x4021), (0x60, 4, ONES, 1),
        (0x72, 2, 0xFFFF, 0xC03F),
        (0x74, 4, ONES, 4), (0xA8, 2, 0x78FF, 0x78FF), (4, 2, 0xFFFF, 0x0547),
    ):  # fmt: skip
        bare.model.config_write(offset, size, value)
        assert bare.model.config_read(offset, size) == stored


def test_reads_of_any_size_agree(bare: Bare) -> None:
    read = bare.model.config_read
    words = b"".join(read(offset, 4).to_bytes(4, "little") for offset in range(0, 256, 4))
    assert words == b"".join(read(offset, 2).to_bytes(2, "little") for offset in range(0, 256, 2))
    assert words == bytes(read(offset, 1) for offset in range(256))


@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from([1, 2, 4]), st.integers(0, ONES))))
@settings(deadline=None, max_examples=50)
def test_any_write_leaves_what_cannot_be_written(writes: list[tuple[int, int, int]]) -> None:
    bare = Bare()
    for offset, size, value in writes:
        bare.model.config_write(offset, size, value & (1 << 8 * size) - 1)
        bare.model.config_read(offset, size)
    for row in CONFIGURATION:
        found = bare.model.config_read(row.offset, row.size)
        reset = 0x10FB8086 & 0xFFFF if row.offset == 0 else row.reset
        assert found & ~row.writable & ~(8 if row.offset == 6 else 0) == reset & ~row.writable
    assert bare.model.config_read(2, 2) == 0x10FB
    bare.close()


def test_interrupt_status_shows_the_line(bare: Bare) -> None:
    bare.write(0x880, 1)
    assert not bare.model.config_read(6, 2) & 8
    bare.write(0x808, 1)
    assert bare.model.config_read(6, 2) & 8
    bare.read(0x800)
    assert not bare.model.config_read(6, 2) & 8


def test_a_dma_fault_shows_in_the_status(bare: Bare) -> None:
    assert bare.model.config_read(6, 2) == 0x0010
    bare.transmitter()
    bare.describe(0, 0x2B300000 | 60, buffer=1 << 40)
    assert bare.send(1) == []
    assert bare.model.config_read(6, 2) == 0x2010
    bare.model.config_write(6, 2, 0x1000)
    assert bare.model.config_read(4, 4) >> 16 == 0x2010
    bare.model.config_write(4, 4, 0x2000_0006)  # a one clears
    assert bare.model.config_read(6, 2) == 0x0010
    assert bare.model.fault() is None


def test_intx_can_be_disabled(bare: Bare) -> None:
    file = os.eventfd(0, os.EFD_NONBLOCK)
    bare.model.connect_interrupt("intx", 0, file)
    bare.model.config_write(4, 2, 0x0406)
    bare.write(0x880, 1)
    bare.write(0x808, 1)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(file)
    bare.model.config_write(4, 2, 0x0006)
    assert os.eventfd_read(file) == 1
    bare.model.connect_interrupt("intx", 0, None)
    os.close(file)


# Reset


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [(0xA8, 2, 0x8000), (0xA8, 4, 0xA810), (0xA9, 1, 0x80), (0xA6, 4, 0x80000000)],
)
def test_function_level_reset(bare: Bare, offset: int, size: int, value: int) -> None:
    bare.receiver()
    bare.model.config_write(0x10, 4, 0xFE000000)
    bare.write(0x880, 1)
    bare.model.config_write(offset, size, value)
    assert bare.model.config_read(0x10, 4) == 0xC
    assert bare.model.config_read(4, 2) == 0
    assert bare.model.config_read(0xA8, 2) == 0x2810  # the bit reads 0
    assert [bare.read(each) for each in (0x880, 0x1000, 0x1028, 0x3000)] == [0] * 4
    assert bare.read(0x5400) == 0x02  # the MAC address is there again


def test_function_level_reset_leaves_what_the_host_has_made(bare: Bare) -> None:
    file = os.eventfd(0, os.EFD_NONBLOCK)
    bare.model.connect_interrupt("intx", 0, file)
    bare.model.function_level_reset()
    bare.write(0x880, 1)
    bare.write(0x808, 1)
    assert os.eventfd_read(file) == 1
    bare.model.config_write(4, 2, 6)
    bare.write(0x2F00, 0xA)
    bare.write(0x5080, 0x700)
    bare.receiver()
    bare.wire.arrive(numbered(1))
    bare.step()
    assert bare.received(0)[8] & 1
    bare.model.connect_interrupt("intx", 0, None)
    os.close(file)


def test_a_host_that_has_gone_leaves_nothing(bare: Bare) -> None:
    file = os.eventfd(0, os.EFD_NONBLOCK)
    bare.model.connect_interrupt("msix", 0, file)
    bare.model.reset_function()
    bare.write(0x880, 1)
    bare.write(0x808, 1)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(file)
    bare.model.config_write(4, 2, 6)
    bare.receiver()
    bare.wire.arrive(numbered(1))
    bare.step()
    assert bare.model.fault() is not None  # its memory is not mapped any more
    bare.function._iovas.clear()
    os.close(file)


def test_each_model_has_its_device_id() -> None:
    from ixy.emulator.intel82599.model import Intel82599

    model = Intel82599(Bench(), bytes(6), "82599-kx4")
    model.function_level_reset()
    assert model.config_read(0, 4) == 0x10F78086
    model.close()
