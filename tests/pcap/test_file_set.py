"""Files in turn: no record lost, doubled or divided, none too long, named and kept as promised."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pcap_files import take

from ixy.pcap import PCAP, Counts, FileSet, Interface, PcapError, Reader, encode
from ixy.pcap.file_set import whole_records

SUFFIXES = pytest.mark.parametrize("suffix", ["pcap", "pcapng"])


def counts() -> Counts:
    return Counts(1, 2, 3, 0, 3, 3)


def block(sizes: list[int], format: int, first: int = 0) -> np.ndarray:
    """Records of frames of these sizes, their times numbered."""
    out, end = np.zeros(sum(sizes) + 36 * len(sizes) + 1, np.uint8), 0
    for number, size in enumerate(sizes, first):
        frame = np.full(size, number % 251, np.uint8)
        end = encode(out, end, frame, size, size, number, format)
    return out[:end]


def read(names: list[str]) -> list[tuple[int, bytes, int]]:
    """The frames of all files, each of which is whole."""
    found = []
    for name in names:
        with Reader(name) as reader:
            found += take(reader)
            assert reader.warning is None
    return found


def test_without_a_bound_it_is_one_file_with_its_own_name(tmp_path: Path) -> None:
    files = FileSet(str(tmp_path / "x.pcapng"), counts, interface=Interface("wire"))
    for _ in range(3):
        files.write_block(block([60] * 1000, files.file.format), 1000)
        files.tick()
    files.close()
    files.close()
    assert (files.written, files.names, files.rotates) == (3000, [], False)
    assert len(read([str(tmp_path / "x.pcapng")])) == 3000
    assert [path.name for path in tmp_path.iterdir()] == ["x.pcapng"]


@SUFFIXES
@settings(deadline=None, max_examples=20)
@given(
    blocks=st.lists(st.lists(st.integers(0, 2048), max_size=200), max_size=6),
    size=st.integers(100_000, 200_000),
)
def test_files_of_a_size(tmp_path_factory, suffix, blocks, size) -> None:
    directory = tmp_path_factory.mktemp("set")
    files = FileSet(str(directory / f"x.{suffix}"), counts, size=size)
    number = 0
    for sizes in blocks:
        files.write_block(block(sizes, files.file.format, number), len(sizes))
        number += len(sizes)
    files.close()
    assert files.written == number
    assert sorted(files.names) == sorted(map(str, directory.iterdir()))
    frames = read(files.names)
    assert [when for when, _, _ in frames] == list(range(number))
    assert [len(data) for _, data, _ in frames] == [n for sizes in blocks for n in sizes]
    lengths = [Path(name).stat().st_size for name in files.names]
    assert all(size - 2048 - 200 < length <= size for length in lengths[:-1])
    assert lengths[-1] <= size


def test_the_names_are_those_of_a_set(tmp_path: Path) -> None:
    files = FileSet(str(tmp_path / "a.b.pcap"), counts, size=100_000)
    files.write_block(block([1000] * 300, PCAP), 300)
    files.close()
    names = [Path(name).name for name in files.names]
    found = [re.fullmatch(r"a\.b_(\d{5})_(\d{14})\.pcap", name) for name in names]
    assert [int(match[1]) for match in found if match] == [1, 2, 3, 4]
    begun = [time.mktime(time.strptime(match[2], "%Y%m%d%H%M%S")) for match in found if match]
    assert all(abs(moment - time.time()) < 60 for moment in begun)


@SUFFIXES
def test_the_oldest_are_deleted(tmp_path: Path, suffix: str) -> None:
    files = FileSet(str(tmp_path / f"x.{suffix}"), counts, size=100_000, keep=2)
    for number in range(5):
        files.write_block(block([1000] * 90, files.file.format, 90 * number), 90)
        Path(files.names[0]).unlink(missing_ok=True)  # somebody was faster
    files.close()
    assert files.written == 450
    assert len(files.names) == 2
    assert int(files.names[0].split("_")[-2]) == 4
    assert read(files.names[1:])[-1][0] == 449


def test_a_new_file_after_some_time_unless_nothing_came(tmp_path: Path, monkeypatch) -> None:
    moment = [100.0]
    monkeypatch.setattr("ixy.pcap.file_set.time.monotonic", lambda: moment[0])
    files = FileSet(str(tmp_path / "x.pcap"), counts, seconds=60)
    for later, expected in [(59, 1), (61, 1), (100, 1), (130, 2), (189, 2), (190, 3)]:
        moment[0] = 100.0 + later
        files.tick()
        assert len(files.names) == expected, later
        if later >= 100:
            files.write_block(block([60], PCAP), 1)
    files.close()
    assert len(read(files.names)) == files.written == 4


def test_what_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "x.pcap")
    with pytest.raises(PcapError, match="files of 99999 bytes: give them 100000 at least"):
        FileSet(path, counts, size=99_999)
    with pytest.raises(PcapError, match="must end in"):
        FileSet(str(tmp_path / "x.txt"), counts, size=100_000)
    with pytest.raises(PcapError, match="create its directory first"):
        FileSet(str(tmp_path / "none" / "x.pcap"), counts, seconds=1)
    files = FileSet(path, counts, size=100_000)
    with pytest.raises(PcapError, match="too long"):
        files.write_block(block([200_000], PCAP), 1)


@pytest.mark.parametrize("format", [0, 1])
def test_whole_records(format: int) -> None:
    data = block([4, 8], format)
    first, both = {0: (20, 44), 1: (36, 76)}[format]
    for room, expected in [
        (-1, (0, 0)), (first - 1, (0, 0)), (first, (first, 1)), (both - 1, (first, 1)),
        (both, (both, 2)), (10**6, (both, 2)),
    ]:  # fmt: skip
        assert whole_records(data, room, format) == expected
