"""The 82599's PCI configuration space (chapter 9)."""

from ixy.datasheets import intel82599_device as sheet
from ixy.datasheets import pci
from ixy.emulator.intel82599.storage import Storage


class Configuration(Storage):
    """What enables the function on its bus."""

    config: bytearray

    def config_read(self, offset: int, size: int) -> int:
        """Reads configuration space."""
        return int.from_bytes(self.config[offset : offset + size], "little")

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Writes configuration space: here only the command register and the interrupt line are
        writable.
        """
        with self:
            if offset in (pci.COMMAND, pci.INTERRUPT_LINE):
                self.config[offset : offset + size] = value.to_bytes(size, "little")
            self.configure_bus()

    def configure_bus(self) -> None:
        """Whether the device may use the bus."""
        command = self.config_read(pci.COMMAND, 2)
        mastering = bool(command & pci.COMMAND_BUS_MASTER) and not self._field(
            sheet.CTRL.GIO_DIS, "CTRL"
        )
        self._set(master=int(mastering))


def config_space(device: int) -> bytearray:
    """A type 0 header with a 64-bit memory BAR."""
    config = bytearray(pci.CONFIG_SPACE)
    for offset, size, value in (
        (pci.VENDOR_ID, 2, sheet.VENDOR),
        (pci.DEVICE_ID, 2, device),
        (pci.COMMAND, 2, pci.COMMAND_MEMORY),
        (pci.REVISION, 1, 1),
        (pci.CLASS, 3, pci.CLASS_ETHERNET),
        (pci.BAR0, 4, pci.BAR_64BIT),
        (pci.SUBSYSTEM_VENDOR, 2, sheet.VENDOR),
        (pci.INTERRUPT_PIN, 1, 1),
    ):
        config[offset : offset + size] = value.to_bytes(size, "little")
    return config
