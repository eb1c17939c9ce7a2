"""Vectors of 8 or 16 floats inside Numba kernels: what the loops of this package are made of.

Numba's own vectorizer chooses half-wide gathers and keeps sums in memory. Here a kernel says which numbers it holds in
one register. Every function takes a flat position, as a pointer would; nothing here checks a bound: the formats do,
once, when they are made. Where a processor lacks AVX-512 the same functions are lowered to what it has.

Numba's cache on disk does not see a change of this file: after one, delete the folders called __pycache__.
"""

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

ASKED = numba.config.CPU_FEATURES  # what NUMBA_CPU_NAME=generic or NUMBA_CPU_FEATURES leave of the processor, else None
HAS_AVX512 = bool(llvm.get_host_cpu_features().get("avx512f")) if ASKED is None else "+avx512f" in ASKED.split(",")
FLOAT = ir.FloatType()
INT32 = ir.IntType(32)


class Vector(types.Type):
    """A register of `lanes` numbers, float32 or int32."""

    def __init__(self, kind: str, lanes: int):
        self.kind, self.lanes = kind, lanes
        super().__init__(name=f"Vector({kind} x {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        element = FLOAT if vector.kind == "float32" else INT32
        super().__init__(manager, vector, ir.VectorType(element, vector.lanes))


@intrinsic
def pointer(typing, array):
    """The address of array's first element, which the functions below read from.

    Arrays are counted references, and counting inside a loop costs more than the loop. The caller keeps the array.
    """

    def codegen(context, builder, signature, arguments):
        return context.make_array(array)(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def moved(typing, array, position):
    """The address of array's element at a flat position."""

    def codegen(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return array(array, types.intp), codegen


@intrinsic
def inside(typing, array, offset):
    """The address `offset` bytes into array, which starts at a multiple of a power of two above any offset.

    Then base and offset have no bit in common, "or" adds them, and the sum stands in a register. A plain sum would be
    left to each read, which takes two steps instead of one on processors of this kind.
    """

    def codegen(context, builder, signature, arguments):
        wide = ir.IntType(64)
        joined = builder.or_(builder.ptrtoint(arguments[0], wide), arguments[1])
        return builder.inttoptr(joined, arguments[0].type)

    return array(array, types.intp), codegen


@intrinsic
def settled(typing, array, position, nothing):
    """As moved, for several reads at known distances: as `inside`, it stands in a register before the first of them.

    nothing: a 0 that the compiler cannot foresee.
    """

    def codegen(context, builder, signature, arguments):
        there = builder.ptrtoint(builder.gep(arguments[0], [arguments[1]]), ir.IntType(64))
        return builder.inttoptr(builder.or_(there, arguments[2]), arguments[0].type)

    return array(array, types.intp, types.intp), codegen


@intrinsic(prefer_literal=True)
def zeros(typing, lanes):
    """lanes zeros."""
    vector = Vector("float32", lanes.literal_value)

    def codegen(context, builder, signature, arguments):
        return ir.Constant(ir.VectorType(FLOAT, vector.lanes), [0.0] * vector.lanes)

    return vector(lanes), codegen


@intrinsic(prefer_literal=True)
def splat(typing, value, lanes):
    """The float32 value in every lane."""
    vector = Vector("float32", lanes.literal_value)

    def codegen(context, builder, signature, arguments):
        wide = ir.VectorType(FLOAT, vector.lanes)
        first = builder.insert_element(ir.Constant(wide, ir.Undefined), arguments[0], ir.Constant(INT32, 0))
        same = ir.Constant(ir.VectorType(INT32, vector.lanes), [0] * vector.lanes)
        return builder.shuffle_vector(first, ir.Constant(wide, ir.Undefined), same)

    return vector(types.float32, lanes), codegen


@intrinsic(prefer_literal=True)
def load(typing, array, position, lanes):
    """array's float32 numbers at position, position + 1, ..."""
    vector = Vector("float32", lanes.literal_value)

    def codegen(context, builder, signature, arguments):
        wide = ir.VectorType(FLOAT, vector.lanes)
        return builder.load(builder.bitcast(builder.gep(arguments[0], [arguments[1]]), wide.as_pointer()), align=4)

    return vector(array, types.intp, lanes), codegen


@intrinsic
def store(typing, array, position, vector):
    """Write vector to array at position, position + 1, ..."""

    def codegen(context, builder, signature, arguments):
        target = builder.gep(arguments[0], [arguments[1]])
        builder.store(arguments[2], builder.bitcast(target, arguments[2].type.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic(prefer_literal=True)
def load_indices(typing, array, position, lanes):
    """lanes unsigned integers of array, of any width up to 32 bits, as int32."""
    vector = Vector("int32", lanes.literal_value)

    def codegen(context, builder, signature, arguments):
        narrow = ir.VectorType(ir.IntType(array.dtype.bitwidth), vector.lanes)
        first = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), narrow.as_pointer())
        found = builder.load(first, align=array.dtype.bitwidth // 8)
        return builder.zext(found, ir.VectorType(INT32, vector.lanes)) if array.dtype.bitwidth < 32 else found

    return vector(array, types.intp, lanes), codegen


@intrinsic
def load_four(typing, array, position):
    """Four uint16 of array in one read, as uint64: for `nth`."""

    def codegen(context, builder, signature, arguments):
        wide = ir.IntType(64)
        first = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), wide.as_pointer())
        return builder.load(first, align=2)

    return types.uint64(array, types.intp), codegen


@intrinsic(prefer_literal=True)
def nth(typing, four, n):
    """The n-th, from 0, of four uint16 that were read at once, as int64."""

    def codegen(context, builder, signature, arguments):
        wide = arguments[0].type
        moved = builder.lshr(arguments[0], ir.Constant(wide, 16 * n.literal_value))
        return builder.and_(moved, ir.Constant(wide, 0xFFFF))

    return types.int64(four, n), codegen


@intrinsic(prefer_literal=True)
def shifted(typing, indices, bits):
    """Every index moved right by so many bits, zeros coming in from the left."""

    def codegen(context, builder, signature, arguments):
        return builder.lshr(arguments[0], ir.Constant(arguments[0].type, [bits.literal_value] * indices.lanes))

    return indices(indices, bits), codegen


@intrinsic
def prefetch(typing, array, position):
    """Ask for the cache line at a flat position, which may lie past the end: asking reads nothing."""

    def codegen(context, builder, signature, arguments):
        address = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [address, INT32, INT32, INT32])
        function = builder.module.declare_intrinsic("llvm.prefetch", (address,), kind)
        there = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), address)
        reading, all_caches, data = INT32(0), INT32(3), INT32(1)
        builder.call(function, [there, reading, all_caches, data])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


@intrinsic
def fma(typing, a, b, total):
    """a * b + total, lane by lane, rounded once."""

    def codegen(context, builder, signature, arguments):
        wide = arguments[0].type
        kind = ir.FunctionType(wide, [wide, wide, wide])
        return builder.call(builder.module.declare_intrinsic(f"llvm.fma.v{total.lanes}f32", (), kind), arguments)

    return total(a, b, total), codegen


@intrinsic
def gather(typing, array, indices):
    """array at each of 16 positions. The limit of every sparse layer at batch 1."""
    vector = Vector("float32", indices.lanes)

    def codegen(context, builder, signature, arguments):
        data = arguments[0]
        wide = ir.VectorType(FLOAT, vector.lanes)
        if HAS_AVX512 and vector.lanes == 16:
            pointer, mask = ir.IntType(8).as_pointer(), ir.VectorType(ir.IntType(1), 16)
            kind = ir.FunctionType(wide, [wide, pointer, arguments[1].type, mask, INT32])
            function = builder.module.declare_intrinsic("llvm.x86.avx512.mask.gather.dps.512", (), kind)
            every = ir.Constant(mask, [1] * 16)
            base = builder.bitcast(data, pointer)
            return builder.call(function, [ir.Constant(wide, [0.0] * 16), base, arguments[1], every, INT32(4)])
        found = ir.Constant(wide, ir.Undefined)
        for lane in range(vector.lanes):
            index = builder.zext(builder.extract_element(arguments[1], INT32(lane)), ir.IntType(64))
            found = builder.insert_element(found, builder.load(builder.gep(data, [index])), INT32(lane))
        return found

    return vector(array, indices), codegen


@intrinsic
def lookup(typing, low, high, indices):
    """For indices 0 to 31: low's lane, or from 16 on high's. A gather that never leaves the registers.

    The lowest five bits of an index count, the others may hold anything.
    """

    def codegen(context, builder, signature, arguments):
        low_value, high_value, index = arguments
        wide = low_value.type
        if HAS_AVX512:
            kind = ir.FunctionType(wide, [wide, index.type, wide])
            function = builder.module.declare_intrinsic("llvm.x86.avx512.vpermi2var.ps.512", (), kind)
            return builder.call(function, [low_value, index, high_value])
        table = builder.shuffle_vector(low_value, high_value, ir.Constant(ir.VectorType(INT32, 32), list(range(32))))
        found = ir.Constant(wide, ir.Undefined)
        for lane in range(16):
            place = builder.and_(builder.extract_element(index, INT32(lane)), INT32(31))
            found = builder.insert_element(found, builder.extract_element(table, place), INT32(lane))
        return found

    return low(low, high, indices), codegen


@intrinsic
def element(typing, array, position):
    """array's element at a flat position; unlike array[i] it spends nothing on negative indices.

    Integers must be unsigned, and come out as int64.
    """

    def codegen(context, builder, signature, arguments):
        found = builder.load(builder.gep(arguments[0], [arguments[1]]))
        return builder.zext(found, ir.IntType(64)) if isinstance(array.dtype, types.Integer) else found

    number = types.int64 if isinstance(array.dtype, types.Integer) else array.dtype
    return number(array, types.intp), codegen


@intrinsic
def total(typing, vector):
    """Sum of the lanes, added pairwise."""

    def codegen(context, builder, signature, arguments):
        kind = ir.FunctionType(FLOAT, [FLOAT, arguments[0].type])
        function = builder.module.declare_intrinsic(f"llvm.vector.reduce.fadd.v{vector.lanes}f32", (), kind)
        return builder.call(function, [ir.Constant(FLOAT, 0.0), arguments[0]], fastmath=["reassoc"])

    return types.float32(vector), codegen


@intrinsic(prefer_literal=True)
def fold(typing, a, b, distance):
    """Add lanes `distance` (a power of two) apart: sums of a where the lane has that bit clear, of b where it is set.

    Folding 16 vectors pairwise with distances 1, 2, 4 and 8 leaves in lane i the sum of the i-th vector.
    """
    step = distance.literal_value

    def codegen(context, builder, signature, arguments):
        first, second, _ = arguments
        lanes = range(a.lanes)
        near = [(lane & ~step) + (a.lanes if lane & step else 0) for lane in lanes]
        kind = ir.VectorType(INT32, a.lanes)
        low = builder.shuffle_vector(first, second, ir.Constant(kind, near))
        high = builder.shuffle_vector(first, second, ir.Constant(kind, [lane + step for lane in near]))
        return builder.fadd(low, high)

    return a(a, b, distance), codegen


@intrinsic
def gated(typing, gate, vector):
    """vector where gate is above 0, or no number, and 0 elsewhere; gated(a, a) is the ReLU of a."""

    def codegen(context, builder, signature, arguments):
        nothing = ir.Constant(arguments[1].type, [0.0] * vector.lanes)
        return builder.select(builder.fcmp_ordered("<=", arguments[0], nothing), nothing, arguments[1])

    return vector(gate, vector), codegen


@intrinsic
def put(typing, array, position, value):
    """Write one float32 to array at a flat position."""

    def codegen(context, builder, signature, arguments):
        builder.store(arguments[2], builder.gep(arguments[0], [arguments[1]]))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.float32), codegen
