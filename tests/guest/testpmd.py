"""DPDK's testpmd in a guest: started, told what to do, and its answers read."""

import re
import time

from guest.machine import Guest, GuestError

PROMPT = r"testpmd> \Z"
PLUGINS = "/usr/lib/x86_64-linux-gnu/dpdk/pmds-25.0"
PORT = "0000:00:04.0"


def take_port(guest: Guest) -> None:
    """Gives the emulated NIC to VFIO."""
    device = f"/sys/bus/pci/devices/{PORT}"
    guest.check(f"modprobe vfio-pci && echo vfio-pci >{device}/driver_override")
    guest.check(f"echo {PORT} >/sys/bus/pci/drivers_probe && [ -e {device}/driver ]")


class Testpmd:
    __test__ = False
    """An interactive testpmd; leaving its `with` ends it and looks through what it has said."""

    def __init__(self, guest: Guest, options: str = "", environment: str = "") -> None:
        self.guest = guest
        self._read = 0  # characters of its output so far
        plugins = " ".join(
            f"-d {PLUGINS}/librte_{name}.so.25.0"
            for name in ("net_ixgbe", "mempool_ring", "bus_pci")
        )
        log = "--log-level=pmd.net.ixgbe.init:debug"
        guest.check("rm -f /run/in /run/out && mkfifo /run/in")
        guest.check("(sleep infinity >/run/in & echo $! >/run/holder)")
        guest.check(
            f"(stdbuf -o0 dpdk-testpmd -l 0,1 -a {PORT} --in-memory {plugins} {log} {environment} "
            f"-- --total-num-mbufs=8192 -i {options} </run/in >/run/out 2>&1 &)"
        )
        self.started = self.wait(PROMPT, 60)

    def __enter__(self) -> "Testpmd":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.say("quit", r"Bye\.\.\.")
        self.guest.check("kill $(cat /run/holder)")
        if kind is None:
            everything = self.guest.check("cat /run/out")
            wrong = [line for line in everything.splitlines() if "Could not" in line]
            assert not wrong

    def say(self, command: str, until: str = PROMPT, timeout: float = 30) -> str:
        """Gives a command; returns what was printed until it was done, or a pattern came."""
        self.guest.check(f"echo {command!r} >/run/in")
        return self.wait(rf"{re.escape(command)}[\s\S]*{until}", timeout)

    def wait(self, pattern: str, timeout: float = 30) -> str:
        """Waits for a pattern in what is printed from now on; returns all that came."""
        deadline = time.monotonic() + timeout
        printed = ""
        while not re.search(pattern, printed):
            if time.monotonic() > deadline:
                raise GuestError(f"testpmd: waited {timeout} s for {pattern}:\n{printed}")
            printed = self.guest.check(f"tail -c +{self._read + 1} /run/out")
        self._read += len(printed.encode())
        return printed
