"""The 82599's table checked as a table, and against literal values from its datasheet."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from ixy.datasheets import intel82599_device as sheet
from ixy.datasheets.intel82599 import INTEL82599, MODELS, RxDescriptor, TxDescriptor
from ixy.datasheets.intel82599_device import REGISTER_SPACE
from ixy.datasheets.registers import ACCESSES, Field, Fields
from ixy.drivers.intel import device
from ixy.drivers.ixgbe import driver

ROWS = sheet.WHOLE.rows
FIELDS = {
    name: kind
    for name, kind in vars(sheet).items()
    if isinstance(kind, type) and issubclass(kind, Fields) and kind is not Fields
}


def row_id(row) -> str:
    return row.name


def test_names_are_unique() -> None:
    names = [row.name for row in ROWS]
    assert len(names) > 50
    assert sorted(names) == sorted(set(names))
    assert set(sheet.WHOLE.registers) == set(names)


@pytest.mark.parametrize("row", INTEL82599.rows, ids=row_id)
def test_the_driver_uses_each_row_of_its_part(row) -> None:
    source = "".join(Path(module.__file__).read_text() for module in (driver, device))
    name = row.name.rstrip("LH")  # the halves of a counter
    assert re.search(rf"\b{name}", source) or f'side + "{row.name[2:]}"' in source
    assert sheet.WHOLE.registers[row.name].offsets == row.offsets


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_a_row_is_well_formed(row) -> None:
    assert re.fullmatch(r"[A-Z][A-Z0-9_]*", row.name)
    assert row.access in ACCESSES
    assert re.fullmatch(r"8\.2\.3\.\d+(\.\d+)?", row.section), "each row comes from a section"
    assert row.title.strip() == row.title != ""
    assert 0 <= row.reset < 2**32
    assert len(row.offsets) >= 1
    assert len(row.aliases) <= len(row.offsets)


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_offsets_are_aligned_and_inside_the_bar(row) -> None:
    for offset in (*row.offsets, *row.aliases):
        assert offset % 4 == 0
        assert 0 <= offset <= REGISTER_SPACE - 4


def test_no_two_registers_share_an_offset() -> None:
    offsets = [(offset, row.name) for row in ROWS for offset in (*row.offsets, *row.aliases)]
    seen: dict[int, str] = {}
    clashes = [
        (hex(at), name, seen[at]) for at, name in offsets if seen.setdefault(at, name) != name
    ]
    assert clashes == []
    assert len({at for at, _ in offsets}) == len(offsets)


def test_each_section_has_one_row_or_a_pair() -> None:
    sections = [row.section for row in ROWS if row.section.count(".") == 4]
    assert len(sections) > 200
    assert sorted(sections) == sorted(set(sections))


@pytest.mark.parametrize("row", [row for row in ROWS if row.fields], ids=row_id)
def test_fields_are_inside_the_word_and_disjoint(row) -> None:
    for field in row.fields.values():
        assert field.width >= 1
        assert 0 <= field.low <= field.low + field.width - 1 <= 31
    for one, other in combinations(row.fields.values(), 2):
        assert one.mask & other.mask == 0


@pytest.mark.parametrize("name", FIELDS)
def test_each_class_of_fields_belongs_to_a_register(name: str) -> None:
    kind = FIELDS[name]
    declared = {
        key: getattr(kind, key) for key in dir(kind) if isinstance(getattr(kind, key), Field)
    }
    assert declared
    assert sheet.WHOLE.registers[name].fields == declared


# From the datasheet (and public drivers): register, index, offset
LITERAL = [
    ("CTRL", 0, 0x00000), ("STATUS", 0, 0x00008), ("CTRL_EXT", 0, 0x00018), ("EICR", 0, 0x00800),
    ("EIMS", 0, 0x00880), ("EIMC", 0, 0x00888), ("RDBAL", 0, 0x01000), ("RDBAL", 63, 0x01FC0),
    ("RDBAL", 64, 0x0D000), ("RDBAL", 127, 0x0DFC0), ("RDBAH", 1, 0x01044), ("RDLEN", 2, 0x01088),
    ("RDH", 3, 0x010D0), ("RDT", 4, 0x01118), ("RXDCTL", 5, 0x01168), ("SRRCTL", 0, 0x01014),
    ("RDRXCTL", 0, 0x02F00), ("RXCTRL", 0, 0x03000), ("RXPBSIZE", 7, 0x03C1C),
    ("FCTRL", 0, 0x05080), ("MTA", 127, 0x053FC), ("RAL", 0, 0x0A200), ("RAH", 127, 0x0A5FC),
    ("MRQC", 0, 0x0EC80), ("RETA", 31, 0x0EB7C), ("RSSRK", 9, 0x0EBA4), ("DTXMXSZRQ", 0, 0x08100),
    ("DMATXCTL", 0, 0x04A80), ("TDBAL", 127, 0x07FC0), ("TDBAH", 0, 0x06004), ("TDLEN", 1, 0x06048),
    ("TDH", 0, 0x06010), ("TDT", 0, 0x06018), ("TXDCTL", 0, 0x06028), ("TXPBSIZE", 1, 0x0CC04),
    ("MTQC", 0, 0x08120), ("TXPBTHRESH", 0, 0x04950), ("RTTDCS", 0, 0x04900),
    ("HLREG0", 0, 0x04240), ("MAXFRS", 0, 0x04268), ("AUTOC", 0, 0x042A0), ("LINKS", 0, 0x042A4),
    ("CRCERRS", 0, 0x04000), ("RXMPC", 7, 0x03FBC), ("GPRC", 0, 0x04074), ("GORCL", 0, 0x04088),
    ("GORCH", 0, 0x0408C), ("GPTC", 0, 0x04080), ("GOTCL", 0, 0x04090), ("GOTCH", 0, 0x04094),
    ("RUC", 0, 0x040A4), ("ROC", 0, 0x040AC), ("TPR", 0, 0x040D0), ("TPT", 0, 0x040D4),
    ("QPRC", 15, 0x013F0), ("QPRDC", 0, 0x01430), ("QBRC_L", 0, 0x01034), ("QBRC_H", 0, 0x01038),
    ("EEC", 0, 0x10010), ("EERD", 0, 0x10014), ("SWSM", 0, 0x10140), ("SW_FW_SYNC", 0, 0x10160),
]  # fmt: skip


@pytest.mark.parametrize(("name", "index", "offset"), LITERAL)
def test_literal_offsets(name: str, index: int, offset: int) -> None:
    assert sheet.WHOLE.registers[name].offsets[index] == offset
    assert sheet.WHOLE.at(offset) == (sheet.WHOLE.registers[name], index)


LITERAL_ALIASES = [
    ("CTRL", 0, 0x4), ("SRRCTL", 15, 0x213C), ("DCA_RXCTRL", 0, 0x2200), ("RAL", 15, 0x5478),
    ("RAH", 0, 0x5404), ("MRQC", 0, 0x5818), ("RETA", 0, 0x5C00), ("RSSRK", 9, 0x5CA4),
]  # fmt: skip


@pytest.mark.parametrize(("name", "index", "offset"), LITERAL_ALIASES)
def test_literal_aliases(name: str, index: int, offset: int) -> None:
    assert sheet.WHOLE.registers[name].aliases[index] == offset
    assert sheet.WHOLE.at(offset) == (sheet.WHOLE.registers[name], index)


LITERAL_FIELDS = [
    ("CTRL", "GIO_DIS", 0x4), ("CTRL", "LNK_RST", 0x8), ("CTRL", "RST", 0x04000000),
    ("STATUS", "GIO", 0x80000), ("EEC", "PRES", 0x100), ("EEC", "ARD", 0x200),
    ("RDRXCTL", "CRCSTRIP", 0x2), ("RDRXCTL", "DMAIDONE", 0x8), ("RDRXCTL", "RSCACKC", 0x2000000),
    ("RXCTRL", "RXEN", 0x1), ("RXDCTL", "ENABLE", 0x2000000), ("SRRCTL", "DROP_EN", 0x10000000),
    ("SRRCTL", "DESCTYPE", 0x0E000000), ("SRRCTL", "BSIZEPACKET", 0x1F), ("FCTRL", "MPE", 0x100),
    ("FCTRL", "UPE", 0x200), ("FCTRL", "BAM", 0x400), ("FCTRL", "SBP", 0x2),
    ("HLREG0", "TXCRCEN", 0x1), ("HLREG0", "RXCRCSTRP", 0x2), ("HLREG0", "JUMBOEN", 0x4),
    ("HLREG0", "TXPADEN", 0x400), ("MAXFRS", "MFS", 0xFFFF0000), ("LINKS", "UP", 0x40000000),
    ("LINKS", "SPEED", 0x30000000), ("AUTOC", "LMS", 0xE000), ("AUTOC", "AN_RESTART", 0x1000),
    ("DMATXCTL", "TE", 0x1), ("TXDCTL", "ENABLE", 0x2000000), ("TXDCTL", "WTHRESH", 0x7F0000),
    ("RAH", "AV", 0x80000000), ("MRQC", "MRQE", 0xF), ("MRQC", "UDP_IPV6", 0x800000),
    ("RTTDCS", "ARBDIS", 0x40), ("DCA_RXCTRL", "BIT12", 0x1000), ("RXPBSIZE", "SIZE", 0xFFC00),
    ("MCSTCTRL", "MFE", 0x4), ("SWSM", "SMBI", 0x1), ("EERD", "DONE", 0x2),
    ("EERD", "DATA", 0xFFFF0000),
]  # fmt: skip


@pytest.mark.parametrize(("name", "field", "mask"), LITERAL_FIELDS)
def test_literal_fields(name: str, field: str, mask: int) -> None:
    assert sheet.WHOLE.registers[name].fields[field].mask == mask


def test_statistics_clear_when_they_are_read() -> None:
    settings = ("RQSMR", "TQSM", "RXDSTATCTRL")
    statistics = [
        row for row in ROWS if row.section.startswith("8.2.3.23") and row.name not in settings
    ]
    assert len(statistics) > 60
    assert {row.access for row in statistics} == {"RC"}


# Descriptors


def test_a_receive_descriptor_is_16_bytes_in_two_formats() -> None:
    assert RxDescriptor.itemsize == 16
    record = np.frombuffer(bytes(range(16)), RxDescriptor)[0]
    assert int(record["buffer"]) == 0x0706050403020100
    assert int(record["header"]) == int(record["done"]) == 0x0F0E0D0C0B0A0908
    assert (int(record["info"]), int(record["rss"])) == (0x03020100, 0x07060504)


def test_a_transmit_descriptor_is_16_bytes_in_two_formats() -> None:
    assert TxDescriptor.itemsize == 16
    record = np.frombuffer(bytes(range(16)), TxDescriptor)[0]
    assert int(record["buffer"]) == 0x0706050403020100
    assert int(record["command"]) == 0x0B0A0908
    assert int(record["offload"]) == int(record["status"]) == 0x0F0E0D0C


def test_bits_of_descriptors() -> None:
    d = sheet
    assert (d.RX_DD, d.RX_EOP, d.RX_VP, d.RX_PIF, d.RX_RXE) == (1, 2, 8, 0x80, 0x20000000)
    assert (d.TX_EOP, d.TX_IFCS, d.TX_RS, d.TX_DEXT) == (
        0x1000000,
        0x2000000,
        0x8000000,
        0x20000000,
    )
    assert (d.TX_DATA, d.TX_DTYP, d.TX_DD) == (0x300000, 0xF00000, 1)
    assert d.TX_PAYLEN_SHIFT == 14


def test_device_ids_are_unique() -> None:
    assert len(set(MODELS.values())) == len(MODELS)
    assert {0x10FB, 0x1528, 0x1563, 0x1560, 0x15D1, 0x10F7} <= set(MODELS.values())
