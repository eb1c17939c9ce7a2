"""Each function of gram_tiles.py, called in a loop of its own and compared with numpy."""

import numba
import numpy as np
import pytest
from lttkernels.gram_tiles import add_products, add_spread, count_bits, nonzero_bits, pick, put_scaled
from lttkernels.simd import pointer

KINDS = pytest.mark.parametrize("kind", [np.float32, np.float64])


def lanes_of(kind) -> int:
    """Numbers in a register."""
    return 64 // np.dtype(kind).itemsize


@KINDS
@pytest.mark.parametrize("rows, vectors, left_row", [(4, 1, 1), (8, 1, 7), (4, 2, 1), (8, 2, 1), (4, 3, 5), (8, 3, 1)])
def test_add_products(rng, kind, rows, vectors, left_row):
    @numba.njit
    def run(left, left_step, right, count, tile):
        add_products(pointer(left), 2, left_step, left_row, pointer(right), 3, right.shape[1], count, pointer(tile), 5,
                     tile.shape[1], rows, vectors)  # fmt: skip

    count, wide = 6, vectors * lanes_of(kind)
    left_step = 9 if left_row == 1 else 1
    left = rng.integers(-9, 10, 100).astype(kind)
    right = rng.integers(-9, 10, (count, wide + 4)).astype(kind)
    before = rng.integers(-9, 10, (rows + 1, wide + 2)).astype(kind)
    for some in (count, 1, 0):
        tile = before.copy()
        run(left, left_step, right, some, tile)
        s, r = np.arange(some)[:, None], np.arange(rows)
        wanted = left[2 + s * left_step + r * left_row].T @ right.reshape(-1)[3 + s * (wide + 4) + np.arange(wide)]
        flat = before.copy().reshape(-1)
        flat[5 + r[:, None] * (wide + 2) + np.arange(wide)] += wanted
        np.testing.assert_array_equal(tile.reshape(-1), flat)


@pytest.mark.parametrize("kind, lanes", [(np.float32, 16), (np.float64, 8), (np.bool_, 16)])
def test_nonzero_bits_and_count_bits(rng, kind, lanes):
    @numba.njit
    def run(array):
        bits = nonzero_bits(pointer(array), 3, lanes)
        return bits, count_bits(bits)

    for share in (0, 0.3, 1):
        array = (rng.random(lanes + 5) < share).astype(kind)
        if kind is not np.bool_:
            array[array != 0] = rng.choice([np.nan, -1, 1e-40, np.inf], int((array != 0).sum()))
            array[array == 0] = -0.0
        bits, count = run(array)
        wanted = array[3 : 3 + lanes] != 0
        assert bits == sum(1 << lane for lane in range(lanes) if wanted[lane]) and count == wanted.sum()


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32])
def test_pick_puts_lanes_side_by_side(rng, kind):
    @numba.njit
    def run(source, bits, target):
        pick(pointer(source), 2, bits, pointer(target), 3)

    lanes = lanes_of(kind)
    for share in (0, 0.3, 0.7, 1):
        source, chosen = rng.integers(1, 99, lanes + 4).astype(kind), rng.random(lanes) < share
        target = np.full(lanes + 4, -1, kind)
        run(source, sum(1 << lane for lane in range(lanes) if chosen[lane]), target)
        picked = source[2 : 2 + lanes][chosen]
        np.testing.assert_array_equal(target[3 : 3 + picked.size], picked)
        assert (target[:3] == -1).all() and target[-1] == -1


@KINDS
def test_add_spread_puts_them_back(rng, kind):
    @numba.njit
    def run(tile, bits, weights, factor, out):
        add_spread(pointer(tile), 1, bits, pointer(weights), 2, factor, pointer(out), 3)

    lanes = lanes_of(kind)
    for share in (0, 0.3, 0.7, 1):
        tile, weights, before = (rng.integers(-9, 10, lanes + 5).astype(kind) for _ in range(3))
        chosen, out = rng.random(lanes) < share, before.copy()
        run(tile, sum(1 << lane for lane in range(lanes) if chosen[lane]), weights, kind(3), out)
        wanted = before.copy()
        wanted[3 : 3 + lanes][chosen] += 3 * weights[2 : 2 + lanes][chosen] * tile[1 : 1 + chosen.sum()]
        np.testing.assert_array_equal(out, wanted)


@KINDS
def test_put_scaled(rng, kind):
    @numba.njit
    def run(source, factor, target):
        put_scaled(pointer(source), 1, factor, pointer(target), 2)

    lanes = lanes_of(kind)
    source, target = rng.integers(-9, 10, lanes + 1).astype(kind), np.full(lanes + 3, 99, kind)
    run(source, kind(-2), target)
    assert target.tolist() == [99, 99, *(-2 * source[1:]), 99]
