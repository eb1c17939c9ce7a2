"""masked_ntk on a GPU, by rows: what masked_ntk.py calls for arrays that live there.

Each live weight (i, j) adds one outer product, of the vector deltas[:, i] * activations[:, j] with itself. A block of
threads has a tile of 32 x 32 pairs of samples and a share of the outputs: it scales 32 inputs at a time into shared
memory, and each thread keeps the sums of four pairs in registers. Shares are added up in double precision at the end,
so nothing is added by two threads. Tiles above the diagonal are not computed.

By pairs there is no kernel here: that method is a product of two dense matrices, and the library that multiplies dense
matrices on a GPU (torch's, on its tensor cores) is what one should ask.

Arrays are torch tensors, Numba's device arrays or anything else with __cuda_array_interface__, on the current device.
Work goes to the default stream, and nothing waits for it. Beside the answer it takes four bytes for each weight, the
arguments once more, and eight bytes for each pair and share.
"""

import math

import numpy as np
from numba import cuda, float32, float64, int64

from lttkernels.arguments import require
from lttkernels.condensed_cuda import is_cuda_array

TILE = 32  # samples, and inputs
LINE = TILE + 1  # numbers between two inputs in shared memory
SIZE = TILE * LINE
THREADS = 256
SIDE = 16  # threads; each has two samples on either side of a tile
BLOCKS = 2048  # about as many as keep a large GPU busy
SHARES = 64  # of the outputs, at most
FLUSH = 256  # products or a few more added in the given precision, before they are added in double precision
ROW = 256  # features of a Gram matrix that stand for a row
DOUBLE_ZERO = np.float64(0)


@cuda.jit
def turn_kernel(x, samples, features, out):
    """out (features, samples) = x (samples, features), both flat."""
    at = cuda.grid(1)
    if at < out.size:
        out[at] = x[np.uint64(at % samples * features + at // samples)]


@cuda.jit
def live_kernel(mask, inputs, names, counts):
    """A block: the live inputs of one row of mask (out, in), in order, to names (out, in), their number to counts."""
    found = cuda.shared.array(THREADS, int64)
    row, thread = cuda.blockIdx.x, cuda.threadIdx.x
    first = row * inputs
    start, end = first + inputs * thread // THREADS, first + inputs * (thread + 1) // THREADS
    count = 0
    for at in range(start, end):
        if mask[np.uint64(at)]:
            count += 1
    found[thread] = count
    cuda.syncthreads()
    to = first
    for other in range(thread):
        to += found[other]
    for at in range(start, end):
        if mask[np.uint64(at)]:
            names[np.uint64(to)] = at - first
            to += 1
    if thread == 0:  # not the last one: in the simulator, too, that takes the barrier
        count = 0
        for other in range(THREADS):
            count += found[other]
        counts[row] = count


@cuda.jit(device=True, inline="always")
def _tile_of(pair):
    """The first samples of both sides of a tile on or below the diagonal."""
    row = 0
    while pair > row:
        row += 1
        pair -= row
    return row * TILE, pair * TILE


@cuda.jit(device=True, inline="always")
def _write(out, share, n, p, q, total):
    if p < n and q < n:
        out[np.uint64((share * n + p) * n + q)] = total


def _sums_kernel(kind):
    """The kernel for numbers of one kind, float32 or float64."""
    zero = np.float32(0) if kind is float32 else np.float64(0)

    @cuda.jit(device=True, inline="always")
    def fill(tile, x, deltas, deltas_at, names, first, count, sample0, n):
        """tile[s, c] = x[names[first + s], sample0 + c] * deltas[deltas_at + sample0 + c]; None leaves away what it is for."""
        line, sample = cuda.threadIdx.x // TILE, sample0 + cuda.threadIdx.x % TILE
        at = line * LINE + cuda.threadIdx.x % TILE
        while line < count:
            value = zero
            if sample < n:
                feature = first + line if names is None else int(names[np.uint64(first + line)])
                value = x[np.uint64(feature * n + sample)]
                if deltas is not None:
                    value *= deltas[np.uint64(deltas_at + sample)]
            tile[np.uint64(at)] = value
            line += THREADS // TILE
            at += THREADS // TILE * LINE

    @cuda.jit
    def sums_kernel(x, deltas, names, counts, inputs, n, shares, out):
        """A block: one tile, and rows share, share + shares, ... of the layer, to out (shares, n, n).

        x: (inputs, n), deltas: (rows, n), names: (rows, inputs), counts: (rows,); all are flat. Without deltas, names
        and counts it is the Gram matrix of x, whose features are the entries of rows of ROW.
        """
        left = cuda.shared.array(SIZE, kind)
        right = cuda.shared.array(SIZE, kind)
        row, column = _tile_of(cuda.blockIdx.x // shares)
        share, p, q = cuda.blockIdx.x % shares, cuda.threadIdx.x // SIDE, cuda.threadIdx.x % SIDE
        a, b, c, d, waiting = zero, zero, zero, zero, 0
        total_a, total_b, total_c, total_d = DOUBLE_ZERO, DOUBLE_ZERO, DOUBLE_ZERO, DOUBLE_ZERO
        for i in range(share, (inputs + ROW - 1) // ROW if counts is None else counts.size, shares):
            first, length = i * ROW if counts is None else i * inputs, 0
            if counts is None:
                length = min(ROW, inputs - first)
            else:
                length = int(counts[np.uint64(i)])
            for start in range(0, length, TILE):
                count = min(TILE, length - start)
                cuda.syncthreads()
                fill(left, x, deltas, i * n, names, first + start, count, row, n)
                fill(right, x, deltas, i * n, names, first + start, count, column, n)
                cuda.syncthreads()
                for s in range(count):
                    near, far = left[np.uint64(s * LINE + p)], left[np.uint64(s * LINE + p + SIDE)]
                    one, other = right[np.uint64(s * LINE + q)], right[np.uint64(s * LINE + q + SIDE)]
                    a += near * one
                    b += near * other
                    c += far * one
                    d += far * other
                waiting += count
                if waiting >= FLUSH:
                    total_a, total_b, total_c, total_d = total_a + a, total_b + b, total_c + c, total_d + d
                    a, b, c, d, waiting = zero, zero, zero, zero, 0
        p, q = row + p, column + q
        _write(out, share, n, p, q, total_a + a)
        _write(out, share, n, p, q + SIDE, total_b + b)
        _write(out, share, n, p + SIDE, q, total_c + c)
        _write(out, share, n, p + SIDE, q + SIDE, total_d + d)

    return sums_kernel


sums_kernel_32, sums_kernel_64 = _sums_kernel(float32), _sums_kernel(float64)


@cuda.jit
def add_kernel(sums, others, n, out):
    """out (n, n) = sums (shares, n, n), added up, times others, added up too, if there are some; symmetric."""
    at = cuda.grid(1)
    if at < out.size:
        p, q = max(at // n, at % n), min(at // n, at % n)
        total = DOUBLE_ZERO
        for share in range(sums.size // out.size):
            total += sums[np.uint64((share * n + p) * n + q)]
        if others is not None:
            factor = DOUBLE_ZERO
            for share in range(others.size // out.size):
                factor += others[np.uint64((share * n + p) * n + q)]
            total *= factor
        out[at] = total


def masked_ntk(activations, deltas, mask):
    """The kernel (n, n) of masked_ntk.py on the GPU, a torch tensor if activations is one."""
    a = _view(activations, "activations", None, (None, None))
    n, inputs = activations.shape
    d = _view(deltas, "deltas", a.dtype, (n, None))
    outputs = deltas.shape[1]
    live = None if mask is None else _view(mask, "mask", np.dtype(bool), (outputs, inputs))
    answer = _empty(activations, (n, n))
    into = (cuda.as_cuda_array(answer) if hasattr(answer, "new_empty") else answer).reshape(n * n)
    if not n:
        return answer
    sums_kernel = sums_kernel_32 if a.dtype == np.float32 else sums_kernel_64
    a, d = (_turned(x, n, features) for x, features in ((a, inputs), (d, outputs)))

    def summed(rows: int, *what):
        tiles = -(-n // TILE)
        tiles = tiles * (tiles + 1) // 2
        shares = max(1, min(rows, SHARES, BLOCKS // tiles))
        out = cuda.device_array(shares * n * n, np.float64)
        sums_kernel[tiles * shares, THREADS](*what, n, shares, out)
        return out

    if live is None:
        sums = summed(-(-inputs // ROW), a, None, None, None, inputs)
        others = summed(-(-outputs // ROW), d, None, None, None, outputs)
    else:
        names, counts = cuda.device_array(outputs * inputs, np.uint32), cuda.device_array(outputs, np.uint32)
        if outputs:
            live_kernel[outputs, THREADS](live, inputs, names, counts)
        sums, others = summed(outputs, a, d, names, counts, inputs), None
    add_kernel[-(-n * n // THREADS), THREADS](sums, others, n, into)
    return answer


def _turned(x, samples: int, features: int):
    """x (samples, features), flat, as (features, samples)."""
    turned = cuda.device_array(x.size, x.dtype)
    if x.size:
        turn_kernel[-(-x.size // THREADS), THREADS](x, samples, features, turned)
    return turned


def _view(array, name: str, dtype: np.dtype | None, shape: tuple):
    """array, flat, as Numba sees it: C-contiguous, of dtype (None: float32 or float64) and shape (None: any length)."""
    require(is_cuda_array(array), name, type(array).__name__, "an array on the GPU, like the others",
            "move all of them there, or none", TypeError)  # fmt: skip
    found = array if hasattr(array, "__cuda_ndarray__") else cuda.as_cuda_array(array)
    kinds = (np.float32, np.float64) if dtype is None else (dtype,)
    require(found.dtype in kinds, f"{name}.dtype", found.dtype, " or ".join(str(np.dtype(kind)) for kind in kinds),
            "convert it before the call", TypeError)  # fmt: skip
    fits = len(shape) == len(found.shape) and all(
        want in (None, have) for want, have in zip(shape, found.shape, strict=True)
    )
    wanted = "(" + ", ".join("any" if want is None else str(want) for want in shape) + ")"
    require(fits, f"{name}.shape", tuple(found.shape), wanted, "activations (n, in), deltas (n, out), mask (out, in)")
    require(found.is_c_contiguous(), f"{name}.strides", found.strides, "a C-contiguous array",
            f"copy it: {name}.contiguous() in torch")  # fmt: skip
    return found.reshape(math.prod(found.shape))


def _empty(like, shape: tuple[int, ...]):
    """An uninitialized array on the GPU of the same dtype, a torch tensor if `like` is one."""
    return like.new_empty(shape) if hasattr(like, "new_empty") else cuda.device_array(shape, like.dtype)
