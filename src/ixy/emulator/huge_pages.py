"""The huge pages of other programs: mapped here, and found by their physical addresses.

A driver that knows physical addresses has its packets and rings in huge pages. They belong to a
file: of a hugetlbfs, or without a name (memfd, shared anonymous memory). Linux shows at which
addresses a program has mapped it (/proc/PID/maps) and opens it (/proc/PID/map_files); the program's
own descriptor may long be closed.
"""

import ctypes
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ixy.bus.foreign import ForeignMemory
from ixy.bus.sysfs import physical_pages
from ixy.emulator.namespace import PROC, members
from ixy.errors import IxyError
from ixy.memory.dma import HUGE_PAGE

Mapping = tuple[int, int, int]  # physical address, address here, bytes: contiguous
File = tuple[str, str]  # device and inode


class HugePages:
    """The huge pages that the programs in this process's mount namespace share."""

    def __init__(self) -> None:
        self._known: dict[File, tuple[ForeignMemory, list[Mapping]]] = {}

    def appeared(self) -> Iterator[Mapping]:
        """Maps what is new. Raises IxyError if Linux does not let it."""
        for file, path in _files().items():
            if file not in self._known and (memory := _open(path)):
                found = list(_contiguous(memory))
                self._known[file] = memory, found
                yield from found

    def vanished(self) -> list[tuple[ForeignMemory, list[Mapping]]]:
        """What no program has mapped any more: the caller closes the memory, which is not used
        again here.
        """
        known = set(self._known)  # before the look at what there is: `appeared` may come between
        return [self._known.pop(file) for file in known - _files().keys()]

    def close(self) -> None:
        """Lets go of all."""
        while self._known:
            self._known.popitem()[1][0].close()


def _files() -> dict[File, Path]:
    """The files of huge pages that are mapped, and a way to open each. Private mappings are left
    out: they are copies, which nobody else can reach.
    """
    systems, found = set(_file_systems()), {}
    for process in members():
        try:
            lines = (PROC / str(process) / "maps").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        for line in lines:
            place, access, _, device, inode, *_ = line.split()
            if device in systems and access.endswith("s"):
                begin, end = (int(word, 16) for word in place.split("-"))
                found[device, inode] = PROC / str(process) / "map_files" / f"{begin:x}-{end:x}"
    return found


def _file_systems() -> Iterable[str]:
    """The devices of hugetlbfs: those mounted, and the kernel's own, for files without a name."""
    file = os.memfd_create("ixy", os.MFD_HUGETLB | os.MFD_CLOEXEC)  # without a size: no page
    device = os.fstat(file).st_dev
    os.close(file)
    yield f"{os.major(device):02x}:{os.minor(device):02x}"
    for line in (PROC / "self" / "mountinfo").read_text().splitlines():
        if " - hugetlbfs " in line:
            major, minor = line.split()[2].split(":")
            yield f"{int(major):02x}:{int(minor):02x}"


def _open(path: Path) -> ForeignMemory | None:
    """All of a file, mapped; None if nobody has it any more."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        raise IxyError(f"{path}: {error.strerror}: be root, with all capabilities") from None
    try:
        return ForeignMemory(file, 0, os.fstat(file).st_size, writeable=True)
    except OSError as error:
        raise IxyError(f"{path}: {error.strerror}: more huge pages may help") from None
    finally:
        os.close(file)


def _contiguous(memory: ForeignMemory) -> Iterator[Mapping]:
    """The parts of it that are contiguous in physical memory, too. Raises IxyError if Linux hides
    where they are.
    """
    for offset in range(0, memory.size, HUGE_PAGE):
        ctypes.string_at(memory.address + offset, 1)  # or it would not be in our page table
    pages = physical_pages(memory.address, memory.size)
    if not all(pages):
        raise IxyError("/proc/self/pagemap hides physical addresses: be root, with all rights")
    begin = 0
    for i in range(1, len(pages) + 1):
        if i == len(pages) or pages[i] != pages[i - 1] + HUGE_PAGE:
            yield pages[begin], memory.address + begin * HUGE_PAGE, (i - begin) * HUGE_PAGE
            begin = i
