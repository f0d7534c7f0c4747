"""Ctrl-C and SIGTERM, heeded from the first moment.

A signal must not raise an exception: it would surface anywhere, also half-way through an import or
the compiler. So it sets `received`, and what happens then depends on how far the program is:
`abandon`, if it is set, prints what there is to print, what is in `closing` is closed, and the
process ends on the spot; where there is something to finish, the program looks at `received`
itself.
"""

import _signal as signal  # signal without its enumerations: some milliseconds sooner
import os
import sys

received = 0  # the signal's number
abandon = None  # a function without arguments, or None
# functions without arguments, for devices that run and what the machine would keep
closing: list = []  # type: ignore[type-arg]
CLOSING_TIME = 0.12  # seconds for them


def _handle(number, _):  # type: ignore[no-untyped-def] # typing would take a third of the start-up
    global received  # noqa: PLW0603
    received = number
    if abandon is not None:
        abandon()
        _close()
        leave(128 + number)


def _close():  # type: ignore[no-untyped-def]
    """In another thread, and not for long: this one may have been interrupted with a lock that is
    needed for that.
    """
    if not closing:
        return
    import threading  # these two only then: they would take a part of the start-up

    thread = threading.Thread(target=_close_each, daemon=True)
    thread.start()
    thread.join(CLOSING_TIME)


def _close_each():  # type: ignore[no-untyped-def]
    import contextlib

    for close in closing:
        with contextlib.suppress(Exception):  # the others, though one fails
            close()


def leave_at_once() -> None:
    """From now on a signal ends the process on the spot: there is nothing to finish or to print."""
    global abandon  # noqa: PLW0603
    abandon = _nothing
    if received:
        leave(128 + received)


def _nothing() -> None:
    pass


def leave(code: int) -> None:
    """Ends the process without the interpreter's clean-up: a thread may be in the compiler."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


for _number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(_number, _handle)
