"""Fields that vary: their values in order, in their bits alone, and what is refused."""

import ipaddress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ixy.compiled import compiled
from ixy.errors import IxyError
from ixy.traffic.fields import share
from ixy.traffic.headers import Layout
from ixy.traffic.stream import Stream
from template_frames import FRAMES, OTHERS, value

ALL = FRAMES | OTHERS


@compiled
def share_of(number, covered, shift):
    return share(number, covered, shift)


def packets(frame: bytes, *vary: str, count: int = 8, **options) -> list[bytes]:
    stream = Stream(frame, vary=vary, **options)
    memory = bytearray(stream.frame)
    return [stream.write(memory) for _ in range(count)]


def values(frame: bytes, name: str, text: str, count: int = 8, **options) -> list[int]:
    layout = Layout(frame)
    return [
        value(packet[: len(frame)], layout, name)
        for packet in packets(frame, text, count=count, **options)
    ]


def test_inc() -> None:
    udp = FRAMES["udp"]
    assert values(udp, "ip.id", "ip.id=inc(5,7)") == [5, 6, 7, 5, 6, 7, 5, 6]
    assert values(udp, "ip.id", "ip.id=inc(5,10,2)") == [5, 7, 9, 5, 7, 9, 5, 7]
    assert values(udp, "ip.id", "ip.id=inc(7,5)") == [7, 6, 5, 7, 6, 5, 7, 6]
    assert values(udp, "ip.id", "ip.id=inc(10,5,-2)") == [10, 8, 6, 10, 8, 6, 10, 8]
    assert values(udp, "ip.id", "ip.id=inc(0xff,0x100)", 3) == [255, 256, 255]
    assert values(udp, "ip.id", " ip.id = inc( 3 , 3 ) ", 2) == [3, 3]


def test_list() -> None:
    assert values(FRAMES["udp"], "udp.dport", "udp.dport=list(53,80,0x1bb)", 4) == [53, 80, 443, 53]


def test_addresses() -> None:
    frame = FRAMES["udp"]
    found = values(frame, "ip.src", "ip.src=inc(10.0.0.254,10.0.1.1)", 4)
    assert [str(ipaddress.ip_address(n)) for n in found] == [
        "10.0.0.254", "10.0.0.255", "10.0.1.0", "10.0.1.1",
    ]  # fmt: skip
    found = values(frame, "eth.dst", "eth.dst=list(02:00:00:00:00:fF,06-00-00-00-00-01)", 2)
    assert found == [0x0200000000FF, 0x060000000001]


def test_ipv6_addresses() -> None:
    frame = FRAMES["udp6"]
    found = values(frame, "ip6.src", "ip6.src=inc(fd00::fffe,fd00::1:0)", 4)
    assert [str(ipaddress.IPv6Address(n)) for n in found] == [
        "fd00::fffe", "fd00::ffff", "fd00::1:0", "fd00::fffe",
    ]  # fmt: skip
    found = values(frame, "ip6.dst", "ip6.dst=list(fd00::1,fe80::2,::3)", 3)
    assert [str(ipaddress.IPv6Address(n)) for n in found] == ["fd00::1", "fe80::2", "::3"]
    found = values(frame, "ip6.dst", "ip6.dst=random(2001:db8::,2001:db8::ff)", 30)
    assert {n >> 8 for n in found} == {0x20010DB8 << 88}
    assert len(set(found)) > 20


def test_random_is_seeded_and_within_its_bounds() -> None:
    text = "udp.sport=random(1000,1009)"
    found = values(FRAMES["udp"], "udp.sport", text, 200)
    assert set(found) == set(range(1000, 1010))
    assert found == values(FRAMES["udp"], "udp.sport", text, 200, seed=1)
    assert found != values(FRAMES["udp"], "udp.sport", text, 200, seed=2)
    assert found != values(FRAMES["udp"], "udp.sport", text, 200, part=(1, 2))


def test_queues_begin_apart() -> None:
    for text, first in (("ip.id=inc(0,99)", [0, 25, 50, 75]), ("ip.id=list(4,3,2,1)", [4, 3, 2, 1]),
                        ("ip.id=inc(99,0)", [99, 74, 49, 24])):  # fmt: skip
        found = [values(FRAMES["udp"], "ip.id", text, 1, part=(i, 4))[0] for i in range(4)]
        assert found == first


@pytest.mark.parametrize(
    ("other", "ours"),
    [
        ("ip.chksum", "ip.sum"), ("ip.checksum", "ip.sum"), ("udp.srcport", "udp.sport"),
        ("udp.dstport", "udp.dport"), ("IP.ttl", "ip.ttl"), ("Ether.src", "eth.src"),
    ],
)  # fmt: skip
def test_other_tools_names(other: str, ours: str) -> None:
    assert values(FRAMES["udp"], ours, f"{other}=inc(3,4)", 2) == [3, 4]


def test_more_names() -> None:
    assert values(FRAMES["vlan"], "vlan.id", "Dot1Q.vlan=inc(1,2)", 2) == [1, 2]
    assert values(FRAMES["udp6"], "ip6.flow", "IPv6.fl=inc(1,0xfffff)", 2) == [1, 2]
    assert values(FRAMES["icmp6"], "icmp.seq", "icmpv6.seq=inc(1,2)", 2) == [1, 2]
    tos = values(FRAMES["udp"], "ip.dscp", "ip.tos=list(0xb8)", 1)
    assert tos == [46]


def test_raw_bytes() -> None:
    frame = OTHERS["other"]
    for offset, size in ((14, 1), (15, 2), (17, 3), (21, 4), (30, 5), (37, 6), (44, 7), (52, 8)):
        number = int.from_bytes(bytes(range(1, size + 1)), "big")
        (packet,) = packets(frame, f"at({offset},{size})=list({number})", count=1)
        assert packet == frame[:offset] + bytes(range(1, size + 1)) + frame[offset + size :]


@given(st.sampled_from(sorted(ALL)), st.data())
@settings(deadline=None, max_examples=200)
def test_a_field_and_its_checksums_change_and_nothing_else(name: str, data) -> None:
    layout = Layout(frame := ALL[name].ljust(60, b"\0"))
    field = data.draw(st.sampled_from(sorted(layout.places)))
    bit, bits = layout.places[field]
    wanted = data.draw(st.integers(0, 2**bits - 1))
    (packet,) = packets(frame, f"{field}=list({wanted})", count=1)
    assert value(packet, layout, field) == wanted
    changed = {i for i, (a, b) in enumerate(zip(frame, packet, strict=True)) if a != b}
    sums = {at for found in layout.sums.values() for at in (found.offset, found.offset + 1)}
    assert changed <= sums | set(range(bit // 8, (bit + bits + 7) // 8))


@given(st.integers(0, 0xFFFF), st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=9))
@settings(deadline=None, max_examples=200)
def test_the_sum_of_rfc_1624(old: int, words: list[int]) -> None:
    """Equation 3, HC' = ~(~HC + ~m + m'), word by word as it is written there."""
    before, after = words[0], words[1]
    expected = ~old & 0xFFFF
    for shift in (48, 32, 16, 0):
        expected += (~(before >> shift) & 0xFFFF) + (after >> shift & 0xFFFF)
    while expected >> 16:
        expected = (expected & 0xFFFF) + (expected >> 16)
    new = np.uint64(after)
    found = int(share_of(new, np.uint64(2**64 - 1), np.uint64(0)))
    assert ((~old & 0xFFFF) - before + found) % 0xFFFF == expected % 0xFFFF


REFUSED = [
    "", "x", "ip.src", "ip.src=", "ip.src=10.0.0.1", "ip.src=inc", "ip.src=inc()", "=inc(1,2)",
    "ip.src=inc(1)", "ip.src=inc(1,2,3,4)", "ip.src=inc(1,2,0)", "ip.src=inc(1,2,-1)",
    "ip.src=inc(2,1,1)", "ip.src=inc(1,10.0.0.256)", "ip.src=inc(a,b)", "ip.src=inc(-1,5)",
    "ip.ttl=inc(1,256)", "ip.ttl=inc(256,257)", "ip.ttl=list()", "ip.ttl=list(1,)",
    "ip.ttl=random(5,4)", "ip.ttl=random(1)", "ip.ttl=random(1,2,3)", "ip.ttl=list(1",
    "ip.nope=inc(1,2)", "tcp.sport=inc(1,2)", "ip6.src=inc(::1,::2)", "vlan.id=inc(1,2)",
    "at(0,0)=inc(1,2)", "at(0,9)=inc(1,2)", "at(53,8)=inc(1,2)", "at(60,1)=inc(0,1)",
    "at(-1,1)=inc(0,1)", "at(1)=inc(0,1)", "at(16,8)=random(0,9)x", "at(36,4)=inc(0,9)",
    "ip.ttl=inc(1,2) ip.id=inc(1,2)", "ip.src=inc(fd00::1,fd00::2)", "ip.ttl=inc(1.5,2)",
    "eth.src=list(02:00:00:00:00)", "ip.ttl=eval(1)", "ip.id=inc(1,2,99999)",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(IxyError) as error:
        Stream(FRAMES["udp"][:53], vary=[text])
    assert "--vary" in str(error.value)
    assert "\n" not in str(error.value)


def test_ranges_of_addresses_in_one_network_only() -> None:
    for text in ("inc(fd00::,fd01::)", "random(::,ffff::)", "inc(::,::ff,1:0:0:0:1::)"):
        with pytest.raises(IxyError, match="last 64 bits"):
            Stream(FRAMES["udp6"], vary=[f"ip6.src={text}"])


@pytest.mark.parametrize(
    "pair",
    [
        ("ip.src=inc(1,2)", "ip.src=inc(1,2)"), ("ip.tos=inc(1,2)", "ip.dscp=inc(1,2)"),
        ("at(26,4)=inc(1,2)", "ip.src=inc(1,2)"), ("at(25,2)=inc(1,2)", "ip.src=inc(1,2)"),
    ],
)  # fmt: skip
def test_fields_that_share_bits(pair: tuple[str, str]) -> None:
    with pytest.raises(IxyError, match="vary already"):
        Stream(FRAMES["udp"], vary=pair)


def test_too_many_fields() -> None:
    with pytest.raises(IxyError, match="17 fields"):
        Stream(OTHERS["other"], vary=[f"at({20 + i},1)=inc(0,9)" for i in range(17)])
