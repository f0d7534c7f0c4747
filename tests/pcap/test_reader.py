import os
import threading

import numpy as np
import pytest
from pcap_files import interface, open_bytes, pcap, record, section, simple, take

from ixy.pcap import Frame, PcapError, Reader

CONTENT = pcap(records=record("<", 1, 2, b"first") + record("<", 3, 4, b"second"))
FRAMES = [(1_000_002_000, b"first", 5), (3_000_004_000, b"second", 6)]


def test_tables_and_bytes(tmp_path):
    (tmp_path / "x.pcap").write_bytes(CONTENT)
    with Reader(str(tmp_path / "x.pcap")) as reader:
        assert reader.data.dtype == np.uint8
        assert reader.data.tobytes() == CONTENT
        assert reader.frames == 0
        assert reader.read(1).tolist() == [(40, 5, 5, 1_000_002_000)]
        assert (reader.frames, reader.warning) == (1, None)
        assert reader.read(100).tolist() == [(61, 6, 6, 3_000_004_000)]
        assert len(reader.read(100)) == 0
        assert reader.read(100).dtype == Frame
        assert reader.frames == 2
    assert len(reader.read(100)) == 0  # closed
    assert reader.warning is None


def test_rewind_begins_again_also_behind_damage():
    with open_bytes(CONTENT + b"rest") as reader:
        for _ in range(3):
            assert take(reader) == FRAMES
            assert reader.frames == 2
            assert reader.warning
            reader.rewind()
            assert reader.frames == 0


def test_iteration():
    with open_bytes(CONTENT) as reader:
        assert [(time, bytes(frame)) for time, frame in reader] == [row[:2] for row in FRAMES]


def test_warning_stays_and_counts():
    with open_bytes(CONTENT + b"rest") as reader:
        assert reader.warning is None
        assert take(reader) == FRAMES
        for _ in range(2):
            assert len(reader.read(5)) == 0
            assert reader.warning.endswith(
                f"x.pcap is damaged at byte {len(CONTENT)} (the file ends within a record): "
                "2 good packets were read"
            )


@pytest.mark.parametrize("content", [pcap(), section(), section() + interface()])
def test_a_capture_without_frames_is_fine(content):
    with open_bytes(content) as reader:
        assert (take(reader), reader.warning) == ([], None)


def test_frames_outlive_the_reader():
    with open_bytes(section() + interface() + simple("<", b"frame")) as reader:
        ((_, frame),) = reader
    assert frame.tobytes() == b"frame"


def test_a_pipe_is_read_whole(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    thread = threading.Thread(target=fifo.write_bytes, args=[CONTENT])
    thread.start()
    with Reader(fifo) as reader:
        assert take(reader) == FRAMES
    thread.join()


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_standard_input(kind, tmp_path):
    if kind == "pipe":
        source, end = os.pipe()
        os.write(end, CONTENT + b"rest")
        os.close(end)
    else:
        (tmp_path / "x").write_bytes(CONTENT + b"rest")
        source = os.open(tmp_path / "x", os.O_RDONLY)
    before = os.dup(0)
    os.dup2(source, 0)
    try:
        with Reader("-") as reader:
            assert take(reader) == FRAMES
            assert reader.warning.startswith("standard input is damaged at byte 67 (")
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(source)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty: record it again"),
        (b"\x1f\x8b\x08\0", "is compressed: decompress it first, with gzip -d"),
        (b"\x28\xb5\x2f\xfd\0", "is compressed: decompress it first, with zstd -d"),
        (b"\xfd7zXZ\0\0", "is compressed: decompress it first, with xz -d"),
        (b"\xa1\xb2\xcd\x34", "is a patched pcap: convert it with editcap"),
        (b"<html>", "is not a capture (it begins with 3c 68 74 6d 6c 3e): name a pcap"),
        (b"\n", "is not a capture (it begins with 0a): name a pcap or pcapng file"),
    ],
)
def test_refused_content(content, words):
    with pytest.raises(PcapError) as caught:
        open_bytes(content)
    assert f"x.pcap {words}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refused_paths(tmp_path, monkeypatch):
    with pytest.raises(PcapError, match=r"there is no file .*/none: check the name"):
        Reader(tmp_path / "none")
    with pytest.raises(PcapError, match="is a directory: name a pcap or pcapng file in it"):
        Reader(tmp_path)
    with pytest.raises(PcapError, match="/dev/zero is a device"):
        Reader("/dev/zero")
    (tmp_path / "file").touch()
    with pytest.raises(PcapError, match=r"cannot read .*/file/x \(Not a directory\): record it"):
        Reader(tmp_path / "file" / "x")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(PcapError, match="no permission to read x: ask its owner, or try sudo"):
        Reader("x")
