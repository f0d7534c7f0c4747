"""`Writer`: a pcap or pcapng file of Ethernet frames with nanoseconds, little-endian."""

import errno
import os
import select
import struct
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ixy.pcap.blocks import (
    Counts,
    Interface,
    interface_description,
    interface_statistics,
    section_header,
)
from ixy.pcap.encode import MAX_OVERHEAD, PCAP, PCAPNG, encode
from ixy.pcap.mapped import is_mapped
from ixy.pcap.scan import ETHERNET, MAXIMUM_SNAPLEN, Bytes, PcapError

_FORMATS = {".pcap": PCAP, ".pcapng": PCAPNG}

_BLOCK = MAXIMUM_SNAPLEN + MAX_OVERHEAD  # bytes collected before they are written: any frame fits
_CHUNK = 65536  # bytes written at once: who looks on sees `position` move


class ReaderGone(PcapError):
    """Whoever read the frames has stopped to: a pipe without another end."""


class Writer:
    """Writes frames to a new file; its name's suffix, .pcap or .pcapng, chooses the format, unless
    `format` does.

    `path` may be an open descriptor, which stays open. `snaplen` is the most bytes kept of a frame,
    `interface` what a pcapng file notes down of their port: it may change until `describe`.
    Raises PcapError, one line, for another suffix, a file that cannot be created or that a Reader
    has in memory, a full disk.

        with Writer("x.pcapng") as writer:
            writer.write(frame, time)

    Packet loops encode blocks of many frames themselves, with `encode`, and hand these over.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | int,
        snaplen: int = MAXIMUM_SNAPLEN,
        interface: Interface | None = None,
        format: int | None = None,
    ) -> None:
        self.name = "the output" if isinstance(path, int) else os.fspath(path)
        self.written = 0
        """How many frames were handed over so far."""
        self.position = 0
        """How many bytes the file has."""
        self.snaplen, self.interface = snaplen, interface or Interface()
        self.format = _format_of(self.name) if format is None else format
        """PCAP or PCAPNG, for `encode`."""
        if not 1 <= snaplen <= MAXIMUM_SNAPLEN:
            raise PcapError(f"a snap length of {snaplen}: it must be 1 to {MAXIMUM_SNAPLEN} bytes")
        self._block: Bytes = np.empty(_BLOCK, np.uint8)
        self._filled = 0  # bytes of _block
        self._described = self.format == PCAP
        if is_mapped(path):
            raise PcapError(f"{self.name} is being read, this would overwrite it: choose another")
        try:
            own = not isinstance(path, int)
            self._file = open(path, "wb", buffering=0, closefd=own)  # noqa: SIM115
        except OSError as error:
            raise self._failed(error) from error
        try:
            self._put(_pcap_header(snaplen) if self.format == PCAP else section_header())
        except PcapError:
            self._file.close()
            raise

    def write(
        self, frame: bytes | bytearray | memoryview | Bytes, time: int, length: int | None = None
    ) -> None:
        """Writes a frame of `length` bytes on the wire (those given, if None), cut to the snaplen.

        `time` is in nanoseconds since 1970. Raises PcapError for a time or a length that the format
        cannot hold, or if the disk is full: that may show only at `flush` or `close`.
        """
        data = np.frombuffer(frame, np.uint8)
        length = len(data) if length is None else length
        if not 0 <= time < (2**32 * 10**9 if self.format == PCAP else 2**64):
            raise PcapError(f"{self.name}: a time of {time} ns does not fit: {_TIMES}")
        if not 0 <= length < 2**32:
            raise PcapError(f"{self.name}: a frame of {length} bytes: lengths are 0 to 2^32 - 1")
        frame_record = (data, min(len(data), self.snaplen), length, np.uint64(time), self.format)
        end = encode(self._block, self._filled, *frame_record)
        if end == self._filled:
            self.flush()
            end = encode(self._block, 0, *frame_record)
        self._filled = end
        self.written += 1

    def write_block(self, data: memoryview | npt.NDArray[Any], frames: int) -> None:
        """Appends `frames` records that `encode` wrote. Raises PcapError if it cannot."""
        self.describe()
        self.flush()
        self._put(data)
        self.written += frames

    def describe(self) -> None:
        """Writes down what is known of the interface, in front of the first frame."""
        if not self._described:
            self._described = True
            self._put(interface_description(self.interface, self.snaplen))

    def flush(self) -> None:
        """Hands everything written so far to the operating system."""
        if self._filled:
            self.describe()
        filled, self._filled = self._filled, 0  # forgotten, too, if it cannot be written
        self._put(self._block[:filled])

    def close(self, counts: Counts | None = None) -> None:
        """Flushes and closes the file, with its interface's counters at the end if it is a pcapng
        file; a second call does nothing.
        """
        if not self._file.closed:
            try:
                self.flush()
                self.describe()
                if counts and self.format == PCAPNG:
                    self._put(interface_statistics(counts))
            finally:
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def check_reader(self) -> None:
        """Raises ReaderGone if nobody reads what is written into a pipe or a socket any more."""
        poll = select.poll()
        poll.register(self._file, 0)  # errors and hang-ups are always told
        if poll.poll(0):
            raise self._failed(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))

    def _put(self, data: bytes | memoryview | npt.NDArray[Any]) -> None:
        rest = np.frombuffer(data, np.uint8)
        try:
            while len(rest):  # unbuffered: a write may take less than it is given
                taken = self._file.write(rest[:_CHUNK].data)
                if taken is None:  # a pipe that somebody made non-blocking is full
                    select.select([], [self._file], [])
                    continue
                rest = rest[taken:]
                self.position += taken
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> PcapError:
        if isinstance(error, BrokenPipeError):
            return ReaderGone(f"cannot write {self.name}: whoever read it has gone")
        remedy = _REMEDIES.get(error.errno or 0, "check the path and its disk")
        return PcapError(f"cannot write {self.name}: {error.strerror}: {remedy}")


_TIMES = "0 to 2106 in a .pcap file, 0 to 2^64 - 1 in a .pcapng file"

_REMEDIES = {
    errno.ENOENT: "create its directory first, with mkdir -p",
    errno.ENOTDIR: "create its directory first, with mkdir -p",
    errno.EISDIR: "name a file in it",
    errno.EACCES: "choose a directory that you may write to",
    errno.EROFS: "choose a directory that you may write to",
    errno.ENOSPC: "make room on the disk, or choose another",
    errno.EDQUOT: "make room in your quota, or choose another disk",
}


def _format_of(name: str) -> int:
    """PCAP or PCAPNG, by a file's name. Raises PcapError for another suffix."""
    suffix = Path(name).suffix.lower()
    if suffix not in _FORMATS:
        raise PcapError(f"{name}: a capture file's name must end in .pcap or .pcapng")
    return _FORMATS[suffix]


def _pcap_header(snaplen: int) -> bytes:
    """Section 4, with nanoseconds as the unit of time."""
    return struct.pack("<I2H4I", 0xA1B23C4D, 2, 4, 0, 0, snaplen, ETHERNET)
