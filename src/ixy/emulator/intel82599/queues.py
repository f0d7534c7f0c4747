"""The 82599's queue registers: where descriptors are, and which queues run (8.2.3.8, 8.2.3.9)."""

from typing import Any

import numpy as np

from ixy.compiled import compiled
from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.port import translate
from ixy.emulator.intel82599.storage import Storage


class Queues(Storage):
    """Receiver, transmitter, and their queues."""

    def look_up(self, iova: int, size: int) -> int:
        """Where memory of the driver's is, here; 0, and a fault, if it is not mapped."""
        return int(_translate(self.port, np.uint64(iova), size))

    def configure_queues(self) -> None:
        """All queues as their registers and the DMA table say."""
        self._configure_units()
        self.write_DTXTCPFLGL()
        for queue in range(sheet.QUEUES):
            self._configure_rx(queue)
            self._configure_tx(queue)

    def _configure_units(self, *_: int) -> None:
        """Starts and stops receiver and transmitter, and sets up the tags that it inserts. The
        security blocks, which their packets pass, can stop them too (8.2.3.12).
        """
        receives = self._field(sheet.RXCTRL.RXEN, "RXCTRL")
        transmits = self._field(sheet.DMATXCTL.TE, "DMATXCTL")
        stopped_rx = self._field(sheet.SECRXCTRL.RX_DIS, "SECRXCTRL")
        stopped_tx = self._field(sheet.SECTXCTRL.TX_DIS, "SECTXCTRL")
        self._set(
            receiving=int(receives and not stopped_rx),
            transmitting=int(transmits and not stopped_tx),
            double_sent=self._field(sheet.GDV, "DMATXCTL"),
            tag_type_sent=self._field(sheet.VT, "DMATXCTL"),
        )

    write_RXCTRL = write_DMATXCTL = write_SECRXCTRL = write_SECTXCTRL = _configure_units

    def read_SECRXSTAT(self, word: int, _: int) -> int:
        """The block is empty as soon as it is stopped."""
        stopped = self._field(sheet.SECRXCTRL.RX_DIS, "SECRXCTRL")
        return sheet.SECRXSTAT.RDY.put(word, stopped)

    def read_SECTXSTAT(self, word: int, _: int) -> int:
        """The block is empty as soon as it is stopped."""
        stopped = self._field(sheet.SECTXCTRL.TX_DIS, "SECTXCTRL")
        return sheet.SECTXSTAT.RDY.put(word, stopped)

    def write_DTXTCPFLGL(self, *_: int) -> None:
        """The TCP flags that the first, the middle and the last segments keep."""
        low, high = self._word("DTXTCPFLGL"), self._word("DTXTCPFLGH")
        self.port[0]["tcp_flags"][:] = (
            sheet.DTXTCPFLGL.FIRST.of(low),
            sheet.DTXTCPFLGL.MIDDLE.of(low),
            sheet.DTXTCPFLGH.LAST.of(high),
        )

    write_DTXTCPFLGH = write_DTXTCPFLGL

    def write_RXDCTL(self, value: int, index: int) -> None:
        """Starts a queue at descriptor 0, or stops it; ENABLE reads back at once (4.6.7.1)."""
        if index < sheet.QUEUES:
            if not value & sheet.RXDCTL.ENABLE.mask or not self.port[0]["rx"][index]["ring"]:
                self._rewind("rx", "RDH", index)
            if "rxdctl-stuck" in self.faults:
                self._store_named("RXDCTL", index, value & ~sheet.RXDCTL.ENABLE.mask)
            self._configure_rx(index)

    def write_SRRCTL(self, _: int, index: int) -> None:
        """Buffer size and drop rule."""
        if index < sheet.QUEUES:
            self._configure_rx(index)

    def write_TXDCTL(self, value: int, index: int) -> None:
        """Starts a queue at descriptor 0, or stops it. Nothing is left to flush."""
        self._store_named("TXDCTL", index, value & ~sheet.SWFLSH.mask)
        if index < sheet.QUEUES:
            if not value & sheet.TXDCTL.ENABLE.mask or not self.port[0]["tx"][index]["ring"]:
                self._rewind("tx", "TDH", index)
            self._configure_tx(index)

    def _rewind(self, direction: str, head: str, index: int) -> None:
        queue = self.port[0][direction][index]
        queue["head"] = queue["tail"] = queue["segmented"] = 0
        self._store_named(head, index, 0)

    def _configure_rx(self, index: int) -> None:
        queue = self.port[0]["rx"][index]
        srrctl = self._word("SRRCTL", index)
        queue["buffer"] = max(sheet.SRRCTL.BSIZEPACKET.of(srrctl), 1) * 1024
        queue["untag"] = sheet.RXDCTL.VME.of(self._word("RXDCTL", index))
        queue["drop"] = sheet.SRRCTL.DROP_EN.of(srrctl)
        queue["legacy"] = sheet.SRRCTL.DESCTYPE.of(srrctl) == 0
        self._configure_ring(
            queue, "RD", index, self._word("RXDCTL", index) & sheet.RXDCTL.ENABLE.mask != 0
        )

    def _configure_tx(self, index: int) -> None:
        queue = self.port[0]["tx"][index]
        self._configure_ring(
            queue, "TD", index, self._word("TXDCTL", index) & sheet.TXDCTL.ENABLE.mask != 0
        )
        active = np.flatnonzero(self.port[0]["tx"]["ring"])
        self.port[0]["tx_queues"][: len(active)] = active
        self._set(tx_active=len(active))

    def _configure_ring(self, queue: Any, prefix: str, index: int, enabled: bool) -> None:
        """Where a queue's descriptors are, here: nowhere unless it is enabled and all of them are
        mapped, nor if the ring has been made so short meanwhile that its head is outside.
        """
        length = self._word(f"{prefix}LEN", index) & 0xFFF80
        iova = self._word(f"{prefix}BAL", index) & ~127 | self._word(f"{prefix}BAH", index) << 32
        queue["size"] = length // 16
        inside = enabled and queue["head"] < queue["size"]
        queue["ring"] = self.look_up(iova, length) if inside else 0
        queue["tail"] = queue["head"]  # it is read anew
        for field, name in (("head_register", f"{prefix}H"), ("tail_register", f"{prefix}T")):
            queue[field] = self.registers_address + sheet.WHOLE.registers[name].offsets[index]


@compiled
def _translate(port, iova, size):
    return translate(port[0], np.uint64(iova), size)
