"""`ixy unbind`."""

from ixy.cli import signals
from ixy.cli.bind import Slot, report
from ixy.cli.session import Json

NAME = "unbind"
HELP = "Give a network card back to the kernel driver that it was taken from."
EXAMPLE = "Example: sudo ixy unbind 0000:03:00.0"


def command(address: Slot, as_json: Json = False) -> int:
    """Gives the card back."""
    signals.leave_at_once()
    from ixy.bus import binding
    from ixy.bus.cards import find_card

    card = find_card(address)
    before, now = card.driver, binding.unbind(card)
    report(address, before, now, "nothing: Linux has it again", as_json)
    return 0
