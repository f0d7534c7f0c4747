"""Software switches with two vhost-user ports, A and B: DPDK's testpmd and Open vSwitch.

What comes in at one port leaves by the other. A switch can be killed, and started again at the same
sockets.
"""

import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Self

from ixy.bench.testpmd import Testpmd

OVS = Path("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
missing = [
    package
    for package, found in (
        ("dpdk-dev", shutil.which("dpdk-testpmd")),
        ("openvswitch-switch-dpdk", OVS.exists()),
    )
    if not found
]


class Switch(ABC):
    """`sockets` are the ports' addresses, without options."""

    def __init__(self, folder: Path, *, listens: bool = True, queues: int = 1) -> None:
        self.folder, self.listens, self.queues = folder, listens, queues
        self.sockets = [folder / name for name in ("a", "b")]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def addresses(self, options: str = "") -> list[str]:
        """How to open the ports."""
        listen = "" if self.listens else "&listen=1"
        return [f"vhost-user:{path}?queues={self.queues}{listen}{options}" for path in self.sockets]

    def _clear(self) -> None:
        """A server that was killed leaves its sockets behind, and none starts on top of these."""
        for path in self.sockets:
            if self.listens:
                path.unlink(missing_ok=True)

    @abstractmethod
    def start(self) -> None:
        """Starts it; returns when it forwards."""

    @abstractmethod
    def kill(self) -> None:
        """Kills it, as a crash would end it."""

    @abstractmethod
    def close(self) -> None:
        """Ends it."""


class TestpmdSwitch(Switch):
    """DPDK's testpmd, in its mode io."""

    __test__ = False

    def start(self) -> None:
        self._clear()
        how = f"queues={self.queues},client={int(not self.listens)}"
        ports = [f"net_vhost{i},iface={path},{how}" for i, path in enumerate(self.sockets)]
        queues = [f"--rxq={self.queues}", f"--txq={self.queues}"]
        self._testpmd = Testpmd(ports[0], core=0, eal=["--vdev", ports[1]], options=queues)
        self._testpmd.forward("io")

    def kill(self) -> None:
        self._testpmd.kill()

    def close(self) -> None:
        self._testpmd.close()


class OvsSwitch(Switch):
    """Open vSwitch with DPDK's data path: processes, a data base and sockets of our own."""

    def __init__(self, folder: Path, *, listens: bool = True, queues: int = 1) -> None:
        super().__init__(folder, listens=listens, queues=queues)
        self._bridge = f"ixyvh{os.getpid()}"
        names = ("RUN", "LOG", "DB", "SYSCONF")
        self._environment = os.environ | {f"OVS_{name}DIR": str(folder) for name in names}
        self._database = self._switch = None
        self._log = (folder / "log").open("w")

    def _run(self, *words: object) -> None:
        done = subprocess.run(
            [*map(str, words)], env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (words, done.stderr, self.said())

    def _start(self, *words: object) -> subprocess.Popen:
        return subprocess.Popen(
            [*map(str, words), "--no-chdir"],
            env=self._environment, stdout=self._log, stderr=self._log,
        )  # fmt: skip

    def said(self) -> str:
        """What the processes have logged."""
        return (self.folder / "log").read_text()

    def _configure(self, *words: object) -> None:
        self._run("ovs-vsctl", f"--db=unix:{self.folder}/db.sock", "--timeout=20", *words)

    def _start_database(self) -> None:
        folder, options = self.folder, "other_config:dpdk-"
        self._run("ovsdb-tool", "create", folder / "conf.db", SCHEMA)
        control = [f"--unixctl={folder}/db.ctl", f"--pidfile={folder}/db.pid"]
        remote = f"--remote=punix:{folder}/db.sock"
        self._database = self._start("ovsdb-server", remote, *control, folder / "conf.db")
        deadline = time.monotonic() + 20
        while not (folder / "db.sock").exists():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)
        self._configure("--no-wait", "init")
        self._configure(
            "--no-wait", "set", "Open_vSwitch", ".", f"{options}init=true",
            f"{options}socket-mem=128", f"{options}lcore-mask=0x1", "other_config:pmd-cpu-mask=0x1",
            f"{options}extra=--in-memory --no-pci --single-file-segments",
        )  # fmt: skip
        bridge = self._bridge
        add = ["add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev"]
        kind = "dpdkvhostuser" if self.listens else "dpdkvhostuserclient"
        for path in self.sockets:
            port = ["--", "add-port", bridge, path.name]
            interface = ["--", "set", "Interface", path.name, f"type={kind}"]
            where = [] if self.listens else [f"options:vhost-server-path={path}"]
            add += [*port, *interface, *where]
        self._configure("--no-wait", *add)

    def start(self) -> None:
        if not self._database:
            self._start_database()
        self._clear()
        folder, before = self.folder, len(self.said())
        control = [f"--unixctl={folder}/switch.ctl", f"--pidfile={folder}/switch.pid"]
        self._switch = self._start(OVS, f"unix:{folder}/db.sock", *control)
        deadline = time.monotonic() + 30
        while f"bridge {self._bridge}: added interface b" not in self.said()[before:]:
            assert self._switch.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)

    def kill(self) -> None:
        if self._switch:
            self._switch.kill()
            self._switch.wait()

    def close(self) -> None:
        for process in (self._switch, self._database):
            if process:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()
                process.wait()
        self._log.close()
