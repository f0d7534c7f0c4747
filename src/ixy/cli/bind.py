"""`ixy bind`."""

import json
from typing import Annotated

import typer

from ixy.cli import signals
from ixy.cli.devices import advice
from ixy.cli.session import Json
from ixy.errors import IxyError

NAME = "bind"
HELP = "Take a network card from its kernel driver, for use by ixy."
EXAMPLE = "Example: sudo ixy bind 0000:03:00.0"

Slot = Annotated[str, typer.Argument(metavar="ADDR", help="A card, such as 0000:03:00.0.")]
Driver = Annotated[
    str | None,
    typer.Option(help="vfio-pci, or none (for sysfs). Unless told, vfio-pci if there is an IOMMU."),
]
Force = Annotated[bool, typer.Option("--force", help="Even if the network uses it now.")]


def command(
    address: Slot, driver: Driver = None, force: Force = False, as_json: Json = False
) -> int:
    """Takes the card, prints what to do next."""
    signals.leave_at_once()
    from ixy.bus import binding
    from ixy.bus.cards import FREE, find_card

    if driver not in (None, *FREE):
        raise IxyError(f"--driver {driver}: give it {' or '.join(FREE)}")
    card = find_card(address)
    before, now = card.driver, binding.bind(card, driver, force=force)
    report(address, before, now, advice(card), as_json)
    return 0


def report(address: str, before: str, now: str, todo: str, as_json: bool) -> None:
    """Prints who had a card, who has it, and the next step."""
    if as_json:
        print(json.dumps({"address": address, "before": before, "driver": now, "todo": todo}))
    else:
        print(f"{address}: {before} -> {now}; next: {todo}")
