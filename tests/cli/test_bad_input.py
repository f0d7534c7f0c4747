"""Wrong input of every kind: one line on stderr, a non-zero exit, nothing on stdout."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from command import IXY, REAL, is_one_line, many, read_pcap, run_ixy, write_pcap
from rig import numbered

SOURCE = "emu:source"
ARGUMENTS = [
    # addresses
    ("forward", "foo:bar", SOURCE),
    ("forward", "", SOURCE),
    ("forward", "0000:ff:1f.7", SOURCE),
    ("bind", "0000:ff:1f.7"),
    ("bind", "eth0"),
    ("bind", "0000:ff:1f.7", "--driver", "ixgbe"),
    ("bind",),
    ("unbind", "0000:ff:1f.7"),
    ("forward", "emu:nope", SOURCE),
    ("forward", "emu:", SOURCE),
    ("forward", "emu:cable:", SOURCE),
    ("forward", "emu:loopback:x", SOURCE),
    ("forward", "emu:cable:a/b", SOURCE),
    ("forward", "emu:tap:a-name-that-is-too-long", SOURCE),
    ("forward", "emu:pcap:only-one", SOURCE),
    ("regs", "emu:nope"),
    # options
    ("forward", "emu:source?nope=1", SOURCE),
    ("forward", "emu:source?itr=", SOURCE),
    ("forward", "emu:source?itr=1047", SOURCE),
    ("forward", SOURCE, SOURCE, "--interrupts", "--itr", 1047),
    ("forward", SOURCE, SOURCE, "--interrupts", "--queues", 17),
    ("capture", SOURCE, "x.pcap", "--interrupts", "--itr", -1),
    ("forward", "emu:source?ring", SOURCE),
    ("forward", "emu:loopback?size=60", SOURCE),
    ("forward", "emu:source?size=x", SOURCE),
    ("forward", "emu:source?size=59", SOURCE),
    ("forward", "emu:source?flows=0", SOURCE),
    ("forward", "emu:source?verify=-1", SOURCE),
    ("forward", "emu:source?mac=1", SOURCE),
    ("forward", "emu:source?model=nope", SOURCE),
    ("forward", "emu:pcap:,x.pcap?pace=slow", SOURCE),
    # rings, queues, pools
    ("forward", "emu:source?ring=100", SOURCE),
    ("forward", "emu:source?ring=32", SOURCE),
    ("forward", "emu:source?ring=8192", SOURCE),
    ("forward", "emu:source?ring=-64", SOURCE),
    ("forward", "emu:source?ring=0", SOURCE),
    ("forward", "emu:source?queues=65", SOURCE),
    ("forward", "emu:source?queues=0", SOURCE),
    ("forward", SOURCE, SOURCE, "--queues", 65),
    ("forward", "emu:source?queues=4", SOURCE),
    ("forward", SOURCE, "emu:source?queues=4"),
    ("forward", "emu:source?pool=100", SOURCE),
    ("forward", "emu:source?pool=0", SOURCE),
    ("forward", "emu:source?pool=640", SOURCE),  # enough for one device only
    # numbers
    ("forward", SOURCE, SOURCE, "--count", 0),
    ("forward", SOURCE, SOURCE, "--count", -1),
    ("forward", SOURCE, SOURCE, "--count", "x"),
    ("generate", SOURCE, "--count", 10**20),
    ("forward", SOURCE, SOURCE, "--batch", 0),
    ("forward", SOURCE, SOURCE, "--time", 0),
    ("forward", SOURCE, SOURCE, "--time", "nan"),
    ("generate", SOURCE, "--rate", 0),
    ("generate", SOURCE, "--rate", "nan"),
    ("generate", SOURCE, "--size", 59),
    ("generate", SOURCE, "--size", 1515),
    *(("generate", SOURCE, option, "") for option in ("--size", "--rate", "--template", "--vary")),
    ("generate", SOURCE, "--rate", "101%"),
    ("generate", SOURCE, "--csv", "/nowhere/x.csv"),
    ("forward", SOURCE, SOURCE, "--plot", "x.gif"),
    ("forward", SOURCE, SOURCE, "--plot", "/nowhere/x.png"),
    ("forward", SOURCE, SOURCE, "--prometheus", "70000"),
    ("throughput", SOURCE, SOURCE, "--sizes", "64,9000"),
    ("throughput", SOURCE, SOURCE, "--loss", "1.5"),
    ("throughput", SOURCE, f"{SOURCE}?queues=2"),
    ("generate", SOURCE, "--arrivals", "nope"),
    ("generate", SOURCE, "--template", "none.pcap"),
    ("generate", SOURCE, "--template", "Ether()/__import__('os').system('true')"),
    ("generate", SOURCE, "--template", f"{REAL}:171"),
    ("generate", SOURCE, "--vary", "ip.id=inc(1,2)", "--vary", "ip.id=inc(1,2)"),
    ("generate", SOURCE, "--template", "udp6", "--size", 60),
    ("capture", SOURCE, "x.pcap", "--snaplen", 0),
    ("capture", SOURCE, "x.pcap", "--snaplen", 10**9),
    ("capture", SOURCE, "x.pcap", "--filter", "port"),
    ("capture", SOURCE, "x.pcap", "--filter", "ip and arp"),
    ("capture", SOURCE, "x.pcap", "--filter", "ip protochain 6"),
    ("capture", SOURCE, "x.pcap", "--filter", "inbound"),
    ("capture", SOURCE, "x.pcap", "--times", "never"),
    ("capture", SOURCE, "x.pcap", "--format", "erf"),
    *(
        ("capture", SOURCE, "x.pcap", "--rotate-size", size)
        for size in ("0", "99999", "-1", "10X", "1.5M", "M", "")
    ),
    ("capture", SOURCE, "x.pcap", "--rotate-time", 0),
    ("capture", SOURCE, "x.pcap", "--keep", 3),
    ("capture", SOURCE, "x.pcap", "--rotate-time", 1, "--keep", 0),
    ("capture", SOURCE, "-", "--rotate-size", "1M"),
    ("replay", REAL, SOURCE, "--loop", 0),
    *(
        ("replay", REAL, SOURCE, "--speed", speed)
        for speed in ("0", "0x", "-1", "x", "nanx", "fast")
    ),
    # files
    ("forward", "emu:pcap:none.pcap,", SOURCE),
    ("forward", "emu:pcap:,none/x.pcap", SOURCE),
    ("forward", "emu:pcap:,x.txt", SOURCE),
    ("replay", "none.pcap", SOURCE),
    ("replay", ".", SOURCE),
    ("capture", SOURCE, "x.txt"),
    ("capture", SOURCE, "none/x.pcap"),
    ("capture", SOURCE, "none/x.pcap", "--rotate-size", "1M"),
    # the command line itself
    ("nope",),
    ("forward", SOURCE),
    ("forward", SOURCE, SOURCE, SOURCE),
    ("forward", SOURCE, SOURCE, "--nope"),
    ("bench", "nope"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check_refused(*args: object, **settings) -> str:
    done = run_ixy(*args, "--json", timeout=120, **settings)
    assert done.returncode not in (0, -9, -11), done
    assert is_one_line(done.stderr), done.stderr
    assert done.stdout == ""
    assert "IXY_DEBUG" not in done.stderr  # that would be an error nobody thought of
    return done.stderr


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("args", ARGUMENTS, ids=lambda args: " ".join(map(str, args)))
def test_wrong_arguments(args: tuple[object, ...]) -> None:
    check_refused(*args)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("forward", "foo:bar", SOURCE), ["foo:bar", "emu:WIRE"]),
        (("forward", "emu:nope", SOURCE), ["nope", "loopback", "cable", "pcap", "tap", "source"]),
        (("forward", "emu:source?nope=1", SOURCE), ["nope", "queues", "ring", "pool"]),
        (("forward", "emu:source?ring=100", SOURCE), ["100", "power of two", "64 to 4096"]),
        (("forward", "emu:source?queues=65", SOURCE), ["65 queues", "1 to 64"]),
        (("forward", "emu:source?pool=100", SOURCE), ["pool", "too small", "pool=N"]),
        (("forward", "emu:pcap:none.pcap,", SOURCE), ["none.pcap"]),
        (("generate", SOURCE, "--count", 0), ["--count"]),
        (("capture", SOURCE, "x.pcap", "--filter", "foo bar"), ["foo bar", "syntax error"]),
        (("capture", SOURCE, "x.pcap", "--filter", "inbound"), ["inbound", "leave that out"]),
        (("generate", SOURCE, "--rate", "x"), ["1e6", "5Gbit", "5Gbit-wire", "50%"]),
        (("generate", SOURCE, "--size", "x"), ["60..1514", "imix"]),
        (("generate", SOURCE, "--template", "x"), ["udp4", "FILE.pcap", "Ether()"]),
        (("generate", SOURCE, "--vary", "x"), ["inc(", "random(", "list("]),
        (("generate", SOURCE, "--vary", "tcp.seq=inc(1,2)"), ["tcp.seq", "udp.sport", "at("]),
    ],
)
def test_the_line_names_what_is_wrong_and_what_is_known(args, words: list[str]) -> None:
    line = check_refused(*args)
    assert all(word in line for word in words)


def test_with_debugging_there_is_a_traceback_too() -> None:
    done = run_ixy("forward", "emu:nope", SOURCE, IXY_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("ixy: unknown wire 'nope'")


@pytest.mark.parametrize(
    "content",
    [b"", bytes(99), b"this is a text\n", b"\xd4\xc3\xb2\xa1"],
    ids=lambda content: len(content),
)
def test_what_is_no_capture(here: Path, content: bytes) -> None:
    (here / "x.pcap").write_bytes(content)
    check_refused("replay", "x.pcap", SOURCE)
    check_refused("forward", "emu:pcap:x.pcap,", SOURCE)


def damaged(path: Path) -> tuple[list[bytes], Path]:
    """A file that ends within its 30th frame."""
    frames = [numbered(i) for i in range(30)]
    file = write_pcap(path / "in.pcap", frames)
    file.write_bytes(file.read_bytes()[:-20])
    return frames[:29], file


@pytest.mark.parametrize("command", ["forward", "replay", "capture"])
def test_a_damaged_capture_is_read_up_to_the_damage_with_a_warning(here, command: str) -> None:
    good, file = damaged(here)
    out = here / "out.pcap"
    args = {
        "forward": ("forward", f"emu:pcap:{file},", f"emu:pcap:,{out}", "--one-way"),
        "replay": ("replay", file, f"emu:pcap:,{out}"),
        "capture": ("capture", f"emu:pcap:{file},", out),
    }[command]
    done = run_ixy(*args, "--json")
    assert done.returncode == 1
    assert is_one_line(done.stderr), done.stderr
    assert "warning" in done.stderr
    assert "29 good packets" in done.stderr
    assert read_pcap(out) == good
    assert done.stdout.count("\n") == 1  # the totals are there all the same


def test_a_full_device_as_file_is_refused(here: Path) -> None:
    (here / "x.pcap").symlink_to("/dev/full")
    check_refused("capture", SOURCE, "x.pcap", "--time", 1)
    check_refused("forward", SOURCE, "emu:pcap:,x.pcap", "--time", 1)


root = pytest.mark.root
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def small_disk(here: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    disk = here / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


@root
@needs_root
@pytest.mark.compiled
def test_a_disk_that_fills_up_is_an_error(small_disk: Path) -> None:
    for args in (
        ("capture", SOURCE, small_disk / "x.pcap", "--count", 50_000),
        ("capture", SOURCE, small_disk / "x.pcap"),
        ("capture", SOURCE, small_disk / "x.pcap", "--rotate-size", "200K"),
        ("forward", SOURCE, f"emu:pcap:,{small_disk}/y.pcap", "--one-way", "--count", 50_000),
    ):
        done = run_ixy(*args)
        lines = [line for line in done.stderr.splitlines() if line.startswith("ixy: ")]
        assert done.returncode == 1, args
        assert len(lines) == 1, done.stderr
        assert "No space left" in lines[0]
        for file in small_disk.iterdir():
            file.unlink()


@root
@needs_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
def test_a_tap_without_permission() -> None:
    drop = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
    args = [*drop, *IXY, "forward", "emu:tap:ixynoperm0", SOURCE, "--time", "1", "--json"]
    done = subprocess.run(args, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert is_one_line(done.stderr)
    assert "ixynoperm0" in done.stderr
    assert "tuntap add" in done.stderr


@root
@needs_root
def test_a_tap_that_is_open_already() -> None:
    name = f"ixyb{os.getpid() % 10**7}"
    line = check_refused("forward", f"emu:tap:{name}", f"emu:tap:{name}")
    assert "already open" in line
    assert not Path("/sys/class/net", name).exists()


@root
@needs_root
def test_an_interface_that_is_no_tap() -> None:
    check_refused("forward", "emu:tap:lo", SOURCE)


def test_the_third_end_of_a_cable() -> None:
    name = f"ixy-test-{os.getpid()}"
    both = [*IXY, "forward", f"emu:cable:{name}", f"emu:cable:{name}", "--json"]
    with subprocess.Popen(both, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr.readline()  # a live line: it runs
            line = check_refused("generate", f"emu:cable:{name}", "--count", 1)
            assert name in line
            assert "taken" in line
        finally:
            process.terminate()
            process.communicate(timeout=120)
    assert not Path(f"/dev/shm/ixy-cable-{os.getuid()}-{name}").exists()


def test_a_cable_without_another_end() -> None:
    name = f"ixy-alone-{os.getpid()}"
    line = check_refused("generate", f"emu:cable:{name}", "--count", many(1, 1))
    assert "no link" in line
