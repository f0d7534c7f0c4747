"""Our package for the guests: the wheel, installed on a disk image with its machine code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from guest import cache

PROJECT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src")
# What is compiled here is loaded by guests: neither side may use what its processor has on top
PORTABLE = {
    "NUMBA_CPU_NAME": "generic",
    "NUMBA_CPU_FEATURES": "",
    "PYTHONPATH": "/ixy/lib",
    "XDG_CACHE_HOME": "/ixy/cache",
}
REHEARSALS = (
    "forward emu:source emu:source --count 1000",
    "generate emu:loopback --count 100",
    "capture emu:source /tmp/rehearsal.pcapng --count 100",
    "forward qemu:virtio-net-pci:source qemu:virtio-net-pci:source --count 1000",
)
QEMU = """#!/bin/bash
exec /mnt/lib64/ld-linux-x86-64.so.2 --library-path /mnt/lib/x86_64-linux-gnu \\
    /mnt/bin/qemu-system-x86_64 -L /mnt/share/qemu "$@"
"""
IN_SYSTEM = """
    mount --bind "$0" "$1/ixy"
    mount --bind "$3" "$1/mnt"
    mount -t proc proc "$1/proc"
    for folder in tmp dev/shm; do mount -t tmpfs tmpfs "$1/$folder"; done
    export PATH=/ixy/lib/bin:/usr/sbin:/usr/bin
    exec chroot "$1" /bin/bash -c "$2"
"""


def make_disk(folder: Path) -> Path:
    """An ext4 image with the installed wheel (lib/) and its compiled functions (cache/).

    Emulated processors take minutes to compile what the host's do in seconds, so the commands are
    rehearsed here, by the guests' own Python.
    """
    source, content, image = folder / "source", folder / "content", folder / "ixy.ext4"
    for name in SOURCES:
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(PROJECT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    _run(*pip, "install", "--no-deps", "--no-compile", "--target", content / "lib", wheel)
    script = content / "lib/bin/ixy"
    script.write_text("#!/usr/bin/python3\n" + script.read_text().split("\n", 1)[1])
    qemu = content / "lib/bin/qemu-system-x86_64"  # only here: guests have real devices
    qemu.write_text(QEMU)
    qemu.chmod(0o755)
    for command in REHEARSALS:
        _in_system(content, f"ixy {command}")
    qemu.unlink()
    _run("mke2fs", "-q", "-t", "ext4", "-d", content, image, "256M")
    return image


def _in_system(content: Path, command: str) -> None:
    """Runs a command in the guests' system, but on this machine; its mounts vanish with it."""
    tree = cache.system() / "tree"
    for folder in ("ixy", "mnt"):
        (tree / folder).mkdir(exist_ok=True)
    _run("unshare", "--mount", "--propagation=private", "sh", "-ec", IN_SYSTEM,
         content, tree, command, cache.qemu() / "tree/usr")  # fmt: skip


def _run(*args: object) -> None:
    done = subprocess.run(
        [str(arg) for arg in args], env=os.environ | PORTABLE, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (args, done.stdout, done.stderr)
