"""examples/real.pcap holds what examples/README.md says (dpkt judges)."""

import re
from collections import Counter
from pathlib import Path

import dpkt
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PORTS = {53: "DNS", 80: "HTTP", 22: "ssh"}
TAG = b"\x81\x00"


def protocol(frame: bytes) -> str:
    """The name that the README's table gives to a frame."""
    if frame[12:14] == TAG:
        return "802.1Q"
    match dpkt.ethernet.Ethernet(frame).data:
        case dpkt.arp.ARP():
            return "ARP"
        case dpkt.ip6.IP6():
            return "ICMPv6"
        case dpkt.ip.IP(data=dpkt.udp.UDP() as segment):
            return PORTS[min(segment.sport, segment.dport)] + " over UDP"
        case dpkt.ip.IP(data=dpkt.tcp.TCP() as segment):
            name = PORTS[min(segment.sport, segment.dport)]
            return "DNS over TCP" if name == "DNS" else name
    return "ICMP"


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    with open(EXAMPLES / "real.pcap", "rb") as file:
        return [frame for _, frame in dpkt.pcap.Reader(file)]


def test_the_readme_counts_right(frames):
    text = (EXAMPLES / "README.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([\w.]+(?: over \w+)?)", text, re.MULTILINE)
    assert {name: int(count) for count, name in rows} == Counter(map(protocol, frames))
    size = (EXAMPLES / "real.pcap").stat().st_size
    assert f"{len(frames)} frames, {size} bytes" in text


def test_every_frame_was_on_a_wire(frames):
    lengths = Counter(map(len, frames))
    assert min(lengths) == 42
    assert sum(count for length, count in lengths.items() if length < 60) == 4
    assert max(len(frame) for frame in frames if frame[12:14] != TAG) == 1514
    assert max(len(frame) for frame in frames if frame[12:14] == TAG) == 1518


def test_the_times_are_nanoseconds():
    assert (EXAMPLES / "real.pcap").read_bytes()[:4] == bytes.fromhex("4d3cb2a1")
