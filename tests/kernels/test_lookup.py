"""The kernel for a few samples: what goes to slots, what to gathers, and when it declines."""

import numpy as np
import pytest
from drawn_layers import few, rows_of, uneven, whole_numbers
from hypothesis import given
from hypothesis import strategies as st
from lttkernels.lookup import make_lookup, multiply_few
from lttkernels.lookup_loops import BLOCK, FEW, GROUP, OFFSET_BITS, SLOTS_PER_WORD
from lttkernels.memory import scratch
from lttkernels.simd import HAS_AVX512
from lttkernels.threads import set_threads


def packed_layer(weight, mask, slots, rows=None):
    """A Lookup of the masked weight."""
    indptr, indices = rows_of(mask)
    return make_lookup(indptr, indices, weight[mask], weight.shape, slots, rows)


def dense_weight(packed) -> np.ndarray:
    """The matrix that a Lookup stands for, entry by entry."""
    groups, blocks = packed.values.shape[:2]
    found = np.zeros((groups * GROUP, (blocks + 1) * BLOCK))
    for group, block, slot, lane in np.ndindex(packed.values.shape):
        word = int(packed.words[group, block, slot // SLOTS_PER_WORD, lane])
        column = block * BLOCK + (word >> slot % SLOTS_PER_WORD * OFFSET_BITS) % BLOCK
        found[group * GROUP + lane, column] += packed.values[group, block, slot, lane]
    for group in range(groups):
        for place in range(int(packed.rest_start[group]), int(packed.rest_start[group + 1])):
            for lane in range(GROUP):
                found[group * GROUP + lane, packed.rest_indices[place, lane]] += packed.rest_values[place, lane]
    assert not found[:, blocks * BLOCK :].any() and not found[packed.shape[0] :].any()
    weight = np.empty(packed.shape)
    weight[packed.rows] = found[: packed.shape[0], : packed.shape[1]]
    return weight


@pytest.mark.parametrize("slots", [None, 0, 1, 3, 6, 7, 13, 32])
@pytest.mark.parametrize("shape", [(1, 1), (16, 32), (17, 33), (50, 300)])
def test_every_entry_is_packed_once(rng, shape, slots):
    weight, mask = whole_numbers(rng, shape), uneven(rng, *shape)
    packed = packed_layer(weight, mask, slots)
    np.testing.assert_array_equal(dense_weight(packed), np.where(mask, weight, 0))
    assert all(part.ctypes.data % 64 == 0 for part in (packed.values, packed.words, packed.rest_values) if part.size)
    assert sorted(packed.rows) == list(range(shape[0]))
    if slots is not None:
        assert packed.values.shape == (-(-shape[0] // 16), -(-shape[1] // 32), slots, 16)


@pytest.mark.parametrize(
    "row, slots, rest",
    [([0, 1, 2, 40], 0, 4), ([0, 1, 2, 40], 1, 2), ([0, 1, 2, 40], 2, 1), ([0, 1, 2, 40], 3, 0), ([31, 32, 63], 1, 1)],
)
def test_overflow_by_hand(row, slots, rest):
    mask = np.zeros((1, 64), bool)
    mask[0, row] = True
    assert len(packed_layer(np.ones((1, 64), np.float32), mask, slots).rest_values) == rest


@pytest.mark.skipif(not HAS_AVX512, reason="without AVX-512 nothing is faster than plain reads: no slots")
def test_slots_are_chosen_by_the_work_they_save(rng):
    """By hand: 4 in each of 8 blocks is work 8 * (4 + 1) in slots and 2 * 32 in gathers; a single entry is a gather."""
    regular = np.zeros((32, 256), bool)
    regular.reshape(32, 8, 32)[:, :, :4] = True
    assert packed_layer(np.ones((32, 256), np.float32), regular, None).values.shape[2] == 4
    single = np.zeros((32, 256), bool)
    single[np.arange(32), rng.integers(0, 256, 32)] = True
    assert packed_layer(np.ones((32, 256), np.float32), single, None).values.shape[2] == 0


@pytest.mark.skipif(not HAS_AVX512, reason="without AVX-512 nothing is faster than plain reads: no slots")
def test_a_few_samples_want_more_slots():
    """By hand: one entry in 3 of 8 blocks is work 8 * 2 in slots, 2 * 3 in gathers for one sample, 6 * 3 for a few."""
    mask = np.zeros((32, 256), bool)
    mask[:, [0, 100, 200]] = True
    indptr, indices = rows_of(mask)
    slots = [
        make_lookup(indptr, indices, np.ones(96, np.float32), mask.shape, samples=samples).values.shape[2]
        for samples in (1, FEW)
    ]
    assert slots == [0, 1]


def test_rows_with_like_rests_share_a_group():
    """By hand: every other of 32 rows has two entries beyond its slot. In the order of rows both groups would gather."""
    mask = np.zeros((32, 64), bool)
    mask[:, 0] = mask[1::2, 1:3] = True
    packed = packed_layer(np.ones((32, 64), np.float32), mask, 1)
    assert packed.rest_start.tolist() == [0, 0, 2]
    assert packed.rows.tolist() == [*range(0, 32, 2), *range(1, 32, 2)]


@few
@given(
    st.integers(0, 50),
    st.sampled_from([1, 31, 32, 33, 100, 224, 225, 300]),
    st.sampled_from([None, 0, 1, 5, 6, 9]),
    st.integers(0, 99),
    st.sampled_from([1, 2, 5]),
    st.integers(1, FEW),
    st.booleans(),
)
def test_product_with_a_few_samples(count, inputs, slots, seed, spread, samples, by_row):
    """Rows of the product go to some places of out, side by side or apart; the rest of out stays as it was."""
    rng = np.random.default_rng(seed)
    weight, mask = whole_numbers(rng, (count, inputs)), uneven(rng, count, inputs)
    rows = np.sort(rng.choice(count * spread, count, replace=False)).astype(np.uint32)
    x, bias = whole_numbers(rng, (samples, inputs)), whole_numbers(rng, count * spread)
    out = np.full((count * spread, samples) if by_row else (samples, count * spread), -77, np.float32)
    set_threads(2 if inputs > 256 else 1)
    scratch("few samples", 4000)[:] = np.nan  # what an earlier call may have left
    packed = packed_layer(weight, mask, slots, rows)
    assert multiply_few(packed, np.ascontiguousarray(x.T) if by_row else x, bias, out, by_row=by_row)
    wanted = np.full((samples, count * spread), -77.0)
    wanted[:, rows] = x.astype(np.float64) @ np.where(mask, weight, 0).T + bias[rows]
    np.testing.assert_array_equal(out.T if by_row else out, wanted)


def test_more_than_16_bit_of_inputs(rng):
    """The place after the last input, where empty places of the rest point, needs 32 bits."""
    weight, mask = whole_numbers(rng, (17, 65_536)), np.zeros((17, 65_536), bool)
    mask[:9, -3:] = True
    packed = packed_layer(weight, mask, 0)
    assert packed.rest_indices.dtype == np.uint32
    x, out = whole_numbers(rng, (1, 65_536)), np.empty((1, 17), np.float32)
    assert multiply_few(packed, x, np.zeros(17, np.float32), out)
    np.testing.assert_array_equal(out, x @ np.where(mask, weight, 0).T)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (0, 299), (2, 299)])
def test_declines_what_is_not_finite(rng, place, odd, threads):
    """Its empty places multiply 0 by inputs: the caller must take another way, and out is untouched."""
    set_threads(threads)
    packed = packed_layer(whole_numbers(rng, (40, 300)), rng.random((40, 300)) < 0.1, None)
    samples = place[0] + 1
    x, out = whole_numbers(rng, (samples, 300)), np.full((samples, 40), -77, np.float32)
    x[place] = odd
    assert not multiply_few(packed, x, np.ones(40, np.float32), out)
    assert (out == -77).all()


def test_large_inputs_are_finite(rng):
    """Finite, though their sum is not."""
    packed = packed_layer(np.ones((1, 40), np.float32), np.eye(1, 40, dtype=bool), None)
    for samples in (1, 2):
        x, out = np.full((samples, 40), 3e38, np.float32), np.empty((samples, 1), np.float32)
        assert multiply_few(packed, x, np.zeros(1, np.float32), out) and (out == x[:, :1]).all()
