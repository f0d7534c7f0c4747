"""`FileSet`: a capture in one file, or in several in turn, each of which stands for itself.

A set's files are named as dumpcap names them, so that Wireshark finds them as a set: `x.pcapng`
becomes `x_00001_20260131235959.pcapng`, with a number and the local time when it was begun.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ixy.compiled import compiled
from ixy.pcap.blocks import STATISTICS_SIZE, Counts
from ixy.pcap.encode import PCAP
from ixy.pcap.scan import Bytes, PcapError, word
from ixy.pcap.writer import Writer

SMALLEST = 100_000  # bytes: any headers and a frame fit


class FileSet:
    """Writes blocks of records to a file, or to a new one each `size` bytes or `seconds`.

    No file is longer than `size`, no record is divided, and `keep` files remain if it is given: the
    oldest are deleted. `counts` is asked at the end of each file. `settings` are those of Writer.
    Raises PcapError as a Writer does, and for a size that is too small.
    """

    def __init__(
        self,
        path: str | int,
        counts: Callable[[], Counts],
        *,
        size: int | None = None,
        seconds: float | None = None,
        keep: int | None = None,
        **settings: Any,
    ) -> None:
        if size is not None and size < SMALLEST:
            raise PcapError(f"files of {size} bytes: give them {SMALLEST} at least")
        self._path, self._counts, self._settings = path, counts, settings
        self._size, self._seconds, self._keep = size, seconds, keep
        self.names: list[str] = []
        """The files that are there, the oldest first."""
        self._number = self._before = 0
        self._begun = 0.0  # when, on a clock that never jumps
        self.file = self._begin()
        """The Writer of the file that grows now."""

    @property
    def rotates(self) -> bool:
        """Whether it is a set, and no file has the name that was asked for."""
        return self._size is not None or self._seconds is not None

    @property
    def written(self) -> int:
        """How many frames all files have got together."""
        return self._before + self.file.written

    def write_block(self, data: Bytes, frames: int) -> None:
        """Appends `frames` records that `encode` wrote."""
        while self._size is not None:
            self.file.describe()
            room = self._size - self.file.position - STATISTICS_SIZE
            fitting, count = whole_records(data, room, self.file.format)
            if frames and not count and not self.file.written:
                raise PcapError(f"a frame that is too long for files of {self._size} bytes")
            self.file.write_block(data[:fitting], count)
            data, frames = data[fitting:], frames - count
            if not frames:
                return
            self._next()
        self.file.write_block(data, frames)

    def tick(self) -> None:
        """Begins the next file when it is time, unless there is nothing in this one. Raises
        ReaderGone if nobody reads any more.
        """
        if isinstance(self._path, int):
            self.file.check_reader()
        if self._seconds is not None and time.monotonic() >= self._begun + self._seconds:
            if self.file.written:
                self._next()
            else:
                self._begun = time.monotonic()

    def close(self) -> None:
        """Ends the last file; a second call does nothing."""
        self.file.close(self._counts())

    def _next(self) -> None:
        self.close()
        before = self.written
        self.file = self._begin()
        self._before = before

    def _begin(self) -> Writer:
        self._begun = time.monotonic()
        if isinstance(self._path, int) or not self.rotates:
            return Writer(self._path, **self._settings)
        self._number += 1
        path = Path(self._path)
        name = f"{path.stem}_{self._number:05}_{time.strftime('%Y%m%d%H%M%S')}{path.suffix}"
        file = Writer(path.with_name(name), **self._settings)
        self.names.append(file.name)
        if self._keep is not None and len(self.names) > self._keep:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.names.pop(0))
        return file


@compiled
def whole_records(data: Bytes, room: int, format: int) -> tuple[int, int]:
    """How many bytes of these records, and how many records, go into so much room."""
    position = count = 0
    while position < len(data):
        if format == PCAP:
            size = 16 + word(data, position + 8, False)
        else:
            size = word(data, position + 4, False)
        if position + size > room:
            break
        position += size
        count += 1
    return position, count
