"""Wires: what an emulated port is plugged into."""

from collections.abc import Callable, Mapping

from ixy.emulator.wire.base import Wire
from ixy.emulator.wire.cable import Cable
from ixy.emulator.wire.delay import Delayed
from ixy.emulator.wire.faults import Faulty
from ixy.emulator.wire.loopback import Loopback
from ixy.emulator.wire.pcap import Pcap
from ixy.emulator.wire.source import Source
from ixy.emulator.wire.tap import Tap
from ixy.errors import IxyError

WIRES = ("loopback", "cable:NAME", "pcap:IN,OUT", "tap:IF", "source")
_KINDS: dict[str, Callable[..., Wire]] = {"cable": Cable, "pcap": Pcap, "tap": Tap}
_PLAIN: dict[str, Callable[..., Wire]] = {"loopback": Loopback, "source": Source}
NUMBERS = Source.OPTIONS | {"seed", "behind", "burst"}
BETWEEN = Faulty.OPTIONS | Delayed.OPTIONS  # options of any wire: what is done to sent frames
OPTIONS = Pcap.OPTIONS | Source.OPTIONS | BETWEEN


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
        if name not in known | BETWEEN:
            listed = ", ".join(sorted(known | BETWEEN))
            raise IxyError(f"the wire {kind} has no option {name} (it has: {listed})")
    own = {name: value for name, value in options.items() if name in known}
    return _lead(make(rest, **own) if rest else make(**own), options)


def _lead(wire: Wire, options: Mapping[str, str | int]) -> Wire:
    """The way to a wire: what is sent meets the faults first, then the delay."""
    kinds: tuple[Callable[..., Wire], ...] = (Delayed, Faulty)
    try:
        for kind in kinds:
            known: frozenset[str] = getattr(kind, "OPTIONS", frozenset())
            if chosen := {name: options[name] for name in options if name in known}:
                wire = kind(wire, **chosen)
    except IxyError:
        wire.close()
        raise
    return wire


__all__ = ["OPTIONS", "WIRES", "Wire", "plug_in"]
