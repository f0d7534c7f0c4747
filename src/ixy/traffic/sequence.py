"""Streams of numbered packets, and what became of each: lost, reordered, duplicated, corrupted.

A packet has its number in its stream, the time at which it left, a hash of both, and the UDP
checksum over all of it. That sum changes with any one byte; number and time swapped or both wrong
show in the hash. All fits into the shortest frame.

The receiver knows of the last WINDOW numbers of each stream which have come. So it tells a late
packet from a second copy, exactly; of one that is older than that it only says so. Reordering is
that of RFC 4737: a packet is reordered if one with a higher number came before it (3.3), and its
extent is how many packets ago the first of those came (4.2.1). Second copies count in neither.
"""

from typing import Any

import numpy as np

from ixy.compiled import compiled, inner
from ixy.memory.ordered import address_of, array_at, records
from ixy.traffic.histogram import Histogram, HistogramRecord, record_value
from ixy.traffic.templates import DISCARD, FIRST_PORT, MIN_SIZE, big_endian, numbered_frame

MAX_STREAMS = 1024
WINDOW = 65536  # numbers
CAME = -1
IPV4, NO_OPTIONS, UDP = 0x0008, 0x45, 17  # the EtherType as this machine reads it
ADDRESSES = 26  # where what the checksum covers begins
PORT_BITS = np.int64(8)

Stamped = np.dtype(  # a frame; words in network byte order, but for `time` and `hash`
    [
        ("ethernet", "u1", 12),
        ("type", "u2"),
        ("version", "u1"),
        ("ip", "u1", 8),
        ("protocol", "u1"),
        ("ip_checksum", "u2"),
        ("addresses", "u1", 8),
        ("source", "u2"),
        ("destination", "u2"),
        ("length", "u2"),
        ("checksum", "u2"),
        ("number", "u8"),
        ("time", "u8"),  # ticks
        ("hash", "u2"),
    ]
)
Flow = np.dtype(
    [
        ("frame", "u8"),  # the template, its checksum and stamp 0
        ("total", "u8"),  # what it adds to the checksum
        ("sent", "i8"),
        ("next", "i8"),  # one more than the highest number that came
        ("arrived", "i8"),  # numbers that came whole
        ("reordered", "i8"),  # of these
        ("extent", "i8"),  # the greatest
        ("duplicates", "i8"),
        ("corrupt", "i8"),
        ("too_late", "i8"),  # by more than the window: first or second copies
        ("window", "u8"),  # i8[WINDOW]: CAME, or how many had come when the number was passed over
        ("latency", "u8"),  # a histogram's record, in ns
    ]
)
Streams = np.dtype(
    [
        ("flows", "u8"),
        ("count", "i8"),
        ("size", "i8"),  # bytes of each frame
        ("sent", "i8"),  # of all streams, which take turns
        ("foreign", "i8"),  # packets that are not of these streams
        ("extents", "u8"),  # a histogram's record
        ("ns_per_tick", "f8"),
    ]
)


@inner
def stamp(address, flow, number, time):
    """Writes number and time (ticks) into a copy of a stream's template, and its checksum."""
    frame = array_at(address, 1, Stamped)[0]
    word = big_endian(number)
    time = np.uint64(time)
    check = hash_of(word, time)
    frame.number = word
    frame.time = time
    frame.hash = check
    rest = (flow.total + halves(word) + halves(time) + check) % np.uint64(0xFFFF)
    frame.checksum = np.uint64(0xFFFF) - rest  # never 0, which would mean that there is none


@inner
def hash_of(word, time):
    """16 bits that depend on all of number and time."""
    mixed = word ^ (time << np.uint64(23) | time >> np.uint64(41))
    mixed ^= mixed << np.uint64(13)
    mixed ^= mixed >> np.uint64(7)
    mixed ^= mixed << np.uint64(17)
    mixed ^= mixed >> np.uint64(32)
    return (mixed ^ mixed >> np.uint64(16)) & np.uint64(0xFFFF)


@inner
def halves(word):
    """What a word of 8 bytes adds to a checksum."""
    low = np.uint64(0xFFFFFFFF)
    return (word & low) + (word >> np.uint64(32))


@inner
def stream_of(frame, length, streams):
    """The stream that a frame is of, by its headers; -1 if it is of none. A reflector may have
    swapped the ports.
    """
    if length < MIN_SIZE or frame.type != IPV4 or frame.version != NO_OPTIONS:
        return -1
    source, destination = port_of(frame.source), port_of(frame.destination)
    stream = (source if destination == DISCARD else destination) - FIRST_PORT
    known = frame.protocol == UDP and 0 <= stream < streams
    return stream if known and DISCARD in (source, destination) else -1


@inner
def port_of(word):
    """A port, from network byte order."""
    word = np.int64(word)
    return (word >> PORT_BITS) | (word & 0xFF) << PORT_BITS


@inner
def is_whole(frame, address, length):
    """Whether length, checksum and hash of a frame are right (RFC 768, RFC 1071)."""
    if port_of(frame.length) != length - 34 or frame.checksum == 0:
        return False
    covered = length - ADDRESSES
    total = np.uint64(frame.length) + np.uint64(UDP << 8)
    words = array_at(address + np.uint64(ADDRESSES), covered >> 1, np.uint16)
    for i in range(covered >> 1):
        total += np.uint64(words[i])
    if covered & 1:
        total += np.uint64(array_at(address + np.uint64(length - 1), 1, np.uint8)[0])
    if total % np.uint64(0xFFFF):
        return False
    return np.uint64(frame.hash) == hash_of(np.uint64(frame.number), np.uint64(frame.time))


@inner
def arrive(flow, extents, number):
    """Notes a number that came; returns whether it is its first copy, as far as can be known."""
    window = array_at(flow.window, WINDOW, np.int64)
    place = number & (WINDOW - 1)
    if number >= flow.next:
        for passed_over in range(max(flow.next, number - WINDOW + 1), number):
            window[passed_over & (WINDOW - 1)] = flow.arrived
        flow.next = number + 1
    elif number < flow.next - WINDOW:
        flow.too_late += 1
        return False
    elif window[place] == CAME:
        flow.duplicates += 1
        return False
    else:
        extent = flow.arrived - window[place]
        flow.reordered += 1
        flow.extent = max(flow.extent, extent)
        record_value(extents, extent)
    window[place] = CAME
    flow.arrived += 1
    return True


@compiled
def take_packet(streams, address, length, time):
    """Looks at a packet that came at a time (ticks)."""
    frame = array_at(address, 1, Stamped)[0]
    stream = stream_of(frame, length, streams.count)
    if stream < 0:
        streams.foreign += 1
        return
    flow = array_at(streams.flows, streams.count, Flow)[stream]
    if not is_whole(frame, address, length):
        flow.corrupt += 1
        return
    number = np.int64(big_endian(frame.number))
    if not 0 <= number < flow.sent:
        streams.foreign += 1  # of an earlier run
        return
    if arrive(flow, array_at(streams.extents, 1, HistogramRecord)[0], number):
        elapsed = float(time - np.int64(frame.time)) * streams.ns_per_tick
        record_value(array_at(flow.latency, 1, HistogramRecord)[0], np.int64(np.rint(elapsed)))


def template_sum(frame: bytes) -> int:
    """What a template adds to the UDP checksum, pseudo header included, in words as this machine
    reads them.
    """
    covered = frame[ADDRESSES:] + bytes(len(frame) % 2)
    pseudo = bytes([0, UDP]) + frame[38:40]
    return int(np.frombuffer(covered + pseudo, "<u2").sum(dtype=np.uint64))


def became(flows: np.ndarray[Any, Any]) -> dict[str, int]:
    """What became of the packets of some streams: each that was sent arrived, or is lost or
    corrupt.

    A corrupt packet's number is not believed, so it stands for one of those missing; when none is,
    it was a second copy, one of `corrupt_copies`. Of the lost, `too_late` may have come, older than
    the window.
    """
    names = "arrived", "corrupt", "duplicates", "reordered", "too_late"
    found = {name: int(flows[name].sum()) for name in names}
    sent = int(flows["sent"].sum())
    missing, damaged = sent - found["arrived"], found["corrupt"]
    found["corrupt"] = min(damaged, missing)
    return found | {
        "sent": sent,
        "lost": missing - found["corrupt"],
        "corrupt_copies": damaged - found["corrupt"],
        "extent": int(flows["extent"].max()),
    }


class Sequence:
    """So many streams of `size`-byte frames (without the CRC), sent in turns; `record` is for
    compiled code.

    `ns_per_tick`: of the clock that stamps them. Raises IxyError for a size that Ethernet does not
    carry.
    """

    def __init__(
        self, count: int, size: int, source: bytes, destination: bytes, ns_per_tick: float
    ) -> None:
        templates = []
        for stream in range(count):
            frame = numbered_frame(size, stream, source, destination)
            templates.append(frame[:40] + bytes(20) + frame[60:])
        self.latencies = [Histogram() for _ in templates]
        self.extents = Histogram()
        self.flows = records(count, Flow)
        self._frames = [np.frombuffer(template, np.uint8) for template in templates]
        self._windows = np.zeros((count, WINDOW), np.int64)
        for stream, template in enumerate(templates):
            for name, value in {
                "frame": address_of(self._frames[stream]),
                "total": template_sum(template),
                "window": address_of(self._windows[stream]),
                "latency": address_of(self.latencies[stream].record),
            }.items():
                self.flows[stream][name] = value
        self.record = records(1, Streams)
        for name, figure in {
            "flows": address_of(self.flows),
            "count": count,
            "size": size,
            "extents": address_of(self.extents.record),
            "ns_per_tick": ns_per_tick,
        }.items():
            self.record[0][name] = figure

    @property
    def sent(self) -> int:
        """Packets given to the ring, all streams together."""
        return int(self.record[0]["sent"])

    def of_stream(self, stream: int) -> dict[str, int]:
        """What became of a stream's packets: see `became`."""
        return became(self.flows[stream : stream + 1])

    def totals(self) -> dict[str, Any]:
        """All streams together, and packets that are of none."""
        found: dict[str, Any] = became(self.flows)
        found["mean_extent"] = round(self.extents.mean, 3)
        return found | {"foreign": int(self.record[0]["foreign"]), "window": WINDOW}

    def latency(self) -> Histogram:
        """Of all streams together."""
        total = Histogram()
        for each in self.latencies:
            total.merge(each)
        return total
