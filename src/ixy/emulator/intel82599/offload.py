"""What the 82599 changes in frames that it sends: checksums, segments, VLAN tags (7.2.4, 7.2.5,
7.4).

A context descriptor tells a queue where the headers of the frames are that refer to it. These
functions work on a frame in memory, and touch nothing behind it.
"""

import numpy as np

from ixy.compiled import inner
from ixy.datasheets import intel82599_device as sheet
from ixy.emulator.intel82599.checksum import (
    crc32c,
    read16,
    store_checksum,
    word_sum,
    write16,
)
from ixy.memory.ordered import array_at

LEAST_IPV4, LEAST_IPV6, LEAST_TCP, LEAST_UDP, LEAST_SCTP = 20, 40, 20, 8, 12  # bytes of headers
LEAST_MAC = 14
IP_CHECKSUM, TCP_CHECKSUM, UDP_CHECKSUM, SCTP_CHECKSUM = 10, 16, 6, 8  # where in its header it is
ZERO, OTHER_ZERO = np.uint64(0), np.uint64(0xFFFF)  # UDP: a checksum of 0 would mean none (RFC 768)


@inner
def lengths(context):
    """Bytes of a context's headers: MAC, IP, transport (7.2.3.2.3)."""
    word = np.int64(context.lengths)
    return word >> 9 & 0x7F, word & 0x1FF, np.int64(context.sizes) >> 8 & 0xFF


@inner
def is_segmentable(context, total, payload):
    """Whether a context describes a frame of `total` bytes that can be segmented (7.2.4): headers
    that may be right, segments that a frame can hold, and the payload that the descriptor says.
    """
    mac, ip, transport = lengths(context)
    kind = np.int64(context.kind)
    segment = np.int64(context.sizes) >> 16
    headers = mac + ip + transport
    is_tcp = kind & sheet.L4T == sheet.L4T_TCP
    return (
        (is_tcp or kind & sheet.L4T == sheet.L4T_UDP)
        and transport >= (LEAST_TCP if is_tcp else LEAST_UDP)
        and ip >= (LEAST_IPV4 if kind & sheet.TUCMD_IPV4 else LEAST_IPV6)
        and mac >= LEAST_MAC
        and 0 < segment <= sheet.LONGEST_SENT - headers
        and 0 < payload == total - headers
    )


@inner
def edit_segment(port, frame, context, done, part, payload):
    """Makes the prototype of the headers that of the segment of `part` bytes behind the first
    `done` of the payload (7.2.4.7).
    """
    mac, ip, transport = lengths(context)
    data = array_at(frame, mac + ip + transport, np.uint8)
    if context.kind & sheet.TUCMD_IPV4:
        write16(data, mac + 2, ip + transport + part)
        number = done // (np.int64(context.sizes) >> 16)
        write16(data, mac + 4, read16(data, mac + 4) + number)  # identification
    else:
        write16(data, mac + 4, ip - LEAST_IPV6 + transport + part)
    at = mac + ip
    if context.kind & sheet.L4T != sheet.L4T_TCP:
        write16(data, at + 4, transport + part)
        return
    sequence = (read16(data, at + 4) << 16 | read16(data, at + 6)) + done
    write16(data, at + 4, sequence >> 16)
    write16(data, at + 6, sequence)
    if part < payload:  # FIN, PSH, CWR: each in the segment that it is for
        which = 0 if done == 0 else 2 if done + part == payload else 1
        flags = 0xF000 | np.int64(port.tcp_flags[which])
        write16(data, at + 12, read16(data, at + 12) & flags)


@inner
def insert_checksums(port, frame, length, context, options, pseudo):
    """Completes checksums (7.2.5); returns False if the context's headers lie outside the frame.

    The fields hold what is to be added: for TCP and UDP the sum of the pseudo header. `pseudo` is
    added to that.
    """
    mac, ip, _ = lengths(context)
    kind = np.int64(context.kind)
    at = mac + ip
    start = frame + np.uint64(at)
    size = length - at
    if options & sheet.TX_IXSM and kind & sheet.TUCMD_IPV4:
        if ip < LEAST_IPV4 or size < 0:
            return False
        field = frame + np.uint64(mac + IP_CHECKSUM)
        store_checksum(field, word_sum(frame + np.uint64(mac), ip), ZERO)
    if options & sheet.TX_TXSM:
        if kind & sheet.L4T == sheet.L4T_TCP:
            if size < LEAST_TCP:
                return False
            total = word_sum(start, size) + np.uint64(pseudo)
            store_checksum(start + np.uint64(TCP_CHECKSUM), total, ZERO)
        elif kind & sheet.L4T == sheet.L4T_UDP:
            if size < LEAST_UDP:
                return False
            total = word_sum(start, size) + np.uint64(pseudo)
            store_checksum(start + np.uint64(UDP_CHECKSUM), total, OTHER_ZERO)
        elif kind & sheet.L4T == sheet.L4T_SCTP:
            if size < LEAST_SCTP:
                return False
            field = array_at(start + np.uint64(SCTP_CHECKSUM), 1, np.uint32)
            field[0] = crc32c(port.crc32c, start, size)
    return True


@inner
def insert_tag(port, frame, length, tag):
    """Puts a VLAN tag into a frame that begins 4 bytes behind `frame`, and ends `length` bytes
    behind it: behind the addresses, or, in double VLAN mode, behind the tag that software has put
    there (7.4.5).
    """
    data = array_at(frame, length, np.uint8)
    at = 12
    if port.double_sent and length >= LEAST_MAC + 8 and read16(data, 16) == port.outer_type:
        at = 16
    for i in range(at):
        data[i] = data[i + 4]
    write16(data, at, port.tag_type_sent)
    write16(data, at + 2, tag)
