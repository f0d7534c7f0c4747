"""Machine code of BPF programs, by its plain Python twin and by libpcap's interpreter."""

import ctypes
import mmap

import numpy as np
import pytest
from hypothesis import given, settings

import judge
from bpf_programs import FRAMES, as_bytes, program, programs
from corpus import Recorded
from ixy.memory.ordered import address_of
from ixy.traffic.bpf import Instruction, interpret
from ixy.traffic.machine_code import MachineCode, Translation

Function = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32)


def run(whole: list[Instruction], frame: Recorded) -> int:
    code = MachineCode(whole)
    data = np.frombuffer(frame.data + b"!", np.uint8)
    found: int = Function(code.address)(address_of(data), len(frame.data), frame.length)
    return found


@settings(deadline=None, max_examples=60)
@given(programs(), FRAMES)
def test_random_programs(whole, frame: Recorded) -> None:
    found = run(whole, frame)
    assert found == interpret(whole, frame.data, frame.length)
    assert found == judge.run(as_bytes(whole), frame)


@pytest.mark.parametrize("code", [0x64, 0x74])
@pytest.mark.parametrize("by", [32, 33, 0xFFFFFFFF])
def test_shifts_by_more_than_a_word_leave_nothing(code: int, by: int) -> None:
    whole = program((0x00, 0, 0, 5), (code, 0, 0, by), (0x16, 0, 0, 0))
    assert run(whole, Recorded(b"", 0)) == interpret(whole, b"", 0) == 0


@pytest.mark.parametrize("size", [1, 2, 4])
def test_nothing_behind_the_end_is_read(size: int) -> None:
    """The packet's last byte is the last one of a page, and behind it there is none."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * page)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(begin + page), page, 0) == 0
    memory[page - 8 : page] = b"\1" * 8
    mode = {1: 0x30, 2: 0x28, 4: 0x20}[size]
    for index, code in ((False, mode), (True, mode + 0x20)):
        for k in (*range(12), 0x7FFFFFFF, 0xFFFFFFFF):
            first = (0x01, 0, 0, k) if index else (0x00, 0, 0, 0)
            whole = program(first, (code, 0, 0, 0 if index else k), (0x16, 0, 0, 0))
            machine_code = MachineCode(whole)  # its memory goes with it
            found = Function(machine_code.address)(begin + page - 8, 8, 8)
            assert bool(found) == (k + size <= 8)
    assert libc.mprotect(ctypes.c_void_p(begin + page), page, 3) == 0


def test_the_module_has_one_function() -> None:
    module = Translation(program((0x06, 0, 0, 1))).module
    assert [function.name for function in module.functions] == ["verdict"]
