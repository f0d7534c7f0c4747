"""`Sequence`: what it finds out about packets, against a naive reading of RFC 4737."""

import ctypes
import struct
from collections.abc import Sequence as Numbers

import dpkt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from command import many
from ixy.compiled import compiled
from ixy.errors import IxyError
from ixy.memory.ordered import array_at
from ixy.traffic.sequence import WINDOW, Flow, Sequence, Stamped, stamp, take_packet

SOURCE, DESTINATION = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


@compiled
def _stamp(streams, stream, address, number, time):
    flow = array_at(streams[0].flows, streams[0].count, Flow)[stream]
    stamp(address, flow, number, time)


@compiled
def _take(streams, address, length, time):
    take_packet(streams[0], address, length, time)


class Link:
    """Streams whose packets the test carries."""

    def __init__(self, count: int = 1, size: int = 60) -> None:
        self.size = size
        self.sequence = Sequence(count, size, SOURCE, DESTINATION, ns_per_tick=0.5)
        self.sequence.flows["sent"] = 10**9

    def make(self, number: int, stream: int = 0, time: int = 1000) -> bytes:
        buffer = ctypes.create_string_buffer(self.sequence._frames[stream].tobytes(), self.size)
        _stamp(self.sequence.record, stream, ctypes.addressof(buffer), number, time)
        return buffer.raw

    def arrive(self, frame: bytes, time: int = 3000) -> None:
        buffer = ctypes.create_string_buffer(frame, len(frame))
        _take(self.sequence.record, ctypes.addressof(buffer), len(frame), time)

    def carry(self, numbers: Numbers[int], sent: int, stream: int = 0) -> dict[str, int]:
        self.sequence.flows["sent"] = sent
        for number in numbers:
            self.arrive(self.make(number, stream))
        return self.sequence.of_stream(stream)


def test_a_stamped_frame_by_its_bytes() -> None:
    frame = Link().make(0x0102030405060708, time=0x1122334455667788)
    assert frame[:34].hex() == (
        "020000000002" "020000000001" "0800" "4500002e00004000401126bd0a0000010a000002"
    )  # fmt: skip
    assert frame[34:40] == struct.pack(">HHH", 10000, 9, 26)
    assert frame[42:50].hex() == "0102030405060708"
    assert frame[50:58].hex() == "8877665544332211"
    assert Stamped.itemsize == 60


@pytest.mark.parametrize("size", [60, 61, 64, 100, 1513, 1514])
@pytest.mark.parametrize("number", [0, 1, 255, 2**40 + 77])
def test_checksums_are_right_by_dpkt(size: int, number: int) -> None:
    frame = Link(3, size).make(number, stream=2, time=number * 977 + 5)
    ip = dpkt.ethernet.Ethernet(frame).data
    assert (ip.data.sport, ip.data.dport, ip.data.ulen) == (10002, 9, size - 34)
    found = ip.sum, ip.data.sum
    ip.sum = ip.data.sum = 0
    bytes(ip)
    again = dpkt.ip.IP(bytes(ip))
    assert found == (again.sum, again.data.sum)


def naive(numbers: Numbers[int], sent: int) -> dict[str, int]:
    """RFC 4737, 3.3 and 4.2.1, on the list of first copies."""
    first = list(dict.fromkeys(numbers))
    extents = []
    for i, number in enumerate(first):
        greater = [j for j in range(i) if first[j] > number]
        if greater:
            extents.append(i - greater[0])
    return {
        "sent": sent, "arrived": len(first), "lost": sent - len(first), "corrupt": 0,
        "corrupt_copies": 0, "duplicates": len(numbers) - len(first), "reordered": len(extents),
        "extent": max(extents, default=0), "too_late": 0,
    }  # fmt: skip


@given(st.lists(st.integers(0, 40), max_size=80))
@settings(deadline=None, max_examples=many(150, 25))
def test_any_order_of_arrival(numbers: list[int]) -> None:
    assert Link().carry(numbers, 50) == naive(numbers, 50)


def test_the_examples_of_rfc_4737() -> None:
    """Section 10.1: 4 comes two places late, and extents count from the first that passed."""
    link = Link()
    assert link.carry([1, 2, 3, 5, 6, 4, 7, 8, 9, 10], 11) == naive([*range(1, 11)], 11) | {
        "reordered": 1, "extent": 2,
    }  # fmt: skip
    assert link.sequence.totals()["mean_extent"] == 2
    found = Link().carry([1, 2, 3, 4, 9, 10, 11, 5, 6, 7, 8], 12)
    assert (found["reordered"], found["extent"], found["lost"]) == (4, 6, 1)


@pytest.mark.parametrize("late", [1, WINDOW - 1, WINDOW, WINDOW + 5, 10 * WINDOW])
def test_the_window(late: int) -> None:
    """What is older cannot be told apart, and is said to be so."""
    for first in (True, False):
        link = Link()
        link.carry([0, 1] if first else [0], 20 * WINDOW)
        link.carry([1 + late], 20 * WINDOW)
        found = link.carry([1], 20 * WINDOW)
        known = late < WINDOW
        assert found["too_late"] == (not known)
        assert found["duplicates"] == (known and first)
        assert found["reordered"] == (known and not first)
        assert found["lost"] == 20 * WINDOW - found["arrived"]


words = st.integers(0, 2**63 - 1)


@given(st.integers(60, 200), st.data())
@settings(deadline=None, max_examples=many(200, 40))
def test_any_changed_byte_of_the_datagram_is_noticed(size: int, data: st.DataObject) -> None:
    link = Link(2, size)
    frame = bytearray(link.make(data.draw(words), 1, data.draw(words)))
    place, change = data.draw(st.integers(38, size - 1)), data.draw(st.integers(1, 255))
    frame[place] ^= change
    link.arrive(bytes(frame))
    found = link.sequence.of_stream(1)
    assert (found["corrupt"], found["arrived"]) == (1, 0)
    assert link.sequence.totals()["foreign"] == 0


def test_a_damaged_second_copy_stands_for_none_that_is_missing() -> None:
    """Of three packets one arrives, with two damaged copies, one is damaged, and one is lost."""
    link = Link()
    link.carry([0], 3)
    for number in (0, 0, 1):
        frame = link.make(number)
        link.arrive(frame[:-1] + b"x")
    found = link.sequence.of_stream(0)
    assert (found["arrived"], found["lost"], found["corrupt"], found["corrupt_copies"]) == (
        1,
        0,
        2,
        1,
    )
    link.carry([1, 2], 3)
    found = link.sequence.totals()
    assert (found["arrived"], found["lost"], found["corrupt"], found["corrupt_copies"]) == (
        3,
        0,
        0,
        3,
    )


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_frame_of_another_length_is_corrupt(cut: int) -> None:
    link = Link(size=110)
    link.arrive(link.make(1)[:-cut])
    link.arrive(link.make(1) + bytes(cut))
    assert link.sequence.of_stream(0)["corrupt"] == 2


@given(words, words)
@settings(deadline=None, max_examples=many(100, 20))
def test_number_and_time_exchanged_are_noticed(number: int, time: int) -> None:
    """The sum stays the same: it is the hash that differs."""
    link = Link()
    frame = link.make(number, time=time)
    swapped = frame[:42] + frame[50:58] + frame[42:50] + frame[58:]
    link.arrive(swapped)
    assert link.sequence.of_stream(0)["corrupt"] == (swapped != frame)


def test_streams_and_foreign_frames() -> None:
    link = Link(3)
    link.arrive(link.make(0, stream=2))
    back = link.make(1, stream=2)
    link.arrive(back[:34] + back[36:38] + back[34:36] + back[38:])  # a reflector's
    assert link.sequence.of_stream(2)["arrived"] == 2
    good = link.make(5)
    other_port = good[:34] + struct.pack(">H", 10003) + good[36:]
    discard = good[:36] + b"\0\7" + good[38:]
    for frame in (
        bytes(60), good[:59], b"", good[:12] + b"\x86\xdd" + good[14:], other_port, discard,
        good[:14] + b"\x46" + good[15:], good[:23] + b"\6" + good[24:],
    ):  # fmt: skip
        link.arrive(frame)
    totals = link.sequence.totals()
    assert (totals["foreign"], totals["arrived"], totals["corrupt"]) == (8, 2, 0)


@pytest.mark.parametrize("number", [100, 2**40, 2**63 - 1])
def test_numbers_that_were_not_sent_are_another_run_s(number: int) -> None:
    link = Link()
    link.sequence.flows["sent"] = 100
    link.arrive(link.make(number))
    assert link.sequence.totals()["foreign"] == 1


def test_latency_is_of_first_copies_in_ns() -> None:
    link = Link(2)
    link.sequence.flows["sent"] = 3
    link.arrive(link.make(0, 0, time=1000), time=3001)  # half a ns a tick
    link.arrive(link.make(0, 0, time=1000), time=9000)
    link.arrive(link.make(0, 1, time=5000), time=4000)
    assert link.sequence.latencies[0].summary()["sum"] == 1000
    assert link.sequence.latencies[1].outside == 1
    total = link.sequence.latency()
    assert (total.total, total.outside, total.maximum) == (1, 1, 1000)


def test_totals_are_of_all_streams() -> None:
    link = Link(2)
    for stream in range(2):
        link.carry([0, 2, 1, 1], 5, stream)
    totals = link.sequence.totals()
    assert totals == {
        "sent": 10, "arrived": 6, "lost": 4, "corrupt": 0, "corrupt_copies": 0, "duplicates": 2,
        "reordered": 2, "extent": 1, "too_late": 0, "mean_extent": 1.0, "foreign": 0,
        "window": WINDOW,
    }  # fmt: skip


def test_a_size_that_ethernet_does_not_carry() -> None:
    with pytest.raises(IxyError):
        Link(size=59)


def test_windows_are_as_large_as_stated() -> None:
    sequence = Link(2).sequence
    assert sequence._windows.shape == (2, WINDOW)
    assert sequence._windows.dtype == np.int64
