"""The largest gradients of a layer, found block by block: what may grow where no dense gradient is kept.

Two searches over blocks of rows of |dL/dw|, both exact, ties to the lowest place: the largest of all, and the largest of
each row outside those that stay. Both pass over a block once and set aside what is above a threshold.
Chapter "Structured RigL".
"""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def set_aside(block, least, first_place, sizes, places, filled):
    """Append the entries of block (flat, float32) above least to sizes and places, from `filled` on; the new count.

    first_place: the place of block's first entry. sizes (float32) and places (int64) must have room for the whole block.
    """
    for i in range(block.size):
        if block[i] > least:
            sizes[filled] = block[i]
            places[filled] = first_place + i
            filled += 1
    return filled


@numba.njit(nogil=True, cache=True)
def steepest_in_rows(block, wanted, kept, first_place, found):
    """Write the places of the wanted[r] largest entries of each row outside `kept` to found, increasing; their number.

    block: (rows, columns) float32, 0 or more, changed. wanted: (rows,). kept: the places that stay, increasing.
    first_place: the place of block's first entry. found: int64, with room for all wanted.
    """
    rows, columns = block.shape
    start = np.searchsorted(kept, first_place)
    filled, above_mean = 0, np.float32(1)
    sizes, at = np.empty(columns, np.float32), np.empty(columns, np.int64)
    for r in range(rows):
        first = first_place + r * columns
        row = block[r]
        while start < kept.size and kept[start] < first + columns:
            row[kept[start] - first] = -1
            start += 1
        if wanted[r] == 0:
            continue
        mean = _mean(row)
        count = _above(row, np.float32(0.9) * above_mean * mean, sizes, at)  # rows are alike: most guesses fit
        if count < wanted[r]:
            count = _above(row, np.float32(-1), sizes, at)
        least = np.partition(sizes[:count], count - wanted[r])[count - wanted[r]]
        above_mean = least / max(mean, np.float32(1e-30))
        ties = wanted[r] - np.sum(sizes[:count] > least)
        for i in range(count):
            tie = sizes[i] == least and ties > 0
            if sizes[i] > least or tie:
                found[filled] = first + at[i]
                filled += 1
                ties -= tie
    return filled


@numba.njit(nogil=True, cache=True, fastmath={"reassoc"})
def _mean(row):
    total = np.float32(0)
    for c in range(row.size):
        total += max(row[c], np.float32(0))
    return total / np.float32(row.size)


@numba.njit(nogil=True, cache=True)
def _above(row, least, sizes, at):
    """Set aside the entries above `least`, and where they stand; how many."""
    count = 0
    for c in range(row.size):
        sizes[count], at[count] = row[c], c
        count += row[c] > least
    return count


@numba.njit(nogil=True, cache=True)
def where_before(before, after):
    """For each entry of after its position in before, or -1; both increasing."""
    found = np.full(after.size, -1, np.int64)
    at = 0
    for i in range(after.size):
        while at < before.size and before[at] < after[i]:
            at += 1
        if at < before.size and before[at] == after[i]:
            found[i] = at
    return found
