"""Moves frames between a wire's rings and the world, by the wire's kind."""

from ixy.compiled import compiled
from ixy.emulator.wire.base import PCAP, SOURCE, TAP
from ixy.emulator.wire.pcap import pump_pcap
from ixy.emulator.wire.source import pump_source
from ixy.emulator.wire.tap import pump_tap


@compiled
def pump(wire):  # type: ignore[no-untyped-def]
    """One round. A passive wire needs none: its rings are the other end's."""
    if wire.kind == PCAP:
        pump_pcap(wire)
    elif wire.kind == TAP:
        pump_tap(wire)
    elif wire.kind == SOURCE:
        pump_source(wire)
