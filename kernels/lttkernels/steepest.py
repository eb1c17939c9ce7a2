"""The largest gradients of a layer, found in one pass over blocks of its rows: what may grow, where no dense gradient is kept.

Of each row its largest entries are set aside, and whatever else is above a threshold. That holds the largest of all as
well as the largest of each row outside those that stay. Exact, ties to the lowest place. Chapter "Structured RigL".
"""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def set_aside(block, per_row, least, above_mean, first_place, sizes, places, starts, filled):
    """Append the candidates of a block of rows, from `filled` on; their new number, and above_mean for the next block.

    block: (rows, columns) float32, 0 or more. Candidates of a row: its per_row largest entries, the lowest place
    of ties, those above `least`, and some more. sizes (float32), places (int64): room for the whole block. starts: where
    each row's begin. above_mean: a guess that, times the mean of a row, is passed by little more than per_row entries;
    rows are alike, so the guess of one mostly fits the next.
    """
    rows, columns = block.shape
    for r in range(rows):
        starts[r], place = filled, first_place + r * columns
        mean = _mean(block[r])
        threshold = min(above_mean * mean, least)
        count = _above(block[r], threshold, place, sizes, places, filled)
        if count < per_row:
            count = _largest(block[r], per_row, least, place, sizes, places, filled)
            above_mean *= np.float32(0.8)
        elif threshold < least and count > per_row + per_row // 4:
            above_mean *= np.float32(1.1)
        filled += count
    return filled, above_mean


@numba.njit(nogil=True, cache=True)
def steepest_in_rows(sizes, places, starts, wanted, kept, found):
    """Write the places of the wanted[r] largest candidates of each row outside `kept` to found, increasing.

    starts: (rows + 1,), of each row's candidates. kept: the places that stay, increasing. found: room for all wanted.
    """
    filled, at, most = 0, 0, 0
    for r in range(wanted.size):
        most = max(most, starts[r + 1] - starts[r])
    row_sizes, row_places = np.empty(most, np.float32), np.empty(most, np.int64)
    for r in range(wanted.size):
        count = 0
        for i in range(starts[r], starts[r + 1]):
            while at < kept.size and kept[at] < places[i]:
                at += 1
            row_sizes[count], row_places[count] = sizes[i], places[i]
            count += not (at < kept.size and kept[at] == places[i])
        if wanted[r] == 0:
            continue
        least = np.partition(row_sizes[:count], count - wanted[r])[count - wanted[r]]
        ties = wanted[r] - np.sum(row_sizes[:count] > least)
        for i in range(count):
            tie = row_sizes[i] == least and ties > 0
            if row_sizes[i] > least or tie:
                found[filled] = row_places[i]
                filled += 1
                ties -= tie


@numba.njit(nogil=True, cache=True, fastmath={"reassoc"})
def _mean(row):
    total = np.float32(0)
    for c in range(row.size):
        total += row[c]
    return total / np.float32(row.size)


@numba.njit(nogil=True, cache=True)
def _above(row, least, first_place, sizes, places, filled):
    """Set aside the entries above `least`, and their places, from `filled` on; how many."""
    count = filled
    for c in range(row.size):
        sizes[count], places[count] = row[c], first_place + c
        count += row[c] > least
    return count - filled


@numba.njit(nogil=True, cache=True)
def _largest(row, number, least, first_place, sizes, places, filled):
    """As _above, exactly: the `number` largest entries, the lowest place of ties, and those above `least`."""
    floor = np.partition(row, row.size - number)[row.size - number]
    ties, count = number - np.sum(row > floor), filled
    for c in range(row.size):
        tie = row[c] == floor and ties > 0
        if row[c] > floor or row[c] > least or tie:
            sizes[count], places[count] = row[c], first_place + c
            count += 1
            ties -= tie
    return count - filled


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
