"""Frames of all kinds for the tests of templates and fields, and a judge of their checksums."""

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_Timestamp
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from ixy.traffic.headers import Layout

E = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
V4, V6 = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fd00::1", dst="fd00::2")
TEXT = Raw(b"an odd text")
FRAMES = {
    name: bytes(packet)
    for name, packet in {
        "udp": E / V4 / UDP(sport=1, dport=2) / TEXT,
        "udp6": E / V6 / UDP(sport=1, dport=2) / TEXT,
        "tcp": E / V4 / TCP(sport=1, dport=80, options=[("MSS", 1460)]) / TEXT,
        "tcp6": E / V6 / TCP(sport=1, dport=80) / TEXT,
        "icmp": E / V4 / ICMP(id=7, seq=1) / TEXT,
        "icmp6": E / V6 / ICMPv6EchoRequest(id=7, seq=1, data=b"abc"),
        "options": E
        / IP(src="1.2.3.4", dst="5.6.7.8", options=IPOption_Timestamp())
        / UDP()
        / TEXT,
        "vlan": E / Dot1Q(vlan=5, prio=3) / V4 / TCP() / TEXT,
        "qinq": E / Dot1AD(vlan=5) / Dot1Q(vlan=6) / V6 / UDP() / TEXT,
        "extensions": E / V6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP() / TEXT,
        "no-checksum": E / V4 / UDP(chksum=0) / TEXT,
        "padded": E / V4 / UDP(sport=1, dport=2) / Raw(b"x") / Raw(b""),
    }.items()
}
FRAMES["padded"] += b"rubbish behind it"
OTHERS = {
    "arp": bytes(E / ARP(hwsrc="02:00:00:00:00:01", psrc="10.0.0.1", pdst="10.0.0.2")),
    "fragment": bytes(E / IP(src="10.0.0.1", dst="10.0.0.2", frag=3, proto=17) / TEXT),
    "first": bytes(E / IP(src="10.0.0.1", dst="10.0.0.2", flags="MF") / UDP() / TEXT),
    "fragment6": bytes(E / V6 / IPv6ExtHdrFragment(offset=3, nh=17) / TEXT),
    "routed": bytes(E / V6 / IPv6ExtHdrRouting(addresses=["fd00::9"]) / UDP() / TEXT),
    "other": bytes(E)[:12] + b"\x88\xb5" + bytes(46),
}


def judged(frame: bytes) -> bytes:
    """The frame as scapy makes it: all checksums anew, those of UDP only where there is one."""
    packet = Ether(frame)
    layer = packet
    while layer:
        for name in ("chksum", "cksum"):
            if name in layer.fields and (layer.fields[name] or not isinstance(layer, UDP)):
                delattr(layer, name)
        layer = layer.payload
    return bytes(packet)


def value(frame: bytes, layout: Layout, name: str) -> int:
    """What a field of a frame holds."""
    bit, bits = layout.places[name]
    return int.from_bytes(frame, "big") >> (8 * len(frame) - bit - bits) & (1 << bits) - 1
