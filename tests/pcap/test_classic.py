import io

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pcap_files import open_bytes, pcap, read, record

from ixy.pcap import PcapError

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")  # NumPy's, of overflow

LITTLE = bytes.fromhex(
    "d4c3b2a1 0200 0400 00000000 00000000 ffff0000 01000000"  # section 4
    "01000000 02000000 03000000 05000000 aabbcc"  # section 5
    "ffffffff 3f420f00 00000000 00000000"
)
BIG = bytes.fromhex(
    "a1b23c4d 0002 0004 00000000 00000000 00000000 00000001"
    "00000001 00000002 00000003 00000005 aabbcc"
)

WORDS = st.integers(0, 2**32 - 1)


def test_literal_bytes():
    assert read(LITTLE) == (
        [(1_000_002_000, b"\xaa\xbb\xcc", 5), ((2**32 - 1) * 10**9 + 999_999_000, b"", 0)],
        None,
    )
    assert read(BIG) == ([(1_000_000_002, b"\xaa\xbb\xcc", 5)], None)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("magic", "unit"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
@pytest.mark.parametrize("snaplen", [0, 1, 2**32 - 1])
@settings(deadline=None, max_examples=10)
@given(rows=st.lists(st.tuples(WORDS, WORDS, st.binary(max_size=70), WORDS)))
def test_any_records(order, magic, unit, snaplen, rows):
    records = b"".join(record(order, *row) for row in rows)
    frames, warning = read(pcap(order, magic, snaplen, records=records))
    assert frames == [(s * 10**9 + f * unit, frame, n) for s, f, frame, n in rows]
    assert warning is None


def test_frame_check_sequence_is_cut_off():
    whole = record("<", 0, 0, b"frame" + b"FCS!")
    half = record("<", 0, 0, b"frame" + b"FC", length=9)
    short = record("<", 0, 0, b"fra", length=9)
    tiny = record("<", 0, 0, b"FC")
    flagged = 2 << 28 | 1 << 26 | 1
    frames, _ = read(pcap(link=flagged, records=whole + half + short + tiny))
    assert frames == [(0, b"frame", 5), (0, b"frame", 5), (0, b"fra", 5), (0, b"", 0)]
    frames, _ = read(pcap(link=2 << 28 | 1, records=whole))  # without the P bit: not known
    assert frames == [(0, b"frameFCS!", 9)]


@pytest.mark.parametrize(
    ("tail", "why"),
    [
        (b"\0", "the file ends within a record"),
        (bytes(15), "the file ends within a record"),
        (record("<", 0, 0, b"abc")[:-1], "the file ends within a record"),
        (record("<", 0, 0, b"abc", captured=2**32 - 1), "a frame longer than 262144 bytes"),
        (record("<", 0, 0, bytes(262145)), "a frame longer than 262144 bytes"),
    ],
)
def test_damage(tail, why):
    good = pcap(records=record("<", 1, 0, b"good") + record("<", 2, 0, bytes(262144)))
    frames, warning = read(good + tail)
    assert [len(frame) for _, frame, _ in frames] == [4, 262144]
    assert warning.endswith(
        f"x.pcap is damaged at byte {len(good)} ({why}): 2 good packets were read"
    )


def test_refused_headers():
    with pytest.raises(PcapError, match="ends within its file header"):
        open_bytes(pcap()[:23])
    with pytest.raises(PcapError, match=r"version 2\.3.*editcap"):
        open_bytes(pcap(version=(2, 3)))
    with pytest.raises(PcapError, match=r"link type 113 \(Linux cooked\), ixy reads Ethernet"):
        open_bytes(pcap(link=113))
    with pytest.raises(PcapError, match=r"link type 4242 \(unknown to ixy\)"):
        open_bytes(pcap(link=4242))


@pytest.mark.parametrize("nano", [False, True])
def test_reads_what_dpkt_writes(nano):
    stream = io.BytesIO()
    writer = dpkt.pcap.Writer(stream, nano=nano)
    writer.writepkt(b"x" * 60, ts=1.5)
    writer.writepkt(b"y" * 61, ts=2.25)
    assert read(stream.getvalue()) == (
        [(1_500_000_000, b"x" * 60, 60), (2_250_000_000, b"y" * 61, 61)],
        None,
    )


@settings(deadline=None, max_examples=150)
@given(data=st.data(), order=st.sampled_from("<>"))
def test_any_damage_is_survived(data, order):
    content = bytearray(
        pcap(order, records=b"".join(record(order, n, n, bytes(n)) for n in range(1, 9)))
    )
    for place in data.draw(st.lists(st.integers(24, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(24, len(content)))]
    frames, warning = read(bytes(content))
    used = 24 + sum(16 + len(frame) for _, frame, _ in frames)
    # Every byte is either part of a frame that was given out, or behind a warning.
    assert (used == len(content)) == (warning is None)
    assert warning is None or f"damaged at byte {used} (" in warning
