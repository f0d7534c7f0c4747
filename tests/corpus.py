"""Frames of many protocols, whole, cut and damaged: what filters are judged on."""

import random
import struct
from collections.abc import Iterator
from typing import NamedTuple

from command import REAL, read_pcap
from packets import SCTP, TCP, UDP, extensions, finished, ip_header, transport_header
from rig import MAC, OTHER, of_length

V4, V6 = b"\x08\0", b"\x86\xdd"
HOSTS = [bytes(map(int, host.split("."))) for host in ("10.0.0.1", "10.0.0.2", "172.16.5.4")]


class Recorded(NamedTuple):
    """A frame of a capture: what was kept of it, and its length on the wire."""

    data: bytes
    length: int


def with_hosts(frame: bytes, source: int, target: int) -> bytes:
    """An IPv4 frame between two of HOSTS."""
    return frame[:26] + HOSTS[source] + HOSTS[target] + frame[34:]


def with_ports(header: bytes, source: int, target: int) -> bytes:
    return struct.pack(">HH", source, target) + header[4:]


def transports() -> Iterator[bytes]:
    """TCP, UDP and SCTP, in IPv4 and IPv6, with options and extension headers."""
    ports = [(1024, 53), (53, 1024), (80, 50000), (40000, 443), (5001, 5999), (68, 67), (22, 22)]
    for number, (source, target) in enumerate(ports):
        for kind, ipv4 in ((TCP, True), (UDP, True), (SCTP, True), (TCP, False), (UDP, False)):
            payload = (b"GET / HTTP/1.1\r\n", b"\x12\x34\x56\x78" * 30, b"")[number % 3]
            flags = (0x02, 0x12, 0x10, 0x18, 0x11, 0x04)[number % 6]
            options = b"\1" * 4 * (number % 3) if kind == TCP else b""
            header = transport_header(kind, payload, flags, options)
            header = with_ports(header, source, target)
            extra = b"\1" * 4 * (number % 4) if ipv4 else extensions((6, 17)[kind], number % 3)
            size = len(header) + len(payload)
            head = ip_header(ipv4, (6, 17, 132)[(1, 0, 2).index(kind)], size, extra, number)
            frame = finished(head, kind, header, payload)
            yield with_hosts(frame, number % 2, 1 - number % 2) if ipv4 else frame


def internet() -> Iterator[bytes]:
    """Other protocols in IP, fragments, addresses of groups."""
    for protocol in (1, 2, 4, 9, 41, 47, 50, 51, 89, 103, 112, 255):
        head = ip_header(True, protocol, 40)
        for first in (0, 3, 8):
            yield with_hosts(MAC + OTHER + V4 + head + bytes([first, 4]) + bytes(38), 0, 2)
    for offset in (0x2000, 0x2010, 0x00B9, 0x8000):  # more to come, the middle, the last, reserved
        head = bytearray(ip_header(True, 17, 64))
        head[6:8] = struct.pack(">H", offset)
        yield MAC + OTHER + V4 + head + struct.pack(">HHHH", 53, 53, 64, 0) + bytes(56)
    for group in ((224, 0, 0, 251), (255, 255, 255, 255), (239, 1, 2, 3)):
        head = ip_header(True, 17, 16)[:16] + bytes(group)
        yield b"\1\0\x5e" + bytes(group[1:]) + OTHER + V4 + head + bytes(16)
    for protocol, first in ((58, 128), (58, 135), (58, 136), (44, 17), (0, 6), (43, 17), (59, 0)):
        head = ip_header(False, protocol, 40)
        ends = b"\xfe\x80" + bytes(13) + b"\1", b"\xff\2" + bytes(13) + b"\2"
        for addresses in (b"".join(ends), (b"\x20\1\x0d\xb8" + bytes(11) + b"\2") * 2):
            rest = bytes([first, 0, 0, 1]) + bytes(36)
            yield b"\x33\x33\0\0\0\2" + OTHER + V6 + head[:8] + addresses + rest


def links() -> Iterator[bytes]:
    """What else Ethernet carries."""
    for kind in (0x0806, 0x8035):  # ARP, RARP
        for to in (b"\xff" * 6, MAC):
            body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + OTHER + HOSTS[0] + bytes(6)
            yield (to + OTHER + struct.pack(">H", kind) + body + HOSTS[1]).ljust(60, b"\0")
    experimental, others = range(0x88B5, 0x88B7), (0x0600, 0x8137, 0x809B, 0x80F3, 0x8863, 0xFFFF)
    for kind in (*experimental, *range(0x6001, 0x6005), *others):
        yield MAC + OTHER + struct.pack(">H", kind) + bytes(range(60))
    llc = [
        b"\x42\x42\3", b"\xfe\xfe\3\x83", b"\xfe\xfe\3\x82", b"\xfe\xfe\3\x81", b"\xe0\xe0\3",
        b"\xf0\xf0\x7f", b"\xf0\xf0\xaf", b"\xf0\xf1\1\1", b"\4\4\0\0", b"\xff\xff\0\x28",
        b"\xaa\xaa\3\0\0\0\x08\0", b"\xaa\xaa\3\x08\0\7\x80\x9b", b"\xaa\xaa\3\0\0\0\x80\xf3",
        b"\xaa\xaa\3\0\0\x0c\x20\0",
    ]  # fmt: skip
    for number, head in enumerate(llc):
        to = b"\1\x80\xc2\0\0\0" if number % 2 else MAC
        yield to + OTHER + struct.pack(">H", 46) + head.ljust(46, b"\0")


def wrapped(frame: bytes) -> Iterator[bytes]:
    """A frame in VLANs, in MPLS, in PPPoE."""
    tagged = "81000007", "810000078100e008", "88a8000781000008", "91000064810000c8", "81000fff"
    for tags in tagged:
        yield frame[:12] + bytes.fromhex(tags) + frame[12:]
    for labels in ("00400140", "0040004000010140", "00010140"):
        yield frame[:12] + b"\x88\x47" + bytes.fromhex(labels) + frame[14:]
    protocol = b"\0\x57" if frame[12:14] == V6 else b"\0\x21"
    head = b"\x11\0\0\x27" + struct.pack(">H", len(frame) - 12) + protocol
    yield frame[:12] + b"\x88\x64" + head + frame[14:]


def whole_frames() -> list[bytes]:
    """Frames without damage."""
    ip = [*transports(), *internet()]
    frames = [*ip, *links(), *(of_length(size) for size in (14, 60, 61, 100, 1514, 9000))]
    for frame in ip[::4]:
        frames += wrapped(frame)
    geneve = bytes.fromhex("0010655812345678") + bytes(4) + frames[0]  # with an option
    head = ip_header(True, 17, 8 + len(geneve))
    frames.append(finished(head, UDP, struct.pack(">HHHH", 9, 6081, 8 + len(geneve), 0), geneve))
    return frames


def corpus() -> list[Recorded]:
    """All of these, those of a real capture, the same cut and damaged, and made up ones."""
    chance = random.Random(7)
    frames = whole_frames() + read_pcap(REAL)
    found = [Recorded(frame, len(frame)) for frame in frames]
    for frame in frames:
        cut = frame[: chance.randrange(min(len(frame), 90) + 1)]
        found += [Recorded(cut, len(frame)), Recorded(cut, len(cut))]
        damaged = bytearray(frame)
        for _ in range(chance.randrange(1, 6)):
            damaged[chance.randrange(min(len(frame), 80))] = chance.randrange(256)
        found.append(Recorded(bytes(damaged), len(damaged)))
    for size in range(120):
        found.append(Recorded(chance.randbytes(size), size + chance.randrange(2) * 100))
    return found
