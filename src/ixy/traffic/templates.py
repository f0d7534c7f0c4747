"""Frames to send: Ethernet, IPv4 and UDP, with a sequence number (RFC 894, 791, 768)."""

import struct

import numpy as np

from ixy.compiled import compiled
from ixy.errors import IxyError
from ixy.memory.ordered import array_at

MIN_SIZE, MAX_SIZE = 60, 1514  # bytes without the CRC
HEADERS = 14 + 20 + 8
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
    addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
    udp = struct.pack(">HHHH", FIRST_PORT + flow, DISCARD, 8 + len(payload), 0)
    pseudo = addresses + struct.pack(">HH", 17, len(udp) + len(payload))
    udp = udp[:6] + struct.pack(">H", checksum(pseudo + udp + payload) or 0xFFFF)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, size - 14, 0, 0x4000, 64, 17, 0) + addresses
    ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
    return destination + source + b"\x08\x00" + ip + udp + payload
