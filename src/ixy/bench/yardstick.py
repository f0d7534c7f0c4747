"""Compiles and loads the yardsticks in C."""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ixy.bench.nic import Job
from ixy.drivers.intel.rings import RxQueue, TxQueue
from ixy.errors import IxyError
from ixy.memory.pool import PacketBuffer, Pool

SOURCES = Path(__file__).parent
HEADER_LAYOUT = (
    "mempool.c",
    "driver.c",
    "forward.c",
)  # apart, as a library and its user are: -flto matters
OUR_LAYOUT = ("soa.c",)
# For this processor, as Numba compiles. Hidden symbols: calls are as direct as in a program
FLAGS = (
    "-std=gnu11",
    "-march=native",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-Werror",
)
# The records of soa.c, by their names there
RECORDS: Mapping[str, np.dtype[Any]] = {
    "rx_queue": RxQueue,
    "tx_queue": TxQueue,
    "pool": Pool,
    "packet_buffer": PacketBuffer,
    "job": Job,
}
C_TYPES = {"u1": "uint8_t", "u4": "uint32_t", "u8": "uint64_t"}


def compiler() -> str | None:
    """gcc, or None if it is not here."""
    return shutil.which("gcc")


def compiler_version() -> str | None:
    """What gcc says it is."""
    gcc = compiler()
    if gcc is None:
        return None
    said = subprocess.run([gcc, "--version"], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0]


@cache
def library(sources: tuple[str, ...], *flags: str) -> ctypes.CDLL:
    """Sources compiled with flags such as -O3, and loaded. Raises IxyError if gcc refuses them."""
    with tempfile.TemporaryDirectory(prefix="ixy-bench-") as directory:
        Path(directory, "records.h").write_text(records_header())
        target = os.path.join(directory, "yardstick.so")
        files = [str(SOURCES / source) for source in sources]
        command = [compiler() or "gcc", *FLAGS, *flags, f"-I{directory}", *files, "-o", target]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise IxyError(f"gcc refuses the yardstick: {result.stderr.strip()}")
        return ctypes.CDLL(target)  # stays mapped when its file is gone


def records_header() -> str:
    """Our records as C structs: only the driver's dtypes say what is in them."""
    return "\n".join(_struct(name, dtype) for name, dtype in RECORDS.items())


def _struct(name: str, dtype: np.dtype[Any]) -> str:
    assert dtype.fields is not None
    lines = []
    for field, (kind, *_) in dtype.fields.items():
        dimension = "".join(f"[{size}]" for size in kind.shape)
        lines.append(f"\t{C_TYPES[kind.base.str[1:]]} {field}{dimension};")
    body = "\n".join(lines)
    check = f'_Static_assert(sizeof(struct {name}) == {dtype.itemsize}, "{name}");'
    return f"struct {name} {{\n{body}\n}};\n{check}\n"
