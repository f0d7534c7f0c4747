"""`pcap:IN,OUT`: each frame of IN arrives, each frame sent is in OUT, byte for byte."""

import struct
import time
from itertools import pairwise
from pathlib import Path

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pcap_files import enhanced, interface, section

from ixy.emulator.wire import plug_in
from ixy.emulator.wire.pcap import BLOCK, Pcap
from ixy.errors import IxyError
from rig import Nic, numbered, of_length


def capture(frames: list[bytes], gap: int = 1000) -> bytes:
    """A pcap file, little-endian, in nanoseconds, a frame every `gap` ns."""
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)
    records = [
        struct.pack("<IIII", *divmod(10**18 + i * gap, 10**9), len(frame), len(frame)) + frame
        for i, frame in enumerate(frames)
    ]
    return head + b"".join(records)


def frames_in(path: Path) -> list[bytes]:
    """A capture's frames, as dpkt reads them."""
    with path.open("rb") as file:
        return [frame for _, frame in dpkt.pcap.UniversalReader(file)]


def receive_all(nic: Nic, rounds: int = 10000) -> list[bytes]:
    got: list[bytes] = []
    for _ in range(rounds):
        nic.step()
        batch = nic.receive()
        got += batch
        if not batch and nic.device.beyond.ended:
            return got
    raise AssertionError("the capture does not end")


@given(st.lists(st.integers(14, 1514), max_size=100))
@settings(deadline=None, max_examples=15)
def test_frames_of_a_file_arrive_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int]
) -> None:
    path = tmp_path_factory.mktemp("pcap") / "in.pcap"
    frames = [of_length(length) for length in lengths]
    path.write_bytes(capture(frames))
    with Nic(Pcap(f"{path},")) as nic:
        assert receive_all(nic) == [frame.ljust(60, b"\0") for frame in frames]
        statistics = nic.device.statistics()
        assert statistics.rx_packets == len(frames)
        assert sum(statistics.dropped.values()) == 0
        assert nic.device.beyond.ended is True


@pytest.mark.parametrize("suffix", ["pcap", "pcapng"])
def test_what_is_sent_is_in_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out.{suffix}"
    frames = [of_length(length) for length in range(14, 1514, 7)]
    before = time.time()
    with Nic(Pcap(f",{path}")) as nic:
        assert nic.device.beyond.ended is None
        for i in range(0, len(frames), 32):
            assert nic.device.tx[0].send(frames[i : i + 32]) == len(frames[i : i + 32])
            nic.step(2)
    assert frames_in(path) == [frame.ljust(60, b"\0") for frame in frames]
    with path.open("rb") as file:
        times = [stamp for stamp, _ in dpkt.pcap.UniversalReader(file)]
    assert times == sorted(times)
    assert before - 0.001 <= times[0] <= times[-1] <= time.time() + 0.001


def test_a_file_through_a_nic_into_a_file(tmp_path: Path) -> None:
    source, target = tmp_path / "in.pcap", tmp_path / "out.pcap"
    frames = [numbered(i, 60 + i * 31 % 1455) for i in range(3000)]
    source.write_bytes(capture(frames))
    with Nic(Pcap(f"{source},{target}"), ring=128) as nic:
        while not nic.device.beyond.ended or nic.model.step():
            nic.step()
            with nic.device.rx[0].receive(32) as batch:
                nic.device.tx[0].send(batch)
        with nic.device.rx[0].receive(64) as batch:
            nic.device.tx[0].send(batch)
        nic.step(3)
    assert frames_in(target) == frames


@pytest.mark.parametrize("count", range(680, 800, 17))
def test_all_that_was_sent_is_in_the_file_when_the_device_has_closed(
    tmp_path: Path, count: int
) -> None:
    """Also what the wire had not encoded yet, because its block was full."""
    path = tmp_path / "out.pcap"
    frames = [numbered(i, 1514) for i in range(count)]
    assert count * 1530 + 100000 > BLOCK
    nic = Nic(Pcap(f",{path}"), ring=1024, buffers=2300)
    assert nic.device.tx[0].send(frames) == count
    while nic.device.flush(0):
        nic.step()
    nic.device.close()
    assert len(frames_in(path)) == count


def test_frames_that_the_nic_does_not_take_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "in.pcap"
    frames = [of_length(1514), of_length(1515), of_length(9000), of_length(20000), of_length(60)]
    path.write_bytes(capture(frames))
    with Nic(Pcap(f"{path},")) as nic:
        got = receive_all(nic)
        statistics = nic.device.statistics()
        assert got == [frames[0], frames[4]]
        assert statistics.dropped["rx_oversize"] == 2
        assert statistics.dropped["wire_too_long"] == 1
        assert len(got) + sum(statistics.dropped.values()) == len(frames)


def test_frames_wait_until_there_are_descriptors(tmp_path: Path) -> None:
    path = tmp_path / "in.pcap"
    frames = [numbered(i, 1400) for i in range(1000)]
    path.write_bytes(capture(frames))
    with Nic(Pcap(f"{path},")) as nic:
        nic.step(50)
        assert receive_all(nic) == frames
        assert sum(nic.device.statistics().dropped.values()) == 0


@pytest.mark.parametrize("cut", [1, 10, 59, 70])
def test_a_damaged_file_is_read_up_to_the_damage_with_a_warning(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "in.pcap"
    frames = [numbered(i) for i in range(10)]
    path.write_bytes(capture(frames)[:-cut])
    with Nic(Pcap(f"{path},")) as nic:
        assert receive_all(nic) == frames[:9]
        warning = nic.device.beyond.warning
    assert warning is not None
    assert str(path) in warning
    assert "9 good packets" in warning
    assert "\n" not in warning


def test_a_file_that_is_whole_is_no_reason_to_warn(tmp_path: Path) -> None:
    path = tmp_path / "in.pcap"
    path.write_bytes(capture([numbered(1)]))
    with Nic(Pcap(f"{path},")) as nic:
        receive_all(nic)
        assert nic.device.beyond.warning is None


def test_pace_real_keeps_the_gaps(tmp_path: Path) -> None:
    path = tmp_path / "in.pcap"
    path.write_bytes(capture([numbered(i) for i in range(5)], gap=30_000_000))
    with Nic(Pcap(f"{path},", pace="real")) as nic:
        times = []
        while len(times) < 5:
            nic.step()
            times += [time.monotonic()] * len(nic.receive())
            assert time.monotonic() < times[0] + 10 if times else True
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert times[-1] - times[0] > 0.11
    assert all(gap > 0.005 for gap in gaps)


def test_pace_real_from_a_time_of_zero(tmp_path: Path) -> None:
    """The table of frames ends at each description of an interface."""
    path = tmp_path / "in.pcapng"
    frames = [enhanced("<", numbered(i), i * 50_000) + interface() for i in range(3)]
    path.write_bytes(section() + interface() + b"".join(frames))
    with Nic(Pcap(f"{path},", pace="real")) as nic:
        begin = time.monotonic()
        assert len(receive_all(nic)) == 3
        assert time.monotonic() - begin > 0.099


def test_pace_fast_does_not(tmp_path: Path) -> None:
    path = tmp_path / "in.pcap"
    path.write_bytes(capture([numbered(i) for i in range(5)], gap=10**10))
    with Nic(Pcap(f"{path},", pace="fast")) as nic:
        begin = time.monotonic()
        assert len(receive_all(nic)) == 5
        assert time.monotonic() - begin < 5


def test_an_empty_capture_has_ended_at_once(tmp_path: Path) -> None:
    path = tmp_path / "in.pcap"
    path.write_bytes(capture([]))
    with Nic(Pcap(f"{path},")) as nic:
        assert nic.device.beyond.ended is True
        assert receive_all(nic) == []


def test_neither_file() -> None:
    with Nic(plug_in("pcap:,", {})) as nic:
        nic.device.tx[0].send([numbered(1)])
        nic.step(2)
        assert nic.device.beyond.ended is None
        assert nic.device.statistics().tx_packets == 1


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ("x.pcap", "IN,OUT"),
        ("missing.pcap,", "no file missing.pcap"),
        ("folder,", "directory"),
        ("empty.pcap,", "empty"),
        ("text.pcap,", "not a capture"),
        ("good.pcap,good.pcap", "overwrite"),
        ("missing.pcap,good.pcap", "no file missing.pcap"),
        ("good.pcap,folder/x/y.pcap", "y.pcap"),
        (",out.txt", "out.txt"),
    ],
)
def test_files_that_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.pcap").write_bytes(b"")
    (tmp_path / "text.pcap").write_text("no capture, but a text of some length" * 10)
    (tmp_path / "good.pcap").write_bytes(capture([numbered(1)]))
    with pytest.raises(IxyError, match=words) as error:
        Pcap(files)
    assert "\n" not in str(error.value)
    assert (tmp_path / "good.pcap").read_bytes() == capture([numbered(1)])


def test_the_same_file_is_not_overwritten_under_another_name(tmp_path: Path) -> None:
    path = tmp_path / "in.pcap"
    path.write_bytes(capture([numbered(1)]))
    (tmp_path / "same.pcap").hardlink_to(path)
    with pytest.raises(IxyError, match="overwrite"):
        Pcap(f"{path},{tmp_path / 'same.pcap'}")
    assert path.read_bytes() == capture([numbered(1)])


def test_a_pace_that_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(IxyError, match="fast, real"):
        Pcap(",", pace="slow")


def test_a_disk_that_is_full_ends_in_an_error_that_names_it(tmp_path: Path) -> None:
    wire = Pcap(f",{tmp_path}/out.pcap")
    wire._writer._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    nic = Nic(wire, ring=1024, buffers=2300)
    nic.device.tx[0].send([numbered(i, 1514) for i in range(900)])
    nic.step(40)
    with pytest.raises(IxyError, match=r"out\.pcap"):
        nic.device.statistics()
    with pytest.raises(IxyError, match=r"out\.pcap"):
        nic.device.close()
