"""BPF programs: literal ones, random ones by libpcap's interpreter, bad ones refused."""

import pytest
from hypothesis import given, settings

import judge
from bpf_programs import FRAMES, as_bytes, program, programs
from corpus import Recorded
from ixy.errors import IxyError
from ixy.traffic.bpf import check, interpret

PACKET = bytes(range(0xF0, 0x100))
RETURN_A = (0x16, 0, 0, 0)


def answer(*instructions: tuple[int, int, int, int]) -> int:
    """What a program of literal codes, and `ret a` at its end, says of PACKET."""
    whole = program(*instructions, RETURN_A)
    check(whole)
    return interpret(whole, PACKET, 60)


@pytest.mark.parametrize(
    ("code", "k", "expected"),
    [
        (0x00, 7, 7),  # ld #7
        (0x20, 0, 0xF0F1F2F3),  # ld [0]
        (0x20, 12, 0xFCFDFEFF),  # ld [12], the last word
        (0x20, 13, 0),  # ld [13], one byte of it behind the end
        (0x28, 1, 0xF1F2),  # ldh [1]
        (0x30, 15, 0xFF),  # ldb [15]
        (0x30, 16, 0),
        (0x30, 0xFFFFFFFF, 0),
        (0x80, 0, 60),  # ld #pktlen
        (0x60, 15, 0),  # ld M[15]
    ],
)
def test_loads(code: int, k: int, expected: int) -> None:
    assert answer((code, 0, 0, k)) == expected


@pytest.mark.parametrize(
    ("code", "a", "operand", "expected"),
    [
        (0x04, 0xFFFFFFFF, 2, 1),  # add
        (0x14, 1, 2, 0xFFFFFFFF),  # sub
        (0x24, 0x80000001, 2, 2),  # mul
        (0x34, 7, 2, 3),  # div
        (0x44, 5, 2, 7),  # or
        (0x54, 7, 2, 2),  # and
        (0x64, 1, 31, 0x80000000),  # lsh
        (0x74, 0x80000000, 31, 1),  # rsh
        (0x94, 7, 4, 3),  # mod
        (0xA4, 7, 2, 5),  # xor
    ],
)
def test_arithmetic_is_that_of_32_bits(code: int, a: int, operand: int, expected: int) -> None:
    assert answer((0x00, 0, 0, a), (code, 0, 0, operand)) == expected
    assert answer((0x00, 0, 0, a), (0x01, 0, 0, operand), (code | 8, 0, 0, 0)) == expected


def test_what_only_happens_with_an_index() -> None:
    a, x = (0x00, 0, 0, 9), (0x01, 0, 0, 32)
    assert answer(a, (0x3C, 0, 0, 0)) == answer(a, (0x9C, 0, 0, 0)) == 0  # by an X of 0: rejected
    assert answer(a, x, (0x6C, 0, 0, 0)) == answer(a, x, (0x7C, 0, 0, 0)) == 0  # shifted out
    assert answer((0x01, 0, 0, 3), (0x50, 0, 0, 2)) == 0xF5  # ldb [x + 2]
    assert answer((0x01, 0, 0, 0xFFFFFFFF), (0x50, 0, 0, 1)) == 0  # it does not wrap to [0]
    assert answer((0xB1, 0, 0, 5), (0x87, 0, 0, 0)) == 20  # ldxb 4*([5]&0xf); txa


def test_jumps_and_memory() -> None:
    assert answer((0x00, 0, 0, 7), (0x02, 0, 0, 3), (0x00, 0, 0, 0), (0x60, 0, 0, 3)) == 7
    assert answer((0x01, 0, 0, 7), (0x03, 0, 0, 3), (0x60, 0, 0, 3)) == 7
    for code, a, k, taken in (
        (0x15, 5, 5, True), (0x15, 5, 6, False), (0x25, 6, 5, True), (0x25, 5, 5, False),
        (0x35, 5, 5, True), (0x35, 4, 5, False), (0x45, 6, 2, True), (0x45, 6, 1, False),
    ):  # fmt: skip
        tail = ((0x06, 0, 0, 11), (0x06, 0, 0, 22))
        whole = program((0x00, 0, 0, a), (code, 1, 0, k), *tail)
        assert interpret(whole, b"", 0) == (22 if taken else 11)
    assert interpret(program((0x05, 0, 0, 1), (0x06, 0, 0, 1), (0x06, 0, 0, 2)), b"", 0) == 2


@pytest.mark.parametrize(
    ("instructions", "reason"),
    [
        ([], "no end"),
        ([(0x00, 0, 0, 1)], "no end"),
        ([(0x15, 0, 1, 0), RETURN_A], "instruction 0 jumps behind the end"),
        ([(0x05, 0, 0, 1), RETURN_A], "jumps behind the end"),
        ([(0x00, 0, 0, 0), (0x05, 0, 0, 0xFFFFFFFE), RETURN_A], "instruction 1 jumps back"),
        ([(0x60, 0, 0, 16), RETURN_A], "memory word 16"),
        ([(0x61, 0, 0, 16), RETURN_A], "memory word 16"),
        ([(0x02, 0, 0, 16), RETURN_A], "memory word 16"),
        ([(0x03, 0, 0, 0x7FFFFFFF), RETURN_A], "memory word"),
        ([(0x34, 0, 0, 0), RETURN_A], "divides by zero"),
        ([(0x94, 0, 0, 0), RETURN_A], "divides by zero"),
        ([(0x28, 0, 0, 0xFFFFF004), RETURN_A], "instruction 0 asks what no packet holds"),
        ([(0xB0, 0, 0, 0), RETURN_A], "unknown"),
        ([(0x21, 0, 0, 0), RETURN_A], "unknown"),  # ldx [0]
        ([(0xFFFF, 0, 0, 0), RETURN_A], "unknown"),
    ],
)
def test_what_cannot_be_run_is_refused(instructions, reason: str) -> None:
    with pytest.raises(IxyError, match=reason) as refused:
        check(program(*instructions))
    assert "\n" not in str(refused.value)


@settings(deadline=None, max_examples=150)
@given(programs(), FRAMES)
def test_random_programs_by_libpcap_s_interpreter(whole, frame: Recorded) -> None:
    check(whole)
    assert interpret(whole, frame.data, frame.length) == judge.run(as_bytes(whole), frame)
