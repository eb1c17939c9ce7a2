"""The loops of masked_ntk.py by pairs: one matrix product for all pairs of samples, whatever the mask.

    kernel[pq] += sum over i of Q[i, pq] * sum over j of mask[i, j] * P[j, pq],   P[j, pq] = a[j, p] * a[j, q], Q likewise

P and Q are never whole in memory: CHUNK inputs, BATCH outputs and a group of pairs at a time.
"""

import numba

from lttkernels.gram_tiles import add_spread, put_scaled
from lttkernels.masked_ntk_rows import HEIGHT, make_tile_products
from lttkernels.simd import element, pointer

CHUNK = 512  # inputs at a time
BATCH = 128  # outputs at a time
GROUP = 240  # pairs at a time, but at least those of one sample: a multiple of three registers
EVERY = -1  # all bits
LINE = CHUNK + 16  # numbers between two outputs: not a power of two, where they would compete for places in the cache

_products_of_rows = make_tile_products(LINE)


@numba.njit(nogil=True, cache=True)
def pairs_room(block, lanes):
    """How many numbers of scratch memory a thread needs for blocks of `block` samples, a multiple of lanes."""
    wide = GROUP + block
    return LINE * BATCH + CHUNK * wide + (HEIGHT + 2) * wide + 3 * lanes


@numba.njit(nogil=True, cache=True)
def _products(x_p, x_q, row, p, last, same, lanes, target, at):
    """The products of samples p to last with the others in one row of x, one sample after the other."""
    full, others = x_p.shape[1], x_q.shape[1]
    left, right = pointer(x_p), pointer(x_q)
    while p < last:
        factor, width = element(left, row * full + p), p + 1 if same else others
        for v in range(0, width, lanes):
            put_scaled(right, row * others + v, factor, target, at + v)
        at += width
        p += 1


@numba.njit(nogil=True, cache=True)
def _as_numbers(mask, rows, start, end, numbers):
    """numbers[i, s] = mask[rows[0] + i, start + s], in lines of LINE; what is in other lines does not matter."""
    count = end - start
    for i in range(rows[1] - rows[0]):
        line, source = numbers[i * LINE : i * LINE + count], mask[rows[0] + i, start:end]
        for s in range(count):
            line[s] = source[s]


@numba.njit(nogil=True, cache=True)
def _group(p, samples, others, same):
    """Samples p to last, and how many pairs they have: as many as fit in a group."""
    last, count = p, 0
    while last < samples and (last == p or count + (last + 1 if same else others) <= GROUP):
        count += last + 1 if same else others
        last += 1
    return last, count


@numba.njit(nogil=True, cache=True)
def _multiply(numbers, rows, packed, count, samples, pairs, d_p, d_q, same, lanes, rest, out):
    """One group of pairs: HEIGHT rows of numbers times packed, times the products of the deltas, added to out."""
    step = (pairs + lanes - 1) // lanes * lanes
    tile, weights, sums = rest[: HEIGHT * step], rest[HEIGHT * step :], rest[(HEIGHT + 1) * step + lanes :]
    packed_at, tile_at = pointer(packed), pointer(tile)
    weights_at, sums_at, one = pointer(weights), pointer(sums), rest.dtype.type(1)
    sums[:step] = 0
    for row in range(rows[0], rows[1], HEIGHT):
        tile[:] = 0
        left = pointer(numbers[(row - rows[0]) * LINE :])
        _products_of_rows(left, 1, HEIGHT, packed_at, step, step, count, False, lanes, tile_at, step)
        for r in range(min(HEIGHT, rows[1] - row)):
            _products(d_p, d_q, row + r, samples[0], samples[1], same, lanes, weights_at, 0)
            for v in range(0, step, lanes):
                add_spread(tile_at, r * step + v, EVERY, weights_at, v, one, sums_at, v)
    at = 0
    for p in range(samples[0], samples[1]):
        for q in range(p + 1 if same else d_q.shape[1]):
            out[p, q] += sums[at]
            at += 1


@numba.njit(nogil=True, cache=True)
def pairs_part(first, last, room, out, lanes, same, samples, mask, a_p, d_p, a_q, d_q):
    """Rows first to last added to out (block, step of q), float64. a_p: (in, samples and more), d_p likewise."""
    inputs, full, others = mask.shape[1], d_p.shape[1], d_q.shape[1]
    wide = GROUP + max(full, others)
    numbers, packed = room[: LINE * BATCH], room[LINE * BATCH :][: CHUNK * wide + lanes]
    packed_at, rest = pointer(packed), room[LINE * BATCH + CHUNK * wide + lanes :]
    for row in range(first, last, BATCH):
        rows = (row, min(row + BATCH, last))
        for start in range(0, inputs, CHUNK):
            end, p = min(start + CHUNK, inputs), 0
            _as_numbers(mask, rows, start, end, numbers)
            while p < samples:
                following, pairs = _group(p, samples, others, same)
                step = (pairs + lanes - 1) // lanes * lanes
                for j in range(start, end):
                    _products(a_p, a_q, j, p, following, same, lanes, packed_at, (j - start) * step)
                _multiply(numbers, rows, packed, end - start, (p, following), pairs, d_p, d_q, same, lanes, rest, out)
                p = following


@numba.njit(nogil=True, cache=True)
def pairs(first, last, bounds, room, out, lanes, same, samples, mask, a_p, d_p, a_q, d_q):
    """Parts first to last, each on its own: rows bounds[part] to bounds[part + 1] to out[part]."""
    for part in range(first, last):
        pairs_part(bounds[part], bounds[part + 1], room, out[part], lanes, same, samples, mask, a_p, d_p, a_q, d_q)


@numba.njit(nogil=True, cache=True, parallel=True)
def pairs_parallel(threads, bounds, rooms, out, lanes, same, samples, mask, a_p, d_p, a_q, d_q):
    """All parts, each on one thread."""
    parts = len(bounds) - 1
    for thread in numba.prange(threads):
        first, last = parts * thread // threads, parts * (thread + 1) // threads
        pairs(first, last, bounds, rooms[thread], out, lanes, same, samples, mask, a_p, d_p, a_q, d_q)
