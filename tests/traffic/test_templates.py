"""Frames to send: by their bytes, by dpkt's reading of them, and their numbers."""

import ctypes
from pathlib import Path

import dpkt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from command import write_pcap
from ixy.errors import IxyError
from ixy.pcap import Writer
from ixy.traffic.templates import (
    BUILT_IN,
    MAX_SIZE,
    MIN_SIZE,
    Numbered,
    big_endian,
    checksum,
    load_template,
    numbered_frame,
    set_number,
)

V4 = IP(src="10.0.0.1", dst="10.0.0.2", id=0, flags="DF")


def test_the_smallest_frame_by_its_bytes() -> None:
    assert numbered_frame() == bytes.fromhex(
        "020000000002 020000000001 0800"
        "4500002e 00004000 401126bd 0a000001 0a000002"
        "2710 0009 001a c49e"
        "0000000000000000 ffffffffffffffff 0000"
    )


def ones_complement_sum(data: bytes) -> int:
    total = sum(
        int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big") for i in range(0, len(data), 2)
    )
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def is_valid(frame: bytes) -> bool:
    """Both checksums, by the rule: all words together are 0xFFFF."""
    ip, udp = frame[14:34], frame[34:]
    pseudo = ip[12:20] + b"\0\x11" + len(udp).to_bytes(2, "big")
    return ones_complement_sum(ip) == ones_complement_sum(pseudo + udp) == 0xFFFF


@given(st.integers(MIN_SIZE, MAX_SIZE), st.integers(0, 1023), st.integers(0, 2**64 - 1))
@settings(deadline=None, max_examples=100)
def test_a_numbered_frame_is_valid_whatever_its_number(size: int, flow: int, number: int) -> None:
    memory = ctypes.create_string_buffer(numbered_frame(size, flow), size)
    assert is_valid(memory.raw)
    set_number(ctypes.addressof(memory), np.uint64(number))
    frame = memory.raw
    assert len(frame) == size
    assert is_valid(frame)
    assert int.from_bytes(frame[42:50], "big") == number
    assert int.from_bytes(frame[50:58], "big") == number ^ 0xFFFFFFFFFFFFFFFF
    packet = dpkt.ethernet.Ethernet(frame)
    assert (packet.ip.udp.sport, packet.ip.udp.dport) == (10000 + flow, 9)
    assert packet.ip.len == size - 14
    assert packet.ip.udp.ulen == size - 34


def test_addresses() -> None:
    frame = numbered_frame(source=bytes.fromhex("020000000033"), destination=b"\xff" * 6)
    packet = dpkt.ethernet.Ethernet(frame)
    assert (packet.src.hex(), packet.dst.hex()) == ("020000000033", "ffffffffffff")
    assert (packet.ip.src, packet.ip.dst) == (b"\x0a\0\0\1", b"\x0a\0\0\2")


@pytest.mark.parametrize("size", [0, 59, 1515, -1])
def test_sizes_that_ethernet_does_not_carry(size: int) -> None:
    with pytest.raises(IxyError, match=f"a frame of {size} bytes: give it 60 to 1514"):
        numbered_frame(size)


@given(st.integers(0, 2**64 - 1))
@settings(deadline=None, max_examples=100)
def test_big_endian(number: int) -> None:
    turned = int(big_endian(np.uint64(number)))
    assert turned.to_bytes(8, "little") == number.to_bytes(8, "big")


def test_the_checksum_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D  # its example
    assert checksum(b"") == 0xFFFF
    assert checksum(b"\xff\xff") == 0
    assert checksum(b"\x01") == 0xFEFF  # an odd byte is padded behind


@given(st.binary(max_size=3000))
@settings(deadline=None, max_examples=50)
def test_the_checksum_of_anything(data: bytes) -> None:
    assert checksum(data) == ~ones_complement_sum(data) & 0xFFFF


def test_the_record_lies_where_the_frame_has_its_fields() -> None:
    assert {name: offset for name, (_, offset, *_) in Numbered.fields.items()} == {
        "ethernet_ip": 0, "port": 34, "udp": 36, "number": 42, "complement": 50,
    }  # fmt: skip


MAC = bytes.fromhex("020000000033")
SCAPY = {  # the same in scapy's words
    "udp4": V4 / UDP(sport=10000, dport=9) / Raw(bytes(18)),
    "udp6": IPv6(src="fd00::1", dst="fd00::2") / UDP(sport=10000, dport=9),
    "tcp-syn": V4 / TCP(sport=10000, dport=80, window=65535, options=[("MSS", 1460)]),
    "icmp": V4 / ICMP(id=1, seq=0) / Raw(bytes(18)),
    "arp": ARP(hwsrc=MAC, psrc="10.0.0.1", hwdst="00:00:00:00:00:00", pdst="10.0.0.2"),
    "vlan": Dot1Q(vlan=1) / V4 / UDP(sport=10000, dport=9) / Raw(bytes(18)),
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_ones_are_as_scapy_makes_them(name: str) -> None:
    to = "ff:ff:ff:ff:ff:ff" if name == "arp" else "02:00:00:00:00:02"
    frame = load_template(name, MAC)
    assert frame.hex() == bytes(Ether(dst=to, src=MAC) / SCAPY[name]).hex()


def test_hexadecimal_digits() -> None:
    for text in ("0x" + "ab" * 14, "AB" * 14, "ab:" * 13 + "ab", " ab ab\n" * 7):
        assert load_template(text, MAC) == b"\xab" * 14
    assert len(load_template("00" * 1514, MAC)) == 1514
    assert len(load_template("00" * 12 + "8100" + "00" * 1504, MAC)) == 1518


@pytest.mark.parametrize("suffix", ["pcap", "pcapng"])
def test_a_frame_of_a_capture(tmp_path: Path, suffix: str) -> None:
    frames = [bytes([i]) * (60 + i) for i in range(5)]
    file = tmp_path / f"x.{suffix}"
    with Writer(file) as writer:
        for frame in frames:
            writer.write(frame, 0)
    assert load_template(str(file), MAC) == frames[0]
    assert [load_template(f"{file}:{n}", MAC) for n in range(1, 6)] == frames
    for number, words in ((0, "from 1"), (6, "1 to 5"), (10**17, "1 to 5")):
        with pytest.raises(IxyError, match=words):
            load_template(f"{file}:{number}", MAC)


def test_a_frame_that_was_cut_is_no_template(tmp_path: Path) -> None:
    file = write_pcap(tmp_path / "x.pcap", [bytes(60)])
    data = bytearray(file.read_bytes())
    data[36:40] = (100).to_bytes(4, "little")  # its original length
    file.write_bytes(data)
    with pytest.raises(IxyError, match="only 60 of its 100 bytes"):
        load_template(str(file), MAC)


def test_an_expression() -> None:
    frame = load_template('Ether()/IP(dst="10.0.0.1")/UDP()', MAC)
    packet = dpkt.ethernet.Ethernet(frame)
    assert (packet.src, packet.dst, packet.ip.dst) == (MAC, b"\xff" * 6, bytes([10, 0, 0, 1]))


@pytest.mark.parametrize(
    "text",
    ["", "udp", "abc", "ab", "0x", "00" * 13, "00" * 1515, "g" * 30, "none.pcap", "none.pcap:1",
     ".pcap", "x.pcap:x", "(", "Ether(", "."],
)  # fmt: skip
def test_what_is_no_template(text: str) -> None:
    with pytest.raises(IxyError) as error:
        load_template(text, MAC)
    assert "\n" not in str(error.value)
