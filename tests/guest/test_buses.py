"""Our command on cards in a slot: emulated 82599s in a guest, through sysfs and through VFIO."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from command import on_the_wire, read_pcap, write_pcap
from guest.machine import IOMMU, Guest, vfio_user
from rig import of_length

A, B, C, D = (f"0000:00:{slot:02x}.0" for slot in range(4, 8))
SLOW = 180.0  # seconds: an emulated processor imports NumPy and Numba
FRAMES = [of_length(60 + 7 * i % 1455) for i in range(300)]
USER = "setpriv --reuid 1000 --regid 1000 --clear-groups"
AS_USER = f"prlimit --memlock=unlimited {USER}"


class Servers:
    """Emulated cards, each a process. Leaving its `with` ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, list[subprocess.Popen[bytes]]()

    def start(self, wire: str) -> Path:
        """A card with a wire in its port; returns its socket."""
        number = len(self.processes)
        socket, log = self.folder / f"{number}.sock", self.folder / f"{number}.log"
        command = [sys.executable, "-m", "ixy", "emulate", "--vfio-user", socket, "--wire", wire]
        with log.open("wb") as output:
            self.processes.append(subprocess.Popen(command, stdout=output, stderr=output))
        deadline = time.monotonic() + 90
        while "ready" not in log.read_text():
            assert self.processes[-1].poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        return socket

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(20)


class Machine:
    """A guest with four cards: what A receives comes from a file, what B sends goes to one; C and D
    are joined. `user` is what goes in front of a command.
    """

    def __init__(self, guest: Guest, bus: str, written: Path) -> None:
        self.guest, self.bus, self.written = guest, bus, written
        self.user = AS_USER if bus == "vfio" else ""


def start_machine(bus: str, folder: Path, disk: Path) -> Iterator[Machine]:
    source, written = write_pcap(folder / "in.pcap", FRAMES), folder / "out.pcap"
    cable = f"cable:guest-{os.getpid()}-{bus}"
    with Servers(folder) as servers:
        devices = list(IOMMU) if bus == "vfio" else []
        for slot, wire in enumerate([f"pcap:{source},", f"pcap:,{written}", cable, cable], 4):
            devices += vfio_user(servers.start(wire), slot)
        iommu = {"machine": "q35,kernel-irqchip=split", "append": "intel_iommu=on"}
        settings: dict[str, Any] = iommu if bus == "vfio" else {}
        files = [Path(__file__).parent / "fault.py"]
        with Guest(devices, memory=1024, cpus=2, files=files, disk=disk, **settings) as guest:
            guest.check("chmod -R a+rwX /ixy/cache; echo 80 > /proc/sys/vm/nr_hugepages")
            yield Machine(guest, bus, written)


@pytest.fixture(scope="module", params=["sysfs", "vfio"])
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, our_disk: Path
) -> Iterator[Machine]:
    yield from start_machine(request.param, tmp_path_factory.mktemp(request.param), our_disk)


def test_the_cards_are_made_ready(machine: Machine) -> None:
    guest = machine.guest
    if machine.bus == "sysfs":  # they have no driver: nothing is to be done
        found = json.loads(guest.check("ixy devices --json", timeout=SLOW))["devices"][:4]
        assert [card["address"] for card in found] == [A, B, C, D]
        assert {(card["model"], card["driver"]) for card in found} == {("82599", "none")}
        assert found[0]["todo"] == f"open it as root: sudo ixy regs {A}"
        return
    refused = guest.run(f"ixy bind {A}", timeout=SLOW)
    assert (refused.code, "sudo modprobe vfio-pci" in refused.output) == (1, True)
    guest.check("modprobe vfio-pci")
    out = guest.check(f"ixy bind {A}", timeout=SLOW)
    assert out == f"{A}: none -> vfio-pci; next: open it: ixy regs {A}\n"
    for card in (B, C, D):  # the same, sooner
        guest.check(f"echo vfio-pci > /sys/bus/pci/devices/{card}/driver_override")
        guest.check(f"echo {card} > /sys/bus/pci/drivers_probe")


def test_who_may_not_is_told_what_to_do(machine: Machine) -> None:
    refused = machine.guest.run(f"{USER} ixy regs {A}", timeout=SLOW)
    if machine.bus == "sysfs":
        assert (refused.code, "config: be root" in refused.output) == (1, True)
        return
    assert (refused.code, "sudo chown $USER /dev/vfio/" in refused.output) == (1, True)
    machine.guest.check("chown 1000 /dev/vfio/[0-9]*")
    refused = machine.guest.run(f"{USER} ixy regs {A}", timeout=SLOW)
    assert (refused.code, "sudo prlimit --memlock" in refused.output) == (1, True)


def test_a_dma_to_unmapped_memory_is_stopped_and_reported(machine: Machine) -> None:
    out = machine.guest.check(f"python3 /share/fault.py {B}", timeout=SLOW)
    assert out.startswith(f"{B}: DMA fault")


def test_forward(machine: Machine) -> None:
    count = len(FRAMES)
    out = machine.guest.check(
        f"{machine.user} ixy forward {A} {B} --one-way --count {count} --json 2>/dev/null",
        timeout=SLOW,
    )
    found = json.loads(out)
    assert found["forwarded"] == count
    assert [port["address"] for port in found["ports"]] == [A, B]
    deadline = time.monotonic() + 5  # B's server writes on
    while len(read_pcap(machine.written)) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    assert read_pcap(machine.written) == on_the_wire(FRAMES)


def test_generate_and_capture(machine: Machine) -> None:
    how = "--interrupts" if machine.bus == "vfio" else ""
    capture = f"{machine.user} ixy capture {D} /tmp/c.pcap {how} --count 500 --json"
    out = machine.guest.check(
        f"{capture} >/tmp/json 2>/dev/null &"
        f" {machine.user} ixy generate {C} --count 500 --rate 500 --json 2>/dev/null;"
        " wait; cat /tmp/json",
        timeout=SLOW,
    )
    sent, captured = map(json.loads, out.splitlines())
    assert sent["ports"][0]["tx_packets"] == captured["written"] == 500
    assert machine.guest.check("stat --format %s /tmp/c.pcap") == f"{24 + 500 * (16 + 60)}\n"


def test_a_card_is_taken_from_linux_and_given_back(machine: Machine) -> None:
    guest, folder = machine.guest, f"/sys/bus/pci/devices/{D}"
    guest.check("modprobe ixgbe", timeout=SLOW)
    if machine.bus == "vfio":  # the kernel's driver takes only what nobody has
        guest.check(f"ixy unbind {D}", timeout=SLOW)
    name = guest.wait_for(f"ls {folder}/net").strip()
    guest.check(f"ip address add 10.7.0.1/24 dev {name}; ip link set {name} up")
    refused = guest.run(f"ixy bind {D}", timeout=SLOW)
    assert refused.code == 1
    assert f"{name} has the address 10.7.0.1: with --force" in refused.output
    taken = "vfio-pci" if machine.bus == "vfio" else "none"
    out = guest.check(f"ixy bind {D} --force", timeout=SLOW)
    assert out.startswith(f"{D}: ixgbe -> {taken}; next: open it")
    assert guest.run(f"ls {folder}/net").code != 0
    out = guest.check(f"ixy unbind {D}", timeout=SLOW)
    assert out.startswith(f"{D}: {taken} -> ixgbe")
    guest.wait_for(f"ls {folder}/net")
