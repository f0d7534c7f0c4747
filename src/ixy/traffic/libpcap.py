"""libpcap, for what nobody should write again: its compiler of tcpdump's filter expressions."""

import ctypes
import os
from functools import cache

from ixy.errors import IxyError
from ixy.pcap.scan import ETHERNET, MAXIMUM_SNAPLEN
from ixy.traffic.bpf import Instruction

NAMES = ("libpcap.so.0.8", "libpcap.so.1")  # Debian's, everybody else's
UNKNOWN_NETMASK = 0xFFFFFFFF


class BpfInstruction(ctypes.Structure):
    """struct bpf_insn of pcap/bpf.h."""

    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint),
    )


class BpfProgram(ctypes.Structure):
    """struct bpf_program of pcap/bpf.h."""

    _fields_ = (("count", ctypes.c_uint), ("instructions", ctypes.POINTER(BpfInstruction)))


@cache
def library() -> ctypes.CDLL:
    """The library, its functions declared. Raises IxyError if it is not there."""
    for name in NAMES:
        try:
            found = ctypes.CDLL(name)
        except OSError:
            continue
        handle, program = ctypes.c_void_p, ctypes.POINTER(BpfProgram)
        found.pcap_open_dead.restype = handle
        found.pcap_open_dead.argtypes = (ctypes.c_int, ctypes.c_int)
        found.pcap_compile.argtypes = (
            handle, program, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint,
        )  # fmt: skip
        found.pcap_geterr.restype = ctypes.c_char_p
        found.pcap_geterr.argtypes = (handle,)
        found.pcap_freecode.argtypes = (program,)
        found.pcap_close.argtypes = (handle,)
        return found
    raise IxyError("a filter needs libpcap: apt install libpcap0.8")


def compile_expression(expression: str) -> list[Instruction]:
    """The program of an expression (pcap-filter(7)): it answers MAXIMUM_SNAPLEN for what matches.

    Raises IxyError with libpcap's own words if it is wrong.
    """
    pcap = library()
    handle, program = pcap.pcap_open_dead(ETHERNET, MAXIMUM_SNAPLEN), BpfProgram()
    try:
        words = ctypes.byref(program), os.fsencode(expression), 1, UNKNOWN_NETMASK
        if pcap.pcap_compile(handle, *words):
            reason = pcap.pcap_geterr(handle).decode(errors="replace")
            raise IxyError(f"the filter {expression!r}: {reason}: see man pcap-filter")
        try:
            found = program.instructions[: program.count]
            return [Instruction(each.code, each.jt, each.jf, each.k) for each in found]
        finally:
            pcap.pcap_freecode(ctypes.byref(program))
    finally:
        pcap.pcap_close(handle)
