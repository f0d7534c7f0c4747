"""Capture filters: tcpdump's expressions, as functions that packet loops call.

A `Filter("ip and udp port 53")` has an `entry`. A compiled function that is given it asks

    if verdict(entry, packet_address(pool, buf), length[buf], length[buf]):
"""

import ctypes
from typing import Any

from ixy import native
from ixy.compiled import JIT, in_machine_code
from ixy.traffic import bpf
from ixy.traffic.libpcap import compile_expression
from ixy.traffic.machine_code import MachineCode

_interpreted: list[bpf.Program] = []


@in_machine_code(native.verdict)
def verdict(entry: Any, packet: Any, captured: Any, length: Any) -> int:
    """Runs a filter's `entry` on the `captured` bytes at an address, of a packet that had `length`
    on the wire. Returns how many bytes the filter would keep; 0: the packet is not wanted.
    """
    data = ctypes.string_at(int(packet), int(captured))
    return bpf.interpret(_interpreted[int(entry) - 1], data, int(length))


class Filter:
    """An expression, compiled; `entry` is what `verdict` takes, as long as this object lives.

    Raises IxyError for a wrong expression, with libpcap's words, and where libpcap is not there.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.program = compile_expression(expression)
        bpf.check(self.program)
        if JIT:
            self._code = MachineCode(self.program)
            self.entry = self._code.address
        else:
            _interpreted.append(self.program)
            self.entry = len(_interpreted)
