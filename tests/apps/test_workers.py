"""Budget and threads, without packets."""

import os
import threading
import time

import numpy as np
import pytest

from command import many
from ixy.apps.workers import FINISH, RUN, STOP, Workers, begin, claim, refund, told
from ixy.compiled import JIT, compiled
from ixy.device import RxQueue
from ixy.system import PATIENCE, SPINS, YIELDS, await_event, rest


@compiled
def spend(control, sizes, used, rounds):
    """Claims, uses some of it, gives the rest back; `used` counts."""
    begin(control[0])
    for i in range(rounds):
        wanted = sizes[i % len(sizes)]
        granted = claim(control[0], wanted)
        use = granted - (i % 3 if granted > 2 else 0)
        used[0] += use
        refund(control[0], granted - use)


@compiled
def until_told(control, seen):
    begin(control[0])
    while told(control[0]) == RUN:
        seen[0] += 1
    seen[1] = told(control[0])
    while told(control[0]) != STOP:
        pass


@pytest.mark.parametrize("budget", [1, 63, 1000, 100_000])
def test_several_threads_together_use_the_budget_and_never_more(budget: int) -> None:
    workers = Workers(budget)
    sizes = np.array([64, 1, 7, 33], np.int64)
    used = [np.zeros(1, np.int64) for _ in range(4)]
    rounds = many(20_000, 2 * budget // 26 + 50)
    workers.start([lambda u=u: spend(workers.control, sizes, u, rounds) for u in used])
    deadline = time.monotonic() + 60
    while workers.busy:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    workers.check()
    total = sum(int(u[0]) for u in used)
    assert total + int(workers.control[0]["budget"]) == budget
    assert total <= budget
    assert (workers.control[0]["budget"] <= 0) == (total == budget)
    if budget <= 1000:
        assert total == budget


@compiled
def claim_one(control, count):
    return claim(control[0], count)


@compiled
def refund_one(control, count):
    refund(control[0], count)


def test_claim_and_refund_by_numbers() -> None:
    control = Workers(10).control
    assert [claim_one(control, n) for n in (4, 4, 4, 4)] == [4, 4, 2, 0]
    refund_one(control, 3)
    assert [claim_one(control, n) for n in (2, 2, 1)] == [2, 1, 0]


def test_without_a_budget_everything_is_granted() -> None:
    workers = Workers()
    assert [claim_one(workers.control, n) for n in (64, 0, 2**40)] == [64, 0, 2**40]
    refund_one(workers.control, 5)
    assert int(workers.control[0]["budget"]) == 0


@pytest.mark.parametrize("how", ["finish", "stop"])
def test_workers_do_as_they_are_told(how: str) -> None:
    workers = Workers()
    seen = [np.zeros(2, np.int64) for _ in range(3)]
    workers.start([lambda s=s: until_told(workers.control, s) for s in seen])
    deadline = time.monotonic() + 60
    while not all(s[0] for s in seen):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert workers.running
    assert workers.busy
    if how == "finish":
        workers.finish(0.2)
    else:
        assert workers.stop(5)
    assert not workers.busy
    assert workers.running
    assert {int(s[1]) for s in seen} <= {FINISH, STOP}


def test_what_a_loop_raises_comes_out_of_check() -> None:
    def fail() -> None:
        raise ValueError("a loop")

    workers = Workers()
    workers.check()
    workers.start([fail])
    while workers.busy:
        time.sleep(0.001)
    assert workers.running  # or who waits for them to begin would wait for ever
    with pytest.raises(ValueError, match="a loop"):
        workers.check()


def test_stop_tells_when_a_loop_has_not_ended() -> None:
    event = threading.Event()
    workers = Workers()
    workers.start([lambda: event.wait(10)])
    assert not workers.stop(0.05)
    event.set()
    assert workers.stop(5)


def test_a_worker_rests_until_any_of_its_queues_interrupts() -> None:
    workers = Workers()
    queues = [RxQueue(None, None, os.eventfd(0, os.EFD_NONBLOCK)) for _ in range(2)]
    events = workers.events_of(*queues)
    assert await_event(events, 0) == 0
    for queue in queues:
        os.eventfd_write(queue.event, 1)
        assert await_event(events, 1000) == 1
        assert await_event(events, 0) == 0  # nobody has read the counter: only a new one wakes
        os.eventfd_write(queue.event, 1)
        rest(SPINS + YIELDS, events)
        assert await_event(events, 0) == 0
        begin = time.monotonic()
        rest(SPINS + YIELDS, events)
        assert time.monotonic() - begin >= PATIENCE / 1000
    assert workers.events_of(queues[0], RxQueue(None, None)) == -1  # that one must be polled
    for queue in queues:
        os.close(queue.event)


def test_what_runs_beside_the_loops_is_waited_for_and_its_failure_raised() -> None:
    workers, words = Workers(), []
    seen = np.zeros(2, np.int64)

    def beside() -> None:
        while workers.word != STOP:
            words.append(workers.word)
            time.sleep(0.001)
        raise ValueError("beside")

    workers.hold()
    workers.start([lambda: until_told(workers.control, seen)], beside=beside)
    while not (workers.running and words):
        time.sleep(0.001)
    workers.go()
    while RUN not in words:
        time.sleep(0.001)
    assert workers.busy
    assert workers.stop()
    assert not workers.busy
    with pytest.raises(ValueError, match="beside"):
        workers.check()


def test_urgent_loops_leave_a_core_for_others() -> None:
    cores = len(os.sched_getaffinity(0))
    nice: list[int] = []
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    for loops in (1, cores):
        workers = Workers()

        def look() -> None:
            nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

        workers.start([look] * loops, urgent=True)
        while workers.busy:
            time.sleep(0.001)
    may = JIT and cores > 1 and os.geteuid() == 0
    assert nice[1:] == [usual] * cores
    assert nice[0] == (-20 if may else usual)
