"""The 82599's interrupt registers (7.3, 8.2.3.5). What they do to messages is in `messages`.

A vector's message is a write to the eventfd that a bus has connected. INTx is a level: the eventfd
is written when the line rises, and again by `unmask_intx` if it is still up then.
"""

import time

import numpy as np

from ixy.datasheets import intel82599_device as sheet
from ixy.datasheets import pci
from ixy.emulator.intel82599.messages import VECTORS, raise_and_deliver
from ixy.emulator.intel82599.storage import Storage
from ixy.memory.ordered import address_of

KINDS = ("msix", "msi", "intx")  # the first with a connection is used
INTERVAL_NS = 2048  # the unit of EITR (8.2.3.5.12)
QUEUE_CAUSES = sheet.EICR.RTXQ.mask
OTHER_CAUSES = 0x7FFF0000  # bit 31 is reserved
VALID = 1 << 7  # of a byte of IVAR


class Interrupts(Storage):
    """Causes, masks, vectors."""

    config: bytearray

    def __init__(self) -> None:
        super().__init__()
        self._one = np.ones(1, np.uint64)
        self._connected: dict[str, dict[int, int]] = {kind: {} for kind in KINDS}
        self._set(one=address_of(self._one))

    def connect_interrupt(self, kind: str, vector: int, eventfd: int | None) -> None:
        """Where the device signals when a vector fires; None disconnects it.

        `kind` is msix, msi or intx. With MSI and INTx there is only vector 0. The eventfd stays its
        owner's, who may close it as soon as it is disconnected.
        """
        with self:
            self._connected[kind].pop(vector, None)
            if eventfd is not None:
                self._connected[kind][vector] = eventfd
            self.configure_interrupts()
            self.raise_again()

    def unmask_intx(self) -> None:
        """Whoever is told of INTx and masks it meanwhile calls this when he listens again."""
        with self:
            self.raise_again()

    def disconnect_interrupts(self) -> None:
        """Nobody listens any more."""
        with self:
            for connected in self._connected.values():
                connected.clear()
            self.configure_interrupts()

    @property
    def line(self) -> bool:
        """Whether the causes assert INTx, were it used."""
        port = self.port[0]
        queues, other = port["causes"] & port["enabled"], port["other"] & port["other_enabled"]
        return bool(queues | other)

    def reset_interrupts(self) -> None:
        """No causes, all masked, as the registers say after a reset."""
        for field in ("raised", "causes", "other", "enabled", "other_enabled", "pending"):
            self._set(**{field: 0})
        self.port[0]["due"][:] = self.port[0]["interval"][:] = 0
        self._auto_mask = 0  # EIAM: bits 63:0 of vectors
        for queue in range(sheet.QUEUES):
            self._allocate(queue)
        self.configure_interrupts()

    def configure_interrupts(self, *_: int) -> None:
        """How causes reach vectors: GPIE, IVAR_MISC, EIAC, EIAM, and what is connected."""
        kind = next((kind for kind in KINDS if self._connected[kind]), "intx")
        single = kind != "msix" or not self._field(sheet.GPIE.MULTIPLE_MSIX, "GPIE")
        misc = self._word("IVAR_MISC")
        valid = sheet.IVAR_MISC.OTHER_VALID.of(misc)
        at_message = self._field(sheet.GPIE.EIAME, "GPIE")
        self._set(
            single=int(single),
            other_vector=valid << sheet.IVAR_MISC.OTHER.of(misc) % VECTORS,
            # vectors without a bit in EICR cannot be cleared otherwise
            auto_clear=self._word("EIAC") & QUEUE_CAUSES | ~QUEUE_CAUSES & 2**VECTORS - 1,
            auto_mask=self._auto_mask if at_message else 0,
            other_auto_mask=self._word("EIAM") & OTHER_CAUSES if at_message else 0,
        )
        disabled = kind == "intx" and self.config[pci.COMMAND + 1] << 8 & pci.COMMAND_NO_INTX
        self.port[0]["eventfd"][:] = -1
        for vector, eventfd in self._connected[kind].items() if not disabled else ():
            self.port[0]["eventfd"][vector] = eventfd

    write_GPIE = write_IVAR_MISC = write_EIAC = configure_interrupts

    # Causes

    def cause(self, vectors: int, other: int = 0) -> None:
        """Something has happened that interrupts, if it is enabled."""
        raise_and_deliver(self.port, vectors, other)

    def raise_again(self) -> None:
        """The causes that are set interrupt once more, if they are enabled."""
        self.cause(int(self.port[0]["causes"]), int(self.port[0]["other"]))

    def read_EICR(self, _: int, __: int) -> int:
        """Causes; they clear when they are read, those of queues not with GPIE.OCD."""
        word = self.read_EICS()
        kept = self._field(sheet.GPIE.OCD, "GPIE")
        self._clear(OTHER_CAUSES if kept else OTHER_CAUSES | QUEUE_CAUSES)
        return word

    def write_EICR(self, value: int, _: int) -> None:
        """Clears the causes of bits that are 1."""
        self._clear(value)

    def read_EICS(self, *_: int) -> int:
        """EICR's causes, without clearing them."""
        return int(self.port[0]["causes"]) & QUEUE_CAUSES | int(self.port[0]["other"])

    def write_EICS(self, value: int, _: int) -> None:
        """Software sets causes."""
        self._set_causes(value & QUEUE_CAUSES, value & OTHER_CAUSES)

    def write_EICS_EX(self, value: int, index: int) -> None:
        """Software sets the causes of vectors."""
        self._set_causes(value << 32 * index, 0)

    def _set_causes(self, vectors: int, other: int) -> None:
        if self._field(sheet.GPIE.EIMEN, "GPIE"):
            self.port[0]["due"][:] = 0
        self.cause(vectors, other)

    def _clear(self, causes: int) -> None:
        port = self.port[0]
        port["causes"] &= np.uint64(~(causes & QUEUE_CAUSES) & 2**VECTORS - 1)
        port["other"] &= np.uint64(~causes & OTHER_CAUSES)
        if not self._field(sheet.GPIE.EIAME, "GPIE"):  # then EICR's accesses mask (8.2.3.5.6)
            self._mask(self._auto_mask & QUEUE_CAUSES, self._word("EIAM"))

    # Masks

    def read_EIMS(self, *_: int) -> int:
        """What is enabled."""
        return int(self.port[0]["enabled"]) & QUEUE_CAUSES | int(self.port[0]["other_enabled"])

    def read_EIMS_EX(self, _: int, index: int) -> int:
        """Which vectors are enabled."""
        return int(self.port[0]["enabled"]) >> 32 * index & 0xFFFFFFFF

    def write_EIMS(self, value: int, _: int) -> None:
        """Enables causes."""
        self._enable(value & QUEUE_CAUSES, value & OTHER_CAUSES)

    def write_EIMS_EX(self, value: int, index: int) -> None:
        """Enables vectors."""
        self._enable(value << 32 * index, 0)

    def write_EIMC(self, value: int, _: int) -> None:
        """Masks causes."""
        self._mask(value & QUEUE_CAUSES, value)

    def write_EIMC_EX(self, value: int, index: int) -> None:
        """Masks vectors."""
        self._mask(value << 32 * index, 0)

    def _enable(self, vectors: int, other: int) -> None:
        """A cause that was set while it was masked interrupts now."""
        port = self.port[0]
        new = vectors & ~int(port["enabled"]), other & ~int(port["other_enabled"])
        port["enabled"] |= np.uint64(vectors)
        port["other_enabled"] |= np.uint64(other)
        self.cause(new[0] & int(port["causes"]), new[1] & int(port["other"]))

    def _mask(self, vectors: int, other: int) -> None:
        self.port[0]["enabled"] &= np.uint64(~vectors & 2**VECTORS - 1)
        self.port[0]["other_enabled"] &= np.uint64(~other & OTHER_CAUSES)

    def read_EIAM(self, word: int, _: int) -> int:
        """What masks itself."""
        return word & OTHER_CAUSES | self._auto_mask & QUEUE_CAUSES

    def read_EIAM_EX(self, _: int, index: int) -> int:
        """Which vectors mask themselves."""
        return self._auto_mask >> 32 * index & 0xFFFFFFFF

    def write_EIAM(self, value: int, _: int) -> None:
        """Chooses what masks itself."""
        self._auto_mask = self._auto_mask & ~QUEUE_CAUSES | value & QUEUE_CAUSES
        self.configure_interrupts()

    def write_EIAM_EX(self, value: int, index: int) -> None:
        """Chooses which vectors mask themselves."""
        half = 0xFFFFFFFF << 32 * index
        self._auto_mask = self._auto_mask & ~half | value << 32 * index
        self.configure_interrupts()

    # Vectors

    def write_IVAR(self, _: int, index: int) -> None:
        """The vectors of two queue pairs (8.2.3.5.16)."""
        if 2 * index < sheet.QUEUES:
            self._allocate(2 * index)
            self._allocate(2 * index + 1)

    def _allocate(self, queue: int) -> None:
        word = self._word("IVAR", queue // 2) >> 16 * (queue % 2)
        for direction, byte in (("rx", word & 0xFF), ("tx", word >> 8 & 0xFF)):
            vector = byte % VECTORS
            self.port[0][direction][queue]["cause"] = 1 << vector if byte & VALID else 0

    def write_EITR(self, value: int, index: int) -> None:
        """A vector's throttling. Without CNT_WDIS it also sets what is left of the interval now."""
        counter = sheet.EITR.COUNTER
        self._store_named("EITR", index, value & ~(counter.mask | sheet.EITR.CNT_WDIS.mask))
        if index < VECTORS:
            self.port[0]["interval"][index] = sheet.EITR.INTERVAL.of(value) * INTERVAL_NS
            if not value & sheet.EITR.CNT_WDIS.mask:
                left = counter.of(value) << 2  # its upper 7 of 9 bits
                self.port[0]["due"][index] = time.monotonic_ns() + left * INTERVAL_NS if left else 0
