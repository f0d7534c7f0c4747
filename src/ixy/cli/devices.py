"""`ixy devices`."""

import json
import os
from typing import TYPE_CHECKING, Any

from ixy.cli import signals
from ixy.cli.session import Json
from ixy.cli.tables import print_table

if TYPE_CHECKING:
    from ixy.bus.cards import Card

NAME = "devices"
HELP = "List what can be opened here, who drives it, and what to do to use it."
EXAMPLE = "Example: ixy devices"


def command(as_json: Json = False) -> int:
    """Lists PCI network cards, and what can be opened without one."""
    signals.leave_at_once()
    from ixy.bus.cards import network_cards

    cards = [describe(card) for card in network_cards()]
    if as_json:
        print(json.dumps({"devices": cards + [_other(*row) for row in WITHOUT_A_CARD]}))
        return 0
    if cards:
        print_table(list(CARD_COLUMNS.values()), [_cells(card) for card in cards])
        print()
    columns = "address", "model", "driver", "to use it"
    print_table(columns, [_cells(_other(*row)) for row in WITHOUT_A_CARD])
    return 0


CARD_COLUMNS = {
    "address": "address", "model": "model", "driver": "driver", "interfaces": "interface",
    "numa_node": "node", "link": "link", "iommu_group": "group", "todo": "to use it",
}  # fmt: skip


def describe(card: "Card") -> dict[str, Any]:
    """A card's part of the JSON object."""
    return {
        "address": card.address,
        "model": card.model,
        "driver": card.driver,
        "interfaces": [interface.name for interface in card.interfaces],
        "numa_node": card.node,
        "link": card.link,
        "iommu_group": card.group,
        "todo": advice(card),
    }


def advice(card: "Card") -> str:
    """The next step to use a card, as a command where there is one."""
    from ixy.bus.binding import burdens
    from ixy.bus.cards import VFIO_PCI

    if not card.is_known:
        return "ixy has no driver for this model"
    if card.driver == VFIO_PCI:
        needed = [f"sudo ixy bind {other.address}" for other in card.neighbours]
        if not os.access(card.group_file, os.R_OK | os.W_OK):
            needed.append(f"sudo chown $USER {card.group_file}")
        return "; ".join(needed) or f"open it: ixy regs {card.address}"
    if card.driver == "none" and not card.translated:
        return f"open it as root: sudo ixy regs {card.address}"
    for burden in burdens(card):
        return f"{burden}; to take it nevertheless: sudo ixy bind {card.address} --force"
    return f"sudo ixy bind {card.address}"


def _other(address: str, model: str, todo: str) -> dict[str, Any]:
    return {"address": address, "model": model, "driver": "ixy", "todo": todo}


def _cells(device: dict[str, Any]) -> list[str]:
    cells = [", ".join(cell) if isinstance(cell, list) else cell for cell in device.values()]
    return ["-" if cell in (None, "") else str(cell) for cell in cells]


CARD, SWITCH, QEMU = "82599, emulated", "virtio, of a switch", "virtio or 82576, QEMU's"
WITHOUT_A_CARD = (
    ("emu:loopback", CARD, "nothing: what is sent comes back"),
    ("emu:source", CARD, "nothing: saturated with frames, counts what is sent"),
    ("emu:cable:NAME", CARD, "open a second device with the same name, in any process"),
    ("emu:pcap:IN,OUT", CARD, "name capture files (either may be empty)"),
    ("emu:tap:IF", CARD, "be root, or: sudo ip tuntap add IF mode tap user $USER"),
    ("vhost-user:SOCKET", SWITCH, "start a switch that listens there, or wait for it: ?listen=1"),
    ("qemu:MODEL:WIRE", QEMU, "apt install qemu-system-x86; the wires are those above"),
)
