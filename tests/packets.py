"""Packets with every checksum in place, by dpkt's sums: what the emulated device is judged by."""

import struct

from dpkt import crc32c
from dpkt.dpkt import in_cksum

from rig import MAC, OTHER

UDP, TCP, SCTP = 0, 1, 2  # L4T of a context descriptor
NUMBERS = {UDP: 17, TCP: 6, SCTP: 132}  # of protocols in IP
FIN, PSH, ACK, CWR = 1, 8, 16, 128


def ip_header(ipv4: bool, protocol: int, size: int, extra: bytes = b"", number: int = 1) -> bytes:
    """An IP header in front of `size` bytes; `extra` are IPv4 options or IPv6 extensions."""
    if ipv4:
        head = struct.pack(
            ">BBHHHBBH4s4s", 0x45 + len(extra) // 4, 0, 20 + len(extra) + size, number, 0x4000, 64,
            protocol, 0, b"\x0a\1\2\3", b"\xc0\xa8\xfe\xfd",
        )  # fmt: skip
        return head + extra
    first = 60 if extra else protocol
    addresses = bytes(range(0x20, 0x30)) + bytes(range(0xC0, 0xD0))
    return struct.pack(">IHBB", 6 << 28, len(extra) + size, first, 64) + addresses + extra


def extensions(protocol: int, words: int) -> bytes:
    """A destination options header of 8 bytes times `words`; none if that is 0."""
    if not words:
        return b""
    return bytes([protocol, words - 1, 1, 8 * words - 4]).ljust(8 * words, b"\0")


def pseudo_header(ip: bytes, protocol: int, size: int) -> bytes:
    addresses = ip[12:20] if ip[0] >> 4 == 4 else ip[8:40]
    return addresses + struct.pack(">II", size, protocol)


def folded(data: bytes) -> int:
    """The sum in ones' complement: what software leaves in a checksum field."""
    return ~in_cksum(data) & 0xFFFF


def transport_header(kind: int, payload: bytes, flags: int = ACK, options: bytes = b"") -> bytes:
    """With 0 for a checksum."""
    if kind == TCP:
        size = (20 + len(options)) // 4 << 12
        return struct.pack(">HHIIHHHH", 80, 1024, 0xFFFFF000, 7, size | flags, 512, 0, 0) + options
    if kind == UDP:
        return struct.pack(">HHHH", 53, 1024, 8 + len(payload), 0)
    return struct.pack(">HHII", 9, 1024, 99, 0)


def with_field(header: bytes, kind: int, value: int) -> bytes:
    at = {TCP: 16, UDP: 6}[kind]
    return header[:at] + struct.pack(">H", value) + header[at + 2 :]


def finished(ip: bytes, kind: int, header: bytes, payload: bytes) -> bytes:
    """An Ethernet frame with all its checksums, by dpkt's sums."""
    if ip[0] >> 4 == 4:
        ip = ip[:10] + bytes(2) + ip[12:]
        ip = ip[:10] + struct.pack(">H", in_cksum(ip)) + ip[12:]
    ether = MAC + OTHER + (b"\x08\0" if ip[0] >> 4 == 4 else b"\x86\xdd")
    packet = header + payload
    if kind == SCTP:
        crc = struct.pack(">I", crc32c.done(crc32c.add(0xFFFFFFFF, packet)))
        packet = packet[:8] + crc + packet[12:]
    else:
        packet = with_field(packet, kind, 0)
        value = in_cksum(pseudo_header(ip, NUMBERS[kind], len(packet)) + packet)
        packet = with_field(packet, kind, value or (0xFFFF if kind == UDP else 0))
    return ether + ip + packet
