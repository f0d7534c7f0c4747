"""`@compiled`: Python that runs as machine code, without the GIL, compiled once and then cached.

The cache directory is named after a hash of this package's source. Numba itself looks only at the
file of the function it loads: when a callee in another file or an imported constant has changed, it
would run stale machine code without a word.
"""

import ctypes
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np

from ixy import native
from ixy.parts import PartPipeline

F = TypeVar("F", bound=Callable[..., Any])

JIT = not numba.config.DISABLE_JIT  # NUMBA_DISABLE_JIT=1: everything runs as plain Python
DEBUG = os.environ.get("IXY_DEBUG", "") not in ("", "0")  # checks every buffer, keeps tracebacks

_FORGET_AFTER = 14 * 24 * 3600.0  # seconds: caches of older sources are removed then


def compiled(function: F) -> F:
    """Compiles a function of records and arrays; it runs without the GIL and is cached on disk.

    Write your own packet loops as module-level functions under this decorator. One without a source
    file (typed into a prompt or a notebook), or without a directory to cache in, is compiled anew
    by each process.
    """
    return _cached(function, numba.njit, nogil=True)  # type: ignore[no-any-return]


def inner(function: F) -> F:
    """Compiles a function that only compiled functions call: as part of them, and in a third of the
    time, as it gets no machine code of its own.
    """
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": True}
    compile_: Callable[[F], F] = numba.njit(pipeline_class=PartPipeline, **options)
    return compile_(function)


@cache
def entry_point(function: Callable[[int], None]) -> int:
    """The address of a function of one u8 as machine code, for `call`. It is compiled when it is
    first asked for.
    """
    if not JIT:
        _interpreted.append(function)
        return len(_interpreted)
    _entry_points.append(_cached(function, numba.cfunc, sig="void(u8)"))
    return int(_entry_points[-1].address)


def way_back(function: Callable[[int], None]) -> int:
    """The address of a function of one u8 that stays Python, for `call`: it waits for the
    interpreter. The function must not raise.
    """
    if not JIT:
        _interpreted.append(function)
        return len(_interpreted)
    _entry_points.append(ctypes.CFUNCTYPE(None, ctypes.c_uint64)(function))
    return int(ctypes.cast(_entry_points[-1], ctypes.c_void_p).value or 0)


_entry_points: list[Any] = []  # their code lives as long as they do
_interpreted: list[Callable[[int], None]] = []


def _cached(function: Callable[..., Any], decorator: Any, **options: Any) -> Any:
    before = numba.config.CACHE_DIR
    cached = os.path.exists(function.__code__.co_filename) and cache_directory() is not None
    try:
        if cached:
            numba.config.CACHE_DIR = cache_directory()  # read by Numba while it decorates
        return decorator(**options, cache=cached)(function)
    finally:
        numba.config.CACHE_DIR = before


def in_machine_code(native: Any) -> Callable[[F], F]:
    """Replaces a function in compiled code: by `native`, unless NUMBA_DISABLE_JIT=1 runs its plain
    Python body.
    """
    return lambda function: native if JIT else function


@in_machine_code(native.call)
def call(address: Any, argument: Any) -> None:
    """Calls what `entry_point` gave the address of."""
    _interpreted[int(address) - 1](argument)


@in_machine_code(native.apart)
def apart(function: Any, arguments: Any) -> Any:
    """Calls a compiled function that is hardly ever needed, and keeps its code out of the way."""
    return function(*arguments)


class _Record(np.record):  # type: ignore[misc]
    """A record whose fields are attributes, also those that NumPy uses the names of (`size`)."""

    def __getattribute__(self, name: str) -> Any:
        if name not in (super().__getattribute__("dtype").fields or ()):
            return super().__getattribute__(name)
        value = self[name]
        return interpretable(value) if isinstance(value, np.ndarray) else value

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def interpretable(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same memory, its records as compiled code sees them: for plain Python."""
    names = array.dtype.names
    return array.view(np.dtype((_Record, array.dtype))) if names else array


@cache
def cache_directory() -> str | None:
    """Where this source's machine code is kept; None if no such directory can be written."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    directory = Path(root, "ixy", _source_hash())
    try:
        directory.mkdir(parents=True, exist_ok=True)
        directory.touch()
        _forget_old(directory.parent)
        return str(directory) if os.access(directory, os.W_OK) else None
    except OSError:
        return None


def _source_hash() -> str:
    digest = hashlib.sha256(b"debug" if DEBUG else b"")
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _forget_old(root: Path) -> None:
    for directory in root.iterdir():
        if time.time() - directory.stat().st_mtime > _FORGET_AFTER:
            shutil.rmtree(directory, ignore_errors=True)
