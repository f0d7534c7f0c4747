"""`bench vhost-user`: our virtio driver beside DPDK's, against one and the same back end.

The back end is DPDK's testpmd (`net_vhost`) on one core: one process, to which the candidates
connect in turn, on another core. All rates are read from its counters, and what the front end has
counted must agree. 64-byte packets, rings of 256, bursts of 32:

tx: the front end writes a frame into each packet and sends it (testpmd's own: txonly).
rx: the front end receives and frees, and reads nothing of a packet (rxonly).
forward: it exchanges each packet's MAC addresses and sends it back (macswap); the back end keeps
256 packets going (io).

On virtual machines such rates follow the round trip of a cache line between the cores, which flips
between regimes: it is measured before and after each figure, and the medians are of one regime.
Figures for which an end had to wait for its core, since somebody else used it, are in these only if
a row has no others.
"""

import itertools
import os
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from ixy.address import open_device
from ixy.apps.workers import RUN, Workers, begin, told
from ixy.bench.machine import describe, round_trip
from ixy.bench.testpmd import Testpmd, must_be_there
from ixy.compiled import JIT, compiled
from ixy.device import pool_of, rx_batch, tx_batch
from ixy.errors import IxyError
from ixy.memory.ordered import array_at, copy_bytes
from ixy.memory.pool import alloc_batch, free_batch, lengths, packet_address
from ixy.traffic.templates import numbered_frame

PARAMETERS = ("tx", "rx", "forward")
OURS = {"ixy-split": "packed=0", "ixy-packed": "packed=1"}
THEIRS = {  # options of virtio_user, options of EAL
    "dpdk-default": ("", ()),
    "dpdk-vectorized": (",mrg_rxbuf=0,in_order=0,vectorized=1", ()),
    "dpdk-packed": (",packed_vq=1", ()),
    "dpdk-packed-vectorized": (
        ",packed_vq=1,mrg_rxbuf=0,in_order=1,vectorized=1",
        ("--force-max-simd-bitwidth=512",),
    ),
}
ROWS = (*OURS, *THEIRS)
BACK_END = {"tx": "rxonly", "rx": "txonly", "forward": "io"}
FRONT_END = {"tx": "txonly", "rx": "rxonly", "forward": "macswap"}
RING, BURST = 256, 32
NEAR = 120.0  # ns: a longer round trip is the far regime's (some 350 ns), or somebody else's work
WAITED = 0.02  # of a figure's time: what the ends' own control threads take
REGIMES = ("near", "far", "near, disturbed", "far, disturbed")  # the first that all rows have
SETTLE = 0.1  # seconds until a rate is taken
GOAL = 1.0  # our best form's rate over DPDK's best

SIZE = 64  # bytes of a packet, as testpmd's own
Addresses = np.dtype([("low", "u8"), ("high", "u4")])  # of a frame: destination and source
Counted = tuple[int, int]  # packets received and sent


class Round(NamedTuple):
    """A figure: Mpps, the round trip in ns before and after, and the part of its time for which the
    ends waited for their cores.
    """

    mpps: float
    before: float
    after: float
    waited: float

    @property
    def regimes(self) -> Sequence[str]:
        """Those of REGIMES that it is a figure of: how far apart the cores were from begin to end,
        and whether others left them alone.
        """
        distance = "near" if max(self.before, self.after) <= NEAR else "far"
        return (distance, f"{distance}, disturbed")[self.waited > WAITED :]


Rounds = dict[str, dict[str, list[Round]]]  # by row and parameter


def measure(rounds: int = 5, seconds: float = 45.0, rows: Iterable[str] = ROWS) -> dict[str, Any]:
    """Measures all rows; returns the JSON object of `ixy bench vhost-user --json`, in Mpps.

    `seconds` is about how long it takes, without set-up. Raises IxyError without testpmd, huge
    pages or a second core, and if both ends have not counted the same.
    """
    if not JIT:
        raise IxyError("a benchmark needs the compiler: unset NUMBA_DISABLE_JIT")
    must_be_there()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise IxyError("this benchmark needs two cores, one for each end")
    chosen = list(rows)
    raw: Rounds = {row: {parameter: [] for parameter in PARAMETERS} for row in chosen}
    window = max(seconds / rounds / len(chosen) / len(PARAMETERS), 0.05)
    with tempfile.TemporaryDirectory(prefix="ixy-") as folder:
        path = f"{folder}/vhost.sock"
        port = f"net_vhost0,iface={path},queues=1"
        with Testpmd(port, core=cores[0]) as back:
            for _, row in itertools.product(range(rounds), chosen):
                for parameter, figure in _take_turn(row, back, path, cores[-1], window):
                    raw[row][parameter].append(figure)
    return {"unit": "Mpps", "machine": describe(), **summary(raw)}


def summary(raw: Rounds) -> dict[str, Any]:
    """Medians of one regime for each parameter, how many figures are in each, and the goal."""
    regimes = {p: _regime([of[p] for of in raw.values()]) for p in PARAMETERS}
    kept = {
        row: {p: [f for f in of[p] if regimes[p] in ("mixed", *f.regimes)] for p in PARAMETERS}
        for row, of in raw.items()
    }
    rows = {
        row: {p: round(median(figure.mpps for figure in of[p]), 2) for p in PARAMETERS}
        for row, of in kept.items()
    }
    return {
        "rows": rows,
        "regime": regimes,
        "counted": {row: {p: len(of[p]) for p in PARAMETERS} for row, of in kept.items()},
        "rounds": {
            row: {p: [figure._asdict() for figure in of[p]] for p in PARAMETERS}
            for row, of in raw.items()
        },
        "bounds": _bounds(rows, regimes),
    }


def _regime(rows: Sequence[Sequence[Round]]) -> str:
    """The first regime that each row has figures of; mixed if there is none."""
    for name in REGIMES:
        if all(any(name in figure.regimes for figure in figures) for figures in rows):
            return name
    return "mixed"


def _bounds(
    rows: dict[str, dict[str, float]], regimes: dict[str, str]
) -> dict[str, dict[str, float | bool | str]]:
    """For each parameter: our best form's rate over DPDK's best, and whether that is the goal."""
    outcome: dict[str, dict[str, float | bool | str]] = {}
    for parameter in PARAMETERS:
        ours, theirs = (
            max((rows[row][parameter] for row in group if row in rows), default=0.0)
            for group in (OURS, THEIRS)
        )
        if ours and theirs:
            ratio = round(ours / theirs, 3)
            met = ratio >= GOAL and regimes[parameter] == "near"
            outcome[parameter] = {
                "ratio": ratio, "goal": GOAL, "regime": regimes[parameter], "met": met
            }  # fmt: skip
    return outcome


def _take_turn(
    row: str, back: Testpmd, path: str, core: int, seconds: float
) -> list[tuple[str, Round]]:
    """All parameters of one candidate."""
    before = back.counts()
    front = OurFront(row, path) if row in OURS else TheirFront(row, path, core)
    try:
        back.wait_for_link(True)
        figures = [(p, _figure(p, back, front, seconds)) for p in PARAMETERS]
        after, (received, sent) = back.counts(), front.counts()
    finally:
        front.close()
    back.wait_for_link(False)
    for ours, theirs in ((after.tx - before.tx, received), (sent, after.rx - before.rx)):
        if not -BURST <= ours - theirs <= 3 * RING:  # what rings and bursts hold at each end
            raise IxyError(f"{row}: {ours} packets sent, but {theirs} received")
    return figures


def _figure(parameter: str, back: Testpmd, front: "Front", seconds: float) -> Round:
    before = round_trip() or 0.0
    front.start(parameter)
    back.forward(
        BACK_END[parameter],
        f"start tx_first {RING // BURST}" if parameter == "forward" else "start",
    )
    time.sleep(SETTLE)
    back.counts()
    begin, waited = time.monotonic(), _waited(back.pid) + _waited(front.pid)
    time.sleep(seconds)
    waited = _waited(back.pid) + _waited(front.pid) - waited
    passed = time.monotonic() - begin
    counts = back.counts()
    back.stop()
    front.stop()
    rate = counts.rx_rate if parameter == "tx" else counts.tx_rate
    share = round(waited / passed, 3)
    if not rate and share <= WAITED:
        raise IxyError(f"no packets in {seconds:g} s of {parameter}")
    return Round(round(rate / 1e6, 2), before, round_trip() or 0.0, share)


def _waited(pid: int) -> float:
    """Seconds for which the threads of a process have waited for a core so far."""
    found = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[1]) for file in found) / 1e9


class Front(ABC):
    """A front end, connected to the back end and idle. `pid` is its process."""

    pid: int

    @abstractmethod
    def start(self, parameter: str) -> None:
        """Begins to send, to receive or to forward; returns when it does."""

    @abstractmethod
    def stop(self) -> None:
        """Ends that."""

    @abstractmethod
    def counts(self) -> Counted:
        """Packets received and sent so far."""

    @abstractmethod
    def close(self) -> None:
        """Leaves the back end."""


class TheirFront(Front):
    """DPDK's virtio_user."""

    def __init__(self, row: str, path: str, core: int) -> None:
        options, eal = THEIRS[row]
        port = f"net_virtio_user0,path={path},queues=1{options}"
        self._testpmd = Testpmd(port, core=core, eal=eal)
        self.pid = self._testpmd.pid

    def start(self, parameter: str) -> None:
        """Begins to forward in the mode that stands for the parameter."""
        self._testpmd.forward(FRONT_END[parameter])

    def stop(self) -> None:
        """Ends forwarding."""
        self._testpmd.stop()

    def counts(self) -> Counted:
        """Packets received and sent so far."""
        counts = self._testpmd.counts()
        return counts.rx, counts.tx

    def close(self) -> None:
        """Ends the process."""
        self._testpmd.close()


class OurFront(Front):
    """Our driver, in this process. Its worker is pinned to the last core."""

    def __init__(self, row: str, path: str) -> None:
        self.pid = os.getpid()
        self._device = open_device(f"vhost-user:{path}?ring={RING}&{OURS[row]}")
        self._device.wait_for_link()
        self._workers = Workers()

    def start(self, parameter: str) -> None:
        """Starts the loop that stands for the parameter."""
        self._workers = Workers()
        rx, tx = self._device.rx[0].record, self._device.tx[0].record
        loop = {"tx": send, "rx": receive, "forward": swap}[parameter]
        arguments = (rx, tx, np.zeros(BURST, np.uint32), _FRAME, self._workers.control)
        self._workers.start([partial(loop, *arguments)], self._device)
        while not self._workers.running:  # it is being compiled
            time.sleep(0.001)

    def stop(self) -> None:
        """Ends the loop."""
        self._workers.stop()
        self._workers.check()

    def counts(self) -> Counted:
        """Packets received and sent so far."""
        total = self._device.statistics()
        return total.rx_packets, total.tx_packets

    def close(self) -> None:
        """Closes the device."""
        self._device.close()


_FRAME = np.frombuffer(numbered_frame(SIZE), np.uint8)


@compiled
def send(rx, tx, bufs, frame, control):
    """Sends frames, each written into its packet, until it is told to stop."""
    begin(control[0])
    pool = pool_of(tx[0])
    length = lengths(pool)
    source = frame.ctypes.data
    while told(control[0]) == RUN:
        count = alloc_batch(pool, bufs)
        for buf in bufs[:count]:
            copy_bytes(packet_address(pool, buf), source, SIZE)
            length[buf] = SIZE
        sent = tx_batch(tx[0], bufs[:count])
        free_batch(pool, bufs[sent:count])


@compiled
def receive(rx, tx, bufs, frame, control):
    """Frees what arrives, until it is told to stop."""
    begin(control[0])
    pool = pool_of(rx[0])
    while told(control[0]) == RUN:
        received = rx_batch(rx[0], bufs)
        free_batch(pool, bufs[:received])


@compiled
def swap(rx, tx, bufs, frame, control):
    """Sends back what arrives, its MAC addresses exchanged, until it is told to stop."""
    begin(control[0])
    pool = pool_of(rx[0])
    while told(control[0]) == RUN:
        received = rx_batch(rx[0], bufs)
        for buf in bufs[:received]:
            header = array_at(packet_address(pool, buf), 1, Addresses)[0]
            low, high = header.low, np.uint64(header.high)
            header.low = low >> np.uint64(48) | high << np.uint64(16) | low << np.uint64(48)
            header.high = low >> np.uint64(16)
        sent = tx_batch(tx[0], bufs[:received])
        free_batch(pool, bufs[sent:received])
