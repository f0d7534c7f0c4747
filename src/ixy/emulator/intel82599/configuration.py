"""The 82599's PCI configuration space, as a host sees and writes it (9.3)."""

from abc import ABC, abstractmethod

from ixy.datasheets import intel82599_device as sheet
from ixy.datasheets import pci
from ixy.datasheets.intel82599_pci import CONFIGURATION, DEVICE_CONTROL, INITIATE_FLR
from ixy.emulator.intel82599.interrupts import Interrupts

STATUS_INTX = 1 << 3  # the function asserts INTx
# A DMA fault is a request that nobody has answered. On PCI Express only reads are answered; here a
# lost write shows as well: no IOMMU's log would tell the driver of it.
STATUS_EVENTS = STATUS_INTX | pci.STATUS_MASTER_ABORT


class Configuration(Interrupts, ABC):
    """What enables the function on its bus."""

    _device: int

    def __init__(self) -> None:
        super().__init__()
        self.config = bytearray(pci.CONFIG_SPACE)
        self._writable = bytearray(pci.CONFIG_SPACE)
        for row in CONFIGURATION:
            end = row.offset + row.size
            self._writable[row.offset : end] = row.writable.to_bytes(row.size, "little")

    def config_read(self, offset: int, size: int) -> int:
        """Reads configuration space. Beyond its end there are zeros."""
        with self:
            place = slice(pci.STATUS, pci.STATUS + 2)
            status = int.from_bytes(self.config[place], "little") & ~STATUS_EVENTS
            status |= STATUS_INTX if self.line else 0
            status |= pci.STATUS_MASTER_ABORT if self.port[0]["faults"] else 0
            self.config[place] = status.to_bytes(2, "little")
            return int.from_bytes(self.config[offset : offset + size], "little")

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Writes what is writable there. Initiate FLR resets the function."""
        with self:
            disabled = self._intx_disabled()
            data = value.to_bytes(size, "little")
            for place, byte in enumerate(data[: max(0, pci.CONFIG_SPACE - offset)], offset):
                mask = self._writable[place]
                self.config[place] = self.config[place] & ~mask | byte & mask
            if value << 8 * offset >> 8 * pci.STATUS & pci.STATUS_MASTER_ABORT:
                self._set(faults=0)
            control = value << 8 * offset >> 8 * DEVICE_CONTROL
            if control & INITIATE_FLR:
                self.function_level_reset()
            self.configure_bus()
            if disabled != self._intx_disabled():
                self.configure_interrupts()
                self.raise_again()

    @abstractmethod
    def reset(self) -> None:
        """Software reset."""

    def function_level_reset(self) -> None:
        """Configuration space and registers as after power-on. What the host has mapped for DMA and
        connected to interrupts is the host's, and stays.
        """
        with self:
            self.config[:] = bytes(pci.CONFIG_SPACE)
            for row in CONFIGURATION:
                end = row.offset + row.size
                self.config[row.offset : end] = row.reset.to_bytes(row.size, "little")
            self.config[pci.DEVICE_ID : pci.DEVICE_ID + 2] = self._device.to_bytes(2, "little")
            self.reset()

    def _intx_disabled(self) -> bool:
        return bool(self.config_read(pci.COMMAND, 2) & pci.COMMAND_NO_INTX)

    def configure_bus(self) -> None:
        """Whether the device may use the bus."""
        command = self.config_read(pci.COMMAND, 2)
        mastering = bool(command & pci.COMMAND_BUS_MASTER) and not self._field(
            sheet.CTRL.GIO_DIS, "CTRL"
        )
        self._set(master=int(mastering))
