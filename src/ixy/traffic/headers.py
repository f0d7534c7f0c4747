"""Where a frame has its header fields, and which of its bytes each checksum covers.

Ethernet with up to two VLAN tags (IEEE 802.3, 802.1Q), ARP (RFC 826), IPv4 (RFC 791), IPv6 with
extension headers (RFC 8200), TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792) and ICMPv6 (RFC 4443).
What is behind them, and inside tunnels, is payload.
"""

from typing import NamedTuple

# name: fields in order, with their bits
HEADERS = {
    "eth": "dst:48 src:48 type:16",
    "vlan": "prio:3 dei:1 id:12 type:16",
    "arp": "hwtype:16 ptype:16 hwlen:8 plen:8 op:16 hwsrc:48 psrc:32 hwdst:48 pdst:32",
    "ip": "version:4 ihl:4 dscp:6 ecn:2 len:16 id:16 flags:3 frag:13 ttl:8 proto:8 sum:16"
    " src:32 dst:32",
    "ip6": "version:4 tc:8 flow:20 plen:16 nxt:8 hlim:8 src:128 dst:128",
    "tcp": "sport:16 dport:16 seq:32 ack:32 dataofs:4 reserved:4 flags:8 window:16 sum:16"
    " urgptr:16",
    "udp": "sport:16 dport:16 len:16 sum:16",
    "icmp": "type:8 code:8 sum:16 id:16 seq:16",
}
# What other tools call them: headers, and fields
OTHER_HEADERS = {"ipv6": "ip6", "icmp6": "icmp", "icmpv6": "icmp", "ether": "eth", "dot1q": "vlan"}
OTHER_FIELDS = {
    "chksum": "sum", "checksum": "sum", "cksum": "sum", "srcport": "sport", "dstport": "dport",
    "vlan": "id", "fl": "flow", "hoplimit": "hlim", "opcode": "op", "src_mac": "hwsrc",
    "window_size": "window", "priority": "prio", "nh": "nxt",
}  # fmt: skip

VLAN, QINQ, ARP, IPV4, IPV6 = 0x8100, 0x88A8, 0x0806, 0x0800, 0x86DD
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60  # extension headers
SHORTEST = {TCP: 20, UDP: 8, ICMP: 8, ICMP6: 8}
SUM_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMP6: 2}
NAMES = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMP6: "icmp"}

# How a byte counts in the sum of TCP, UDP or ICMP: once; twice, as UDP's length, which is in the
# pseudo header too; or as the other byte of its word, as IPv6's next header
ONCE, TWICE, TURNED = 1, 2, 3


class Place(NamedTuple):
    """Where a field is: its first bit, counted from the frame's begin, and how many it has."""

    bit: int
    bits: int


class Sum(NamedTuple):
    """A checksum: its offset, and how each byte of the frame counts in it (0: not at all)."""

    offset: int
    counts: bytearray
    udp: bool = False  # one for which 0 means that there is none


class Length(NamedTuple):
    """A field that holds the frame's size less so many bytes."""

    name: str
    less: int


class Layout:
    """A frame's fields and checksums."""

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.places: dict[str, Place] = {}
        self.sums: dict[str, Sum] = {}  # "ip": the header's own; "l4": of TCP, UDP or ICMP
        self.lengths: list[Length] = []
        self.fragment = False
        self.end = len(frame)  # of the packet: behind it is padding
        self._ethernet()

    def _number(self, offset: int, size: int = 2) -> int:
        return int.from_bytes(self.frame[offset : offset + size], "big")

    def _header(self, name: str, offset: int, size: int, kind: str = "") -> bool:
        """Notes a header's fields, if the frame has it whole."""
        if offset + size > self.end:
            return False
        bit = 8 * offset
        for word in HEADERS[kind or name].split():
            field, _, bits = word.partition(":")
            self.places[f"{name}.{field}"] = Place(bit, int(bits))
            bit += int(bits)
        return True

    def _ethernet(self) -> None:
        self._header("eth", 0, 14)
        at, kind = 14, self._number(12)
        for tag in ("vlan", "vlan2"):
            if kind not in (VLAN, QINQ) or not self._header(tag, at, 4, "vlan"):
                break
            at, kind = at + 4, self._number(at + 2)
        if kind == ARP and self._number(at + 4) == 0x0604:
            self._header("arp", at, 28)
        elif kind == IPV4:
            self._ipv4(at)
        elif kind == IPV6:
            self._ipv6(at)

    def _ipv4(self, at: int) -> None:
        size = 4 * (self._number(at, 1) & 15)
        total = self._number(at + 2)
        whole = at + max(size, total) <= len(self.frame) and 20 <= size <= total
        if self._number(at, 1) >> 4 != 4 or not whole:
            return
        self._header("ip", at, 20)
        self.end = at + total
        counts = bytearray(len(self.frame))
        counts[at : at + size] = bytes([ONCE]) * size
        self._sum("ip", at + 10, counts)
        self.lengths.append(Length("ip.len", at))
        offset_and_more = self._number(at + 6) & 0x3FFF
        self.fragment = offset_and_more != 0
        if offset_and_more & 0x1FFF == 0:
            addresses = range(at + 12, at + 20)
            length = range(at + 2, at + 4)
            self._transport(self._number(at + 9, 1), at + size, addresses, length, at + 9, ONCE)

    def _ipv6(self, at: int) -> None:
        if at + 40 + self._number(at + 4) > len(self.frame) or self._number(at, 1) >> 4 != 6:
            return
        if not self._header("ip6", at, 40):
            return
        self.end = at + 40 + self._number(at + 4)
        self.lengths.append(Length("ip6.plen", at + 40))
        kind, next_at, after = self._number(at + 6, 1), at + 6, at + 40
        while kind in (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION) and after + 8 <= self.end:
            if kind == ROUTING and self._number(after + 3, 1):
                return  # the checksum is that of another destination
            if kind == FRAGMENT:
                self.fragment = True
                if self._number(after + 2) & 0xFFF8:
                    return
            size = 8 if kind == FRAGMENT else 8 * (1 + self._number(after + 1, 1))
            kind, next_at, after = self._number(after, 1), after, after + size
        how = ONCE if next_at % 2 else TURNED
        addresses, length = range(at + 8, at + 40), range(at + 4, at + 6)
        self._transport(kind, after, addresses, length, next_at, how)

    def _transport(
        self, kind: int, at: int, addresses: range, length: range, kind_at: int, how: int
    ) -> None:
        """Fields and checksum of what IP carries. `addresses` and so on are in its pseudo header,
        which ICMP has none of.
        """
        if kind not in NAMES or not self._header(NAMES[kind], at, SHORTEST[kind]):
            return
        end = self.end
        counts = bytearray(len(self.frame))
        if kind == UDP:
            self.lengths.append(Length("udp.len", at))
            end = min(end, at + self._number(at + 4))
        counts[at:end] = bytes([ONCE]) * (end - at)
        if kind != ICMP:
            for byte in addresses:
                counts[byte] = ONCE
            counts[kind_at] = how
            for byte in range(at + 4, at + 6) if kind == UDP else length:
                counts[byte] = TWICE if kind == UDP else ONCE
        offset = at + SUM_AT[kind]
        if kind != UDP or self._number(offset):  # 0: the sender has made none (RFC 768)
            self._sum("l4", offset, counts, kind == UDP)

    def _sum(self, name: str, offset: int, counts: bytearray, udp: bool = False) -> None:
        counts[offset : offset + 2] = bytes(2)
        self.sums[name] = Sum(offset, counts, udp)
