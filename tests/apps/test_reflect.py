"""`Reflector`: what goes back, by dpkt and byte for byte."""

import struct
from pathlib import Path

import dpkt
import pytest

import ixy
from command import many, on_the_wire, read_pcap, run_app, write_pcap
from ixy.apps.reflect import Reflector
from rig import MAC, OTHER, ethernet, numbered, tagged

pytestmark = pytest.mark.usefixtures("no_shared_pools")

TCP, UDP, ICMP = 6, 17, 1


def ipv4(protocol: int, options: int = 0, fragment: int = 0) -> bytes:
    """An IPv4 packet whose checksums are right, with a payload that names itself."""
    ip = dpkt.ip.IP(p=protocol, src=b"\x0a\0\0\1", dst=b"\x0a\0\0\2", opts=b"\1" * options)
    ip._flags_offset = fragment
    if protocol == UDP:
        ip.data = dpkt.udp.UDP(sport=1111, dport=2222, data=b"odd")
        ip.data.ulen = 11
    elif protocol == TCP:
        ip.data = dpkt.tcp.TCP(sport=1111, dport=2222, data=b"odd")
    else:
        ip.data = dpkt.icmp.ICMP(type=8, data=dpkt.icmp.ICMP.Echo(id=1, data=b"echo"))
    ip.hl = 5 + options // 4
    ip.len = len(ip)
    return ethernet(bytes(ip), 0x0800)


def ipv6(protocol: int) -> bytes:
    payload = struct.pack(">HHHH", 1111, 2222, 11, 0x1234) + b"odd"
    header = struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64)
    return ethernet(header + bytes([0xFD]) * 16 + bytes([0xFE]) * 16 + payload, 0x86DD)


def reflected(path: Path, *frames: bytes, layer: int, **settings) -> list[bytes]:
    """What comes back of frames."""
    write_pcap(path / "in.pcap", frames)
    with ixy.open(f"emu:pcap:{path}/in.pcap,{path}/out.pcap") as device:
        app = Reflector(device, layer=layer, **settings)
        run_app(app, device)
        assert app.taken == app.reflected == device.statistics().tx_packets
    return read_pcap(path / "out.pcap")


def turned(frame: bytes, *fields: tuple[int, int]) -> bytes:
    """A frame whose MAC addresses and other pairs of fields (place, size) are exchanged."""
    data = bytearray(frame)
    for at, size in ((0, 6), *fields):
        data[at : at + size], data[at + size : at + 2 * size] = (
            data[at + size : at + 2 * size], data[at : at + size],
        )  # fmt: skip
    return bytes(data)


IP4, IP6 = (26, 4), (22, 16)
CASES = {  # frame, and the pairs exchanged on layers 3 and 4
    "udp": (ipv4(UDP), [IP4], [IP4, (34, 2)]),
    "tcp": (ipv4(TCP), [IP4], [IP4, (34, 2)]),
    "icmp": (ipv4(ICMP), [IP4], [IP4]),
    "options": (ipv4(UDP, options=8), [IP4], [IP4, (42, 2)]),
    "first-fragment": (ipv4(UDP, fragment=0x2000), [IP4], [IP4, (34, 2)]),
    "fragment": (ipv4(UDP, fragment=0x0005), [IP4], [IP4]),
    "far-fragment": (ipv4(UDP, fragment=0x1F00), [IP4], [IP4]),
    "udp6": (ipv6(UDP), [IP6], [IP6, (54, 2)]),
    "tcp6": (ipv6(TCP), [IP6], [IP6, (54, 2)]),
    "hop-by-hop": (ipv6(0), [IP6], [IP6]),
    "other": (ethernet(b"\x45" * 46), [], []),
    "vlan": (tagged(ipv4(UDP)), [(30, 4)], [(30, 4), (38, 2)]),
    "two-vlans": (tagged(tagged(ipv6(UDP))), [(30, 16)], [(30, 16), (62, 2)]),
    "vlan-of-nothing": (ethernet(b"\0\7\x81\0" * 11 + b"\0\7", 0x8100), [], []),
    "not-4": (ethernet(b"\x55" * 46, 0x0800), [], []),
    "short-header": (ethernet(b"\x41" + b"\0" * 8 + b"\x11" + bytes(36), 0x0800), [IP4], [IP4]),
    "long-header": (ethernet(b"\x4f" + bytes(8) + b"\x11" + bytes(36), 0x0800), [IP4], [IP4]),
}


@pytest.mark.parametrize("layer", [2, 3, 4])
def test_what_is_exchanged(tmp_path: Path, layer: int) -> None:
    frames = [frame for frame, _, _ in CASES.values()]
    expected = [turned(frame, *([], on_3, on_4)[layer - 2]) for frame, on_3, on_4 in CASES.values()]
    for name, found, wanted in zip(
        CASES, reflected(tmp_path, *frames, layer=layer), expected, strict=True
    ):
        assert found == wanted, name


def test_a_packet_by_dpkt(tmp_path: Path) -> None:
    (frame,) = reflected(tmp_path, ipv4(UDP), layer=4)
    packet = dpkt.ethernet.Ethernet(frame)
    assert (packet.src, packet.dst) == (MAC, OTHER)
    assert (packet.data.src, packet.data.dst) == (b"\x0a\0\0\2", b"\x0a\0\0\1")
    assert (packet.data.data.sport, packet.data.data.dport) == (2222, 1111)
    was = dpkt.ethernet.Ethernet(ipv4(UDP))
    assert (packet.data.sum, packet.data.data.sum) == (was.data.sum, was.data.data.sum)


@pytest.mark.parametrize("batch", [1, 64])
def test_all_come_back_in_order(tmp_path: Path, batch: int) -> None:
    frames = [numbered(i, 60 + i % 1400) for i in range(many(3000, 80))]
    found = reflected(tmp_path, *frames, layer=2, batch=batch)
    assert found == [turned(frame) for frame in on_the_wire(frames)]


@pytest.mark.parametrize("queues", [1, 4])
def test_the_count_is_exact(queues: int) -> None:
    count = many(50_000, 150)
    with ixy.open("emu:source?ring=64", queues=queues) as device:
        app = Reflector(device, count=count)
        run_app(app, device)
        assert app.reflected == app.taken == count == device.statistics().tx_packets
