"""QEMU's devices: which of them this machine has, by markers for the tests that need them."""

import re
import shutil
import subprocess

import pytest

PROGRAM = "qemu-system-x86_64"


def _version() -> int:
    """QEMU's major version, 0 without it."""
    if not shutil.which(PROGRAM):
        return 0
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"version (\d+)", said.stdout)
    return int(found[1]) if found else 0


VERSION = _version()
needs_qemu = pytest.mark.skipif(not VERSION, reason="needs QEMU: apt install qemu-system-x86")
needs_igb = pytest.mark.skipif(
    VERSION < 8,
    reason="needs QEMU 8 or newer: apt install -t bookworm-backports qemu-system-x86",
)

DEVICES = {  # model and options of each kind of device that there is a driver for
    "legacy": ("virtio-net-pci", "legacy=1"),
    "transitional": ("virtio-net-pci-transitional", "packed=0"),
    "split": ("virtio-net-pci", "packed=0"),
    "packed": ("virtio-net-pci", "packed=1"),
    "igb": ("igb", "ring=512"),
}
EACH = [
    pytest.param(name, marks=needs_igb if name == "igb" else needs_qemu, id=name)
    for name in DEVICES
]


def device_address(name: str, wire: str, options: str = "") -> str:
    """The address of one of DEVICES."""
    model, own = DEVICES[name]
    return f"qemu:{model}:{wire}?{own}" + (f"&{options}" if options else "")
