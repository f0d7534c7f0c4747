import os
import threading

import dpkt
import numpy as np
import pcapng.blocks
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pcap_files import take

from ixy.pcap import (
    MAXIMUM_SNAPLEN,
    PCAP,
    PCAPNG,
    Counts,
    Interface,
    PcapError,
    Reader,
    ReaderGone,
    Writer,
    encode,
)

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

SUFFIXES = pytest.mark.parametrize("suffix", ["pcap", "pcapng"])


def test_literal_pcap(tmp_path):
    path = tmp_path / "x.pcap"
    with Writer(path, snaplen=64) as writer:
        writer.write(b"\xaa\xbb\xcc", 1_000_000_002, 5)
    assert writer.format == PCAP
    assert path.read_bytes() == bytes.fromhex(
        "4d3cb2a1 0200 0400 00000000 00000000 40000000 01000000"
        "01000000 02000000 03000000 05000000 aabbcc"
    )


def test_literal_pcapng(tmp_path, monkeypatch):
    monkeypatch.setattr("ixy.pcap.writer.section_header", lambda: b"a section")
    path = tmp_path / "x.PCAPNG"
    with Writer(path, interface=Interface("port0")) as writer:
        writer.write(b"\xaa\xbb\xcc", 2**32 + 2, 5)
    assert writer.format == PCAPNG
    assert path.read_bytes() == bytes.fromhex(
        f"{b'a section'.hex()}"
        "01000000 2c000000 0100 0000 00000400"
        "0200 0500 706f727430000000 0900 0100 09000000 0000 0000 2c000000"
        "06000000 24000000 00000000 01000000 02000000 03000000 05000000 aabbcc00 24000000"
    )


@SUFFIXES
@settings(deadline=None, max_examples=30)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2**32 * 10**9 - 1), st.binary(max_size=70), st.integers(0, 99))
    )
)
def test_round_trip(tmp_path_factory, suffix, rows):
    path = tmp_path_factory.getbasetemp() / f"x.{suffix}"
    with Writer(path) as writer:
        for time, frame, extra in rows:
            writer.write(frame, time, len(frame) + extra)
    assert writer.written == len(rows)
    with Reader(path) as reader:
        assert take(reader) == [(time, frame, len(frame) + extra) for time, frame, extra in rows]
        assert reader.warning is None


@SUFFIXES
def test_any_buffer_is_a_frame(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    with Writer(path) as writer:
        for frame in (b"abc", bytearray(b"abc"), memoryview(b"abc"), np.array([97, 98, 99], "u1")):
            writer.write(frame, 7)
    with Reader(path) as reader:
        assert take(reader) == [(7, b"abc", 3)] * 4


@SUFFIXES
def test_long_frames_are_cut(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    with Writer(path, snaplen=4) as writer:
        writer.write(b"abcdef", 0)
    with Writer(tmp_path / f"y.{suffix}") as longest:
        for _ in range(3):  # each fills the block that is collected
            longest.write(bytes(MAXIMUM_SNAPLEN + 1), 0)
    with Reader(path) as reader:
        assert take(reader) == [(0, b"abcd", 6)]
    with Reader(longest.name) as reader:
        assert take(reader) == [(0, bytes(MAXIMUM_SNAPLEN), MAXIMUM_SNAPLEN + 1)] * 3


@SUFFIXES
def test_blocks_and_frames_keep_their_order(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    out = np.zeros(100, np.uint8)
    with Writer(path) as writer:
        writer.write(b"1", 1)
        end = encode(out, 0, np.frombuffer(b"2", np.uint8), 1, 1, 2, writer.format)
        end = encode(out, end, np.frombuffer(b"3", np.uint8), 1, 1, 3, writer.format)
        writer.write_block(out[:end], 2)
        writer.write_block(memoryview(b""), 0)
        writer.write(b"4", 4)
        writer.flush()
        assert path.stat().st_size > end
    assert writer.written == 4
    with Reader(path) as reader:
        assert take(reader) == [(n, b"%d" % n, 1) for n in range(1, 5)]


def test_dpkt_reads_it(tmp_path):
    for suffix, judge in [("pcap", dpkt.pcap.Reader), ("pcapng", dpkt.pcapng.Reader)]:
        with Writer(tmp_path / f"x.{suffix}") as writer:
            for n in range(60, 64):
                writer.write(bytes([n]) * n, n * 10**9 + 500_000_000)
        with open(writer.name, "rb") as file:
            rows = list(judge(file))
        assert [(float(time), frame) for time, frame in rows] == [
            (n + 0.5, bytes([n]) * n) for n in range(60, 64)
        ]


@pytest.mark.filterwarnings("ignore:Field type:DeprecationWarning")  # its own schema's
def test_python_pcapng_reads_it(tmp_path):
    with Writer(tmp_path / "x.pcapng", snaplen=62, interface=Interface("wire")) as writer:
        for n in range(60, 64):
            writer.write(bytes([n]) * n, 2**40 + n)
    with open(writer.name, "rb") as file:
        header, port, *packets = pcapng.FileScanner(file)
    assert (header.version_major, header.version_minor) == (1, 0)
    assert (port.link_type, port.snaplen, port.options["if_name"]) == (1, 62, "wire")
    assert port.timestamp_resolution == 1e-9
    assert [type(packet) for packet in packets] == [pcapng.blocks.EnhancedPacket] * 4
    assert [packet.packet_data for packet in packets] == [
        bytes([n]) * min(n, 62) for n in range(60, 64)
    ]
    assert [packet.packet_len for packet in packets] == [60, 61, 62, 63]
    assert [(p.timestamp_high << 32) + p.timestamp_low for p in packets] == [
        2**40 + n for n in range(60, 64)
    ]


@pytest.mark.filterwarnings("ignore:Field type:DeprecationWarning")  # its own schema's
def test_what_is_known_of_the_interface_when_its_first_frame_comes(tmp_path):
    port, path = Interface("wire"), tmp_path / "x.pcapng"
    with Writer(path, interface=port) as writer:
        begin = path.stat().st_size
        port.speed, port.filter = 10**10, "arp or rarp"
        writer.write(b"abc", 7)
    with Writer(tmp_path / "y.pcapng", interface=port) as empty:
        pass
    assert begin < path.stat().st_size == writer.position
    for name in (writer.name, empty.name):
        with open(name, "rb") as file:
            described = list(pcapng.FileScanner(file))[1]
        assert described.options["if_speed"] == 10**10
        assert described.options["if_filter"] == (0, b"arp or rarp")


@pytest.mark.filterwarnings("ignore:Field type:DeprecationWarning")  # its own schema's
def test_the_counters_are_at_the_end(tmp_path):
    for suffix in ("pcap", "pcapng"):
        writer = Writer(tmp_path / f"x.{suffix}")
        writer.write(b"abc", 7)
        writer.close(Counts(2**40, 2**41, 10, 1, 6, 5))
        writer.close(Counts(1, 1, 1, 1, 1, 1))  # nothing more
        with Reader(writer.name) as reader:
            assert take(reader) == [(7, b"abc", 3)]
            assert reader.warning is None
    with open(writer.name, "rb") as file:
        last = list(pcapng.FileScanner(file))[-1]
    assert isinstance(last, pcapng.blocks.InterfaceStatistics)
    found = [last.options[f"isb_{name}"] for name in ("ifrecv", "ifdrop", "filteraccept")]
    assert (*found, last.options["isb_usrdeliv"]) == (10, 1, 6, 5)


def test_an_open_descriptor_is_written_to_and_stays_open(tmp_path):
    with open(tmp_path / "any name", "wb") as file:
        for time in (1, 2):
            with Writer(file.fileno(), format=PCAP) as writer:
                writer.write(b"abc", time)
    assert (tmp_path / "any name").stat().st_size == 2 * writer.position == 2 * (24 + 16 + 3)
    with pytest.raises(PcapError, match=r"the output: .* must end in"):
        Writer(1)


def test_the_format_may_be_another_than_the_suffix_says(tmp_path):
    with Writer(tmp_path / "x.pcap", format=PCAPNG) as writer:
        writer.write(b"abc", 7)
    with Reader(writer.name) as reader:
        assert take(reader) == [(7, b"abc", 3)]
    assert (tmp_path / "x.pcap").read_bytes()[:4] == bytes.fromhex("0a0d0d0a")


def test_a_reader_that_has_gone():
    reading, writing = os.pipe()
    writer = Writer(writing, format=PCAPNG)
    writer.check_reader()
    os.close(reading)
    with pytest.raises(ReaderGone, match=r"cannot write the output: whoever read it has gone$"):
        writer.check_reader()
    with pytest.raises(ReaderGone):
        writer.write_block(np.zeros(1, np.uint8), 1)
    assert writer.written == 0
    os.close(writing)


def test_a_pipe_that_is_full_is_waited_for():
    """Also one that does not block, as some programs make theirs."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    data = np.arange(300_000, dtype=np.uint32).view(np.uint8)
    writer = Writer(writing, format=PCAP)
    thread = threading.Thread(target=writer.write_block, args=(data, 1))
    thread.start()
    with os.fdopen(reading, "rb") as file:
        assert file.read(24 + len(data))[24:] == data.tobytes()
    thread.join(30)
    assert writer.written == 1
    os.close(writing)


@pytest.mark.parametrize("name", ["x", "x.cap", "x.pcap.gz", ".pcap"])
def test_refuses_another_suffix(tmp_path, name):
    with pytest.raises(PcapError, match=r"must end in \.pcap or \.pcapng"):
        Writer(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_refused_paths(tmp_path, monkeypatch):
    with pytest.raises(PcapError, match=r"No such file or directory: create its directory first"):
        Writer(tmp_path / "none" / "x.pcap")
    (tmp_path / "d.pcap").mkdir()
    with pytest.raises(PcapError, match=r"Is a directory: name a file in it"):
        Writer(tmp_path / "d.pcap")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(PcapError, match="Permission denied: choose a directory that you may write"):
        Writer("x.pcap")


def test_a_file_that_is_read_is_not_overwritten(tmp_path):
    for suffix in ("pcap", "pcapng"):
        path = tmp_path / f"x.{suffix}"
        with Writer(path) as writer:
            writer.write(b"frame", 5)
        content = path.read_bytes()
        (tmp_path / f"same.{suffix}").symlink_to(path)
        (_, frame), *_ = Reader(path)  # a part of the file stays in memory
        for name in (path, tmp_path / f"same.{suffix}"):
            with pytest.raises(PcapError, match="is being read, this would overwrite it"):
                Writer(name)
        assert path.read_bytes() == content
        del frame, _
        Writer(path).close()


def test_refused_values(tmp_path):
    for snaplen in (0, -1, MAXIMUM_SNAPLEN + 1):
        with pytest.raises(PcapError, match="must be 1 to 262144 bytes"):
            Writer(tmp_path / "x.pcap", snaplen)
    with Writer(tmp_path / "x.pcap") as classic, Writer(tmp_path / "x.pcapng") as modern:
        for writer, time in [(classic, -1), (classic, 2**32 * 10**9), (modern, 2**64)]:
            with pytest.raises(PcapError, match="does not fit"):
                writer.write(b"", time)
        for length in (-1, 2**32):
            with pytest.raises(PcapError, match="lengths are 0 to"):
                classic.write(b"", 0, length)
    assert classic.written == modern.written == 0


@SUFFIXES
def test_full_disk(tmp_path, suffix):
    (tmp_path / f"full.{suffix}").symlink_to("/dev/full")
    with pytest.raises(PcapError, match=r"No space left on device: make room on the disk"):
        Writer(tmp_path / f"full.{suffix}")
    full = os.open("/dev/full", os.O_WRONLY)
    writer = Writer(tmp_path / f"x.{suffix}")
    os.dup2(full, writer._file.fileno())
    os.close(full)
    with pytest.raises(PcapError, match="No space left"):
        writer.write_block(np.zeros(1, np.uint8), 1)
    assert writer.written == 0
    writer.write(b"abc", 0)
    with pytest.raises(PcapError, match="No space left"):
        writer.close()
    writer.close()  # closed already: nothing is left to fail
    assert writer._file.closed
