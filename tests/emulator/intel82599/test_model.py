"""The emulated 82599's registers, by literal offset: what a read gives and what a write does."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.datasheets.intel82599_device import MODELS, WHOLE, WRITABLE
from ixy.emulator.intel82599.model import MAX_MAPPINGS, Intel82599
from ixy.errors import IxyError
from rig import MAC, OTHER, Bare, Bench, ethernet, numbered

CTRL, STATUS, EICR, EIMS, EIMC = 0x0, 0x8, 0x800, 0x880, 0x888
EEC, EERD, SWSM, AUTOC, LINKS = 0x10010, 0x10014, 0x10140, 0x42A0, 0x42A4
RST = 1 << 26


@pytest.fixture
def model() -> Iterator[Intel82599]:
    model = Intel82599(Bench(), MAC)
    yield model
    model.close()


@pytest.fixture
def bare() -> Iterator[Bare]:
    bare = Bare()
    yield bare
    bare.close()


# The values that the datasheet gives after a reset, by offset
AFTER_RESET = {
    0x00000: 0, 0x00008: 0x00080000, 0x00018: 0, 0x01014: 0x402, 0x02100: 0x402,
    0x02F00: 0x00100008,
    0x03000: 0, 0x03C00: 0x80000, 0x03C1C: 0x80000, 0x0100C: 0xB200, 0x02200: 0xB200, 0x05080: 0,
    0x05400: 0x00000002, 0x05404: 0x80000100, 0x05408: 0, 0x0540C: 0, 0x08100: 0x10,
    0x04A80: 0x81000000, 0x0CC00: 0x28000, 0x04900: 0x00C00000, 0x04240: 0x00010403,
    0x04268: 0x05EE0000, 0x01028: 0, 0x06028: 0, 0x00880: 0,
}  # fmt: skip


@pytest.mark.parametrize("offset", AFTER_RESET, ids=hex)
def test_values_after_a_reset(model: Intel82599, offset: int) -> None:
    assert model.read(offset) == AFTER_RESET[offset]
    model.write(offset, 0x12345678 & ~RST & ~0xC)
    model.write(CTRL, RST)
    assert model.read(offset) == AFTER_RESET[offset]


@pytest.mark.parametrize("bits", [1 << 26, 1 << 3, 0x04000008])
def test_reset_bits_clear_themselves(model: Intel82599, bits: int) -> None:
    model.write(CTRL, bits)
    assert model.read(CTRL) & bits == 0
    assert model.read(EEC) & 0x300 == 0x300  # PRES, ARD
    assert model.read(0x2F00) & 8  # RDRXCTL.DMAIDONE


def test_a_reset_stops_everything(bare: Bare) -> None:
    bare.receiver()
    bare.transmitter()
    bare.wire.arrive(numbered(1))
    bare.step()
    bare.write(CTRL, RST)
    assert [bare.read(offset) for offset in (0x1028, 0x6028, 0x3000, 0x1010, 0x1030)] == [0] * 5
    bare.wire.arrive(numbered(2))
    bare.step()
    assert bare.received(1)[8:] == bytes(8)
    assert bare.read(0x1030) == 0


def test_after_a_reset_the_receiver_is_off(bare: Bare) -> None:
    """RXCTRL reads 0: frames that come now are neither taken nor counted as dropped by a queue."""
    bare.receiver()
    bare.write(CTRL, RST)
    assert bare.read(0x3000) == 0
    bare.wire.arrive(numbered(1), numbered(2))
    bare.step()
    assert bare.read(0x1430) == 0  # QPRDC


def test_after_a_reset_the_transmitter_is_off(bare: Bare) -> None:
    bare.transmitter()
    bare.write(CTRL, RST)
    bare.write(0x6000, (bare.iova + 0x8000) & 0xFFFFFFFF)
    bare.write(0x6004, bare.iova >> 32)
    bare.write(0x6008, 128)
    bare.write(0x6028, 1 << 25)
    bare.describe(0, 0x2B300000 | 60, data=numbered(1))
    assert bare.read(0x4A80) & 1 == 0
    assert bare.send(1) == []
    bare.write(0x4A80, 1)
    assert bare.send(1) == [numbered(1)]


def test_after_a_reset_filters_do_what_their_registers_read(bare: Bare) -> None:
    """MTA is undefined after a reset; whatever it reads, the filter must use that."""
    group = bytes.fromhex("01005e0000fb")
    bits = group[4] >> 4 | group[5] << 4
    bare.write(0x5200 + 4 * (bits >> 5), 1 << (bits & 31))
    bare.write(CTRL, RST)
    bare.write(0x2F00, 0xA)
    bare.receiver()
    bare.write(0x5090, 4)  # MFE
    listed = bare.read(0x5200 + 4 * (bits >> 5)) >> (bits & 31) & 1
    bare.wire.arrive(ethernet(to=group))
    bare.step()
    assert bare.read(0x4074) == listed


def test_after_a_reset_rss_does_what_its_registers_read(bare: Bare) -> None:
    for i in range(32):
        bare.write(0xEB00 + 4 * i, 0x05050505)
    for i in range(10):
        bare.write(0xEB80 + 4 * i, 0xDEADBEEF)
    bare.write(CTRL, RST)
    bare.write(0x2F00, 0xA)
    bare.write(0x5080, 0x700)
    bare.receiver()
    bare.write(0xEC80, 0x00FF0001)
    table = [bare.read(0xEB00 + 4 * i) for i in range(32)]
    key = [bare.read(0xEB80 + 4 * i) for i in range(10)]
    assert (set(table), set(key)) in [({0}, {0}), ({0x05050505}, {0xDEADBEEF})]
    frame = ethernet(
        bytes.fromhex("45000020000000004011000001020304050607080009000900000000"), 0x800
    )
    bare.wire.arrive(frame)
    bare.step()
    if set(table) == {0}:
        assert bare.received(0)[4:9] == bytes(4) + b"\x43"  # queue 0: IPCS, EOP, DD
    else:
        assert bare.received(0)[8] == 0


def test_the_mac_address_is_loaded_from_the_eeprom(model: Intel82599) -> None:
    assert model.read(0x5400).to_bytes(4, "little") == MAC[:4]
    assert model.read(0x5404) == 0x80000000 | int.from_bytes(MAC[4:], "little")
    model.write(0x5400, 0)
    model.write(0x5404, 0)
    model.write(CTRL, RST)
    assert model.read(0xA200).to_bytes(4, "little") == MAC[:4]


def test_reading_the_eeprom(model: Intel82599) -> None:
    words = []
    for address in range(0x800):
        model.write(EERD, address << 2 | 1)
        answer = model.read(EERD)
        assert answer & 3 == 2  # DONE, and START has cleared itself
        assert answer >> 2 & 0x3FFF == address
        words.append(answer >> 16)
    total = sum(words[:0x40])
    for pointer in words[0x03:0x0F]:
        if pointer not in (0, 0xFFFF):
            total += sum(words[pointer + 1 : pointer + words[pointer] + 1])
    assert total & 0xFFFF == 0xBABA


@pytest.mark.parametrize("address", [0x800, 0x3FFF])
def test_reading_beyond_the_eeprom(model: Intel82599, address: int) -> None:
    model.write(EERD, address << 2 | 1)
    assert model.read(EERD) == 0xFFFF0000 | address << 2 | 2


def test_without_start_the_eeprom_is_not_read(model: Intel82599) -> None:
    model.write(EERD, 0x3F << 2)
    assert model.read(EERD) & 2 == 0


def test_the_software_semaphore_is_taken_by_reading(model: Intel82599) -> None:
    assert model.read(SWSM) & 1 == 0  # ours
    assert model.read(SWSM) & 1 == 1  # the others'
    model.write(SWSM, 2)
    assert model.read(SWSM) == 2  # SWESMBI reads back; SMBI was released
    assert model.read(SWSM) == 3
    model.write(SWSM, 0)
    assert model.read(SWSM) == 0


def test_interrupt_masks(model: Intel82599) -> None:
    model.write(EIMS, 0x0F)
    model.write(EIMS, 0xF0)
    assert model.read(EIMS) == 0xFF
    model.write(EIMC, 0x18)
    assert model.read(EIMS) == 0xE7
    assert model.read(EIMC) == 0
    model.write(EIMC, 0)
    assert model.read(EIMS) == 0xE7


def test_link_status_follows_the_wire(model: Intel82599) -> None:
    assert model.read(LINKS) == 0x70000000  # up, 10 Gbit/s
    model.wire.up = False
    assert model.read(LINKS) == 0
    model.wire.up = True
    assert model.read(LINKS) == 0x70000000


def test_a_link_that_takes_its_time(model: Intel82599, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a reset, and after a restart of auto-negotiation: no frame comes before."""
    clock = [1000]
    monkeypatch.setattr(time, "monotonic_ns", lambda: clock[0])
    model.link_time = 50
    model.write(CTRL, 1 << 26)
    assert model.read(LINKS) == 0
    clock[0] += 50
    assert model.read(LINKS) == 0x70000000
    model.write(AUTOC, 3 << 13)
    assert model.read(LINKS) == 0x70000000
    model.write(AUTOC, 3 << 13 | 1 << 12)
    assert model.read(AUTOC) == 3 << 13
    clock[0] += 49
    assert model.read(LINKS) == 0
    clock[0] += 1
    assert model.read(LINKS) == 0x70000000


def test_a_wire_that_fails_loses_its_link(model: Intel82599) -> None:
    def fail() -> None:
        raise IxyError("no space left")

    model.wire.service = fail
    model.step()
    assert model.read(LINKS) == 0
    assert str(model.failure) == "no space left"


@pytest.mark.parametrize("offset", [0x00010, 0x0000C, 0x11111, 0x1FFFC, 0x20000, 0xFFFFFFFC, 3, -4])
def test_offsets_without_a_register(model: Intel82599, offset: int) -> None:
    before = model.registers.copy()
    model.write(offset, 0xFFFFFFFF)
    assert model.read(offset) == 0
    assert (model.registers == before).all()


@pytest.mark.parametrize("offset", [STATUS, LINKS, 0x1010, 0x6010, 0x4074, 0x10148], ids=hex)
def test_read_only_registers(model: Intel82599, offset: int) -> None:
    before = model.read(offset)
    model.write(offset, 0xFFFFFFF3 & ~before)
    assert model.read(offset) == before


ALIASES = [(0xA200, 0x5400), (0xA204, 0x5404), (0xEA00, 0x5480),
           (0xA27C, 0x547C), (0xEC80, 0x5818), (0xEB00, 0x5C00), (0xEB7C, 0x5C7C),
           (0xEB80, 0x5C80), (0x1014, 0x2100), (0x13D4, 0x213C), (0x100C, 0x2200)]  # fmt: skip


@pytest.mark.parametrize(("native", "alias"), ALIASES, ids=str)
def test_aliases_are_one_register(model: Intel82599, native: int, alias: int) -> None:
    model.write(native, 0x00000304)
    assert model.read(alias) == 0x00000304
    model.write(alias, 0x00000708)
    assert model.read(native) == 0x00000708


SPECIAL = (  # what is written is not what is read
    "CTRL", "EERD", "SWSM", "EEC", "RDRXCTL", "EITR", "EIAM", "EIAM_EX", "AUTOC", "ESDP", "I2CCTL",
    "MSCA", "MSRWD", "TXDCTL", "FDIRCTRL", "FDIRCMD",
    "TSYNCRXCTL", "TSYNCTXCTL", "SYSTIML", "SYSTIMH", "TIMINCA",
)  # fmt: skip
STORAGE = [
    offset
    for row in WHOLE.rows
    if row.access == "RW"
    and row.name not in SPECIAL
    for offset in row.offsets[:4]
]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(STORAGE), st.integers(0, 2**32 - 1)), max_size=30))
@settings(deadline=None, max_examples=60)
def test_any_write_is_survived_and_low_bits_are_stored(writes: list[tuple[int, int]]) -> None:
    """Registers with plain storage read back; the data path runs on whatever was written."""
    bare = Bare()
    latest = {}
    for offset, value in writes:
        bare.write(offset, value)
        latest[offset] = value & WRITABLE.get(WHOLE.at(offset)[0].name, 0xFFFFFFFF)
    bare.wire.arrive(numbered(1), ethernet(to=OTHER))
    before = bare.peek(0x1000, 0x1000)
    bare.step()
    assert bare.peek(0x1000, 0x1000) == before
    assert all(bare.read(offset) == value for offset, value in latest.items())
    bare.close()


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_a_ring_anywhere_is_a_fault_or_in_mapped_memory(low: int, high: int, size: int) -> None:
    bare = Bare()
    for block, enable in ((0x1000, 0x1028), (0x6000, 0x6028)):
        bare.write(block, low)
        bare.write(block + 4, high)
        bare.write(block + 8, size)
        bare.write(enable, 1 << 25)
        bare.write(block + 0x18, 1)
    bare.write(0x3000, 1)
    bare.write(0x4A80, 1)
    bare.wire.arrive(numbered(1))
    bare.step()
    ring = size & 0xFFF80
    base = high << 32 | low & ~127
    inside = bare.iova <= base <= bare.iova + bare.memory.size - ring
    refused = f"access {ring} bytes at {base:#x}," in (bare.model.fault() or "")
    assert refused == (ring > 0 and not inside)
    bare.close()


# Statistics


COUNTERS = [row.offsets[0] for row in WHOLE.rows if row.access == "RC" and row.name != "EICR"]


def test_counters_clear_when_they_are_read(bare: Bare) -> None:
    bare.receiver()
    bare.wire.arrive(*map(numbered, range(5)))
    bare.step()
    first = {offset: bare.read(offset) for offset in COUNTERS}
    assert first[0x4074] == first[0x40D0] == first[0x1030] == first[0x405C] == 5
    assert (first[0x4088], first[0x1034]) == (320, 300)
    assert {offset: bare.read(offset) for offset in COUNTERS} == dict.fromkeys(COUNTERS, 0)


@pytest.mark.parametrize(("name", "offset"), [("GPRC", 0x4074), ("QPRC", 0x1030), ("TPR", 0x40D0)])
def test_counters_stick_at_their_maximum(bare: Bare, name: str, offset: int) -> None:
    from ixy.emulator.intel82599.statistics import STATISTICS

    bare.model.port[0]["counts"][STATISTICS[name]] = 2**32 - 3
    bare.receiver()
    bare.wire.arrive(*map(numbered, range(6)))
    bare.step()
    assert bare.read(offset) == 0xFFFFFFFF
    assert bare.read(offset) == 0


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("GORC", 0x4088, 0x408C), ("GOTC", 0x4090, 0x4094), ("QBRC_", 0x1034, 0x1038)],
)
def test_octets_are_36_bits_in_two_registers(
    model: Intel82599, name: str, low: int, high: int
) -> None:
    from ixy.emulator.intel82599.statistics import OCTETS

    counts = model.port[0]["counts"]
    counts[OCTETS[name]] = 0x9_1234_5678
    assert (model.read(low), model.read(high)) == (0x12345678, 9)
    assert (model.read(low), model.read(high)) == (0, 0)
    counts[OCTETS[name]] = 2**36 + 17  # sticks
    assert (model.read(low), model.read(high)) == (0xFFFFFFFF, 0xF)
    counts[OCTETS[name]] = 5 << 32
    model.read(low)
    counts[OCTETS[name]] = 1  # counted between the two reads
    assert model.read(high) == 5
    assert (model.read(low), model.read(high)) == (1, 0)


@pytest.mark.parametrize(("name", "low", "high"), [("GORC", 0x4088, 0x408C)])
def test_the_high_octets_clear_when_they_are_read(
    model: Intel82599, name: str, low: int, high: int
) -> None:
    from ixy.emulator.intel82599.statistics import OCTETS

    model.port[0]["counts"][OCTETS[name]] = 3 << 32
    assert (model.read(low), model.read(high), model.read(high)) == (0, 3, 0)


def test_a_reset_forgets_the_latched_octets(model: Intel82599) -> None:
    from ixy.emulator.intel82599.statistics import OCTETS

    model.port[0]["counts"][OCTETS["GORC"]] = 3 << 32
    model.read(0x4088)
    model.write(CTRL, RST)
    assert model.read(0x408C) == 0


@pytest.mark.parametrize("offset", [0x1070, 0x1470, 0x1074, 0x3FA4], ids=hex)
def test_only_the_first_statistics_set_counts(bare: Bare, offset: int) -> None:
    bare.receiver(tail=2)
    bare.write(0x2100, 0x12000002)
    bare.wire.arrive(*map(numbered, range(5)))
    bare.step()
    assert bare.read(offset) == 0


# PCI and DMA


@pytest.mark.parametrize(("name", "device"), MODELS.items())
def test_configuration_space(name: str, device: int) -> None:
    model = Intel82599(Bench(), MAC, name)
    assert model.config_read(0, 4) == device << 16 | 0x8086
    assert model.config_read(0x0B, 1) == 2  # network controller
    assert model.config_read(0x0E, 1) == 0  # header type
    model.close()


def test_only_command_and_interrupt_line_are_writable(model: Intel82599) -> None:
    before = bytes(model.config)
    for offset in (0, 2, 8, 0x0E, 0x2C, 0x34, 0xF0):
        model.config_write(offset, 2, 0x5A5A)
    assert bytes(model.config) == before
    model.config_write(4, 2, 0x0006)
    model.config_write(0x3C, 1, 11)
    assert (model.config_read(4, 2), model.config_read(0x3C, 1)) == (6, 11)


def test_an_unknown_model_is_refused_with_those_that_are_known() -> None:
    wire = Bench()
    with pytest.raises(IxyError, match=r"82598.*82599.*x540.*x550"):
        Intel82599(wire, MAC, "82598")
    wire.close()


def test_there_is_a_limit_to_mappings(model: Intel82599) -> None:
    for i in range(MAX_MAPPINGS):
        model.dma_map(i << 20, 0x1000, 4096)
    with pytest.raises(IxyError, match=str(MAX_MAPPINGS)):
        model.dma_map(1 << 40, 0x1000, 4096)
    model.dma_unmap(5 << 20)
    model.dma_map(1 << 40, 0x1000, 4096)


# Registers that answer at once


MASKS = {0x3220: 0x8007FFF0, 0x3260: 0x8007FFF0, 0x32A0: 0xFFFF, 0x1000: 0xFFFFFF80,
         0x1008: 0xFFF80, 0x6000: 0xFFFFFF80, 0x6008: 0xFFF80, 0x5404: 0x8000FFFF}  # fmt: skip


@pytest.mark.parametrize("offset", MASKS, ids=hex)
@pytest.mark.parametrize("pattern", [0x5A5A5A5A, 0xA5A5A5A5, 0, 0xFFFFFFFF], ids=hex)
def test_reserved_bits_are_not_stored(model: Intel82599, offset: int, pattern: int) -> None:
    model.write(offset, pattern)
    assert model.read(offset) == pattern & MASKS[offset]


@pytest.mark.parametrize(("control", "status"), [(0x8D00, 0x8D04), (0x8800, 0x8804)])
def test_the_security_blocks_are_empty_when_they_are_stopped(
    model: Intel82599, control: int, status: int
) -> None:
    assert model.read(status) & 1 == 0
    model.write(control, model.read(control) | 2)
    assert model.read(status) & 1 == 1
    model.write(control, model.read(control) & ~2)
    assert model.read(status) & 1 == 0


def test_the_security_blocks_stop_the_packets(bare: Bare) -> None:
    bare.receiver()
    bare.transmitter()
    bare.write(0x8D00, 3)
    bare.write(0x8800, 3)
    bare.wire.arrive(numbered(1))
    bare.describe(0, 0x2B300000 | 60, data=numbered(2))
    assert bare.send(1) == []
    assert bare.received(0)[8] & 1 == 0
    bare.write(0x8D00, 1)
    bare.write(0x8800, 1)
    bare.step()
    assert bare.wire.sent() == [numbered(2)]
    assert bare.received(0)[8] & 1 == 1


def test_the_flow_director_is_ready_at_once(model: Intel82599) -> None:
    model.write(0xEE00, 0x20000001)
    assert model.read(0xEE00) == 0x20000009
    model.write(0xEE2C, 0x00018041)
    assert model.read(0xEE2C) == 0x00018040


def test_a_queues_software_flush_ends_at_once(model: Intel82599) -> None:
    model.write(0x6028, 0x06000000)
    assert model.read(0x6028) == 0x02000000


@pytest.mark.parametrize("offset", [0x8A3C, 0x8A4C, 0x8F40, 0x8F80, 0x1FFFC], ids=hex)
def test_registers_that_are_not_modelled_read_0(model: Intel82599, offset: int) -> None:
    model.write(offset, 0xFFFFFFFF)
    assert model.read(offset) == 0
