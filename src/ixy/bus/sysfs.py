"""What Linux knows of the PCI functions of this machine: /sys/bus/pci/devices."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ixy.datasheets.intel82599 import MODELS, VENDOR
from ixy.datasheets.pci import CLASS_ETHERNET

DEVICES = Path("/sys/bus/pci/devices")


class Card(NamedTuple):
    """A network card."""

    address: str
    model: str
    driver: str  # the kernel's, "none" if there is none


def network_functions(root: Path = DEVICES) -> Iterator[Card]:
    """The Ethernet controllers, in the order of their addresses; none where there is no PCI."""
    names = {device: name for name, device in MODELS.items()}
    for function in sorted(root.iterdir()) if root.is_dir() else ():
        if _number(function / "class") >> 8 != CLASS_ETHERNET >> 8:
            continue
        vendor, device = _number(function / "vendor"), _number(function / "device")
        known = names.get(device) if vendor == VENDOR else None
        driver = function / "driver"
        yield Card(
            function.name,
            known or f"{vendor:04x}:{device:04x}",
            driver.resolve().name if driver.exists() else "none",
        )


def _number(file: Path) -> int:
    try:
        return int(file.read_text(), 16)
    except (OSError, ValueError):
        return 0
