"""The 82599's link: whether the wire in its port has an other end (8.2.3.22)."""

import time

from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.interrupts import Interrupts
from ixy.emulator.wire.base import Wire
from ixy.errors import IxyError

LINK_10G = 3


class Link(Interrupts):
    """The port's wire and its state."""

    wire: Wire
    failure: IxyError | None = None  # what stopped the wire
    awake = True  # whether somebody steps the device: no link before that
    link_time = 0  # ns from a reset, or a restart of auto-negotiation, until there is a link
    _link_at = 0  # when it has passed

    def service(self) -> None:
        """What the compiled data path leaves to Python: call it between slices. A wire that fails
        loses its link.
        """
        if self.failure is None:
            try:
                self.wire.service()
            except IxyError as error:
                self.failure = error
        self.wire.listen(bool(self.port[0]["receiving"]) and self.awake)
        self._follow_wire()

    def _follow_wire(self) -> int:
        """Whether there is a link now; a change of that is an interrupt's cause."""
        with self:
            self._set(link_awaited=int(self._awaited))
            up = int(self.has_link())
            if up != self.port[0]["link"]:
                self._set(link=up)
                self.cause(0, sheet.EICR.LSC.mask)
        return up

    @property
    def settled(self) -> bool:
        """Whether its data path runs, or never will."""
        return self.awake or self.failure is not None

    def has_link(self) -> bool:
        """Whether the wire has an other end, and somebody to carry the frames."""
        up = self.wire.link and self.failure is None and self.awake
        return up and not self._awaited and "no-link" not in self.faults

    @property
    def _awaited(self) -> bool:
        return time.monotonic_ns() < self._link_at

    def restart_link(self) -> None:
        """It goes down, for `link_time`. Frames wait for it: who sent them may be gone by then."""
        self._link_at = time.monotonic_ns() + self.link_time
        self._set(link_awaited=int(self._awaited))

    def write_AUTOC(self, value: int, _: int) -> None:
        """A restart of auto-negotiation is over when it is asked for."""
        self._store_named("AUTOC", 0, value & ~sheet.AUTOC.AN_RESTART.mask)
        if value & sheet.AUTOC.AN_RESTART.mask:
            self.restart_link()

    def read_LINKS(self, _: int, __: int) -> int:
        """10 Gbit/s while there is a link."""
        up = self._follow_wire()
        return sheet.LINKS.SPEED.put(sheet.LINKS.UP.put(0, up), LINK_10G if up else 0)
