"""Transmit offloads against independent implementations: checksums, segments, VLAN tags."""

import itertools
import struct
import time
from collections.abc import Iterator

import numpy as np
import pytest
from dpkt.dpkt import in_cksum
from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.emulator.intel82599.datapath import run
from ixy.memory.ordered import address_of
from packets import (
    ACK,
    CWR,
    FIN,
    NUMBERS,
    PSH,
    SCTP,
    TCP,
    UDP,
    extensions,
    finished,
    folded,
    ip_header,
    pseudo_header,
    transport_header,
    with_field,
)
from rig import MAC, OTHER, TX_BUFFERS, TX_RING, Bare

EOP, IFCS, RS, DEXT, VLE, TSE = (1 << bit for bit in (24, 25, 27, 29, 30, 31))
DATA, CONTEXT = 3 << 20, 2 << 20
IXSM, TXSM = 1 << 8, 1 << 9
RING = 64


class Sender:
    """A transmit queue, written to descriptor by descriptor."""

    def __init__(self) -> None:
        self.bare = Bare(size=RING)
        self.bare.transmitter()
        self.bare.write(0x4A80, 0x81000001)  # DMATXCTL: VT as after a reset, TE
        self.tail = 0

    def put(self, *words: int, form: str) -> None:
        self.bare.poke(TX_RING + 16 * self.tail, struct.pack(form, *words))
        self.tail = (self.tail + 1) % RING

    def context(self, mac=14, ip=20, l4=20, mss=0, tag=0, kind=TCP, ipv4=True, slot=0) -> None:
        self.put(
            ip | mac << 9 | tag << 16, 0,
            CONTEXT | DEXT | kind << 11 | ipv4 << 10, slot << 4 | l4 << 8 | mss << 16,
            form="<IIII",
        )  # fmt: skip

    def frame(self, data: bytes, options: int, command: int = 0, parts=(), payload=None) -> None:
        """A frame in parts that begin at the offsets given."""
        self.bare.poke(TX_BUFFERS, data)
        options |= (len(data) if payload is None else payload) << 14
        cuts = [0, *sorted(parts), len(data)]
        for begin, end in itertools.pairwise(cuts):
            last = EOP | RS if end == len(data) and begin == cuts[-2] else 0
            where = self.bare.iova + TX_BUFFERS + begin
            self.put(where, command | IFCS | DEXT | DATA | last | end - begin, options, form="<QII")

    def send(self, steps: int = 2) -> list[bytes]:
        sent = self.bare.send(self.tail, steps)
        assert self.bare.model.fault() is None
        return sent

    def all_sent(self) -> list[bytes]:
        self.bare.write(0x6018, self.tail)
        sent = []
        while self.bare.step():
            sent += self.bare.wire.sent()
        assert self.bare.read(0x6010) == self.tail
        assert self.bare.model.fault() is None
        return sent


@pytest.fixture(scope="module")
def sender() -> Iterator[Sender]:
    sender = Sender()
    yield sender
    sender.bare.close()


@given(data=st.data())
@settings(deadline=None, max_examples=50)
def test_checksums_of_any_packet(sender: Sender, data: st.DataObject) -> None:
    ipv4, kind = data.draw(st.booleans(), "IPv4"), data.draw(st.sampled_from([TCP, UDP, SCTP]))
    payload = data.draw(st.binary(min_size=20, max_size=200), "payload")
    words = data.draw(st.integers(0, 3), "options or extensions")
    extra = bytes([1] * 4 * words) if ipv4 else extensions(NUMBERS[kind], words)
    header = transport_header(kind, payload)
    ip = ip_header(ipv4, NUMBERS[kind], len(header + payload), extra)
    prepared = header
    if kind != SCTP:
        size = len(header + payload)
        prepared = with_field(header, kind, folded(pseudo_header(ip, NUMBERS[kind], size)))
    whole = finished(ip, kind, header, payload)
    parts = data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=4), "parts")
    tag = data.draw(st.none() | st.integers(0, 0xFFFF), "tag")
    slot = data.draw(st.integers(0, 1), "context")
    sender.context(ip=len(ip), l4=0, tag=tag or 0, kind=kind, ipv4=ipv4, slot=slot)
    command = VLE if tag is not None else 0
    sender.frame(whole[:14] + ip + prepared + payload, slot << 4 | IXSM | TXSM, command, parts)
    if tag is not None:
        whole = whole[:12] + struct.pack(">HH", 0x8100, tag) + whole[12:]
    assert sender.send() == [whole.ljust(60, b"\0")]


def test_a_context_and_its_frame_as_literal_bytes(sender: Sender) -> None:
    """7.2.3.2.3, 7.2.3.2.4: IPv4 in bit 10, L4T 1 in 12:11; IXSM, TXSM in 9:8, PAYLEN from 14."""
    bare, first = Bare(), bytes.fromhex("141c0000 00000000 000c2020 00140000")
    bare.transmitter()
    frame = bytes.fromhex(
        "020000000001 0200000000aa 0800"
        "4500 0030 0001 4000 4006 0000 0a000001 0a000002"
        "0050 1000 00000001 00000002 5010 0200 143e 0000 6162636465666768"
    )  # 143e: the sum of 0a00, 0001, 0a00, 0002, 0006 (TCP) and 001c less the last, see below
    pseudo = 0x0A00 + 1 + 0x0A00 + 2 + 6 + 28
    frame = frame[:50] + pseudo.to_bytes(2, "big") + frame[52:]
    bare.poke(TX_BUFFERS, frame)
    bare.poke(TX_RING, first)
    second = struct.pack("<Q", bare.iova + TX_BUFFERS) + bytes.fromhex("3e00302b 00830f00")
    bare.poke(TX_RING + 16, second)
    (sent,) = bare.send(2)
    bare.close()
    assert in_cksum(sent[14:34]) == 0
    assert in_cksum(sent[26:34] + struct.pack(">HH", 6, 28) + sent[34:62]) == 0
    assert sent[:24] + sent[26:50] + sent[52:] == frame[:24] + frame[26:50] + frame[52:]


def test_only_what_is_asked_for_is_changed(sender: Sender) -> None:
    header = transport_header(TCP, b"")
    frame = finished(ip_header(True, 6, 20), TCP, header, b"").ljust(60, b"\0")
    damaged = frame[:24] + b"\1\2" + frame[26:50] + b"\3\4" + frame[52:]
    sender.context()
    sender.frame(damaged, IXSM)
    sender.frame(damaged, TXSM)
    sender.frame(damaged, 0)
    only_ip, only_tcp, nothing = sender.send()
    assert only_ip[24:26] != b"\1\2"
    assert only_ip[50:] == damaged[50:]
    assert only_tcp[24:26] == b"\1\2"
    assert only_tcp[50:52] not in (b"\3\4", frame[50:52])
    assert nothing == damaged


def test_a_udp_checksum_of_0_is_sent_as_all_ones(sender: Sender) -> None:
    header, payload = transport_header(UDP, bytes(20)), bytearray(20)
    ip = ip_header(True, 17, 28)
    pseudo = pseudo_header(ip, 17, 28)
    payload[:2] = struct.pack(">H", in_cksum(pseudo + header + payload))
    sender.context(kind=UDP)
    prepared = with_field(header, UDP, folded(pseudo))
    sender.frame(MAC + OTHER + b"\x08\0" + ip + prepared + payload, TXSM)
    assert sender.send()[0][40:42] == b"\xff\xff"


def expected_segments(
    ip: bytes, kind: int, header: bytes, payload: bytes, mss: int
) -> Iterator[bytes]:
    """7.2.4 in plain Python."""
    for done in range(0, len(payload), mss):
        part = payload[done : done + mss]
        size = len(header) + len(part)
        if ip[0] >> 4 == 4:
            number = struct.unpack_from(">H", ip, 4)[0] + done // mss & 0xFFFF
            new = ip[:2] + struct.pack(">HH", len(ip) + size, number) + ip[6:]
        else:
            new = ip[:4] + struct.pack(">H", len(ip) - 40 + size) + ip[6:]
        own = header
        if kind == TCP:
            sequence, flags = struct.unpack_from(">I", header, 4)[0], header[13]
            if done:
                flags &= ~CWR
            if done + mss < len(payload):
                flags &= ~(FIN | PSH)
            own = header[:4] + struct.pack(">I", sequence + done & 0xFFFFFFFF) + header[8:13]
            own += bytes([flags]) + header[14:]
        else:
            own = header[:4] + struct.pack(">H", size) + header[6:]
        yield finished(new, kind, own, part)


def segmented(sender: Sender, ip, kind, header, payload, mss, *, tag=None, parts=()) -> list[bytes]:
    """What the device makes of a frame."""
    pseudo = folded(pseudo_header(ip, NUMBERS[kind], 0))
    sender.context(ip=len(ip), l4=len(header), mss=mss, tag=tag or 0, kind=kind, ipv4=ip[0] < 0x60)
    prototype = MAC + OTHER + (b"\x08\0" if ip[0] < 0x60 else b"\x86\xdd") + ip
    frame = prototype + with_field(header, kind, pseudo) + payload
    command = TSE | (VLE if tag is not None else 0)
    sender.frame(frame, IXSM | TXSM, command, parts, payload=len(payload))
    return sender.all_sent()


@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_segments_of_any_frame(sender: Sender, data: st.DataObject) -> None:
    ipv4, kind = data.draw(st.booleans(), "IPv4"), data.draw(st.sampled_from([TCP, UDP]))
    mss = data.draw(st.integers(1, 200), "MSS")
    payload = data.draw(st.binary(min_size=1, max_size=5 * mss), "payload")
    words = data.draw(st.integers(0, 3), "options or extensions")
    extra = bytes([1] * 4 * words) if ipv4 else extensions(NUMBERS[kind], words)
    flags = data.draw(st.integers(0, 255), "flags")
    header = transport_header(kind, b"", flags, bytes([1] * 4 * data.draw(st.integers(0, 10))))
    ip = ip_header(ipv4, NUMBERS[kind], 0, extra, data.draw(st.integers(0, 0xFFFF), "number"))
    length = 14 + len(ip + header + payload)
    parts = data.draw(st.sets(st.integers(1, length - 1), max_size=6), "parts")
    tag = data.draw(st.none() | st.integers(0, 0xFFFF), "tag")
    expected = list(expected_segments(ip, kind, header, payload, mss))
    if tag is not None:
        expected = [f[:12] + struct.pack(">HH", 0x8100, tag) + f[12:] for f in expected]
    sent = segmented(sender, ip, kind, header, payload, mss, tag=tag, parts=parts)
    assert sent == [frame.ljust(60, b"\0") for frame in expected]


@pytest.mark.compiled
def test_a_stream_of_200_kb_in_segments(sender: Sender) -> None:
    """As much as TSO takes in one go, over several descriptors and rounds."""
    payload = bytes(i * 31 >> 3 & 0xFF for i in range(200_000))
    header = transport_header(TCP, b"", FIN | PSH | ACK | CWR)
    ip = ip_header(True, 6, 0)
    sent = segmented(sender, ip, TCP, header, payload, 1460, parts=range(50_000, 200_000, 50_000))
    assert len(sent) == 137
    assert b"".join(frame[54:] for frame in sent) == payload
    assert [sent[0][47], sent[1][47], sent[-1][47]] == [ACK | CWR, ACK, FIN | PSH | ACK]
    assert sent == list(expected_segments(ip, TCP, header, payload, 1460))


@pytest.mark.compiled
def test_segments_wait_for_the_wire(sender: Sender) -> None:
    """More of them than the wire holds: the rest follows when there is room."""
    payload = bytes(i * 7 & 0xFF for i in range(20_000))
    sender.bare.read(0x40D4)  # TPT
    ip, header = ip_header(True, 6, 0), transport_header(TCP, b"")
    sent = segmented(sender, ip, TCP, header, payload, 2)
    assert len(sent) == 10_000
    assert b"".join(frame[54:56] for frame in sent) == payload
    assert sender.bare.read(0x40D4) == 10_000


def test_the_flags_of_segments_follow_their_registers(sender: Sender) -> None:
    assert (sender.bare.read(0x4A88), sender.bare.read(0x4A8C)) == (0x0F760FF6, 0xF7F)
    sender.bare.write(0x4A88, 0x0FF00F01)
    sender.bare.write(0x4A8C, 0xF02)
    header = transport_header(TCP, b"", 0xFF)
    sent = segmented(sender, ip_header(True, 6, 0), TCP, header, bytes(300), 100)
    sender.bare.write(0x4A88, 0x0F760FF6)
    sender.bare.write(0x4A8C, 0xF7F)
    assert [frame[47] for frame in sent] == [0x01, 0xF0, 0x02]


GOOD = {"mac": 14, "ip": 20, "l4": 20, "mss": 100, "kind": TCP, "ipv4": True}


@pytest.mark.parametrize(
    "lie",
    [
        {"mss": 0}, {"l4": 255, "ip": 511}, {"ip": 0}, {"l4": 0}, {"mac": 0}, {"kind": SCTP},
        {"kind": 3}, {"mss": 0xFFFF}, {"mss": 15872}, {"payload": 0}, {"payload": 399},
        {"payload": 401}, {"payload": 0x3FFFF}, {"ipv4": False}, {"l4": 12},
    ],
    ids=str,
)  # fmt: skip
def test_a_context_that_cannot_be_true_sends_nothing(sender: Sender, lie: dict) -> None:
    frame = finished(ip_header(True, 6, 420), TCP, transport_header(TCP, b""), bytes(400))
    claimed = GOOD | {key: value for key, value in lie.items() if key != "payload"}
    sender.context(**claimed)
    sender.frame(frame, IXSM | TXSM, TSE, payload=lie.get("payload", 400))
    sender.frame(frame, 0)
    assert sender.send() == [frame]  # only the one behind it
    done = sender.bare.peek(TX_RING + 16 * ((sender.tail - 2) % RING) + 12, 1)
    assert done == b"\1"


@pytest.mark.parametrize("lie", [{"ip": 511}, {"mac": 127, "ip": 300}, {"ip": 0}, {"ip": 30}])
@pytest.mark.parametrize("kind", [TCP, UDP, SCTP])
def test_checksums_outside_the_frame_are_not_written(sender: Sender, lie: dict, kind: int) -> None:
    frame = (MAC + OTHER + b"\x08\0").ljust(60, b"\x55")[:50]
    sender.context(**(GOOD | lie | {"kind": kind}))
    sender.frame(frame, IXSM | TXSM)
    sender.frame(bytes(60), 0)
    assert sender.send() == [bytes(60)]


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8))
@settings(deadline=None, max_examples=40)
def test_no_context_and_no_command_does_harm(words: bytes, command: bytes) -> None:
    """Random bits: what is sent has a frame's size, and the frame behind still goes out."""
    sender = Sender()
    kind = struct.unpack_from("<I", words, 8)[0] & ~(15 << 20) | CONTEXT | DEXT
    sender.bare.poke(TX_RING, words[:8] + struct.pack("<I", kind) + words[12:])
    low, high = struct.unpack("<II", command)
    where = struct.pack("<Q", sender.bare.iova + TX_BUFFERS)
    low = low & ~(15 << 20) & ~0x8000 | DATA | DEXT | EOP | RS
    sender.bare.poke(TX_RING + 16, where + struct.pack("<II", low, high))
    sender.tail = 2
    sender.frame(bytes(60), 0)
    sent = sender.all_sent()
    sender.bare.close()
    assert sent[-1] == bytes(60)
    assert all(14 <= len(frame) <= 15876 for frame in sent)


def test_offloads_need_the_devices_crc(sender: Sender) -> None:
    """7.2.3.2.4: IFCS must be set with VLE, TSE, IXSM or TXSM."""
    sender.context()
    slot = sender.tail
    sender.frame(bytes(60), IXSM)
    at = TX_RING + 16 * slot + 8
    (command,) = struct.unpack("<I", sender.bare.peek(at, 4))
    sender.bare.poke(at, struct.pack("<I", command & ~IFCS))
    assert sender.send() == []
    assert sender.bare.read(0x6010) == sender.tail


@pytest.mark.parametrize(("length", "sent"), [(9018, 1), (15872, 1), (15873, 0)])
def test_the_longest_frame(sender: Sender, length: int, sent: int) -> None:
    frame = (MAC + OTHER + b"\x88\xb5").ljust(length, b"\x77")
    sender.frame(frame, 0)
    assert sender.send() == [frame] * sent
    sender.context(tag=5)
    sender.frame(frame, 0, VLE)
    assert sender.send() == [frame[:12] + b"\x81\0\0\5" + frame[12:]] * sent


def test_a_tag_makes_a_short_frame_longer_before_it_is_padded(sender: Sender) -> None:
    frame = (MAC + OTHER + b"\x88\xb5").ljust(58, b"\x77")
    sender.context(tag=0xE123)
    sender.frame(frame, 0, VLE)
    assert sender.send() == [frame[:12] + b"\x81\0\xe1\x23" + frame[12:]]
    sender.frame(frame[:20], 0, VLE)
    expected = frame[:12] + b"\x81\0\xe1\x23" + frame[12:20]
    assert sender.send() == [expected.ljust(60, b"\0")]


def test_the_tags_type_is_that_of_dmatxctl(sender: Sender) -> None:
    sender.bare.write(0x4A80, 0x88A80001)
    sender.context(tag=9)
    sender.frame(bytes(60), 0, VLE)
    sent = sender.send()
    sender.bare.write(0x4A80, 0x81000001)
    assert sent == [bytes(12) + b"\x88\xa8\0\x09" + bytes(48)]


def test_in_double_vlan_mode_the_tag_comes_behind_the_outer_one(sender: Sender) -> None:
    sender.bare.write(0x5078, 0x88A80000)  # EXVET
    sender.bare.write(0x4A80, 0x81000009)  # DMATXCTL.GDV
    outer = MAC + OTHER + b"\x88\xa8\0\x64"
    sender.context(tag=9)
    sender.frame(outer + b"\x88\xb5" + bytes(50), 0, VLE)
    sent = sender.send()
    sender.frame(MAC + OTHER + b"\x88\xb5" + bytes(50), 0, VLE)
    sent += sender.send()
    sender.bare.write(0x4A80, 0x81000001)
    assert sent[0] == outer + b"\x81\0\0\x09\x88\xb5" + bytes(50)
    assert sent[1] == MAC + OTHER + b"\x81\0\0\x09\x88\xb5" + bytes(50)


def test_a_context_belongs_to_its_queue_and_slot(sender: Sender) -> None:
    sender.context(tag=1, slot=0)
    sender.context(tag=2, slot=1)
    for slot in (0, 1, 0):
        sender.frame(bytes(60), slot << 4, VLE)
    assert [frame[15] for frame in sender.send()] == [1, 2, 1]


def test_a_frame_waits_until_the_offloads_are_compiled() -> None:
    """The running data path comes back at once, for the model to have them compiled."""
    sender = Sender()
    model = sender.bare.model
    model.port[0]["offloader"] = 0
    frame = bytes(12) + b"\x08\x00" + ip_header(True, 17, 30) + bytes(30)
    sender.context()
    sender.frame(frame, IXSM)
    sender.bare.write(0x6018, sender.tail)
    ports = np.array([address_of(model.port)], np.uint64)
    for _ in range(3):
        begin = time.monotonic()
        run(ports, np.array([time.monotonic_ns() + 60 * 10**9]), 64, 0)
        assert time.monotonic() - begin < 30
        assert sender.bare.wire.sent() == []
    model.service()
    run(ports, np.array([time.monotonic_ns() + 10**8]), 64, 0)
    (sent,) = sender.bare.wire.sent()
    assert len(sent) == len(frame)
    assert sent[:24] == frame[:24]
    assert in_cksum(sent[14:34]) == 0
    sender.bare.close()
