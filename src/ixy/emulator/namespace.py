"""A mount namespace of this process's own: what is mounted here nobody else sees, and it goes with
the last process in it (mount_namespaces(7)).
"""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from ixy.errors import IxyError

CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PROC = Path("/proc")
_libc = ctypes.CDLL(None, use_errno=True)


def enter() -> None:
    """From now on this thread, and the threads and processes that it starts, are in a namespace of
    their own. Raises IxyError if the user may not.
    """
    if os.geteuid() != 0:
        raise IxyError("a mount namespace of one's own needs root: run it with sudo")
    _must(_libc.unshare(CLONE_NEWNS), "a mount namespace")
    _mount("none", Path("/"), flags=MS_REC | MS_PRIVATE)


def mount(kind: str, folder: Path) -> None:
    """Mounts a new file system, such as tmpfs, on a folder, which is made if there is none. Raises
    IxyError if that is refused.
    """
    _make(folder)
    _mount("ixy", folder, kind)


def members() -> Iterator[int]:
    """The other processes in this one's namespace, by their numbers."""
    ours = os.stat("/proc/self/ns/mnt").st_ino
    for process in PROC.iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if (process / "ns" / "mnt").stat().st_ino == ours:
                    yield int(process.name)
            except OSError:  # it has just ended
                continue


def _make(folder: Path) -> None:
    """Makes a folder, in this namespace only: its parent is covered by a new one, in which what it
    held is mounted.
    """
    if folder.exists():
        return
    parent = folder.parent
    _make(parent)
    below = os.open(parent, os.O_PATH | os.O_CLOEXEC)
    _mount("ixy", parent, "tmpfs")
    for old in Path(f"/proc/self/fd/{below}").iterdir():
        new = parent / old.name
        if old.is_symlink():
            new.symlink_to(os.readlink(old))
            continue
        if old.is_dir():
            new.mkdir()
        else:
            new.touch()
        _mount(str(old), new, flags=MS_BIND | MS_REC)
    os.close(below)
    folder.mkdir()


def _mount(source: str, target: Path, kind: str = "none", flags: int = 0) -> None:
    words = (source.encode(), os.fsencode(target), kind.encode())
    _must(_libc.mount(*words, ctypes.c_ulong(flags), None), f"mounting {target}")


def _must(result: int, what: str) -> None:
    if result:
        reason = os.strerror(ctypes.get_errno())
        raise IxyError(f"{what}: {reason}: be root, and not in a container without privileges")
