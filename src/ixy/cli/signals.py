"""Ctrl-C and SIGTERM."""

import signal
from types import FrameType


class Stopped(BaseException):
    """A signal has come before there was anything to stop; or, at the end of a run, an early stop
    to be reported.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class Signals:
    """Ctrl-C and SIGTERM. Until `hold`, they raise Stopped wherever the program is; then they only
    set `received`.
    """

    def __init__(self) -> None:
        self.received = 0
        self._held = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, _: FrameType | None) -> None:
        first = not self.received
        self.received = number
        if first and not self._held:
            raise Stopped(number)

    def hold(self) -> None:
        """From now on the program looks at `received` itself. Raises Stopped if it is too late for
        that.
        """
        self._held = True
        if self.received:
            raise Stopped(self.received)


signals = Signals()
