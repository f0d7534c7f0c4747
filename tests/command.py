"""What the tests of apps and command share: starting `ixy`, running apps, captures by dpkt."""

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import dpkt
import jsonschema

from ixy.compiled import JIT

IXY = [sys.executable, "-m", "ixy"]
SCHEMA = Path(__file__).parent.parent / "docs" / "output.schema.json"
REAL = Path(__file__).parent.parent / "examples" / "real.pcap"
PORT_KEYS = {
    "address", "rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "dropped", "rx_mpps", "tx_mpps",
}  # fmt: skip


def many(compiled: int, interpreted: int) -> int:
    """How many packets a test can afford."""
    return compiled if JIT else interpreted


def start_ixy(*args: object, **environment: str) -> subprocess.Popen[str]:
    """Starts the command, its output piped."""
    return subprocess.Popen(
        [*IXY, *map(str, args)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | environment,
    )  # fmt: skip


def run_ixy(
    *args: object, timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    with start_ixy(*args, **environment) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(args, process.returncode, out, err)


def totals(*args: object, code: int = 0, **options: Any) -> dict[str, Any]:
    """The one object that a run with --json prints on stdout. It keeps to the schema."""
    done = run_ixy(*args, "--json", **options)
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    keeps_to_schema(str(args[0]), found)
    return found


def keeps_to_schema(command: str, found: object) -> None:
    """Raises ValidationError if an object is not what the docs say that a command prints."""
    reference = {"unbind": "bind"}.get(command, command)
    schema = json.loads(SCHEMA.read_text()) | {"anyOf": [{"$ref": f"#/$defs/{reference}"}]}
    jsonschema.Draft202012Validator(schema).validate(found)


def is_one_line(text: str) -> bool:
    """Whether an error is a line, and no traceback."""
    return text.startswith("ixy: ") and text.endswith("\n") and text.count("\n") == 1


def run_app(app: Any, *devices: Any, timeout: float = 60) -> float:
    """Runs an app until it is done, as the command does; returns how many seconds it ran."""
    app.start()
    deadline = time.monotonic() + timeout
    try:
        while not app.workers.running:  # it is being compiled
            time.sleep(0.001)
        begin = time.monotonic()
        while not app.done:
            app.workers.check()
            for device in _devices_of(app):
                device.statistics()  # raises what its emulator has to say
            assert time.monotonic() < deadline, "the app is not done"
            time.sleep(0.001)
        seconds = time.monotonic() - begin
        app.workers.finish(30)
    finally:
        app.workers.stop(30)  # compiled code must not run on memory that is released next
    app.workers.check()
    for device in devices:
        assert device.flush(10) == 0
    return seconds


def _devices_of(app: Any) -> tuple[Any, ...]:
    return app.devices if hasattr(app, "devices") else (app.device,)


def write_pcap(
    path: Path, frames: Iterable[bytes], gap: int = 1000, begin: int = 1_700_000_000_000_000_000
) -> Path:
    """A capture file with nanoseconds, frames `gap` ns apart."""
    records = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)]
    for i, frame in enumerate(frames):
        when = divmod(begin + gap * i, 10**9)
        records.append(struct.pack("<IIII", *when, len(frame), len(frame)) + frame)
    path.write_bytes(b"".join(records))
    return path


def read_pcap(path: Path) -> list[bytes]:
    """The frames of a .pcap file, as dpkt sees them."""
    with path.open("rb") as file:
        return [bytes(frame) for _, frame in dpkt.pcap.Reader(file)]


def on_the_wire(frames: Sequence[bytes]) -> list[bytes]:
    """What an 82599 that accepts all addresses delivers of these frames: none over 1518 bytes with
    CRC (a VLAN tag on top is welcome), the others padded to 60.
    """
    kept = (f for f in frames if len(f) <= (1518 if f[12:14] == b"\x81\x00" else 1514))
    return [frame.ljust(60, b"\0") for frame in kept]
