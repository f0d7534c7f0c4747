"""The 82599's time stamps: IEEE 1588 (7.9, 8.2.3.18).

The system time counts clocks of 6.4 ns. A stamp of each direction is kept until it is read; packets
that come meanwhile are not stamped. Of what arrives, only PTP version 2 directly over Ethernet is
known. Not imitated: the time's adjustment (TIMADJ), its outputs and interrupts, and the source of
a message (RXSATRL).
"""

import time

import numpy as np

from ixy.compiled import compiled, inner
from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.storage import Storage
from ixy.memory.ordered import array_at
from ixy.system import now

HEADER = 34  # bytes of a PTP message's header (IEEE 1588-2008, 13.3)
EVENT = 8  # the bit of its type that events do not have
ALL_EVENTS = 5  # TSYNCRXCTL.TYPE
LAYER_2 = 0, 2, ALL_EVENTS  # types that stamp messages directly over Ethernet

PtpFrame = np.dtype(
    [
        ("addresses", "u1", 12),
        ("ethertype", "u1", 2),
        ("message", "u1"),  # its type is in the low half
        ("version", "u1"),
        ("_1", "u1", 28),
        ("sequence", "u1", 2),
    ]
)


@inner
def system_time(port):
    """What the system time is now."""
    if port.clock_period == 0:
        return port.clock_base
    clocks = (now() - port.clock_origin) * sheet.CLOCKS // sheet.CLOCK_NS
    return port.clock_base + clocks // port.clock_period * port.clock_step


@compiled
def stamp_sent(port):
    """Takes the time of a packet that is about to be sent."""
    if port.stamp_sent and not port.sent_stamped:
        port.sent_stamp = system_time(port)
        port.sent_stamped = 1


@compiled
def stamp_received(port, frame, length):
    """Takes the time of a packet, if it is one to be stamped; returns the bit of its status."""
    message = array_at(frame, 1, PtpFrame)[0]
    ethertype = np.int64(message.ethertype[0]) << 8 | np.int64(message.ethertype[1])
    if ethertype != port.stamp_type or length < 14 + HEADER or message.version & 15 != 2:
        return 0
    kind = np.int64(message.message) & 15
    wanted = kind == port.stamp_message or (port.stamp_message < 0 and not kind & EVENT)
    if port.came_stamped or not wanted:
        return 0
    port.came_stamp = system_time(port)
    port.came_stamped = 1
    port.came_sequence = np.uint64(message.sequence[0]) << np.uint64(8) | np.uint64(
        message.sequence[1]
    )
    return sheet.RX_STAMP


@compiled
def _system_time(port):
    return system_time(port[0])


class Timestamps(Storage):
    """The registers of the system time and of the stamps."""

    def reset_timestamps(self) -> None:
        """The time stands still, nothing is stamped."""
        self._set(clock_base=0, clock_period=0, sent_stamped=0, came_stamped=0)
        self._configure_stamps()

    def _configure_stamps(self, *_: int) -> None:
        """What is stamped: an EtherType that a filter calls PTP, and a type of message."""
        control = self._word("TSYNCRXCTL")
        filters = [self._word("ETQF", index) for index in range(8)]
        needed = sheet.ETQF.FILTER_EN.mask | sheet.ETQF.PTP.mask
        known = [sheet.ETQF.ETYPE.of(word) for word in filters if word & needed == needed]
        kind = sheet.TSYNCRXCTL.TYPE.of(control)
        on = sheet.TSYNCRXCTL.EN.of(control) and kind in LAYER_2 and known
        message = -1 if kind == ALL_EVENTS else sheet.RXMTRL.MSGT.of(self._word("RXMTRL"))
        self._set(
            stamp_sent=sheet.TSYNCTXCTL.EN.of(self._word("TSYNCTXCTL")),
            stamp_type=known[0] if on else -1,
            stamp_message=message,
        )

    write_TSYNCRXCTL = write_TSYNCTXCTL = write_RXMTRL = write_ETQF = _configure_stamps

    def _set_time(self, value: int) -> None:
        self._set(clock_base=value, clock_origin=time.monotonic_ns())

    def write_TIMINCA(self, value: int, _: int) -> None:
        """The time goes on from where it is, at another speed."""
        self._set_time(int(_system_time(self.port)))
        self._set(
            clock_step=sheet.TIMINCA.VALUE.of(value), clock_period=sheet.TIMINCA.PERIOD.of(value)
        )

    def read_SYSTIML(self, _: int, __: int) -> int:
        """The low half, which latches the high one."""
        found = int(_system_time(self.port)) & (1 << 64) - 1
        self._store_named("SYSTIMH", 0, found >> 32)
        return found & 0xFFFFFFFF

    def write_SYSTIMH(self, value: int, _: int) -> None:
        """Sets the time; the low half was written before."""
        wanted = value << 32 | self._word("SYSTIML")
        self._set_time(wanted - (1 << 64) if wanted >> 63 else wanted)

    def read_TSYNCTXCTL(self, word: int, _: int) -> int:
        """Whether a stamp is there."""
        return sheet.TSYNCTXCTL.VALID.put(word, int(self.port[0]["sent_stamped"]))

    def read_TXSTMPL(self, _: int, __: int) -> int:
        """The low half of a stamp."""
        return int(self.port[0]["sent_stamp"]) & 0xFFFFFFFF

    def read_TXSTMPH(self, _: int, __: int) -> int:
        """The high half; the next packet may be stamped."""
        self._set(sent_stamped=0)
        return int(self.port[0]["sent_stamp"]) >> 32 & 0xFFFFFFFF

    def read_TSYNCRXCTL(self, word: int, _: int) -> int:
        """Whether a stamp is there."""
        return sheet.TSYNCRXCTL.VALID.put(word, int(self.port[0]["came_stamped"]))

    def read_RXSTMPL(self, _: int, __: int) -> int:
        """The low half of a stamp."""
        return int(self.port[0]["came_stamp"]) & 0xFFFFFFFF

    def read_RXSTMPH(self, _: int, __: int) -> int:
        """The high half; the next packet may be stamped."""
        self._set(came_stamped=0)
        return int(self.port[0]["came_stamp"]) >> 32 & 0xFFFFFFFF

    def read_RXSATRH(self, _: int, __: int) -> int:
        """The number of the message whose stamp is there."""
        return sheet.RXSATRH.SEQUENCE.put(0, int(self.port[0]["came_sequence"]))
