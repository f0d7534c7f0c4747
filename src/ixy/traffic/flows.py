"""Which frames belong together: those of one conversation, both ways."""

import numpy as np

from ixy.compiled import compiled

IPV4, IPV6 = 0x0800, 0x86DD
TAGS = 0x8100, 0x88A8  # IEEE 802.1Q: a VLAN tag stands before the type
WITH_PORTS = 6, 17, 132  # TCP, UDP, SCTP: the ports are the first four bytes of each


@compiled
def word_at(frame, at):
    """A big-endian 16-bit word."""
    return np.int64(frame[at]) << 8 | np.int64(frame[at + 1])


@compiled
def fold(number, frame, at, size):
    """Mixes two neighbouring fields of `size` bytes into a number, the same in either order."""
    for i in range(at, at + size, 2):
        number = (number * 31 + word_at(frame, i) + word_at(frame, i + size)) & 0xFFFFFFFF
    return number


@compiled
def conversation(frame):
    """A number of 32 bits for a frame (u1, with its Ethernet header): the same for all frames of a
    conversation, whoever sends them.

    A conversation is two IP addresses and, in TCP, UDP and SCTP, two ports. Fragments go by their
    addresses alone, as only the first one has ports; other frames by their MAC addresses.
    """
    at = 12
    while len(frame) >= at + 6 and word_at(frame, at) in TAGS:
        at += 4
    if len(frame) < at + 2:
        return 0
    kind, ip = word_at(frame, at), at + 2
    if kind == IPV4 and len(frame) >= ip + 20:
        number = fold(0, frame, ip + 12, 4)
        whole = word_at(frame, ip + 6) & 0x3FFF == 0  # neither an offset nor more fragments
        protocol, ports = frame[ip + 9], ip + 4 * (np.int64(frame[ip]) & 15)
    elif kind == IPV6 and len(frame) >= ip + 40:
        number, whole = fold(0, frame, ip + 8, 16), True
        protocol, ports = frame[ip + 6], ip + 40
    else:
        return fold(0, frame, 0, 6)
    if whole and protocol in WITH_PORTS and len(frame) >= ports + 4:
        number = fold(number, frame, ports, 2)
    return number
