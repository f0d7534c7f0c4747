"""Compiled loops in threads of their own: one per queue, pinned to a core, without the GIL."""

import os
import select
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from ixy.compiled import JIT, compiled
from ixy.device import Device, RxQueue
from ixy.memory.ordered import fetch_add, load_acquire, records
from ixy.system import back_off, be_punctual, go_first, pin

# What workers and the thread that started them share. `stop` is HOLD while they wait for a word to
# go, then RUN until they are told to finish what has arrived, or to stop at once. `budget` is how
# many packets are still to be handled; it is ignored unless `limited`.
Control = np.dtype(
    [("stop", "u4"), ("limited", "u4"), ("running", "u8"), ("budget", "i8")], align=True
)
RUN, FINISH, STOP, HOLD = range(4)


@compiled
def told(control):
    """HOLD, RUN, FINISH or STOP."""
    return load_acquire(control, "stop")


@compiled
def begin(control):
    """A worker's first word: it is compiled, and runs unless it is held."""
    fetch_add(control, "running", 1)
    idle = 0
    while told(control) == HOLD:
        idle += 1
        back_off(idle)


@compiled
def claim(control, count):
    """Takes up to `count` packets out of the budget; returns how many. Give back with `refund` what
    is not used.
    """
    if not control.limited:
        return count
    left = fetch_add(control, "budget", -count)
    granted = min(max(left, 0), count)
    fetch_add(control, "budget", count - granted)
    return granted


@compiled
def refund(control, count):
    """Gives back what was claimed and not used."""
    if control.limited and count:
        fetch_add(control, "budget", count)


class Workers:
    """Threads that run one compiled loop each, until it ends by itself or is told to."""

    def __init__(self, count: int | None = None) -> None:
        self._epolls: list[select.epoll] = []
        self.control = records(1, Control)
        self.control[0]["limited"] = count is not None
        self.control[0]["budget"] = count or 0
        self._threads: list[threading.Thread] = []
        self._beside: list[threading.Thread] = []
        self._urgent = False
        self._failure: BaseException | None = None

    def start(
        self,
        loops: Sequence[Callable[[], object]],
        *devices: Device,
        beside: Callable[[], object] | None = None,
        urgent: bool = False,
    ) -> None:
        """Starts a thread for each loop. A device that is closed stops them first.

        `urgent` loops must not be late: they go before other threads where that leaves a core, and
        the interpreter, for those.

        `beside` is what plain Python does for them meanwhile, in a thread on any core. It looks at
        `word` itself, also while that is HOLD.
        """
        for device in devices:
            device.before_close.append(self.stop)
        self._urgent = urgent and JIT and len(loops) < len(os.sched_getaffinity(0))
        self._threads += [self._thread(index, loop, devices) for index, loop in enumerate(loops)]
        self._beside += [self._thread(None, beside, devices)] if beside else []
        for thread in self._threads + self._beside:
            thread.start()

    def _thread(self, *arguments: object) -> threading.Thread:
        """One that keeps all of these alive."""
        return threading.Thread(target=self._work, args=arguments, daemon=True)

    def hold(self) -> None:
        """Before `start`: lets the loops be compiled and wait until `go`."""
        self._tell(HOLD)

    def go(self) -> None:
        """Lets the loops run that are held."""
        self._tell(RUN)

    def events_of(self, *queues: RxQueue) -> int:
        """An epoll instance in which a worker waits for any of these queues' interrupts (see
        `rest`); -1 if one has none, and must be polled.
        """
        if any(queue.event < 0 for queue in queues):
            return -1
        self._epolls.append(epoll := select.epoll())
        for queue in queues:
            epoll.register(queue.event, select.EPOLLIN | select.EPOLLET)
        return epoll.fileno()

    def _work(self, index: int | None, loop: Callable[[], object], _: Sequence[Device]) -> None:
        try:
            if index is not None:
                pin(index)
                be_punctual()
                if self._urgent:
                    go_first()
            loop()
        except BaseException as failure:  # raised again by `check`, in the thread that waits
            self._failure = failure

    @property
    def running(self) -> bool:
        """Whether all loops have been compiled and begun."""
        return int(self.control[0]["running"]) >= len(self._threads) or not self.busy

    @property
    def busy(self) -> bool:
        """Whether a loop has not ended, or what runs beside them."""
        return any(thread.is_alive() for thread in self._threads + self._beside)

    @property
    def accompanied(self) -> bool:
        """Whether what runs beside the loops has not ended."""
        return any(thread.is_alive() for thread in self._beside)

    @property
    def word(self) -> int:
        """HOLD, RUN, FINISH or STOP: what the loops have been told."""
        return int(self.control[0]["stop"])

    def check(self) -> None:
        """Raises what a loop has raised."""
        if self._failure is not None:
            raise self._failure

    def finish(self, timeout: float = 1.0) -> None:
        """Lets the loops handle what has arrived, then stops them."""
        self._tell(FINISH)
        self._wait(timeout)
        self.stop()

    def stop(self, timeout: float = 0.1) -> bool:
        """Stops the loops; returns whether all have ended.

        Those that have begun are waited for: their devices' memory must not go before them. One
        that is still in the compiler, for seconds perhaps, ends before it touches anything.
        """
        self._tell(STOP)
        while not self._wait(timeout):
            alive = sum(thread.is_alive() for thread in self._threads)
            if alive <= len(self._threads) - int(self.control[0]["running"]):
                return False
        return True

    def _tell(self, word: int) -> None:
        self.control[0]["stop"] = word  # one aligned word: workers see the old or the new one

    def _wait(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self.busy and time.monotonic() < deadline:
            time.sleep(0.0005)
        return not self.busy
