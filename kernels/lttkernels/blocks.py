"""Blocks: rectangles of neighboring weights are kept or removed whole, and those kept are small dense matrices.

    y[b, h * i + r] = bias[h * i + r] + sum over blocks e of block row i and c < w of
                      values[e, c, r] * x[b, w * columns[e] + c]

One index serves h * w weights, the rows of a block stand side by side as registers want them, and no read is a gather.
The price is paid in accuracy: the weights of a block live or die together.
Narang et al. 2017, arXiv:1711.02782. Chapter "What makes sparsity fast".
"""

from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np

from lttkernels.arguments import FLOAT, require, require_array, require_finite, require_indices
from lttkernels.layouts import linear_arguments, reference_bias, require_matrix_and_mask
from lttkernels.memory import aligned_empty, scratch
from lttkernels.panels import pack, panels_of, write_columns, write_rows
from lttkernels.simd import element, fma, load, pointer, put, splat, store, zeros
from lttkernels.threads import get_threads

LANES = 16
BATCH_OF_PANELS = 8  # from here on panels of the batch are faster than a pass for each sample


@dataclass(frozen=True)
class Blocks:
    """A sparse layer of shape (out, in) in blocks of height h (rows) and width w (inputs).

    values: (count, w, h) float32, each block column by column. columns: (count,) uint32, the place of each block among
    those of its block row. indptr: (block rows + 1,) int64, where each block row begins. What blocks at the edges hold
    beyond the layer counts for nothing. Raises TypeError or ValueError for another dtype or layout, columns out of
    range, NaN or infinite values.
    """

    values: np.ndarray
    columns: np.ndarray
    indptr: np.ndarray
    shape: tuple[int, int]

    def __post_init__(self):
        require_array(self.values, "values", dtype=FLOAT, shape=(None, None, None))
        count, width, height = self.values.shape
        require(min(width, height) > 0, "values.shape", self.values.shape, "blocks of one weight or more",
                "it is (count, width, height)")  # fmt: skip
        require_array(self.columns, "columns", dtype=np.dtype(np.uint32), shape=(count,), remedy="one for each block")
        require_indices(self.columns, "columns", shape=(count,), bound=-(-self.shape[1] // width))
        block_rows = -(-self.shape[0] // height)
        require_array(self.indptr, "indptr", dtype=np.dtype(np.int64), shape=(block_rows + 1,),
                      remedy="one entry more than block rows")  # fmt: skip
        rises = bool((np.diff(self.indptr) >= 0).all()) and self.indptr[0] == 0 and self.indptr[-1] == count
        require(rises, "indptr", self.indptr, f"numbers from 0 to {count} that never fall",
                "it counts the blocks of all block rows before")  # fmt: skip
        require_finite(self.values, "values")

    @cached_property
    def rows(self) -> np.ndarray:
        """Every row of the layer: what the kernels write to."""
        return np.arange(self.shape[0], dtype=np.uint32)

    @cached_property
    def registers(self) -> np.ndarray:
        """The values, rows of each block filled up to whole registers with 0: (count, w, multiple of 16), aligned."""
        count, width, height = self.values.shape
        whole = -(-height // LANES) * LANES
        filled = aligned_empty(count * width * whole).reshape(count, width, whole)
        filled[:, :, :height] = self.values
        filled[:, :, height:] = 0
        return filled


def block_sparse(weight: np.ndarray, mask: np.ndarray, height: int = 16, width: int = 16) -> Blocks:
    """The blocks of weight (out, in), float32, that hold a live weight by mask (bool, True = live); the others go.

    Masked weights inside a block that stays are 0, and still take part. Heights that are no multiple of 16 cost as much
    as the next one: rows fill registers.
    """
    require_matrix_and_mask(weight, mask)
    for size, name in ((height, "height"), (width, "width")):
        require(isinstance(size, int) and size > 0, name, size, "a whole number, 1 or more", "the default is 16")
    features, inputs = weight.shape
    block_rows, block_columns = -(-features // height), -(-inputs // width)
    whole = np.zeros((2, block_rows * height, block_columns * width), np.float32)  # weights, and whether they live
    whole[0, :features, :inputs][mask] = weight[mask]
    whole[1, :features, :inputs] = mask
    values, live = whole.reshape(2, block_rows, height, block_columns, width).transpose(0, 1, 3, 4, 2)
    kept = live.any((2, 3))
    indptr = np.concatenate([[0], np.cumsum(kept.sum(1))]).astype(np.int64)
    return Blocks(np.ascontiguousarray(values[kept]), np.nonzero(kept)[1].astype(np.uint32), indptr, weight.shape)


def blocks_linear(x, blocks: Blocks, bias=None, *, transposed: bool = False, out=None):
    """x (batch, in) to (batch, out); transposed: (in, batch) to (out, batch), the layout between sparse layers.

    x, bias (out,): float32, C-contiguous. out: where to write, instead of a new array. Rows without blocks answer with
    their bias. Inside a block masked weights are numbers like others: 0 times infinity is NaN, as in a dense layer.
    """
    batch, bias, out = linear_arguments(x, blocks.shape, bias, transposed, out)
    if not out.size:
        return out
    block_rows = blocks.indptr.size - 1
    matrix = (blocks.registers, blocks.columns, blocks.indptr, blocks.values.shape[2])
    if batch < BATCH_OF_PANELS:
        samples = np.ascontiguousarray(x.T) if transposed else x
        answers = np.empty((batch, blocks.shape[0]), np.float32) if transposed else out
        for b in range(batch):
            _shared(_vector, _vector_parallel, block_rows, LANES, *matrix, samples[b], bias, answers[b])
        if transposed:
            out[...] = answers.T
        return out
    for cut in panels_of(batch):
        packed = pack(x, blocks.shape[1], cut, by_row=transposed)
        column0, panels, width = cut
        rest = (packed, blocks.shape[1], width, blocks.rows, bias, out.reshape(-1), batch, column0, transposed)
        _shared(_panels, _panels_parallel, panels * block_rows, blocks.registers.shape[2] * width, *matrix, *rest)
    return out


def _shared(serial, parallel, tasks, room, *what) -> None:
    """Run all tasks, on as many threads as are in use; each has `room` floats to write to."""
    threads = max(1, min(get_threads(), tasks))
    rooms = scratch("blocks", threads * room).reshape(threads, room)
    if threads > 1:
        parallel(threads, tasks, rooms, *what)
    else:
        serial(0, tasks, rooms[0], *what)


@numba.njit(nogil=True, cache=True)
def _vector(first, last, sums, values, columns, indptr, height, x, bias, out):
    """Block rows first to last of the product with one sample: 16 rows in a register, four sums that take turns."""
    _, width, whole = values.shape
    values_at, x_at, sums_at = pointer(values), pointer(x), pointer(sums)
    columns_at, bias_at, out_at = pointer(columns), pointer(bias), pointer(out)
    one = splat(np.float32(1), 16)
    for block_row in range(first, last):
        for group in range(0, height, 16):
            a, b, c, d = zeros(16), zeros(16), zeros(16), zeros(16)
            for block in range(indptr[block_row], indptr[block_row + 1]):
                here = element(columns_at, block) * width
                at, j, wide = block * width * whole + group, 0, min(width, x.size - here)
                while j + 3 < wide:
                    a = fma(load(values_at, at, 16), splat(element(x_at, here + j), 16), a)
                    b = fma(load(values_at, at + whole, 16), splat(element(x_at, here + j + 1), 16), b)
                    c = fma(load(values_at, at + 2 * whole, 16), splat(element(x_at, here + j + 2), 16), c)
                    d = fma(load(values_at, at + 3 * whole, 16), splat(element(x_at, here + j + 3), 16), d)
                    at += 4 * whole
                    j += 4
                while j < wide:
                    a = fma(load(values_at, at, 16), splat(element(x_at, here + j), 16), a)
                    at += whole
                    j += 1
            row = block_row * height + group
            rows = min(16, height - group, out.size - row)
            store(sums_at, 0, fma(fma(a, one, b), one, fma(c, one, d)))
            for lane in range(rows):
                put(out_at, row + lane, element(sums_at, lane) + element(bias_at, row + lane))


@numba.njit(nogil=True, cache=True, parallel=True)
def _vector_parallel(threads, tasks, rooms, values, columns, indptr, height, x, bias, out):
    for thread in numba.prange(threads):
        first, last = tasks * thread // threads, tasks * (thread + 1) // threads
        _vector(first, last, rooms[thread], values, columns, indptr, height, x, bias, out)


def _quad(lanes):
    """The loop for four rows of a block row and a panel of two registers of `lanes`: each read of x serves four rows."""
    width = 2 * lanes

    @numba.njit
    def multiply(first, last, values, row, whole, columns, block_width, x, x_at, inputs, sums):
        a = b = c = d = e = f = g = h = zeros(lanes)
        for block in range(first, last):
            here = element(columns, block) * block_width
            at, near = block * block_width * whole + row, x_at + here * width
            for _ in range(min(block_width, inputs - here)):
                left, right = load(x, near, lanes), load(x, near + lanes, lanes)
                value = splat(element(values, at), lanes)
                a, b = fma(value, left, a), fma(value, right, b)
                value = splat(element(values, at + 1), lanes)
                c, d = fma(value, left, c), fma(value, right, d)
                value = splat(element(values, at + 2), lanes)
                e, f = fma(value, left, e), fma(value, right, f)
                value = splat(element(values, at + 3), lanes)
                g, h = fma(value, left, g), fma(value, right, h)
                at += whole
                near += width
        for i, sum_ in enumerate((a, b, c, d, e, f, g, h)):
            store(sums, row * width + i * lanes, sum_)

    return multiply


_quad_8, _quad_16, _quad_32, _quad_64 = _quad(4), _quad(8), _quad(16), _quad(32)


@numba.njit(nogil=True, cache=True)
def _panels(
    first, last, room, values, columns, indptr, height, x, inputs, width, rows, bias, out, batch, column0, by_row
):
    """Tasks first to last of the product with panels of `width`; a task is a block row and a panel."""
    block_rows = indptr.size - 1
    _, block_width, whole = values.shape
    values_at, columns_at, x_pointer = pointer(values), pointer(columns), pointer(x)
    sums, rows_at, bias_at, out_at = pointer(room), pointer(rows), pointer(bias), pointer(out)
    for task in range(first, last):
        panel, block_row = task // block_rows, task % block_rows
        start, end, x_at = indptr[block_row], indptr[block_row + 1], panel * inputs * width
        tall = min(height, bias.size - block_row * height)
        for row in range(0, tall, 4):
            if width == 8:
                _quad_8(start, end, values_at, row, whole, columns_at, block_width, x_pointer, x_at, inputs, sums)
            elif width == 16:
                _quad_16(start, end, values_at, row, whole, columns_at, block_width, x_pointer, x_at, inputs, sums)
            elif width == 32:
                _quad_32(start, end, values_at, row, whole, columns_at, block_width, x_pointer, x_at, inputs, sums)
            else:
                _quad_64(start, end, values_at, row, whole, columns_at, block_width, x_pointer, x_at, inputs, sums)
        here = column0 + panel * width
        shape = (block_row * height, tall, width, min(width, batch - here))
        if by_row:
            write_rows(sums, rows_at, bias_at, shape, out_at, here, batch)
        else:
            write_columns(sums, rows_at, bias_at, shape, out_at, here * bias.size, bias.size)


@numba.njit(nogil=True, cache=True, parallel=True)
def _panels_parallel(
    threads, tasks, rooms, values, columns, indptr, height, x, inputs, width, rows, bias, out, batch, column0, by_row
):
    for thread in numba.prange(threads):
        first, last = tasks * thread // threads, tasks * (thread + 1) // threads
        _panels(first, last, rooms[thread], values, columns, indptr, height, x, inputs, width, rows, bias, out, batch,
                column0, by_row)  # fmt: skip


def reference_linear(x, blocks: Blocks, bias=None) -> np.ndarray:
    """blocks_linear in float64, as the equation has it: (batch, in) to (batch, out)."""
    (_, width, height), features = blocks.values.shape, blocks.shape[0]
    answer = np.zeros((len(x), features)) + reference_bias(bias)
    for row in range(blocks.indptr.size - 1):
        mine = slice(row * height, min((row + 1) * height, features))
        for block in range(blocks.indptr[row], blocks.indptr[row + 1]):
            part = x[:, int(blocks.columns[block]) * width :][:, :width].astype(np.float64)
            values = blocks.values[block].astype(np.float64)
            answer[:, mine] += part @ values[: part.shape[1], : mine.stop - mine.start]
    return answer
