"""`ixy capture` as its users run it: into a pipe, into files in turn, judged by what reads them."""

import json
import os
import pty
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from pcap_files import take

import judge
from command import IXY, REAL, is_one_line, many, read_pcap, run_ixy, totals, write_pcap
from corpus import Recorded
from ixy.pcap import Reader
from rig import numbered

needs_tshark = pytest.mark.skipif(
    shutil.which("tshark") is None or shutil.which("capinfos") is None, reason="install tshark"
)
needs_tcpdump = pytest.mark.skipif(shutil.which("tcpdump") is None, reason="install tcpdump")
COUNT = many(5000, 40)
TSHARK = ["tshark", "-n", "-r", "-", "-T", "fields", "-e", "frame.len"]


def piped(args: Sequence[object], reader: Sequence[str]) -> tuple[int, str, list[str]]:
    """Exit code and stderr of `ixy capture ... | reader`, and the lines that the reader said."""
    command = [*IXY, "capture", *map(str, args)]
    with (
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as ixy,
        subprocess.Popen(
            reader, stdin=ixy.stdout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as other,
    ):
        ixy.stdout.close()  # the reader alone has it
        out, _ = other.communicate(timeout=120)
        said = ixy.stderr.read().decode()
    return ixy.returncode, said, out.splitlines()


@needs_tshark
@pytest.mark.parametrize("format", [[], ["--format", "pcap"], ["--format", "pcapng"]])
def test_tshark_reads_what_goes_to_stdout(format: list[str]) -> None:
    code, said, lines = piped(["emu:source?size=99", "-", "--count", COUNT, *format], TSHARK)
    assert code == 0, said
    assert lines == ["99"] * COUNT
    assert f"written {COUNT}" in said.splitlines()[-1]


@needs_tshark
def test_dumpcap_takes_it_as_an_interface(tmp_path: Path) -> None:
    """As `wireshark -k -i -` does."""
    file = tmp_path / "x.pcapng"
    reader = ["dumpcap", "-q", "-i", "-", "-w", str(file)]
    code, said, _ = piped(["emu:source?size=99", "-", "--count", COUNT], reader)
    assert code == 0, said
    with Reader(file) as found:
        assert [length for _, _, length in take(found, 1000)] == [99] * COUNT


@needs_tcpdump
def test_tcpdump_reads_what_goes_to_stdout() -> None:
    reader = ["tcpdump", "-n", "-r", "-"]
    args = [f"emu:pcap:{REAL},", "-", "--filter", "tcp"]
    frames = [Recorded(frame, len(frame)) for frame in read_pcap(REAL)]
    code, said, lines = piped(args, reader)
    assert code == 0, said
    packets = [line for line in lines if line[:1].isdigit()]
    assert len(packets) == sum(map(bool, judge.verdicts("tcp", frames, 1))) > 0


@needs_tcpdump
@pytest.mark.parametrize(("bound", "code"), [([], 0), (["--count", 10**9], 141)])
def test_a_reader_that_leaves_ends_the_run_with_its_totals(bound: list[object], code: int) -> None:
    reader = ["tcpdump", "-n", "-c", "5", "-r", "-"]
    left, said, lines = piped(["emu:source", "-", "--json", *bound], reader)
    assert left == code, said
    assert len(lines) == 5
    found = json.loads(said.splitlines()[-1])  # the last line: stdout has the frames
    dropped = found["ports"][0]["dropped"]
    assert dropped["unwritten"] > 0
    assert found["received"] == found["written"] + found["filtered"] + sum(dropped.values())


@needs_tshark
@pytest.mark.parametrize("suffix", ["pcap", "pcapng"])
def test_files_in_turn(tmp_path: Path, suffix: str) -> None:
    frames = [numbered(i, 1000) for i in range(many(3000, 250))]
    source = write_pcap(tmp_path / "in.pcap", frames)
    args = f"emu:pcap:{source},", tmp_path / f"x.{suffix}", "--rotate-size", "100K"
    found = totals("capture", *args)
    assert found["written"] == len(frames)
    assert len(found["files"]) > 2
    assert sorted(found["files"]) == sorted(map(str, tmp_path.glob("x_*")))
    ran = subprocess.run(
        ["capinfos", "-M", "-c", "-T", "-r", *found["files"]],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    counts = [int(line.split("\t")[1]) for line in ran.stdout.splitlines()]
    assert len(counts) == len(found["files"])
    assert sum(counts) == len(frames)
    ran = subprocess.run(["tshark", "-r", found["files"][1]], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    kept = totals(
        "capture", f"emu:pcap:{source},", tmp_path / f"y.{suffix}", *args[2:], "--keep", 1
    )
    assert kept["files"] == list(map(str, tmp_path.glob("y_*")))
    assert len(kept["files"]) == 1
    assert kept["written"] == len(frames)


def test_what_the_filter_rejects_is_counted(tmp_path: Path) -> None:
    args = "emu:source", tmp_path / "x.pcap", "--filter", "udp src port 10001", "--time", 0.3
    found = totals("capture", *args, "--queues", 2, "--times", "packet")
    assert 0 < found["written"] < found["filtered"]
    dropped = sum(found["ports"][0]["dropped"].values())
    assert found["received"] == found["written"] + found["filtered"] + dropped
    assert len(read_pcap(tmp_path / "x.pcap")) == found["written"]


def test_frames_are_not_for_terminals() -> None:
    master, slave = pty.openpty()
    done = subprocess.run(
        [*IXY, "capture", "emu:source", "-"],
        stdout=slave, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
    )  # fmt: skip
    os.close(slave)
    os.close(master)
    assert done.returncode == 1
    assert is_one_line(done.stderr)
    assert "wireshark" in done.stderr


def test_without_libpcap_it_says_how_to_get_it(tmp_path: Path) -> None:
    """A library cannot be hidden; an empty file in front of it cannot be loaded."""
    (tmp_path / "libpcap.so.0.8").write_bytes(b"")
    (tmp_path / "libpcap.so.1").write_bytes(b"")
    args = "emu:source", tmp_path / "x.pcap", "--filter", "ip"
    done = run_ixy("capture", *args, LD_LIBRARY_PATH=str(tmp_path))
    assert done.returncode == 1
    assert is_one_line(done.stderr)
    assert "apt install libpcap0.8" in done.stderr
