"""The 82599's general registers: reset, status, EEPROM, semaphores (8.2.3.1, 8.2.3.2, 8.2.3.4)."""

from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.eeprom import Words, eeprom_image, mac_of
from ixy.emulator.intel82599.storage import Storage


class General(Storage):
    """What is not of the data path."""

    def __init__(self, mac: bytes) -> None:
        super().__init__()
        self._eeprom: Words = eeprom_image(mac)

    def load_eeprom(self) -> None:
        """What the device reads there by itself after a reset: its MAC address (4.6.3)."""
        mac = mac_of(self._eeprom)
        self._store_named("RAL", 0, int.from_bytes(mac[:4], "little"))
        self._store_named("RAH", 0, int.from_bytes(mac[4:], "little") | sheet.RAH.AV.mask)
        self._store_named("EEC", 0, sheet.EEC.PRES.mask | sheet.EEC.ARD.mask)

    def read_STATUS(self, word: int, _: int) -> int:
        """STATUS.GIO shows whether requests are enabled or still under way: here none ever is."""
        return sheet.STATUS.GIO.put(word, int(not self._field(sheet.CTRL.GIO_DIS, "CTRL")))

    def write_EERD(self, value: int, _: int) -> None:
        """Reads a word of the EEPROM, at once."""
        if value & sheet.EERD.START.mask:
            address = sheet.EERD.ADDR.of(value)
            data = int(self._eeprom[address]) if address < len(self._eeprom) else 0xFFFF
            self._store_named(
                "EERD",
                0,
                sheet.EERD.DATA.put(
                    value & 0xFFFF & ~sheet.EERD.START.mask | sheet.EERD.DONE.mask, data
                ),
            )

    def read_SWSM(self, word: int, _: int) -> int:
        """Who reads SMBI as 0 has the semaphore: reading sets it."""
        self._store_named("SWSM", 0, word | sheet.SWSM.SMBI.mask)
        return word
