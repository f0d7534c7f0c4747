"""What the two ways through Linux to a card have in common: sysfs and VFIO.

Configuration space is a part of a file, BARs can be mapped.
"""

import errno
import os
import time

from ixy.bus.bar import FileBar, MappedBar
from ixy.bus.function import Bar, PciFunction
from ixy.datasheets import pci
from ixy.errors import IxyError

GONE = (errno.ENODEV, errno.ENXIO, errno.EIO, errno.EFAULT)  # what Linux says of a removed card
REFUSED = pci.STATUS_TARGET_ABORT | pci.STATUS_MASTER_ABORT


class LinuxFunction(PciFunction):
    """A PCI function whose configuration space begins at `_config` of its first open file."""

    _config = 0

    def __init__(self, address: str) -> None:
        self.address = address
        self._files: list[int] = []  # closed with it
        self._bars: dict[int, MappedBar] = {}

    def config_read(self, offset: int, size: int) -> int:
        """Reads 1, 2 or 4 bytes of configuration space: ones if the device is gone, as on the bus
        itself.
        """
        try:
            data = os.pread(self._files[0], size, self._config + offset)
        except OSError as error:
            if error.errno not in GONE:
                raise
            data = b""
        return int.from_bytes(data.ljust(size, b"\xff"), "little")

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Writes 1, 2 or 4 bytes of configuration space: in vain if the device is gone."""
        try:
            os.pwrite(self._files[0], value.to_bytes(size, "little"), self._config + offset)
        except OSError as error:
            if error.errno not in GONE:
                raise

    def wake(self) -> None:
        """Full power, BARs answering, old errors forgotten. Raises IxyError if it is gone."""
        self.check_presence()
        for power in self.capabilities(pci.CAP_POWER):
            control = self.config_read(power + pci.POWER_CONTROL, 2)
            if control & pci.POWER_STATE:
                self.config_write(power + pci.POWER_CONTROL, 2, control & ~pci.POWER_STATE)
                time.sleep(0.01)  # from D3hot to D0
        command = self.config_read(pci.COMMAND, 2)
        self.config_write(pci.COMMAND, 2, command | pci.COMMAND_MEMORY)
        if self.config_read(pci.STATUS, 2) & REFUSED:
            self.config_write(pci.STATUS, 2, REFUSED)

    def check_presence(self) -> None:
        """Raises IxyError if the device no longer answers."""
        if self.config_read(pci.VENDOR_ID, 2) == 0xFFFF:
            raise IxyError(f"{self.address}: the device is gone: it no longer answers")

    def check(self) -> None:
        """Raises IxyError if the device is gone or was refused an access to memory."""
        self.check_presence()
        if self.config_read(pci.STATUS, 2) & REFUSED:
            raise IxyError(
                f"{self.address}: DMA fault: the device read memory that it may not: see dmesg"
            )

    def map_bar(self, index: int, file: int, start: int, parts: list[tuple[int, int]]) -> Bar:
        """BAR `index`, which begins at `start` of `file`, of which `parts`, (offset, size), can be
        mapped; I/O ports never can. Raises IxyError if they can not.
        """
        if self.config_read(pci.BAR0 + 4 * index, 4) & pci.BAR_IO:
            parts = []
            self.config_write(pci.COMMAND, 2, self.config_read(pci.COMMAND, 2) | pci.COMMAND_IO)
        outside = FileBar(self.address, file, start)
        try:
            bar = MappedBar(file, start, parts, outside, self.check_presence)
        except (OSError, ValueError) as error:
            raise IxyError(f"{self.address}: BAR {index} cannot be mapped: {error}") from None
        self._bars[index] = bar
        return bar

    def close(self) -> None:
        """Lets go of the function."""
        while self._bars:
            self._bars.popitem()[1].close()
        while self._files:
            os.close(self._files.pop())
