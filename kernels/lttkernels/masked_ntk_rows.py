"""The loops of masked_ntk.py by rows: for each output a Gram matrix over the inputs that it reads, added up.

    kernel[p, q] += deltas[i, p] * deltas[i, q] * sum over j in S_i of activations[j, p] * activations[j, q]

Everything is transposed here, samples side by side: that is how registers want them. A sample whose delta is 0 (its
ReLU is off) takes no part in row i, so the others are packed close together first: half of the samples are a quarter of
the products. Samples come in blocks, and inputs in chunks, so that what is packed stays in the cache.
"""

import numba
import numpy as np

from lttkernels.gram_tiles import add_products, add_spread, count_bits, nonzero_bits, pick
from lttkernels.simd import element, pointer

CHUNK = 128  # inputs packed at a time
FLUSH = 64  # rows whose sums are kept in the given precision, before they are added in double precision
HEIGHT = 8  # rows of a tile that is held in registers


@numba.njit(nogil=True, cache=True)
def rows_room(block, lanes):
    """How many numbers of scratch memory a thread needs for blocks of `block` samples, a multiple of lanes."""
    return 2 * (CHUNK * block + lanes) + 2 * block * block + lanes


def make_tile_products(between: int):
    """tile_products for a left side whose numbers of one s are `between` apart, a constant of the code."""

    @numba.njit(nogil=True, cache=True)
    def tile_products(left, left_step, rows, right, right_step, columns, count, triangle, lanes, tile, step):
        """tile[r, c] += sum over s < count of left[s, r] * right[s, c]; triangle: at least where c <= r. Pointers.

        Rows are filled up to four, columns to whole registers: what is read and written beyond them must be there.
        """
        r = 0
        while r < rows:
            tall, at = rows - r > 4, r * between
            vectors, v = ((min(r + HEIGHT, columns) if triangle else columns) + lanes - 1) // lanes, 0
            while v < vectors:
                here, to, more = v * lanes, r * step + v * lanes, vectors - v
                if more == 3 or more > 4:
                    if tall:
                        add_products(left, at, left_step, between, right, here, right_step, count, tile, to, step, 8, 3)
                    else:
                        add_products(left, at, left_step, between, right, here, right_step, count, tile, to, step, 4, 3)
                    v += 3
                elif more > 1:
                    if tall:
                        add_products(left, at, left_step, between, right, here, right_step, count, tile, to, step, 8, 2)
                    else:
                        add_products(left, at, left_step, between, right, here, right_step, count, tile, to, step, 4, 2)
                    v += 2
                else:
                    if tall:
                        add_products(left, at, left_step, between, right, here, right_step, count, tile, to, step, 8, 1)
                    else:
                        add_products(left, at, left_step, between, right, here, right_step, count, tile, to, step, 4, 1)
                    v += 1
            r += HEIGHT

    return tile_products


tile_products = make_tile_products(1)


@numba.njit(nogil=True, cache=True)
def _survivors(mask, i, dead, inputs, counting, found):
    """The inputs that row i reads, or those that it does not, into found (inputs,); returns their number."""
    mask_at, counting_at, found_at = pointer(mask), pointer(counting), pointer(found)
    first, count, j, other = i * inputs, 0, 0, 0xFFFF if dead else 0
    while j + 16 <= inputs:
        bits = nonzero_bits(mask_at, first + j, 16) ^ other
        pick(counting_at, j, bits, found_at, count)
        count += count_bits(bits)
        j += 16
    while j < inputs:
        if mask[i, j] != dead:
            found[count] = j
            count += 1
        j += 1
    return count


@numba.njit(nogil=True, cache=True)
def _active(deltas, i, bits, before, lanes, names):
    """Which samples have a delta in row i: bits and, for each register, how many come before; names: their numbers."""
    deltas_at, step, count = pointer(deltas), deltas.shape[1], 0
    for v in range(step // lanes):
        if lanes == 16:
            found = nonzero_bits(deltas_at, i * step + v * lanes, 16)
        else:
            found = nonzero_bits(deltas_at, i * step + v * lanes, 8)
        bits[v], before[v] = found, count
        for lane in range(lanes):
            names[np.uint64(count)] = v * lanes + lane
            count += found >> lane & 1  # no branch: none could be foreseen
    return count


@numba.njit(nogil=True, cache=True)
def _pack(activations, live, first, last, bits, before, lanes, packed, step):
    """The active samples' activations at live[first:last], close together, `step` numbers for each input."""
    source, full, at = pointer(activations), activations.shape[1], 0
    for s in range(first, last):
        j = np.int64(live[np.uint64(s)])
        for v in range(bits.size):
            pick(source, j * full + v * lanes, bits[np.uint64(v)], packed, at + before[np.uint64(v)])
        at += step


@numba.njit(nogil=True, cache=True)
def _add_row(tile, rows, step, names_p, d_p, i, full, bits_q, before_q, d_q, others, same, sign, lanes, sums):
    """sums[p, q] += sign * d_p[i, p] * d_q[i, q] * tile, back at the places of the active samples."""
    for r in range(rows):
        p = names_p[np.uint64(r)]
        factor = sign * element(d_p, i * full + p)
        for v in range(p // lanes + 1 if same else bits_q.size):
            at, bits = r * step + before_q[np.uint64(v)], bits_q[np.uint64(v)]
            add_spread(tile, at, bits, d_q, i * others + v * lanes, factor, sums, p * others + v * lanes)


@numba.njit(nogil=True, cache=True)
def rows_part(first, last, room, out, lanes, same, mask, live, counting, a_p, d_p, a_q, d_q):
    """Rows first to last added to out (block, step of q), float64. a_p: (in, samples), d_p: (out, samples), and of q."""
    inputs, full, others = mask.shape[1], d_p.shape[1], d_q.shape[1]
    block, registers = max(full, others), max(full, others) // lanes
    packed = CHUNK * block + lanes
    packed_p, packed_q, rest = room[:packed], room[packed : 2 * packed], room[2 * packed :]
    sums, tile = rest[: full * others], rest[block * block :]
    found, names = np.empty(inputs, np.int32), np.empty((2, block + 1), np.int64)
    bits, before = np.empty((2, registers), np.int64), np.empty((2, registers), np.int64)
    bits_p, before_p, names_p = bits[0, : full // lanes], before[0], names[0]
    other = 0 if same else 1
    bits_q, before_q = bits[other, : others // lanes], before[other]
    p_at, q_at, tile_at, sums_at = pointer(packed_p), pointer(packed_q), pointer(tile), pointer(sums)
    d_p_at, d_q_at = pointer(d_p), pointer(d_q)
    sums[:], waiting = 0, 0
    for i in range(first, last):
        dead = 2 * live[i] > inputs
        work = inputs - live[i] if dead else live[i]
        rows = _active(d_p, i, bits_p, before_p, lanes, names_p)
        columns = rows if same else _active(d_q, i, bits_q, before_q, lanes, names[1])
        if work == 0 or rows == 0 or columns == 0:
            continue
        step_p, step = (rows + lanes - 1) // lanes * lanes, (columns + lanes - 1) // lanes * lanes
        _survivors(mask, i, dead, inputs, counting, found)
        tile[: rows * step] = 0
        for start in range(0, work, CHUNK):
            end = min(start + CHUNK, work)
            _pack(a_p, found, start, end, bits_p, before_p, lanes, p_at, step_p)
            if same:
                tile_products(p_at, step_p, rows, p_at, step, columns, end - start, True, lanes, tile_at, step)
            else:
                _pack(a_q, found, start, end, bits_q, before_q, lanes, q_at, step)
                tile_products(p_at, step_p, rows, q_at, step, columns, end - start, False, lanes, tile_at, step)
        sign = room.dtype.type(-1 if dead else 1)
        _add_row(
            tile_at, rows, step, names_p, d_p_at, i, full, bits_q, before_q, d_q_at, others, same, sign, lanes, sums_at
        )
        waiting += 1
        if waiting == FLUSH:
            _flush(sums, out)
            waiting = 0
    _flush(sums, out)


@numba.njit(nogil=True, cache=True)
def _flush(sums, out):
    """Add sums, in the given precision, to out, in double, and begin anew."""
    flat = out.reshape(-1)
    for at in range(sums.size):
        flat[np.uint64(at)] += sums[np.uint64(at)]
        sums[np.uint64(at)] = 0


@numba.njit(nogil=True, cache=True)
def rows(first, last, bounds, room, out, lanes, same, mask, live, counting, a_p, d_p, a_q, d_q):
    """Parts first to last, each on its own: rows bounds[part] to bounds[part + 1] to out[part]."""
    for part in range(first, last):
        rows_part(
            bounds[part], bounds[part + 1], room, out[part], lanes, same, mask, live, counting, a_p, d_p, a_q, d_q
        )


@numba.njit(nogil=True, cache=True, parallel=True)
def rows_parallel(threads, bounds, rooms, out, lanes, same, mask, live, counting, a_p, d_p, a_q, d_q):
    """All parts, each on one thread."""
    parts = len(bounds) - 1
    for thread in numba.prange(threads):
        first, last = parts * thread // threads, parts * (thread + 1) // threads
        rows(first, last, bounds, rooms[thread], out, lanes, same, mask, live, counting, a_p, d_p, a_q, d_q)


@numba.njit(nogil=True, cache=True)
def gram_part(first, last, room, out, lanes, same, x_p, x_q):
    """out[p, q] += sum over s from first to last of x_p[s, p] * x_q[s, q]; where same is True at least for q <= p."""
    full, others = x_p.shape[1], x_q.shape[1]
    tile, step = room[: full * others], CHUNK
    for start in range(first, last, step):
        tile[:] = 0
        end = min(start + step, last)
        tile_products(pointer(x_p[start:]), full, full, pointer(x_q[start:]), others, others, end - start, same, lanes,
                      pointer(tile), others)  # fmt: skip
        _flush(tile, out)


@numba.njit(nogil=True, cache=True)
def gram(first, last, bounds, room, out, lanes, same, x_p, x_q):
    """Parts first to last, each on its own: rows bounds[part] to bounds[part + 1] to out[part]."""
    for part in range(first, last):
        gram_part(bounds[part], bounds[part + 1], room, out[part], lanes, same, x_p, x_q)


@numba.njit(nogil=True, cache=True, parallel=True)
def gram_parallel(threads, bounds, rooms, out, lanes, same, x_p, x_q):
    """All parts, each on one thread."""
    parts = len(bounds) - 1
    for thread in numba.prange(threads):
        first, last = parts * thread // threads, parts * (thread + 1) // threads
        gram(first, last, bounds, rooms[thread], out, lanes, same, x_p, x_q)
