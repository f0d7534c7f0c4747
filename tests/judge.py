"""libpcap as a judge of filters: its own compiler, its own interpreter, nothing of ours."""

import ctypes
from collections.abc import Sequence

from corpus import Recorded

pcap = ctypes.CDLL("libpcap.so.0.8")
pcap.pcap_open_dead.restype = ctypes.c_void_p
pcap.bpf_filter.restype = ctypes.c_uint


class Program(ctypes.Structure):
    _fields_ = (("count", ctypes.c_uint), ("instructions", ctypes.c_void_p))


class Header(ctypes.Structure):
    """struct pcap_pkthdr."""

    _fields_ = (
        ("seconds", ctypes.c_long), ("microseconds", ctypes.c_long),
        ("captured", ctypes.c_uint), ("length", ctypes.c_uint),
    )  # fmt: skip


def verdicts(expression: str, frames: Sequence[Recorded], snaplen: int) -> list[int]:
    """What pcap_offline_filter says of each frame."""
    handle = ctypes.c_void_p(pcap.pcap_open_dead(1, snaplen))
    program = Program()
    unknown = ctypes.c_uint(0xFFFFFFFF)
    assert not pcap.pcap_compile(handle, ctypes.byref(program), expression.encode(), 1, unknown), (
        expression
    )
    found = [
        pcap.pcap_offline_filter(
            ctypes.byref(program), ctypes.byref(Header(0, 0, len(data), length)), data
        )
        for data, length in frames
    ]
    pcap.pcap_freecode(ctypes.byref(program))
    pcap.pcap_close(handle)
    return found


def run(instructions: bytes, frame: Recorded) -> int:
    """What bpf_filter says of a frame; `instructions` are those of struct bpf_insn."""
    found: int = pcap.bpf_filter(instructions, frame.data, frame.length, len(frame.data))
    return found
