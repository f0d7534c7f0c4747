"""The 82599's own time stamps: when a packet left its port and when it came back (7.9).

The card notes the time of one packet in each direction, and keeps it until it is read. So packets
are sampled: PTP messages (IEEE 1588), one after the other, from a queue of their own. Both times
are of one card's clock; between two cards, whose clocks differ, there is nothing to subtract.
"""

import struct
import time
from contextlib import suppress

from ixy.bus.function import PciFunction
from ixy.datasheets import intel82599_device as sheet
from ixy.datasheets import pci
from ixy.datasheets.registers import DeviceTimeout, Registers
from ixy.device import Device
from ixy.errors import IxyError

UNIT = 0.1  # ns of the system time: each clock of 6.4 ns counts STEP
STEP = 64
RESOLUTION = 6.4  # ns: a stamp is up to so much too early
TRIES = 16  # readings of the clock, of which the quickest counts
SYNC, VERSION, LENGTH = 0, 2, 44  # a message's type, version and bytes (IEEE 1588-2008, 13.3, 13.6)
PATIENCE = 0.1  # seconds until a message that has not come is given up


class HardwareClock:
    """The system time of a device, and the stamps of messages from its last transmit queue, which
    must have no other user.

    `missing` counts messages that were lost. All receive queues but the first are left without
    packets. Raises IxyError for a device that takes no such stamps.
    """

    def __init__(self, device: Device, destination: bytes) -> None:
        function = device.beyond
        if not isinstance(function, PciFunction) or not _has_clock(function):
            raise IxyError(f"{device.address} takes no time stamps: use --timestamps software")
        self.device, self.destination, self.missing = device, destination, 0
        self._sequence = 0
        self._regs = regs = Registers(sheet.WHOLE, function.bar(0), device.address)
        for register in regs.RETA:
            register.write(0)
        regs.TIMINCA.write(VALUE=STEP, PERIOD=1)
        regs.ETQF[0].write(ETYPE=sheet.PTP, PTP=1, FILTER_EN=1)
        regs.RXMTRL.write(MSGT=SYNC)
        regs.TSYNCRXCTL.write(TYPE=0, EN=1)
        regs.TSYNCTXCTL.write(EN=1)
        self._queue = device.tx[-1]
        self._queue.record[0]["extra"] = sheet.TX_STAMP
        self._forget()
        self._begin = self._read()

    def _forget(self) -> None:
        """Stamps that are still there stand in the way of the next ones."""
        self._regs.TXSTMPH.read()
        self._regs.RXSTMPH.read()

    def sample(self) -> float | None:
        """Sends a message; returns how many ns it took to come back, None if it did not."""
        self._sequence = (self._sequence + 1) % 65536
        if not self._queue.send([self._message()]):
            self.missing += 1
            return None
        deadline = time.monotonic() + PATIENCE
        while not (self._taken("TX") and self._returned()):
            if time.monotonic() > deadline:
                self._give_up()
                return None
            time.sleep(0)
        came = self._stamp("RX")
        return (came - self._stamp("TX")) * UNIT

    def _give_up(self) -> None:
        """A message that is still to be sent would leave its stamp to the next one."""
        self.missing += 1
        with suppress(DeviceTimeout):
            self._regs.TSYNCTXCTL.wait(1.0, VALID=1)
        self._forget()

    def _taken(self, side: str) -> bool:
        return bool(getattr(self._regs, f"TSYNC{side}CTL").field("VALID"))

    def _returned(self) -> bool:
        """Whether this message has come. The stamp of an older one, given up, is thrown away."""
        if not self._taken("RX"):
            return False
        if self._regs.RXSATRH.field("SEQUENCE") == self._sequence:
            return True
        self._regs.RXSTMPH.read()
        return False

    def _stamp(self, side: str) -> int:
        low: int = getattr(self._regs, f"{side}STMPL").read()
        high: int = getattr(self._regs, f"{side}STMPH").read()
        return high << 32 | low

    def _message(self) -> bytes:
        """A Sync message of PTP version 2 over Ethernet (IEEE 1588-2008, annex F)."""
        header = struct.pack(
            ">BBHBBHQI10sHBb", SYNC, VERSION, LENGTH, 0, 0, 0, 0, 0, bytes(10), self._sequence, 0, 0
        )
        kind = sheet.PTP.to_bytes(2, "big")
        return (self.destination + self.device.mac + kind + header).ljust(60, b"\0")

    def _read(self) -> tuple[int, int, int]:
        """The kernel's clock (ns) before and after a reading of the system time, and that."""
        readings = []
        for _ in range(TRIES):
            before = time.monotonic_ns()
            low = self._regs.SYSTIML.read()
            after = time.monotonic_ns()
            readings.append((before, after, self._regs.SYSTIMH.read() << 32 | low))
        return min(readings, key=lambda reading: reading[1] - reading[0])

    def speed(self) -> dict[str, float]:
        """How many ns of the card pass in one of CLOCK_MONOTONIC since it was set up, the bound of
        that figure's error, and the resolution of a stamp (ns).
        """
        begin, end = self._begin, self._read()
        least, most = end[0] - begin[1], end[1] - begin[0]
        elapsed = (end[2] - begin[2]) * UNIT
        middle = (least + most) / 2
        error = (most - least) / 2 / max(least, 1) + RESOLUTION / max(elapsed, RESOLUTION)
        return {"speed": elapsed / middle, "relative_error": error, "resolution": RESOLUTION}

    def close(self) -> None:
        """No more stamps."""
        self._queue.record[0]["extra"] = 0
        self._regs.TSYNCRXCTL.write(0)
        self._regs.TSYNCTXCTL.write(0)


def _has_clock(function: PciFunction) -> bool:
    """Whether it is an 82599 or X540: the X550's clock is another one."""
    models = {name: id_ for name, id_ in sheet.MODELS.items() if not name.startswith("x550")}
    known = function.config_read(pci.VENDOR_ID, 2) == sheet.VENDOR
    return known and function.config_read(pci.DEVICE_ID, 2) in models.values()
