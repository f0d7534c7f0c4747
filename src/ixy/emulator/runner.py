"""The thread that runs the emulated devices of a process, compiled and without the GIL."""

import atexit
import os
import subprocess
import sys
import threading
import time
from functools import cache

import numpy as np

from ixy.compiled import JIT, cache_directory
from ixy.emulator.intel82599.datapath import BURST, DOZE, run
from ixy.emulator.intel82599.messages import raise_and_deliver
from ixy.emulator.intel82599.model import Intel82599
from ixy.emulator.intel82599.port import Port
from ixy.errors import IxyError
from ixy.memory.ordered import address_of
from ixy.system import be_punctual

SLICE = 0.02  # seconds of compiled code between two looks at what only Python can do,
DOZING_SLICE = 0.05  # and while no frame comes
READY = "datapath-is-compiled"  # a file in the cache
LONGEST_SLICE = 0.5  # seconds that it may really take


@cache
def compile_ahead() -> "subprocess.Popen[bytes] | None":
    """Compiles the data path in a process of its own, once for all that follow: the compiler runs
    on one core at a time, and this process has a driver and an app to compile. Not in plain Python.
    """
    directory = cache_directory() if JIT else None
    if directory is None or os.path.exists(os.path.join(directory, READY)):
        return None
    program = [sys.executable, "-c", "from ixy.emulator import runner; runner.compile_datapath()"]
    null = subprocess.DEVNULL
    return subprocess.Popen(program, stdin=null, stdout=null, stderr=null)


def compile_datapath() -> None:
    """Compiles the data path, if the cache has none, and leaves a mark there that it has."""
    raise_and_deliver(np.zeros(1, Port), 0, 0)
    run(np.zeros(0, np.uint64), np.zeros(1, np.int64), BURST, 0)
    directory = cache_directory()
    if directory is not None:
        open(os.path.join(directory, READY), "w").close()


class Runner:
    """The thread that runs the emulated devices of this process."""

    def __init__(self) -> None:
        self._wanted: tuple[Intel82599, ...] = ()
        self._running: tuple[Intel82599, ...] = ()  # what the thread has taken over of `_wanted`
        self._until = np.zeros(1, np.int64)  # ns: when compiled code comes back
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def attach(self, model: Intel82599) -> None:
        """Runs a device from now on; it has no link before it does."""
        model.awake = False
        with self._change:
            self._wanted = (*self._wanted, model)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="ixy-emulator", daemon=True)
                self._thread.start()

    def detach(self, model: Intel82599) -> bool:
        """Stops running a device; returns whether it is certain that nothing of it is used any
        more: the thread may be in the compiler, for seconds.
        """
        with self._change:
            self._wanted = tuple(other for other in self._wanted if other is not model)
            self._until[0] = 0
            return self._change.wait_for(lambda: model not in self._running, LONGEST_SLICE)

    def stop(self) -> None:
        """Ends the thread: at exit compiled code must not run on memory that Python takes back."""
        with self._change:
            self._wanted = ()
            self._until[0] = 0
            self._change.wait_for(lambda: not self._running, LONGEST_SLICE)

    def _loop(self) -> None:
        be_punctual()
        if ahead := compile_ahead():
            ahead.wait()
        idle = 0
        while self._take_over(SLICE if idle < DOZE else DOZING_SLICE):
            try:
                ports = np.array([address_of(model.port) for model in self._running], np.uint64)
                idle = run(ports, self._until, BURST, idle)
                for model in self._running:
                    model.awake = True
                    model.service()
            except Exception as failure:
                self._fail(failure)

    def _take_over(self, seconds: float) -> bool:
        """Takes over what is wanted, for so long or until that changes; returns whether it is
        anything. If not, the thread ends.
        """
        with self._change:
            self._until[0] = time.monotonic_ns() + int(seconds * 1e9)
            if self._running is not self._wanted:
                self._running = self._wanted
                self._change.notify_all()
            if not self._running:
                self._thread = None
            return bool(self._running)

    def _fail(self, failure: Exception) -> None:
        """The emulator itself has failed: every device says so, none is run any more."""
        with self._change:
            for model in self._wanted:
                model.port[0]["lock"] = 0  # it may have failed while it held it
                model.failure = IxyError(
                    f"the emulator failed: {type(failure).__name__}: {failure}"
                )
            self._wanted = ()


RUNNER = Runner()  # this process's
atexit.register(RUNNER.stop)
