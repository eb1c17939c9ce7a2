"""The inner loops of lttkernels.tiles: one row of one tile, times a panel of 8, 16, 32 or 64 samples.

    sums[at, :] += sum over the row's entries of value * x[offset, :]

Sums stay in registers from the first entry to the last. What counts is the number of steps for each entry: a value is
read and spread over a register once for all samples, four offsets come in one read, and `inside` makes an address that
no read has to add up again.

values: float32. offset: uint16, in bytes from the tile's start. first, last: the row's entries. x: the tile's address.
"""

import numba
import numpy as np

from lttkernels.simd import element, fma, inside, load, load_four, nth, splat, store, zeros


def _one_register(lanes):
    """sums[row] += the row's entries times x, one register wide; four sums hide the latency of each other."""

    @numba.njit(inline="always")
    def add_four(values, offset, entry, x, a, b, c, d):
        four = load_four(offset, entry)
        a = fma(splat(element(values, entry), lanes), load(inside(x, nth(four, 0)), 0, lanes), a)
        b = fma(splat(element(values, entry + 1), lanes), load(inside(x, nth(four, 1)), 0, lanes), b)
        c = fma(splat(element(values, entry + 2), lanes), load(inside(x, nth(four, 2)), 0, lanes), c)
        d = fma(splat(element(values, entry + 3), lanes), load(inside(x, nth(four, 3)), 0, lanes), d)
        return a, b, c, d

    @numba.njit(inline="always")
    def add_row(values, offset, first, last, x, sums, at):
        a, b, c, d = load(sums, at, lanes), zeros(lanes), zeros(lanes), zeros(lanes)
        entry, one = first, splat(np.float32(1), lanes)
        while entry + 7 < last:
            a, b, c, d = add_four(values, offset, entry, x, a, b, c, d)
            a, b, c, d = add_four(values, offset, entry + 4, x, a, b, c, d)
            entry += 8
        if entry + 3 < last:
            a, b, c, d = add_four(values, offset, entry, x, a, b, c, d)
            entry += 4
        while entry < last:
            near = inside(x, element(offset, entry))
            a, b = b, fma(splat(element(values, entry), lanes), load(near, 0, lanes), a)
            entry += 1
        store(sums, at, fma(fma(a, one, b), one, fma(c, one, d)))

    return add_row


@numba.njit(inline="always")
def _two(values, entry, near, a, b):
    value = splat(element(values, entry), 16)
    return fma(value, load(near, 0, 16), a), fma(value, load(near, 16, 16), b)


@numba.njit(inline="always")
def add_32(values, offset, first, last, x, sums, at):
    """Two registers wide: two pairs of sums."""
    a, b, c, d = load(sums, at, 16), load(sums, at + 16, 16), zeros(16), zeros(16)
    entry, one = first, splat(np.float32(1), 16)
    while entry + 3 < last:
        four = load_four(offset, entry)
        a, b = _two(values, entry, inside(x, nth(four, 0)), a, b)
        c, d = _two(values, entry + 1, inside(x, nth(four, 1)), c, d)
        a, b = _two(values, entry + 2, inside(x, nth(four, 2)), a, b)
        c, d = _two(values, entry + 3, inside(x, nth(four, 3)), c, d)
        entry += 4
    while entry < last:
        a, b = _two(values, entry, inside(x, element(offset, entry)), a, b)
        entry += 1
    store(sums, at, fma(a, one, c))
    store(sums, at + 16, fma(b, one, d))


@numba.njit(inline="always")
def _four(values, entry, near, a, b, c, d):
    value = splat(element(values, entry), 16)
    a, b = fma(value, load(near, 0, 16), a), fma(value, load(near, 16, 16), b)
    return a, b, fma(value, load(near, 32, 16), c), fma(value, load(near, 48, 16), d)


@numba.njit(inline="always")
def add_64(values, offset, first, last, x, sums, at):
    """Four registers wide: four sums, one for each."""
    a, b, c, d = load(sums, at, 16), load(sums, at + 16, 16), load(sums, at + 32, 16), load(sums, at + 48, 16)
    entry = first
    while entry + 3 < last:
        four = load_four(offset, entry)
        a, b, c, d = _four(values, entry, inside(x, nth(four, 0)), a, b, c, d)
        a, b, c, d = _four(values, entry + 1, inside(x, nth(four, 1)), a, b, c, d)
        a, b, c, d = _four(values, entry + 2, inside(x, nth(four, 2)), a, b, c, d)
        a, b, c, d = _four(values, entry + 3, inside(x, nth(four, 3)), a, b, c, d)
        entry += 4
    while entry < last:
        a, b, c, d = _four(values, entry, inside(x, element(offset, entry)), a, b, c, d)
        entry += 1
    store(sums, at, a)
    store(sums, at + 16, b)
    store(sums, at + 32, c)
    store(sums, at + 48, d)


add_8, add_16 = _one_register(8), _one_register(16)
