"""What Linux knows of the network cards of this machine: /sys/bus/pci."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ixy.datasheets import intel82576, intel82599, virtio
from ixy.datasheets.pci import CLASS_BRIDGE, CLASS_ETHERNET
from ixy.errors import IxyError

PCI_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
PCI, VFIO = Path("/sys/bus/pci"), Path("/dev/vfio")
# Names of the cards that there are drivers for, by vendor and device id
MODELS: dict[tuple[int, int], str] = {
    (sheet.VENDOR, device): name
    for sheet in (intel82599, intel82576, virtio)
    for name, device in sheet.MODELS.items()
}
VFIO_PCI = "vfio-pci"  # the kernel's driver that hands cards to user space
FREE = (VFIO_PCI, "none")  # what `driver` says of a card that user space may have


@dataclass(frozen=True)
class Card:
    """A PCI function's folder in sysfs, read anew with each question."""

    path: Path

    @property
    def address(self) -> str:
        """Such as 0000:03:00.0."""
        return self.path.name

    @property
    def bus(self) -> Path:
        """The folder of the bus: its drivers, its orders."""
        return self.path.parent.parent

    @property
    def is_ethernet(self) -> bool:
        """Whether its class says so."""
        return self._number("class") >> 8 == CLASS_ETHERNET >> 8

    @property
    def is_known(self) -> bool:
        """Whether ixy has a driver for it."""
        return self._ids in MODELS

    @property
    def model(self) -> str:
        """Its name where ixy has a driver for it, else vendor and device id."""
        vendor, device = self._ids
        return MODELS.get((vendor, device), f"{vendor:04x}:{device:04x}")

    @property
    def driver(self) -> str:
        """The kernel's driver that has it, "none" if there is none."""
        return self._link("driver") or "none"

    @property
    def group(self) -> int | None:
        """The number of its IOMMU group; None without an IOMMU."""
        name = self._link("iommu_group")
        return int(name) if name else None

    @property
    def group_file(self) -> Path:
        """What VFIO opens: whoever may write it may have the group's cards."""
        return VFIO / str(self.group)

    @property
    def translated(self) -> bool:
        """Whether an IOMMU translates its addresses: physical ones then mean nothing."""
        return self._text("iommu_group/type").startswith("DMA")

    @property
    def neighbours(self) -> list["Card"]:
        """The other functions of its IOMMU group that a driver of the kernel has: VFIO hands out a
        group when there are none.
        """
        members = sorted(self.path.glob("iommu_group/devices/*"))
        others = [Card(self.path.parent / member.name) for member in members]
        return [
            card
            for card in others
            if card.address != self.address
            and card.driver not in FREE
            and card._number("class") >> 8 != CLASS_BRIDGE >> 8  # its driver may stay
        ]

    @property
    def interfaces(self) -> list[Path]:
        """The folders of the network interfaces that the kernel's driver makes of it."""
        return sorted([*self.path.glob("net/*"), *self.path.glob("virtio*/net/*")])

    @property
    def node(self) -> int | None:
        """The NUMA node it is attached to; None where Linux does not know."""
        text = self._text("numa_node")
        return int(text) if text.isdigit() else None

    @property
    def link(self) -> str | None:
        """up with its Mbit/s, or down; None while no driver of the kernel has it."""
        for interface in self.interfaces:
            if _read(interface / "carrier") != "1":
                return "down"
            speed = _read(interface / "speed")
            return f"up {speed}" if speed.isdigit() else "up"
        return None

    @property
    def _ids(self) -> tuple[int, int]:
        return self._number("vendor"), self._number("device")

    def _text(self, name: str) -> str:
        return _read(self.path / name)

    def _number(self, name: str) -> int:
        text = self._text(name)
        return int(text, 16) if text else 0

    def _link(self, name: str) -> str:
        link = self.path / name
        return os.path.basename(os.readlink(link)) if link.is_symlink() else ""


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:  # there is none, or the interface is down
        return ""


def network_cards(pci: Path = PCI) -> Iterator[Card]:
    """The Ethernet controllers, in the order of their addresses; none where there is no PCI."""
    folder = pci / "devices"
    cards = [Card(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []
    return (card for card in cards if card.is_ethernet)


def find_card(address: str, pci: Path = PCI) -> Card:
    """The network card at a PCI address. Raises IxyError if there is none."""
    card = Card(pci / "devices" / address)
    if not PCI_ADDRESS.fullmatch(address) or not card.path.exists():
        raise IxyError(f"{address}: there is no such PCI device: ixy devices lists the cards")
    if not card.is_ethernet:
        raise IxyError(f"{address}: is no Ethernet controller: ixy devices lists those")
    return card
