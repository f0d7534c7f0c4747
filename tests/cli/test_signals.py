"""Ctrl-C and SIGTERM at fixed moments: a quick end, with the totals, and nothing left behind."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from command import REAL, is_one_line, keeps_to_schema, start_ixy, totals, write_pcap
from rig import numbered

pytestmark = pytest.mark.compiled
SIGNALS = [signal.SIGINT, signal.SIGTERM]
# Seconds from the signal to the end: three times what is promised (0.2, and 1 while the compiler
# runs), for a test must not fail because its machine has other work
QUICK, COMPILING = 0.6, 3.0
NAME = f"emu:cable:ixy-signals-{os.getpid()}"
TRIES = 3  # the machine may be busy at one moment; at three, it is ours who is slow

DEVICES = {
    "saturated": ("emu:source", "emu:source"),
    "queues": ("emu:source", "emu:source", "--queues", 4),
    "idle": (NAME, NAME),
    "one idle": (NAME, "emu:source"),
}


def caught(process: subprocess.Popen[str]) -> bool:
    """Whether the program has taken over SIGTERM."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    mask = next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1]
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


def await_handler(process: subprocess.Popen[str]) -> None:
    while not caught(process):
        time.sleep(0.0005)


def await_live_line(process: subprocess.Popen[str]) -> None:
    """It has been running for a second."""
    assert process.stderr
    assert "Mpps" in process.stderr.readline()


def end(
    process: subprocess.Popen[str], number: signal.Signals, seconds: float
) -> tuple[float, dict, str]:
    """Sends a signal; returns how long the end took, the totals, and what was said on stderr."""
    begin = time.monotonic()
    process.send_signal(number)
    try:
        process.wait(10)
        took = time.monotonic() - begin
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    finally:
        out, err = process.communicate()
    assert "Traceback" not in err
    assert out.count("\n") == 1, (out, err)
    return took, json.loads(out), err


def quickest(start: Callable[[], tuple[float, object]], limit: float) -> None:
    """The best of a few, each of which must end properly."""
    times = []
    while len(times) < TRIES:
        times.append(start())
        if times[-1] <= limit:
            return
    pytest.fail(f"from the signal to the end it took {times} s")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("delay", [0, 0.05, 0.15, 0.4])
def test_while_it_starts(number: signal.Signals, delay: float) -> None:
    """As soon as it has the signals in hand: during the imports, or while devices are opened."""

    def once() -> float:
        process = start_ixy("forward", *DEVICES["saturated"], "--json")
        await_handler(process)
        time.sleep(delay)
        took, found, _ = end(process, number, delay)
        assert process.returncode in (0, 128 + number)
        assert {"seconds", "ports", "forwarded", "mpps"} == set(found)
        assert [port["address"] for port in found["ports"]] == ["emu:source"] * 2
        return took

    quickest(once, QUICK)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("what", DEVICES)
def test_while_it_runs(number: signal.Signals, what: str) -> None:
    """A forwarder without an end has done what it was asked when it is stopped: exit code 0."""

    def once() -> float:
        other = [] if what != "one idle" else [start_ixy("capture", NAME, "/dev/shm/ixy-s.pcap")]
        process = start_ixy("forward", *DEVICES[what], "--json")
        try:
            await_live_line(process)
        finally:
            took, found, err = end(process, number, 0)
            for peer in other:
                peer.terminate()
                peer.communicate(timeout=10)
        assert process.returncode == 0, err
        a, b = found["ports"]
        for here, there in ((a, b), (b, a)):
            left = here["dropped"]["unsent"] + here["dropped"]["unread"]
            assert here["rx_packets"] - left - 4 * 512 <= there["tx_packets"] <= here["rx_packets"]
        assert (found["forwarded"] > 0) == ("emu:source" in DEVICES[what])
        return took

    try:
        quickest(once, QUICK)
    finally:
        Path("/dev/shm/ixy-s.pcap").unlink(missing_ok=True)


def test_other_apps_while_they_run(tmp_path: Path) -> None:
    file = write_pcap(tmp_path / "slow.pcap", [numbered(i) for i in range(100)], gap=10**8)
    for args in (
        ("generate", "emu:loopback"),
        ("generate", "emu:source", "--rate", 2),
        ("capture", "emu:loopback", tmp_path / "idle.pcap"),
        ("replay", file, "emu:loopback", "--speed", "1x"),
        ("forward", f"emu:pcap:{file},?pace=real", "emu:loopback"),
    ):

        def once(args: tuple[object, ...] = args) -> float:
            process = start_ixy(*args, "--json")
            await_live_line(process)
            took, found, _ = end(process, signal.SIGTERM, 0)
            assert found["seconds"] >= 1
            return took

        quickest(once, QUICK)


def test_a_saturated_capture_ends_with_totals_that_add_up(tmp_path: Path) -> None:
    def once() -> float:
        process = start_ixy("capture", "emu:source?size=1500", tmp_path / "x.pcap", "--json")
        await_live_line(process)
        took, found, _ = end(process, signal.SIGINT, 0)
        dropped = found["ports"][0]["dropped"]
        assert found["received"] == found["written"] + sum(dropped.values())
        assert (tmp_path / "x.pcap").stat().st_size == 24 + found["written"] * 1516
        return took

    quickest(once, QUICK)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_run_cut_short_has_not_done_what_it_was_asked(number: signal.Signals) -> None:
    process = start_ixy("generate", "emu:source", "--time", 60, "--json")
    await_live_line(process)
    end(process, number, 0)
    assert process.returncode == 128 + number


def test_latency_that_waits_for_a_link_prints_its_object() -> None:
    process = start_ixy("latency", f"emu:cable:signals-{os.getpid()}", "--time", 60, "--json")
    await_handler(process)
    time.sleep(2)  # it is being compiled, or has no link
    _, found, _ = end(process, signal.SIGINT, 0)
    keeps_to_schema("latency", found)
    assert process.returncode == 130


@pytest.mark.parametrize("delay", [0.7, 2.0, 4.0])
def test_while_it_is_being_compiled(tmp_path: Path, delay: float) -> None:
    def once() -> float:
        empty = tmp_path / str(time.monotonic_ns())
        process = start_ixy(
            "forward", *DEVICES["saturated"], "--json", XDG_CACHE_HOME=str(empty)
        )  # fmt: skip
        time.sleep(delay)
        return end(process, SIGNALS[int(delay) % 2], delay)[0]

    quickest(once, COMPILING)


def test_devices_that_run_are_stopped_while_others_are_opened(tmp_path: Path) -> None:
    """The second one waits for a back end that never comes."""
    path = tmp_path / "x.sock"
    waits = f"vhost-user:{path}?listen=1"
    process = start_ixy("forward", "emu:loopback", waits, "--json", IXY_TRACE="1")
    while not path.exists():
        time.sleep(0.01)
    time.sleep(0.5)
    _, _, trace = end(process, signal.SIGTERM, 0)
    assert process.returncode == 128 + signal.SIGTERM
    receiver = [line for line in trace.splitlines() if "RXCTRL <-" in line]
    assert receiver[-2:] == [
        "emu:loopback RXCTRL <- 0x00000001 RXEN",
        "emu:loopback RXCTRL <- 0x00000000",
    ]


@pytest.mark.parametrize("args", [("regs", "emu:loopback"), ("bench", "driver")])
def test_commands_without_packets_heed_signals_too(tmp_path: Path, args) -> None:
    process = start_ixy(*args, XDG_CACHE_HOME=str(tmp_path))
    await_handler(process)
    time.sleep(1.5)
    assert process.poll() is None, "nothing to stop: make it slower"
    begin = time.monotonic()
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    took = time.monotonic() - begin
    process.kill()
    process.communicate()
    assert took <= COMPILING


def seconds_of_a_run(wire: str) -> float:
    """How long a short run takes, from its process's start to its end."""
    begin = time.monotonic()
    assert totals("forward", wire, wire, "--time", 0.1)["ports"][0]["tx_packets"] == 0
    return time.monotonic() - begin


def test_a_second_start_works_at_once(tmp_path: Path) -> None:
    for _ in range(3):
        process = start_ixy("forward", NAME, NAME, "--json")
        await_live_line(process)
        end(process, signal.SIGTERM, 0)
        usual, took = (seconds_of_a_run(wire) for wire in ("emu:loopback", NAME))
        assert took < usual + 8  # and not after some time-out: a link's is 10 s
    name = NAME.removeprefix("emu:cable:")
    assert not Path(f"/dev/shm/ixy-cable-{os.getuid()}-{name}").exists()


def test_a_second_signal_changes_nothing() -> None:
    process = start_ixy("forward", *DEVICES["saturated"], "--json")
    await_live_line(process)
    process.send_signal(signal.SIGINT)
    took, found, _ = end(process, signal.SIGINT, 0)
    assert process.returncode == 0
    assert found["forwarded"] > 0
    assert took < 1


def test_killed_it_leaves_nothing_that_disturbs_the_next(tmp_path: Path) -> None:
    process = start_ixy("forward", NAME, NAME)
    await_live_line(process)
    process.kill()
    process.communicate()
    assert totals("forward", NAME, NAME, "--time", 0.1)["forwarded"] == 0
    process = start_ixy("replay", REAL, "emu:nope")
    assert is_one_line(process.communicate()[1])
