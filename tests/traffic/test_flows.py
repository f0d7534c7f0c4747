"""Conversations: literal frames, and that direction and payload do not matter."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.compiled import compiled
from ixy.traffic.flows import conversation
from packets import TCP, UDP, finished, ip_header, transport_header
from rig import tagged


@compiled
def ask(frame):
    return conversation(frame)


def number(frame: bytes) -> int:
    return int(ask(np.frombuffer(frame, np.uint8)))


def packet(ipv4: bool = True, kind: int = UDP, payload: bytes = b"payload") -> bytes:
    header = transport_header(kind, payload)
    ip = ip_header(ipv4, {UDP: 17, TCP: 6}[kind], len(header) + len(payload))
    return finished(ip, kind, header, payload)


def answered(frame: bytes, ipv4: bool = True) -> bytes:
    """The same packet the other way."""
    macs = frame[6:12] + frame[:6]
    at, size = (26, 4) if ipv4 else (22, 16)
    ports = at + 2 * size
    addresses = frame[at + size : ports] + frame[at : at + size]
    swapped = frame[ports + 2 : ports + 4] + frame[ports : ports + 2]
    return macs + frame[12:at] + addresses + swapped + frame[ports + 4 :]


@pytest.mark.parametrize("ipv4", [True, False])
@pytest.mark.parametrize("kind", [UDP, TCP])
def test_both_ways_are_one_conversation_with_or_without_a_tag(ipv4: bool, kind: int) -> None:
    frame = packet(ipv4, kind)
    back = answered(frame, ipv4)
    assert back != frame
    assert number(frame) == number(back) == number(tagged(back)) == number(tagged(tagged(frame)))


def test_addresses_and_ports_make_a_difference() -> None:
    frame = packet()
    for at in (26, 29, 30, 33, 35, 37):
        assert number(frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :]) != number(frame)
    assert number(frame[:38] + b"other" + frame[43:]) == number(frame)


def test_neighbouring_ports_reach_all_queues() -> None:
    frame = packet()
    flows = [frame[:34] + struct.pack(">H", 10_000 + i) + frame[36:] for i in range(8)]
    assert {number(flow) % 4 for flow in flows} == {0, 1, 2, 3}


def test_fragments_of_a_datagram_stay_together() -> None:
    frame = packet()
    first = frame[:20] + b"\x20\x00" + frame[22:]
    last = frame[:20] + b"\x00\xb9" + b"\x40\x11\0\0" + frame[26:34] + b"other ports"
    assert number(first) == number(last)


@given(st.binary(max_size=80))
@settings(deadline=None)
def test_any_bytes_have_a_number(frame: bytes) -> None:
    assert 0 <= number(frame) < 1 << 32


@pytest.mark.parametrize("kind", [b"\x08\0", b"\x86\xdd", b"\x81\0", b"\x88\xb5"])
@pytest.mark.parametrize("size", [0, 5, 13, 14, 17, 18, 33, 37, 53, 57])
def test_a_frame_cut_anywhere_has_a_number(kind: bytes, size: int) -> None:
    assert 0 <= number((bytes(range(12)) + kind + b"\x4f" * 60)[:size]) < 1 << 32
