"""The emulator in a process of its own, and who connects to it."""

import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from command import (
    REAL,
    is_one_line,
    keeps_to_schema,
    many,
    on_the_wire,
    read_pcap,
    run_ixy,
    start_ixy,
    totals,
    write_pcap,
)  # fmt: skip
from rig import numbered, tagged
from vfio_client import QEMU, Client
from vfio_fuzz import SIZE, Fuzzer


class Emulator:
    """`ixy emulate`, ready for a client."""

    def __init__(self, path: Path, wire: str, *options: str) -> None:
        self.path = path
        self.process = start_ixy("emulate", "--vfio-user", path, "--wire", wire, *options)
        assert self.process.stderr
        self.first_line = self.process.stderr.readline()
        assert "ready" in self.first_line, self.first_line

    def stop(self) -> tuple[int, str, str]:
        """Exit code, standard output, and what came on the other one."""
        self.process.terminate()
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@pytest.fixture
def emulate(tmp_path: Path) -> Iterator[Callable[..., Emulator]]:
    """Starts emulators; those that still run at the end are stopped, and must stop well."""
    started: list[Emulator] = []

    def start(wire: str = "loopback", *options: str) -> Emulator:
        started.append(Emulator(tmp_path / f"{len(started)}.sock", wire, *options))
        return started[-1]

    yield start
    for emulator in started:
        if emulator.process.poll() is None:
            code, _, err = emulator.stop()
            assert code == 0, err
            assert not emulator.path.exists()
        emulator.process.stdout.close()
        emulator.process.stderr.close()


def test_the_server_lives_through_garbage(emulate) -> None:
    emulator = emulate("source")
    fuzzer = Fuzzer(str(emulator.path), 1)
    fuzzer.run(count := many(100_000, 3_000))
    assert fuzzer.connections >= 3
    assert fuzzer.answered > count * 16 / 2
    assert any(fuzzer.mapped[0x2000:0x3000])  # it was a device at work that got the garbage
    assert fuzzer.unmapped == bytes(2 * SIZE)
    fuzzer.close()
    client = Client(emulator.path, QEMU)
    assert client.read(0, 4, region=7) == 0x10FB8086
    assert client.read(8) == 0x80000
    client.close()


# Our own driver in another process


def mixed(count: int) -> list[bytes]:
    """Frames of all lengths, all different."""
    rng = random.Random(7)
    frames = []
    for i in range(count):
        length = rng.choice([rng.randint(14, 80), 60, rng.randint(60, 1514), 1514])
        frames.append(numbered(i, length)[:length] if i % 5 else tagged(numbered(i, length)))
    return frames


@pytest.mark.parametrize("options", ["?ring=64", "?queues=4"])
def test_all_frames_are_forwarded_byte_for_byte(tmp_path: Path, emulate, options: str) -> None:
    """The end of the input ends the run, as it does with the emulator in the same process."""
    frames = mixed(many(20_000, 200))
    a = emulate(f"pcap:{write_pcap(tmp_path / 'in.pcap', frames)},")
    b = emulate(f"pcap:,{tmp_path / 'out.pcap'}")
    ports = f"vfio-user:{a.path}{options}", f"vfio-user:{b.path}{options}"
    found = totals("forward", *ports, "--one-way", timeout=60)
    assert found["forwarded"] == found["ports"][1]["tx_packets"] == len(on_the_wire(frames))
    assert found["ports"][0]["dropped"]["rx_oversize"] == len(frames) - len(on_the_wire(frames))
    assert b.stop()[0] == 0
    assert read_pcap(tmp_path / "out.pcap") == on_the_wire(frames)


def test_both_ways_and_one_client_after_the_other(tmp_path: Path, emulate) -> None:
    """The second run brings nothing more: its input is used up."""
    frames = read_pcap(REAL)
    a = emulate(f"pcap:{REAL},{tmp_path / 'left.pcap'}")
    b = emulate(f"pcap:{REAL},{tmp_path / 'right.pcap'}")
    ports = f"vfio-user:{a.path}", f"vfio-user:{b.path}"
    assert totals("forward", *ports)["forwarded"] == 2 * len(frames)
    assert totals("forward", *ports)["forwarded"] == 0
    for emulator, name in ((a, "left.pcap"), (b, "right.pcap")):
        code, out, _ = emulator.stop()
        assert (code, out) == (0, "served 2 clients\n")
        assert read_pcap(tmp_path / name) == on_the_wire(frames)


def test_what_the_far_end_loses_is_reported(tmp_path: Path, emulate) -> None:
    """A frame that no wire carries, and a file that is cut off."""
    data = write_pcap(tmp_path / "in.pcap", [bytes(20_000), numbered(1)]).read_bytes()
    (tmp_path / "in.pcap").write_bytes(data[:-5])
    a = emulate(f"pcap:{tmp_path / 'in.pcap'},")
    b = emulate("loopback")
    done = run_ixy("forward", f"vfio-user:{a.path}", f"vfio-user:{b.path}", "--one-way", "--json")
    assert done.returncode == 1
    assert "in.pcap" in done.stderr
    assert json.loads(done.stdout)["ports"][0]["dropped"]["wire_too_long"] == 1


@pytest.mark.parametrize("app", [["forward"], ["generate"]])
def test_a_killed_emulator_ends_the_driver_with_its_name(emulate, app: list[str]) -> None:
    ports = [f"vfio-user:{emulate('source').path}"]
    doomed = emulate("source")
    ports = [f"vfio-user:{doomed.path}", *ports][: 2 if app == ["forward"] else 1]
    driver = start_ixy(*app, *ports)
    assert driver.stderr
    driver.stderr.readline()  # it runs for a second by now
    doomed.process.kill()
    doomed.process.wait()
    begin = time.monotonic()
    _, err = driver.communicate(timeout=30)
    assert time.monotonic() - begin < 1 + many(0, 2)
    assert driver.returncode == 1
    last = err.splitlines(keepends=True)[-1]
    assert is_one_line(last)
    assert last.startswith(f"ixy: {ports[0]}: the device has gone: ")


def test_a_killed_driver_leaves_the_emulator_to_the_next_one(emulate) -> None:
    a, b = emulate("source"), emulate("source?verify=1")
    ports = f"vfio-user:{a.path}", f"vfio-user:{b.path}"
    for _ in range(many(3, 1)):
        driver = start_ixy("forward", *ports)
        assert driver.stderr
        driver.stderr.readline()
        driver.kill()
        driver.communicate()
        client = Client(a.path, QEMU)  # finds it as after a reset, whatever was under way
        assert client.read(4, 2, region=7) & 4 == 0
        assert client.read(0x3000) & 1 == client.read(0x4A80) & 1 == client.read(0x1028) >> 25 == 0
        client.close()
    found = totals("forward", *ports, "--count", many(100_000, 500))
    assert found["forwarded"] == many(100_000, 500)
    for emulator in (a, b):
        assert emulator.process.poll() is None


# The command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_emulator(emulate, number: int) -> None:
    emulator = emulate("source", "--json", "--model", "x540", "--mac", "02:00:00:00:00:77")
    client = Client(emulator.path, QEMU)
    assert client.read(2, 2, region=7) == 0x1528
    assert client.read(0x5400) == 0x00000002
    begin = time.monotonic()
    emulator.process.send_signal(number)
    out, _ = emulator.process.communicate(timeout=10)
    assert time.monotonic() - begin < 1
    assert emulator.process.returncode == 0
    keeps_to_schema("emulate", json.loads(out))
    assert json.loads(out) == {"clients": 1, "dropped": {}}
    assert not emulator.path.exists()
    client.close()


def test_a_socket_in_use_is_refused(emulate) -> None:
    emulator = emulate()
    done = run_ixy("emulate", "--vfio-user", emulator.path)
    assert done.returncode == 1
    words = f"ixy: {emulator.path}: another server serves it: choose another path\n"
    assert done.stderr == words
    assert Client(emulator.path, QEMU).read(8) == 0x80000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--wire", "rope"], "unknown wire"),
        (["--model", "e1000"], "unknown model"),
        (["--mac", "01:00:00:00:00:00"], "no address of a single station"),
        (["--wire", "source?colour=red"], "no option colour"),
    ],
)
def test_what_cannot_be_emulated(tmp_path: Path, options: list[str], words: str) -> None:
    done = run_ixy("emulate", "--vfio-user", tmp_path / "s", *options)
    assert done.returncode == 1
    assert is_one_line(done.stderr)
    assert words in done.stderr
    assert not (tmp_path / "s").exists()
