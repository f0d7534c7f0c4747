"""The 82599's statistics: counters of the data path that clear when they are read (8.2.3.23)."""

from ixy.emulator.intel82599 import port
from ixy.emulator.intel82599.storage import Storage

# Counters by register; those of an array begin at the index given
STATISTICS = {
    "TPR": port.RX_COUNTS + port.ALL,
    "GPRC": port.RX_COUNTS + port.GOOD,
    "BPRC": port.RX_COUNTS + port.BROADCAST,
    "MPRC": port.RX_COUNTS + port.MULTICAST,
    "PRC": port.RX_COUNTS + port.BY_SIZE,
    "TPT": port.TX_COUNTS + port.ALL,
    "GPTC": port.TX_COUNTS + port.GOOD,
    "BPTC": port.TX_COUNTS + port.BROADCAST,
    "MPTC": port.TX_COUNTS + port.MULTICAST,
    "PTC": port.TX_COUNTS + port.BY_SIZE,
    "RUC": port.RUC,
    "ROC": port.ROC,
    "RXMPC": port.RXMPC,
    "QPRC": port.QPRC,
    "QPRDC": port.QPRDC,
    "XEC": port.XEC,
}
OCTETS = {  # 36-bit counters: reading the low half latches the high one
    "GORC": port.RX_COUNTS + port.OCTETS,
    "GOTC": port.TX_COUNTS + port.OCTETS,
    "QBRC_": port.QBRC,
}


class Statistics(Storage):
    """The counters of the port."""

    def clear_statistics(self) -> None:
        """All counters to 0."""
        self.port[0]["counts"][:] = 0
        self._high = dict.fromkeys(OCTETS, 0)  # high halves latched by reads of the low ones

    def read_statistics(self, name: str, index: int) -> int | None:
        """A counter's value, by its register; None if the register is none."""
        if name in STATISTICS:
            return self._take(STATISTICS[name], name, index)
        if name[:-1] in OCTETS:
            return self._take_octets(name[:-1], low=name.endswith("L")) if index == 0 else 0
        return None

    def _take(self, first: int, name: str, index: int) -> int:
        """Reads and clears a counter. Arrays: sizes have one each; of the queues' and buffers' only
        set 0 counts.
        """
        if index and name not in ("PRC", "PTC"):
            return 0
        counts = self.port[0]["counts"]
        count = int(counts[first + index])
        counts[first + index] = 0
        return min(count, 0xFFFFFFFF)  # counters stick at their maximum

    def _take_octets(self, name: str, *, low: bool) -> int:
        if not low:
            high, self._high[name] = self._high[name], 0
            return high
        counts = self.port[0]["counts"]
        count = min(int(counts[OCTETS[name]]), 2**36 - 1)
        counts[OCTETS[name]] = 0
        self._high[name] = count >> 32
        return count & 0xFFFFFFFF
