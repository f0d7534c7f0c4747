"""What a run is known by, second by second, and the rates in between."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ixy.errors import IxyError

CRC, FRAMING = 4, 20  # bytes that a frame has on the wire besides its own: CRC; preamble and gap


@dataclass(frozen=True)
class Sample:
    """A run so many seconds after it began: the totals of each port, as in the JSON object, and the
    app's own.
    """

    seconds: float
    ports: Sequence[dict[str, Any]]
    counters: dict[str, int]


@dataclass(frozen=True)
class Rate:
    """Packets per second, Mbit/s of frames with their CRC, and Mbit/s on the wire."""

    pps: float
    mbit: float
    wire: float


def rate_of(old: dict[str, Any], new: dict[str, Any], way: str, seconds: float) -> Rate:
    """A port's rate one `way`, rx or tx, between two of its totals."""
    packets, octets = (
        (new[f"{way}_{what}"] - old[f"{way}_{what}"]) / seconds if seconds > 0 else 0.0
        for what in ("packets", "bytes")
    )
    mbit = (octets + CRC * packets) * 8 / 1e6
    return Rate(packets, mbit, mbit + FRAMING * packets * 8 / 1e6)


def missing(option: str, package: str) -> IxyError:
    """The error for an option that needs a package which is not installed."""
    return IxyError(f"{option} needs {package}: pip install {package}")
