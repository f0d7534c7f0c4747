"""Literal blocks, and what tshark and python-pcapng find in them."""

import platform

import pytest

from ixy.pcap import Counts, Interface, blocks
from ixy.pcap.blocks import (
    STATISTICS_SIZE,
    interface_description,
    interface_statistics,
    section_header,
)


def test_a_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "cpu_name", lambda: "Z80")
    monkeypatch.setattr(blocks, "version", lambda _: "9")
    monkeypatch.setattr(platform, "system", lambda: "L")
    monkeypatch.setattr(platform, "release", lambda: "6.1")
    assert section_header.__wrapped__() == bytes.fromhex(
        "0a0d0d0a 40000000 4d3c2b1a 0100 0000 ffffffffffffffff"
        "0200 0300 5a383000"  # shb_hardware: Z80
        "0300 0500 4c20362e31000000"  # shb_os: L 6.1
        "0400 0500 6978792039000000"  # shb_userappl: ixy 9
        "0000 0000 40000000"
    )


def test_an_interface() -> None:
    assert interface_description(Interface("p0", 10**10, "arp"), 96) == bytes.fromhex(
        "01000000 3c000000 0100 0000 60000000"
        "0200 0200 70300000"  # if_name
        "0800 0800 00e40b5402000000"  # if_speed
        "0900 0100 09000000"  # if_tsresol: ns
        "0b00 0400 00617270"  # if_filter: an expression
        "0000 0000 3c000000"
    )
    assert interface_description(Interface(), 96) == bytes.fromhex(
        "01000000 20000000 0100 0000 60000000 0900 0100 09000000 0000 0000 20000000"
    )


def test_counters() -> None:
    found = interface_statistics(Counts(2**32 + 1, 2**33 + 2, 10, 1, 6, 5))
    assert found == bytes.fromhex(
        "05000000 64000000 00000000 02000000 02000000"
        "0200 0800 01000000 01000000"  # isb_starttime
        "0300 0800 02000000 02000000"  # isb_endtime
        "0400 0800 0a00000000000000"  # isb_ifrecv
        "0500 0800 0100000000000000"  # isb_ifdrop
        "0600 0800 0600000000000000"  # isb_filteraccept
        "0800 0800 0500000000000000"  # isb_usrdeliv
        "0000 0000 64000000"
    )
    assert len(found) == STATISTICS_SIZE


def test_an_option_is_no_longer_than_its_length_can_say() -> None:
    found = interface_description(Interface(filter="arp or " * 20_000), 96)
    assert len(found) == 20 + 8 + 4 + 65536 + 4
    assert len(found) % 4 == 0
