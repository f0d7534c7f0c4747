"""`Writer`: a pcap or pcapng file of Ethernet frames with nanoseconds, little-endian."""

import errno
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ixy.pcap.encode import MAX_OVERHEAD, PCAP, PCAPNG, encode
from ixy.pcap.scan import ETHERNET, MAXIMUM_SNAPLEN, Bytes, PcapError

_FORMATS = {".pcap": PCAP, ".pcapng": PCAPNG}

_BLOCK = MAXIMUM_SNAPLEN + MAX_OVERHEAD  # bytes collected before they are written: any frame fits


class Writer:
    """Writes frames to a new file; its name's suffix, .pcap or .pcapng, chooses the format.

    `snaplen` is the most bytes kept of a frame, `interface` a name to note down in a pcapng file.
    Raises PcapError, one line, for another suffix, a file that cannot be created, a full disk.

        with Writer("x.pcapng") as writer:
            writer.write(frame, time)

    Packet loops encode blocks of many frames themselves, with `encode`, and hand these over.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        snaplen: int = MAXIMUM_SNAPLEN,
        interface: str = "",
    ) -> None:
        self.name = os.fspath(path)
        self.written = 0
        """How many frames were handed over so far."""
        self.snaplen = snaplen
        suffix = Path(path).suffix.lower()
        if suffix not in _FORMATS:
            raise PcapError(f"{self.name}: a capture file's name must end in .pcap or .pcapng")
        if not 1 <= snaplen <= MAXIMUM_SNAPLEN:
            raise PcapError(f"a snap length of {snaplen}: it must be 1 to {MAXIMUM_SNAPLEN} bytes")
        self.format = _FORMATS[suffix]
        """PCAP or PCAPNG, for `encode`."""
        self._block: Bytes = np.empty(_BLOCK, np.uint8)
        self._filled = 0  # bytes of _block
        try:
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise self._failed(error) from error
        try:
            self._put(_header(self.format, snaplen, interface))
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
        self.flush()
        self._put(data)
        self.written += frames

    def flush(self) -> None:
        """Hands everything written so far to the operating system."""
        filled, self._filled = self._filled, 0  # forgotten, too, if it cannot be written
        self._put(self._block[:filled])

    def close(self) -> None:
        """Flushes and closes the file; a second call does nothing."""
        if not self._file.closed:
            try:
                self.flush()
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

    def _put(self, data: bytes | memoryview | npt.NDArray[Any]) -> None:
        rest = np.frombuffer(data, np.uint8)
        try:
            while len(rest):  # unbuffered: a write may take less than it is given
                rest = rest[self._file.write(rest.data) :]
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> PcapError:
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


def _header(format: int, snaplen: int, interface: str) -> bytes:
    """What stands in front of the first record, with nanoseconds as the unit of time."""
    if format == PCAP:  # section 4
        return struct.pack("<I2H4I", 0xA1B23C4D, 2, 4, 0, 0, snaplen, ETHERNET)
    section = struct.pack("<I2Hq", 0x1A2B3C4D, 1, 0, -1)  # section 4.1; its length is not known
    description = struct.pack("<2HI", ETHERNET, 0, snaplen)  # section 4.2
    if interface:
        description += _option(2, interface.encode())  # if_name
    description += _option(9, b"\x09") + _option(0, b"")  # if_tsresol, opt_endofopt
    return _block(0x0A0D0D0A, section) + _block(1, description)


def _block(kind: int, body: bytes) -> bytes:
    """A block of a body that is a multiple of 4 bytes long, section 3.1."""
    size = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + size + body + size


def _option(code: int, value: bytes) -> bytes:
    """An option, padded to a multiple of 4 bytes, section 3.5."""
    return struct.pack("<2H", code, len(value)) + value + bytes(-len(value) % 4)
