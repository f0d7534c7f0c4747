"""The EEPROM's checksum, by a second reading of the rule, and its MAC address."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.emulator.intel82599.eeprom import SIZE, checksum, eeprom_image, mac_of

macs = st.binary(min_size=6, max_size=6)


def total(words: list[int]) -> int:
    """Words 0x00 to 0x3F, and the sections that 0x03 to 0x0E point to: so many words after a length
    that is not counted itself.
    """
    result = sum(words[:0x40])
    for pointer in words[0x03:0x0F]:
        if pointer in (0, 0xFFFF) or words[pointer] in (0, 0xFFFF):
            continue
        result += sum(words[pointer + 1 : pointer + words[pointer] + 1])
    return result & 0xFFFF


@given(macs)
@settings(deadline=None, max_examples=50)
def test_an_image_adds_up_to_baba(mac: bytes) -> None:
    image = eeprom_image(mac)
    assert image.dtype == np.uint16
    assert len(image) == SIZE == 0x800
    assert total(image.tolist()) == 0xBABA


@given(macs)
@settings(deadline=None, max_examples=50)
def test_the_address_comes_out_as_it_went_in(mac: bytes) -> None:
    assert mac_of(eeprom_image(mac)) == mac


def test_the_address_is_stored_low_byte_first() -> None:
    image = eeprom_image(bytes.fromhex("021122334455"))
    section = int(image[0x09])
    assert image[section : section + 4].tolist() == [3, 0x1102, 0x3322, 0x5544]


@pytest.mark.parametrize("place", [0x00, 0x03, 0x3E, 0x101, 0x103])
def test_a_changed_word_is_noticed(place: int) -> None:
    image = eeprom_image(bytes(6))
    before = checksum(image)
    image[place] ^= 0x0100
    assert checksum(image) != before


@pytest.mark.parametrize("place", [0x40, 0x3F, 0xFF, 0x104, 0x7FF])
def test_words_outside_are_not_in_the_sum(place: int) -> None:
    image = eeprom_image(bytes(6))
    before = checksum(image)
    image[place] ^= 0x0100
    assert checksum(image) == before


def test_empty_pointers_and_sections_are_left_out() -> None:
    image = eeprom_image(bytes(6))
    before = checksum(image)
    image[0x04] = 0xFFFF
    assert checksum(image) == (before + 0xFFFF) & 0xFFFF
    image[0x05] = 0x200
    image[0x200] = 0xFFFF
    assert checksum(image) == (before + 0xFFFF + 0x200) & 0xFFFF


def test_what_drivers_look_for() -> None:
    image = [int(word) for word in eeprom_image(bytes(6))]
    assert image[0x15] == 0xFAFA  # the part number is a string, at a pointer
    number = image[image[0x16] : image[0x16] + image[image[0x16]]]
    assert b"".join(word.to_bytes(2, "big") for word in number[1:]) == b"E82599-001"
    firmware = image[0x0F]
    assert image[firmware + 2] == 0xFFFF  # it does not manage the link
    assert image[image[firmware + 4] + 7] > 5  # its version
    assert image[0x28] == image[0x37] == 0xFFFF  # no further addresses


def test_sfp_modules_have_a_set_up_sequence() -> None:
    image = [int(word) for word in eeprom_image(bytes(6))]
    place, found = image[0x2B] + 1, {}
    while image[place] != 0xFFFF:
        found[image[place]] = image[place + 1]
        place += 2
    assert set(found) == set(range(3, 9))
    for sequence in found.values():
        assert image[sequence + 1] == 0xFFFF  # nothing to write
