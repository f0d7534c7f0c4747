"""Machine instructions and C functions that compiled code needs and Python has no words for.

Each is LLVM code. `memory/ordered.py` and `system.py` give them names, meaning, and a plain Python
body for runs without the compiler.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj


def _member(context: Any, builder: Any, struct: Any, field: Any, pointer: Any) -> tuple[Any, Any]:
    kind = struct.typeof(field.literal_value)
    offset = struct.offset(field.literal_value)
    data = context.get_data_type(kind)
    return cgutils.get_record_member(builder, pointer, offset, data), kind


@intrinsic(prefer_literal=True)
def load_acquire(typingctx: Any, struct: Any, field: Any) -> Any:
    """An atomic load."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, kind = _member(context, builder, struct, field, args[0])
        return builder.load_atomic(pointer, "acquire", kind.bitwidth // 8)

    return struct.typeof(field.literal_value)(struct, field), codegen


@intrinsic(prefer_literal=True)
def store_release(typingctx: Any, struct: Any, field: Any, value: Any) -> Any:
    """An atomic store."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, kind = _member(context, builder, struct, field, args[0])
        word = context.cast(builder, args[2], value, kind)
        builder.store_atomic(word, pointer, "release", kind.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(struct, field, value), codegen


def atomic(operation: str) -> Any:
    """A read-modify-write instruction, by LLVM's name of its operation."""

    @intrinsic(prefer_literal=True)
    def read_modify_write(typingctx: Any, struct: Any, field: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer, kind = _member(context, builder, struct, field, args[0])
            word = context.cast(builder, args[2], value, kind)
            return builder.atomic_rmw(operation, pointer, word, "acq_rel")

        return struct.typeof(field.literal_value)(struct, field, value), codegen

    return read_modify_write


@intrinsic
def array_at(typingctx: Any, address: Any, count: Any, dtype: Any) -> Any:
    """An array of memory that nobody counts references to."""

    kind = types.Array(dtype.dtype, 1, "C")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(kind)(context, builder)
        size = context.get_abi_sizeof(context.get_data_type(dtype.dtype))
        step = context.get_constant(types.intp, size)
        arrayobj.populate_array(
            array,
            data=builder.inttoptr(args[0], array.data.type),
            shape=cgutils.pack_array(builder, [args[1]]),
            strides=cgutils.pack_array(builder, [step]),
            itemsize=step,
            meminfo=None,
        )
        return array._getvalue()

    return kind(types.uint64, types.int64, dtype), codegen


@intrinsic
def copy_bytes(typingctx: Any, target: Any, source: Any, size: Any) -> Any:
    """memcpy(3)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointers = [builder.inttoptr(word, cgutils.voidptr_t) for word in args[:2]]
        cgutils.raw_memcpy(builder, pointers[0], pointers[1], args[2], 1)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64, types.int64), codegen


@intrinsic
def apart(typingctx: Any, function: Any, arguments: Any) -> Any:
    """A call that LLVM may not inline."""
    kind = typingctx.resolve_function_type(function, arguments.types, {})

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        block, begin = builder.block, len(builder.block.instructions)
        call = context.get_function(function, kind)
        result = call(builder, cgutils.unpack_tuple(builder, args[1]))
        for instruction in block.instructions[begin:]:
            if isinstance(instruction, ir.CallInstr):
                instruction.attributes.add("noinline")
        return result

    return kind.return_type(function, arguments), codegen


def _instruction(name: str, result: Any = None) -> Any:
    """One machine instruction, by the name of LLVM's intrinsic."""

    @intrinsic
    def call(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = ir.FunctionType(ir.IntType(64) if result else ir.VoidType(), [])
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            value = builder.call(function, [])
            return value if result else context.get_dummy_value()

        return (result or types.void)(), codegen

    return call


def _timespec(builder: Any, nanoseconds: Any) -> Any:
    """A struct timespec on the stack: pointers to it, its seconds and its nanoseconds."""
    word = ir.IntType(64)
    spec = cgutils.alloca_once(builder, ir.ArrayType(word, 2))
    seconds, rest = (cgutils.gep_inbounds(builder, spec, 0, i) for i in (0, 1))
    builder.store(word(0), seconds)
    builder.store(nanoseconds, rest)
    return builder.bitcast(spec, cgutils.voidptr_t), seconds, rest


def clock(number: int) -> Any:
    """clock_gettime(2) in ns."""

    @intrinsic
    def call(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            word, status = ir.IntType(64), ir.IntType(32)
            spec, seconds, rest = _timespec(builder, word(0))
            kind = ir.FunctionType(status, [status, cgutils.voidptr_t])
            function = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
            builder.call(function, [status(number), spec])
            return builder.add(builder.mul(builder.load(seconds), word(10**9)), builder.load(rest))

        return types.int64(), codegen

    return call


@intrinsic
def nanosleep(typingctx: Any, nanoseconds: Any) -> Any:
    """nanosleep(2), for less than a second."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        spec, _, _ = _timespec(builder, args[0])
        kind = ir.FunctionType(ir.IntType(32), [cgutils.voidptr_t, cgutils.voidptr_t])
        function = cgutils.get_or_insert_function(builder.module, kind, "nanosleep")
        builder.call(function, [spec, cgutils.voidptr_t(None)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


fence = _instruction("llvm.x86.sse2.lfence")
counter = _instruction("llvm.readcyclecounter", types.int64)
pause = _instruction("llvm.x86.sse2.pause")


def _libc(name: str, result: Any, *arguments: Any) -> Any:
    """A function of the C library."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = [context.get_value_type(kind) for kind in arguments]
        function_type = ir.FunctionType(context.get_value_type(result), kinds)
        function = cgutils.get_or_insert_function(builder.module, function_type, name)
        return builder.call(function, args)

    def none(typingctx: Any) -> Any:
        return result(), codegen

    def three(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
        return result(*arguments), codegen

    def four(typingctx: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        return result(*arguments), codegen

    return intrinsic({0: none, 3: three, 4: four}[len(arguments)])


sched_yield = _libc("sched_yield", types.int32)
read = _libc("read", types.intp, types.int32, types.uint64, types.uint64)
write = _libc("write", types.intp, types.int32, types.uint64, types.uint64)
pwrite = _libc("pwrite", types.intp, types.int32, types.uint64, types.uint64, types.int64)
epoll_wait = _libc("epoll_wait", types.int32, types.int32, types.uint64, types.int32, types.int32)
errno = _libc("__errno_location", types.CPointer(types.int32))


@intrinsic
def call(typingctx: Any, address: Any, argument: Any) -> Any:
    """Calls a C function of one u8 at an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1]])
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), codegen


@intrinsic
def verdict(typingctx: Any, entry: Any, packet: Any, captured: Any, length: Any) -> Any:
    """Calls a C function u4(u8, u4, u4) at an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(32)
        kind = ir.FunctionType(word, [ir.IntType(64), word, word])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return types.uint32(types.uint64, types.uint64, types.uint32, types.uint32), codegen
