"""DPDK's testpmd, started and told what to do: the back end and the peers of `bench vhost-user`."""

import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from ixy.errors import IxyError

PROGRAM = "dpdk-testpmd"
PROMPT = r"testpmd> \Z"
# Nothing is printed but answers: the log of another thread would be in the middle of them
QUIET = ["--log-level=warning"], ["--mask-event", "all"]
MEMORY = 64  # MiB of huge pages: 16384 packet buffers of DPDK's, and what else it needs
BUFFERS = 16384  # as many as a pool of ours has
_HUGE_KIB = 2048
PATIENCE = 30.0  # seconds for an answer: it may share its core with others


class Counts(NamedTuple):
    """What a port has counted, and packets per second since it was asked before."""

    rx: int
    tx: int
    rx_rate: int
    tx_rate: int


def must_be_there() -> None:
    """Raises IxyError if testpmd is not installed, or has no huge pages to start with."""
    if not shutil.which(PROGRAM) or not shutil.which("stdbuf"):
        raise IxyError(f"no {PROGRAM} here, the peer: sudo apt install dpdk-dev librte-meta-net")
    needed = 2 * MEMORY * 1024 // _HUGE_KIB
    free = re.search(r"HugePages_Free: +(\d+)", Path("/proc/meminfo").read_text())
    if not free or int(free[1]) < needed:
        raise IxyError(
            f"{PROGRAM} needs {needed} free huge pages of 2 MiB, there are"
            f" {free[1] if free else 0}: echo {4 * needed} | sudo tee /proc/sys/vm/nr_hugepages"
        )


class Testpmd:
    """A testpmd with one port, all of it on one core: an interactive one, idle until it is started.

    It keeps its memory in huge pages without a name, so that it leaves nothing behind. Leaving its
    `with` ends it. Raises IxyError if it does not start or has come to an end.
    """

    __test__ = False  # for pytest: no test, in spite of its name

    def __init__(
        self, port: str, *, core: int, eal: Sequence[str] = (), options: Sequence[str] = ()
    ) -> None:
        lcores = f"0@{core},1@{core}"
        memory = ["--in-memory", "--single-file-segments", "-m", str(MEMORY)]
        words = ["stdbuf", "-o0", PROGRAM, "--lcores", lcores, "--no-pci", *memory, "--vdev", port]
        words += [*QUIET[0], *eal, "--", *QUIET[1]]
        own = [f"--total-num-mbufs={BUFFERS}", "-i", *options]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [*words, *own], stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT
        )
        assert self._process.stdin
        assert self._process.stdout
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        try:
            self._wait(PROMPT)
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def say(self, command: str) -> str:
        """Gives a command; returns what is printed until it is done."""
        try:
            os.write(self._input, command.encode() + b"\n")
        except BrokenPipeError:
            raise IxyError(f"{PROGRAM} has come to an end") from None
        return self._wait(rf"{re.escape(command)}[\s\S]*{PROMPT}")

    def _wait(self, pattern: str) -> str:
        """Waits for a pattern in what is printed from now on; returns all that came."""
        printed, deadline = "", time.monotonic() + PATIENCE
        while not re.search(pattern, printed):
            ready, _, _ = select.select([self._output], [], [], max(deadline - time.monotonic(), 0))
            part = os.read(self._output, 65536) if ready else b""
            if not part:
                said = " ".join(printed.split()[-30:])
                what = "ends" if ready else "does not answer"
                raise IxyError(f"{PROGRAM} {what}; its last words: {said}")
            printed += part.decode(errors="replace")
        return printed

    def forward(self, mode: str, start: str = "start") -> None:
        """Begins to forward in a mode of testpmd's, such as txonly."""
        self.say(f"set fwd {mode}")
        self.say(start)

    def stop(self) -> None:
        """Ends forwarding: its forwarding core sleeps then."""
        self.say("stop")

    def counts(self) -> Counts:
        """The port's counters now."""
        said = self.say("show port stats 0")
        names = ("RX-packets:", "TX-packets:", "Rx-pps:", "Tx-pps:")
        found = [re.search(rf"{name} +(\d+)", said) for name in names]
        return Counts(*(int(match[1]) if match else 0 for match in found))

    def wait_for_link(self, up: bool) -> None:
        """Waits until the port has a link, or has none. Raises IxyError if it takes too long."""
        state, deadline = "up" if up else "down", time.monotonic() + PATIENCE
        while f"Link status: {state}" not in self.say("show port info 0"):
            if time.monotonic() > deadline:
                raise IxyError(f"{PROGRAM}'s port does not go {state}")
            time.sleep(0.01)

    def close(self) -> None:
        """Ends it. A second call does nothing."""
        if self._process.returncode is None:
            with suppress(IxyError, BrokenPipeError):  # it has gone already: good enough
                os.write(self._input, b"quit\n")
                self._wait(r"Bye\.\.\.")
            self.kill()

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid
