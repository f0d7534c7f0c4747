"""`bench generate`: what a packet costs the generator, beside trafgen and DPDK's testpmd.

Generator and device take turns in one thread, as in `bench driver`: the generator writes a batch of
packets and puts it on the transmit ring, the device says that it has sent it, and does nothing
else; its time is not counted. So it is what one core does with a card that is never the bottleneck.
In each round the candidates take turns. Before and after, checksums are computed anew, in full.

The same back end for testpmd is `net_null`, which takes packets and frees them. Into the kernel go
trafgen, by AF_PACKET and a veth interface, testpmd by the same, and ours by its emulated card and a
TAP interface: those need root, and figures there are mostly the kernel's.
"""

import itertools
import time
from statistics import median
from typing import Any

import numpy as np

from ixy.bench.candidates import our_layout
from ixy.bench.generators import FIVE, ONE, PEERS, Peer, remove_namespace
from ixy.bench.machine import describe
from ixy.bench.nic import BUFS, RING, clock_costs
from ixy.compiled import JIT, compiled
from ixy.datasheets.intel82599 import TX_DD, TxDescriptor
from ixy.device import pool_of, tx_batch
from ixy.errors import IxyError
from ixy.memory.ordered import Word, address_of, array_at, load_acquire, store_release
from ixy.memory.pool import Mempool
from ixy.system import cycles
from ixy.traffic.pacing import clock
from ixy.traffic.reserve import Reserve
from ixy.traffic.sizes import parse_sizes
from ixy.traffic.stream import Stream, prepare
from ixy.traffic.templates import built_in, checksum, pseudo_header

BATCH = 64
TURNS = 1000  # in a run
INTERRUPTED = 50_000  # cycles: a turn that took longer was interrupted, and does not count
GOAL = 10.0  # Mpps: the five fields
clean_up = remove_namespace  # when a run is ended on the spot
ROWS: dict[str, dict[str, Any]] = {
    "ixy constant": {},
    "ixy one field": {"vary": ONE},
    "ixy five fields": {"vary": FIVE},
    "ixy five fields, imix": {"vary": FIVE, "sizes": parse_sizes("imix")},
}


def measure(
    rounds: int = 5, seconds: float = 60.0, peers: tuple[Peer, ...] = PEERS
) -> dict[str, Any]:
    """Measures all rows; returns the JSON object of `ixy bench generate --json`.

    `seconds` is about how long it takes, without set-up. Raises IxyError for a wrong checksum.
    """
    if not JIT:
        raise IxyError("a benchmark needs the compiler: unset NUMBA_DISABLE_JIT")
    ours = {name: Turns(**settings) for name, settings in ROWS.items()}
    theirs = {peer.name: peer for peer in peers if peer.missing() is None}
    share = seconds / rounds / (len(ours) + len(theirs))
    per_us = clock().ticks_per_ns * 1e3
    raw: dict[str, dict[str, list[float]]] = {}
    for _, name in itertools.product(range(rounds), (*ours, *theirs)):
        cost = ours[name].cost(share) if name in ours else per_us / theirs[name].mpps(share)
        row = raw.setdefault(name, {"cycles": [], "Mpps": []})
        row["cycles"].append(round(cost, 2))
        row["Mpps"].append(round(per_us / cost, 3))
    for each in ours.values():
        each.check()
    rows = {name: {key: median(of) for key, of in row.items()} for name, row in raw.items()}
    mpps = rows["ixy five fields"]["Mpps"]
    absent = [f"no row {peer.name}: {peer.missing()}" for peer in peers if peer.missing()]
    return {
        "unit": "cycles per packet, and Mpps",
        "machine": describe(),
        "rows": rows,
        "rounds": raw,
        "bounds": {"five fields": {"mpps": mpps, "goal": GOAL, "met": mpps >= GOAL}},
        "note": "; ".join(absent) or None,
    }


class Turns:
    """A stream on a transmit ring, and the device that empties it."""

    def __init__(self, **settings: Any) -> None:
        self._pool = Mempool(BUFS)
        self._queues = our_layout(self._pool)
        self._reserve = Reserve(self._pool, RING + BATCH)
        self._stream = Stream(built_in("udp4", bytes([2, 0, 0, 0, 0, 1])), **settings)
        self._stream.live_in(self._reserve)
        self._queues.tx[0]["pool"] = address_of(self._reserve.record)
        self._bufs = np.zeros(BATCH, np.uint32)
        self._run(np.zeros(20, np.int64))
        self.check()

    def _run(self, times: np.ndarray[Any, Any]) -> None:
        queues, stream = self._queues, self._stream
        take_turns(queues.rings.nic, queues.tx, self._bufs, stream.record, stream.fields, times)

    def check(self) -> None:
        """Raises IxyError unless the checksums of the last batch are right."""
        for buf in self._bufs:
            frame = bytes(self._pool.view(int(buf)))
            ip, packet = frame[14:34], frame[34:]
            if checksum(ip) or checksum(pseudo_header(ip[12:20], 17, len(packet)) + packet):
                raise IxyError(f"a wrong checksum: {frame.hex()}")

    def cost(self, seconds: float) -> float:
        """Cycles per packet, measured for about so many seconds: the median of the runs."""
        times, clocks = np.zeros(TURNS, np.int64), np.zeros(1000, np.int64)
        clock_costs(clocks)
        runs: list[float] = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline or len(runs) < 2:
            self._run(times)
            kept = times[times <= INTERRUPTED]
            runs.append((float(kept.mean()) - float(np.median(clocks))) / BATCH)
        return median(runs)


@compiled
def take_turns(nics, tx, bufs, stream, fields, times):
    """Lets generator and device take turns; notes the cycles of each of the generator's."""
    for i in range(len(times)):
        begin = cycles()
        count = prepare(pool_of(tx[0]), bufs, stream[0], fields)
        sent = tx_batch(tx[0], bufs[:count])
        times[i] = cycles() - begin
        if sent < len(bufs):
            raise ValueError("the ring has no room for a batch")
        empty(nics[0])


@compiled
def empty(nic):
    """Sends what is on the ring: marks its descriptors as done (7.2.3)."""
    ring = array_at(nic.tx_ring, RING, TxDescriptor)
    tail = load_acquire(array_at(nic.tx_tail, 1, Word)[0], "value")
    head = np.int64(nic.tx_head)
    while head != tail:
        store_release(ring[head], "status", TX_DD)
        head = (head + 1) & (RING - 1)
    nic.tx_head = head
