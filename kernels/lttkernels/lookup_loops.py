"""The loops of lttkernels.lookup: groups of 16 rows times one sample, or times up to four that share what is read.

The arguments are the arrays of a Lookup, flat but for values (groups, blocks, slots, 16), of which the groups from first
to last are done. padded: samples as `pad` leaves them. room: 16 floats to write to, or 64 for four samples.
"""

import numba
import numpy as np

from lttkernels.simd import (
    element,
    fma,
    gather,
    load,
    load_indices,
    lookup,
    moved,
    pointer,
    prefetch,
    put,
    shifted,
    splat,
    store,
    zeros,
)

BLOCK = 32
GROUP = 16
OFFSET_BITS = 5
SLOTS_PER_WORD = 32 // OFFSET_BITS
FEW = 4
AHEAD = 512  # floats, 2 KB: a loop that asks so far ahead does not wait for the second-level cache


@numba.njit(nogil=True, cache=True)
def one_sample(first, last, values, words, rest_values, rest_indices, rest_start, rows, padded, room, bias, out):
    """out[rows] = bias[rows] + the product. out, bias: (features,)."""
    _, blocks, slots, _ = values.shape
    values_at, words_at, x_at, room_at = pointer(values), pointer(words), pointer(padded), pointer(room)
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
            prefetch(rest_values_at, place * GROUP + AHEAD)
            prefetch(rest_indices_at, place * GROUP + AHEAD)
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


@numba.njit(nogil=True, cache=True)
def four_samples(
    first, last, values, words, rest_values, rest_indices, rest_start, rows, padded, room, bias, out, samples, strides
):
    """As one_sample for `samples` of four. strides: from a row's answer to the next row's, and to the next sample's."""
    _, blocks, slots, _ = values.shape
    values_at, words_at, x_at, room_at = pointer(values), pointer(words), pointer(padded), pointer(room)
    rest_values_at, rest_indices_at = pointer(rest_values), pointer(rest_indices)
    start_at, rows_at, bias_at, out_at = pointer(rest_start), pointer(rows), pointer(bias), pointer(out)
    width = padded.size // FEW
    for group in range(first, last):
        a, b, c, d = zeros(16), zeros(16), zeros(16), zeros(16)
        at, word_at = (
            group * blocks * slots * GROUP,
            group * blocks * ((slots + SLOTS_PER_WORD - 1) // SLOTS_PER_WORD) * GROUP,
        )
        for block in range(blocks * (slots > 0)):
            near = block * BLOCK
            a_low, a_high = load(x_at, near, 16), load(x_at, near + 16, 16)
            b_low, b_high = load(x_at, near + width, 16), load(x_at, near + width + 16, 16)
            c_low, c_high = load(x_at, near + 2 * width, 16), load(x_at, near + 2 * width + 16, 16)
            d_low, d_high = load(x_at, near + 3 * width, 16), load(x_at, near + 3 * width + 16, 16)
            left = slots
            while left > 0:
                word = load_indices(words_at, word_at, 16)
                for _ in range(min(left, SLOTS_PER_WORD)):
                    value = load(values_at, at, 16)
                    prefetch(values_at, at + AHEAD)
                    a, b = fma(value, lookup(a_low, a_high, word), a), fma(value, lookup(b_low, b_high, word), b)
                    c, d = fma(value, lookup(c_low, c_high, word), c), fma(value, lookup(d_low, d_high, word), d)
                    word = shifted(word, 5)
                    at += GROUP
                word_at += GROUP
                left -= SLOTS_PER_WORD
        for place in range(element(start_at, group), element(start_at, group + 1)):
            value, indices = load(rest_values_at, place * GROUP, 16), load_indices(rest_indices_at, place * GROUP, 16)
            a, b = fma(value, gather(x_at, indices), a), fma(value, gather(moved(x_at, width), indices), b)
            c = fma(value, gather(moved(x_at, 2 * width), indices), c)
            d = fma(value, gather(moved(x_at, 3 * width), indices), d)
        store(room_at, 0, a)
        store(room_at, 16, b)
        store(room_at, 32, c)
        store(room_at, 48, d)
        for lane in range(min(GROUP, rows.size - group * GROUP)):
            row = element(rows_at, group * GROUP + lane)
            for sample in range(samples):
                answer = element(room_at, sample * GROUP + lane) + element(bias_at, row)
                put(out_at, row * strides[0] + sample * strides[1], answer)


@numba.njit(nogil=True, cache=True, fastmath={"reassoc"})
def _finite(x):
    zero = np.float32(0)
    for i in range(x.size):
        zero += x[i] * np.float32(0)
    return zero == 0


@numba.njit(nogil=True, cache=True)
def pad(x, relu, padded):
    """x, or with relu max(0, x), and zeros after it; whether all of x is finite."""
    least = np.float32(0 if relu else -np.inf)
    for i in range(x.size):
        padded[i] = max(x[i], least)
    padded[x.size :] = 0
    return _finite(x)


@numba.njit(nogil=True, cache=True)
def pad_four(x, columns, samples, by_row, padded):
    """Up to four samples one after another, zeros after each and in place of those that lack; whether all are finite.

    x: flat, (columns, samples) if by_row, else (samples, columns).
    """
    width, x_at, padded_at = padded.size // FEW, pointer(x), pointer(padded)
    to_column, to_sample = (samples, 1) if by_row else (1, columns)
    for sample in range(samples):
        for i in range(columns):
            put(padded_at, sample * width + i, element(x_at, i * to_column + sample * to_sample))
        padded[sample * width + columns : (sample + 1) * width] = 0
    padded[samples * width :] = 0
    return _finite(x)
