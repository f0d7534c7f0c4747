"""What every wire is: a ring of frames each way, and who moves frames between them and the world."""

from typing import Any

import numpy as np

from ixy.emulator.wire.frames import RING_BYTES
from ixy.memory.dma import DmaMemory
from ixy.memory.ordered import address_of, records

WireRecord = np.dtype(
    [
        ("rx", "u8"),  # the frame ring to the port
        ("tx", "u8"),  # the frame ring from the port
        ("state", "u8"),  # the record of its kind
        ("lost", "u8"),  # frames from the port that the world did not take
        ("kind", "u4"),  # who pumps it, see pump.py
        ("service", "u4"),  # set when Python must look after the wire before it can go on
        ("patient", "u4"),  # frames wait for descriptors; on other wires a full ring loses them
    ],
    align=True,
)
PASSIVE, PCAP, TAP, SOURCE = range(4)  # kinds


class Wire:
    """A wire, plugged into one port. `OPTIONS` names the address's options that it understands.

    `record[0]` is what the compiled data path takes; `state` and `rings` live as long as it is used.
    """

    OPTIONS: frozenset[str] = frozenset()

    def __init__(self, kind: int, *, patient: bool, state: np.ndarray[Any, Any] | None = None) -> None:
        self.record = records(1, WireRecord)
        self.rings = DmaMemory(2 * RING_BYTES)
        self.state = state
        self._set(rx=self.rings.address, tx=self.rings.address + RING_BYTES)
        self._set(kind=kind, patient=int(patient), state=0 if state is None else address_of(state))

    def _set(self, **values: int) -> None:
        for name, value in values.items():
            self.record[0][name] = value

    @property
    def link(self) -> bool:
        """Whether there is somebody at the other end."""
        return True

    @property
    def ended(self) -> bool | None:
        """Whether no more frames will come; None where nobody can know."""
        return None

    def service(self) -> None:
        """What cannot be done in compiled code. Called between slices of the data path, and once at the end."""
        self._set(service=0)

    def drops(self) -> dict[str, int]:
        """Frames lost beyond the port, by reason."""
        return {"wire_lost": int(self.record[0]["lost"])}

    def close(self) -> None:
        """Unplugs it. The port does not run any more."""
        self.rings.close()
