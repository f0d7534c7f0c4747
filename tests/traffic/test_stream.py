"""Streams: every checksum by scapy's full computation and by tshark's, whatever varies."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.l2 import Ether

from command import many, write_pcap
from ixy.errors import IxyError
from ixy.traffic.headers import Layout
from ixy.traffic.sizes import parse_sizes
from ixy.traffic.stream import Stream, resized
from ixy.traffic.templates import BUILT_IN, built_in, numbered_frame
from template_frames import FRAMES, OTHERS, judged

MAC = bytes.fromhex("020000000001")
ALL = FRAMES | {name: built_in(name, MAC) for name in BUILT_IN} | {"arp": OTHERS["arp"]}
# Fields that a reader does not need to find the others by, and no checksum itself
FREE = [
    "eth.dst", "eth.src", "vlan.id", "vlan.prio", "ip.dscp", "ip.id", "ip.ttl", "ip.src", "ip.dst",
    "ip6.tc", "ip6.flow", "ip6.hlim", "ip6.src", "ip6.dst", "tcp.sport", "tcp.dport", "tcp.seq",
    "tcp.ack", "tcp.flags", "tcp.window", "tcp.urgptr", "udp.sport", "udp.dport", "icmp.id",
    "icmp.seq", "arp.psrc", "arp.hwdst",
]  # fmt: skip
SIZES = ["60..200", "70..71", "100", "90:3,201:2,117:1", "1514"]


def free(frame: bytes) -> list[str]:
    places = Layout(frame).places
    return [name for name in FREE if name in places]


def packets(stream: Stream, count: int) -> list[bytes]:
    memory = bytearray(stream.frame)
    return [stream.write(memory) for _ in range(count)]


def variations(draw, frame: bytes) -> list[str]:
    """Some fields, each in a way of its own."""
    texts, layout = [], Layout(frame)
    for name in draw(st.lists(st.sampled_from(free(frame)), unique=True, max_size=6)):
        most = 2 ** min(layout.places[name].bits, 64) - 1
        numbers = draw(st.lists(st.integers(0, most), min_size=2, max_size=2))
        way = draw(st.sampled_from(["inc", "random", "list"]))
        first, last = sorted(numbers) if way == "random" else numbers
        texts.append(f"{name}={way}({first},{last})")
    return texts


@given(st.sampled_from(sorted(ALL)), st.data())
@settings(deadline=None, max_examples=many(300, 60))
def test_all_checksums_are_those_of_a_full_computation(name: str, data) -> None:
    frame = ALL[name]
    sizes = data.draw(st.sampled_from([None, *map(parse_sizes, SIZES)]))
    if sizes and sizes.least < Layout(frame).end:
        sizes = None
    stream = Stream(
        frame, vary=variations(data.draw, frame), sizes=sizes, seed=data.draw(st.integers(0, 99))
    )
    for packet in packets(stream, 5):
        assert judged(packet).hex() == packet.hex()
        if sizes is None:
            assert len(packet) == max(60, len(frame))
        else:
            assert sizes.least <= len(packet) <= sizes.most


@pytest.mark.compiled
def test_a_checksum_of_zero_is_sent_as_ffff() -> None:
    """RFC 768: 0 would mean that there is none."""
    stream = Stream(FRAMES["udp"], vary=["udp.sport=inc(0,65535)"])
    memory, found = bytearray(stream.frame), set()
    for _ in range(65536):
        stream.write(memory)
        found.add(int.from_bytes(memory[40:42], "big"))
        if memory[40:42] == b"\xff\xff":
            assert judged(bytes(memory)) == bytes(memory)
    assert 0xFFFF in found
    assert 0 not in found


@pytest.mark.compiled
def test_tcp_s_may_be_zero() -> None:
    stream = Stream(FRAMES["tcp"], vary=["tcp.window=inc(0,65535)"])
    memory, zero = bytearray(stream.frame), 0
    for _ in range(65536):
        stream.write(memory)
        assert memory[50:52] != b"\xff\xff"
        if memory[50:52] == b"\0\0":
            zero += 1
            assert judged(bytes(memory)) == bytes(memory)
    assert zero >= 1


def test_a_sender_that_makes_no_checksum_goes_on_making_none() -> None:
    for packet in packets(Stream(FRAMES["no-checksum"], vary=["ip.src=inc(1,9)"]), 5):
        assert packet[40:42] == b"\0\0"
        assert judged(packet) == packet


def test_a_wrong_checksum_stays_as_wrong_as_it_was() -> None:
    frame = bytearray(FRAMES["udp"])
    frame[41] ^= 1
    for packet in packets(Stream(bytes(frame), vary=["udp.sport=inc(1,9)"]), 5):
        right = judged(packet)
        off = int.from_bytes(packet[40:42], "big") - int.from_bytes(right[40:42], "big")
        assert abs(off) % 0xFFFF == 1


@pytest.mark.parametrize("field", ["udp.sum", "at(40,2)", "at(41,1)"])
def test_a_checksum_that_itself_varies_is_left_to_that(field: str) -> None:
    vary = [f"{field}=list(77)", "udp.sport=inc(1,9)", "ip.id=inc(1,9)"]
    for packet in packets(Stream(FRAMES["udp"], vary=vary), 3):
        assert packet[41] == 77
        assert judged(packet)[:40] == packet[:40]


@pytest.mark.parametrize("field", ["ip.len", "udp.len", "ip.proto", "ip6.nxt", "ip6.plen"])
@pytest.mark.parametrize("name", ["udp", "tcp", "udp6", "tcp6"])
def test_fields_of_the_pseudo_header(name: str, field: str) -> None:
    """By the rule: with what the packet says, all words add up to 0xFFFF."""
    frame = FRAMES[name]
    layout = Layout(frame)
    if field not in layout.places:
        return
    at = next(layout.places[f"{kind}.sport"].bit // 8 for kind in ("udp", "tcp")
              if f"{kind}.sport" in layout.places)  # fmt: skip
    low = int.from_bytes(frame, "big") >> (8 * len(frame) - sum(layout.places[field]))
    now = low & (1 << layout.places[field].bits) - 1
    varied = Stream(frame, vary=[f"{field}=list({now},{now + 1},{now + 3})"])
    for packet in (padded[: len(frame)] for padded in packets(varied, 3)):
        if packet[12:14] == b"\x08\0":
            total = int.from_bytes(packet[16:18], "big") - 20
            addresses, kind = packet[26:34], packet[23]
        else:
            total, addresses, kind = int.from_bytes(packet[18:20], "big"), packet[22:54], packet[20]
        if name.startswith("udp"):
            total = int.from_bytes(packet[at + 4 : at + 6], "big")
        words = addresses + bytes([0, kind]) + total.to_bytes(2, "big") + packet[at:]
        words += bytes(len(words) % 2)
        summed = sum(int.from_bytes(words[i : i + 2], "big") for i in range(0, len(words), 2))
        assert summed % 0xFFFF == 0


def test_each_size_has_its_lengths_and_all_are_sent() -> None:
    stream = Stream(FRAMES["udp"], sizes=parse_sizes("60:2,61:1,1514:1"))
    found = packets(stream, 400)
    counts = {size: sum(len(packet) == size for packet in found) for size in (60, 61, 1514)}
    assert sum(counts.values()) == 400
    assert 150 < counts[60] < 250
    for packet in found:
        layers = Ether(packet)
        assert (layers["IP"].len, layers["UDP"].len) == (len(packet) - 14, len(packet) - 34)
        assert packet[42:53] == b"an odd text"
        assert not any(packet[53:])


def test_numbered_frames_of_all_sizes() -> None:
    stream = Stream(numbered_frame(60), sizes=parse_sizes("60..1514"), numbered=True,
                    vary=["ip.src=random(10.0.0.1,10.0.0.99)"])  # fmt: skip
    for i, packet in enumerate(packets(stream, 50)):
        assert int.from_bytes(packet[42:50], "big") == i
        assert judged(packet) == packet


def test_a_numbered_frame_s_number_is_its_own() -> None:
    with pytest.raises(IxyError, match="the number of a numbered frame"):
        Stream(numbered_frame(60), numbered=True, vary=["at(44,2)=inc(0,9)"])


@given(st.sampled_from(sorted(ALL)), st.integers(60, 1514))
@settings(deadline=None, max_examples=100)
def test_a_resized_template_is_what_scapy_would_have_made(name: str, size: int) -> None:
    frame = ALL[name]
    if size < Layout(frame).end:
        with pytest.raises(IxyError, match="would cut it"):
            resized(frame, size)
        return
    found = resized(frame, size)
    assert len(found) == size
    assert judged(found) == found
    assert Layout(found).end == size


def test_padding_is_no_part_of_a_larger_packet() -> None:
    assert b"rubbish" not in resized(FRAMES["padded"], 100)
    assert b"rubbish" in packets(Stream(FRAMES["padded"]), 1)[0]


@pytest.mark.parametrize("name", ["fragment", "first", "fragment6"])
def test_a_fragment_keeps_its_size(name: str) -> None:
    with pytest.raises(IxyError, match="fragment"):
        Stream(OTHERS[name], sizes=parse_sizes("100"))
    assert len(packets(Stream(OTHERS[name]), 1)[0]) == max(60, len(OTHERS[name]))


@pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark (package tshark)")
def test_tshark_finds_every_checksum_good(tmp_path: Path) -> None:
    frames = []
    for frame in ALL.values():
        least = max(Layout(frame).end, 60)
        vary = [f"{name}=random(1,3)" for name in free(frame) if name not in ("eth.dst", "eth.src")]
        stream = Stream(frame, sizes=parse_sizes(f"{least}..{least + 40}"), vary=vary)
        frames += packets(stream, 8)
    file = write_pcap(tmp_path / "x.pcap", frames)
    checked = ["ip", "tcp", "udp"]
    options = [word for name in checked for word in ("-o", f"{name}.check_checksum:TRUE")]
    fields = ["ip.checksum.status", "tcp.checksum.status", "udp.checksum.status",
              "icmp.checksum.status", "icmpv6.checksum.status"]  # fmt: skip
    shown = [word for name in fields for word in ("-e", name)]
    command = ["tshark", "-r", file, *options, "-T", "fields", *shown]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = done.stdout.splitlines()
    assert len(rows) == len(frames)
    states = [state for row in rows for state in row.split("\t") if state]
    assert len(states) > len(frames)
    assert set(states) <= {"1", "3"}  # good, or none there
    assert states.count("3") == 8  # no-checksum
