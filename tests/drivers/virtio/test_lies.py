"""A back end that lies: whatever it says, no buffer is handed out twice, none is lost, no packet is
longer than its buffer, and what it did wrong has a name.
"""

import gc
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import ixy
from command import many
from ixy.apps.workers import RUN, Workers, begin, told
from ixy.compiled import compiled
from ixy.datasheets.virtio import Feature
from ixy.device import Device, pool_of, rx_batch, tx_batch
from ixy.drivers.virtio.driver import VirtioDevice
from ixy.drivers.virtio.vhost_user import VhostUser
from ixy.errors import IxyError
from ixy.memory.ordered import array_at
from ixy.memory.pool import Mempool, alloc_batch, free_batch, free_stack, lengths
from vhost_backend import IN_ORDER, MRG_RXBUF, OFFERED, RING_PACKED, Backend
from vhost_liar import Gossip, Liar
from vhost_rings import Refused

RING, BUFFERS, MOST = 64, 256, 32
HELD, RECEIVED, SENT, WRONG_LENGTH = range(4)
NAMES = (
    r"used id \d+ is not in flight",
    r"a used buffer of \d+ bytes",
    r"\d+ buffers used at once",
    r"a packet in \d+ buffers",
)


@compiled
def turn(rx, tx, bufs, state):
    """An app's turn: sends what it held, receives, holds that; some of it is freed on the way."""
    pool = pool_of(rx[0])
    held = state[HELD]
    sent = tx_batch(tx[0], bufs[:held])
    free_batch(pool, bufs[sent:held])
    fresh = alloc_batch(pool, bufs[: len(bufs) // 4])
    length = lengths(pool)
    for buf in bufs[:fresh]:
        length[buf] = 60
    more = tx_batch(tx[0], bufs[:fresh])
    free_batch(pool, bufs[more:fresh])
    received = rx_batch(rx[0], bufs)
    for buf in bufs[:received]:
        if length[buf] == 0 or length[buf] > 2048:
            state[WRONG_LENGTH] += 1
    tx_batch(tx[0], bufs[:0])
    state[HELD] = received
    state[RECEIVED] += received
    state[SENT] += sent + more


@compiled
def turn_until_told(rx, tx, bufs, state, control):
    """Turn after turn."""
    begin(control[0])
    while told(control[0]) == RUN:
        turn(rx, tx, bufs, state)


@compiled
def mark(pool, bufs, marks):
    """Each of these is here."""
    for buf in bufs:
        if pool.first <= buf < pool.first + pool.count:
            marks[buf - pool.first] += 1
        else:
            marks[0] += 2


@compiled
def mark_ring(pool, queue, marks):
    """And each that the device has."""
    slots = array_at(queue.bufs, queue.size, np.uint32)
    for i in range(queue.held):
        at = np.int64(queue.oldest + i) % np.int64(queue.size)
        mark(pool, slots[at : at + 1], marks)


@compiled
def count_buffers(pool, rx, tx, in_hand, marks):
    """How often each buffer is somewhere: free, in a ring, or in hand."""
    marks[:] = 0
    mark(pool[0], free_stack(pool[0])[: pool[0].top], marks)
    mark_ring(pool[0], rx[0], marks)
    mark_ring(pool[0], tx[0], marks)
    mark(pool[0], in_hand, marks)


class Victim:
    """Our driver at a back end that lies, and the books on its buffers."""

    def __init__(self, backend: Backend, device: Device) -> None:
        self.backend, self.device = backend, device
        self.pool = device.rx[0].pool
        self.rx, self.tx = device.rx[0].record, device.tx[0].record
        self.bufs, self.state = np.zeros(MOST, np.uint32), np.zeros(4, np.int64)
        self.marks = np.zeros(self.pool.count, np.uint8)

    def turns(self, count: int = 3) -> None:
        """As often as it takes to look at all of both rings; the books are right then."""
        for _ in range(count):
            turn(self.rx, self.tx, self.bufs, self.state)
        self.balance()

    def balance(self) -> None:
        """Each buffer is in one place."""
        in_hand = self.bufs[: self.state[HELD]]
        count_buffers(self.pool.record, self.rx, self.tx, in_hand, self.marks)
        assert (self.marks == 1).all(), np.flatnonzero(self.marks != 1)
        assert self.state[WRONG_LENGTH] == 0, "longer than its buffer, or empty"

    @property
    def found(self) -> list[int]:
        """The rings that it found a lie in."""
        return [i for i, queue in enumerate((self.rx, self.tx)) if queue[0]["failed"]]

    def complaint(self) -> str:
        """What it says of the lie: the one of NAMES that it is."""
        with pytest.raises(IxyError) as error:
            self.device.statistics()
        (name,) = [name for name in NAMES if re.search(name, str(error.value))]
        return name

    def restart(self, liar: Liar) -> None:
        """As for a new back end."""
        self.device.restart()
        liar.reset()
        for queue in (self.rx, self.tx):
            queue[0]["failed"] = 0
        self.turns(1)


@pytest.fixture
def pool() -> Iterator[Mempool]:
    pool = Mempool(BUFFERS)
    yield pool
    assert pool.available == BUFFERS, "not all buffers came back"
    pool.close()


@contextmanager
def victim_of(path: Path, pool: Mempool, packed: int, in_order: bool, mergeable: bool):
    """Our driver and a liar with these features, both at the beginning."""
    features = set(OFFERED) - (set() if in_order else {IN_ORDER})
    wanted = Feature.MRG_RXBUF if mergeable else Feature(0)
    refused = Feature(0) if packed else Feature.RING_PACKED
    with Backend(path, features=features) as backend:
        transport = VhostUser(f"vhost-user:{path}", str(path), listener=False)
        with VirtioDevice(transport, [pool], RING, wanted=wanted, refused=refused) as device:
            backend.wait()
            for bit, agreed in (
                (RING_PACKED, packed), (IN_ORDER, in_order), (MRG_RXBUF, mergeable)
            ):  # fmt: skip
                assert backend.session.has(bit) == agreed
            victim, liar = Victim(backend, device), Liar(backend, 4 * packed + 2 * in_order)
            yield victim, liar
            victim.restart(liar)
            before = victim.state[RECEIVED]
            assert backend.give([bytes(60)] * 20) == 20
            victim.turns()
            assert victim.state[RECEIVED] == before + 20, "it does not work any more"
            assert len(backend.take()) >= 20
            pool.give(victim.bufs[: victim.state[HELD]])


FEATURES = pytest.mark.parametrize(
    ("packed", "in_order", "mergeable"),
    [(0, False, False), (0, True, True), (1, False, True), (1, True, False)],
)


@FEATURES
def test_lies_about_rings(
    tmp_path: Path, pool: Mempool, packed: int, in_order: bool, mergeable: bool
) -> None:
    """What must be found is found; whatever is, has a name."""
    lies: Counter[str] = Counter()
    named: Counter[str] = Counter()
    with victim_of(tmp_path / "sock", pool, packed, in_order, mergeable) as (victim, liar):
        while lies.total() < many(25_000, 400):
            try:
                if liar.random.random() < 0.4:
                    liar.truth()
                    victim.turns(1)
                lie, ring = liar.lie()
            except Refused:  # it has come to believe its own lies
                victim.restart(liar)
                continue
            lies[lie] += 1
            victim.turns()
            if ring is not None:
                assert ring in victim.found, f"{lie} was not found, in ring {ring}"
            if victim.found:
                named[victim.complaint()] += 1
            if victim.found or liar.random.random() < 0.2:
                victim.restart(liar)
    assert len(lies) == (10 if mergeable else 9)
    assert len(named) >= 2


@FEATURES
def test_lies_while_it_works(
    tmp_path: Path, pool: Mempool, packed: int, in_order: bool, mergeable: bool
) -> None:
    """The rings change under its hands."""
    with victim_of(tmp_path / "sock", pool, packed, in_order, mergeable) as (victim, liar):
        for _ in range(many(40, 8)):
            workers = Workers()
            words = victim.rx, victim.tx, victim.bufs, victim.state, workers.control
            workers.start([partial(turn_until_told, *words)])
            for _ in range(50):
                with suppress(Refused):
                    liar.truth()
                    liar.lie()
            workers.stop()
            workers.check()
            victim.balance()
            if victim.found:
                victim.complaint()
            victim.restart(liar)


def open_files() -> list[str]:
    """What descriptors are of, but for this directory itself."""
    found = []
    for file in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{file}"))
    return sorted(found)


def open_and_close(backend: Gossip, address: str, pool: Mempool) -> str:
    """Returns how it went."""
    try:
        with ixy.open(address, pools=[pool]) as device:
            backend.unasked()
            device.link_speed()
            device.statistics()
    except IxyError as error:
        return str(error)
    return "opened"


def test_lies_in_messages(tmp_path: Path, pool: Mempool) -> None:
    """Opening fails in one line that names the message, or it works; nothing is left behind."""
    path = tmp_path / "sock"
    outcomes: Counter[str] = Counter()
    with Gossip(path, 1, queues=2) as backend:
        gc.collect()
        files = open_files()
        while backend.lies.total() < many(700, 150):
            outcomes[open_and_close(backend, f"vhost-user:{path}?ring={RING}", pool)] += 1
            assert pool.available == BUFFERS
        gc.collect()  # memory goes with the last view of it
        deadline = time.monotonic() + 5
        while open_files() != files and time.monotonic() < deadline:
            time.sleep(0.001)
        assert open_files() == files, "a descriptor stays open"
    assert outcomes.pop("opened") > many(10, 2)  # as many in proportion
    for said in outcomes:
        assert said.startswith(f"vhost-user:{path}?ring={RING}: ")
        assert "\n" not in said
    assert len(backend.lies) >= 10


def test_a_session_that_ends_again_and_again(tmp_path: Path, pool: Mempool) -> None:
    """An open device and a back end that hangs up, says what nobody asked for, and lies in its
    next greeting: in the end it is honest, and frames flow.
    """
    path = tmp_path / "sock"
    with Gossip(path, 2, honest=1.0) as backend:
        with ixy.open(f"vhost-user:{path}?ring={RING}", pools=[pool]) as device:
            backend.wait()
            victim = Victim(backend, device)
            for _ in range(many(25, 10)):
                backend.unasked()
                backend.honest = 0.8
                for _ in range(20):
                    victim.turns(1)
                    time.sleep(0.005)
                backend.honest = 1.0
                wait_for_session(backend)
                backend.take()
            victim.turns()
            assert backend.give([bytes(60)] * 5) == 5
            before = victim.state[RECEIVED]
            victim.turns()
            assert victim.state[RECEIVED] == before + 5
            device.statistics()
            pool.give(victim.bufs[: victim.state[HELD]])
        assert backend.lies["unasked"] >= many(25, 10) - 2


def wait_for_session(backend: Backend) -> None:
    deadline = time.monotonic() + 10
    while not backend.ready:
        assert time.monotonic() < deadline, "it does not come back"
        time.sleep(0.005)
