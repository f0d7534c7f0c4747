"""Makes what the guests run on: a recent QEMU, and a Debian system with its kernel and Python.

Both are Debian 13 in folders of their own, extracted by mmdebstrap from the mirror that this
machine's apt is set to; nothing is installed on the machine. They are kept between runs in
~/.cache/ixy-guest (or $XDG_CACHE_HOME/ixy-guest), 1.3 GB. Delete the folder to have them made anew.
"""

import fcntl
import hashlib
import inspect
import lzma
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

RELEASE = "trixie"
PYTHON = "3.13"  # of that release
WHEELS = ("numpy", "numba", "typer", "rich")  # what ixy needs
QEMU_PACKAGES = ("qemu-system-x86", "seabios")
SYSTEM_PACKAGES = (
    "linux-image-amd64", "kmod", "busybox-static", "bash", "coreutils", "util-linux", "procps",
    "grep", "sed",
    "python3", "libstdc++6", "iproute2", "iputils-ping", "ethtool", "curl", "pciutils",
    "dpdk", "dpdk-dev", "librte-net-ixgbe25", "librte-mempool-ring25",
)  # fmt: skip
ROOT_MODULES = ("virtio_blk", "ext4")  # what it takes to reach the root file system
NEEDLESS = (
    "boot", "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/include",
    "usr/lib/x86_64-linux-gnu/*.a", "var/lib/apt", "var/cache/apt",
)  # fmt: skip


def cache_folder() -> Path:
    """Where everything is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "ixy-guest")


def qemu() -> Path:
    """The folder with QEMU, made when it is not there."""
    return _made("qemu", _make_qemu)


def system() -> Path:
    """The folder with vmlinuz, modules/, root.ext4 and the same as a folder, tree/; made when it
    is not there.
    """
    return _made("system", _make_system)


def _made(name: str, make: Callable[[Path], None]) -> Path:
    """A folder named after the recipe; it gets its name only when it is whole."""
    recipe = hashlib.sha256(inspect.getsource(sys.modules[__name__]).encode()).hexdigest()[:12]
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{name}-{recipe}"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            begin = time.monotonic()
            print(f"making {folder}", file=sys.stderr, flush=True)
            partial = cache / f"{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            make(partial)
            partial.rename(folder)
            print(f"made in {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    return folder


def _make_qemu(folder: Path) -> None:
    _extract(folder / "tree", QEMU_PACKAGES, backports=True)


def _make_system(folder: Path) -> None:
    tree = folder / "tree"
    _extract(tree, SYSTEM_PACKAGES)
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    shutil.copy(kernel, folder / "vmlinuz")
    version = kernel.name.removeprefix("vmlinuz-")
    for pattern in NEEDLESS:
        for path in tree.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    _pip(tree / f"usr/local/lib/python{PYTHON}/dist-packages")
    for library in ("/usr/lib", "/usr/local/lib"):
        _run("chroot", tree, "python3", "-m", "compileall", "-q", f"{library}/python{PYTHON}")
    _run("chroot", tree, "depmod", version)
    _copy_modules(tree, version, folder / "modules")
    size = int(_run("du", "-s", "--block-size=1M", "--apparent-size", tree).split()[0])
    image = folder / "root.ext4"
    _run("mke2fs", "-q", "-t", "ext4", "-d", tree, "-m", 0, image, f"{size * 3 // 2 + 256}M")


def _extract(tree: Path, packages: Sequence[str], backports: bool = False) -> None:
    mirror, signed = _mirror()
    suites = [RELEASE, f"{RELEASE}-backports"] if backports else [RELEASE]
    preferred = ["--aptopt", f'APT::Default-Release "{suites[-1]}"']
    without = ["--aptopt", 'APT::Install-Recommends "false"']
    sources = [f"deb {signed}{mirror} {suite} main" for suite in suites]
    include = "--include=" + ",".join(packages)
    _run("mmdebstrap", "--quiet", "--mode=root", "--variant=extract", "--skip=output/dev",
         *preferred, *without, include, RELEASE, tree, *sources)  # fmt: skip


def _mirror() -> tuple[str, str]:
    """The mirror that this machine gets Debian from, and the option that names its key."""
    ask = ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(SIGNED_BY)"]
    lines = _run(*ask).splitlines()
    if not lines:  # apt has never been told what is there
        _run("apt-get", "update", "-qq")
        lines = _run(*ask).splitlines()
    for line in lines:
        origin, label, uri, key = line.split("|")
        if (origin, label) == ("Debian", "Debian"):
            return uri, f"[signed-by={key}] " if key.startswith("/") else ""
    raise SystemExit("apt knows no mirror of Debian: guests are made on Debian")


def _pip(target: Path) -> None:
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in (28, 27, 17)]
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--no-compile", "--only-binary=:all:", f"--python-version={PYTHON}", *platforms,
         "--target", target, *WHEELS)  # fmt: skip


def _copy_modules(tree: Path, version: str, target: Path) -> None:
    """The modules that make the root file system readable, numbered in the order to load them."""
    lines = _run("chroot", tree, "modprobe", "-S", version, "-aD", *ROOT_MODULES).splitlines()
    paths = [line.split()[1] for line in lines if line.startswith("insmod")]
    target.mkdir()
    for number, path in enumerate(dict.fromkeys(paths)):
        packed = (tree / path.lstrip("/")).read_bytes()
        name = f"{number:02}-{Path(path).name.removesuffix('.xz')}"
        (target / name).write_bytes(lzma.decompress(packed))


def _run(*args: object) -> str:
    done = subprocess.run(
        [str(arg) for arg in args], stdout=subprocess.PIPE, text=True, timeout=900, check=False
    )
    if done.returncode:
        raise SystemExit(f"failed, with code {done.returncode}: {' '.join(map(str, args))}")
    return done.stdout


if __name__ == "__main__":
    if os.geteuid() or not shutil.which("mmdebstrap") or not shutil.which("cpio"):
        raise SystemExit("guests need root, and: apt install mmdebstrap cpio e2fsprogs")
    qemu()
    system()
