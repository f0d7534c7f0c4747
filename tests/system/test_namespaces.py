"""Linux on either side: two network namespaces joined by nothing but `ixy forward`."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from command import start_ixy

TOOLS = ("ip", "ping", "iperf3", "curl")
missing = [tool for tool in TOOLS if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.root,
    pytest.mark.compiled,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for network namespaces"),
    pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}"),
]
FILE_SIZE = int(os.environ.get("IXY_TEST_MEGABYTES", "10")) << 20
IPERF_SECONDS = os.environ.get("IXY_TEST_IPERF_SECONDS", "2")
V4, V6 = "10.83.99.{}", "fd83:99::{}"


def shell(*args: object, timeout: float = 60) -> str:
    done = subprocess.run(
        [str(arg) for arg in args], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, (args, done.stdout, done.stderr)
    return done.stdout


def inside(side: int, *args: object) -> list[str]:
    """A command in one of the namespaces."""
    return ["ip", "netns", "exec", f"ixy{os.getpid()}{'ab'[side]}", *map(str, args)]


@pytest.fixture(scope="module")
def joined() -> Iterator[subprocess.Popen[str]]:
    """Both namespaces with addresses, and the forwarder between them."""
    names = [f"ixy{os.getpid()}{letter}" for letter in "ab"]  # at most 15 characters
    forwarder = start_ixy("forward", *(f"emu:tap:{name}" for name in names), "--json")
    try:
        deadline = time.monotonic() + 60
        while not all(Path("/sys/class/net", name).exists() for name in names):
            assert forwarder.poll() is None, forwarder.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert forwarder.stderr
        assert "Mpps" in forwarder.stderr.readline()  # it runs
        for side, name in enumerate(names):
            shell("ip", "netns", "add", name)
            shell("ip", "link", "set", name, "netns", name)
            shell(*inside(side, "ip", "link", "set", "lo", "up"))
            shell(*inside(side, "ip", "addr", "add", V4.format(side + 1) + "/24", "dev", name))
            address = V6.format(side + 1) + "/64"
            shell(*inside(side, "ip", "addr", "add", address, "dev", name, "nodad"))
            shell(*inside(side, "ip", "link", "set", name, "up"))
        shell(*inside(0, "ping", "-c", 1, "-w", 10, V4.format(2)))
        yield forwarder
    finally:
        if forwarder.poll() is None:
            forwarder.terminate()
        try:
            out, err = forwarder.communicate(timeout=10)
        finally:
            for name in names:
                subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
    assert forwarder.returncode == 0, err
    ports = json.loads(out)["ports"]
    assert all(port["rx_packets"] > 10_000 for port in ports)
    for port in ports:  # what the kernel says to a TAP that is on its way to a namespace is lost
        assert port["dropped"].pop("wire_lost") < 10
        assert sum(port["dropped"].values()) == 0
    listed = shell("ip", "link", "show")
    assert not any(name in listed for name in names)


@pytest.mark.usefixtures("joined")
def test_no_ping_of_a_flood_is_lost() -> None:
    out = shell(*inside(0, "ping", "-f", "-q", "-c", 10_000, V4.format(2)))
    assert "10000 packets transmitted, 10000 received, 0% packet loss" in out


@pytest.mark.usefixtures("joined")
@pytest.mark.parametrize("size", [0, 18, 56, 1472])
def test_pings_of_all_sizes(size: int) -> None:
    out = shell(*inside(1, "ping", "-i", 0.01, "-c", 20, "-s", size, "-M", "do", V4.format(1)))
    assert " 20 received" in out


@pytest.mark.usefixtures("joined")
def test_a_fragmented_ping() -> None:
    out = shell(*inside(0, "ping", "-i", 0.01, "-c", 20, "-s", 20_000, V4.format(2)))
    assert " 20 received" in out


@pytest.mark.usefixtures("joined")
def test_ping6() -> None:
    out = shell(*inside(0, "ping", "-6", "-i", 0.01, "-c", 100, V6.format(2)))
    assert " 100 received, 0% packet loss" in out


@pytest.mark.usefixtures("joined")
def test_a_ping_is_answered_soon() -> None:
    """Promised is a median under 1 ms; a busy machine gets more."""
    out = shell(*inside(0, "ping", "-i", 0.005, "-c", 201, V4.format(2)))
    times = sorted(float(line.split("time=")[1].split()[0]) for line in out.splitlines()
                   if "time=" in line)  # fmt: skip
    print(f"median {times[len(times) // 2]} ms, longest {times[-1]} ms")
    assert times[len(times) // 2] < 5


@pytest.mark.usefixtures("joined")
@pytest.mark.parametrize("reverse", [[], ["-R"]])
def test_tcp_by_iperf3(reverse: list[str]) -> None:
    args = inside(1, "iperf3", "-s", "-1", "-B", V4.format(2))
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            time.sleep(0.5)
            args = inside(0, "iperf3", "-c", V4.format(2), "-t", IPERF_SECONDS, "-J", *reverse)
            found = json.loads(shell(*args, timeout=30 + float(IPERF_SECONDS)))
        finally:
            server.terminate()
    speed = found["end"]["sum_received"]["bits_per_second"]
    print(f"{speed / 1e6:.0f} Mbit/s, {found['end']['sum_sent'].get('retransmits')} retransmits")
    assert speed > 1e6


@pytest.mark.usefixtures("joined")
@pytest.mark.parametrize("host", [V4.format(2), f"[{V6.format(2)}]"])
def test_a_file_by_http_is_the_same_file(tmp_path: Path, host: str) -> None:
    served = tmp_path / "served"
    served.mkdir()
    data = os.urandom(1 << 20) * (FILE_SIZE >> 20)
    (served / "file").write_bytes(data)
    args = [sys.executable, "-m", "http.server", "8083", "--bind", "::", "-d", served]
    with subprocess.Popen(
        inside(1, *args), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            url, got = f"http://{host}:8083/file", tmp_path / "got"
            begin = time.monotonic()
            retry = ["--retry", 20, "--retry-connrefused", "--retry-delay", 1]
            shell(*inside(0, "curl", "-gsSf", *retry, "-o", got, url), timeout=250)
            print(f"{FILE_SIZE >> 20} MiB in {time.monotonic() - begin:.2f} s")
        finally:
            server.terminate()
    assert hashlib.sha256(got.read_bytes()).digest() == hashlib.sha256(data).digest()
