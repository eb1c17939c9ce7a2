"""The gradient of a sparse matrix's values: one dot product over the batch for each entry.

    out[r, s] = sum over b of grad[r, b] * x[indices[r, s], b]

A row of grad stays in four registers. Sixteen dot products end as sixteen registers of partial sums; folding them
pairwise leaves the sixteen results in one register, four times cheaper than adding each register's lanes.
"""

import numba
import numpy as np

from lttkernels.panels import pack
from lttkernels.simd import element, fma, fold, load, pointer, put, settled, splat, store, total, zeros
from lttkernels.threads import get_threads

WIDTH = 64


@numba.njit(inline="always")
def _dot(grad, x, indices, at, nothing):
    near = settled(x, element(indices, at) * WIDTH, nothing)
    two = fma(grad[1], load(near, 16, 16), fma(grad[0], load(near, 0, 16), zeros(16)))
    return fma(grad[3], load(near, 48, 16), fma(grad[2], load(near, 32, 16), two))


@numba.njit(inline="always")
def _two(grad, x, indices, at, nothing):
    return fold(_dot(grad, x, indices, at, nothing), _dot(grad, x, indices, at + 1, nothing), 1)


@numba.njit(inline="always")
def _four(grad, x, indices, at, nothing):
    return fold(_two(grad, x, indices, at, nothing), _two(grad, x, indices, at + 2, nothing), 2)


@numba.njit(inline="always")
def _eight(grad, x, indices, at, nothing):
    return fold(_four(grad, x, indices, at, nothing), _four(grad, x, indices, at + 4, nothing), 4)


@numba.njit(nogil=True, cache=True)
def _rows(first, last, indices, fan_in, rows, grad, features, x, inputs, panels, out):
    indices_at, rows_at, grad_at, out_at = pointer(indices), pointer(rows), pointer(grad), pointer(out)
    one, nothing = splat(np.float32(1), 16), panels >> 62
    for r in range(first, last):
        out[r * fan_in : (r + 1) * fan_in] = 0
    for panel in range(panels):
        here = pointer(x[panel * inputs * WIDTH :])
        for r in range(first, last):
            at = (panel * features + element(rows_at, r)) * WIDTH
            held = (
                load(grad_at, at, 16),
                load(grad_at, at + 16, 16),
                load(grad_at, at + 32, 16),
                load(grad_at, at + 48, 16),
            )
            for s in range(r * fan_in, r * fan_in + fan_in // 16 * 16, 16):
                sums = fold(
                    _eight(held, here, indices_at, s, nothing), _eight(held, here, indices_at, s + 8, nothing), 8
                )
                store(out_at, s, fma(one, load(out_at, s, 16), sums))
            for s in range(r * fan_in + fan_in // 16 * 16, (r + 1) * fan_in):
                put(out_at, s, element(out_at, s) + total(_dot(held, here, indices_at, s, nothing)))


@numba.njit(nogil=True, cache=True, parallel=True)
def _rows_parallel(threads, count, indices, fan_in, rows, grad, features, x, inputs, panels, out):
    for thread in numba.prange(threads):
        first, last = count * thread // threads, count * (thread + 1) // threads
        _rows(first, last, indices, fan_in, rows, grad, features, x, inputs, panels, out)


def dot_products(indices, rows, grad, x, out, *, by_row: bool) -> None:
    """Write the dot product of grad's feature rows[r] with x's feature indices[r, s] to out[r, s].

    indices: (n, k) unsigned. rows: (n,) uint32. grad, x: (features, batch) if by_row, else (batch, features);
    float32, C-contiguous. out: (n, k) float32.
    """
    (count, fan_in), axis = indices.shape, 0 if by_row else 1
    features, inputs, batch = grad.shape[axis], x.shape[axis], x.shape[1 - axis]
    cut = (0, -(-batch // WIDTH), WIDTH)
    what = (indices.reshape(-1), fan_in, rows, pack(grad, features, cut, by_row, "grad"), features,
            pack(x, inputs, cut, by_row), inputs, cut[1], out.reshape(-1))  # fmt: skip
    dot_rows(count, *what)


def dot_rows(count: int, *what) -> None:
    """dot_products of `count` rows from arrays already in panels of WIDTH; `what` as _rows takes it after `last`."""
    threads = min(get_threads(), count)
    if threads > 1:
        _rows_parallel(threads, count, *what)
    elif count:
        _rows(0, count, *what)
