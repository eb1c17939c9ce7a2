"""The largest gradients of a layer, found in one pass over blocks of its rows: what may grow, where no dense gradient is kept.

Of each row its largest entries are set aside, and whatever else is above a threshold. That holds the largest of all as
well as, mostly, the largest of each row outside those that stay; rows where it does not are named. Exact, ties to the
lowest place. What stays and what grows is increasing, and is merged in one walk. Chapter "Structured RigL".
"""

import numba
import numpy as np

from lttkernels.threads import get_threads


@numba.njit(nogil=True, cache=True)
def set_aside(block, per_row, least, above_mean, first_place, sizes, places, starts, filled):
    """Append the candidates of a block of rows, from `filled` on; their new number, and above_mean for the next block.

    block: (rows, columns) float32, 0 or more. Candidates of a row, per_row or more: all entries above some threshold that
    is not above `least`; where the threshold would be 0, as many of its first zeros as are missing. sizes (float32), places (int64): room for the whole block. starts: where
    each row's begin. above_mean: a guess that, times the mean of a row, is passed by little more than per_row entries;
    rows are alike, so the guess of one mostly fits the next.
    """
    rows, columns = block.shape
    for r in range(rows):
        starts[r], place = filled, first_place + r * columns
        mean = _mean(block[r])
        guess = above_mean
        count = _count(block[r], min(guess * mean, least))
        if count < per_row and mean > 0:
            above_mean *= np.float32(0.95)
        elif count > per_row + per_row // 4 and guess * mean < least:
            above_mean *= np.float32(1.03)
        while count < per_row and guess * mean > 0:
            guess = guess * np.float32(0.9) if guess > 0.1 else np.float32(0)
            count = _count(block[r], min(guess * mean, least))
        if count < per_row:
            filled += _with_zeros(block[r], per_row - count, place, sizes, places, filled)
        else:
            filled += _above(block[r], min(guess * mean, least), place, sizes, places, filled)
    return filled, above_mean


def steepest_in_rows(sizes, places, starts, wanted, slots, kept, found, short) -> None:
    """Write the places of the wanted[r] largest candidates of each row outside `kept`, increasing, to found[slots[r] :].

    starts: (rows + 1,), of each row's candidates. kept: the places that stay, increasing. short: (rows,) bool; True is
    written where a row has too few candidates, of which then nothing is written.
    """
    what = (sizes, places, starts, wanted, slots, kept, found, short)
    threads = min(get_threads(), wanted.size)
    if threads > 1:
        _rows_parallel(threads, *what)
    else:
        _rows(0, wanted.size, *what)


@numba.njit(nogil=True, cache=True, parallel=True)
def _rows_parallel(threads, sizes, places, starts, wanted, slots, kept, found, short):
    for thread in numba.prange(threads):
        first, last = wanted.size * thread // threads, wanted.size * (thread + 1) // threads
        _rows(first, last, sizes, places, starts, wanted, slots, kept, found, short)


@numba.njit(nogil=True, cache=True)
def _rows(first, last, sizes, places, starts, wanted, slots, kept, found, short):
    """Rows first to last of steepest_in_rows."""
    at, most = 0, 0
    for r in range(first, last):
        most = max(most, starts[r + 1] - starts[r])
    if most > 0:
        at = np.searchsorted(kept, places[starts[first]])
    row_sizes, row_places, work = np.empty(most, np.float32), np.empty(most, np.int64), np.empty(most, np.float32)
    for r in range(first, last):
        if wanted[r] == 0:
            continue
        count = 0
        for i in range(starts[r], starts[r + 1]):
            while at < kept.size and kept[at] < places[i]:
                at += 1
            row_sizes[count], row_places[count] = sizes[i], places[i]
            count += not (at < kept.size and kept[at] == places[i])
        short[r] = count < wanted[r]
        if short[r]:
            continue
        work[:count] = row_sizes[:count]
        least = _in_order(work[:count], count - wanted[r])
        ties, filled = wanted[r] - np.sum(row_sizes[:count] > least), slots[r]
        for i in range(count):
            tie = row_sizes[i] == least and ties > 0
            if row_sizes[i] > least or tie:
                found[filled] = row_places[i]
                filled += 1
                ties -= tie


@numba.njit(nogil=True, cache=True)
def _in_order(numbers, place):
    """The number that has this place when they are sorted (Hoare's selection); they are moved about."""
    first, last = 0, numbers.size - 1
    while first < last:
        pivot, low, high = numbers[(first + last) // 2], first, last
        while low <= high:
            while numbers[low] < pivot:
                low += 1
            while numbers[high] > pivot:
                high -= 1
            if low <= high:
                numbers[low], numbers[high] = numbers[high], numbers[low]
                low += 1
                high -= 1
        if place <= high:
            last = high
        elif place >= low:
            first = low
        else:
            break
    return numbers[place]


@numba.njit(nogil=True, cache=True, fastmath={"reassoc"})
def _mean(row):
    total = np.float32(0)
    for c in range(row.size):
        total += row[c]
    return total / np.float32(row.size)


@numba.njit(nogil=True, cache=True)
def _count(row, least):
    """How many entries are above `least`."""
    count = np.int32(0)  # as wide as the entries, so that many are compared at once
    for c in range(row.size):
        count += np.int32(row[c] > least)
    return count


@numba.njit(nogil=True, cache=True)
def _above(row, least, first_place, sizes, places, filled):
    """Set aside the entries above `least`, and their places, from `filled` on; how many."""
    count = filled
    for c in range(row.size):
        sizes[count], places[count] = row[c], first_place + c
        count += row[c] > least
    return count - filled


@numba.njit(nogil=True, cache=True)
def _with_zeros(row, zeros, first_place, sizes, places, filled):
    """As _above, the entries above 0 and the first `zeros` that are 0: rows of neurons that no sample reaches are common."""
    count = filled
    for c in range(row.size):
        zero = row[c] == 0 and zeros > 0
        if row[c] > 0 or zero:
            sizes[count], places[count] = row[c], first_place + c
            count += 1
            zeros -= zero
    return count - filled


@numba.njit(nogil=True, cache=True)
def merged(first, second):
    """Both lists (int64, increasing, nothing in common) as one."""
    whole, at = np.empty(first.size + second.size, np.int64), 0
    for i in range(first.size):
        while at < second.size and second[at] < first[i]:
            whole[i + at] = second[at]
            at += 1
        whole[i + at] = first[i]
    whole[first.size + at :] = second[at:]
    return whole


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


@numba.njit(nogil=True, cache=True)
def carry(flat, source):
    """Write flat[source[i]] to flat[i], 0 where source is -1 and past its end; all at once."""
    before = flat.copy()
    flat[:] = 0
    for i in range(source.size):
        if source[i] >= 0:
            flat[i] = before[source[i]]
