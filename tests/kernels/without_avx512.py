"""Run with NUMBA_CPU_NAME=generic: kernels for the oldest processor of this kind, which has no gather and no lookup."""

import numba
import numpy as np
from drawn_layers import rows_of, whole_numbers
from lttkernels import gram_tiles, lookup, simd
from lttkernels.gram_tiles import add_products, add_spread, nonzero_bits, pick
from lttkernels.panels import WIDTHS
from lttkernels.simd import gather, load, load_indices, pointer, store
from lttkernels.tiles import TiledPattern


@numba.njit
def look_up(table, narrow, wide, out):
    low, high = load(pointer(table), 0, 16), load(pointer(table), 16, 16)
    store(pointer(out), 0, simd.lookup(low, high, load_indices(pointer(narrow), 0, 16)))
    store(pointer(out), 16, gather(pointer(table), load_indices(pointer(wide), 0, 16)))


@numba.njit
def through_bits(numbers, chosen, packed, ones, spread, tile):
    """Pick what is chosen of 16 numbers, put it back, and multiply all with all."""
    bits = nonzero_bits(pointer(chosen), 0, 16)
    pick(pointer(numbers), 0, bits, pointer(packed), 0)
    add_spread(pointer(packed), 0, bits, pointer(ones), 0, np.float32(1), pointer(spread), 0)
    add_products(pointer(numbers), 0, 16, 1, pointer(numbers), 0, 16, 2, pointer(tile), 0, 16, 8, 1)


def main() -> None:
    assert not simd.HAS_AVX512 and not lookup.HAS_AVX512 and not gram_tiles.HAS_AVX512
    rng = np.random.default_rng(0)
    table, out = whole_numbers(rng, 300, 99), np.empty(32, np.float32)
    narrow, wide = rng.permutation(32).astype(np.uint8), rng.integers(128, 300, 16).astype(np.uint16)
    look_up(table, narrow, wide, out)
    np.testing.assert_array_equal(out[:16], table[narrow[:16]])
    np.testing.assert_array_equal(out[16:], table[wide])

    weight, mask = whole_numbers(rng, (40, 300)), rng.random((40, 300)) < 0.2
    x, rows, bias = whole_numbers(rng, (3, 300)), np.arange(40, dtype=np.uint32), whole_numbers(rng, 40)
    indptr, indices = rows_of(mask)
    for slots, expected in ((None, 0), (2, 2), (9, 9)):  # by itself it chooses no slots
        packed = lookup.make_lookup(indptr, indices, weight[mask], weight.shape, slots, rows)
        assert packed.values.shape[2] == expected
        for samples in (1, 3):
            found = np.empty((samples, 40), np.float32)
            assert lookup.multiply_few(packed, x[:samples], bias, found)
            np.testing.assert_array_equal(found, x[:samples] @ np.where(mask, weight, 0).T + bias)
    assert TiledPattern(indptr, indices, weight.shape).tiles(WIDTHS[0]).source.size == mask.sum()

    numbers, chosen = whole_numbers(rng, (2, 16), 99), rng.random(16) < 0.5
    packed, spread, tile = (np.zeros(shape, np.float32) for shape in (16, 16, (8, 16)))
    through_bits(numbers, chosen, packed, np.ones(16, np.float32), spread, tile)
    np.testing.assert_array_equal(packed[: chosen.sum()], numbers[0, chosen])
    np.testing.assert_array_equal(spread, np.where(chosen, numbers[0], 0))
    np.testing.assert_array_equal(tile, numbers[:, :8].T @ numbers)
    print("answers without AVX-512")


if __name__ == "__main__":
    main()
