"""What the 82599 finds out about a packet: its type (7.1.6.2) and its RSS hash (7.1.2.8)."""

import numpy as np

from ixy.compiled import inner
from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.checksum import read16
from ixy.emulator.intel82599.verify import SCTP, TCP, UDP
from ixy.memory.ordered import array_at

HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60  # IPv6 extension headers
HASH_BYTES = 36  # at most: two IPv6 addresses and two ports
BIT_TCP_IPV4, BIT_IPV4, BIT_UDP_IPV4 = (
    sheet.MRQC.TCP_IPV4.mask,
    sheet.MRQC.IPV4.mask,
    sheet.MRQC.UDP_IPV4.mask,
)
BIT_TCP_IPV6, BIT_IPV6, BIT_UDP_IPV6 = (
    sheet.MRQC.TCP_IPV6.mask,
    sheet.MRQC.IPV6.mask,
    sheet.MRQC.UDP_IPV6.mask,
)


@inner
def tag_at(port, data):
    """Where a frame's VLAN tag begins, 0 if it has none; in double VLAN mode only a frame that has
    the outer tag too has one (7.4, 7.4.5).
    """
    at = 12
    if port.double_received:
        if read16(data, 12) != port.outer_type:
            return 0
        at = 16
    return at if read16(data, at) == port.tag_type else 0


@inner
def classify(port, frame, length):
    """A frame's info word (packet and RSS type), RSS hash, status bits, where its IP and transport
    headers begin, and the transport protocol, which is 0 in a fragment.
    """
    data = array_at(frame, length, np.uint8)
    status = sheet.RX_PIF if data[0] & 1 else 0
    ip = 14
    kind = read16(data, 12)
    if kind == port.tag_type or port.double_received:
        if port.double_received:
            if kind != port.outer_type:
                return 0, np.uint32(0), status, 0, 0, 0  # it is no further looked into
            status |= sheet.RX_VEXT
            ip = 18
        if tag_at(port, data):
            status |= sheet.RX_VP
            ip += 4
        kind = read16(data, ip - 2)
    extension = 0
    if kind == 0x0800 and data[ip] >> 4 == 4:
        transport = ip + 4 * (np.int64(data[ip]) & 15)
        whole = read16(data, ip + 6) & 0x3FFF == 0  # no fragment
        protocol = np.int64(data[ip + 9]) if whole and transport + 4 <= length else 0
        extension = sheet.PTYPE_IPV4_OPTIONS if transport != ip + 20 else 0
        info = sheet.PTYPE_IPV4
        addresses, size = ip + 12, 8
        enabled = choose(port.rss, protocol, BIT_TCP_IPV4, BIT_UDP_IPV4, BIT_IPV4)
    elif kind == 0x86DD and data[ip] >> 4 == 6 and ip + 40 <= length:
        transport, protocol = behind_extensions(data, length, ip + 40, np.int64(data[ip + 6]))
        extension = sheet.PTYPE_IPV6_EXTENSIONS if transport != ip + 40 else 0
        info = sheet.PTYPE_IPV6
        addresses, size = ip + 8, 32
        enabled = choose(port.rss, protocol, BIT_TCP_IPV6, BIT_UDP_IPV6, BIT_IPV6)
    else:
        return 0, np.uint32(0), status, 0, 0, 0
    info |= extension | transport_type(protocol)
    rss = np.uint32(0)
    if enabled:
        info |= rss_type(enabled)
        rss = toeplitz(port, data, addresses, size, 0)
        if enabled & ~(BIT_IPV4 | BIT_IPV6):
            rss ^= toeplitz(port, data, transport, 4, size)
    return info, rss, status, ip, transport, protocol


@inner
def behind_extensions(data, length, at, protocol):
    """Where the header behind IPv6's extension headers begins, and its protocol (RFC 8200, 4); 0
    in a fragment, and where the frame ends before.
    """
    while protocol in (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION) and at + 8 <= length:
        if protocol == FRAGMENT:
            return at + 8, 0
        protocol = np.int64(data[at])
        at += 8 * (np.int64(data[at + 1]) + 1)
    return at, protocol if at + 4 <= length else 0


@inner
def transport_type(protocol):
    """The packet type's bit of a transport protocol."""
    if protocol == TCP:
        return sheet.PTYPE_TCP
    if protocol == UDP:
        return sheet.PTYPE_UDP
    return sheet.PTYPE_SCTP if protocol == SCTP else 0


@inner
def choose(rss, protocol, tcp, udp, ip):
    """Which of sheet.MRQC's hash functions applies: the transport's if it is on, else the
    addresses' (7.1.2.8.1).
    """
    rss = np.int64(rss)
    wanted = tcp if protocol == TCP else udp if protocol == UDP else ip
    return rss & wanted if rss & wanted else rss & ip


@inner
def rss_type(enabled):
    """The descriptor's RSS type for one of sheet.MRQC's bits."""
    if enabled == BIT_TCP_IPV4:
        return sheet.RSS_TCP_IPV4
    if enabled == BIT_IPV4:
        return sheet.RSS_IPV4
    if enabled == BIT_UDP_IPV4:
        return sheet.RSS_UDP_IPV4
    if enabled == BIT_TCP_IPV6:
        return sheet.RSS_TCP_IPV6
    return sheet.RSS_IPV6 if enabled == BIT_IPV6 else sheet.RSS_UDP_IPV6


@inner
def toeplitz(port, data, start, count, position):
    """The share of some bytes in the hash; `position` is that of the first one in the input."""
    table = array_at(port.toeplitz, HASH_BYTES * 256, np.uint32)
    rss = np.uint32(0)
    for i in range(count):
        rss ^= table[(position + i) * 256 + np.int64(data[start + i])]
    return rss


def toeplitz_table(key: bytes) -> np.ndarray[tuple[int, int], np.dtype[np.uint32]]:
    """For each position in the input and each byte there: its share in the hash (7.1.2.8.3).
    u4[36][256].

    Bit i of the input, counted from the first byte's highest, contributes the 32 bits of the key
    that begin at bit i.
    """
    bits = int.from_bytes(key, "big")
    window = [bits >> 8 * len(key) - 32 - i & 0xFFFFFFFF for i in range(8 * HASH_BYTES)]
    table = np.zeros((HASH_BYTES, 256), np.uint32)
    values = np.arange(256)
    for i, word in enumerate(window):
        table[i // 8, values >> 7 - i % 8 & 1 == 1] ^= np.uint32(word)
    return table
