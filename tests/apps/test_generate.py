"""`Generator`: what it sends, by dpkt, and how fast."""

import itertools
from collections import defaultdict
from pathlib import Path

import dpkt
import pytest

import ixy
from command import many, read_pcap, run_app
from ixy.apps.generate import Generator
from ixy.errors import IxyError

pytestmark = pytest.mark.usefixtures("no_shared_pools")


def generated(path: Path, queues: int = 1, options: str = "", **settings) -> list[bytes]:
    """What leaves the port."""
    with ixy.open(f"emu:pcap:,{path}/out.pcap{options}", queues=queues) as device:
        app = Generator(device, **settings)
        run_app(app, device)
        assert app.sent == settings["count"] == device.statistics().tx_packets
    return read_pcap(path / "out.pcap")


def check_sums(frame: bytes) -> None:
    """dpkt computes both checksums anew."""
    packet = dpkt.ethernet.Ethernet(frame)
    ip = packet.data
    assert isinstance(ip, dpkt.ip.IP)
    assert isinstance(ip.data, dpkt.udp.UDP)
    assert ip.len == ip.data.ulen + 20 == len(frame) - 14
    found = ip.sum, ip.data.sum
    ip.sum = ip.data.sum = 0
    bytes(ip)
    again = dpkt.ip.IP(bytes(ip))
    assert found == (again.sum, again.data.sum)


def numbers(frames: list[bytes]) -> dict[int, list[int]]:
    """The numbers of each flow, in order."""
    flows = defaultdict(list)
    for frame in frames:
        udp = dpkt.ethernet.Ethernet(frame).data.data
        flows[udp.sport].append(int.from_bytes(udp.data[:8], "big"))
    return dict(flows)


@pytest.mark.parametrize("size", [60, 61, 333, 1514])
def test_numbered_frames_with_valid_checksums(tmp_path: Path, size: int) -> None:
    count = many(1000, 70)
    frames = generated(tmp_path, size=size, count=count)
    assert {len(frame) for frame in frames} == {size}
    assert list(numbers(frames).values()) == [list(range(count))]
    for frame in frames[:: many(7, 3)]:
        check_sums(frame)


def test_frames_bear_the_device_s_address(tmp_path: Path) -> None:
    frames = generated(tmp_path, options="?mac=02:aa:bb:cc:dd:ee", count=3)
    assert {frame[6:12].hex(":") for frame in frames} == {"02:aa:bb:cc:dd:ee"}


@pytest.mark.parametrize("queues", [2, 4])
def test_each_queue_numbers_a_flow_of_its_own(tmp_path: Path, queues: int) -> None:
    count = many(20_001, 130)
    flows = numbers(generated(tmp_path, queues, "?ring=64", count=count))
    assert sum(map(len, flows.values())) == count
    assert set(flows) <= set(range(10000, 10000 + queues))
    for numbered in flows.values():
        assert numbered == list(range(len(numbered)))


@pytest.mark.parametrize("queues", [1, 4])
@pytest.mark.parametrize("count", [1, 64, 65, 50_021])
def test_the_count_is_exact(count: int, queues: int) -> None:
    count = min(count, many(count, 150))
    with ixy.open("emu:loopback?ring=64", queues=queues) as device:
        app = Generator(device, count=count)
        run_app(app, device)
        assert app.sent == count == device.statistics().tx_packets
        assert app.taken <= count


@pytest.mark.parametrize("queues", [1, 3])
def test_the_rate_is_kept_by_all_queues_together(queues: int) -> None:
    rate, count = many(30_000, 400), many(9000, 120)  # 0.3 s
    with ixy.open("emu:source", queues=queues) as device:
        app = Generator(device, rate=rate, count=count)
        seconds = run_app(app, device)
        assert app.sent == count
    assert 0.24 < seconds < many(2, 20)


@pytest.mark.compiled
def test_a_fast_rate_is_not_exceeded() -> None:
    with ixy.open("emu:source") as device:
        seconds = run_app(Generator(device, rate=1e6, count=200_000), device)
    assert seconds > 0.19


@pytest.mark.parametrize("size", [0, 59, 1515, 9000])
def test_a_size_that_ethernet_does_not_carry_is_refused(size: int) -> None:
    with ixy.open("emu:source") as device, pytest.raises(IxyError, match=rf"\b{size}\b"):
        Generator(device, size=size)


def test_what_comes_back_is_taken_and_counted() -> None:
    count = many(5000, 100)
    with ixy.open("emu:loopback?ring=64") as device:
        app = Generator(device, rate=many(50_000, 400), count=count)
        run_app(app, device)
        total = device.statistics()
        lost = sum(total.dropped.values())
        assert total.rx_packets + lost == count
        assert app.taken + 64 >= total.rx_packets >= app.taken > 0


def test_a_small_pool_slows_it_down_and_loses_nothing(tmp_path: Path) -> None:
    count = many(5000, 150)
    frames = generated(tmp_path, options="?ring=128&pool=192", count=count)
    assert list(itertools.chain(*numbers(frames).values())) == list(range(count))
