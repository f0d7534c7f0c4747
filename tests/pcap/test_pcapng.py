import io
import struct
from fractions import Fraction

import dpkt.pcapng
import numpy as np
import pcapng.blocks
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pcap_files import (
    block,
    enhanced,
    interface,
    obsolete,
    open_bytes,
    option,
    read,
    section,
    simple,
)

from ixy.pcap import PcapError
from ixy.pcap.pcapng import clock

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")  # NumPy's, of overflow

LITTLE = bytes.fromhex(
    "0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000"  # section 4.1
    "01000000 1c000000 0100 0000 00000400 0900 0100 09000000 1c000000"  # section 4.2, 10^-9
    "06000000 24000000 00000000 01000000 02000000 03000000 05000000 aabbcc00 24000000"  # 4.3
    "03000000 14000000 03000000 ddeeff00 14000000"  # 4.4
)
BIG = bytes.fromhex(
    "0a0d0d0a 0000001c 1a2b3c4d 0001 0000 ffffffffffffffff 0000001c"
    "00000001 00000014 0001 0000 00000000 00000014"  # microseconds
    "00000002 00000024 0000 ffff 00000000 00000007 00000003 00000005 aabbcc00 00000024"  # app. A
)


def test_literal_bytes():
    assert read(LITTLE) == ([(2**32 + 2, b"\xaa\xbb\xcc", 5), (0, b"\xdd\xee\xff", 3)], None)
    assert read(BIG) == ([(7000, b"\xaa\xbb\xcc", 5)], None)
    assert read(LITTLE + BIG + LITTLE)[0] == read(LITTLE)[0] + read(BIG)[0] + read(LITTLE)[0]


def test_unknown_blocks_are_skipped():
    skipped = b"".join(block("<", kind, b"body") for kind in (4, 5, 10, 0xBAD, 0x80000001))
    begin = section() + skipped + interface() + skipped
    assert read(begin + enhanced("<", b"a") + skipped + simple("<", b"b") + skipped) == (
        [(0, b"a", 1), (0, b"b", 1)],
        None,
    )


def test_section_length_is_not_trusted():
    assert read(section(length=2**62) + interface() + simple("<", b"a"))[0] == [(0, b"a", 1)]
    assert read(section(length=0) + interface() + simple("<", b"a"))[0] == [(0, b"a", 1)]


def test_simple_packets_are_cut_to_the_snap_length():
    frames, warning = read(section() + interface(snaplen=3) + simple("<", b"abc", length=9))
    assert (frames, warning) == ([(0, b"abc", 9)], None)


def test_many_interfaces_each_with_its_clock():
    clocks = [interface(options=option("<", 9, bytes([n % 10]))) for n in range(40)]
    frames = [enhanced("<", b"a", ticks=3, number=n) for n in range(40)]
    content = section() + b"".join(clocks[:20] + frames[:20] + clocks[20:] + frames[20:])
    got, warning = read(content)
    assert [time for time, _, _ in got] == [3 * 10 ** (9 - n % 10) for n in range(40)]
    assert warning is None


@pytest.mark.parametrize("value", [32, 4])  # bits by the draft's text, bytes by its example
def test_frame_check_sequence_is_cut_off(value):
    content = section() + interface(options=option("<", 13, bytes([value])))
    frames, _ = read(content + enhanced("<", b"frameFCS!"))
    assert frames == [(0, b"frame", 5)]


@settings(deadline=None, max_examples=150)
@given(
    ticks=st.integers(0, 2**64 - 1) | st.integers(0, 2**32),
    resolution=st.integers(0, 255),
    offset=st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**9), 10**10) | st.just(0),
)
def test_any_clock(ticks, resolution, offset):
    options = option("<", 9, bytes([resolution])) + option("<", 14, struct.pack("<q", offset))
    (frame,), warning = read(
        section() + interface(options=options) + enhanced("<", b"a", ticks=ticks)
    )
    base = 2 if resolution & 128 else 10
    exact = ticks * Fraction(10**9, base ** (resolution & 127))
    shift = max(-(2**63) + 1, min(2**63 - 1, offset * 10**9))
    expected = max(0, min(2**64 - 1, min(2**64 - 1, int(exact)) + shift))
    # Only ticks of 2^-53 s and finer are made coarser, and lose less than a nanosecond by it.
    assert abs(frame[0] - expected) <= (clock(resolution)[2] > 0)
    assert warning is None


FRAMES = st.lists(st.tuples(st.integers(0, 2**60), st.binary(max_size=70), st.integers(0, 99)))


@settings(deadline=None, max_examples=60)
@given(sections=st.lists(st.tuples(st.sampled_from("<>"), FRAMES), min_size=1, max_size=3))
def test_any_sections(sections):
    content, expected = b"", []
    for order, rows in sections:
        content += section(order) + interface(order, options=option(order, 9, b"\x09"))
        for ticks, frame, extra in rows:
            length = len(frame) + extra
            content += enhanced(order, frame, ticks, 0, length, options=option(order, 1, b"note"))
            content += obsolete(order, frame, ticks) + simple(order, frame + b"!")
            expected += [(ticks, frame, length), (ticks, frame, len(frame))]
            expected += [(0, frame + b"!", len(frame) + 1)]
    assert read(content) == (expected, None)


GOOD = section() + interface() + enhanced("<", b"good")


@pytest.mark.parametrize(
    ("tail", "why"),
    [
        (b"\x06", "the file ends within a record"),
        (enhanced("<", b"abc")[:-1], "the file ends within a record"),
        (struct.pack("<3I", 6, 0, 0), "a block length that is not a multiple of 4 from 12 up"),
        (struct.pack("<3I", 99, 8, 8), "a block length that is not a multiple of 4 from 12 up"),
        (struct.pack("<4I", 99, 14, 0, 14), "a block length that is not a multiple of 4 from"),
        (struct.pack("<4I", 99, 16, 0, 12), "a block whose two lengths differ"),
        (block("<", 6, bytes(16)), "a block too short for what it holds"),
        (block("<", 3, b""), "a block too short for what it holds"),
        (enhanced("<", b"abc", captured=5), "a block too short for what it holds"),
        (simple("<", b"abc", length=5), "a block too short for what it holds"),
        (enhanced("<", bytes(262145)), "a frame longer than 262144 bytes"),
        (enhanced("<", b"abc", number=1), "a frame from an interface that was not declared"),
        (section() + simple("<", b"a"), "a frame from an interface that was not declared"),
        (block("<", 1, b""), "a block too short for what it holds"),
        (interface(options=struct.pack("<2H", 9, 5)), "an option that is longer than its block"),
        (interface(options=option("<", 9, b"ab")), "an option of the wrong length"),
        (block("<", 0x0A0D0D0A, bytes(16)), "a section header without the byte-order magic"),
        (section(version=(2, 0)), "a section of version 2.0, ixy reads 1.0"),
        (section()[:8], "the file ends within a record"),
        (section()[:20], "the file ends within a record"),
    ],
)
def test_damage(tail, why):
    frames, warning = read(GOOD + tail)
    assert frames == [(0, b"good", 4)]
    assert "is damaged at byte " in warning
    assert f"({why}" in warning
    assert warning.endswith("1 good packets were read")


@pytest.mark.parametrize("size", [4, 11, 12, 27])
def test_refuses_a_broken_first_header(size):
    with pytest.raises(PcapError, match=r"broken header \(.*record it again"):
        open_bytes(section()[:size])


def test_another_link_type():
    mixed = section() + interface() + interface(link=276)
    assert read(mixed + enhanced("<", b"a")) == ([(0, b"a", 1)], None)
    with pytest.raises(PcapError, match=r"link type 276 \(Linux cooked v2\), ixy reads Ethernet"):
        open_bytes(mixed + enhanced("<", b"a", number=1))
    with open_bytes(mixed + enhanced("<", b"a") + enhanced("<", b"b", number=1)) as reader:
        assert len(reader.read(9)) == 1  # what is good comes first
        for _ in range(2):
            with pytest.raises(PcapError, match="link type 276"):
                reader.read(9)


def test_reads_what_dpkt_writes():
    stream = io.BytesIO()
    writer = dpkt.pcapng.Writer(stream)
    writer.writepkt(b"x" * 61, ts=1.5)
    assert read(stream.getvalue()) == ([(1_500_000_000, b"x" * 61, 61)], None)


@pytest.mark.filterwarnings("ignore:Field type:DeprecationWarning")  # its own schema's
@pytest.mark.parametrize("order", "<>")
def test_reads_what_python_pcapng_writes(order):
    header = pcapng.blocks.SectionHeader(endianness=order, options={"shb_os": "test"})
    header.new_member(
        pcapng.blocks.InterfaceDescription,
        link_type=1,
        options={"if_name": "a", "if_tsresol": b"\x09"},
    )
    stream = io.BytesIO()
    writer = pcapng.FileWriter(stream, header)
    packet = header.new_member(pcapng.blocks.EnhancedPacket)
    packet.packet_data = b"x" * 61
    packet.timestamp_low = 77
    writer.write_block(packet)
    packet = header.new_member(pcapng.blocks.SimplePacket)
    packet.packet_data = b"y" * 62
    writer.write_block(packet)
    assert read(stream.getvalue()) == ([(77, b"x" * 61, 61), (0, b"y" * 62, 62)], None)


@settings(deadline=None, max_examples=250)
@given(data=st.data(), order=st.sampled_from("<>"))
def test_any_damage_is_survived(data, order):
    part = section(order) + interface(order, options=option(order, 9, b"\x09"))
    part += enhanced(order, b"frame", 5) + simple(order, b"fr") + obsolete(order, b"f")
    content = np.frombuffer(part * 2, np.uint8).copy()
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))].tobytes()
    try:
        frames, warning = read(content)
    except PcapError:  # a broken first header, another link type
        return
    assert len(frames) <= 6
    # Blocks cover the file up to its end, or up to the warning.
    end = len(content) if warning is None else int(warning.split("byte ")[1].split()[0])
    assert 28 <= end <= len(content)
    position, big = 0, False
    while position < end:
        if content[position : position + 4] == b"\x0a\x0d\x0d\x0a":
            big = content[position + 8] == 0x1A
        position += int.from_bytes(content[position + 4 : position + 8], "big" if big else "little")
    assert position == end
