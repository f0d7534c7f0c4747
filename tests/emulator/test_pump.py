"""The pump between a wire and QEMU's socket, with the test in QEMU's place."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from command import read_pcap, write_pcap
from ixy.emulator.pump import Pump
from ixy.emulator.wire import plug_in
from rig import Bench, numbered, of_length


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Plugged:
    """A pump, and QEMU's end of it."""

    def __init__(self, wire) -> None:
        self.wire, self.pump = wire, Pump(wire)
        self.qemu = socket.socket(fileno=os.dup(self.pump.files[0]))
        self.qemu.settimeout(10)


@pytest.fixture
def bench() -> Iterator[Plugged]:
    plugged = Plugged(Bench(patient=True))
    wait_for(lambda: plugged.pump.settled)
    yield plugged
    plugged.qemu.close()
    plugged.pump.close()


def test_netdev_names_a_descriptor_of_its_own(bench: Plugged) -> None:
    [file] = bench.pump.files
    assert bench.pump.netdev == f"dgram,local.type=fd,local.str={file}"


def test_frames_pass_both_ways(bench: Plugged) -> None:
    bench.pump.begin()
    frames = [of_length(60 + i) for i in range(100)]
    assert bench.wire.arrive(*frames) == 100
    assert [bench.qemu.recv(20000) for _ in frames] == frames
    for frame in frames:
        bench.qemu.send(frame)
    got: list[bytes] = []
    wait_for(lambda: got.extend(bench.wire.sent()) or len(got) == 100)
    assert got == frames
    assert bench.pump.far_end() == {"wire_lost": 0}
    bench.pump.check()


def test_short_frames_are_padded(bench: Plugged) -> None:
    bench.pump.begin()
    bench.qemu.send(of_length(20))
    got: list[bytes] = []
    wait_for(lambda: got.extend(bench.wire.sent()) or got)
    assert got == [of_length(20).ljust(60, b"\0")]


def test_nothing_comes_before_the_device_is_ready(bench: Plugged) -> None:
    bench.wire.arrive(numbered(1))
    bench.qemu.settimeout(0.1)
    with pytest.raises(TimeoutError):
        bench.qemu.recv(2000)
    bench.pump.begin()
    bench.qemu.settimeout(10)
    assert bench.qemu.recv(2000) == numbered(1)


def test_what_the_wire_has_no_room_for_waits(bench: Plugged) -> None:
    bench.pump.begin()
    sent = 0
    bench.qemu.settimeout(0.2)
    with contextlib.suppress(TimeoutError):  # the wire takes no more, and the socket is full
        while sent < 10_000:
            bench.qemu.send(numbered(sent, 1500))
            sent += 1
    assert sent < 10_000
    got: list[bytes] = []
    wait_for(lambda: got.extend(bench.wire.sent()) or len(got) == sent)
    assert got == [numbered(i, 1500) for i in range(sent)]


def test_a_wire_without_patience_loses_and_counts() -> None:
    plugged = Plugged(Bench(patient=False))
    wait_for(lambda: plugged.pump.settled)
    plugged.pump.begin()
    for i in range(1000):
        plugged.qemu.send(numbered(i, 1500))
    got: list[bytes] = []
    wait_for(lambda: plugged.pump.far_end()["wire_lost"] > 0)
    plugged.qemu.close()
    plugged.pump._stopping = True
    plugged.pump._thread.join(30)
    got = plugged.wire.sent()
    assert len(got) + plugged.pump.far_end()["wire_lost"] == 1000
    assert got == [numbered(i, 1500) for i in range(len(got))]
    plugged.pump.close()


def test_files_come_to_their_end(tmp_path: Path) -> None:
    frames = [numbered(i) for i in range(50)]
    source, target = write_pcap(tmp_path / "in.pcap", frames), tmp_path / "out.pcap"
    plugged = Plugged(plug_in(f"pcap:{source},{target}", {}))
    plugged.pump.begin()
    assert plugged.pump.ended is False
    wait_for(lambda: plugged.wire.ended)
    assert plugged.pump.ended is False  # QEMU has not read it yet
    for frame in frames:
        assert plugged.qemu.recv(2000) == frame
    wait_for(lambda: plugged.pump.ended)
    for frame in frames[:7]:
        plugged.qemu.send(frame)
    plugged.pump.close()  # what was sent before arrives
    plugged.qemu.close()
    assert read_pcap(target) == frames[:7]


def test_a_wire_that_fails_is_named(tmp_path: Path) -> None:
    plugged = Plugged(Bench())

    def fail() -> None:
        raise OSError(28, "No space left on device")

    plugged.wire.service = fail
    wait_for(lambda: plugged.pump._failure)
    with pytest.raises(Exception, match=r"^the wire failed: OSError: .*No space left"):
        plugged.pump.check()
    plugged.qemu.close()
    plugged.pump.close()
