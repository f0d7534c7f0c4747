"""Where fields are: by scapy's reading of the same frames, and on frames cut anywhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.l2 import Ether

from ixy.traffic.headers import ONCE, TURNED, TWICE, Layout
from template_frames import FRAMES, OTHERS, value

NAMES = {  # ours: scapy's layer, and its name of the field
    "eth.type": ("Ether", "type"), "vlan.id": ("Dot1Q", "vlan"), "vlan.prio": ("Dot1Q", "prio"),
    "vlan2.id": ("Dot1Q", "vlan"), "arp.op": ("ARP", "op"), "arp.hwtype": ("ARP", "hwtype"),
    "ip.version": ("IP", "version"), "ip.ihl": ("IP", "ihl"), "ip.len": ("IP", "len"),
    "ip.id": ("IP", "id"), "ip.frag": ("IP", "frag"), "ip.ttl": ("IP", "ttl"),
    "ip.proto": ("IP", "proto"), "ip.sum": ("IP", "chksum"), "ip6.tc": ("IPv6", "tc"),
    "ip6.flow": ("IPv6", "fl"), "ip6.plen": ("IPv6", "plen"), "ip6.nxt": ("IPv6", "nh"),
    "ip6.hlim": ("IPv6", "hlim"), "tcp.sport": ("TCP", "sport"), "tcp.seq": ("TCP", "seq"),
    "tcp.ack": ("TCP", "ack"), "tcp.dataofs": ("TCP", "dataofs"), "tcp.window": ("TCP", "window"),
    "tcp.sum": ("TCP", "chksum"), "udp.sport": ("UDP", "sport"), "udp.dport": ("UDP", "dport"),
    "udp.len": ("UDP", "len"), "udp.sum": ("UDP", "chksum"), "icmp.type": ("ICMP", "type"),
    "icmp.id": ("ICMP", "id"), "icmp.seq": ("ICMP", "seq"), "icmp.sum": ("ICMP", "chksum"),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES.keys() - {"qinq"} | {"arp"})
def test_fields_hold_what_scapy_reads_there(name: str) -> None:
    frame = (FRAMES | OTHERS)[name]
    layout, packet, seen = Layout(frame), Ether(frame), 0
    for ours, (layer, field) in NAMES.items():
        if ours in layout.places and layer in packet:
            seen += 1
            assert value(frame, layout, ours) == getattr(packet[layer], field), ours
    assert seen >= 3


def test_a_frame_with_two_tags() -> None:
    layout = Layout(FRAMES["qinq"])
    assert [value(FRAMES["qinq"], layout, f"{tag}.id") for tag in ("vlan", "vlan2")] == [5, 6]
    assert {"ip6.src", "udp.sport"} <= set(layout.places)


def test_addresses() -> None:
    layout = Layout(FRAMES["udp"])
    assert value(FRAMES["udp"], layout, "ip.dst") == 0x0A000002
    assert value(FRAMES["udp"], layout, "eth.src") == 0x020000000001
    assert value(FRAMES["udp6"], Layout(FRAMES["udp6"]), "ip6.dst") == 0xFD << 120 | 2


def test_what_the_checksums_cover() -> None:
    layout = Layout(FRAMES["udp"])
    ip, l4 = layout.sums["ip"], layout.sums["l4"]
    assert (ip.offset, l4.offset, l4.udp) == (24, 40, True)
    assert bytes(ip.counts) == bytes(14) + b"\1" * 10 + bytes(2) + b"\1" * 8 + bytes(19)
    assert set(l4.counts[26:34]) == {ONCE}
    assert set(l4.counts[38:40]) == {TWICE}
    assert l4.counts[23] == ONCE
    assert Layout(FRAMES["udp6"]).sums["l4"].counts[20] == TURNED
    assert "l4" not in Layout(FRAMES["no-checksum"]).sums
    assert not any(Layout(FRAMES["icmp"]).sums["l4"].counts[:34])  # it has no pseudo header


@pytest.mark.parametrize("name", ["fragment", "fragment6", "routed", "other", "arp"])
def test_frames_without_a_transport_header(name: str) -> None:
    layout = Layout(OTHERS[name])
    assert not {"udp.sport", "tcp.sport", "icmp.id"} & set(layout.places)
    assert "l4" not in layout.sums
    assert layout.fragment == name.startswith("fragment")


def test_a_first_fragment_has_its_header() -> None:
    layout = Layout(OTHERS["first"])
    assert layout.fragment
    assert "udp.sport" in layout.places


@given(st.sampled_from(sorted((FRAMES | OTHERS).values())), st.data())
@settings(deadline=None, max_examples=300)
def test_no_field_and_no_sum_lies_outside_of_a_damaged_frame(frame: bytes, data) -> None:
    damaged = bytearray(frame)
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(14, len(frame)))])
    layout = Layout(cut)
    assert all(place.bit + place.bits <= 8 * len(cut) for place in layout.places.values())
    assert all(found.offset + 2 <= len(cut) for found in layout.sums.values())
    assert all(len(found.counts) == len(cut) for found in layout.sums.values())
    assert layout.end <= len(cut)
    assert all(name in layout.places for name, _ in layout.lengths)
