"""Runs the command line and turns what goes wrong into one line."""

import os
import sys
import traceback

from typer.exceptions import TyperException

from ixy.cli.main import app
from ixy.errors import IxyError


def run() -> int:
    """Runs the command line; returns the exit code."""
    arguments = sys.argv[1:] or ["--help"]
    try:
        code = app(arguments, standalone_mode=False)
    except TyperException as error:
        return fail(f"{error.format_message().rstrip('.')}: see ixy --help", error.exit_code)
    except IxyError as error:
        return fail(str(error), 1)
    except BrokenPipeError:
        return fail("whoever read the output has gone", 1)
    except Exception as error:
        return fail(f"unexpected {type(error).__name__}: {error} (IXY_DEBUG=1 shows where)", 1)
    return code if isinstance(code, int) else 0


def fail(message: str, code: int) -> int:
    """Prints an error as one line; with IXY_DEBUG=1 where it came from, too."""
    if os.environ.get("IXY_DEBUG", "") not in ("", "0"):
        traceback.print_exc()
    print("ixy: " + " ".join(message.split()), file=sys.stderr)
    return code
