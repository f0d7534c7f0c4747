"""`Capturer`: what is in the file, by dpkt and python-pcapng, and that the totals add up."""

import os
import time
from pathlib import Path

import dpkt
import pcapng
import pytest

import ixy
import judge
from command import many, on_the_wire, read_pcap, run_app, write_pcap
from corpus import Recorded, whole_frames
from ixy.apps import capture
from ixy.apps.capture import Capturer
from ixy.errors import IxyError
from ixy.pcap import PCAP, PCAPNG, PcapError
from rig import numbered, run_python

pytestmark = pytest.mark.usefixtures("no_shared_pools")


def captured(path: Path, frames: list[bytes], name: str, queues: int = 1, **settings) -> Path:
    """Captures frames to a new file of that name, and checks the totals."""
    source = write_pcap(path / "in.pcap", frames)
    file = path / name
    with ixy.open(f"emu:pcap:{source},?ring=64", queues=queues) as device:
        with Capturer(device, str(file), **settings) as app:
            run_app(app)
            app.check()
        total = device.statistics()
        assert total.rx_packets == app.taken
        assert app.accepted == app.writer.written
        assert total.rx_packets + sum(total.dropped.values()) == len(frames)
    return file


def read_pcapng(path: Path) -> list[pcapng.blocks.EnhancedPacket]:
    """The packets, as python-pcapng sees them."""
    with path.open("rb") as file:
        blocks = list(pcapng.FileScanner(file))
    return [block for block in blocks if isinstance(block, pcapng.blocks.EnhancedPacket)]


def frames_of_all_sizes() -> list[bytes]:
    return [numbered(i, 60 + i * 97 % 1455) for i in range(many(2000, 60))]


def test_a_pcap_file_holds_what_arrived(tmp_path: Path) -> None:
    frames = frames_of_all_sizes()
    assert read_pcap(captured(tmp_path, frames, "x.pcap")) == frames


def test_a_pcapng_file_holds_what_arrived(tmp_path: Path) -> None:
    frames = frames_of_all_sizes()
    found = read_pcapng(captured(tmp_path, frames, "x.pcapng"))
    assert [block.packet_data for block in found] == frames


def test_time_stamps_are_those_of_now_with_nanoseconds(tmp_path: Path) -> None:
    before = time.time_ns()
    path = captured(tmp_path, [numbered(i) for i in range(40)], "x.pcap")
    after = time.time_ns()
    with path.open("rb") as file:
        times = [int(when * 10**9) for when, _ in dpkt.pcap.Reader(file)]
    assert times == sorted(times)
    assert before - 1000 <= times[0] <= times[-1] <= after + 1000
    assert path.read_bytes()[:4] == bytes.fromhex("4d3cb2a1")
    stamps = [b.timestamp for b in read_pcapng(captured(tmp_path, [numbered(1)], "y.pcapng"))]
    assert after / 1e9 - 1 <= stamps[0] <= time.time() + 1


def test_each_packet_may_have_a_time_of_its_own(tmp_path: Path) -> None:
    frames = [numbered(i) for i in range(200)]
    distinct = []
    for each in (False, True):
        found = read_pcapng(captured(tmp_path, frames, "x.pcapng", each_time=each))
        times = [(block.timestamp_high << 32) + block.timestamp_low for block in found]
        assert times == sorted(times)
        assert [block.packet_data for block in found] == frames
        distinct.append(len(set(times)))
    assert distinct[0] < 100 < distinct[1]


EXPRESSIONS = ["udp port 53", "ip6 or arp", "tcp and host 10.0.0.1", "not ip", "greater 9000"]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_filter_chooses_what_libpcap_would(tmp_path: Path, expression: str) -> None:
    frames = on_the_wire(whole_frames())
    wanted = judge.verdicts(expression, [Recorded(frame, len(frame)) for frame in frames], 1)
    found = read_pcap(captured(tmp_path, frames, "x.pcap", filter=expression, snaplen=77))
    assert found == [frame[:77] for frame, verdict in zip(frames, wanted, strict=True) if verdict]


def test_the_count_is_of_packets_that_pass(tmp_path: Path) -> None:
    with ixy.open("emu:source", queues=2) as device:
        settings = {"count": 100, "filter": "udp src portrange 10000-10003"}  # 4 flows of 64
        with Capturer(device, str(tmp_path / "x.pcap"), **settings) as app:
            run_app(app)
        assert app.accepted == app.writer.written == 100 < app.taken
    assert len(read_pcap(tmp_path / "x.pcap")) == 100


def test_a_wrong_filter_is_refused_before_there_is_a_file(tmp_path: Path) -> None:
    with ixy.open("emu:source") as device, pytest.raises(IxyError, match="syntax error"):
        Capturer(device, str(tmp_path / "x.pcap"), filter="port")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Field type:DeprecationWarning")  # python-pcapng's schema
def test_the_file_ends_with_counters_that_add_up(tmp_path: Path) -> None:
    frames = [bytes(9000), *on_the_wire(whole_frames())[:100]]
    source, file = write_pcap(tmp_path / "in.pcap", frames), tmp_path / "x.pcapng"
    before = time.time()
    with ixy.open(f"emu:pcap:{source},") as device:
        with Capturer(device, str(file), filter="udp") as app:
            run_app(app)
        assert device.statistics().dropped["rx_oversize"] == 1
    with file.open("rb") as opened:
        _, port, *packets, counters = pcapng.FileScanner(opened)
    assert port.options["if_speed"] == 10**10
    assert port.options["if_filter"] == (0, b"udp")
    names = "ifrecv", "ifdrop", "filteraccept", "usrdeliv"
    received, dropped, accepted, delivered = (counters.options[f"isb_{name}"] for name in names)
    assert (received, dropped) == (101, 1)
    assert accepted == delivered == len(packets) == app.accepted < 100
    moment = ((counters.timestamp_high << 32) + counters.timestamp_low) / 1e9
    assert before <= moment <= time.time()


@pytest.mark.parametrize("suffix", ["pcap", "pcapng"])
def test_files_in_turn_hold_every_frame_in_order(tmp_path: Path, suffix: str) -> None:
    frames = [numbered(i, 60 + i * 97 % 1455) for i in range(many(20_000, 300))]
    source = write_pcap(tmp_path / "in.pcap", frames)
    size = many(1_000_000, 100_000)
    with ixy.open(f"emu:pcap:{source},") as device:
        with Capturer(device, str(tmp_path / f"x.{suffix}"), size=size) as app:
            run_app(app)
        assert app.writer.written == len(frames)
    names = app.writer.names
    assert len(names) > 2
    assert all(Path(name).stat().st_size <= size for name in names)
    readers = {"pcap": read_pcap, "pcapng": lambda path: [b.packet_data for b in read_pcapng(path)]}
    assert [frame for name in names for frame in readers[suffix](Path(name))] == frames


@pytest.mark.compiled
def test_files_in_turn_while_more_comes_than_can_be_written(tmp_path: Path) -> None:
    with ixy.open("emu:source?size=1000&flows=1") as device:
        settings = {"size": 3_000_000, "seconds": 0.05, "count": 40_000}
        with Capturer(device, str(tmp_path / "x.pcap"), **settings) as app:
            run_app(app, timeout=120)
    frames = [frame for name in app.writer.names for frame in read_pcap(Path(name))]
    numbers = [int.from_bytes(frame[42:50], "big") for frame in frames]
    assert numbers == list(range(numbers[0], numbers[0] + 40_000))
    assert len(app.writer.names) >= 14


def test_a_frame_reaches_the_reader_soon(tmp_path: Path) -> None:
    """Though a block is not nearly full."""
    reading, writing = os.pipe()
    frame = numbered(7)
    with ixy.open("emu:loopback") as device, os.fdopen(reading, "rb", buffering=0) as output:
        with Capturer(device, writing, format=PCAP) as app:
            app.start()
            assert len(output.read(24)) == 24
            device.wait_for_link()
            assert device.tx[0].send([frame]) == 1
            assert output.read(16 + len(frame))[16:] == frame
            assert app.workers.stop(30)
        os.close(writing)
        assert output.read(1) == b""


@pytest.mark.parametrize("idle", [False, True])
def test_a_reader_that_leaves_ends_the_run(idle: bool) -> None:
    reading, writing = os.pipe()
    with ixy.open("emu:loopback" if idle else "emu:source") as device:
        with Capturer(device, writing, format=PCAPNG) as app:
            app.start()
            os.close(reading)
            deadline = time.monotonic() + 60
            while not app.done or app.workers.busy:
                assert time.monotonic() < deadline
                time.sleep(0.001)
        assert app.reader_gone
        assert app.writer.written == 0
        assert app.taken == app.accepted
        assert not (idle and app.taken)
    os.close(writing)


def test_a_reader_that_is_stuck_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "STUCK", 0.1)
    reading, writing = os.pipe()
    with ixy.open("emu:source?size=1514") as device:
        with Capturer(device, writing, format=PCAP) as app:
            app.start()
            deadline = time.monotonic() + 60
            while app.taken < 100:  # more than a pipe holds
                assert time.monotonic() < deadline
                time.sleep(0.001)
            assert app.workers.stop(5)
        assert app.writer.written < app.accepted
    os.close(reading)  # the writer's thread ends
    app._writing.join(30)
    os.close(writing)


@pytest.mark.parametrize("snaplen", [1, 14, 59, 60, 61, 1514])
def test_snaplen_cuts_and_the_length_stays(tmp_path: Path, snaplen: int) -> None:
    frames = frames_of_all_sizes()[:50]
    found = read_pcapng(captured(tmp_path, frames, "x.pcapng", snaplen=snaplen))
    assert [block.packet_data for block in found] == [frame[:snaplen] for frame in frames]
    assert [block.packet_len for block in found] == [len(frame) for frame in frames]
    path = captured(tmp_path, frames, "x.pcap", snaplen=snaplen)
    assert read_pcap(path) == [frame[:snaplen] for frame in frames]


def test_frames_that_ethernet_does_not_carry_are_among_the_dropped(tmp_path: Path) -> None:
    frames = [bytes(30), numbered(1, 1514), numbered(2, 1519), numbered(3, 9000), numbered(4)]
    assert read_pcap(captured(tmp_path, frames, "x.pcap")) == on_the_wire(frames)


def test_four_queues_into_one_file(tmp_path: Path) -> None:
    frames = frames_of_all_sizes()
    assert sorted(read_pcap(captured(tmp_path, frames, "x.pcap", 4))) == sorted(frames)


@pytest.mark.compiled
@pytest.mark.parametrize("queues", [1, 4])
def test_many_blocks_and_every_packet_accounted_for(tmp_path: Path, queues: int) -> None:
    """A saturated port, more than the blocks between worker and disk hold."""
    with ixy.open("emu:source?size=1000", queues=queues) as device:
        with Capturer(device, str(tmp_path / "x.pcap"), count=40_000) as app:
            run_app(app, timeout=120)
            app.check()
        assert app.taken == app.writer.written == 40_000
    frames = read_pcap(tmp_path / "x.pcap")
    assert len(frames) == 40_000
    flows: dict[bytes, int] = {}
    for frame in frames:
        assert len(frame) == 1000
        number = int.from_bytes(frame[42:50], "big")
        assert number == flows.get(frame[34:36], number - 1) + 1  # in order within a flow
        flows[frame[34:36]] = number
    assert len(flows) == 64


@pytest.mark.parametrize("queues", [1, 4])
@pytest.mark.parametrize("count", [1, 64, 65, 10_001])
def test_the_count_is_exact(tmp_path: Path, count: int, queues: int) -> None:
    count = min(count, many(count, 150))
    with ixy.open("emu:source", queues=queues) as device:
        with Capturer(device, str(tmp_path / "x.pcap"), count=count) as app:
            run_app(app)
            app.check()
        assert app.taken == app.writer.written == count
        assert device.statistics().rx_packets >= count
    assert len(read_pcap(tmp_path / "x.pcap")) == count


def test_stopped_under_load_it_has_written_what_it_took(tmp_path: Path) -> None:
    with ixy.open("emu:source", queues=2) as device:
        with Capturer(device, str(tmp_path / "x.pcap")) as app:
            app.start()
            deadline = time.monotonic() + 60
            while app.taken < many(5000, 100):
                assert time.monotonic() < deadline
                time.sleep(0.001)
            assert app.workers.stop(5)
        app.check()
        assert app.taken == app.writer.written
    assert len(read_pcap(tmp_path / "x.pcap")) == app.taken


DISK_FULL = """
import resource, time
import ixy
from ixy.apps.capture import Capturer
with ixy.open("emu:source?size=1514") as device:
    try:
        with Capturer(device, "{file}") as app:
            app.start()
            deadline = time.monotonic() + 60
            while not app.workers.running and time.monotonic() < deadline:
                time.sleep(0.01)  # what is compiled goes to files, too
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
            while not app.done and time.monotonic() < deadline:
                time.sleep(0.01)
    except ixy.IxyError as error:
        print(error)
"""


def test_a_disk_that_is_full_ends_the_run_with_an_error(tmp_path: Path) -> None:
    code = DISK_FULL.format(file=tmp_path / "x.pcap")
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"cannot write {tmp_path}/x.pcap: ")
    assert done.stdout.count("\n") == 1


def test_a_file_that_cannot_be_made_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "full.pcap").symlink_to("/dev/full")
    with ixy.open("emu:source") as device:
        for name in ("x.txt", "no/x.pcap", "full.pcap"):
            with pytest.raises(PcapError):
                Capturer(device, str(tmp_path / name))
        with pytest.raises(IxyError, match="snap length"):
            Capturer(device, str(tmp_path / "x.pcap"), snaplen=0)
