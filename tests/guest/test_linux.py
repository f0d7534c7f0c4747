"""Linux's own ixgbe driver judges the emulated 82599, with each kind of interrupt."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from guest.host import COMMAND, Host
from guest.machine import Guest, vfio_user

ONE_VECTOR = (sys.executable, str(Path(__file__).with_name("one_vector.py")))
GUEST, HOST = "10.83.7.2", "10.83.7.1"
# What the driver says when the device did not do what it waited for, or did it wrongly
SUSPICIOUS = re.compile(
    r"time[d-]?[ -]?out|stuck|could not|fail|error|invalid|not valid|unable|\bhang\b|\bhung\b"
    r"|not complete|did not|never|warning|call trace|nobody cared|pre-production",
    re.IGNORECASE,
)
MEGABYTES = 100


@dataclass(frozen=True)
class Mode:
    """A kind of interrupt: how Linux is brought to use it, and its name in /proc/interrupts."""

    name: str
    listed: str
    command: tuple[str, ...] = COMMAND
    append: str = ""
    allowed: str = "(?!)"  # what the kernel may say then


MODES = [
    Mode("msix", r"PCI-MSIX.*eth0-TxRx-0"),
    Mode("msi", r"PCI-MSI-.*eth0", command=ONE_VECTOR, allowed="Failed to allocate MSI-X"),
    Mode("intx", r"IO-APIC.*eth0", append="pci=nomsi", allowed="Failed to allocate MSI"),
]


@dataclass(frozen=True)
class Pair:
    """A guest whose eth0 is an emulated 82599, and the host at the other end of its wire."""

    guest: Guest
    host: Host
    mode: Mode


@pytest.fixture(scope="module", params=MODES, ids=lambda mode: mode.name)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    mode: Mode = request.param
    with Host() as host:
        socket = host.tap("nic", command=mode.command)
        host.run("ip", "addr", "add", f"{HOST}/24", "dev", "nic")
        host.run("ip", "link", "set", "nic", "up")
        with Guest(vfio_user(socket), append=mode.append) as guest:
            both = Pair(guest, host, mode)
            load(both)
            yield both


def load(pair: Pair) -> None:
    """Loads the driver, which is to say all it has to say, and waits for the link."""
    pair.guest.check("modprobe ixgbe dyndbg=+p", timeout=60)
    pair.guest.check(f"ip addr add {GUEST}/24 dev eth0 && ip link set eth0 up", timeout=60)
    wait_for_link(pair)


def wait_for_link(pair: Pair) -> None:
    pair.guest.wait_for("grep -q 1 /sys/class/net/eth0/carrier")


def ping(pair: Pair, count: int = 100, size: int = 56) -> None:
    out = pair.host.run("ping", "-A", "-c", count, "-s", size, "-M", "do", GUEST)
    assert f" {count} received" in out


def counted(pair: Pair) -> dict[str, int]:
    """The driver's statistics."""
    lines = pair.guest.check("ethtool -S eth0").splitlines()[1:]
    return {name.strip(): int(value) for name, value in (line.split(":") for line in lines)}


def test_it_probes_and_has_its_kind_of_interrupt(pair: Pair) -> None:
    assert re.search(pair.mode.listed, pair.guest.check("cat /proc/interrupts"))
    assert "driver: ixgbe" in pair.guest.check("ethtool -i eth0")


def test_the_link_is_up_with_10_gbit(pair: Pair) -> None:
    settings = pair.guest.check("ethtool eth0")
    assert "Speed: 10000Mb/s" in settings
    assert "Link detected: yes" in settings


def test_pings(pair: Pair) -> None:
    before = counted(pair)
    ping(pair, count=200)
    after = counted(pair)
    assert after["rx_packets"] - before["rx_packets"] >= 200
    assert after["tx_packets"] - before["tx_packets"] >= 200


def test_its_self_test_passes_five_times(pair: Pair) -> None:
    for _ in range(5):
        out = pair.guest.check("ethtool -t eth0 offline", timeout=60)
        assert "The test result is PASS" in out
        found = dict(re.findall(r"(\w+) +test +\((?:offline|on/offline)\)\s+(\d+)", out))
        assert found == dict.fromkeys(("Register", "Eeprom", "Interrupt", "Loopback", "Link"), "0")
    wait_for_link(pair)
    ping(pair)


def test_the_link_follows_the_wire(pair: Pair) -> None:
    """Each change is an interrupt: the driver's own look, every two seconds, would not be seen."""
    for _ in range(3):
        pair.host.run("ip", "link", "set", "nic", "down")
        pair.guest.wait_for("grep -q 0 /sys/class/net/eth0/carrier")
        pair.host.run("ip", "link", "set", "nic", "up")
        wait_for_link(pair)
    ping(pair)


def test_the_interface_goes_down_and_up(pair: Pair) -> None:
    for _ in range(5):
        pair.guest.check("ip link set eth0 down && ip link set eth0 up")
        wait_for_link(pair)
    ping(pair)


@pytest.fixture
def jumbo(pair: Pair) -> Iterator[Pair]:
    """Frames of 9000 bytes, for one test."""
    for mtu in (9000, 1500):
        pair.host.run("ip", "link", "set", "nic", "mtu", mtu)
        pair.guest.check(f"ip link set eth0 mtu {mtu}")
        wait_for_link(pair)
        if mtu == 9000:
            yield pair


@pytest.mark.parametrize("size", [1473, 4000, 8972])
def test_jumbo_pings(jumbo: Pair, size: int) -> None:
    ping(jumbo, size=size)


DOWNLOAD = "curl -gsSf --retry 20 --retry-connrefused --retry-delay 1 http://{}:8083/file"


def test_the_guest_sends_a_file(pair: Pair) -> None:
    """Its TCP hands over up to 64 kB at a time, unchecksummed: the card cuts and checksums."""
    features = pair.guest.check("ethtool -k eth0")
    assert "tcp-segmentation-offload: on" in features
    assert "tx-checksumming: on" in features
    pair.guest.check(f"head -c {MEGABYTES}M /dev/urandom >/run/file")
    pair.guest.check("busybox httpd -p 8083 -h /run")
    curl = pair.host.inside("bash", "-c", f"{DOWNLOAD.format(GUEST)} | sha256sum")
    got = subprocess.run(curl, capture_output=True, text=True, timeout=120, check=True).stdout
    assert got.split()[0] == pair.guest.check("sha256sum /run/file").split()[0]


def test_the_guest_receives_a_file(pair: Pair, tmp_path: Path) -> None:
    assert "rx-checksumming: on" in pair.guest.check("ethtool -k eth0")
    data = os.urandom(MEGABYTES << 20)
    (tmp_path / "file").write_bytes(data)
    server = pair.host.start(sys.executable, "-m", "http.server", "8083", "-d", tmp_path)
    try:
        got = pair.guest.check(f"{DOWNLOAD.format(HOST)} | sha256sum", timeout=120)
    finally:
        server.kill()
        server.wait()
    assert got.split()[0] == hashlib.sha256(data).hexdigest()
    assert counted(pair)["rx_csum_offload_errors"] == 0


def test_the_driver_is_unloaded_and_loaded_again(pair: Pair) -> None:
    for _ in range(2):
        pair.guest.check("rmmod ixgbe", timeout=60)
        load(pair)
        ping(pair)


def test_the_kernel_has_nothing_to_complain_of(pair: Pair) -> None:
    """The last test of a guest: the driver has said all it does, `dyndbg=+p`, since it probed."""
    said = pair.guest.check("dmesg").splitlines()
    begin = next(i for i, line in enumerate(said) if "ixgbe: Intel" in line)
    assert any("NIC Link is Up 10 Gbps" in line for line in said)
    assert any("Clearing MTA" in line for line in said), "no debug messages"
    complaints = [line for line in said[begin:] if SUSPICIOUS.search(line)]
    assert [line for line in complaints if not re.search(pair.mode.allowed, line)] == []
