"""A slot of a PCI bus that a driver finds in sysfs, with an emulated card in it.

The driver has the files that it would find for a real card. BAR 0 and configuration space are
memory that both sides have mapped, so what the driver does there is not told but noticed; packet
memory is what programs in the same mount namespace have in huge pages.
"""

import mmap
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from ixy.datasheets import pci
from ixy.emulator import namespace
from ixy.emulator.huge_pages import HugePages
from ixy.emulator.intel82599 import port
from ixy.emulator.intel82599.model import Intel82599

DEVICES = Path("/sys/bus/pci/devices")
HUGE = Path("/mnt/huge")
# ns. Drivers that know only real cards, whose links take a second or more, may start the receiver
# before its queues and filters: frames that came at once would be lost
LINK_TIME = 500_000_000


class Slot:
    """A card at a PCI address; `note` is told of its DMA faults."""

    def __init__(self, address: str, card: Intel82599, note: Callable[[str], None]) -> None:
        self.address, self.card, self._note = address, card, note
        self._file = os.memfd_create("config", os.MFD_CLOEXEC)
        os.ftruncate(self._file, pci.CONFIG_SPACE)
        self._config = mmap.mmap(self._file, pci.CONFIG_SPACE)
        self._config[:] = self._seen = bytes(card.config)
        card.link_time = LINK_TIME
        self._pages, self._fault = HugePages(), card.fault()
        card.ask_for_memory(self._pages.appeared)
        card.watch.add_all()

    def lay_out(self, devices: Path) -> None:
        """Makes its folder. The two files that are memory are links to this process's: nothing is
        left of them when it has ended.
        """
        folder, read = devices / self.address, self.card.config_read
        folder.mkdir()
        for name, text in {
            "vendor": f"{read(pci.VENDOR_ID, 2):#06x}",
            "device": f"{read(pci.DEVICE_ID, 2):#06x}",
            "class": f"{read(pci.CLASS, 3):#08x}",
            "numa_node": "-1",
            "irq": "0",
        }.items():
            (folder / name).write_text(text + "\n")
        for name, file in (("config", self._file), ("resource0", self.card.registers_file)):
            (folder / name).symlink_to(f"/proc/{os.getpid()}/fd/{file}")

    def attend(self) -> None:
        """What the card does not notice by itself: call it every few ms."""
        self._heed_configuration()
        fault = self.card.fault()
        if fault and fault != self._fault:
            self._note(f"{self.address}: DMA fault: {fault}")
        self._fault = fault

    def _heed_configuration(self) -> None:
        """Bytes that have changed are writes. What they are afterwards is the card's word."""
        now = self._config[:]
        if now == self._seen:
            return
        with self.card:
            for place, (old, new) in enumerate(zip(self._seen, now, strict=True)):
                if old != new:
                    self.card.config_write(place, 1, new)
            self._seen = bytes(self.card.config)
        for place, (old, new) in enumerate(zip(now, self._seen, strict=True)):
            if old != new:
                self._config[place] = new

    def let_go(self) -> None:
        """Gives back huge pages that no program has any more: call it every now and then."""
        for memory, mappings in self._pages.vanished():
            for physical, _, _ in mappings:
                self.card.dma_unmap(physical)
            memory.close()
        self._fault = self.card.fault()  # rings that went with them are no news

    def totals(self) -> dict[str, object]:
        """Frames and bytes without CRC since the driver's last reset, and what was dropped."""
        counts = self.card.port[0]["counts"]
        sent, octets = (int(counts[port.TX_COUNTS + which]) for which in (port.GOOD, port.OCTETS))
        return {
            "address": self.address,
            "rx_packets": int(counts[port.QPRC]),
            "rx_bytes": int(counts[port.QBRC]),
            "tx_packets": sent,
            "tx_bytes": octets - 4 * sent,
            "dropped": {
                "rx_missed": int(counts[port.RXMPC]),
                "rx_no_descriptor": int(counts[port.QPRDC]),
                "rx_oversize": int(counts[port.ROC]),
                **self.card.wire.drops(),
            },
        }

    def close(self) -> None:
        """Nothing runs the card any more."""
        self._pages.close()
        self._config.close()
        os.close(self._file)
        self.card.close()


def build_bus(slots: Iterable[Slot]) -> None:
    """Mounts a sysfs with these cards and no others, and huge pages, in this mount namespace."""
    namespace.mount("tmpfs", DEVICES)
    for slot in slots:
        slot.lay_out(DEVICES)
    namespace.mount("hugetlbfs", HUGE)
