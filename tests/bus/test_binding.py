"""Taking a card and giving it back: the orders to the kernel, and when none is given."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_linux import CARD, FakeSysfs
from ixy.bus import binding, cards
from ixy.bus.binding import bind, burdens, is_open, unbind
from ixy.bus.cards import Card
from ixy.errors import IxyError

FOLDER = f"devices/{CARD}"


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSysfs:
    sysfs = FakeSysfs(tmp_path / "sys")
    monkeypatch.setattr(binding, "write", sysfs.write)
    monkeypatch.setattr(binding, "NOTES", tmp_path / "run")
    monkeypatch.setattr(cards, "VFIO", tmp_path / "dev")
    return sysfs


def test_to_vfio_and_back(sysfs: FakeSysfs) -> None:
    card = sysfs.add(group=7)
    assert bind(card) == card.driver == "vfio-pci"
    assert sysfs.orders == [
        (f"{FOLDER}/driver_override", "vfio-pci\n"),
        (f"{FOLDER}/driver/unbind", CARD),
        ("drivers_probe", CARD),
    ]
    sysfs.orders.clear()
    assert unbind(card) == card.driver == "ixgbe"
    assert sysfs.orders == [
        (f"{FOLDER}/driver_override", "ixgbe\n"),
        (f"{FOLDER}/driver/unbind", CARD),
        ("drivers_probe", CARD),
        (f"{FOLDER}/driver_override", "\n"),
    ]
    assert list(binding.NOTES.iterdir()) == []


def test_without_an_iommu_it_is_left_to_nobody(sysfs: FakeSysfs) -> None:
    card = sysfs.add()
    assert bind(card) == card.driver == "none"
    assert (card.path / "driver_override").read_text() == "none\n"
    assert ("drivers_probe", CARD) not in sysfs.orders
    assert unbind(card) == "ixgbe"


def test_the_old_driver_is_remembered_over_two_binds(sysfs: FakeSysfs) -> None:
    sysfs.load("ixgbe-of-the-vendor")
    card = sysfs.add(group=7, driver="ixgbe-of-the-vendor")
    bind(card, "none")
    bind(card, "vfio-pci")
    assert unbind(card) == "ixgbe-of-the-vendor"


def test_a_note_that_cannot_be_left_is_one_line(sysfs: FakeSysfs, monkeypatch, tmp_path) -> None:
    card = sysfs.add(group=7)
    (tmp_path / "file").touch()
    monkeypatch.setattr(binding, "NOTES", tmp_path / "file")
    with pytest.raises(IxyError, match=CARD):
        bind(card)
    assert card.driver == "ixgbe"
    assert sysfs.orders == []

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(IxyError, match=r"you may not take it from ixgbe: be root"):
        bind(card)


def test_after_a_reboot_the_kernel_chooses(sysfs: FakeSysfs) -> None:
    sysfs.load("ixgbe")
    card = sysfs.add(group=7, driver="vfio-pci")
    assert unbind(card) == "ixgbe"
    assert sysfs.orders[0] == (f"{FOLDER}/driver_override", "\n")


def test_a_driver_that_is_gone(sysfs: FakeSysfs) -> None:
    card = sysfs.add(group=7)
    bind(card)
    (sysfs.pci / "drivers" / "ixgbe").rmdir()
    with pytest.raises(IxyError, match="sudo modprobe ixgbe"):
        unbind(card)
    assert (card.path / "driver_override").read_text() == "\n"  # so modprobe takes the card


def test_nothing_to_do(sysfs: FakeSysfs) -> None:
    card = sysfs.add(group=7, driver="vfio-pci")
    assert bind(card) == "vfio-pci"
    assert sysfs.orders == []
    with pytest.raises(IxyError, match="ixgbe has it already"):
        unbind(sysfs.add("0000:04:00.0"))


def test_vfio_without_an_iommu_or_module(sysfs: FakeSysfs) -> None:
    with pytest.raises(IxyError, match=r"intel_iommu=on.*--driver none"):
        bind(sysfs.add(), "vfio-pci")
    card = sysfs.add("0000:04:00.0", group=7)
    (sysfs.pci / "drivers" / "vfio-pci").rmdir()
    with pytest.raises(IxyError, match="sudo modprobe vfio-pci"):
        bind(card)
    assert sysfs.orders == []


def test_a_card_that_is_open_is_left_alone(sysfs: FakeSysfs) -> None:
    card = sysfs.add(driver=None)
    with (card.path / "config").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_open(card)
        with pytest.raises(IxyError, match="another process"):
            unbind(card)
    assert not is_open(card)
    assert sysfs.orders == []


def test_a_card_in_use_is_taken_only_by_force(
    sysfs: FakeSysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = sysfs.add(group=7)
    monkeypatch.setattr(binding, "burdens", lambda card: iter(["eth0 has the address 10.0.0.2"]))
    with pytest.raises(IxyError, match=r"eth0 has the address 10\.0\.0\.2: with --force"):
        bind(card)
    assert sysfs.orders == []
    assert bind(card, force=True) == "vfio-pci"


def test_a_kernel_that_refuses(sysfs: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    card = sysfs.add(group=7)
    monkeypatch.setattr(binding, "write", lambda file, text: None)
    with pytest.raises(IxyError, match="vfio-pci did not take it"):
        bind(card)


def test_orders_that_cannot_be_given(tmp_path: Path) -> None:
    with pytest.raises(IxyError, match="Is a directory"):
        binding.write(tmp_path, "x")
    binding.write(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"


def test_without_iproute2_a_card_counts_as_used(
    sysfs: FakeSysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = sysfs.add()
    (card.path / "net" / "eth0").mkdir(parents=True)
    monkeypatch.setenv("PATH", "/nowhere")
    assert ["install iproute2" in burden for burden in burdens(card)] == [True]


@pytest.fixture
def namespace() -> Iterator[list[str]]:
    """A network namespace: what to put in front of a command."""
    name = f"ixy-binding-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield ["ip", "netns", "exec", name]
    subprocess.run(["ip", "netns", "del", name], check=True)


def burdens_in(namespace: list[str], card: Card, interface: str) -> list[str]:
    """What the namespace's Linux says of a card with this interface."""
    net = card.path / "net"
    net.mkdir(exist_ok=True)
    (net / interface).symlink_to(f"/sys/class/net/{interface}")
    code = "import sys; from pathlib import Path; from ixy.bus import binding, cards\n"
    code += "[print(burden) for burden in binding.burdens(cards.Card(Path(sys.argv[1])))]"
    command = [*namespace, sys.executable, "-c", code, str(card.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (net / interface).unlink()
    return done.stdout.split("\n")[:-1]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="be root: it makes a network namespace")
def test_what_linux_says_of_an_interface(namespace: list[str], sysfs: FakeSysfs) -> None:
    def ip(*words: str) -> None:
        subprocess.run([*namespace, "ip", *words], check=True)

    card = sysfs.add()
    for name in ("quiet", "used", "multi", "member"):
        ip("link", "add", name, "type", "veth", "peer", "name", f"{name}-far")
        ip("link", "set", name, "up")
        ip("link", "set", f"{name}-far", "up")
    assert burdens_in(namespace, card, "quiet") == []  # a link-local address and its routes
    ip("address", "add", "10.9.0.1/24", "dev", "used")
    ip("address", "add", "2001:db8::1/64", "dev", "used", "nodad")
    ip("route", "add", "default", "via", "10.9.0.2")
    ip("route", "add", "10.8.0.0/16", "nexthop", "dev", "multi", "nexthop", "dev", "used")
    ip("link", "add", "bridge", "type", "bridge")
    ip("link", "set", "member", "master", "bridge")
    found = burdens_in(namespace, card, "used")
    assert found[:2] == ["used has the address 10.9.0.1", "used has the address 2001:db8::1"]
    assert set(found[2:]) == {
        f"used carries the route to {to}" for to in ("default", "10.8.0.0/16")
    }
    assert burdens_in(namespace, card, "multi") == ["multi carries the route to 10.8.0.0/16"]
    assert burdens_in(namespace, card, "member") == ["member is part of bridge"]


CONNECT = """
import socket, sys
from pathlib import Path
from ixy.bus import binding, cards
server = socket.create_server(("10.9.0.1", 0))
client = socket.create_connection(server.getsockname())
accepted, peer = server.accept()
found = list(binding.burdens(cards.Card(Path(sys.argv[1]))))
wanted = f"used carries the connection with 10.9.0.1:{peer[1]}"
assert wanted in found, found
assert found[0] == "used has the address 10.9.0.1"
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="be root: it makes a network namespace")
def test_a_connection(namespace: list[str], sysfs: FakeSysfs) -> None:
    card = sysfs.add()
    (card.path / "net").mkdir()
    (card.path / "net" / "used").symlink_to("/sys/class/net/used")
    for words in (
        "link add used type veth", "link set used up", "link set lo up",
        "address add 10.9.0.1/24 dev used",
    ):  # fmt: skip
        subprocess.run([*namespace, "ip", *words.split()], check=True)
    command = [*namespace, sys.executable, "-c", CONNECT, str(card.path)]
    assert subprocess.run(command, check=False).returncode == 0
