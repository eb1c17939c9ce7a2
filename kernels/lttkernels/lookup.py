"""A sparse matrix times a few vectors, below the gather limit: slots for the regular part, gathers for the rest.

Reading x at an index costs a gather, whatever else the loop does. But 32 neighboring inputs fit in two registers, and a
permutation of registers looks 16 of them up at once, in a fraction of the time. So each row gets `slots` places in every
32 inputs, filled from its entries or left at 0, and only entries beyond those are gathered. An N:M pattern is the case
without a rest; slots = 0 is the plain gather.

Rows go in groups of 16, lane by lane, so that 16 rows are summed without ever adding lanes. A group gathers as often as
the row with the longest rest, so rows with like rests go together. Where a slot's input stands in its block takes
five bits, and six slots share a word: what must be read is nearly the values alone. The loops are in lookup_loops.
"""

import math
from dataclasses import dataclass

import numba
import numpy as np

from lttkernels.arguments import index_type
from lttkernels.lookup_loops import (
    BLOCK,
    FEW,
    GROUP,
    OFFSET_BITS,
    SLOTS_PER_WORD,
    four_samples,
    one_sample,
    pad,
    pad_four,
)
from lttkernels.memory import aligned_empty, scratch
from lttkernels.simd import HAS_AVX512
from lttkernels.threads import get_threads

SLOTS_PER_GATHER = {1: 2, FEW: 6}  # measured, by samples: they share a slot, and each gathers for itself


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


def make_lookup(
    indptr, indices, values, shape: tuple[int, int], slots: int | None = None, rows=None, samples: int = 1
) -> Lookup:
    """Pack the matrix whose row r has its entries at indptr[r]:indptr[r + 1]; slots None chooses the fastest
    for so many samples at once, 1 or FEW.

    rows: (rows,) uint32, increasing, where the answer of row r goes; None for r itself.
    """
    columns, count = shape[1], indptr.size - 1
    blocks, indptr = -(-columns // BLOCK), indptr.astype(np.int64)
    if slots is None:
        slots = _best_slots(indptr, indices, blocks, SLOTS_PER_GATHER[samples]) if HAS_AVX512 else 0
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


def _best_slots(indptr, indices, blocks: int, per_gather: int) -> int:
    """The number of slots with the least work, counted in slots; a word of offsets takes as long as a slot."""
    groups, work = max(1, -(-(indptr.size - 1) // GROUP)), []
    for slots in range(BLOCK // 2):
        gathers = _longest(np.sort(_overflow(indptr, indices, blocks, slots))).sum() / groups
        work.append(blocks * (slots + -(-slots // SLOTS_PER_WORD)) + per_gather * gathers)
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


def multiply_few(packed: Lookup, x, bias, out, *, by_row: bool = False) -> bool:
    """Write the product with one to FEW samples to out[:, rows] and add bias there; False, and nothing done, if x is not
    finite: 0 times infinity is no 0, and the empty places would count.

    x: (samples, columns) and out: (samples, features), both transposed if by_row. bias: (features,). All float32.
    """
    samples = x.shape[1] if by_row else x.shape[0]
    threads, width = get_threads(), (packed.values.shape[1] + 1) * BLOCK
    lanes = 1 if samples == 1 else FEW
    room = scratch("few samples", lanes * (width + threads * GROUP))
    what = (packed.values, packed.words, packed.rest_values, packed.rest_indices, packed.rest_start, packed.rows,
            x.reshape(-1), packed.shape[1], samples, by_row, room[: lanes * width], room[lanes * width :], bias,
            out.reshape(-1))  # fmt: skip
    return _parallel(threads, *what) if threads > 1 else _serial(*what)


@numba.njit(nogil=True, cache=True)
def _part(first, last, values, words, rest_values, rest_indices, rest_start, rows, samples, by_row, padded, room, bias,
          out):  # fmt: skip
    if samples == 1:
        one_sample(first, last, values, words, rest_values, rest_indices, rest_start, rows, padded, room, bias, out)
    else:
        strides = (samples, 1) if by_row else (1, bias.size)
        four_samples(first, last, values, words, rest_values, rest_indices, rest_start, rows, padded, room, bias, out,
                     samples, strides)  # fmt: skip


@numba.njit(nogil=True, cache=True)
def _pad(x, columns, samples, by_row, padded):
    if samples == 1:
        return pad(x, False, padded)
    return pad_four(x, columns, samples, by_row, padded)


@numba.njit(nogil=True, cache=True)
def _serial(values, words, rest_values, rest_indices, rest_start, rows, x, columns, samples, by_row, padded, room, bias,
            out):  # fmt: skip
    finite = _pad(x, columns, samples, by_row, padded)
    if finite:
        _part(0, values.shape[0], values, words, rest_values, rest_indices, rest_start, rows, samples, by_row, padded,
              room, bias, out)  # fmt: skip
    return finite


@numba.njit(nogil=True, cache=True, parallel=True)
def _parallel(threads, values, words, rest_values, rest_indices, rest_start, rows, x, columns, samples, by_row, padded,
              room, bias, out):  # fmt: skip
    groups = values.shape[0]
    finite = _pad(x, columns, samples, by_row, padded)
    for thread in numba.prange(threads * finite):
        first, last = groups * thread // threads, groups * (thread + 1) // threads
        _part(first, last, values, words, rest_values, rest_indices, rest_start, rows, samples, by_row, padded,
              room[thread * FEW * GROUP :] if samples > 1 else room[thread * GROUP :], bias, out)  # fmt: skip
    return finite
