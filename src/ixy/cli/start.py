"""Where `ixy` begins: signals are heeded from the first moment, errors become one line."""

import os
import sys
import traceback
from typing import NoReturn

from ixy.cli.signals import Stopped


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
