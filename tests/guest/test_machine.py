"""The machinery itself: what a command prints and returns comes back, and nothing hangs."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guest.machine import Guest, GuestError


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory, our_disk: Path) -> Iterator[Guest]:
    file = tmp_path_factory.mktemp("shared") / "hello"
    file.write_text("from the host")
    with Guest(files=[file], disk=our_disk) as machine:
        yield machine


def test_output_and_exit_code_come_back(guest: Guest) -> None:
    result = guest.run("cat /share/hello; echo and from stderr >&2; exit 7")
    assert (result.output, result.code) == ("from the hostand from stderr\n", 7)


def test_long_output_is_whole(guest: Guest) -> None:
    assert guest.check("seq 100000") == "".join(f"{i}\n" for i in range(1, 100001))


def test_a_command_that_hangs_is_ended_and_the_next_one_runs(guest: Guest) -> None:
    begin = time.monotonic()
    assert guest.run("trap '' TERM; while :; do sleep 1; done", timeout=1).code in {124, 137}
    assert time.monotonic() - begin < 15
    assert guest.check("echo still here") == "still here\n"


def test_a_failure_is_reported_with_its_output(guest: Guest) -> None:
    with pytest.raises(GuestError, match="No such file"):
        guest.check("cat /nothing")


def test_our_wheel_runs(guest: Guest) -> None:
    out = guest.check("ixy generate emu:loopback --count 100 --json", timeout=120)
    assert '"tx_packets": 100' in out


def test_a_dead_guest_is_reported_with_its_last_words_and_leaves_nothing() -> None:
    with Guest(memory=256) as machine:
        folder, process = machine.folder, machine.process
        with pytest.raises(GuestError, match=r"(?s)QEMU has ended.*panic.*sysrq"):
            machine.run("echo c >/proc/sysrq-trigger")
    assert not folder.exists()
    assert not os.path.exists(f"/proc/{process.pid}")
