"""Each function of the vector language, called in a loop of its own and compared with numpy."""

import numba
import numpy as np
import pytest
from lttkernels.memory import aligned_empty, scratch
from lttkernels.simd import (
    element,
    fma,
    fold,
    gather,
    inside,
    load,
    load_four,
    load_indices,
    lookup,
    moved,
    nth,
    pointer,
    prefetch,
    put,
    settled,
    shifted,
    splat,
    store,
    total,
    zeros,
)


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_load_store_splat_zeros_and_fma(rng, lanes):
    @numba.njit
    def run(a, b, value, out):
        out_at = pointer(out)
        product = fma(load(pointer(a), 3, lanes), load(pointer(b), 1, lanes), splat(value, lanes))
        store(out_at, 5, product)
        store(out_at, 5 + lanes, zeros(lanes))

    a, b = rng.standard_normal((2, lanes + 3)).astype(np.float32)
    out = np.full(5 + 2 * lanes + 2, 7, np.float32)
    run(a, np.append(b, np.float32(0)), np.float32(2.5), out)
    wanted = a[3:].astype(np.float64) * b[1 : lanes + 1] + 2.5
    np.testing.assert_allclose(out[5 : 5 + lanes], wanted, rtol=1e-6, atol=1e-7)
    assert (out[5 + lanes : -2] == 0).all() and (out[:5] == 7).all() and (out[-2:] == 7).all()


def test_fma_rounds_once():
    @numba.njit
    def run(a, b, c, out):
        store(pointer(out), 0, fma(splat(a, 16), splat(b, 16), splat(c, 16)))

    out, near_one = np.empty(16, np.float32), np.float32(1 + 2**-12)
    run(near_one, near_one, np.float32(-(1 + 2**-11)), out)
    assert (out == 2**-24).all()  # rounding the product first loses it


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
def test_indices_are_unsigned_wherever_they_are_read(rng, kind):
    """Indices beyond 127 and 32,767 turn negative where a sign is seen in them."""

    @numba.njit
    def run(table, indices, out, alone):
        table_at, indices_at = pointer(table), pointer(indices)
        store(pointer(out), 0, gather(table_at, load_indices(indices_at, 1, 16)))
        for i in range(17):
            alone[i] = element(indices_at, i)

    room = min(np.iinfo(kind).max + 1, 70_000)
    table = rng.standard_normal(room).astype(np.float32)
    indices = np.append(rng.integers(room // 2, room, 16), room - 1).astype(kind)
    out, alone = np.empty(16, np.float32), np.empty(17, np.int64)
    run(table, indices, out, alone)
    np.testing.assert_array_equal(out, table[indices[1:]])
    np.testing.assert_array_equal(alone, indices)


def test_lookup_reaches_all_32_lanes(rng):
    @numba.njit
    def run(table, indices, out):
        low, high = load(pointer(table), 0, 16), load(pointer(table), 16, 16)
        for first in range(0, indices.size, 16):
            store(pointer(out), first, lookup(low, high, load_indices(pointer(indices), first, 16)))

    table, indices = rng.standard_normal(32).astype(np.float32), rng.permutation(np.arange(64) % 32).astype(np.uint8)
    out = np.empty(64, np.float32)
    run(table, indices, out)
    np.testing.assert_array_equal(out, table[indices])


def test_a_word_of_indices_is_moved_and_its_lowest_five_bits_count(rng):
    @numba.njit
    def run(table, words, out):
        low, high = load(pointer(table), 0, 16), load(pointer(table), 16, 16)
        word = load_indices(pointer(words), 0, 16)
        store(pointer(out), 0, lookup(low, high, word))
        store(pointer(out), 16, lookup(low, high, shifted(word, 5)))
        store(pointer(out), 32, lookup(low, high, shifted(shifted(word, 5), 20)))

    table, words = rng.standard_normal(32).astype(np.float32), rng.integers(0, 2**32, 16, dtype=np.uint32)
    out = np.empty(48, np.float32)
    run(table, words, out)
    np.testing.assert_array_equal(out.reshape(3, 16), table[[words % 32, words // 2**5 % 32, words // 2**25 % 32]])


def test_four_in_one_read(rng):
    @numba.njit
    def run(numbers, out):
        four = load_four(pointer(numbers), 1)
        out[0], out[1], out[2], out[3] = nth(four, 0), nth(four, 1), nth(four, 2), nth(four, 3)

    numbers, out = rng.integers(2**15, 2**16, 5).astype(np.uint16), np.empty(4, np.int64)
    run(numbers, out)
    np.testing.assert_array_equal(out, numbers[1:])


def test_addresses(rng):
    """moved and settled count numbers, inside counts bytes; a prefetch reads nothing, not even far outside."""

    @numba.njit
    def run(numbers, nothing, out):
        at = pointer(numbers)
        prefetch(at, 2**40)
        put(pointer(out), 0, element(moved(at, 3), 4))
        put(pointer(out), 1, element(settled(at, 3, nothing), 4))
        put(pointer(out), 2, element(inside(at, 12), 4))
        put(pointer(out), 3, element(inside(moved(at, 16), 60), 0))

    numbers, out = aligned_empty(32), np.empty(4, np.float32)
    numbers[:] = rng.standard_normal(32)
    run(numbers, 0, out)
    np.testing.assert_array_equal(out, numbers[[7, 7, 7, 31]])


def test_total_and_element_and_put(rng):
    @numba.njit
    def run(numbers, out):
        put(pointer(out), 1, total(load(pointer(numbers), 0, 16)))
        put(pointer(out), 2, total(load(pointer(numbers), 0, 8)))
        put(pointer(out), 3, element(pointer(numbers), 17))

    numbers, out = rng.integers(-9, 9, 18).astype(np.float32), np.full(5, 99, np.float32)
    run(numbers, out)
    assert out.tolist() == [99, numbers[:16].sum(), numbers[:8].sum(), numbers[17], 99]


@pytest.mark.parametrize("distance", [1, 2, 4, 8])
def test_fold_adds_lanes_a_distance_apart(rng, distance):
    @numba.njit
    def run(a, b, out):
        store(pointer(out), 0, fold(load(pointer(a), 0, 16), load(pointer(b), 0, 16), distance))

    a, b = rng.integers(-99, 99, (2, 16)).astype(np.float32)
    out = np.empty(16, np.float32)
    run(a, b, out)
    wanted = [b[i] + b[i ^ distance] if i & distance else a[i] + a[i ^ distance] for i in range(16)]
    assert out.tolist() == wanted


@pytest.mark.parametrize("count", [0, 1, 15, 16, 1000])
def test_scratch_is_aligned_and_kept(count):
    fresh = aligned_empty(count)
    assert fresh.shape == (count,) and (not count or fresh.ctypes.data % 64 == 0)
    first = scratch(f"test {count}", 100 + count)
    assert first.ctypes.data % 64 == 0 and first.shape == (100 + count,)
    assert scratch(f"test {count}", count + 1).ctypes.data == first.ctypes.data  # smaller: the same memory
    assert not np.shares_memory(scratch("other test", count + 1), first)
    assert scratch(f"wide test {count}", count + 1, 2**16).ctypes.data % 2**16 == 0
