"""The emulator in a process of its own, and who connects to it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from command import many, start_ixy
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
