"""The 82599's EEPROM: 16-bit words with a checksum and the MAC address (chapter 6)."""

import numpy as np

Words = np.ndarray[tuple[int], np.dtype[np.uint16]]

SIZE = 0x800  # words
CHECKSUM, TOTAL = 0x3F, 0xBABA  # words 0x00 to 0x3F and the sections they point to add up to this
MAC_SECTION_POINTER = 0x09  # of the LAN core 0 section; the address is its words 1 to 3
MAC_SECTION = 0x100


def eeprom_image(mac: bytes) -> Words:
    """An EEPROM with a MAC address (6 bytes) and a valid checksum."""
    words = np.zeros(SIZE, np.uint16)
    words[MAC_SECTION_POINTER] = MAC_SECTION
    words[MAC_SECTION] = 3  # the section's length
    words[MAC_SECTION + 1 : MAC_SECTION + 4] = np.frombuffer(mac, "<u2")
    words[CHECKSUM] = (TOTAL - checksum(words)) & 0xFFFF
    return words


def checksum(words: Words) -> int:
    """The sum of words 0x00 to 0x3E and of the sections that words 0x03 to 0x0E point to, their
    lengths included.
    """
    total = int(words[:CHECKSUM].sum(dtype=np.uint64))
    for pointer in words[0x03:0x0F]:
        if pointer not in (0, 0xFFFF):
            length = int(words[pointer])
            if length not in (0, 0xFFFF):
                total += int(words[pointer : int(pointer) + length + 1].sum(dtype=np.uint64))
    return total & 0xFFFF


def mac_of(words: Words) -> bytes:
    """The MAC address in an EEPROM."""
    section = int(words[MAC_SECTION_POINTER])
    return words[section + 1 : section + 4].astype("<u2").tobytes()
