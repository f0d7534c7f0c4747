"""The language of register tables: fields, rows, and a device's registers by name."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.datasheets.registers import (
    Bound,
    Datasheet,
    DeviceTimeout,
    Fields,
    Registers,
    bit,
    bits,
)
from ixy.errors import IxyError
from rig import run_python


class CTRL(Fields):
    RST = bit(26)
    MODE = bits(4, 7)


class DCTL(Fields):
    ENABLE = bit(25)


SHEET = Datasheet(
    """
    CTRL   0x00000,~0x00004         RW  -          1.1  Device Control
    DCTL   0x01028+40*4,0x0D028+40*2,~0x2000+4*3   RW 0x402 2.3  A Control with Words
    CAUSE  0x00800                  RC  -          3.1  Cause
    """,
    {"CTRL": CTRL, "DCTL": DCTL},
)


class File:
    """Registers in a dictionary, and what was done to them."""

    def __init__(self) -> None:
        self.words: dict[int, int] = {}
        self.log: list[tuple[str, int, int]] = []

    def read(self, offset: int, size: int) -> int:
        self.log.append(("read", offset, self.words.get(offset, 0)))
        return self.words.get(offset, 0)

    def write(self, offset: int, size: int, value: int) -> None:
        self.log.append(("write", offset, value))
        self.words[offset] = value


@pytest.fixture
def file() -> File:
    return File()


@pytest.fixture
def regs(file: File) -> Registers:
    return Registers(SHEET, file, "nic0")


# Fields


@pytest.mark.parametrize(
    ("field", "mask"),
    [(bit(0), 1), (bit(31), 1 << 31), (bits(4, 7), 0xF0), (bits(0, 31), 2**32 - 1)],
)
def test_masks(field, mask: int) -> None:
    assert field.mask == mask
    assert field.of(0xFFFFFFFF) == mask >> field.low
    assert field.of(~mask & 0xFFFFFFFF) == 0


@given(st.integers(0, 31), st.integers(0, 31), st.integers(0, 2**32 - 1), st.data())
@settings(deadline=None)
def test_put_changes_the_field_alone(a: int, b: int, word: int, data: st.DataObject) -> None:
    low, high = min(a, b), max(a, b)
    field = bits(low, high)
    value = data.draw(st.integers(0, (1 << high - low + 1) - 1))
    changed = field.put(word, value)
    assert field.of(changed) == value
    assert changed & ~field.mask == word & ~field.mask
    assert field.put(changed, field.of(word)) == word


@pytest.mark.parametrize("value", [16, -1, 1 << 40])
def test_a_value_that_does_not_fit_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="does not fit in 4 bits"):
        bits(4, 7).put(0, value)


# Rows


def test_a_row() -> None:
    row = SHEET.registers["DCTL"]
    assert row.name == "DCTL"
    assert list(row.offsets) == [0x1028, 0x1068, 0x10A8, 0x10E8, 0xD028, 0xD068]
    assert list(row.aliases) == [0x2000, 0x2004, 0x2008]
    assert (row.access, row.reset, row.section) == ("RW", 0x402, "2.3")
    assert row.title == "A Control with Words"
    assert row.fields == {"ENABLE": bit(25)}
    assert SHEET.registers["CTRL"].reset == 0
    assert SHEET.registers["CAUSE"].fields == {}


def test_registers_by_offset() -> None:
    assert SHEET.at(0) == SHEET.at(4) == (SHEET.registers["CTRL"], 0)
    assert SHEET.at(0x10E8) == (SHEET.registers["DCTL"], 3)
    assert SHEET.at(0xD028) == (SHEET.registers["DCTL"], 4)
    assert SHEET.at(0x2008) == (SHEET.registers["DCTL"], 2)
    for nothing in (8, 0x1029, 0x1128, 0x200C, -4):
        assert SHEET.at(nothing) is None


def test_words_are_decoded_for_people() -> None:
    row = SHEET.registers["CTRL"]
    assert row.decode(0) == ""
    assert row.decode(1 << 26 | 0x50) == "RST MODE=0x5"
    assert row.decode(0xFBFFFF0F) == ""


# A device's registers


def test_reading_and_writing(regs: Registers, file: File) -> None:
    file.words[0x1068] = 0x12345678
    assert regs.DCTL[1].read() == 0x12345678
    assert regs.DCTL[1].field("ENABLE") == 1
    regs.DCTL[5].write(0x01, ENABLE=1)
    regs.CTRL.write()
    assert file.log[-2:] == [("write", 0xD068, 0x02000001), ("write", 0, 0)]


def test_update_is_one_read_and_one_write(regs: Registers, file: File) -> None:
    file.words[0] = 0xFFFFFFFF
    regs.CTRL.update(RST=0, MODE=5)
    assert file.log == [("read", 0, 0xFFFFFFFF), ("write", 0, 0xFBFFFF5F)]


def test_an_unknown_register_or_field(regs: Registers) -> None:
    with pytest.raises(AttributeError, match="no register NOPE"):
        _ = regs.NOPE
    with pytest.raises(KeyError):
        regs.CTRL.update(NOPE=1)


@pytest.mark.parametrize("index", [6, 100, -1, -6])
def test_an_index_beyond_the_array(regs: Registers, file: File, index: int) -> None:
    with pytest.raises(IndexError):
        regs.DCTL[index].read()
    assert file.log == []


def test_waiting_ends_as_soon_as_the_fields_are_right(regs: Registers, file: File) -> None:
    reads = 0

    def read(offset: int, size: int) -> int:
        nonlocal reads
        reads += 1
        return (1 << 26 | 0x30) if reads < 5 else 0x30

    file.read = read
    regs.CTRL.wait(10, RST=0, MODE=3)
    assert reads == 5


def test_waiting_in_vain_names_device_register_and_section(regs: Registers, file: File) -> None:
    file.words[0x10A8] = 0x402
    with pytest.raises(DeviceTimeout) as error:
        regs.DCTL[2].wait(0.02, ENABLE=1)
    assert isinstance(error.value, IxyError)
    assert str(error.value) == (
        "nic0: no DCTL[2].ENABLE = 1 within 0.02 s (it reads 0x00000402; datasheet 2.3)"
    )
    assert len(file.log) > 2


def test_repr_is_the_datasheets_name(regs: Registers) -> None:
    assert [repr(regs.CTRL), repr(regs.DCTL[3])] == ["CTRL", "DCTL[3]"]
    assert isinstance(regs.CTRL, Bound)


def test_a_trace_shows_each_access_decoded() -> None:
    code = """
from ixy.datasheets.registers import *
class CTRL(Fields):
    RST = bit(26)
class File:
    def read(self, offset, size): return 0x04000001
    def write(self, offset, size, value): pass
regs = Registers(Datasheet("CTRL 0x0 RW - 1.1 Control", {"CTRL": CTRL}), File(), "nic0")
regs.CTRL.update(RST=0)
"""
    result = run_python(code, IXY_TRACE="1")
    assert result.stderr.splitlines() == ["nic0 CTRL -> 0x04000001 RST", "nic0 CTRL <- 0x00000001"]
    assert run_python(code, IXY_TRACE="0").stderr == ""


class MORE(Fields):
    ON = bit(0)


def test_a_sheet_with_further_rows_and_fields() -> None:
    table = "MORE 0x100 RW - 4.1 More"
    whole = SHEET.with_rows(table, {"DCTL": MORE, "MORE": MORE})
    assert [row.name for row in whole.rows] == ["CTRL", "DCTL", "CAUSE", "MORE"]
    assert whole.at(0x100) == (whole.registers["MORE"], 0)
    assert SHEET.at(0x100) is None
    assert whole.registers["DCTL"].fields == {"ENABLE": bit(25), "ON": bit(0)}
    assert SHEET.registers["DCTL"].fields == {"ENABLE": bit(25)}
