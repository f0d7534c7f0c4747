"""Memory of another process, a client or a server: its file, mapped here.

The file is the other's: it may cut it short at any time. What is then behind its end raises SIGBUS,
and would kill this process for a fault of another one. So the handler puts empty memory in the
place of such a mapping and notes that it is lost.
"""

import ctypes
import mmap
import os
import signal
import stat
from functools import cache

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
MAP_FIXED, MAP_NORESERVE = 0x10, 0x4000
FAILED = ctypes.c_void_p(-1).value
READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE


class ForeignMemory:
    """`size` bytes of another's file, from `offset` on, at `address` here.

    Memory that is not `writeable` can be written all the same, by a device that is told to: in a
    copy that nobody sees. Raises OSError for a file that has no such bytes.
    """

    def __init__(self, file: int, offset: int, size: int, *, writeable: bool) -> None:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or offset + size > status.st_size:
            raise OSError(22, "no memory, or not as much")
        _heed_lost_memory()
        sharing = mmap.MAP_SHARED if writeable else mmap.MAP_PRIVATE | MAP_NORESERVE
        address = _libc.mmap(None, size, READ_WRITE, sharing, file, offset)
        if address == FAILED:
            raise OSError(ctypes.get_errno(), "cannot be mapped")
        self.address, self.size, self.lost = int(address), size, False
        _mapped[self.address] = self

    def close(self) -> None:
        """Lets go of the memory. No device may use it any more."""
        del _mapped[self.address]
        _libc.munmap(self.address, self.size)


_mapped: dict[int, ForeignMemory] = {}


class _Action(ctypes.Structure):
    """struct sigaction of the C library on x86-64."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_byte * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


class _Info(ctypes.Structure):
    """The start of siginfo_t, for a fault."""

    _fields_ = (
        ("signal", ctypes.c_int),
        ("error", ctypes.c_int),
        ("code", ctypes.c_int),
        ("address", ctypes.c_size_t),
    )


_SA_SIGINFO = 4
_before = _Action()


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.POINTER(_Info), ctypes.c_void_p)
def _on_fault(_: int, info: "ctypes._Pointer[_Info]", __: object) -> None:
    """Replaces the memory in which a fault happened. It happens in this very thread, at a
    load or store of the data path: nothing else is half done.
    """
    place = info.contents.address
    for memory in list(_mapped.values()):
        if memory.address <= place < memory.address + memory.size:
            memory.lost = True
            kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED
            _libc.mmap(memory.address, memory.size, READ_WRITE, kind, -1, 0)
            return
    _libc.sigaction(signal.SIGBUS, ctypes.byref(_before), None)  # not ours: it will come again


@cache
def _heed_lost_memory() -> None:
    """Installs the handler, once. Python's own handlers would run too late."""
    action = _Action(ctypes.cast(_on_fault, ctypes.c_void_p), flags=_SA_SIGINFO)
    _libc.sigaction(signal.SIGBUS, ctypes.byref(action), ctypes.byref(_before))
