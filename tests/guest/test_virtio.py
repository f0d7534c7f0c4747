"""Our virtio driver where it is at home: in a virtual machine, between two NICs that QEMU gives it.

Legacy ones through sysfs, in I/O ports; modern ones through VFIO behind an IOMMU. The host pings
through the guest.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from guest.machine import IOMMU, Guest

A, B = "0000:00:04.0", "0000:00:05.0"
SLOW = 180.0  # seconds: an emulated processor imports NumPy and Numba
NAMES = [f"ixyv{os.getpid()}{side}" for side in "ab"]  # interfaces, and the namespaces they go to
MACHINES: dict[str, dict[str, Any]] = {
    "legacy": {"machine": "pc"},
    "modern": {"machine": "q35,kernel-irqchip=split", "append": "intel_iommu=on"},
}
PROPERTIES = {
    "legacy": "disable-legacy=off,disable-modern=on",
    "modern": "disable-legacy=on,iommu_platform=on,ats=on",
}
DRIVERS = {"legacy": "none", "modern": "vfio-pci"}


def shell(*args: object) -> str:
    done = subprocess.run(
        [str(arg) for arg in args], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (args, done.stdout, done.stderr)
    return done.stdout


def nics(properties: str) -> Sequence[str]:
    """Arguments for QEMU: two NICs, each with a TAP interface."""
    arguments = []
    for number, name in enumerate(NAMES):
        arguments += ["-netdev", f"tap,id=net{number},ifname={name},script=no,downscript=no"]
        nic = f"virtio-net-pci,netdev=net{number},addr={4 + number},romfile=,{properties}"
        arguments += ["-device", nic]
    return arguments


def join(names: Sequence[str]) -> None:
    """Each interface in a namespace of its own, with addresses."""
    for side, name in enumerate(names):
        shell("ip", "netns", "add", name)
        shell("ip", "link", "set", name, "netns", name)
        shell("ip", "-n", name, "addr", "add", f"10.85.97.{side + 1}/24", "dev", name)
        shell("ip", "-n", name, "addr", "add", f"fd85:97::{side + 1}/64", "dev", name, "nodad")
        shell("ip", "-n", name, "link", "set", name, "up")


@pytest.fixture(params=list(MACHINES))
def guest(request: pytest.FixtureRequest, our_disk: Path) -> Iterator[tuple[str, Guest]]:
    kind = request.param
    devices = [*(IOMMU if kind == "modern" else []), *nics(PROPERTIES[kind])]
    try:
        with Guest(devices, memory=1024, cpus=2, disk=our_disk, **MACHINES[kind]) as machine:
            machine.check("chmod -R a+rwX /ixy/cache; echo 80 > /proc/sys/vm/nr_hugepages")
            join(NAMES)
            yield kind, machine
    finally:
        for name in NAMES:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def test_the_host_pings_through_the_guest(guest: tuple[str, Guest]) -> None:
    kind, machine = guest
    if kind == "modern":
        machine.check("modprobe vfio-pci")
    for card in (A, B):
        out = machine.check(f"ixy bind {card} --driver {DRIVERS[kind]}", timeout=SLOW)
        assert f"-> {DRIVERS[kind]}; next: open it" in out
    machine.check(f"ixy forward {A} {B} --json > /tmp/json 2> /tmp/log & echo $! > /tmp/pid")
    machine.wait_for("grep -q Mpps /tmp/log || ! kill -0 $(cat /tmp/pid)", timeout=SLOW)
    assert "Mpps" in machine.check("cat /tmp/log")
    inside = ["ip", "netns", "exec", NAMES[0]]
    shell(*inside, "ping", "-c", 1, "-w", 30, "10.85.97.2")
    for what in (["10.85.97.2"], ["-s", 1472, "-M", "do", "10.85.97.2"], ["-6", "fd85:97::2"]):
        out = shell(*inside, "ping", "-i", 0.05, "-c", 50, "-W", 5, *what)
        assert " 50 received" in out
    machine.check("kill -INT $(cat /tmp/pid)")
    deadline = time.monotonic() + 20
    while not (out := machine.check("cat /tmp/json")).strip() and time.monotonic() < deadline:
        time.sleep(0.1)
    ports = json.loads(out)["ports"]
    assert [port["address"] for port in ports] == [A, B]
    assert all(port["rx_packets"] > 150 and port["tx_packets"] > 150 for port in ports)
