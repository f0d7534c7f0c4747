"""A guest: Debian's kernel on emulated hardware in QEMU, which runs commands for the host."""

import base64
import json
import secrets
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guest import cache

HERE = Path(__file__).parent
BOOT_SECONDS = 120.0  # it takes 7 s when the machine is idle
# Hardware is never late, whatever else the machine does: Linux's self test gives frames 200 ms.
# And it does not outlive whoever it was started for.
AS_HARDWARE = ("setpriv", "--pdeathsig", "KILL", "nice", "-n", "-10")
GRACE = 20.0  # seconds after which a guest that owes an answer is given up


class GuestError(AssertionError):
    """A guest did not do what was asked; the message ends with its kernel's last words."""


@dataclass(frozen=True)
class Result:
    """What a command printed, stdout and stderr as they came, and its exit code."""

    output: str
    code: int


def vfio_user(server: Path, address: int = 4) -> list[str]:
    """A PCI function that another process serves, at 00:ADDRESS.0."""
    device = {
        "driver": "vfio-user-pci",
        "socket": {"type": "unix", "path": str(server)},
        "addr": f"{address:#x}",
    }
    return ["-device", json.dumps(device)]


# A machine whose devices reach only the memory that the kernel maps for them
IOMMU = ["-device", "intel-iommu,intremap=on,caching-mode=on"]


class Guest:
    """A running virtual machine; it is ended when its `with` is left.

    `devices` are arguments for QEMU, `append` goes to the kernel's command line, `files` are
    copied to /share, `disk` is an ext4 image to be seen at /ixy. Memory is in MiB.
    """

    def __init__(
        self,
        devices: Sequence[str] = (),
        *,
        machine: str = "q35",
        append: str = "",
        memory: int = 512,
        cpus: int = 1,
        files: Sequence[Path] = (),
        disk: Path | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ixy-guest-"))
        self.channel, far = socket.socketpair()
        self._received = bytearray()
        try:
            self._start_initramfs(files)
            arguments = [
                *self._hardware(machine, memory, cpus),
                *self._software(append, disk),
                *self._connections(far.fileno()),
                *devices,
            ]
            with (self.folder / "qemu").open("wb") as errors:
                self.process = subprocess.Popen(
                    arguments, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                    pass_fds=[far.fileno()],
                )  # fmt: skip
        except BaseException:
            self.channel.close()
            shutil.rmtree(self.folder)
            raise
        finally:
            far.close()
        try:
            self._answer(b"ready\n", BOOT_SECONDS, "to boot")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Guest":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, command: str, timeout: float = 30) -> Result:
        """Runs a bash command as root. After `timeout` seconds it is ended, with code 124."""
        word = secrets.token_hex(8).encode()
        encoded = base64.b64encode(command.encode())
        self.channel.sendall(b"%d %s %s\n" % (timeout, word, encoded))
        output = self._answer(b"\n" + word + b" ", timeout + GRACE, f"for {command}")
        code = self._answer(b"\n", GRACE, "for an exit code")
        return Result(output.decode(errors="replace"), int(code))

    def check(self, command: str, timeout: float = 30) -> str:
        """Runs a bash command that must succeed; returns what it printed."""
        result = self.run(command, timeout)
        if result.code:
            raise self._error(f"{command}\n{result.output}\nexit code {result.code}")
        return result.output

    def wait_for(self, command: str, timeout: float = 30) -> str:
        """Repeats a command until it succeeds; returns what it printed."""
        return self.check(f"until {command}; do sleep 0.1; done", timeout)

    def log(self) -> str:
        """What the kernel has written to its console."""
        return (self.folder / "console").read_text(errors="replace")

    def close(self) -> None:
        """Ends the machine as pulling the plug does."""
        self.channel.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)

    def _answer(self, end: bytes, seconds: float, purpose: str) -> bytes:
        """What comes before `end`, which is taken too."""
        deadline = time.monotonic() + seconds
        while (found := self._received.find(end)) < 0:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self.channel], [], [], left)[0]:
                raise self._error(f"waited {seconds:.0f} s {purpose}")
            data = self.channel.recv(65536)
            if not data:
                raise self._error(f"QEMU has ended: waited {purpose}")
            self._received += data
        answer = bytes(self._received[:found])
        del self._received[: found + len(end)]
        return answer

    def _error(self, what: str) -> GuestError:
        said = (self.folder / "qemu").read_text(errors="replace")
        last = (
            "\n".join(self.log().splitlines()[-40:]) if (self.folder / "console").exists() else ""
        )
        return GuestError(f"{what}\nQEMU said: {said}\nthe guest's console ends with:\n{last}")

    def _start_initramfs(self, files: Sequence[Path]) -> None:
        """Writes what the kernel starts with: a shell, the modules it needs, and `files`."""
        system, start = cache.system(), self.folder / "start"
        shutil.copytree(system / "modules", start / "modules")
        (start / "bin").mkdir()
        shutil.copy(system / "tree/usr/bin/busybox", start / "bin")
        for script in ("init", "agent"):
            shutil.copy(HERE / script, start)
        (start / "init").chmod(0o755)
        (start / "share").mkdir()
        for file in files:
            shutil.copy(file, start / "share")
        names = "\0".join(
            str(path.relative_to(start)) for path in [start, *sorted(start.rglob("*"))]
        )
        archive = subprocess.run(
            ["cpio", "--null", "--create", "--format=newc", "--owner=0:0", "--quiet"],
            cwd=start, input=names.encode(), stdout=subprocess.PIPE, check=True, timeout=60,
        ).stdout  # fmt: skip
        (self.folder / "initramfs").write_bytes(archive)

    def _hardware(self, machine: str, memory: int, cpus: int) -> list[str]:
        """QEMU itself, through its own system's loader, and an empty machine."""
        tree = cache.qemu() / "tree/usr"
        return [
            *AS_HARDWARE,
            str(tree / "lib64/ld-linux-x86-64.so.2"),
            "--library-path", str(tree / "lib/x86_64-linux-gnu"),
            str(tree / "bin/qemu-system-x86_64"),
            "-L", str(tree / "share/qemu"), "-L", str(tree / "share/seabios"),
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-accel", "tcg", "-cpu", "max", "-smp", str(cpus), "-m", str(memory),
            "-object", f"memory-backend-memfd,id=ram,size={memory}M,share=on",
            "-machine", f"{machine},memory-backend=ram",
        ]  # fmt: skip

    def _software(self, append: str, disk: Path | None) -> list[str]:
        """The kernel, the root file system and, if given, a disk of ours. What the guest writes to
        them is forgotten.
        """
        system = cache.system()
        line = f"console=ttyS0 panic=-1 {append}"
        images = [system / "root.ext4", *([disk] if disk else [])]
        arguments = ["-kernel", str(system / "vmlinuz"), "-append", line,
                     "-initrd", str(self.folder / "initramfs")]  # fmt: skip
        for number, image in enumerate(images):
            drive = f"if=none,id=disk{number},format=raw,snapshot=on,file={image}"
            device = f"virtio-blk-pci,drive=disk{number},addr={0x18 + number:#x}"
            arguments += ["-drive", drive, "-device", device]
        return arguments

    def _connections(self, channel: int) -> list[str]:
        """The kernel's console to a file, the agent's channel to us."""
        return [
            "-serial", f"file:{self.folder / 'console'}",
            "-device", "virtio-serial-pci,addr=0x1a",
            "-chardev", f"socket,id=channel,fd={channel}",
            "-device", "virtserialport,chardev=channel,nr=1",
        ]  # fmt: skip
