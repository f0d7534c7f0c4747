"""`Reader`: a capture file in memory, and the table of the frames in it."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ixy.pcap import classic, pcapng
from ixy.pcap.classic import Classic
from ixy.pcap.mapped import map_file
from ixy.pcap.pcapng import Pcapng
from ixy.pcap.scan import Bytes, Frame, PcapError, Scanner

_STRANGERS = {
    b"\x1f\x8b": "compressed: decompress it first, with gzip -d",
    b"\x28\xb5\x2f\xfd": "compressed: decompress it first, with zstd -d",
    b"\xfd7zXZ\0": "compressed: decompress it first, with xz -d",
    b"BZh": "compressed: decompress it first, with bzip2 -d",
    b"\x04\x22\x4d\x18": "compressed: decompress it first, with lz4 -d",
    b"PK\x03\x04": "a zip archive: unpack it first, with unzip",
    b"\xa1\xb2\xcd\x34": "a patched pcap: convert it with editcap -F pcap",
    b"\x34\xcd\xb2\xa1": "a patched pcap: convert it with editcap -F pcap",
    b"snoop\0": "a snoop file: convert it with editcap -F pcap",
}

_AGAIN = "record it again, or copy it again from where it came from"

_READ_ERRORS = {
    errno.ENOENT: "there is no file {}: check the name",
    errno.EISDIR: "{} is a directory: name a pcap or pcapng file in it",
    errno.EACCES: "no permission to read {}: ask its owner, or try sudo",
}

_BATCH = 4096  # frames that iteration reads ahead


class Reader:
    """Reads the Ethernet frames of a pcap or pcapng file, a pipe, or standard input (`-`).

    A file is mapped, not copied; what cannot be mapped is read to its end first. Raises PcapError,
    one line, for what is not such a file, and at the first frame that is not Ethernet.

        with Reader("x.pcap") as reader:
            while len(frames := reader.read(1000)):
                ...
            if reader.warning: ...
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = "standard input" if os.fspath(path) == "-" else os.fspath(path)
        self.data: Bytes = _load(os.fspath(path), self.name)
        """All bytes of the file, uint8, read-only. Frame offsets count from its beginning."""
        self.frames = 0
        """How many frames have been given out so far."""
        self.warning: str | None = None
        """Set when the rest of the file turns out to be damaged: one line that says where."""
        self._scanner = _scanner(self.data, self.name)
        self.read(0)  # on to the first frame: what cannot be read at all is refused here
        if self.warning and self._scanner.position == 0:
            raise PcapError(f"{self.name} has a broken header ({self._scanner.damage}): {_AGAIN}")

    def read(self, count: int) -> npt.NDArray[Any]:
        """The next frames, dtype Frame: up to `count`, at least one, or none at the file's end.

        The end may be the first damaged byte: then `warning` is set. Raises PcapError at a frame
        that is not Ethernet.
        """
        frames = np.empty(count, Frame)
        filled = self._scanner.scan(frames)
        self.frames += filled
        if self._scanner.damage is not None:
            self.warning = (
                f"{self.name} is damaged at byte {self._scanner.position} "
                f"({self._scanner.damage}): {self.frames} good packets were read"
            )
        return frames[:filled]

    def rewind(self) -> None:
        """Goes back to the first frame, also of what came through a pipe."""
        self._scanner, self.frames = _scanner(self.data, self.name), 0

    def __iter__(self) -> Iterator[tuple[int, Bytes]]:
        """Time (nanoseconds since 1970) and captured bytes of each frame left."""
        while len(frames := self.read(_BATCH)):
            for offset, captured, _, time in frames.tolist():
                yield time, self.data[offset : offset + captured]

    def close(self) -> None:
        """Gives up the file; its memory goes with the last array that shows a part of it."""
        self.data = self._scanner.data = np.zeros(0, np.uint8)
        self._scanner.position = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _scanner(data: Bytes, name: str) -> Scanner:
    """The scanner for the format that the first bytes tell."""
    if len(data) == 0:
        raise PcapError(f"{name} is empty: {_AGAIN}")
    begin = data[:8].tobytes()
    if begin[:4] in classic.MAGICS:
        return Classic(data, name)
    if begin[:4] == pcapng.MAGIC:
        return Pcapng(data, name)
    for magic, what in _STRANGERS.items():
        if begin.startswith(magic):
            raise PcapError(f"{name} is {what}")
    raise PcapError(
        f"{name} is not a capture (it begins with {begin.hex(' ')}): name a pcap or pcapng file"
    )


def _load(path: str, name: str) -> Bytes:
    """The bytes of a file, mapped if that is possible."""
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):  # perhaps endless
                raise PcapError(f"{name} is a device: name a pcap or pcapng file, or pipe one in")
            if stat.S_ISREG(status.st_mode) and status.st_size:
                with suppress(OSError):  # some file systems cannot map
                    return map_file(file)
            return np.frombuffer(file.read(), np.uint8)
    except OSError as error:
        words = _READ_ERRORS.get(error.errno or 0, f"cannot read {{}} ({error.strerror}): {_AGAIN}")
        raise PcapError(words.format(name)) from error
