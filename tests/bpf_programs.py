"""BPF programs, literal ones and random ones."""

import struct

from hypothesis import strategies as st

from corpus import Recorded
from ixy.traffic import bpf
from ixy.traffic.bpf import Instruction

RETURN_A = (0x16, 0, 0, 0)


def program(*instructions: tuple[int, int, int, int]) -> list[Instruction]:
    return [Instruction(*each) for each in instructions]


WORD = st.one_of(st.integers(0, 40), st.integers(0, 2**32 - 1))


@st.composite
def programs(draw: st.DrawFn) -> list[Instruction]:
    """Programs that check accepts. All memory is written first: libpcap does not clear its own."""
    body = draw(st.lists(st.tuples(st.sampled_from(sorted(bpf.KNOWN)), WORD), max_size=30))
    found = [(bpf.LD | bpf.IMM, 0, 0, draw(WORD)), *((bpf.ST, 0, 0, k) for k in range(16))]
    for at, (code, word) in enumerate(body):
        k = word
        behind = len(body) - at
        jt, jf = (draw(st.integers(0, min(behind, 255) - 1)) for _ in range(2))
        if code == bpf.JMP | bpf.JA:
            k %= behind
        elif code in (bpf.ST, bpf.STX, bpf.LD | bpf.MEM, bpf.LDX | bpf.MEM):
            k %= bpf.WORDS
        elif code & 7 == bpf.ALU:
            shifts = code in (bpf.ALU | bpf.LSH, bpf.ALU | bpf.RSH)  # C leaves 32 and more open
            k = k % 32 if shifts else max(k, 1)
        found.append((code, jt, jf, k))
    return program(*found, RETURN_A)


FRAMES = st.builds(Recorded, st.binary(max_size=50), st.integers(0, 2**32 - 1))


def as_bytes(instructions: list[Instruction]) -> bytes:
    return b"".join(struct.pack("HBBI", *each) for each in instructions)
