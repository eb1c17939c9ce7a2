"""Rows with few weights, times a small batch: the plain loop, which here is the best one.

    out[rows[i], :] = bias[rows[i]] + sum over s < k of values[i, s] * x[indices[i, s], :]

What lttkernels.tiles does to x and to the order of weights takes longer than a few dozen entries of a row. In x (in, batch)
the samples of one input stand side by side: 2 to 64 of them are a register, or up to four.
"""

import numba
import numpy as np

from lttkernels.simd import element, fma, load, moved, pointer, splat, store, zeros
from lttkernels.threads import get_threads

WIDTHS = (2, 4, 8, 16, 32, 64)
LONGEST = 32  # measured: from about 40 weights on, tiles are faster for some batches


def fits(batch: int) -> bool:
    """Whether the loops are made for such a batch: one of WIDTHS, or a multiple of the widest."""
    return batch in WIDTHS or (batch > 0 and batch % WIDTHS[-1] == 0)


def _loop(lanes):
    """Rows first to last, `lanes` samples from a position on; two sums take turns."""

    @numba.njit
    def add_rows(first, last, fan_in, batch, values, indices, rows, bias, x, out):
        one = splat(np.float32(1), lanes)
        for i in range(first, last):
            row = element(rows, i)
            a, b = splat(element(bias, row), lanes), zeros(lanes)
            for entry in range(i * fan_in, (i + 1) * fan_in):
                near = element(indices, entry) * batch
                a, b = b, fma(splat(element(values, entry), lanes), load(x, near, lanes), a)
            store(out, row * batch, fma(a, one, b))

    return add_rows


_add_2, _add_4, _add_8, _add_16, _add_32, _add_64 = (_loop(lanes) for lanes in WIDTHS)


@numba.njit(nogil=True, cache=True)
def _serial(first, last, values, indices, rows, bias, x, out):
    fan_in, batch = values.shape[1], x.shape[1]
    what = (pointer(values), pointer(indices), pointer(rows), pointer(bias))
    x_at, out_at = pointer(x), pointer(out)
    if batch == 2:
        _add_2(first, last, fan_in, batch, *what, x_at, out_at)
    elif batch == 4:
        _add_4(first, last, fan_in, batch, *what, x_at, out_at)
    elif batch == 8:
        _add_8(first, last, fan_in, batch, *what, x_at, out_at)
    elif batch == 16:
        _add_16(first, last, fan_in, batch, *what, x_at, out_at)
    elif batch == 32:
        _add_32(first, last, fan_in, batch, *what, x_at, out_at)
    else:
        for sample in range(0, batch, 64):
            _add_64(first, last, fan_in, batch, *what, moved(x_at, sample), moved(out_at, sample))


@numba.njit(nogil=True, cache=True, parallel=True)
def _parallel(threads, values, indices, rows, bias, x, out):
    for thread in numba.prange(threads):
        first, last = rows.size * thread // threads, rows.size * (thread + 1) // threads
        _serial(first, last, values, indices, rows, bias, x, out)


def multiply_short_rows(values, indices, rows, bias, x, out) -> None:
    """Write the product to out[rows]. values: (n, k) float32. indices: (n, k) unsigned. rows: (n,) uint32.

    bias: (features,), x: (in, batch), out: (features, batch), float32; the batch is one that fits.
    """
    threads = min(get_threads(), len(rows))
    if threads > 1:
        _parallel(threads, values, indices, rows, bias, x, out)
    else:
        _serial(0, len(rows), values, indices, rows, bias, x, out)
