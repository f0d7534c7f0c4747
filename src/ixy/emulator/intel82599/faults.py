"""Faults to plant in an 82599, by name: how a driver and its tests meet hardware that is broken."""

from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.storage import Storage
from ixy.errors import IxyError

FAULTS = {
    "stuck-reset": "CTRL.RST never clears",
    "bad-eeprom": "the EEPROM's checksum is wrong, and no MAC address is loaded from it",
    "no-link": "the link never comes up",
    "rxdctl-stuck": "receive queues never start",
    "lost-write-back": "packets are sent, but their descriptors not marked as done",
    "corrupt-length": "receive descriptors tell a length that no buffer has",
    "dma-fault": "received packets go to addresses that were never mapped",
}
NOWHERE = 1 << 62  # what is added to an address that should be wrong


class Faults(Storage):
    """What is wrong with the device: names of FAULTS."""

    def plant(self, *faults: str) -> None:
        """From now on it has these faults, and no others. Raises IxyError for unknown ones."""
        for fault in faults:
            if fault not in FAULTS:
                raise IxyError(f"unknown fault {fault!r}: give it one of {', '.join(FAULTS)}")
        self.faults = frozenset(faults)
        with self:
            self._set(
                wrong_length=0xFFFF if "corrupt-length" in faults else 0,
                wrong_address=NOWHERE if "dma-fault" in faults else 0,
                reported=0 if "lost-write-back" in faults else sheet.TX_RS,
            )
