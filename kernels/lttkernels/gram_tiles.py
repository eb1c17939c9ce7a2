"""The inner loops of masked_ntk.py: sums of outer products held in registers, and lanes picked out of a register by bits.

Each function takes flat positions in memory, as those of simd.py do, and checks no bound. Numbers are float32, 16 in a
register, or float64, 8. Where a processor lacks AVX-512 the same functions are lowered to what it has.

Numba's cache on disk does not see a change of this file: after one, delete the folders called __pycache__.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from lttkernels.simd import HAS_AVX512

REGISTER = 64  # bytes
INT64 = ir.IntType(64)


def _lanes(dtype) -> int:
    return REGISTER * 8 // dtype.bitwidth


def _load(builder, pointer, position, wide):
    address = builder.bitcast(builder.gep(pointer, [position]), wide.as_pointer())
    return builder.load(address, align=_bytes(wide.element))


def _store(builder, value, pointer, position):
    address = builder.bitcast(builder.gep(pointer, [position]), value.type.as_pointer())
    builder.store(value, address, align=_bytes(value.type.element))


def _bytes(element) -> int:
    return element.width // 8 if isinstance(element, ir.IntType) else 4 if isinstance(element, ir.FloatType) else 8


def _same(builder, value, wide):
    """value in every lane."""
    first = builder.insert_element(ir.Constant(wide, ir.Undefined), value, INT64(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), wide.count), [0] * wide.count)
    return builder.shuffle_vector(first, ir.Constant(wide, ir.Undefined), zeros)


def _fma(builder, wide, dtype):
    name = f"llvm.fma.v{wide.count}f{dtype.bitwidth}"
    return builder.module.declare_intrinsic(name, (), ir.FunctionType(wide, [wide, wide, wide]))


def _mask(builder, bits, wide):
    """The lowest bits of an integer as one bit for each lane."""
    return builder.bitcast(builder.trunc(bits, ir.IntType(wide.count)), ir.VectorType(ir.IntType(1), wide.count))


@intrinsic(prefer_literal=True)
def add_products(
    typing,
    left,
    left_at,
    left_step,
    left_row,
    right,
    right_at,
    right_step,
    count,
    tile,
    tile_at,
    tile_step,
    rows,
    vectors,
):
    """tile[r, c] += sum over s < count of left[s, r] * right[s, c], for `rows` rows and `vectors` registers of columns.

    left[s, r] stands at left_at + s * left_step + r * left_row, right[s, c] at right_at + s * right_step + c, tile[r, c]
    at tile_at + r * tile_step + c. left_row, rows and vectors are constants of the code: rows * vectors registers hold
    the sums, so that each number read serves several products.
    """
    dtype, apart, high, broad = left.dtype, left_row.literal_value, rows.literal_value, vectors.literal_value
    lanes = _lanes(dtype)

    def codegen(context, builder, signature, arguments):
        left, left_at, left_step, _, right, right_at, right_step, count, tile, tile_at, tile_step, _, _ = arguments
        wide = ir.VectorType(context.get_value_type(dtype), lanes)
        fma = _fma(builder, wide, dtype)
        sums = {}
        for r in range(high):
            row = builder.add(tile_at, builder.mul(tile_step, INT64(r)))
            for v in range(broad):
                place = builder.add(row, INT64(v * lanes))
                sums[r, v] = place, cgutils.alloca_once_value(builder, _load(builder, tile, place, wide))
        with cgutils.for_range(builder, count) as loop:
            near = builder.add(right_at, builder.mul(loop.index, right_step))
            columns = [_load(builder, right, builder.add(near, INT64(v * lanes)), wide) for v in range(broad)]
            near = builder.add(left_at, builder.mul(loop.index, left_step))
            for r in range(high):
                value = _same(builder, builder.load(builder.gep(left, [builder.add(near, INT64(r * apart))])), wide)
                for v in range(broad):
                    held = sums[r, v][1]
                    builder.store(builder.call(fma, [value, columns[v], builder.load(held)]), held)
        for place, held in sums.values():
            _store(builder, builder.load(held), tile, place)
        return context.get_dummy_value()

    size = types.intp
    return types.void(left, size, size, left_row, right, size, size, size, tile, size, size, rows, vectors), codegen


@intrinsic(prefer_literal=True)
def nonzero_bits(typing, array, position, lanes):
    """Bit l is set where array[position + l] is not 0, for `lanes` numbers or booleans. NaN is not 0."""
    dtype, count = array.dtype, lanes.literal_value

    def codegen(context, builder, signature, arguments):
        wide = ir.VectorType(context.get_data_type(dtype), count)
        found, zeros = _load(builder, arguments[0], arguments[1], wide), ir.Constant(wide, None)
        compare = builder.fcmp_unordered if isinstance(dtype, types.Float) else builder.icmp_unsigned
        return builder.zext(builder.bitcast(compare("!=", found, zeros), ir.IntType(count)), INT64)

    return types.int64(array, types.intp, lanes), codegen


@intrinsic
def count_bits(typing, bits):
    """How many bits of an int64 are set."""

    def codegen(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int64(types.int64), codegen


@intrinsic
def pick(typing, source, position, bits, target, at):
    """Write the numbers of source[position : position + lanes] whose bit is set to target[at], target[at + 1], ...

    float32 and int32 have 16 lanes, float64 8. target must have room for a whole register.
    """
    dtype = source.dtype
    lanes = _lanes(dtype)

    def codegen(context, builder, signature, arguments):
        source, position, bits, target, at = arguments
        wide = ir.VectorType(context.get_value_type(dtype), lanes)
        found, mask = _load(builder, source, position, wide), _mask(builder, bits, wide)
        kind = ("f" if isinstance(dtype, types.Float) else "i") + str(dtype.bitwidth)
        if HAS_AVX512:  # storing through the mask would take the processor longer
            name = f"llvm.x86.avx512.mask.compress.v{lanes}{kind}"
            compress = builder.module.declare_intrinsic(name, (), ir.FunctionType(wide, [wide, wide, mask.type]))
            _store(builder, builder.call(compress, [found, ir.Constant(wide, None), mask]), target, at)
        else:
            address = builder.gep(target, [at])
            kinds = ir.FunctionType(ir.VoidType(), [wide, address.type, mask.type])
            compress = builder.module.declare_intrinsic(f"llvm.masked.compressstore.v{lanes}{kind}", (), kinds)
            builder.call(compress, [found, address, mask])
        return context.get_dummy_value()

    return types.void(source, types.intp, types.int64, target, types.intp), codegen


@intrinsic
def add_spread(typing, tile, position, bits, weights, weights_at, factor, out, at):
    """The other way: out[at + l] += factor * weights[weights_at + l] * tile[position + k], where l is the k-th set bit.

    Numbers of out whose bit is not set keep their value; a whole register of tile is read.
    """
    dtype = tile.dtype
    lanes = _lanes(dtype)

    def codegen(context, builder, signature, arguments):
        tile, position, bits, weights, weights_at, factor, out, at = arguments
        wide = ir.VectorType(context.get_value_type(dtype), lanes)
        mask, kind, zeros = _mask(builder, bits, wide), f"v{lanes}f{dtype.bitwidth}", ir.Constant(wide, None)
        if HAS_AVX512:
            kinds = ir.FunctionType(wide, [wide, wide, mask.type])
            expand = builder.module.declare_intrinsic(f"llvm.x86.avx512.mask.expand.{kind}", (), kinds)
            spread = builder.call(expand, [_load(builder, tile, position, wide), zeros, mask])
        else:
            address = builder.gep(tile, [position])
            kinds = ir.FunctionType(wide, [address.type, mask.type, wide])
            expand = builder.module.declare_intrinsic(f"llvm.masked.expandload.{kind}", (), kinds)
            spread = builder.call(expand, [address, mask, zeros])
        weight = builder.fmul(_same(builder, factor, wide), _load(builder, weights, weights_at, wide))
        total = builder.call(_fma(builder, wide, dtype), [weight, spread, _load(builder, out, at, wide)])
        _store(builder, total, out, at)
        return context.get_dummy_value()

    size = types.intp
    return types.void(tile, size, types.int64, weights, size, dtype, out, size), codegen


@intrinsic
def put_scaled(typing, source, position, factor, target, at):
    """target[at + l] = factor * source[position + l] for each lane l of a register."""
    dtype = source.dtype

    def codegen(context, builder, signature, arguments):
        source, position, factor, target, at = arguments
        wide = ir.VectorType(context.get_value_type(dtype), _lanes(dtype))
        _store(builder, builder.fmul(_same(builder, factor, wide), _load(builder, source, position, wide)), target, at)
        return context.get_dummy_value()

    return types.void(source, types.intp, dtype, target, types.intp), codegen
