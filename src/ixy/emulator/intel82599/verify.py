"""What the 82599 says of the checksums of a packet that it received (7.1.11)."""

import numpy as np

from ixy.compiled import apart, compiled, inner
from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.checksum import ONES, crc32c, is_whole, read16, word_sum
from ixy.memory.ordered import array_at

TCP, UDP, SCTP = 6, 17, 132  # IP protocol numbers


@inner
def verify(port, frame, length, info, ip, transport, protocol):
    """Status and error bits of a packet, of which `classify` has said the type, where its headers
    are, and its transport protocol.
    """
    data = array_at(frame, length, np.uint8)
    status, pseudo, size = verify_ip(data, frame, length, info, ip, transport)
    start = frame + np.uint64(transport)
    if transport + size > length:
        return status
    if protocol == UDP and size >= 8:
        if read16(data, transport + 6) == 0:  # sent without a checksum (RFC 768)
            wanted = sheet.RX_L4CS | sheet.RX_UDPCS | sheet.RX_TCPE  # by IPv6 (RFC 8200, 8.1)
            return status if info & sheet.PTYPE_IPV4 else status | wanted
        status |= sheet.RX_L4CS | sheet.RX_UDPCS
    elif protocol == TCP and size >= 20:
        status |= sheet.RX_L4CS
    else:
        if protocol == SCTP and size >= 12:
            status |= apart(verify_sctp, (port, start, size))
        return status
    if not is_whole(word_sum(start, size) + pseudo + np.uint64((protocol + size) << 8)):
        status |= sheet.RX_TCPE
    return status


@inner
def verify_ip(data, frame, length, info, ip, transport):
    """Status and error bits of an IP header, the sum of its addresses, and the bytes behind it."""
    if not info & sheet.PTYPE_IPV4:
        pseudo = word_sum(frame + np.uint64(ip + 8), 32)
        return 0, pseudo, ip + 40 + read16(data, ip + 4) - transport
    pseudo = word_sum(frame + np.uint64(ip + 12), 8)
    size = ip + read16(data, ip + 2) - transport
    if transport > length:
        return 0, pseudo, size
    header = word_sum(frame + np.uint64(ip), 12) + pseudo
    if transport > ip + 20:
        header += word_sum(frame + np.uint64(ip + 20), transport - ip - 20)
    if transport < ip + 20 or not is_whole(header):
        return sheet.RX_IPCS | sheet.RX_IPE, pseudo, size
    return sheet.RX_IPCS, pseudo, size


@compiled
def verify_sctp(port, packet, size):
    """The CRC is that of the packet with 0 in its place."""
    field = array_at(packet + np.uint64(8), 1, np.uint32)
    found = field[0]
    field[0] = 0
    right = crc32c(port.crc32c, packet, size)
    field[0] = found
    return sheet.RX_L4CS if found == right else sheet.RX_L4CS | sheet.RX_TCPE


@inner
def fragment(port, frame, length, info, ip, transport):
    """What the descriptor has in the hash's place unless RXCSUM.PCSD is set: an IPv4 packet's
    identification and, above it, the sum of a UDP fragment's payload (8.2.3.7.5). And the status
    that this sum includes a UDP header with a checksum.
    """
    data = array_at(frame, length, np.uint8)
    if not info & sheet.PTYPE_IPV4:
        return np.uint32(0), 0
    number = np.uint32(read16(data, ip + 4))
    if not port.fragment_sums:
        return number, 0
    place = read16(data, ip + 6) & 0x3FFF  # more fragments, and offset
    size = ip + read16(data, ip + 2) - transport
    if place == 0 or data[ip + 9] != UDP or not 0 < size <= length - transport:
        return number, 0
    total = np.int64(word_sum(frame + np.uint64(transport), size) % ONES)
    swapped = (total >> 8 | total << 8) & 0xFFFF
    has_checksum = place == 0x2000 and size >= 8 and read16(data, transport + 6) != 0
    return np.uint32(number | swapped << 16), sheet.RX_UDPV if has_checksum else 0
