"""Packet types and RSS: Microsoft's published hashes, a naive reference, and the queues."""

import ctypes
import ipaddress
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.emulator.intel82599.classify import toeplitz_table
from ixy.emulator.wire.frames import HEADER, SIZE
from rig import MAC, OTHER, Bare, Bench, Nic, ethernet, tagged

KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)
TCP_IPV4, IPV4, IPV6, TCP_IPV6, UDP_IPV4, UDP_IPV6 = (1 << bit for bit in (16, 17, 20, 21, 22, 23))
ALL = TCP_IPV4 | IPV4 | IPV6 | TCP_IPV6 | UDP_IPV4 | UDP_IPV6
TCP, UDP, SCTP, ICMP = 6, 17, 132, 1

# Microsoft, "Verifying the RSS hash calculation": destination, source, addresses only, with ports
PUBLISHED = [
    ("161.142.100.80", 1766, "66.9.149.187", 2794, "323e8fc2", "51ccc178"),
    ("65.69.140.83", 4739, "199.92.111.2", 14230, "d718262a", "c626b0ea"),
    ("12.22.207.184", 38024, "24.19.198.95", 12898, "d2d0a5de", "5c2b394a"),
    ("209.142.163.6", 2217, "38.27.205.30", 48228, "82989176", "afc7327f"),
    ("202.188.127.2", 1303, "153.39.163.191", 44251, "5d1809c5", "10e828a2"),
    ("3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, "2cc18cd5", "40207d3d"),
    ("ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, "0f0c461c", "dde51bbf"),
    ("fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251,
     "4b61e985", "02d1feef"),
]  # fmt: skip


def reference(key: bytes, data: bytes) -> int:
    """Toeplitz, bit by bit: for each 1 in the input the 32 bits of the key that begin there."""
    bits = "".join(f"{byte:08b}" for byte in key)
    total = 0
    for position, digit in enumerate("".join(f"{byte:08b}" for byte in data)):
        if digit == "1":
            total ^= int(bits[position : position + 32], 2)
    return total


def ip_packet(
    source: bytes,
    to: bytes,
    protocol: int,
    transport: bytes,
    *,
    fragment: int = 0,
    options: int = 0,
) -> bytes:
    """An Ethernet frame with IPv4 or IPv6, by the addresses' length."""
    if len(source) == 4:
        head = struct.pack(
            ">BBHHHBBH", 0x45 + options, 0, 20 + len(transport), 1, fragment, 64, protocol, 0
        )
        payload = head + source + to + bytes(4 * options) + transport
        return ethernet(payload, 0x0800)
    head = struct.pack(">IHBB", 6 << 28, len(transport), protocol, 64)
    return ethernet(head + source + to + transport, 0x86DD)


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


class Hasher:
    """An 82599 that is asked for the info word and the hash of one frame after another."""

    def __init__(self) -> None:
        self.bare = Bare(size=16)
        for i in range(10):
            self.bare.write(0xEB80 + 4 * i, int.from_bytes(KEY[4 * i : 4 * i + 4], "little"))
        self.bare.write(0x5000, 1 << 13)  # RXCSUM.PCSD: descriptors report the hash
        self.bare.receiver()
        self.slot = 0

    def __call__(self, frame: bytes, functions: int = ALL) -> tuple[int, int]:
        self.bare.write(0xEC80, functions | 1)
        assert self.bare.wire.arrive(frame) == 1
        self.bare.step()
        info, rss, status = struct.unpack_from("<III", self.bare.received(self.slot))
        assert status & 3 == 3
        self.bare.poke(16 * self.slot + 8, bytes(8))
        buffer = self.bare.iova + 0x10000 + 0x1000 * self.slot
        self.bare.poke(16 * self.slot, struct.pack("<Q", buffer))
        self.bare.write(0x1018, self.slot)
        self.slot = (self.slot + 1) % 16
        return info, rss


@pytest.fixture(scope="module")
def hasher() -> Iterator[Hasher]:
    hasher = Hasher()
    yield hasher
    hasher.bare.close()


@pytest.mark.parametrize("vector", PUBLISHED, ids=[vector[0] for vector in PUBLISHED])
def test_published_hashes(hasher: Hasher, vector: tuple) -> None:
    to, to_port, source, source_port, addresses, ports = vector
    transport = struct.pack(">HH", source_port, to_port).ljust(20, b"\0")
    frame = ip_packet(packed(source), packed(to), TCP, transport)
    six = ":" in to
    assert hasher(frame) == (0x140 | 3 if six else 0x110 | 1, int(ports, 16))
    only = hasher(frame, IPV6 if six else IPV4)
    assert only == (0x140 | 5 if six else 0x110 | 2, int(addresses, 16))


def test_the_reference_agrees_with_the_published_hashes() -> None:
    for to, to_port, source, source_port, addresses, ports in PUBLISHED:
        data = packed(source) + packed(to)
        assert reference(KEY, data) == int(addresses, 16)
        data += struct.pack(">HH", source_port, to_port)
        assert reference(KEY, data) == int(ports, 16)


@given(st.binary(min_size=40, max_size=40), st.binary(min_size=36, max_size=36))
@settings(deadline=None, max_examples=20)
def test_the_table_is_the_naive_hash_for_any_key(key: bytes, data: bytes) -> None:
    table = toeplitz_table(key)
    total = 0
    for position, byte in enumerate(data):
        total ^= int(table[position, byte])
    assert total == reference(key, data)


# What is hashed, by protocol and by the functions that are on; type in the descriptor
TYPES = {
    (4, TCP): [(TCP_IPV4, 1), (IPV4, 2)],
    (4, UDP): [(UDP_IPV4, 7), (IPV4, 2)],
    (16, TCP): [(TCP_IPV6, 3), (IPV6, 5)],
    (16, UDP): [(UDP_IPV6, 8), (IPV6, 5)],
}
PACKET_TYPES = {TCP: 0x100, UDP: 0x200, SCTP: 0x400}


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_type_and_hash_of_any_packet(hasher: Hasher, data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([4, 16]), "address size")
    source = data.draw(st.binary(min_size=size, max_size=size), "source")
    to = data.draw(st.binary(min_size=size, max_size=size), "to")
    protocol = data.draw(st.sampled_from([TCP, UDP, SCTP, ICMP, 44, 59, 255]), "protocol")
    transport = data.draw(st.binary(min_size=24, max_size=80), "transport")
    # DF; more fragments; an offset; both
    fragment = data.draw(st.sampled_from([0, 0x4000, 0x2000, 1, 0x2005]), "fragment")
    fragment = fragment if size == 4 else 0
    options = data.draw(st.integers(0, 10), "options") if size == 4 else 0
    functions = sum(data.draw(st.sets(st.sampled_from([1 << i for i in range(16, 24)])), "on"))
    frame = ip_packet(source, to, protocol, transport, fragment=fragment, options=options)
    if data.draw(st.booleans(), "tagged"):
        frame = tagged(frame)

    whole = fragment & 0x3FFF == 0
    kind = (0x10 | 0x20 * (options > 0)) if size == 4 else 0x40
    if size == 16 and protocol == 44:
        kind |= 0x80  # a fragment header is an extension
    if whole:
        kind |= PACKET_TYPES.get(protocol, 0)
    choices = TYPES.get((size, protocol)) if whole else None
    for function, rss_type in choices or [(IPV4, 2) if size == 4 else (IPV6, 5)]:
        if functions & function:
            ports = rss_type not in (2, 5)
            hashed = source + to + (transport[:4] if ports else b"")
            assert hasher(frame, functions) == (kind | rss_type, reference(KEY, hashed))
            return
    assert hasher(frame, functions) == (kind, 0)


@pytest.mark.parametrize(
    "frame",
    [
        ethernet(bytes(28), 0x0806),  # ARP
        ethernet(),
        ethernet(b"\x55" + bytes(40), 0x0800),  # neither IPv4
        ethernet(b"\x45" + bytes(60), 0x86DD),  # nor IPv6
        ethernet(bytes(46), 46),  # a length
        b"\xff" * 60,
    ],
)
@pytest.mark.parametrize("shape", [bytes, tagged])
def test_what_is_not_ip_has_no_type_and_no_hash(hasher: Hasher, frame: bytes, shape: type) -> None:
    assert hasher(shape(frame)) == (0, 0)


def test_addresses_are_hashed_where_the_frame_ends_with_them(hasher: Hasher) -> None:
    """IPv6 without a next header, tagged: 58 bytes and padding, too few for ports."""
    source, to = packed("2001:db8::1"), packed("2001:db8::2")
    frame = tagged(ip_packet(source, to, 59, b""))[:60]
    assert hasher(frame) == (0x40 | 5, reference(KEY, source + to))


@pytest.mark.parametrize("header_words", range(16))
def test_a_header_length_that_lies_stays_inside_the_frame(
    hasher: Hasher, header_words: int
) -> None:
    source, to, ports = b"\1\2\3\4", b"\5\6\7\x08", b"\x11\x22\x33\x44"
    payload = bytes([0x40 | header_words]) + bytes(8) + bytes([TCP, 0, 0]) + source + to
    payload = payload.ljust(4 * header_words, b"\0") + ports
    frame = ethernet(payload, 0x0800)[:60]
    ctypes.memset(hasher.bare.wire.rx + HEADER, 0xFF, SIZE)  # what lies behind the frame
    info, rss = hasher(frame)
    assert info & 0x10
    if 14 + 4 * header_words + 4 > 60:
        assert rss in (0, reference(KEY, source + to))
    elif header_words >= 5:
        assert (info & 15, rss) == (1, reference(KEY, source + to + ports))


def test_without_rss_there_is_no_hash(hasher: Hasher) -> None:
    frame = ip_packet(bytes(4), b"\1\2\3\4", TCP, bytes(20))
    hasher.bare.write(0xEC80, 0)
    hasher.bare.wire.arrive(frame)
    hasher.bare.step()
    assert struct.unpack_from("<II", hasher.bare.received(hasher.slot)) == (0x110, 0)
    hasher.slot = (hasher.slot + 1) % 16


@pytest.mark.parametrize("mode", [0, 2, 8, 15])
def test_rss_is_mode_1_only(mode: int) -> None:
    bare = Bare()
    bare.receiver()
    bare.write(0x5000, 1 << 13)
    bare.write(0xEC80, ALL | mode)
    bare.wire.arrive(ip_packet(bytes(4), b"\1\2\3\4", TCP, bytes(20)))
    bare.step()
    assert struct.unpack_from("<II", bare.received(0)) == (0x110, 0)
    bare.close()


# Queues


def test_the_redirection_table_chooses_the_queue() -> None:
    with Nic(queues=4, promiscuous=True) as nic:
        table = [(i * 7 + 3) % 4 for i in range(128)]
        for i in range(32):
            word = int.from_bytes(bytes(table[4 * i : 4 * i + 4]), "little")
            nic.model.write(0xEB00 + 4 * i, word)
        for flow in range(300):
            source, to = struct.pack(">I", 0x0A000000 + flow), b"\x0a\1\1\1"
            frame = ip_packet(source, to, UDP, struct.pack(">HH", flow, 53) + bytes(20))
            hashed = reference(KEY, source + to + struct.pack(">HH", flow, 53))
            queue = table[hashed & 127]
            assert nic.pass_in(frame, queue=queue) == [frame]


def test_what_is_not_hashed_goes_to_queue_0() -> None:
    """7.1.2.8: without a hash the RSS index is 0, whatever the table's first entry says."""
    with Nic(queues=4) as nic:
        for i in range(32):
            nic.model.write(0xEB00 + 4 * i, 0x03030303)
        arp = ethernet(bytes(28), 0x0806)
        udp = ip_packet(bytes(4), bytes(4), UDP, bytes(24))
        assert nic.pass_in(udp, queue=3) == [udp]
        assert nic.pass_in(arp, queue=0) == [arp]


def test_flows_stay_on_their_queue_and_all_four_get_traffic() -> None:
    rounds, flows = 6, 64
    with Nic(queues=4, ring=128, buffers=1024) as nic:
        seen: dict[int, set[int]] = {}
        orders: dict[int, list[int]] = {flow: [] for flow in range(flows)}
        for number in range(rounds):
            for flow in range(flows):
                transport = struct.pack(">HHI", 10000 + flow, 80, number) + bytes(20)
                assert nic.wire.arrive(ip_packet(b"\x0a\0\0\1", b"\x0a\0\0\2", TCP, transport))
            while nic.step():
                pass
            for queue in range(4):
                for frame in nic.receive(flows, queue):
                    port, _, sequence = struct.unpack_from(">HHI", frame, 34)
                    seen.setdefault(port - 10000, set()).add(queue)
                    orders[port - 10000].append(sequence)
        assert all(len(queues) == 1 for queues in seen.values())
        assert set.union(*seen.values()) == {0, 1, 2, 3}
        assert all(order == list(range(rounds)) for order in orders.values())


def test_the_driver_spreads_over_sixteen_queues_at_most() -> None:
    with Nic(queues=20, buffers=128) as nic:
        entries = [nic.model.read(0xEB00 + 4 * i) for i in range(32)]
        spread = [word >> 8 * i & 0xFF for word in entries for i in range(4)]
        assert spread == [i % 16 for i in range(128)]


def test_fewer_queues_than_the_table_says_lose_packets_loudly() -> None:
    wire = Bench()
    with Nic(wire) as nic:
        nic.model.write(0xEC80, ALL | 1)
        for i in range(32):
            nic.model.write(0xEB00 + 4 * i, 0x0F0F0F0F)
        frame = ip_packet(MAC[:4], OTHER[:4], UDP, bytes(24))
        assert nic.pass_in(frame) == []
        assert nic.device.statistics().dropped["rx_no_descriptor"] == 1
