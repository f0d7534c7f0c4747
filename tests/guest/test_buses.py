"""Our command on cards in a slot: emulated 82599s in a guest, through sysfs and through VFIO."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from command import on_the_wire, read_pcap, write_pcap
from guest.machine import IOMMU, Guest, vfio_user
from rig import of_length

A, B, C, D = (f"0000:00:{slot:02x}.0" for slot in range(4, 8))
FRAMES = [of_length(60 + 7 * i % 1455) for i in range(300)]
USER = "setpriv --reuid 1000 --regid 1000 --clear-groups"
WITHOUT_LIMIT = f"prlimit --memlock=unlimited {USER}"


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
    """A guest with four cards: what A is sent comes from a file, B's goes to one; C and D are
    joined.
    """

    def __init__(self, guest: Guest, written: Path) -> None:
        self.guest, self.written = guest, written


def start_machine(bus: str, folder: Path, disk: Path) -> Iterator[Machine]:
    source = write_pcap(folder / "in.pcap", FRAMES)
    written = folder / "out.pcap"
    cable = f"cable:guest-{os.getpid()}-{bus}"
    files = [Path(__file__).parent / "fault.py"]
    with Servers(folder) as servers:
        wires = f"pcap:{source},", f"pcap:,{written}", cable, cable
        cards = [vfio_user(servers.start(wire), slot) for slot, wire in enumerate(wires, 4)]
        iommu = {"machine": "q35,kernel-irqchip=split", "append": "intel_iommu=on"}
        settings = iommu if bus == "vfio" else {}
        devices = [*(IOMMU if bus == "vfio" else []), *(word for card in cards for word in card)]
        with Guest(devices, memory=1024, cpus=2, files=files, disk=disk, **settings) as guest:
            guest.check("chmod -R a+rwX /ixy/cache; echo 64 > /proc/sys/vm/nr_hugepages")
            if bus == "vfio":
                guest.check("modprobe vfio-pci")
                for card in (A, B, C, D):
                    guest.check(f"ixy bind {card}", timeout=60)
            yield Machine(guest, written)


@pytest.fixture(scope="module", params=["sysfs", "vfio"])
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, our_disk: Path
) -> Iterator[Machine]:
    yield from start_machine(request.param, tmp_path_factory.mktemp(request.param), our_disk)


def test_forward(machine: Machine) -> None:
    count = len(FRAMES)
    out = machine.guest.check(
        f"ixy forward {A} {B} --one-way --count {count} --json 2>/dev/null", timeout=120
    )
    found = json.loads(out)
    assert found["forwarded"] == count
    assert [port["address"] for port in found["ports"]] == [A, B]
    deadline = time.monotonic() + 5  # its server writes on
    while len(read_pcap(machine.written)) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    assert read_pcap(machine.written) == on_the_wire(FRAMES)


def test_generate_and_capture(machine: Machine) -> None:
    out = machine.guest.check(
        f"ixy capture {D} /tmp/c.pcap --count 500 --json >/tmp/captured 2>/dev/null & sleep 1;"
        f" ixy generate {C} --count 500 --rate 10000 --json 2>/dev/null; wait; cat /tmp/captured",
        timeout=150,
    )
    sent, captured = map(json.loads, out.splitlines())
    assert sent["ports"][0]["tx_packets"] == captured["written"] == 500
    assert machine.guest.check("stat --format %s /tmp/c.pcap") == f"{24 + 500 * (16 + 60)}\n"


def test_a_dma_to_unmapped_memory_is_stopped_and_reported(machine: Machine) -> None:
    out = machine.guest.check(f"python3 /share/fault.py {C}", timeout=60)
    assert out.startswith(f"{C}: DMA fault")
    assert "registers" not in out
    machine.guest.check(f"ixy regs {C} >/dev/null", timeout=60)  # and the card works on
