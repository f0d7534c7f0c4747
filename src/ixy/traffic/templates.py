"""Frames to send: numbered ones (RFC 894, 791, 768), and templates that a user names.

A template is one of a few built in, a frame of a capture, hexadecimal digits, or a scapy expression
(see `expression.py`).
"""

import re
import struct

import numpy as np

from ixy.compiled import compiled
from ixy.errors import IxyError
from ixy.memory.ordered import array_at
from ixy.pcap import Reader

MIN_SIZE, MAX_SIZE = 60, 1514  # bytes without the CRC
HEADER = 14  # bytes of Ethernet's,
HEADERS = HEADER + 20 + 8  # and with those of IPv4 and UDP
FIRST_PORT = 10000  # flow f is sent from this UDP port + f
DISCARD = 9  # the UDP port it is sent to (RFC 863)

# A frame with a number. The complement behind it keeps the UDP checksum what it was, whatever the
# number (a word and its complement add up to 0 in ones' complement), and shows damage. Both are in
# network byte order; the port is the flow.
Numbered = np.dtype(
    [
        ("ethernet_ip", "u1", 34),
        ("port", "u2"),
        ("udp", "u1", 6),
        ("number", "u8"),
        ("complement", "u8"),
    ]
)


@compiled
def big_endian(number):
    """A 64-bit number with its bytes turned round."""
    number = np.uint64(number)
    low = np.uint64(0x00FF00FF00FF00FF)
    number = (number & low) << np.uint64(8) | (number >> np.uint64(8)) & low
    low = np.uint64(0x0000FFFF0000FFFF)
    number = (number & low) << np.uint64(16) | (number >> np.uint64(16)) & low
    return number << np.uint64(32) | number >> np.uint64(32)


@compiled
def set_number(address, number):
    """Writes a number into the frame at an address."""
    set_word(address, big_endian(number))


@compiled
def set_word(address, word):
    """Writes a number that is in network byte order already."""
    frame = array_at(address, 1, Numbered)[0]
    frame.number = word
    frame.complement = ~word


def checksum(data: bytes) -> int:
    """The Internet checksum of RFC 1071."""
    words = np.frombuffer(data + bytes(len(data) % 2), ">u2")
    total = int(words.sum(dtype=np.uint64))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def numbered_frame(
    size: int = MIN_SIZE,
    flow: int = 0,
    source: bytes = bytes.fromhex("020000000001"),
    destination: bytes = bytes.fromhex("020000000002"),
) -> bytes:
    """A UDP frame of `size` bytes (without the CRC) with the number 0: 10.0.0.1 to 10.0.0.2, a port
    per flow.

    Raises IxyError for a size that Ethernet does not carry.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise IxyError(
            f"a frame of {size} bytes: give it {MIN_SIZE} to {MAX_SIZE} (without the CRC)"
        )
    payload = bytes(8) + b"\xff" * 8 + bytes(size - HEADERS - 16)
    return destination + source + b"\x08\x00" + ipv4(17, udp(FIRST_PORT + flow, DISCARD, payload))


IPV4 = bytes([10, 0, 0, 1, 10, 0, 0, 2])  # from and to
IPV6 = bytes.fromhex(f"fd{1:030x}fd{2:030x}")


def ipv4(protocol: int, packet: bytes) -> bytes:
    """An IPv4 packet from 10.0.0.1 to 10.0.0.2."""
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(packet), 0, 0x4000, 64, protocol, 0) + IPV4
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + packet


def udp(source: int, destination: int, payload: bytes, addresses: bytes = IPV4) -> bytes:
    """A UDP packet with the checksum that it has between these addresses."""
    packet = struct.pack(">HHHH", source, destination, 8 + len(payload), 0) + payload
    found = checksum(pseudo_header(addresses, 17, len(packet)) + packet) or 0xFFFF
    return packet[:6] + struct.pack(">H", found) + payload


def tcp_syn(source: int, destination: int) -> bytes:
    """A TCP packet that asks for a connection (RFC 9293, 3.1), with a segment size of 1460."""
    ports = struct.pack(">HHII", source, destination, 0, 0)
    packet = ports + struct.pack(">BBHHHBBH", 0x60, 2, 65535, 0, 0, 2, 4, 1460)
    found = checksum(pseudo_header(IPV4, 6, len(packet)) + packet)
    return packet[:16] + struct.pack(">H", found) + packet[18:]


def pseudo_header(addresses: bytes, protocol: int, size: int) -> bytes:
    """What a checksum covers besides the packet (RFC 768, RFC 8200 8.1): the same sum for both."""
    return addresses + struct.pack(">HH", protocol, size)


def built_in(name: str, source: bytes) -> bytes:
    """One of the BUILT_IN templates. Only what a template of its kind must have, or 60 bytes."""
    to = bytes.fromhex("020000000002")
    datagram = ipv4(17, udp(FIRST_PORT, DISCARD, bytes(18)))
    if name == "arp":  # who has 10.0.0.2? (RFC 826)
        request = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1)
        return (
            b"\xff" * 6 + source + b"\x08\x06" + request + source + IPV4[:4] + bytes(6) + IPV4[4:]
        )
    if name == "udp6":
        header = struct.pack(">IHBB", 6 << 28, 8, 17, 64) + IPV6
        return to + source + b"\x86\xdd" + header + udp(FIRST_PORT, DISCARD, b"", IPV6)
    if name == "vlan":
        return to + source + struct.pack(">HHH", 0x8100, 1, 0x0800) + datagram
    if name == "icmp":  # an echo request (RFC 792)
        echo = struct.pack(">BBHHH", 8, 0, 0, 1, 0) + bytes(18)
        packet = ipv4(1, echo[:2] + struct.pack(">H", checksum(echo)) + echo[4:])
    else:
        packet = ipv4(6, tcp_syn(FIRST_PORT, 80)) if name == "tcp-syn" else datagram
    return to + source + b"\x08\x00" + packet


BUILT_IN = "udp4", "udp6", "tcp-syn", "arp", "icmp", "vlan"
_FILE = re.compile(r"(.+\.(?:pcap|pcapng|cap))(?::([0-9]{1,18}))?", re.IGNORECASE)


def load_template(text: str, source: bytes) -> bytes:
    """The frame (without the CRC) that `--template` names; `source` is the sender's MAC address,
    where it leaves that open.

    Raises IxyError, PcapError too, for what is no frame, or none that Ethernet carries.
    """
    if text in BUILT_IN:
        return built_in(text, source)
    digits = re.sub(r"[\s:]", "", text).removeprefix("0x")
    if found := _FILE.fullmatch(text):
        frame = _of_capture(found[1], int(found[2] or 1))
    elif re.fullmatch(r"([0-9a-fA-F]{2})+", digits):
        frame = bytes.fromhex(digits)
    elif "(" in text:
        from ixy.traffic.expression import build  # scapy takes a second

        frame = build(text, source)
    else:
        raise IxyError(
            f"--template {text}: give it one of {', '.join(BUILT_IN)}, FILE.pcap:N, hexadecimal"
            " digits, or an expression such as Ether()/IP()/UDP()"
        )
    longest = MAX_SIZE + 4 * (frame[12:14] == b"\x81\x00")
    if not HEADER <= len(frame) <= longest:
        raise IxyError(f"a template of {len(frame)} bytes: give it {HEADER} to {longest}")
    return frame


def _of_capture(path: str, number: int) -> bytes:
    if number == 0:
        raise IxyError(f"--template {path}:0: frames are counted from 1")
    with Reader(path) as reader:
        left = number
        while len(table := reader.read(min(left, 65536))):
            left -= len(table)
            if left == 0:
                break
        if left:
            raise IxyError(f"--template {path}:{number}: it has frames 1 to {reader.frames}")
        offset, captured, original = (
            int(table[-1][name]) for name in ("offset", "captured", "length")
        )
        if captured < original:
            raise IxyError(
                f"--template {path}:{number}: only {captured} of its {original} bytes were recorded"
            )
        return reader.data[offset : offset + captured].tobytes()
