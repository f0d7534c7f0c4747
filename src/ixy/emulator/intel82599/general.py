"""The 82599's general registers: status, semaphores (8.2.3.1, 8.2.3.4, 10.5.4)."""

from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.storage import Storage


class General(Storage):
    """What is not of the data path."""

    def read_STATUS(self, word: int, _: int) -> int:
        """STATUS.GIO shows whether requests are enabled or still under way: here none ever is."""
        return sheet.STATUS.GIO.put(word, int(not self._field(sheet.CTRL.GIO_DIS, "CTRL")))

    def read_SWSM(self, word: int, _: int) -> int:
        """Who reads SMBI as 0 has the semaphore: reading sets it."""
        self._store_named("SWSM", 0, word | sheet.SWSM.SMBI.mask)
        return word
