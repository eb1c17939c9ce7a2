"""The operations of grouped.py on a GPU: what it calls for arrays that live there.

Sorting: a block for each expert, whose 256 threads each count and then place a stretch of the pairs; one block more writes
offsets, and -1 for what nobody takes. Every pair is read once for each expert, which is little beside their products.
Rows: a block copies or adds up one row, neighboring threads neighboring columns. No atomics, the same bits at every call.

Arrays are torch tensors, Numba's device arrays or anything else with __cuda_array_interface__, on the current device.
Work goes to the default stream, and nothing waits for it. order, offsets and inverse have the dtype of chosen.
"""

import math

import numpy as np
from numba import cuda, float32, int64

from lttkernels.arguments import FLOAT, require
from lttkernels.condensed_cuda import is_cuda_array
from lttkernels.grouped_loops import DROPPED

CHOICES = (np.dtype(np.int64), np.dtype(np.int32))
THREADS = 256  # of a block that sorts
COLUMNS = 128  # threads of a block that has one row
WARP = 32
ZERO, ONE = np.float32(0), np.float32(1)


@cuda.jit
def count_kernel(chosen, counts):
    """A block: how often each of its threads finds the block's expert in its stretch, counts (experts, 256)."""
    expert, thread = cuda.blockIdx.x, cuda.threadIdx.x
    count = 0
    for pair in range(chosen.size * thread // THREADS, chosen.size * (thread + 1) // THREADS):
        if chosen[np.uint64(pair)] == expert:
            count += 1
    counts[np.uint64(expert * THREADS + thread)] = count


@cuda.jit
def place_kernel(chosen, counts, order, offsets, inverse):
    """A block: the rows of one expert; the last block: offsets, and -1 where there is no row or no pair."""
    sums = cuda.shared.array(THREADS, int64)
    expert, thread, experts = cuda.blockIdx.x, cuda.threadIdx.x, counts.size // THREADS
    before = 0  # in the stretches of all experts before, as far as this thread adds them up
    for other in range(expert):
        before += counts[np.uint64(other * THREADS + thread)]
    sums[thread] = before
    cuda.syncthreads()
    row = 0
    for other in range(THREADS):
        row += sums[np.uint64(other)]
    if thread == 0:
        offsets[np.uint64(expert)] = row
    start, end = chosen.size * thread // THREADS, chosen.size * (thread + 1) // THREADS
    if expert < experts:
        for other in range(thread):
            row += counts[np.uint64(expert * THREADS + other)]
        for pair in range(start, end):
            if chosen[np.uint64(pair)] == expert:
                order[np.uint64(row)] = pair
                inverse[np.uint64(pair)] = row
                row += 1
    else:
        for pair in range(start, end):
            choice = chosen[np.uint64(pair)]
            if choice < 0 or choice >= experts:
                inverse[np.uint64(pair)] = DROPPED
            if pair >= row:
                order[np.uint64(pair)] = DROPPED


@cuda.jit
def permute_kernel(x, order, gates, k, width, out):
    """A block: one row of out (rows, width). gates: (T * k,) or None."""
    row, column = cuda.blockIdx.x, cuda.threadIdx.x
    pair = order[row]
    if pair < 0:
        while column < width:
            out[np.uint64(row * width + column)] = ZERO
            column += COLUMNS
    else:
        token, gate = pair // k, ONE
        if gates is not None:
            gate = gates[np.uint64(pair)]
        while column < width:
            out[np.uint64(row * width + column)] = gate * x[np.uint64(token * width + column)]
            column += COLUMNS


@cuda.jit
def unpermute_kernel(y_sorted, inverse, gates, k, width, out):
    """A block: one token's row of out (T, width). gates: (T * k,) or None."""
    token, column = cuda.blockIdx.x, cuda.threadIdx.x
    while column < width:
        total = ZERO
        for pair in range(token * k, (token + 1) * k):
            row = inverse[np.uint64(pair)]
            if row >= 0:
                gate = ONE
                if gates is not None:
                    gate = gates[np.uint64(pair)]
                total += gate * y_sorted[np.uint64(row * width + column)]
        out[np.uint64(token * width + column)] = total
        column += COLUMNS


@cuda.jit
def dots_kernel(grad, y_sorted, inverse, k, width, out):
    """A block, one warp: the product of two rows for one pair; the first thread adds up."""
    sums = cuda.shared.array(WARP, float32)
    pair, lane = cuda.blockIdx.x, cuda.threadIdx.x
    row, total = inverse[pair], ZERO
    if row >= 0:
        for column in range(lane, width, WARP):
            total += grad[np.uint64(pair // k * width + column)] * y_sorted[np.uint64(row * width + column)]
    sums[lane] = total
    cuda.syncthreads()
    if lane == 0:
        for other in range(1, WARP):
            total += sums[np.uint64(other)]
        out[np.uint64(pair)] = total


def sort_by_expert(chosen, experts: int) -> tuple:
    """order (T * k,), offsets (experts + 1,) and inverse (T, k) on the GPU."""
    flat = _view(chosen, "chosen", CHOICES, (None, None))
    order, offsets, inverse = (_empty(chosen, shape) for shape in ((flat.size,), (experts + 1,), chosen.shape))
    counts = cuda.device_array(experts * THREADS, np.int64)
    count_kernel[experts, THREADS](flat, counts)
    into = (_flat(array) for array in (order, offsets, inverse))
    place_kernel[experts + 1, THREADS](flat, counts, *into)
    return order, offsets, inverse


def permute(x, order, k: int, gates, out):
    """permute on the GPU: as many rows as order has entries."""
    source = _view(x, "x", (FLOAT,), (None, None))
    tokens, width = x.shape
    pairs = _view(order, "order", CHOICES, (None,))
    given = None if gates is None else _view(gates, "gates", (FLOAT,), (tokens, k))
    out, target = _target(out, x, (pairs.size, width))
    if target.size:
        permute_kernel[pairs.size, COLUMNS](source, pairs, given, k, width, target)
    return out


def unpermute(y_sorted, inverse, gates, out):
    """unpermute on the GPU."""
    source, rows = _view(y_sorted, "y_sorted", (FLOAT,), (None, None)), _view(inverse, "inverse", CHOICES, (None, None))
    (tokens, k), width = inverse.shape, y_sorted.shape[1]
    given = None if gates is None else _view(gates, "gates", (FLOAT,), (tokens, k))
    out, target = _target(out, y_sorted, (tokens, width))
    if target.size:
        unpermute_kernel[tokens, COLUMNS](source, rows, given, k, width, target)
    return out


def gate_gradients(grad, y_sorted, inverse, out):
    """gate_gradients on the GPU."""
    source, rows = _view(y_sorted, "y_sorted", (FLOAT,), (None, None)), _view(inverse, "inverse", CHOICES, (None, None))
    (tokens, k), width = inverse.shape, y_sorted.shape[1]
    above = _view(grad, "grad", (FLOAT,), (tokens, width))
    out, target = _target(out, grad, (tokens, k))
    if target.size:
        dots_kernel[target.size, WARP](above, source, rows, k, width, target)
    return out


def _target(out, like, shape: tuple[int, int]) -> tuple:
    """out, new if it is None, and out as the kernels take it."""
    out = _empty(like, shape) if out is None else out
    return out, _view(out, "out", (FLOAT,), shape)


def _view(array, name: str, kinds: tuple[np.dtype, ...], shape: tuple):
    """array, flat, as Numba sees it: C-contiguous, of one of these dtypes, of shape (None: any length)."""
    require(is_cuda_array(array), name, type(array).__name__, "an array on the GPU, like the others",
            "move all of them there, or none", TypeError)  # fmt: skip
    found = array if hasattr(array, "__cuda_ndarray__") else cuda.as_cuda_array(array)
    require(found.dtype in kinds, f"{name}.dtype", found.dtype, " or ".join(map(str, kinds)), "convert it before the call",
            TypeError)  # fmt: skip
    fits = len(shape) == len(found.shape) and all(
        want in (None, have) for want, have in zip(shape, found.shape, strict=True)
    )
    wanted = "(" + ", ".join("any" if want is None else str(want) for want in shape) + ")"
    require(fits, f"{name}.shape", tuple(found.shape), wanted, "sort_by_expert says who goes where")
    require(found.is_c_contiguous(), f"{name}.strides", found.strides, "a C-contiguous array",
            f"copy it: {name}.contiguous() in torch")  # fmt: skip
    return found.reshape(math.prod(found.shape))


def _flat(array):
    found = array if hasattr(array, "__cuda_ndarray__") else cuda.as_cuda_array(array)
    return found.reshape(math.prod(found.shape))


def _empty(like, shape: tuple[int, ...]):
    """An uninitialized array on the GPU of the same dtype, a torch tensor if `like` is one."""
    return like.new_empty(shape) if hasattr(like, "new_empty") else cuda.device_array(shape, like.dtype)
