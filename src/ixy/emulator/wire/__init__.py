"""Wires: what an emulated port is plugged into."""

from collections.abc import Callable, Mapping

from ixy.emulator.wire.base import Wire
from ixy.emulator.wire.cable import Cable
from ixy.emulator.wire.loopback import Loopback
from ixy.emulator.wire.pcap import Pcap
from ixy.emulator.wire.source import Source
from ixy.emulator.wire.tap import Tap
from ixy.errors import IxyError

WIRES = ("loopback", "cable:NAME", "pcap:IN,OUT", "tap:IF", "source")
_KINDS: dict[str, Callable[..., Wire]] = {"cable": Cable, "pcap": Pcap, "tap": Tap}
_PLAIN: dict[str, Callable[..., Wire]] = {"loopback": Loopback, "source": Source}
NUMBERS = Source.OPTIONS
OPTIONS = Pcap.OPTIONS | Source.OPTIONS


def plug_in(text: str, options: Mapping[str, str | int]) -> Wire:
    """The wire that a text such as `tap:ixy0` names. Raises IxyError for an unknown one."""
    kind, _, rest = text.partition(":")
    make = _KINDS.get(kind) if rest else _PLAIN.get(kind)
    if make is None:
        raise IxyError(f"unknown wire {text!r}: give it one of {', '.join(WIRES)}")
    known: frozenset[str] = getattr(make, "OPTIONS", frozenset())
    for name, value in options.items():
        if name in NUMBERS and not isinstance(value, int):
            raise IxyError(f"{name}={value}: give it a number")
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise IxyError(f"the wire {kind} has no option {name} (it has: {listed})")
    return make(rest, **options) if rest else make(**options)


__all__ = ["OPTIONS", "WIRES", "Wire", "plug_in"]
