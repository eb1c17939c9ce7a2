"""Bytes, FLOPs and energy: a table worked by hand, real arrays counted, invariants, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from lttlib.budgets import (
    BERT_HOURS_IN_TEXT,
    STRUBELL,
    bitmap_bytes,
    break_even_density,
    condensed_bytes,
    csr_bytes,
    dense_bytes,
    flops,
    strubell_energy,
)


def test_bytes_by_hand():  # 1000 x 1000, 100,000 live, float32 values, int32 indices
    assert dense_bytes(1000, 1000) == 1000 * 1000 * 4 == 4_000_000
    assert csr_bytes(1000, 1000, 100_000) == 100_000 * (4 + 4) + 1001 * 4 == 804_004
    assert bitmap_bytes(1000, 1000, 100_000) == 100_000 * 4 + 1_000_000 // 8 == 525_000
    assert condensed_bytes(1000, 1000, 100) == 100_000 * (4 + 4) == 800_000
    assert flops(100_000) == 200_000


def test_small_layer_by_hand():  # 3 x 6, two live in every row
    assert dense_bytes(3, 6) == 72
    assert csr_bytes(3, 6, 6) == 6 * 8 + 4 * 4 == 64
    assert condensed_bytes(3, 6, 2) == 48
    assert condensed_bytes(3, 6, 2, index_bytes=2) == 36
    assert bitmap_bytes(3, 6, 6) == 24 + 3  # 18 bits fill three bytes


@pytest.mark.parametrize("value_bytes, expected", [(4, 0.4995), (2, 0.3327), (1, 0.1992)])  # solved by hand
def test_break_even_by_hand(value_bytes, expected):
    assert break_even_density(value_bytes, 4) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("shape", [(1, 1), (3, 6), (37, 101), (129, 64)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int8])
def test_real_arrays_take_these_bytes(shape, dtype):
    rng = np.random.default_rng(0)
    weight = rng.integers(1, 9, shape).astype(dtype) * (rng.random(shape) < 0.3)
    live, value_bytes = np.count_nonzero(weight), weight.itemsize
    csr = sparse.csr_matrix(weight)  # int32 indices and pointers
    assert csr.data.nbytes + csr.indices.nbytes + csr.indptr.nbytes == csr_bytes(*shape, live, value_bytes=value_bytes)
    bits = np.packbits(weight != 0)
    assert weight[weight != 0].nbytes + bits.nbytes == bitmap_bytes(*shape, live, value_bytes=value_bytes)
    assert weight.nbytes == dense_bytes(*shape, value_bytes=value_bytes)


def test_real_condensed_arrays_take_these_bytes():
    values, indices = np.zeros((37, 5), np.float16), np.zeros((37, 5), np.uint16)
    assert values.nbytes + indices.nbytes == condensed_bytes(37, 101, 5, value_bytes=2, index_bytes=2)


sizes = st.integers(1, 300)
widths = st.sampled_from([2, 4, 8])


@given(sizes, sizes, widths, widths)
def test_csr_crosses_dense_at_the_break_even_density(rows, columns, value_bytes, index_bytes):
    widths = {"value_bytes": value_bytes, "index_bytes": index_bytes}
    dense, cells = dense_bytes(rows, columns, value_bytes=value_bytes), rows * columns
    density = break_even_density(**widths, rows=rows, columns=columns)
    below, above = int(density * cells - 1e-6), int(density * cells + 1 + 1e-6)
    if density > 0:
        assert csr_bytes(rows, columns, below, **widths) <= dense
    if above <= cells:
        assert csr_bytes(rows, columns, above, **widths) > dense


@given(sizes, sizes, st.data(), widths, widths)
def test_one_more_weight_costs_its_value_and_its_index(rows, columns, data, value_bytes, index_bytes):
    live = data.draw(st.integers(0, rows * columns - 1))
    before, after = (
        csr_bytes(rows, columns, count, value_bytes=value_bytes, index_bytes=index_bytes) for count in (live, live + 1)
    )
    assert after - before == value_bytes + index_bytes
    before, after = (bitmap_bytes(rows, columns, count, value_bytes=value_bytes) for count in (live, live + 1))
    assert after - before == value_bytes


@given(sizes, sizes, st.data())
def test_condensed_is_csr_without_pointers(rows, columns, data):
    fan_in = data.draw(st.integers(0, columns))
    assert condensed_bytes(rows, columns, fan_in) == csr_bytes(rows, columns, rows * fan_in) - 4 * (rows + 1)


def test_strubell_table_reproduces_but_for_the_rounded_hours():
    for run in STRUBELL:
        if run.watts is None:
            assert run.kwh is None and run.co2_pounds is None
            continue
        kwh, pounds = strubell_energy(run.watts, run.hours)
        if run.model == "BERT base":
            assert (round(kwh), round(pounds)) == (1503, 1434) != (run.kwh, run.co2_pounds)
            kwh, pounds = strubell_energy(run.watts, BERT_HOURS_IN_TEXT)
        assert (round(kwh), round(pounds)) == (run.kwh, run.co2_pounds)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: dense_bytes(0, 5), ("rows", "0", "1 or more")),
        (lambda: dense_bytes(5, 2.5), ("columns", "2.5", "whole number")),
        (lambda: dense_bytes(5, True), ("columns", "True", "whole number")),
        (lambda: csr_bytes(10, 10, 0.1), ("live", "0.1", "multiply by the number of weights")),
        (lambda: csr_bytes(10, 10, 101), ("live", "101", "100")),
        (lambda: csr_bytes(10, 10, -1), ("live", "-1", "0 or more")),
        (lambda: csr_bytes(10, 10, 5, value_bytes=0), ("value_bytes", "0", "1 or more")),
        (lambda: csr_bytes(10, 70_000, 5, index_bytes=2), ("index_bytes", "2", "69999", "wider")),
        (lambda: csr_bytes(1000, 1000, 65_536, pointer_bytes=2), ("pointer_bytes", "2", "65536", "wider")),
        (lambda: condensed_bytes(10, 10, 11), ("fan_in", "11", "10")),
        (lambda: break_even_density(4, 0), ("index_bytes", "0", "1 or more")),
        (lambda: flops(10, batch=0), ("batch", "0", "1 or more")),
        (lambda: strubell_energy(None, 96), ("watts", "None", "finite")),
        (lambda: strubell_energy(100, float("nan")), ("hours", "nan", "finite")),
        (lambda: strubell_energy(-1, 1), ("watts", "-1", "0 or more")),
    ],
)
def test_errors_name_argument_value_and_remedy(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_numpy_integers_do_not_overflow():
    assert dense_bytes(np.int32(100_000), np.int32(100_000)) == 4 * 10**10
