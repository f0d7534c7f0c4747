"""BPF programs as machine code: LLVM, which Numba brings, compiles one in some milliseconds.

Each instruction becomes a basic block. A, X and M are variables that LLVM keeps in registers, and
of checks that repeat (a packet's length, the same field once more) it leaves one.
"""

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from ixy.traffic import bpf
from ixy.traffic.bpf import ALU, JMP, LD, LDX, RET, ST, STX, Instruction, Program, X

WORD, LONG = ir.IntType(32), ir.IntType(64)
# Of a packet's address, how many of its bytes are there, and its length on the wire
VERDICT = ir.FunctionType(WORD, [LONG, WORD, WORD])

_COMPARE = {bpf.JEQ: "==", bpf.JGT: ">", bpf.JGE: ">="}
_COMPUTE = {
    bpf.ADD: "add", bpf.SUB: "sub", bpf.MUL: "mul", bpf.DIV: "udiv", bpf.OR: "or_",
    bpf.AND: "and_", bpf.RSH: "lshr", bpf.LSH: "shl", bpf.MOD: "urem", bpf.XOR: "xor",
}  # fmt: skip


class MachineCode:
    """A checked program as a function of type VERDICT at `address`, as long as this object is."""

    def __init__(self, program: Program) -> None:
        llvm.initialize_native_target()  # a second time does no harm
        llvm.initialize_native_asmprinter()
        module = llvm.parse_assembly(str(Translation(program).module))
        module.verify()
        features = llvm.get_host_cpu_features().flatten()
        machine = llvm.Target.from_triple(module.triple).create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=features, opt=2
        )
        passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(2))
        passes.getModulePassManager().run(module, passes)
        self._engine = llvm.create_mcjit_compiler(module, machine)
        self._engine.finalize_object()
        self.address = int(self._engine.get_function_address("verdict"))


class Translation:
    """A checked program as `module`, in LLVM's language."""

    def __init__(self, program: Program) -> None:
        self.module = ir.Module("filter")
        self.module.triple = llvm.get_process_triple()
        function = ir.Function(self.module, VERDICT, "verdict")
        self._packet, self._captured, self._length = function.args
        self._build = ir.IRBuilder(function.append_basic_block("entry"))
        self._a, self._x, *self._memory = (self._variable() for _ in range(2 + bpf.WORDS))
        self._blocks = [function.append_basic_block() for _ in program]
        self._build.branch(self._blocks[0])
        self._rejected = function.append_basic_block("rejected")
        ir.IRBuilder(self._rejected).ret(WORD(0))
        for at, instruction in enumerate(program):
            self._build.position_at_end(self._blocks[at])
            self._translate(instruction, self._blocks[at + 1 :])

    def _variable(self) -> Any:
        place = self._build.alloca(WORD)
        self._build.store(WORD(0), place)
        return place

    def _translate(self, instruction: Instruction, behind: list[Any]) -> None:
        """Appends an instruction to its block, and the way to one of those behind it."""
        build, (code, jt, jf, k) = self._build, instruction
        kind, a = code & 7, build.load(self._a)
        operand = build.load(self._x) if code & X else WORD(k)
        if kind == RET:
            build.ret(a if code & bpf.RET_A else WORD(k))
        elif code == JMP | bpf.JA:
            build.branch(behind[k])
        elif kind == JMP:
            build.cbranch(self._test(code & 0xF0, a, operand), behind[jt], behind[jf])
        else:
            if kind in (LD, LDX):
                build.store(self._load(code, k), self._a if kind == LD else self._x)
            elif kind in (ST, STX):
                build.store(a if kind == ST else build.load(self._x), self._memory[k])
            elif kind == ALU:
                build.store(self._compute(code & 0xF0, a, operand), self._a)
            elif code & bpf.TXA:
                build.store(build.load(self._x), self._a)
            else:
                build.store(a, self._x)
            build.branch(behind[0])

    def _test(self, op: int, a: Any, operand: Any) -> Any:
        if op == bpf.JSET:
            return self._build.icmp_unsigned("!=", self._build.and_(a, operand), WORD(0))
        return self._build.icmp_unsigned(_COMPARE[op], a, operand)

    def _compute(self, op: int, a: Any, operand: Any) -> Any:
        build = self._build
        if op == bpf.NEG:
            return build.neg(a)
        if op in (bpf.DIV, bpf.MOD):
            self._require(build.icmp_unsigned("!=", operand, WORD(0)))
        value = getattr(build, _COMPUTE[op])(a, operand)
        if op in (bpf.LSH, bpf.RSH):  # by more than a word has bits: LLVM leaves that open
            return build.select(build.icmp_unsigned("<", operand, WORD(32)), value, WORD(0))
        return value

    def _load(self, code: int, k: int) -> Any:
        """The value of LD or LDX. One from the packet is checked to be in it, and turned round."""
        build, mode = self._build, code & 0xE0
        if mode == bpf.IMM:
            return WORD(k)
        if mode == bpf.LEN:
            return self._length
        if mode == bpf.MEM:
            return build.load(self._memory[k])
        begin, size = LONG(k), bpf.SIZES[code & 0x18]
        if mode == bpf.IND:  # in 64 bits, which do not wrap
            begin = build.add(begin, build.zext(build.load(self._x), LONG))
        end = build.add(begin, LONG(size))
        self._require(build.icmp_unsigned("<=", end, build.zext(self._captured, LONG)))
        kind = ir.IntType(8 * size)
        place = build.inttoptr(build.add(self._packet, begin), kind.as_pointer())
        value = build.load(place, align=1)
        if size > 1:
            value = build.bswap(value)
        if size < 4:
            value = build.zext(value, WORD)
        if mode == bpf.MSH:
            return build.shl(build.and_(value, WORD(15)), WORD(2))
        return value

    def _require(self, condition: Any) -> None:
        """Goes on only where a condition holds; elsewhere the packet is rejected."""
        sound = self._build.append_basic_block()
        self._build.cbranch(condition, sound, self._rejected)
        self._build.position_at_end(sound)
