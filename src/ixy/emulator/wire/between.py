"""A wire that does something to frames on their way from the port to another wire.

What arrives at the port comes straight from the other wire. So on a cable each end has its own say
about what it sends, and on a loopback plug it is the whole way.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ixy.compiled import call, inner
from ixy.emulator.wire.base import Wire, WireRecord
from ixy.emulator.wire.frames import RING_BYTES, holds_frames
from ixy.memory.ordered import address_of, array_at


class Between(Wire):
    """A wire between the port and another one. Its state has a field `beyond`: that one's record,
    whose pump its own pump calls by `pump_beyond`.
    """

    def __init__(
        self, beyond: Wire, pump: Callable[[int], None], state: np.ndarray[Any, Any]
    ) -> None:
        super().__init__(pump, patient=bool(beyond.record[0]["patient"]), state=state)
        self.beyond = beyond
        self._set(rx=int(beyond.record[0]["rx"]), punctual=int(beyond.record[0]["punctual"]))
        state[0]["beyond"] = address_of(beyond.record)

    @property
    def link(self) -> bool:
        """Whether the other wire has a far end."""
        return self.beyond.link

    def listen(self, on: bool) -> None:
        """Hands it on."""
        self.beyond.listen(on)

    @property
    def ended(self) -> bool | None:
        """Whether the other wire brings nothing more."""
        return self.beyond.ended

    @property
    def under_way(self) -> bool:
        """Whether frames wait in front of the other wire, or it holds some back."""
        return holds_frames(self.rings, RING_BYTES) or self.beyond.under_way

    @property
    def warning(self) -> str | None:  # type: ignore[override]
        """What the other wire has to say."""
        return self.beyond.warning

    def service(self) -> None:
        """What the other wire leaves to Python."""
        super().service()
        self.beyond.service()

    def drops(self) -> dict[str, int]:
        """What the other wire lost, and frames that the port did not take from here."""
        found = self.beyond.drops()
        lost = int(self.record[0]["lost"])
        return found | {"wire_lost": found["wire_lost"] + lost} if "wire_lost" in found else found

    def planted(self) -> dict[str, Any]:
        """What this wire has done on purpose, and what the other one has."""
        return self.beyond.planted()

    def close(self) -> None:
        """Unplugs both."""
        self.beyond.close()
        super().close()


@inner
def pump_beyond(wire, address):
    """Lets the wire beyond move its frames, and asks for service when it does."""
    beyond = array_at(address, 1, WireRecord)[0]
    call(beyond.pump, address)
    wire.service = beyond.service
