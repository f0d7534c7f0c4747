"""A rate as people write it: packets per second, bits per second, or a part of the link."""

import re
from dataclasses import dataclass

from ixy.errors import IxyError

CRC, FRAMING = 4, 20  # bytes of a frame on the wire besides its own: CRC; preamble and gap
UNITS = {"bit": 1.0, "kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9}
LEAST, MOST = 1e-3, 1e12  # packets per second


@dataclass(frozen=True)
class Rate:
    """`value` packets per second, bits per second (`unit` "bit": of frames with their CRC, "wire":
    with preamble and gap too), or percent of the link.
    """

    text: str
    value: float
    unit: str = "packets"

    @property
    def of_link(self) -> bool:
        """Whether it takes the link's speed to know it."""
        return self.unit == "percent"

    def pps(self, size: float, link: int = 0) -> float:
        """Packets per second, for frames of `size` bytes (without the CRC, the mean) on a link of
        so many Mbit/s. Raises IxyError for what no clock measures.
        """
        bits = 8 * (size + CRC + (0 if self.unit == "bit" else FRAMING))
        if self.unit == "packets":
            bits = 1
        value = self.value * link * 1e4 if self.of_link else self.value
        if not LEAST <= value / bits <= MOST:
            raise IxyError(f"--rate {self.text}: {value / bits:g} packets per second")
        return value / bits


def parse_rate(text: str) -> Rate:
    """Understands `--rate`: 1e6, 5Gbit, 5Gbit-wire, 50%. Raises IxyError for anything else."""
    form = r"\s*([0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]{1,3})?)\s*(?:(%)|(k|M|G)?bit(-wire)?)?\s*"
    found = re.fullmatch(form, text)
    value = float(found[1]) if found else 0.0
    if not found or not 0 < value < float("inf"):
        raise IxyError(
            f"--rate {text}: give it packets per second (1e6), bits per second of frames (5Gbit) or"
            " on the wire (5Gbit-wire), or percent of the link (50%)"
        )
    if found[2]:
        if value > 100:
            raise IxyError(f"--rate {text}: a link carries 100% at most")
        return Rate(text, value, "percent")
    if "bit" in text:
        scale = UNITS[f"{found[3] or ''}bit"]
        return Rate(text, value * scale, "wire" if found[4] else "bit")
    if not LEAST <= value <= MOST:
        raise IxyError(f"--rate {text}: give it {LEAST:g} to {MOST:g} packets per second")
    return Rate(text, value)
