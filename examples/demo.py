"""A real capture through two emulated 82599s and a driver in Python, compared byte for byte.

Run it with `make demo`. It needs no network card and no root.
"""

import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ixy.pcap import Reader

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "real.pcap"
TARGET = HERE.parent / ".demo" / "forwarded.pcapng"
SHORTEST = 60  # a wire carries no shorter frame: it is padded with zeros


def frames(path: Path) -> list[bytes]:
    """The frames of a capture file."""
    with Reader(path) as reader:
        return [bytes(frame) for _, frame in reader]


def main() -> int:
    """Forwards, compares, prints the table; returns 0 if all frames are identical."""
    TARGET.parent.mkdir(exist_ok=True)
    names = [os.path.relpath(path) for path in (SOURCE, TARGET)]
    command = ["forward", f"emu:pcap:{names[0]},", f"emu:pcap:,{names[1]}", "--one-way"]
    print("$ ixy", *command, flush=True)
    subprocess.run([sys.executable, "-m", "ixy", *command], check=True)

    before, after = frames(SOURCE), frames(TARGET)
    expected = [frame.ljust(SHORTEST, b"\0") for frame in before]
    identical = sum(a == b for a, b in zip(expected, after, strict=False))
    table = Table("", "", show_header=False)
    table.add_row("frames in", str(len(before)))
    table.add_row("frames out", str(len(after)))
    table.add_row("identical, byte for byte and in order", str(identical))
    padded = sum(len(frame) < SHORTEST for frame in before)
    table.add_row("of these padded to 60 bytes by the wire", str(padded))
    Console().print(table)
    return 0 if identical == len(before) == len(after) else 1


if __name__ == "__main__":
    sys.exit(main())
