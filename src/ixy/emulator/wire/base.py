"""What every wire is: a ring of frames each way, and who moves frames between it and the world."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ixy.compiled import entry_point
from ixy.emulator.wire.frames import RING_BYTES
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import address_of, records

WireRecord = np.dtype(
    [
        ("rx", "u8"),  # the frame ring to the port
        ("tx", "u8"),  # the frame ring from the port
        (
            "pump",
            "u8",
            # entry point that moves frames between the rings and the world, given this record's
            # address
        ),
        ("state", "u8"),  # the record of its kind
        ("lost", "u8"),  # frames that the world did not take from the port, or the port from it
        ("service", "u4"),  # set when Python must look after the wire before it can go on
        ("patient", "u4"),  # frames wait for descriptors; on other wires a full ring loses them
        ("punctual", "u4"),  # it keeps time: whoever pumps it must not sleep
    ],
    align=True,
)


def no_pump(wire):
    """For a wire whose rings are those of the other end."""


class Wire:
    """A wire, plugged into one port. `OPTIONS` names the address's options that it understands.

    `record[0]` is what the compiled data path takes; `state` and `rings` live as long as it is
    used.
    """

    OPTIONS: frozenset[str] = frozenset()
    warning: str | None = None  # what the user should know when the run is over

    def __init__(
        self,
        pump: Callable[[int], None] = no_pump,
        *,
        patient: bool,
        state: np.ndarray[Any, Any] | None = None,
    ) -> None:
        self.record = records(1, WireRecord)
        self.rings = DmaMemory(2 * RING_BYTES)
        self.state = state
        self._set(rx=self.rings.address, tx=self.rings.address + RING_BYTES)
        self._set(
            pump=entry_point(pump),
            patient=int(patient),
            state=0 if state is None else address_of(state),
        )

    def _set(self, **values: int) -> None:
        for name, value in values.items():
            self.record[0][name] = value

    @property
    def link(self) -> bool:
        """Whether there is somebody at the other end."""
        return True

    def listen(self, on: bool) -> None:
        """Tells the other end whether the port receives: it has no link before."""

    @property
    def ended(self) -> bool | None:
        """Whether no more frames will come; None where nobody can know."""
        return None

    @property
    def under_way(self) -> bool:
        """Whether it holds back frames that will still go on, if it is left to."""
        return False

    def service(self) -> None:
        """What cannot be done in compiled code. Called between slices of the data path, and once at
        the end.
        """
        self._set(service=0)

    def drops(self) -> dict[str, int]:
        """Frames lost beyond the port, by reason."""
        return {"wire_lost": int(self.record[0]["lost"])}

    def planted(self) -> dict[str, Any]:
        """What it did to frames on purpose, by name."""
        return {}

    def close(self) -> None:
        """Unplugs it. The port does not run any more."""
        self.rings.close()
