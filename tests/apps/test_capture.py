"""`Capturer`: what is in the file, by dpkt and python-pcapng, and that the totals add up."""

import time
from pathlib import Path

import dpkt
import pcapng
import pytest

import ixy
from command import many, on_the_wire, read_pcap, run_app, write_pcap
from ixy.apps.capture import Capturer
from ixy.errors import IxyError
from ixy.pcap import PcapError
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
        assert total.rx_packets == app.taken == app.writer.written
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
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
            app.start()
            deadline = time.monotonic() + 60
            while app.taken < {packets} and time.monotonic() < deadline:
                time.sleep(0.01)
            app.workers.stop(5)
    except ixy.IxyError as error:
        print(error)
"""


def test_a_disk_that_is_full_is_an_error(tmp_path: Path) -> None:
    code = DISK_FULL.format(file=tmp_path / "x.pcap", packets=many(5000, 100))
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
