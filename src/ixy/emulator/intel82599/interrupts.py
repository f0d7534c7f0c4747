"""The 82599's interrupt registers (7.3, 8.2.3.5)."""

from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.storage import Storage


class Interrupts(Storage):
    """Causes and masks."""

    def read_EICR(self, word: int) -> int:
        """Interrupt causes clear when they are read."""
        self._store_named("EICR", 0, 0)
        return word

    def write_EIMC(self, value: int, _: int) -> None:
        """Clears bits of the mask."""
        place = sheet.WHOLE.registers["EIMS"].offsets[0] // 4
        self.registers[place] &= ~value & 0xFFFFFFFF
