"""Other generators for `bench generate`, where they are installed: trafgen, and DPDK's testpmd."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ixy.errors import IxyError

SPACE = f"ixy-bench-{os.getpid()}"  # a network namespace of our own
ONE = ["ip.src=inc(10.0.0.1,10.0.255.254)"]
FIVE = [
    *ONE, "ip.dst=random(10.1.0.1,10.1.255.254)", "ip.id=inc(0,65535)",
    "udp.sport=random(1024,65535)", "udp.dport=inc(1,1000)",
]  # fmt: skip
TRAFGEN_FIVE = """{ eth(da=02:00:00:00:00:02, sa=02:00:00:00:00:01),
ipv4(sa=dinc(0x0a000001, 0x0a00fffe), da=drnd(0x0a010001, 0x0a01fffe), id=dinc(0, 65535), ttl=64),
udp(sp=drnd(1024, 65535), dp=dinc(1, 1000)), fill(0, 18) }
"""
TESTPMD = ["--no-huge", "-m", "256", "--no-pci", "--no-shconf"]
FIGURE = re.compile(r"TX-packets: *([0-9]+)")


class Peer:
    """A generator: `mpps` runs it for about so many seconds, `missing` says what it lacks."""

    def __init__(self, name: str, program: str, package: str, *, kernel: bool = False) -> None:
        self.name, self._program, self._package, self._kernel = name, program, package, kernel

    def missing(self) -> str | None:
        """What must be there first; None if all is."""
        if shutil.which(self._program) is None:
            return f"install {self._package}"
        if self._kernel and (os.geteuid() != 0 or shutil.which("ip") is None):
            return "needs root, and ip (iproute2)"
        return None

    def mpps(self, seconds: float) -> float:
        """Millions of packets a second. Raises IxyError if the program fails."""
        raise NotImplementedError


class Testpmd(Peer):
    """testpmd's mode txonly: `options` of that, and the device it sends to."""

    def __init__(self, name: str, *options: str, device: str = "net_null0") -> None:
        super().__init__(name, "dpdk-testpmd", "dpdk", kernel=device != "net_null0")
        self._options, self._device = options, device

    def mpps(self, seconds: float) -> float:
        """From the word to start to the word to stop."""
        with namespace(self._kernel) as inside:
            command = [
                *inside,
                self._program,
                *TESTPMD,
                f"--vdev={self._device}",
                "-l",
                "0,1",
                "--",
            ]
            command += ["-i", "--forward-mode=txonly", "--total-num-mbufs=8192", "--txpkts=60"]
            with subprocess.Popen(
                [*command, *self._options], text=True, bufsize=1,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            ) as process:  # fmt: skip
                assert process.stdin is not None
                time.sleep(1.5)  # it sets up its memory
                begin = self._say(process, "start")
                time.sleep(seconds)
                end = self._say(process, "stop")
                said, _ = process.communicate("quit\n", timeout=60)
        counts = FIGURE.findall(said)
        if process.returncode or not counts:
            raise IxyError(f"testpmd failed: {said[-300:]}")
        return int(counts[-1]) / (end - begin) / 1e6

    @staticmethod
    def _say(process: subprocess.Popen[str], word: str) -> float:
        assert process.stdin is not None
        process.stdin.write(f"{word}\n")
        return time.monotonic()


class Trafgen(Peer):
    """trafgen, one process of it, into a veth interface."""

    def __init__(self, name: str, packet: str) -> None:
        super().__init__(name, "trafgen", "netsniff-ng", kernel=True)
        self._packet = packet

    def mpps(self, seconds: float) -> float:
        """By its own time: as many packets as fill the time, found by a first run."""
        count = 100_000
        with namespace() as inside, tempfile.TemporaryDirectory() as directory:
            file = Path(directory, "packet.cfg")
            file.write_text(self._packet)
            command = [*inside, self._program, "--dev", "veth0", "--conf", str(file), "--cpus", "1"]
            rate = self._run([*command, "-n", str(count)], count)
            count = max(int(rate * seconds), count)
            return self._run([*command, "-n", str(count)], count) / 1e6

    def _run(self, command: list[str], count: int) -> float:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        took = re.search(r"([0-9]+) sec, ([0-9]+) usec on CPU", done.stdout + done.stderr)
        if done.returncode or not took:
            raise IxyError(f"trafgen failed: {done.stderr[-300:]}")
        return count / (int(took[1]) + int(took[2]) / 1e6)


class Ours(Peer):
    """`ixy generate` by an emulated card, which takes another core, into a TAP interface."""

    def __init__(self, name: str, vary: list[str]) -> None:
        super().__init__(name, sys.executable, "python3", kernel=True)
        self._vary = [word for text in vary for word in ("--vary", text)]

    def mpps(self, seconds: float) -> float:
        """What the TAP interface took."""
        with namespace() as inside:
            command = [*inside, sys.executable, "-m", "ixy", "generate", "emu:tap:tap0", "--json"]
            words = ["--template", "udp4", "--time", f"{seconds:.3f}", *self._vary]
            done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise IxyError(f"ixy generate failed: {done.stderr.strip()}")
        return float(json.loads(done.stdout)["ports"][0]["tx_mpps"])


@contextlib.contextmanager
def namespace(wanted: bool = True) -> Iterator[list[str]]:
    """A network namespace with veth0, whose other end drops all, and tap0; how to run in it."""
    if not wanted:
        yield []
        return
    inside = ["ip", "netns", "exec", SPACE]
    steps = [
        "netns add {}", "-n {} link add veth0 type veth peer name veth1",
        "-n {} link set veth0 up", "-n {} link set veth1 up",
        "-n {} tuntap add tap0 mode tap", "-n {} link set tap0 up",
    ]  # fmt: skip
    try:
        for step in steps:
            words = ["ip", *step.format(SPACE).split()]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                raise IxyError(f"{' '.join(words)}: {done.stderr.strip()}")
        yield inside
    finally:
        remove_namespace()


def remove_namespace() -> None:
    """Removes the namespace, if there is one."""
    if Path("/run/netns", SPACE).exists():
        subprocess.run(["ip", "netns", "del", SPACE], capture_output=True, check=False)


PEERS: tuple[Peer, ...] = (
    Testpmd("testpmd constant, net_null"),
    Testpmd("testpmd source addresses, net_null", "--txonly-multi-flow"),
    Testpmd("testpmd constant, veth", device="net_af_packet0,iface=veth0"),
    Trafgen("trafgen five fields, veth", TRAFGEN_FIVE),
    Ours("ixy five fields, emulated card, tap", FIVE),
)
