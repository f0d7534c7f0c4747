"""The 82599's EEPROM: what is in it (chapter 6), and the registers that read it (8.2.3.2)."""

import numpy as np

from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.serial import SpiEeprom
from ixy.emulator.intel82599.storage import Storage

Words = np.ndarray[tuple[int], np.dtype[np.uint16]]

SIZE = 0x800  # words
SIZE_CODE = 5  # of EEC: 1 << 5 + 6 words
CHECKSUM, TOTAL = 0x3F, 0xBABA  # words 0x00 to 0x3F and the sections they point to add up to this
MAC_SECTION_POINTER = 0x09  # of the LAN core 0 section; the address is its words 1 to 3
MAC_SECTION = 0x100
FIRMWARE, PATCH, PART_NUMBER, SFP_LIST, SFP_SETUP = 0x120, 0x140, 0x160, 0x180, 0x1A0
NONE = 0xFFFF
SFP_TYPES = range(3, 9)  # copper, fibre and active cable, on each of the two ports


def eeprom_image(mac: bytes) -> Words:
    """An EEPROM with a MAC address (6 bytes) and a valid checksum."""
    words = np.zeros(SIZE, np.uint16)
    number = np.frombuffer(b"E82599-001", ">u2")
    for place, content in (
        (0x09, [MAC_SECTION]),
        (0x0F, [FIRMWARE]),
        (0x15, [0xFAFA, PART_NUMBER]),  # the mark of a number that is a string
        (0x28, [NONE]),  # no address for storage
        (0x2B, [SFP_LIST]),
        (0x2C, [0x0001]),  # device capabilities: any SFP+ module will do
        (0x2D, [0x0001, 0x8000]),  # the image's own number
        (0x37, [NONE]),  # no alternate address
        (MAC_SECTION, [3, *np.frombuffer(mac, "<u2")]),  # begins with its length
        (FIRMWARE + 2, [NONE]),  # it does not manage the link
        (FIRMWARE + 4, [PATCH]),
        (PATCH + 7, [6]),  # its version
        (PART_NUMBER, [len(number) + 1, *number]),
        (SFP_LIST, [2 * len(SFP_TYPES)]),
        (SFP_SETUP, [0, NONE]),  # what to write to CORECTL: nothing
    ):
        words[place : place + len(content)] = content
    listed = [word for kind in SFP_TYPES for word in (kind, SFP_SETUP)]
    words[SFP_LIST + 1 : SFP_LIST + 2 + len(listed)] = [*listed, NONE]
    words[CHECKSUM] = (TOTAL - checksum(words)) & 0xFFFF
    return words


def checksum(words: Words) -> int:
    """The sum of words 0x00 to 0x3E and of the sections that words 0x03 to 0x0E point to, without
    their lengths: Linux takes an EEPROM for broken that adds them.
    """
    total = int(words[:CHECKSUM].sum(dtype=np.uint64))
    for pointer in words[0x03:0x0F]:
        if pointer not in (0, NONE):
            length = int(words[pointer])
            if length not in (0, NONE):
                total += int(
                    words[int(pointer) + 1 : int(pointer) + length + 1].sum(dtype=np.uint64)
                )
    return total & 0xFFFF


def mac_of(words: Words) -> bytes:
    """The MAC address in an EEPROM."""
    section = int(words[MAC_SECTION_POINTER])
    return words[section + 1 : section + 4].astype("<u2").tobytes()


class Eeprom(Storage):
    """The EEPROM and its two ways in: word by word with EERD, bit by bit with EEC."""

    def __init__(self, mac: bytes) -> None:
        super().__init__()
        self.eeprom = eeprom_image(mac)
        self._spi = SpiEeprom(self.eeprom.data.cast("B"))

    def load_eeprom(self) -> None:
        """What the device reads there by itself after a reset: its MAC address (4.6.3). From an
        EEPROM whose checksum is wrong it reads nothing.
        """
        if "bad-eeprom" in self.faults:
            self.eeprom[CHECKSUM] = 0x0BAD
        if (checksum(self.eeprom) + int(self.eeprom[CHECKSUM])) & 0xFFFF != TOTAL:
            return
        mac = mac_of(self.eeprom)
        self._store_named("RAL", 0, int.from_bytes(mac[:4], "little"))
        self._store_named("RAH", 0, int.from_bytes(mac[4:], "little") | sheet.RAH.AV.mask)

    def write_EERD(self, value: int, _: int) -> None:
        """Reads a word, at once."""
        if value & sheet.EERD.START.mask:
            address = sheet.EERD.ADDR.of(value)
            data = int(self.eeprom[address]) if address < SIZE else NONE
            answer = value & 0xFFFF & ~sheet.EERD.START.mask | sheet.EERD.DONE.mask
            self._store_named("EERD", 0, sheet.EERD.DATA.put(answer, data))

    def write_EEC(self, value: int, _: int) -> None:
        """Moves the EEPROM's pins. They are software's only after it has asked for them."""
        pins = sheet.EEC
        if pins.REQ.of(value):
            selected = not pins.CS.of(value)  # selected while the pin is low
            self._spi.drive(selected, bool(pins.SK.of(value)), bool(pins.DI.of(value)))

    def read_EEC(self, word: int, _: int) -> int:
        """The EEPROM is there, has been read, and is granted to whoever asks for it."""
        eec = sheet.EEC
        word = eec.GNT.put(word, eec.REQ.of(word))
        word = eec.DO.put(word, int(self._spi.out))
        word = eec.SIZE.put(word, SIZE_CODE)
        return word | eec.PRES.mask | eec.ARD.mask | eec.ADDR_SIZE.mask
