"""Values put in another order: what a changed weight costs before a kernel can use it."""

import numba

from lttkernels.simd import element, gather, load_indices, pointer, put, store
from lttkernels.threads import get_threads


def reorder(values, order, out) -> None:
    """Write values[order] to out. values, out: float32, order: uint32, all C-contiguous and one-dimensional."""
    threads = get_threads()
    if threads > 1:
        _part_parallel(threads, values, order, out)
    else:
        _part(0, order.size, values, order, out)


@numba.njit(nogil=True, cache=True)
def _part(first, last, values, order, out):
    values_at, order_at, out_at = pointer(values), pointer(order), pointer(out)
    whole = first + (last - first) // 16 * 16
    for i in range(first, whole, 16):
        store(out_at, i, gather(values_at, load_indices(order_at, i, 16)))
    for i in range(whole, last):
        put(out_at, i, element(values_at, element(order_at, i)))


@numba.njit(nogil=True, cache=True, parallel=True)
def _part_parallel(threads, values, order, out):
    for thread in numba.prange(threads):
        _part(order.size * thread // threads, order.size * (thread + 1) // threads, values, order, out)
