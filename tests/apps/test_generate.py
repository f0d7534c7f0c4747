"""`Generator`: what it sends, by dpkt and scapy, and when."""

import itertools
import os
import time
from collections import defaultdict
from pathlib import Path

import dpkt
import pytest

import ixy
from command import many, read_pcap, run_app
from ixy.apps.generate import Generator
from ixy.errors import IxyError
from template_frames import FRAMES, OTHERS, judged
from vhost_backend import Backend

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


def test_a_template_is_sent_as_it_is(tmp_path: Path) -> None:
    for frame in (FRAMES["tcp"], FRAMES["padded"], OTHERS["other"]):
        count = many(3000, 70)  # more than there are buffers
        assert generated(tmp_path, template=frame, count=count) == [frame.ljust(60, b"\0")] * count


def test_what_varies_varies_from_packet_to_packet(tmp_path: Path) -> None:
    count = many(5000, 150)
    vary = ["ip.src=inc(10.1.0.0,10.1.255.255)", "udp.sport=random(1,65535)", "ip.ttl=list(7,8,9)"]
    frames = generated(tmp_path, template=FRAMES["udp"], vary=vary, count=count)
    packets = [dpkt.ethernet.Ethernet(frame).data for frame in frames]
    assert [int.from_bytes(ip.src, "big") - 0x0A010000 for ip in packets] == list(range(count))
    assert [ip.ttl for ip in packets] == [7 + i % 3 for i in range(count)]
    assert len({ip.data.sport for ip in packets}) > count * 9 // 10
    for frame in frames[:: many(7, 3)]:
        assert judged(frame) == frame


def test_sizes_are_mixed(tmp_path: Path) -> None:
    count = many(4000, 120)
    frames = generated(tmp_path, template=FRAMES["udp6"], size="80..1400", count=count)
    sizes = [len(frame) for frame in frames]
    assert min(sizes) < 150
    assert max(sizes) > 1300
    for frame in frames[:: many(7, 3)]:
        assert judged(frame) == frame
    assert len(frames) == count


def test_numbered_frames_of_mixed_sizes_that_vary(tmp_path: Path) -> None:
    count = many(2000, 70)
    vary = ["ip.dst=random(10.0.0.2,10.0.0.9)"]
    frames = generated(tmp_path, size="imix", vary=vary, count=count)
    assert list(numbers(frames).values()) == [list(range(count))]
    assert {len(frame) for frame in frames} == {60, 570, 1514}
    for frame in frames[:: many(7, 3)]:
        check_sums(frame)


def test_packets_that_come_back_do_no_harm_to_the_template(tmp_path: Path) -> None:
    """What arrives has its own buffers: those of the template are nobody else's."""
    count = many(20_000, 150)
    name = f"gen-{os.getpid()}"
    with (
        ixy.open(f"emu:cable:{name}?ring=64&pool=512") as device,
        ixy.open(f"emu:cable:{name}?ring=64&pool=512") as other,
    ):
        there = Generator(other, template=OTHERS["other"], count=count)
        here = Generator(device, template=FRAMES["tcp"], count=count)
        there.start()
        run_app(here, device)
        here.close()
        with device.rx[0].receive(64) as batch:
            assert {bytes(packet) for packet in batch} <= {OTHERS["other"].ljust(60, b"\0")}
        there.close()
        with other.rx[0].receive(64) as batch:
            assert {bytes(packet) for packet in batch} <= {FRAMES["tcp"]}


def test_one_after_the_other_on_one_device(tmp_path: Path) -> None:
    count = many(500, 50)
    with ixy.open(f"emu:pcap:,{tmp_path}/out.pcap?ring=64&pool=256") as device:
        for frame in (FRAMES["udp"], FRAMES["icmp"]):
            app = Generator(device, template=frame, count=count)
            run_app(app, device)
            app.close()
            device.tx[0].send([OTHERS["other"]])
            assert device.flush(10) == 0
    other = [OTHERS["other"]]
    sent = [FRAMES["udp"].ljust(60, b"\0")] * count + other
    sent += [FRAMES["icmp"].ljust(60, b"\0")] * count + other
    assert read_pcap(tmp_path / "out.pcap") == sent


def test_queues_have_parts_of_the_values(tmp_path: Path) -> None:
    count, vary = many(2000, 100), ["ip.id=inc(0,999)"]
    frames = generated(tmp_path, 2, template=FRAMES["udp"], vary=vary, count=count)
    found = {dpkt.ethernet.Ethernet(frame).data.id for frame in frames}
    assert found & {0, 500} == {0, 500}


@pytest.mark.parametrize("poisson", [False, True])
def test_the_report_counts_every_gap(poisson: bool) -> None:
    rate, count = many(20_000, 300), many(4001, 91)
    with ixy.open("emu:source") as device:
        app = Generator(device, rate=rate, poisson=poisson, count=count)
        run_app(app, device)
        found = app.report()
    assert found["gaps"]["count"] == count - 1 == sum(n for *_, n in found["gaps"]["buckets"])
    assert (found["gaps"]["nominal"] is None) == poisson
    assert found["gaps"]["min"] <= found["gaps"]["percentiles"]["50"] <= found["gaps"]["max"]
    assert 0 < found["achieved_pps"] <= rate * (1.1 if poisson else 1.0001) * 4 / 3
    assert found["late"]["max"] >= found["late"]["mean"] >= 0


def test_too_few_buffers_are_an_error() -> None:
    with ixy.open("emu:source?ring=64&pool=256") as device:
        taken = device.tx[0].pool.take(device.tx[0].pool.available - 32)
        with pytest.raises(IxyError, match="pool=N"):
            Generator(device, count=1).start()
        device.tx[0].pool.give(taken)


def test_a_virtio_device_sends_the_same(tmp_path: Path) -> None:
    """Whose rings are others, and give buffers back in other numbers."""
    count, taken = many(3000, 100), []
    with Backend(tmp_path / "sock") as back, ixy.open(f"vhost-user:{tmp_path}/sock") as device:
        back.wait()
        app = Generator(device, size="60..300", count=count)
        app.start()
        deadline = time.monotonic() + 60
        while len(taken) < count and time.monotonic() < deadline:
            taken += back.take()
            app.workers.check()
        app.close()
        assert app.sent == count
    assert list(numbers(taken).values()) == [list(range(count))]
    for frame in taken[:: many(37, 9)]:
        check_sums(frame)
