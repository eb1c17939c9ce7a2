"""A sparse matrix times one vector, below the gather limit: slots for the regular part, gathers for the rest.

Reading x at an index costs a gather, whatever else the loop does. But 32 neighboring inputs fit in two registers, and a
permutation of registers looks 16 of them up at once, in a fraction of the time. So each row gets `slots` places in every
32 inputs, filled from its entries or left at 0, and only entries beyond those are gathered. An N:M pattern is the case
without a rest; slots = 0 is the plain gather.

Rows go in groups of 16, lane by lane, so that 16 rows are summed without ever adding lanes. A group gathers as often as
the row with the longest rest, so rows with like rests go together. Where a slot's input stands in its block takes
five bits, and six slots share a word: what must be read is nearly the values alone.
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
    prefetch,
    put,
    shifted,
    splat,
    store,
    zeros,
)
from lttkernels.threads import get_threads

BLOCK = 32
GROUP = 16
OFFSET_BITS = 5
SLOTS_PER_WORD = 32 // OFFSET_BITS
SLOTS_PER_GATHER = 3  # measured: a gather takes the time of three slots, their share of reading included
AHEAD = 512  # floats, 2 KB: a loop that asks so far ahead does not wait for the second-level cache


@dataclass(frozen=True)
class Lookup:
    """Rows in groups of 16. values: (groups, blocks, slots, 16). rest_values, rest_indices: (any, 16).

    words: (groups, blocks, words, 16) uint32, for each lane the offsets of up to six slots, the first in the lowest bits.
    Empty places hold value 0; an empty place of the rest points to an input after the last, which the kernel keeps 0.
    rest_start: (groups + 1,) where each group's rest begins. rows: (rows,) uint32, lane after lane, where a lane's
    answer goes.
    """

    shape: tuple[int, int]
    values: np.ndarray
    words: np.ndarray
    rest_values: np.ndarray
    rest_indices: np.ndarray
    rest_start: np.ndarray
    rows: np.ndarray


def make_lookup(indptr, indices, values, shape: tuple[int, int], slots: int | None = None, rows=None) -> Lookup:
    """Pack the matrix whose row r has its entries at indptr[r]:indptr[r + 1]; slots None chooses the fastest.

    rows: (rows,) uint32, increasing, where the answer of row r goes; None for r itself.
    """
    columns, count = shape[1], indptr.size - 1
    blocks, indptr = -(-columns // BLOCK), indptr.astype(np.int64)
    if slots is None:
        slots = _best_slots(indptr, indices, blocks) if HAS_AVX512 else 0
    overflow = _overflow(indptr, indices, blocks, slots)
    order = np.argsort(overflow, kind="stable")
    whole = count // GROUP * GROUP
    order[:whole].reshape(-1, GROUP).sort(axis=1)  # side by side in memory where they can be
    order[whole:].sort()
    rest_start = np.concatenate([[0], np.cumsum(_longest(np.sort(overflow)))])
    groups = rest_start.size - 1
    packed = _aligned_zeros((groups, blocks, slots, GROUP))
    words = _aligned_zeros((groups, blocks, -(-slots // SLOTS_PER_WORD), GROUP)).view(np.uint32)
    rest_values = _aligned_zeros((int(rest_start[-1]), GROUP))
    rest_indices = np.full(rest_values.shape, blocks * BLOCK, index_type(blocks * BLOCK + 1))
    _fill(indptr, indices, values, order, packed, words, rest_values, rest_indices, rest_start)
    rows = (np.arange(count) if rows is None else rows)[order].astype(np.uint32)
    return Lookup(shape, packed, words, rest_values, rest_indices, rest_start.astype(np.uint64), rows)


def _aligned_zeros(shape: tuple) -> np.ndarray:
    zeros = aligned_empty(math.prod(shape)).reshape(shape)
    zeros[...] = 0
    return zeros


def _longest(overflow: np.ndarray) -> np.ndarray:
    """The largest of each 16 numbers, which stand in increasing order."""
    ends = np.minimum(np.arange(GROUP, overflow.size + GROUP, GROUP), overflow.size)
    return overflow[ends - 1]


def _best_slots(indptr, indices, blocks: int) -> int:
    """The number of slots with the least work, counted in slots."""
    groups = max(1, -(-(indptr.size - 1) // GROUP))
    work = [
        blocks * slots + SLOTS_PER_GATHER * _longest(np.sort(_overflow(indptr, indices, blocks, slots))).sum() / groups
        for slots in range(BLOCK // 2)
    ]
    return int(np.argmin(work))


@numba.njit(cache=True)
def _overflow(indptr, indices, blocks, slots):
    """For each row, how many entries find no slot."""
    found = np.zeros(indptr.size - 1, np.int64)
    filled = np.zeros(blocks, np.int64)
    for row in range(found.size):
        filled[:] = 0
        for entry in range(indptr[row], indptr[row + 1]):
            block = indices[entry] // BLOCK
            filled[block] += 1
            found[row] += filled[block] > slots
    return found


@numba.njit(cache=True)
def _fill(indptr, indices, values, order, packed, words, rest_values, rest_indices, rest_start):
    slots = packed.shape[2]
    filled = np.zeros(packed.shape[1], np.int64)
    for place in range(order.size):
        filled[:] = 0
        row, group, lane = order[place], place // GROUP, place % GROUP
        rest = rest_start[group]
        for entry in range(indptr[row], indptr[row + 1]):
            block, slot = indices[entry] // BLOCK, filled[indices[entry] // BLOCK]
            if slot < slots:
                packed[group, block, slot, lane] = values[entry]
                offset = np.uint32(indices[entry] % BLOCK) << np.uint32(slot % SLOTS_PER_WORD * OFFSET_BITS)
                words[group, block, slot // SLOTS_PER_WORD, lane] |= offset
                filled[block] += 1
            else:
                rest_values[rest, lane] = values[entry]
                rest_indices[rest, lane] = indices[entry]
                rest += 1


@numba.njit(nogil=True, cache=True)
def _multiply(first, last, values, words, rest_values, rest_indices, rest_start, rows, x, room, bias, out):
    _, blocks, slots, _ = values.shape
    values_at, words_at, x_at, room_at = pointer(values), pointer(words), pointer(x), pointer(room)
    rest_values_at, rest_indices_at = pointer(rest_values), pointer(rest_indices)
    start_at, rows_at, bias_at, out_at = pointer(rest_start), pointer(rows), pointer(bias), pointer(out)
    per_block = (slots + SLOTS_PER_WORD - 1) // SLOTS_PER_WORD
    for group in range(first, last):
        # Two sums take turns: an addition waits four cycles for the one before it.
        even, odd, rest, rest_waiting = zeros(16), zeros(16), zeros(16), zeros(16)
        at, word_at = group * blocks * slots * GROUP, group * blocks * per_block * GROUP
        for block in range(blocks * (slots > 0)):
            low, high = load(x_at, block * BLOCK, 16), load(x_at, block * BLOCK + 16, 16)
            left = slots
            while left > 0:
                word = load_indices(words_at, word_at, 16)
                prefetch(words_at, word_at + AHEAD // 4)
                for _ in range(min(left, SLOTS_PER_WORD) // 2):
                    prefetch(values_at, at + AHEAD)
                    prefetch(values_at, at + AHEAD + GROUP)
                    even = fma(load(values_at, at, 16), lookup(low, high, word), even)
                    odd = fma(load(values_at, at + GROUP, 16), lookup(low, high, shifted(word, 5)), odd)
                    word = shifted(word, 10)
                    at += 2 * GROUP
                if left < SLOTS_PER_WORD and left % 2:
                    prefetch(values_at, at + AHEAD)
                    even = fma(load(values_at, at, 16), lookup(low, high, word), even)
                    at += GROUP
                word_at += GROUP
                left -= SLOTS_PER_WORD
        for place in range(element(start_at, group), element(start_at, group + 1)):
            found = gather(x_at, load_indices(rest_indices_at, place * GROUP, 16))
            rest_waiting, rest = rest, fma(load(rest_values_at, place * GROUP, 16), found, rest_waiting)
        one, here = splat(np.float32(1), 16), group * GROUP
        sums = fma(one, fma(one, even, odd), fma(one, rest, rest_waiting))
        row, lanes = element(rows_at, here), min(GROUP, rows.size - here)
        if lanes == GROUP and element(rows_at, here + GROUP - 1) - row == GROUP - 1:
            store(out_at, row, fma(one, load(bias_at, row, 16), sums))
        else:
            store(room_at, 0, sums)
            for lane in range(lanes):
                row = element(rows_at, here + lane)
                put(out_at, row, element(room_at, lane) + element(bias_at, row))


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
def _serial(values, words, rest_values, rest_indices, rest_start, rows, x, padded, sums, bias, out):
    finite = _pad(x, False, padded)
    if finite:
        groups = values.shape[0]
        _multiply(0, groups, values, words, rest_values, rest_indices, rest_start, rows, padded, sums, bias, out)
    return finite


@numba.njit(nogil=True, cache=True, parallel=True)
def _parallel(threads, values, words, rest_values, rest_indices, rest_start, rows, x, padded, sums, bias, out):
    groups = values.shape[0]
    finite = _pad(x, False, padded)
    for thread in numba.prange(threads * finite):
        first, last = groups * thread // threads, groups * (thread + 1) // threads
        _multiply(first, last, values, words, rest_values, rest_indices, rest_start, rows, padded,
                  sums[thread * GROUP :], bias, out)  # fmt: skip
    return finite


def multiply_vector(packed: Lookup, x, bias, out) -> bool:
    """Write the product with x (columns,) to out[rows] and add bias there; False, and nothing done, if x is not finite.

    0 times infinity is no 0: with such an x the empty places would count. bias, out: (features,).
    """
    threads = get_threads()
    width = (packed.values.shape[1] + 1) * BLOCK
    room = scratch("vector", width + threads * GROUP)
    what = (packed.values, packed.words, packed.rest_values, packed.rest_indices, packed.rest_start, packed.rows, x)
    if threads > 1:
        return _parallel(threads, *what, room[:width], room[width:], bias, out)
    return _serial(*what, room[:width], room[width:], bias, out)
