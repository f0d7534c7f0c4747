"""DPDK's net_ixgbe judges the emulated 82599, in a guest, through VFIO behind an IOMMU."""

import re
import socket
import struct
import time
from collections.abc import Iterable, Iterator

import dpkt
import pytest

from guest.host import Host
from guest.machine import IOMMU, Guest, vfio_user
from guest.testpmd import Testpmd, take_port

MAC = bytes.fromhex("020000000001")
HOST, GUEST = "10.83.7.1", "10.83.7.2"
JUMBO = "--max-pkt-len=9018 --enable-scatter --tx-offloads=0x8000"  # multi-segment packets
SCALAR = "--force-max-simd-bitwidth=64"

RECEIVED = (  # what testpmd prints of a packet whose sender is `of_index`
    r"src=02:00:00:01:(..):(..) .*RSS hash=0x(\w+) - RSS queue=0x(\w)"
    r".*hw ptype: (.*?) +- .*\s+ol_flags: (.*)"
)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host() as host:
        yield host


@pytest.fixture(scope="module")
def guest(host: Host) -> Iterator[Guest]:
    devices = [*IOMMU, *vfio_user(host.tap("nic"))]
    host.run("ip", "addr", "add", f"{HOST}/24", "dev", "nic")
    host.run("ip", "link", "set", "nic", "mtu", 9000)
    host.run("sysctl", "-qw", "net.ipv6.conf.nic.disable_ipv6=1")
    append = "intel_iommu=on iommu.passthrough=1 hugepages=160"
    with Guest(devices, append=append, memory=1024, cpus=2) as machine:
        take_port(machine)
        yield machine


def of_index(index: int) -> bytes:
    """A MAC address that tells which frame this is."""
    return bytes([2, 0, 0, 1, *struct.pack(">H", index)])


def ipv4(index: int, protocol: int, data: object, **fields: object) -> bytes:
    """A frame from a flow of its own, with valid checksums (dpkt's)."""
    addresses = {
        "src": bytes([10, 1, index >> 8, index & 255]),
        "dst": bytes([10, 2, index % 7, 9]),
    }
    packet = dpkt.ip.IP(**addresses, p=protocol, data=data, **fields)
    packet.len = len(packet)
    return bytes(dpkt.ethernet.Ethernet(dst=MAC, src=of_index(index), data=packet))


def udp(index: int, size: int = 40) -> bytes:
    """A datagram of `size` bytes of payload."""
    payload = bytes((index + i) % 256 for i in range(size))
    return ipv4(index, 17, dpkt.udp.UDP(sport=1000 + index, dport=53, ulen=8 + size, data=payload))


def tcp(index: int, payload: bytes = b"tcp") -> bytes:
    """A TCP segment."""
    segment = dpkt.tcp.TCP(sport=2000 + index, dport=80, seq=1 << 20, flags=0x18, data=payload)
    return ipv4(index, 6, segment)


def exchange(raw: socket.socket, frames: Iterable[bytes], count: int) -> list[bytes]:
    """Sends frames; returns the first `count` that come back."""
    for frame in frames:
        raw.send(frame)
    back = []
    while len(back) < count:
        data, (_, _, direction, *_) = raw.recvfrom(65536)
        if direction != socket.PACKET_OUTGOING:
            back.append(data)
    return back


def counted(host: Host) -> int:
    """How many frames have arrived at the host's end."""
    return int(host.run("cat", "/sys/class/net/nic/statistics/rx_packets"))


def test_it_probes_and_follows_the_link(guest: Guest, host: Host) -> None:
    with Testpmd(guest) as pmd:
        said = pmd.say("show port info 0")
        assert "MAC address: 02:00:00:00:00:01" in said
        assert "Link status: up" in said
        assert "Link speed: 10 Gbps" in said
        for state in ("down", "up"):
            host.run("ip", "link", "set", "nic", state)
            pmd.wait("link state change event", 15)
            deadline = time.monotonic() + 15  # DPDK believes in a link that has gone for a while
            while f"Link status: {state}" not in pmd.say("show port info 0"):
                assert time.monotonic() < deadline


def test_all_that_it_sends_arrives(guest: Guest, host: Host) -> None:
    with Testpmd(guest) as pmd:
        before = counted(host)
        pmd.say("set fwd txonly")
        pmd.say("start")
        time.sleep(3)
        sent = int(re.findall(r"TX-packets: (\d+)", pmd.say("stop"))[0])
        deadline = time.monotonic() + 10
        while counted(host) - before < sent and time.monotonic() < deadline:
            time.sleep(0.1)
        assert counted(host) - before == sent > 10_000
        assert f"TX-packets: {sent} " in pmd.say("show port stats 0")


@pytest.mark.parametrize(
    ("path", "path_taken"), [("", "Vector rx enabled"), (SCALAR, "doesn't meet Vector Rx")]
)
def test_pings(guest: Guest, host: Host, path: str, path_taken: str) -> None:
    with Testpmd(guest, environment=path) as pmd:
        assert path_taken in pmd.started
        pmd.say("set fwd icmpecho")
        pmd.say("start")
        out = host.run("ping", "-A", "-c", 200, GUEST)
        assert " 200 received" in out
        pmd.say("stop")


def test_jumbo_pings(guest: Guest, host: Host) -> None:
    with Testpmd(guest, JUMBO) as pmd:
        pmd.say("set fwd icmpecho")
        pmd.say("start")
        for size in (1473, 4000, 8972):
            out = host.run("ping", "-A", "-c", 50, "-s", size, "-M", "do", GUEST)
            assert " 50 received" in out
        pmd.say("stop")


def toeplitz(key: bytes, data: bytes) -> int:
    """The hash as its inventors wrote it down: 32 bits of the key for each bit that is set."""
    bits, result = int.from_bytes(key, "big"), 0
    for place in range(8 * len(data)):
        if data[place // 8] & 0x80 >> place % 8:
            result ^= bits >> 8 * len(key) - 32 - place & 0xFFFFFFFF
    return result


def test_four_queues_by_rss(guest: Guest, host: Host) -> None:
    """Each packet's hash is Toeplitz's, its queue is the table's, its type and checksums known."""
    frames = [udp(i) if i % 2 else tcp(i) for i in range(256)]
    bad = bytearray(tcp(256))
    bad[-1] ^= 1
    frames.append(bytes(bad))
    with Testpmd(guest, "--rxq=4 --txq=4 --enable-rx-cksum") as pmd:
        pmd.say("port config all rss all")
        key = re.findall(r"RSS key:\s*(\w{80})", pmd.say("show port 0 rss-hash key"))[0]
        pmd.say("set fwd rxonly")
        pmd.say("set verbose 1")
        pmd.say("start")
        with host.packet_socket("nic") as raw:
            for frame in frames:
                raw.send(frame)
                time.sleep(0.001)
        said = pmd.wait(r"src=02:00:00:01:01:00[\s\S]*ol_flags", 20)
        pmd.say("stop")
    seen = {}
    for high, low, hash_, queue, kind, flags in re.findall(RECEIVED, said):
        seen[int(high + low, 16)] = int(hash_, 16), int(queue, 16), kind, flags
    assert sorted(seen) == list(range(257))
    for index, (hash_, queue, kind, flags) in seen.items():
        packet = frames[index]
        assert hash_ == toeplitz(bytes.fromhex(key), packet[26:38])  # addresses, ports
        assert queue == (hash_ & 127) % 4
        assert kind == f"L2_ETHER L3_IPV4 L4_{'UDP' if index % 2 else 'TCP'}"
        assert "RX_IP_CKSUM_GOOD" in flags
        assert f"RX_L4_CKSUM_{'BAD' if index == 256 else 'GOOD'}" in flags
    assert {queue for _, queue, _, _ in seen.values()} == {0, 1, 2, 3}


def checksums(pmd: Testpmd, *settings: str) -> None:
    """Makes the device compute checksums, and forwards."""
    pmd.say("port stop 0", timeout=60)
    for setting in ("csum set ip hw 0", "csum set udp hw 0", "csum set tcp hw 0", *settings):
        pmd.say(setting)
    pmd.say("port start 0", timeout=60)
    pmd.say("set fwd csum")
    pmd.say("start")


def test_it_forwards_with_new_checksums(guest: Guest, host: Host) -> None:
    """Sent with wrong ones, all come back with the right ones, which dpkt has computed."""
    right = [udp(i, 18 + i) if i % 2 else tcp(i, bytes(i)) for i in range(256)]
    with Testpmd(guest) as pmd, host.packet_socket("nic") as raw:
        checksums(pmd)
        back = []
        for frame in right:
            wrong = bytearray(frame)
            wrong[24] ^= 0x55  # IP
            wrong[40 if frame[23] == 17 else 50] ^= 0x55
            back += exchange(raw, [bytes(wrong)], 1)
        pmd.say("stop")
    assert [frame[14:] for frame in back] == [frame[14:].ljust(46, b"\0") for frame in right]


def test_tcp_segmentation_is_reassembled_byte_for_byte(guest: Guest, host: Host) -> None:
    size, segment = 8000, 800
    with Testpmd(guest, JUMBO) as pmd, host.packet_socket("nic") as raw:
        checksums(pmd, f"tso set {segment} 0")
        for index in range(64):
            payload = bytes((index * 31 + i * i) % 251 for i in range(size + index))
            back = exchange(raw, [tcp(index, payload)], -(-len(payload) // segment))
            got = b""
            for number, frame in enumerate(back):
                packet = dpkt.ethernet.Ethernet(frame).data
                assert packet.len <= 40 + segment
                assert packet.data.seq == (1 << 20) + len(got)
                got += bytes(packet.data.data)
                sums = packet.sum, packet.data.sum
                packet.sum = packet.data.sum = 0
                again = dpkt.ip.IP(bytes(packet))  # dpkt computes what is 0
                assert (again.sum, again.data.sum) == sums, number
            assert got == payload
        pmd.say("stop")
