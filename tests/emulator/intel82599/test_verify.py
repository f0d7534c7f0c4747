"""What a receive descriptor says of checksums, fragments, extension headers and VLAN tags."""

import struct
from collections.abc import Iterator

import pytest
from dpkt.dpkt import in_cksum
from hypothesis import given, settings
from hypothesis import strategies as st

from packets import (
    NUMBERS,
    SCTP,
    TCP,
    UDP,
    extensions,
    finished,
    ip_header,
    transport_header,
)
from rig import MAC, OTHER, RX_BUFFERS, SLOT, Bare, ethernet, of_length, tagged

VP, UDPCS, L4CS, IPCS, VEXT, UDPV = 0x08, 0x10, 0x20, 0x40, 0x200, 0x400
TCPE, IPE = 1 << 30, 1 << 31
VERIFIED = {TCP: L4CS, UDP: L4CS | UDPCS, SCTP: L4CS}
RING = 16


class Listener:
    """A receive queue that is asked for the descriptor of one frame after another."""

    def __init__(self, buffer_kib: int = 2) -> None:
        self.bare = Bare(size=RING, buffer_kib=buffer_kib)
        self.bare.receiver()
        self.slot = 0

    def __call__(self, frame: bytes) -> tuple[int, int, int, int, int]:
        """Info, the word behind it, status without DD and EOP, length, VLAN tag."""
        assert self.bare.wire.arrive(frame) == 1
        self.bare.step()
        words = struct.unpack("<IIIHH", self.bare.received(self.slot))
        assert words[2] & 3 == 3
        self.bytes = self.bare.peek(RX_BUFFERS + SLOT * self.slot, words[3])
        self.free()
        return words[0], words[1], words[2] & ~3, words[3], words[4]

    def free(self) -> None:
        buffer = self.bare.iova + RX_BUFFERS + SLOT * self.slot
        self.bare.poke(16 * self.slot, struct.pack("<QQ", buffer, 0))
        self.bare.write(0x1018, self.slot)
        self.slot = (self.slot + 1) % RING


@pytest.fixture
def fresh() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.bare.close()


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.bare.close()


def packet(ipv4: bool, kind: int, payload: bytes, words: int = 0) -> bytes:
    """A frame whose checksums are right."""
    header = transport_header(kind, payload)
    extra = bytes([1] * 4 * words) if ipv4 else extensions(NUMBERS[kind], words)
    ip = ip_header(ipv4, NUMBERS[kind], len(header + payload), extra)
    return finished(ip, kind, header, payload)


@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_checksums_right_and_wrong(listener: Listener, data: st.DataObject) -> None:
    ipv4, kind = data.draw(st.booleans(), "IPv4"), data.draw(st.sampled_from([TCP, UDP, SCTP]))
    words = data.draw(st.integers(0, 3), "options or extensions")
    frame = packet(ipv4, kind, data.draw(st.binary(max_size=300), "payload"), words)
    damage = data.draw(st.sampled_from(["none", "address", "end", "lifetime"]), "damage")
    place = {"none": 0, "address": 26 if ipv4 else 30, "end": len(frame) - 1, "lifetime": 22}
    bit = data.draw(st.sampled_from([1 << i for i in range(8)]), "bit")
    if damage != "none" and (ipv4 or damage != "lifetime"):
        at = place[damage]
        frame = frame[:at] + bytes([frame[at] ^ bit]) + frame[at + 1 :]
    expected = VERIFIED[kind] | (IPCS if ipv4 else 0)
    if damage == "end" or (damage == "address" and kind != SCTP):
        expected |= TCPE
    if ipv4 and damage in ("address", "lifetime"):
        expected |= IPE
    tag = data.draw(st.booleans(), "tagged")
    padded = frame.ljust(60, b"\xee")  # padding is no part of the packet
    assert listener(tagged(padded) if tag else padded)[2] == expected | (VP if tag else 0)
    assert listener.bare.read(0x4120) == (1 if expected & (TCPE | IPE) else 0)  # XEC


def test_udp_without_a_checksum(listener: Listener) -> None:
    for ipv4, expected in ((True, IPCS), (False, L4CS | UDPCS | TCPE)):
        frame = packet(ipv4, UDP, bytes(30))
        at = 14 + (20 if ipv4 else 40) + 6
        assert listener(frame[:at] + b"\0\0" + frame[at + 2 :])[2] == expected


@pytest.mark.parametrize("kind", [TCP, UDP, SCTP])
def test_a_packet_that_is_cut_off_is_not_verified(listener: Listener, kind: int) -> None:
    frame = packet(True, kind, bytes(100))
    assert listener(frame[:-1])[2] == IPCS
    frame = packet(False, kind, bytes(100))
    assert listener(frame[:-1])[2] == 0


@given(st.binary(min_size=46, max_size=120), st.sampled_from([0x0800, 0x86DD, 0x8100]))
@settings(deadline=None, max_examples=40)
def test_random_headers_do_no_harm(listener: Listener, payload: bytes, kind: int) -> None:
    first = bytes([payload[0] & 15 | (0x40 if kind == 0x0800 else 0x60)])
    frame = ethernet(first + payload[1:], kind)
    listener(frame)
    assert listener.bytes == frame
    listener.bare.read(0x4120)


def test_extension_headers_in_the_packet_type(listener: Listener) -> None:
    """7.1.6.2: IPv6 6, with extensions 7 too; TCP 8, UDP 9, SCTP 10. IPv4 4, with options 5."""
    assert listener(packet(False, TCP, b""))[0] == 0x140
    assert listener(packet(False, TCP, b"", words=1))[0] == 0x1C0
    assert listener(packet(False, UDP, bytes(30), words=2))[0] == 0x2C0
    assert listener(packet(True, SCTP, bytes(30), words=2))[0] == 0x430


@pytest.mark.parametrize("header", [0, 43, 60])
def test_a_chain_of_extension_headers(listener: Listener, header: int) -> None:
    tcp = transport_header(TCP, b"")
    chain = bytes([header, 0]) + bytes(6) + bytes([6, 1]) + bytes(14)
    frame = finished(ip_header(False, header, len(chain + tcp)), TCP, chain + tcp, b"")
    assert listener(frame)[0] == 0x1C0


def test_an_ipv6_fragment_has_no_transport(listener: Listener) -> None:
    fragment = bytes([6, 0, 0, 1, 0, 0, 0, 1]) + transport_header(TCP, b"")
    assert listener(ethernet(ip_header(False, 44, 28) + fragment, 0x86DD))[::2] == (0xC0, 0, 0)


def test_what_stands_in_the_hashs_place(fresh: Listener) -> None:
    """8.2.3.7.5: without PCSD the identification, and with IPPCSE a UDP fragment's sum above it."""
    payload = transport_header(UDP, bytes(40)) + bytes(range(40))
    payload = payload[:6] + b"\x12\x34" + payload[8:]
    for place, valid in ((0x2000, UDPV), (0x2005, 0), (0x0005, 0)):
        ip = ip_header(True, 17, len(payload), number=0xBEEF)
        ip = ip[:6] + struct.pack(">H", place) + ip[8:]
        ip = ip[:10] + struct.pack(">H", in_cksum(ip)) + ip[12:]
        frame = ethernet(ip + payload, 0x0800)
        fresh.bare.write(0x5000, 0)
        assert fresh(frame)[:3] == (0x10, 0xBEEF, IPCS)
        fresh.bare.write(0x5000, 1 << 12)
        total = ~in_cksum(payload) & 0xFFFF
        assert fresh(frame)[:3] == (0x10, 0xBEEF | total << 16, IPCS | valid)
        fresh.bare.write(0x5000, 3 << 12)
        assert fresh(frame)[:3] == (0x10, 0, IPCS)


# VLAN tags


def test_a_tag_is_stripped_where_the_queue_says_so(fresh: Listener) -> None:
    frame = of_length(100)
    fresh.bare.write(0x1028, 1 << 25 | 1 << 30)  # RXDCTL.VME
    assert fresh(tagged(frame, 0xE123))[2:] == (VP, 100, 0xE123)
    assert fresh.bytes == frame
    assert fresh.bare.read(0x1034) == 104  # QBRC_L: before it was stripped
    assert fresh(frame)[2:] == (0, 100, 0)
    assert fresh.bytes == frame


def test_a_stripped_frame_waits_for_descriptors_as_it_came(fresh: Listener) -> None:
    fresh.bare.write(0x1028, 1 << 25 | 1 << 30)
    frames = [tagged(of_length(100 + i), i) for i in range(RING + 3)]
    assert fresh.bare.wire.arrive(*frames) == len(frames)
    for _ in range(3):
        fresh.bare.step()
    for number, frame in enumerate(frames):
        words = struct.unpack("<IIIHH", fresh.bare.received(fresh.slot))
        assert words[2:] == (3 | VP, len(frame) - 4, number)
        data = fresh.bare.peek(RX_BUFFERS + SLOT * fresh.slot, words[3])
        assert data == of_length(100 + number)
        fresh.free()
        fresh.bare.step()


def test_the_tags_type_is_that_of_vlnctrl(fresh: Listener) -> None:
    frame = tagged(of_length(100), 5)
    assert fresh(frame)[2] == VP
    fresh.bare.write(0x5088, 0x9100)
    assert fresh(frame)[2] == 0
    assert fresh(frame[:12] + b"\x91\0" + frame[14:])[2] == VP


def test_the_vlan_filter(fresh: Listener) -> None:
    """7.1.1.2: bit VID & 31 of VFTA[VID >> 5]; frames without a tag pass."""
    bare = fresh.bare
    bare.write(0x5088, 1 << 30 | 0x8100)  # VLNCTRL.VFE
    bare.write(0xA000 + 4 * (1234 >> 5), 1 << (1234 & 31))
    fresh(of_length(60))
    fresh(tagged(of_length(60), 0xE000 | 1234))
    bare.read(0x4074)
    for vlan in (0, 1233, 1235, 1234 ^ 0x800, 4095):
        bare.wire.arrive(tagged(of_length(60), vlan))
        bare.step()
        assert bare.received(fresh.slot)[8:] == bytes(8)
    assert bare.read(0x4074) == 0  # GPRC
    assert bare.read(0x40D0) == 7  # TPR


@pytest.mark.parametrize("wanted", [0, 1])
def test_the_canonical_form_can_be_filtered_too(fresh: Listener, wanted: int) -> None:
    fresh.bare.write(0x5088, 1 << 30 | 1 << 29 | wanted << 28 | 0x8100)
    fresh.bare.write(0xA000, 1 << 7)
    fresh(tagged(of_length(60), 7 | wanted << 12))
    fresh.bare.wire.arrive(tagged(of_length(60), 7 | (1 - wanted) << 12))
    fresh.bare.step()
    assert fresh.bare.received(fresh.slot)[8:] == bytes(8)


def test_double_vlan(fresh: Listener) -> None:
    """7.4.5: the outer tag stays, the inner one is filtered and stripped; no outer one, no look."""
    fresh.bare.write(0x0018, 1 << 26)  # CTRL_EXT.EXTENDED_VLAN
    fresh.bare.write(0x5078, 0x88A80000)  # EXVET
    fresh.bare.write(0x1028, 1 << 25 | 1 << 30)
    plain = packet(True, UDP, bytes(30))
    outer = plain[:12] + b"\x88\xa8\0\x64" + plain[12:]
    both = outer[:16] + b"\x81\0\0\x09" + outer[16:]
    good = IPCS | VERIFIED[UDP]
    assert fresh(outer)[::2] == (0x210, VEXT | good, 0)
    assert fresh.bytes == outer
    assert fresh(both)[2:] == (VEXT | VP | good, len(outer), 9)
    assert fresh.bytes == outer
    assert fresh(plain)[::2] == (0, 0, 0)
    assert fresh(tagged(plain))[::2] == (0, 0, 0)


# Long frames


@pytest.mark.parametrize("length", [9014, 15868])
def test_jumbo_frames_over_several_descriptors(fresh: Listener, length: int) -> None:
    bare = fresh.bare
    bare.write(0x4240, 0x00010407)  # HLREG0.JUMBOEN
    bare.write(0x4268, length + 4 << 16)  # MAXFRS
    frame = packet(True, UDP, bytes(i * 13 & 0xFF for i in range(length - 42)))
    assert len(frame) == length
    bare.wire.arrive(frame, frame + b"\0")
    bare.step()
    slots = -(-length // 2048)
    words = [struct.unpack("<IIIHH", bare.received(slot)) for slot in range(slots + 1)]
    assert [word[2] for word in words[:-1]] == [1] * (slots - 1) + [3 | IPCS | VERIFIED[UDP]]
    assert words[-1][2] == 0
    data = b"".join(bare.peek(RX_BUFFERS + SLOT * i, words[i][3]) for i in range(slots))
    assert data == frame
    assert bare.read(0x40AC) == 1  # ROC


# Loopback inside the MAC


def test_hlreg0_lpbk_connects_transmitter_and_receiver() -> None:
    bare = Bare()
    bare.receiver()
    bare.transmitter()
    bare.write(0x4240, 0x00018403)  # HLREG0.LPBK
    frame = packet(True, TCP, bytes(100))
    bare.describe(0, 0x2B300000 | len(frame), data=frame)  # EOP, IFCS, RS, DEXT, data
    bare.wire.arrive(of_length(80))  # the wire does not reach the MAC
    assert bare.send(1) == []
    length = len(frame)
    assert bare.received(0)[8:] == struct.pack("<IHH", 3 | IPCS | L4CS, length, 0)
    assert bare.peek(RX_BUFFERS, length) == frame
    assert bare.received(1)[8:] == bytes(8)
    bare.write(0x4240, 0x00010403)
    bare.describe(1, 0x2B300000 | length, data=frame)
    assert bare.send(2) == [frame]
    assert bare.received(1)[8:] == bytes(8)
    bare.close()


def test_loopback_needs_no_link() -> None:
    bare = Bare()
    bare.wire.up = False
    bare.model.service()
    bare.receiver()
    bare.transmitter()
    bare.write(0x4240, 0x00018403)
    frame = MAC + OTHER + bytes(48)
    bare.describe(0, 0x2B300000 | 60, data=frame)
    assert bare.send(1) == []
    assert bare.peek(RX_BUFFERS, 60) == frame
    bare.close()
