"""The 82599's pins and its link, by literal offset: a second reading of the protocols."""

from collections.abc import Iterator

import pytest

from ixy.emulator.intel82599.model import Intel82599
from rig import MAC, Bench

ESDP, I2CCTL, EEC, AUTOC, MSCA, MSRWD = 0x20, 0x28, 0x10010, 0x42A0, 0x425C, 0x4260
CLK_IN, CLK_OUT, DATA_IN, DATA_OUT = 1, 2, 4, 8
SK, CS, DI, DO, REQ, GNT = 0x01, 0x02, 0x04, 0x08, 0x40, 0x80


@pytest.fixture
def model() -> Iterator[Intel82599]:
    model = Intel82599(Bench(), MAC)
    yield model
    model.close()


@pytest.fixture
def backplane() -> Iterator[Intel82599]:
    model = Intel82599(Bench(), MAC, "82599-kx4")
    yield model
    model.close()


class I2cMaster:
    """The software's side of the I2C bus."""

    def __init__(self, model: Intel82599) -> None:
        self.model = model

    def pins(self, clock: int, data: int) -> int:
        self.model.write(I2CCTL, clock * CLK_OUT | data * DATA_OUT)
        word = self.model.read(I2CCTL)
        assert word & CLK_IN == clock
        return int(word & DATA_IN != 0)

    def start(self) -> None:
        for clock, data in ((0, 1), (1, 1), (1, 0), (0, 0)):
            self.pins(clock, data)

    def stop(self) -> None:
        for clock, data in ((0, 0), (1, 0), (1, 1)):
            self.pins(clock, data)

    def bit(self, data: int) -> int:
        self.pins(0, data)
        answer = self.pins(1, data)
        self.pins(0, data)
        return answer

    def put(self, byte: int) -> bool:
        """Whether it was acknowledged."""
        for i in range(8):
            assert self.bit(byte >> 7 - i & 1) == byte >> 7 - i & 1
        return self.bit(1) == 0

    def get(self, acknowledge: bool) -> int:
        byte = 0
        for _ in range(8):
            byte = byte << 1 | self.bit(1)
        self.bit(int(not acknowledge))
        return byte

    def read(self, place: int, count: int) -> bytes:
        self.start()
        assert self.put(0xA0)
        assert self.put(place)
        self.start()
        assert self.put(0xA1)
        data = bytes(self.get(i + 1 < count) for i in range(count))
        self.stop()
        return data


def test_an_sfp_module_tells_what_it_is(model: Intel82599) -> None:
    bus = I2cMaster(model)
    assert bus.read(0, 1) == b"\x03"  # SFP
    assert bus.read(3, 1) == b"\x10"  # 10GBASE-SR
    assert bus.read(37, 3).hex() == "001b21"
    assert bus.read(20, 16) == b"Intel Corp      "
    whole = bus.read(0, 128)
    assert whole[63] == sum(whole[:63]) & 0xFF
    assert whole[95] == sum(whole[64:95]) & 0xFF
    assert bus.read(255, 2) == b"\0\x03"  # round the end


def test_a_module_listens_only_to_its_address(model: Intel82599) -> None:
    bus = I2cMaster(model)
    bus.start()
    assert not bus.put(0xA2)
    assert not bus.put(0x00)
    bus.stop()
    assert bus.read(0, 1) == b"\x03"


def test_reading_goes_on_where_it_stopped(model: Intel82599) -> None:
    bus = I2cMaster(model)
    bus.read(37, 1)
    bus.start()
    assert bus.put(0xA1)
    assert (bus.get(True), bus.get(False)) == (0x1B, 0x21)
    bus.stop()


def test_a_transfer_can_be_broken_off(model: Intel82599) -> None:
    bus = I2cMaster(model)
    bus.start()
    bus.bit(1)
    bus.bit(0)
    bus.stop()
    assert bus.read(37, 3).hex() == "001b21"


def test_a_backplane_has_no_module(backplane: Intel82599) -> None:
    bus = I2cMaster(backplane)
    bus.start()
    assert not bus.put(0xA0)
    bus.stop()
    assert backplane.read(ESDP) & 4 == 0


def test_pins_that_are_inputs_show_what_is_outside(model: Intel82599) -> None:
    assert model.read(ESDP) & 0xFF == 4  # SDP2: a module is there
    model.write(ESDP, 0x0000_0808)  # SDP3 is an output: the laser is off
    assert model.read(ESDP) == 0x080C
    model.write(ESDP, 0x0000_08FF)
    assert model.read(ESDP) == 0x080C
    model.write(ESDP, 0x0000_0C00)  # SDP2 an output too
    assert model.read(ESDP) == 0x0C00


# The EEPROM, bit by bit


def spi(model: Intel82599, command: bytes, count: int) -> bytes:
    """Sends bytes to the EEPROM and reads some."""
    model.write(EEC, REQ | CS)
    assert model.read(EEC) & GNT
    data = 0
    model.write(EEC, REQ)
    for bit in (byte >> 7 - i & 1 for byte in command for i in range(8)):
        model.write(EEC, REQ | bit * DI)
        model.write(EEC, REQ | bit * DI | SK)
        model.write(EEC, REQ | bit * DI)
    for _ in range(8 * count):
        model.write(EEC, REQ | SK)
        data = data << 1 | int(model.read(EEC) & DO != 0)
        model.write(EEC, REQ)
    model.write(EEC, REQ | CS)
    model.write(EEC, 0)
    assert not model.read(EEC) & GNT
    return data.to_bytes(count, "big")


def test_what_eec_says_of_the_eeprom(model: Intel82599) -> None:
    word = model.read(EEC)
    assert word & 0x300 == 0x300  # present, automatic read done
    assert 1 << (word >> 11 & 15) + 6 == 0x800  # words
    assert word & 0x400  # addresses of 16 bits


def test_the_eeprom_is_ready(model: Intel82599) -> None:
    assert spi(model, b"\x05", 1) == b"\0"


@pytest.mark.parametrize("address", [0x00, 0x09, 0x3F, 0x101, 0x7FF])
def test_both_ways_into_the_eeprom_agree(model: Intel82599, address: int) -> None:
    model.write(0x10014, address << 2 | 1)
    word = model.read(0x10014) >> 16
    assert spi(model, b"\x03" + (2 * address).to_bytes(2, "big"), 2) == word.to_bytes(2, "little")


def test_reading_the_eeprom_goes_on(model: Intel82599) -> None:
    whole = spi(model, b"\x03\0\0", 0x1000)
    words = [int.from_bytes(whole[i : i + 2], "little") for i in range(0, 0x1000, 2)]
    total = sum(words[:0x40])
    for pointer in words[3:15]:
        if pointer:
            total += sum(words[pointer + 1 : pointer + words[pointer] + 1])
    assert total & 0xFFFF == 0xBABA


def test_without_a_request_the_pins_do_nothing(model: Intel82599) -> None:
    for bit in (0, 0, 0, 0, 0, 1, 0, 1):
        for clock in (0, SK, 0):
            model.write(EEC, bit * DI | clock)
    assert model.read(EEC) & DO


# Link


def test_the_link_mode_is_that_of_the_model(model: Intel82599, backplane: Intel82599) -> None:
    assert model.read(AUTOC) >> 13 & 7 == 3  # 10 Gbit/s serial
    assert backplane.read(AUTOC) >> 13 & 7 == 4  # auto-negotiation
    backplane.write(0, 1 << 26)
    assert backplane.read(AUTOC) >> 13 & 7 == 4


def test_auto_negotiation_ends_at_once(model: Intel82599) -> None:
    model.write(AUTOC, 0xC09C7084)
    assert model.read(AUTOC) == 0xC09C6084
    assert model.read(0x42B0) >> 16 & 15 != 0  # ANLP1: its state is not idle
    assert model.read(0x42A8) >> 16 & 3 == 2  # AUTOC2: SFI


def test_nobody_answers_on_the_management_bus(model: Intel82599) -> None:
    model.write(MSRWD, 0x1234)
    model.write(MSCA, 0x6C010002)
    assert model.read(MSCA) == 0x2C010002  # the cycle is over
    assert model.read(MSRWD) == 0xFFFF1234


@pytest.mark.parametrize("offset", [0x10148, 0x15F00, 0x4324], ids=hex)
def test_firmware_registers_are_read_only(model: Intel82599, offset: int) -> None:
    value = {0x10148: 0x8000}.get(offset, 0)  # FWSM: valid; HICR: not enabled
    model.write(offset, 0xFFFFFFFF)
    assert model.read(offset) == value
