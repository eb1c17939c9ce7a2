"""A sparse matrix times one vector, below the gather limit: slots for the regular part, gathers for the rest.

Reading x at an index costs a gather, about .2 ns an entry, whatever else the loop does. But 32 neighboring inputs fit in
two registers, and a permutation of registers looks 16 of them up at once, in a quarter of the time. So each row gets
`slots` places in every 32 inputs, filled from its entries or left at 0, and only entries beyond those are gathered.
An N:M pattern is the case without a rest; slots = 0 is the plain gather.

Rows go in groups of 16, lane by lane, so that 16 rows are summed without ever adding lanes.
"""

import math
from dataclasses import dataclass

import numba
import numpy as np

from lttkernels.arguments import index_type
from lttkernels.memory import aligned_empty, scratch
from lttkernels.simd import (
    HAS_AVX512,
    element,
    fma,
    gather,
    load,
    load_indices,
    lookup,
    pointer,
    put,
    splat,
    store,
    zeros,
)
from lttkernels.threads import get_threads

BLOCK = 32
GROUP = 16
SLOTS_PER_GATHER = 2  # measured: a gather takes the time of two slots or a little more


@dataclass(frozen=True)
class Lookup:
    """Rows in groups of 16. values, offsets: (groups, blocks, slots, 16); rest_values, rest_indices: (any, 16).

    Empty places hold value 0; an empty place of the rest points to an input after the last, which the kernel keeps 0.
    rest_start: (groups + 1,) where each group's rest begins.
    """

    shape: tuple[int, int]
    values: np.ndarray
    offsets: np.ndarray
    rest_values: np.ndarray
    rest_indices: np.ndarray
    rest_start: np.ndarray


def make_lookup(indptr, indices, values, shape: tuple[int, int], slots: int | None = None) -> Lookup:
    """Pack the matrix whose row r has its entries at indptr[r]:indptr[r + 1]; slots None chooses the fastest."""
    columns = shape[1]
    indptr = indptr.astype(np.int64)
    if slots is None:
        slots = _best_slots(indptr, indices, columns) if HAS_AVX512 else 0
    blocks = -(-columns // BLOCK)
    overflow = _overflow(indptr, indices, blocks, slots)
    rest_start = np.concatenate([[0], np.cumsum(overflow)]).astype(np.uint64)
    packed = _aligned_zeros((len(overflow), blocks, slots, GROUP))
    offsets = np.zeros(packed.shape, np.uint8)
    rest_values = _aligned_zeros((int(rest_start[-1]), GROUP))
    rest_indices = np.full(rest_values.shape, blocks * BLOCK, index_type(blocks * BLOCK + 1))
    _fill(indptr, indices, values, packed, offsets, rest_values, rest_indices, rest_start.astype(np.int64))
    return Lookup(shape, packed, offsets, rest_values, rest_indices, rest_start)


def _aligned_zeros(shape: tuple) -> np.ndarray:
    zeros = aligned_empty(math.prod(shape)).reshape(shape)
    zeros[...] = 0
    return zeros


def _best_slots(indptr, indices, columns: int) -> int:
    """The number of slots with the least work, counted in slots."""
    blocks, groups = -(-columns // BLOCK), max(1, -(-(indptr.size - 1) // GROUP))
    work = [
        blocks * slots + SLOTS_PER_GATHER * _overflow(indptr, indices, blocks, slots).sum() / groups
        for slots in range(BLOCK // 2)
    ]
    return int(np.argmin(work))


@numba.njit(cache=True)
def _overflow(indptr, indices, blocks, slots):
    """For each group, the most entries that any of its rows has beyond the slots."""
    rows = indptr.size - 1
    most = np.zeros((rows + GROUP - 1) // GROUP, np.int64)
    filled = np.zeros(blocks, np.int64)
    for row in range(rows):
        filled[:] = 0
        over = 0
        for entry in range(indptr[row], indptr[row + 1]):
            block = indices[entry] // BLOCK
            filled[block] += 1
            over += filled[block] > slots
        most[row // GROUP] = max(most[row // GROUP], over)
    return most


@numba.njit(cache=True)
def _fill(indptr, indices, values, packed, offsets, rest_values, rest_indices, rest_start):
    slots = packed.shape[2]
    filled = np.zeros(packed.shape[1], np.int64)
    for row in range(indptr.size - 1):
        filled[:] = 0
        group, lane = row // GROUP, row % GROUP
        rest = rest_start[group]
        for entry in range(indptr[row], indptr[row + 1]):
            block = indices[entry] // BLOCK
            if filled[block] < slots:
                packed[group, block, filled[block], lane] = values[entry]
                offsets[group, block, filled[block], lane] = indices[entry] % BLOCK
                filled[block] += 1
            else:
                rest_values[rest, lane] = values[entry]
                rest_indices[rest, lane] = indices[entry]
                rest += 1


@numba.njit(nogil=True, cache=True)
def _multiply(first, last, values, offsets, rest_values, rest_indices, rest_start, x, sums, rows, bias, out):
    _, blocks, slots, _ = values.shape
    values_at, offsets_at, x_at, sums_at = pointer(values), pointer(offsets), pointer(x), pointer(sums)
    rest_values_at, rest_indices_at = pointer(rest_values), pointer(rest_indices)
    start_at, rows_at, bias_at, out_at = pointer(rest_start), pointer(rows), pointer(bias), pointer(out)
    for group in range(first, last):
        # Two sums take turns: an addition waits four cycles for the one before it.
        regular, rest, waiting, rest_waiting = zeros(16), zeros(16), zeros(16), zeros(16)
        at = group * blocks * slots * GROUP
        for block in range(blocks * (slots > 0)):
            low, high = load(x_at, block * BLOCK, 16), load(x_at, block * BLOCK + 16, 16)
            for _ in range(slots):
                found = lookup(low, high, load_indices(offsets_at, at, 16))
                waiting, regular = regular, fma(load(values_at, at, 16), found, waiting)
                at += GROUP
        for place in range(element(start_at, group), element(start_at, group + 1)):
            found = gather(x_at, load_indices(rest_indices_at, place * GROUP, 16))
            rest_waiting, rest = rest, fma(load(rest_values_at, place * GROUP, 16), found, rest_waiting)
        one, here = splat(np.float32(1), 16), group * GROUP
        regular = fma(one, fma(one, regular, waiting), fma(one, rest, rest_waiting))
        row = element(rows_at, here)
        lanes = min(GROUP, rows.size - here)
        if lanes == GROUP and element(rows_at, here + GROUP - 1) - row == GROUP - 1:
            store(out_at, row, fma(one, load(bias_at, row, 16), regular))
        else:
            store(sums_at, 0, regular)
            for lane in range(lanes):
                row = element(rows_at, here + lane)
                put(out_at, row, element(sums_at, lane) + element(bias_at, row))


@numba.njit(nogil=True, cache=True, fastmath={"reassoc"})
def _pad(x, relu, padded):
    """x, or with relu max(0, x), and zeros after it; whether all of x is finite."""
    zero, least = np.float32(0), np.float32(0 if relu else -np.inf)
    for i in range(x.size):
        padded[i] = max(x[i], least)
        zero += x[i] * np.float32(0)
    padded[x.size :] = 0
    return zero == 0


@numba.njit(nogil=True, cache=True)
def _serial(values, offsets, rest_values, rest_indices, rest_start, x, padded, sums, rows, bias, out):
    finite = _pad(x, False, padded)
    if finite:
        _multiply(
            0, values.shape[0], values, offsets, rest_values, rest_indices, rest_start, padded, sums, rows, bias, out
        )
    return finite


@numba.njit(nogil=True, cache=True, parallel=True)
def _parallel(threads, values, offsets, rest_values, rest_indices, rest_start, x, padded, sums, rows, bias, out):
    groups = values.shape[0]
    finite = _pad(x, False, padded)
    for thread in numba.prange(threads * finite):
        first, last = groups * thread // threads, groups * (thread + 1) // threads
        _multiply(first, last, values, offsets, rest_values, rest_indices, rest_start, padded, sums[thread * GROUP :],
                  rows, bias, out)  # fmt: skip
    return finite


def multiply_vector(packed: Lookup, x, rows, bias, out) -> bool:
    """Write the product with x (columns,) to out[rows] and add bias there; False, and nothing done, if x is not finite.

    0 times infinity is no 0: with such an x the empty places would count. rows: (rows,) uint32. bias, out: (features,).
    """
    threads = get_threads()
    width = (packed.values.shape[1] + 1) * BLOCK
    room = scratch("vector", width + threads * GROUP)
    what = (packed.values, packed.offsets, packed.rest_values, packed.rest_indices, packed.rest_start, x)
    if threads > 1:
        return _parallel(threads, *what, room[:width], room[width:], rows, bias, out)
    return _serial(*what, room[:width], room[width:], rows, bias, out)
