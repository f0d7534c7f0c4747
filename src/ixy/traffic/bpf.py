"""BPF programs, which decide whether a packet is captured: checked, and run.

S. McCanne, V. Jacobson: The BSD Packet Filter, USENIX Winter 1993, describes the machine: an
accumulator A, an index register X, 16 words of scratch memory M and jumps that only lead forward,
so that every program ends. It answers with the number of bytes to keep: 0 is "not this packet".
Words are in network byte order, arithmetic is that of 32 bits. A load from behind the packet's end
and a division by zero end the program with 0.

`interpret` is the plain Python twin of the machine code that `machine_code.py` makes.
"""

import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ixy.errors import IxyError

MASK = 0xFFFFFFFF
WORDS = 16  # of scratch memory

# The parts of an instruction's code: its class, and what each class makes of the other bits
LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)
IMM, ABS, IND, MEM, LEN, MSH = range(0x00, 0xC0, 0x20)  # where LD and LDX load from
SIZES = {0x00: 4, 0x08: 2, 0x10: 1}  # and how many bytes of a packet
JA, JEQ, JGT, JGE, JSET = range(0x00, 0x50, 0x10)
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR = range(0x00, 0xB0, 0x10)
X = 0x08  # the operand of ALU and JMP is X, not k
RET_A = 0x10
TAX, TXA = 0x00, 0x80

ANCILLARY = range(0xFFFFF000, 0xFFFFF100)  # not in the packet: Linux's sockets answer such loads


class Instruction(NamedTuple):
    """One instruction; a jump skips `jt` others if its test is true, `jf` if it is false."""

    code: int
    jt: int
    jf: int
    k: int


Program = Sequence[Instruction]

_LOADS = {LD | size | mode for size in SIZES for mode in (ABS, IND)}
_LOADS |= {LD | IMM, LD | LEN, LD | MEM, LDX | IMM, LDX | LEN, LDX | MEM, LDX | MSH | 0x10}
_OPERATIONS = {ALU | op | source for op in range(ADD, XOR + 0x10, 0x10) for source in (0, X)}
_TESTS = {JMP | op | source for op in (JEQ, JGT, JGE, JSET) for source in (0, X)}
_OTHERS = {ST, STX, JMP | JA, RET, RET | RET_A, MISC | TAX, MISC | TXA}
KNOWN = (_LOADS | _OPERATIONS | _TESTS | _OTHERS) - {ALU | NEG | X}


def check(program: Program) -> None:
    """Raises IxyError unless a program is one that ends, and touches nothing but its own memory."""
    for at, instruction in enumerate(program):
        if fault := _fault(instruction, len(program) - at - 1):
            raise IxyError(f"a filter that cannot be run: its instruction {at} {fault}")
    if not program or program[-1].code & 7 != RET:
        raise IxyError("a filter that cannot be run: it has no end")


def _fault(instruction: Instruction, behind: int) -> str:
    """What is wrong with an instruction that so many others stand behind."""
    code, k = instruction.code, instruction.k
    if code not in KNOWN:
        return f"is unknown ({code:#06x})"
    if code & 7 == LD and code & 0xE0 == ABS and k in ANCILLARY:
        return "asks what no packet holds (inbound, outbound and the like): leave that out"
    if code in (LD | MEM, LDX | MEM, ST, STX) and k >= WORDS:
        return f"names a memory word {k} of {WORDS}"
    if code in (ALU | DIV, ALU | MOD) and k == 0:
        return "divides by zero"
    return _jump_fault(instruction, behind) if code & 7 == JMP else ""


def _jump_fault(instruction: Instruction, behind: int) -> str:
    code, jt, jf, k = instruction
    if code == JMP | JA and k >> 31:
        return "jumps back (protochain does: name the protocols instead, such as 'ip6 proto 6')"
    farthest = k if code == JMP | JA else max(jt, jf)
    return "jumps behind the end" if farthest >= behind else ""


COMPUTE: dict[int, Callable[[int, int], int]] = {
    ADD: operator.add,
    SUB: operator.sub,
    MUL: operator.mul,
    DIV: operator.floordiv,
    OR: operator.or_,
    AND: operator.and_,
    LSH: lambda a, by: a << by if by < 32 else 0,
    RSH: operator.rshift,
    NEG: lambda a, _: -a,
    MOD: operator.mod,
    XOR: operator.xor,
}
COMPARE: dict[int, Callable[[int, int], bool]] = {
    JEQ: operator.eq,
    JGT: operator.gt,
    JGE: operator.ge,
    JSET: lambda a, bits: bool(a & bits),
}


def interpret(program: Program, packet: bytes | memoryview, length: int) -> int:
    """Runs a checked program on the bytes of a packet that was so long on the wire; returns how
    many of them to keep, 0 if it is not wanted.
    """
    a = x = at = 0
    memory = [0] * WORDS
    while True:
        code, jt, jf, k = program[at]
        kind, operand = code & 7, x if code & X else k
        at += 1
        if kind == RET:
            return a if code & RET_A else k
        if kind in (LD, LDX):
            value = _load(code, k, x, memory, packet, length)
            if value is None:
                return 0
            a, x = (value, x) if kind == LD else (a, value)
        elif kind in (ST, STX):
            memory[k] = a if kind == ST else x
        elif kind == ALU:
            if code & 0xF0 in (DIV, MOD) and operand == 0:
                return 0
            a = COMPUTE[code & 0xF0](a, operand) & MASK
        elif kind == JMP:
            test = COMPARE.get(code & 0xF0)
            at += k if test is None else jt if test(a, operand) else jf
        elif code & TXA:
            a = x
        else:
            x = a


def _load(
    code: int, k: int, x: int, memory: Sequence[int], packet: bytes | memoryview, length: int
) -> int | None:
    """What LD and LDX load; None if that is not in the packet."""
    mode = code & 0xE0
    if mode in (IMM, LEN, MEM):
        return {IMM: k, LEN: length}.get(mode, memory[k % WORDS])
    begin, size = k + (x if mode == IND else 0), SIZES[code & 0x18]
    if begin + size > len(packet):
        return None
    value = int.from_bytes(packet[begin : begin + size], "big")
    return (value & 15) * 4 if mode == MSH else value
