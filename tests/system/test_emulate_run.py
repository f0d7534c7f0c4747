"""`ixy emulate --run`: drivers that know nothing of the emulator find its cards in sysfs."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from command import (
    IXY,
    REAL,
    is_one_line,
    keeps_to_schema,
    on_the_wire,
    read_pcap,
    run_ixy,
    start_ixy,
)
from huge import huge_pages_of_this_machine
from ixy import system

CARD, SECOND = "0000:03:00.0", "0000:03:00.1"
SYSFS = Path("/sys/bus/pci/devices")
COMPILING = 400  # seconds: the first one compiles
REAL_FRAMES = on_the_wire(read_pcap(REAL))

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a mount namespace"),
]


@pytest.fixture(scope="module", autouse=True)
def pages() -> Iterator[None]:
    with huge_pages_of_this_machine():
        yield


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A driver in another language."""
    program = tmp_path_factory.mktemp("echo") / "echo"
    source = Path(__file__).parent / "echo.c"
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-o", program, source], check=True)
    return program


def test_a_driver_in_c(echo: Path, tmp_path: Path) -> None:
    """As the child of a shell; the second half of its memory is made while the card runs."""
    out = tmp_path / "out.pcap"
    count = len(REAL_FRAMES)
    done = run_ixy(
        "emulate", "--run", "--json", "--mac", "02:00:00:0a:0b:0c", "--wire", "loopback",
        "--wire", f"pcap:{REAL},{out}", "--", "sh", "-c", f"{echo} {SECOND} {count}; exit $?",
        timeout=COMPILING,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    mac, echoed, totals = done.stdout.splitlines()
    assert mac == "mac 0a000002 0d0b"
    assert echoed == f"echoed {count}"
    assert read_pcap(out) == REAL_FRAMES
    found = json.loads(totals)
    keeps_to_schema("emulate", found)
    assert found["exit_code"] == 0
    assert [port["address"] for port in found["ports"]] == [CARD, SECOND]
    assert [port["tx_packets"] for port in found["ports"]] == [0, count]
    assert found["ports"][1]["rx_packets"] == count
    assert found["ports"][1]["rx_bytes"] == sum(map(len, REAL_FRAMES))
    assert not any(found["ports"][1]["dropped"].values())


def test_a_driver_that_starts_its_receiver_too_soon(tmp_path: Path) -> None:
    """As ixy in C does, before queues and filters: no frame comes before the link is up."""
    source = (Path(__file__).parent / "echo.c").read_text()
    place = "    *reg(FCTRL) |="
    assert source.count(place) == 1
    soon = "    *reg(RXCTRL) |= 1;\n    nanosleep(&(struct timespec){0, 50000000}, NULL);\n"
    (tmp_path / "hasty.c").write_text(source.replace(place, soon + place))
    program, out = tmp_path / "hasty", tmp_path / "out.pcap"
    subprocess.run(["gcc", "-O2", "-o", program, tmp_path / "hasty.c"], check=True)
    count = len(REAL_FRAMES)
    command = ["timeout", "20", program, CARD, str(count)]
    done = run_ixy("emulate", "--run", "--wire", f"pcap:{REAL},{out}", "--", *command)
    assert done.returncode == 0, done.stderr
    assert read_pcap(out) == REAL_FRAMES


def test_our_own_driver(tmp_path: Path) -> None:
    """Its packet memory has no name. It cannot count: the card's counters stand at 0."""
    out, count = tmp_path / "out.pcap", len(REAL_FRAMES)
    command = [*IXY, "forward", CARD, SECOND, "--one-way", "--count", str(count), "--json"]
    wires = ("--wire", f"pcap:{REAL},", "--wire", f"pcap:,{out}")
    done = run_ixy("emulate", "--run", *wires, "--", *command, timeout=COMPILING)
    assert done.returncode == 0, done.stderr
    assert read_pcap(out) == REAL_FRAMES
    totals = json.loads(done.stdout)
    assert totals["forwarded"] == count
    assert [port["rx_packets"] for port in totals["ports"]] == [0, 0]
    assert not any(count for port in totals["ports"] for count in port["dropped"].values())
    assert f"ixy: {CARD}: received {count}, sent 0, dropped 0" in done.stderr
    assert f"ixy: {SECOND}: received 0, sent {count}, dropped 0" in done.stderr


def test_what_the_command_sees_and_what_nobody_else_does() -> None:
    before = sorted(SYSFS.iterdir()), Path("/mnt/huge").exists(), sorted(Path("/mnt").iterdir())
    script = f"""
        cd {SYSFS} && ls && cat {CARD}/vendor {CARD}/device {CARD}/class {CARD}/numa_node
        stat -Lc %s {SECOND}/resource0 && od -An -tx2 -N4 {SECOND}/config
        stat -fc %T /mnt/huge && ls -d {" ".join(map(str, before[2]))}
        read line
    """
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [*IXY, "emulate", "--run", "--model", "x540", "--", "sh", "-c", script]
    with subprocess.Popen(command, stderr=subprocess.PIPE, **options) as process:
        assert process.stdout
        seen = [process.stdout.readline().strip() for _ in range(9)]
        now = sorted(SYSFS.iterdir()), Path("/mnt/huge").exists(), sorted(Path("/mnt").iterdir())
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
        rest = process.stdout.read()
    assert seen[:6] == [CARD, SECOND, "0x8086", "0x1528", "0x020000", "-1"]
    assert seen[6:] == [str(128 * 1024), "8086 1528", "hugetlbfs"]
    assert rest.split() == [str(path) for path in before[2]]
    assert now == before
    assert process.returncode == 0


SLEEP = "echo ready; while :; do sleep 0.02; done"


@pytest.mark.parametrize(
    ("number", "script", "code"),
    [
        (signal.SIGTERM, f"trap 'exit 7' TERM; {SLEEP}", 7),
        (signal.SIGINT, f"trap 'exit 8' INT; {SLEEP}", 8),
        (signal.SIGUSR1, SLEEP, 128 + signal.SIGUSR1),
    ],
)
def test_signals_are_the_command_s_and_so_is_the_exit_code(
    number: int, script: str, code: int
) -> None:
    with start_ixy("emulate", "--run", "--", "sh", "-c", script) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == code


@pytest.mark.parametrize("how", ["the command ends", "the emulator is killed"])
def test_nothing_lives_on(how: str) -> None:
    script = (
        "sleep 60 & echo $! $$; read line" if how == "the command ends" else "echo $$; sleep 60"
    )
    command = [*IXY, "emulate", "--run", "--", "sh", "-c", script]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout
        assert process.stdin
        left = [int(word) for word in process.stdout.readline().split()]
        assert len(left) in (1, 2)
        if how == "the command ends":
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.wait(20) == 0
        else:
            process.kill()
        deadline = time.monotonic() + 5
        while any(is_running(number) for number in left):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def is_running(number: int) -> bool:
    """Whether there is such a process, and not only its exit code."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_dma_address_that_is_nobody_s(tmp_path: Path) -> None:
    """The driver names memory that is not in huge pages: it is told, and nothing is written."""
    broken = tmp_path / "broken.c"
    source = (Path(__file__).parent / "echo.c").read_text()
    assert "{received_at + i * BUFFER, 0}" in source
    broken.write_text(source.replace("{received_at + i * BUFFER, 0}", "{0x1000, 0}"))
    program = tmp_path / "broken"
    subprocess.run(["gcc", "-O2", "-o", program, broken], check=True)
    done = run_ixy("emulate", "--run", "--wire", "source", "--", "timeout", "2", program, CARD, "1")
    assert done.returncode == 124
    wrong = (
        f"ixy: {CARD}: DMA fault: the device was told to access 60 bytes at 0x1000, which is not"
    )
    assert done.stderr.count(wrong) == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "give ixy emulate either --vfio-user SOCKET"),
        (("--run",), "give ixy emulate either"),
        (("--run", "--vfio-user", "x", "--", "true"), "give ixy emulate either"),
        (("--vfio-user", "x", "--wire", "source", "--wire", "source"), "either --vfio-user"),
        (("--run", "--", "no-such-command"), "no-such-command: there is no such command"),
        (("--run", *("--wire", "source") * 3, "--", "true"), "3 wires for 2 ports"),
        (("--run", "--wire", "nothing", "--", "true"), "nothing"),
    ],
)
def test_errors_are_one_line(arguments: tuple[str, ...], error: str) -> None:
    done = run_ixy("emulate", *arguments)
    assert done.returncode == 1
    assert is_one_line(done.stderr), done.stderr
    assert error in done.stderr


def test_without_huge_pages_it_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ixy.cli.emulate_run import must_be_possible
    from ixy.errors import IxyError

    monkeypatch.setattr(system, "HUGE_PAGES", tmp_path)
    for name in ("nr", "resv", "free"):
        (tmp_path / f"{name}_hugepages").write_text("0\n")
    with pytest.raises(IxyError, match=r"run: echo 72 \| sudo tee /proc/sys/vm/nr_hugepages"):
        must_be_possible(["true"])
