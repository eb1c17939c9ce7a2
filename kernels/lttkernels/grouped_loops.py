"""The loops of grouped.py: pairs counted and placed by expert, rows copied to their places and gathered back.

Each writes the rows first to last of its answer and nothing else, so threads share the rows out.
"""

import numba
import numpy as np

DROPPED = -1


@numba.njit(nogil=True, cache=True)
def range_of(places):
    """The least and the largest entry; 0 and 0 if there is none."""
    low, high = np.int64(0), np.int64(0)
    for i in range(places.size):
        low = min(low, np.int64(places[i])) if i else np.int64(places[i])
        high = max(high, np.int64(places[i])) if i else np.int64(places[i])
    return low, high


@numba.njit(nogil=True, cache=True)
def count(chosen, offsets):
    """offsets from the pairs of each expert; the position of an entry out of range, or -1."""
    offsets[:] = 0
    experts = offsets.size - 1
    for pair in range(chosen.size):
        expert = chosen[pair]
        if expert < DROPPED or expert >= experts:
            return pair
        if expert >= 0:
            offsets[expert + 1] += 1
    for expert in range(experts):
        offsets[expert + 1] += offsets[expert]
    return -1


@numba.njit(nogil=True, cache=True)
def place(chosen, following, order, inverse):
    """following: the next free row of each expert."""
    for pair in range(chosen.size):
        expert, row = chosen[pair], DROPPED
        if expert >= 0:
            row = following[expert]
            following[expert] += 1
            order[row] = pair
        inverse[pair] = row


@numba.njit(nogil=True, cache=True)
def permute_rows(first, last, x, order, k, gates, out):
    """out[row] = x[order[row] // k], times the gate of the pair unless gates is empty."""
    for row in range(first, last):
        pair = np.uint32(order[row])
        token = pair // np.uint32(k)
        if gates.size:
            gate = gates[pair]
            for column in range(x.shape[1]):
                out[row, column] = gate * x[token, column]
        else:
            for column in range(x.shape[1]):
                out[row, column] = x[token, column]


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def unpermute_rows(first, last, y_sorted, inverse, gates, out):
    """out[token] = sum over slots of gate * y_sorted[inverse[token, slot]]; all gates are 1 if gates is empty."""
    slots, one = inverse.shape[1], np.float32(1)
    for token in range(first, last):
        out[token] = np.float32(0)
        for slot in range(slots):
            row = inverse[token, slot]
            if row >= 0:
                gate = gates[token * slots + slot] if gates.size else one
                for column in range(out.shape[1]):
                    out[token, column] += gate * y_sorted[row, column]


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def dots(first, last, grad, y_sorted, inverse, out):
    """out[token, slot] = grad[token] times y_sorted[inverse[token, slot]] as vectors."""
    for token in range(first, last):
        for slot in range(inverse.shape[1]):
            total, row = np.float32(0), inverse[token, slot]
            if row >= 0:
                for column in range(grad.shape[1]):
                    total += grad[token, column] * y_sorted[row, column]
            out[token, slot] = total


@numba.njit(nogil=True, cache=True, parallel=True)
def permute_rows_parallel(threads, rows, x, order, k, gates, out):
    for thread in numba.prange(threads):
        permute_rows(rows * thread // threads, rows * (thread + 1) // threads, x, order, k, gates, out)


@numba.njit(nogil=True, cache=True, parallel=True)
def unpermute_rows_parallel(threads, rows, y_sorted, inverse, gates, out):
    for thread in numba.prange(threads):
        unpermute_rows(rows * thread // threads, rows * (thread + 1) // threads, y_sorted, inverse, gates, out)


@numba.njit(nogil=True, cache=True, parallel=True)
def dots_parallel(threads, rows, grad, y_sorted, inverse, out):
    for thread in numba.prange(threads):
        dots(rows * thread // threads, rows * (thread + 1) // threads, grad, y_sorted, inverse, out)
