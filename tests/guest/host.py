"""The host's end: emulated 82599s as processes, their wires in a network namespace of their own."""

import ctypes
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from guest.machine import AS_HARDWARE

COMMAND = (sys.executable, "-m", "ixy")
START_SECONDS = 240.0  # the first server compiles, for 30 s on an idle machine
CLONE_NEWNET, ETH_P_ALL, SO_RCVBUFFORCE = 0x40000000, 3, 33  # of Linux, without names here
_names = (f"ixyguest{os.getpid()}-{number}" for number in itertools.count())


class Host:
    """A network namespace in which the wires of emulated NICs end. Leaving its `with` stops them
    and removes everything.
    """

    def __init__(self) -> None:
        self.name = next(_names)
        self.folder = Path(tempfile.mkdtemp(prefix="ixy-host-"))
        self.servers: dict[str, subprocess.Popen[bytes]] = {}
        subprocess.run(["ip", "netns", "add", self.name], check=True, timeout=10)

    def __enter__(self) -> "Host":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: object, __: TracebackType | None
    ) -> None:
        try:
            failed = {name: self.stop(name) for name in list(self.servers)}
        finally:
            subprocess.run(["ip", "netns", "delete", self.name], check=True, timeout=10)
            said = {name: self.said(name) for name in self.folder_names()}
            shutil.rmtree(self.folder)
        if kind is None:
            assert not any(failed.values()), (failed, said)

    def folder_names(self) -> list[str]:
        """The NICs that there are or were."""
        return [path.stem for path in self.folder.glob("*.log")]

    def inside(self, *args: object) -> list[str]:
        """A command in the namespace."""
        return ["ip", "netns", "exec", self.name, *map(str, args)]

    def run(self, *args: object, timeout: float = 60) -> str:
        """Runs a command in the namespace that must succeed; returns what it printed."""
        done = subprocess.run(
            self.inside(*args), capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, (args, done.stdout, done.stderr)
        return done.stdout

    def start(self, *args: object) -> subprocess.Popen[bytes]:
        """Starts a command in the namespace; whoever starts it ends it."""
        quiet = subprocess.DEVNULL
        return subprocess.Popen(self.inside(*args), stdin=quiet, stdout=quiet, stderr=quiet)

    def nic(self, name: str, wire: str, *options: object, command: Sequence[str] = COMMAND) -> Path:
        """Starts an emulated NIC; returns the socket where it is served."""
        path, log = self.folder / f"{name}.sock", self.folder / f"{name}.log"
        args = [*AS_HARDWARE, *command, "emulate", "--vfio-user", path, "--wire", wire, *options]
        with log.open("wb") as output:
            self.servers[name] = subprocess.Popen(
                self.inside(*args), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + START_SECONDS
        while "ready" not in self.said(name):
            assert self.servers[name].poll() is None, self.said(name)
            assert time.monotonic() < deadline, self.said(name)
            time.sleep(0.05)
        return path

    def tap(self, name: str, *options: object, command: Sequence[str] = COMMAND) -> Path:
        """An emulated NIC whose wire ends at interface NAME."""
        return self.nic(name, f"tap:{name}", *options, command=command)

    def packet_socket(self, interface: str) -> socket.socket:
        """A socket that sends and receives whole frames at an interface of the namespace."""
        with ThreadPoolExecutor(1) as thread:  # a thread alone may change its namespace
            return thread.submit(self._packet_socket, interface).result()

    def _packet_socket(self, interface: str) -> socket.socket:
        with Path("/run/netns", self.name).open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        raw.bind((interface, 0))
        raw.settimeout(10)
        return raw

    def said(self, name: str) -> str:
        """What a NIC's process has printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self, name: str) -> int:
        """Ends a NIC; returns its exit code, which is not 0 if it had to be killed."""
        process = self.servers.pop(name)
        process.terminate()
        try:
            return process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
