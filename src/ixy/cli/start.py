"""Where `ixy` begins: signals are heeded from the first moment, errors become one line."""

import os
import signal
import sys
import traceback
from types import FrameType
from typing import NoReturn


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


def main() -> NoReturn:
    """The command. Exits 0 only when it did what it was asked; an error is one line on stderr."""
    try:
        code = run()
    except Stopped as stop:
        code = stop.exit_code
    sys.stdout.flush()
    sys.stderr.flush()
    # no clean-up by the interpreter: a thread may still be in the compiler, and everything has been
    # closed
    os._exit(code)


def run() -> int:
    """Runs the command line; returns the exit code."""
    from typer.exceptions import TyperException

    from ixy.cli.main import app
    from ixy.errors import IxyError

    try:
        code = app(standalone_mode=False)
    except TyperException as error:
        return fail(f"{error.format_message()}: see ixy --help", error.exit_code)
    except IxyError as error:
        return fail(str(error), 1)
    except BrokenPipeError:
        return 1  # whoever read our output has gone
    except Exception as error:
        return fail(f"unexpected {type(error).__name__}: {error} (IXY_DEBUG=1 shows where)", 1)
    return code if isinstance(code, int) else 0


def fail(message: str, code: int) -> int:
    """Prints an error as one line; with IXY_DEBUG=1 where it came from, too."""
    if os.environ.get("IXY_DEBUG", "") not in ("", "0"):
        traceback.print_exc()
    print("ixy: " + " ".join(message.split()), file=sys.stderr)
    return code
