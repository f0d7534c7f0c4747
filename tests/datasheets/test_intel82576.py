"""The 82576's table: whole, well formed, and against literal values."""

import re
from itertools import combinations
from pathlib import Path

import pytest

from ixy.datasheets import intel82576 as sheet
from ixy.datasheets.registers import ACCESSES
from ixy.drivers.igb import driver
from ixy.drivers.intel import device

ROWS = sheet.INTEL82576.rows


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_driver_uses_each_row(row) -> None:
    source = "".join(Path(module.__file__).read_text() for module in (driver, device))
    name = row.name.rstrip("LH")  # the halves of a counter
    assert re.search(rf"\b{name}", source) or f'side + "{row.name[2:]}"' in source
    assert row.access in ACCESSES
    assert re.fullmatch(r"8\.\d+", row.section)


def test_no_register_is_at_the_place_of_another() -> None:
    places = [(row.name, {*row.offsets}) for row in ROWS]
    for (name, some), (other, more) in combinations(places, 2):
        assert not some & more, (name, other)
    assert len({name for name, _ in places}) == len(ROWS)
    assert all(offset % 4 == 0 and offset < 128 << 10 for _, some in places for offset in some)


@pytest.mark.parametrize(
    ("name", "index", "offset"),
    [
        ("CTRL", 0, 0x0), ("STATUS", 0, 0x8), ("MDIC", 0, 0x20), ("EICR", 0, 0x1580),
        ("EIMC", 0, 0x1528), ("RCTL", 0, 0x100), ("TCTL", 0, 0x400), ("RDBAL", 0, 0xC000),
        ("RDT", 3, 0xC0D8), ("SRRCTL", 1, 0xC04C), ("RXDCTL", 15, 0xC3E8), ("TDT", 1, 0xE058),
        ("TXDCTL", 0, 0xE028), ("RAL", 1, 0x5408), ("RETA", 31, 0x5C7C), ("RSSRK", 9, 0x5CA4),
        ("GPRC", 0, 0x4074), ("GOTCH", 0, 0x4094), ("MPC", 0, 0x4010),
    ],
)  # fmt: skip
def test_literal_offsets(name: str, index: int, offset: int) -> None:
    assert sheet.INTEL82576.registers[name].offsets[index] == offset


@pytest.mark.parametrize(
    ("name", "field", "mask"),
    [
        ("CTRL", "RST", 1 << 26), ("CTRL", "SLU", 1 << 6), ("STATUS", "LU", 2),
        ("RCTL", "RXEN", 2), ("RCTL", "UPE", 8), ("RCTL", "MPE", 16), ("RCTL", "SECRC", 1 << 26),
        ("TCTL", "EN", 2), ("TCTL", "PSP", 8), ("SRRCTL", "DESCTYPE", 7 << 25),
        ("SRRCTL", "DROP_EN", 1 << 31), ("RXDCTL", "ENABLE", 1 << 25), ("RAH", "AV", 1 << 31),
        ("RXCSUM", "PCSD", 1 << 13), ("MRQC", "MRQE", 7), ("MDIC", "READY", 1 << 28),
    ],
)  # fmt: skip
def test_literal_fields(name: str, field: str, mask: int) -> None:
    assert sheet.INTEL82576.registers[name].fields[field].mask == mask


def test_literal_ids() -> None:
    assert (sheet.VENDOR, sheet.MODELS["82576"], sheet.MODELS["i350"]) == (0x8086, 0x10C9, 0x1521)
