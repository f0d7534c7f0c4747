"""`Replayer`: which frames leave, how often and when."""

import struct
from pathlib import Path

import dpkt
import numpy as np
import pytest
from pcap_files import enhanced, interface, section

import ixy
from command import REAL, many, on_the_wire, read_pcap, run_app, write_pcap
from ixy.apps.replay import Replayer
from ixy.pcap import PcapError, Reader
from ixy.traffic.templates import numbered_frame
from rig import numbered, of_length

pytestmark = pytest.mark.usefixtures("no_shared_pools")


class NotingTimes(Replayer):
    """Remembers when frames are due, in the order in which they are handed out."""

    def _put(self, queue: int, table: np.ndarray) -> None:
        self.times = [*getattr(self, "times", []), *table["time"].tolist()]
        super()._put(queue, table)


def replayed(
    path: Path, file: Path, options: str = "", kind: type = Replayer, **settings
) -> tuple[list[bytes], Replayer]:
    """What leaves the port, and the app for its totals."""
    with ixy.open(f"emu:pcap:,{path}/out.pcap{options}") as device:
        app = kind(device, Reader(file), **settings)
        app.seconds = run_app(app, device)
        assert app.sent == device.statistics().tx_packets
        assert app.sent + app.bad_size == app.frames
    return read_pcap(path / "out.pcap"), app


@pytest.mark.parametrize("options", ["", "?ring=64", "?ring=64&pool=192"])
def test_frames_leave_byte_for_byte(tmp_path: Path, options: str) -> None:
    frames = [numbered(i, 60 + i * 97 % 1455) for i in range(many(3000, 80))]
    frames[5:5] = [of_length(14), of_length(59)]
    out, app = replayed(tmp_path, write_pcap(tmp_path / "in.pcap", frames), options)
    assert out == on_the_wire(frames)
    assert app.warning is None


def test_the_real_capture_leaves_byte_for_byte(tmp_path: Path) -> None:
    with REAL.open("rb") as file:
        frames = [bytes(frame) for _, frame in dpkt.pcap.UniversalReader(file)]
    out, _ = replayed(tmp_path, REAL)
    assert out == [frame.ljust(60, b"\0") for frame in frames]


@pytest.mark.parametrize("loops", [1, 2, 5])
def test_loops_repeat_the_file(tmp_path: Path, loops: int) -> None:
    frames = [numbered(i, 100) for i in range(30)]
    out, app = replayed(tmp_path, write_pcap(tmp_path / "in.pcap", frames), loops=loops)
    assert out == frames * loops
    assert app.frames == len(out)


@pytest.mark.compiled
def test_more_frames_than_are_looked_up_at_a_time(tmp_path: Path) -> None:
    frames = [numbered(i) for i in range(150_000)]
    out, _ = replayed(tmp_path, write_pcap(tmp_path / "in.pcap", frames))
    assert out == frames


@pytest.mark.parametrize(("factor", "least"), [(1.0, 0.4), (2.0, 0.2), (0.5, 0.8)])
def test_recorded_speed_takes_its_time(tmp_path: Path, factor: float, least: float) -> None:
    file = write_pcap(tmp_path / "in.pcap", [numbered(i) for i in range(21)], gap=20_000_000)
    out, app = replayed(tmp_path, file, speed=factor)
    assert len(out) == 21
    assert least - 0.03 <= app.seconds < least + 1


def test_at_recorded_speed_each_loop_takes_as_long(tmp_path: Path) -> None:
    file = write_pcap(tmp_path / "in.pcap", [numbered(i) for i in range(11)], gap=20_000_000)
    _, app = replayed(tmp_path, file, speed=1.0, loops=2)
    assert 0.37 <= app.seconds < 1.5


def test_a_loop_begins_one_mean_gap_after_the_last_frame(tmp_path: Path) -> None:
    """Gaps of 10, 30 and 20 ms: loops are 60 + 20 ms apart, and no error adds up."""
    frames = [numbered(i) for i in range(4)]
    file = write_pcap(tmp_path / "in.pcap", frames)
    content = bytearray(file.read_bytes())
    for i, milliseconds in enumerate((0, 10, 40, 60)):
        struct.pack_into("<I", content, 24 + i * 76 + 4, milliseconds * 1_000_000)
    file.write_bytes(content)
    out, app = replayed(tmp_path, file, kind=NotingTimes, speed=2.0, loops=6)
    assert out == frames * 6
    assert app.times == [(80 * n + ms) * 500_000 for n in range(6) for ms in (0, 10, 40, 60)]
    assert app.timing.total == 24
    assert app.timing.outside == 0
    assert 0.22 <= app.seconds < 3


@pytest.mark.parametrize("speed", [None, 1.0])
def test_queues_keep_each_conversation_in_order(tmp_path: Path, speed: float | None) -> None:
    frames = []
    for i in range(many(4000, 60)):
        flow = i * 7 % 5
        there = numbered_frame(64, flow)
        ports = there[34:38]
        back = there[:34] + ports[2:] + ports[:2] + there[38:]
        frames.append((back if i % 3 else there)[:-4] + struct.pack(">I", i))
    out, app = replayed(
        tmp_path, write_pcap(tmp_path / "in.pcap", frames), "?queues=3", speed=speed, loops=2
    )
    assert sorted(out) == sorted(frames * 2)
    for flow in range(5):
        ours = [frame for frame in out if 10000 + flow in struct.unpack(">HH", frame[34:38])]
        assert ours == [frame for frame in frames if frame in set(ours)] * 2
    if speed:
        assert app.timing.total == len(out)


def test_without_times_there_is_no_timing(tmp_path: Path) -> None:
    _, app = replayed(tmp_path, write_pcap(tmp_path / "in.pcap", [numbered(1)]))
    assert app.timing is None


def test_how_late_frames_left_is_counted(tmp_path: Path) -> None:
    """The sum of lateness and due times is what the run took."""
    file = write_pcap(tmp_path / "in.pcap", [numbered(i) for i in range(21)], gap=5_000_000)
    _, app = replayed(tmp_path, file, speed=1.0)
    assert app.timing.total == 21
    assert 0 <= app.timing.minimum <= app.timing.maximum < app.seconds * 1e9


def test_time_stamps_that_go_back_do_not_stop_it(tmp_path: Path) -> None:
    frames = [numbered(i) for i in range(20)]
    out, _ = replayed(tmp_path, write_pcap(tmp_path / "in.pcap", frames, gap=-(10**9)), speed=1.0)
    assert out == frames


def test_a_rate_is_kept(tmp_path: Path) -> None:
    rate, count = many(10_000, 400), many(3000, 120)
    file = write_pcap(tmp_path / "in.pcap", [numbered(i) for i in range(count)])
    out, app = replayed(tmp_path, file, rate=rate)
    assert len(out) == count
    assert 0.24 < app.seconds < many(2, 20)


def test_a_rate_is_that_of_all_queues_together(tmp_path: Path) -> None:
    """Though all frames are of one conversation, and on one queue; loops follow at the rate."""
    file = write_pcap(tmp_path / "in.pcap", [numbered(i) for i in range(4)], gap=10**15)
    _, app = replayed(tmp_path, file, "?queues=3", kind=NotingTimes, rate=400, loops=2)
    assert app.times == [2_500_000 * i for i in range(8)]
    assert app.timing.total == 8


@pytest.mark.parametrize("times", [(0, 40, 20), (1, 41, 21)])
def test_a_first_time_of_zero_is_one(tmp_path: Path, times: tuple[int, ...]) -> None:
    """The table of frames ends at each description of an interface."""
    content = section() + interface()
    for milliseconds in times:
        content += enhanced("<", numbered(milliseconds), milliseconds * 1000) + interface()
    (tmp_path / "in.pcapng").write_bytes(content)
    _, app = replayed(tmp_path, tmp_path / "in.pcapng", kind=NotingTimes, speed=2.0, loops=2)
    assert app.times == [ms * 500_000 for ms in (0, 40, 20, 60, 100, 80)]


def test_times_without_end_do_not_overflow(tmp_path: Path) -> None:
    content = section() + interface()
    content += enhanced("<", numbered(0), 0) + enhanced("<", numbered(1), 2**64 - 1)
    (tmp_path / "in.pcapng").write_bytes(content)
    with ixy.open("emu:loopback") as device:
        for speed in (1.0, 1e-9, 1e9):
            app = Replayer(device, Reader(tmp_path / "in.pcapng"), speed=speed, loops=3)
            app.start()
            while app.sent < (6 if speed > 1 else 1):
                app.workers.check()
            app.workers.stop(5)
            app.workers.check()
            assert app.sent == (6 if speed > 1 else 1)


def test_frames_of_bad_sizes_are_counted(tmp_path: Path) -> None:
    lengths = [13, 14, 10, 1519, 1518, 60, 3000, 20_000, 60, 0]
    frames = [of_length(length) for length in lengths]
    out, app = replayed(tmp_path, write_pcap(tmp_path / "in.pcap", frames))
    assert app.bad_size == 6
    assert app.sent == 4
    good = [frame for frame in frames if 14 <= len(frame) <= 1518]
    assert out == [frame.ljust(60, b"\0") for frame in good]


def test_a_damaged_file_is_sent_up_to_the_damage(tmp_path: Path) -> None:
    frames = [numbered(i) for i in range(20)]
    file = write_pcap(tmp_path / "in.pcap", frames)
    file.write_bytes(file.read_bytes()[:-10])
    out, app = replayed(tmp_path, file)
    assert out == frames[:19]
    assert app.warning is not None
    assert "19 good packets" in app.warning


def test_what_is_no_capture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pcap").write_text("this is no capture, it is a text")
    (tmp_path / "empty.pcap").write_bytes(b"")
    for name in ("none.pcap", "text.pcap", "empty.pcap"):
        with pytest.raises(PcapError, match=name):
            Reader(tmp_path / name)


def test_told_to_stop_it_stops_between_frames(tmp_path: Path) -> None:
    file = write_pcap(tmp_path / "in.pcap", [numbered(i) for i in range(3)], gap=10**11)
    with ixy.open("emu:loopback") as device:
        app = Replayer(device, Reader(file), speed=1.0)
        app.start()
        while not app.sent:
            app.workers.check()
        app.workers.finish(5)
        app.workers.check()
        assert app.sent == 1
