"""The plain loop for rows with few weights: its answers, what it does not read, and where condensed_linear takes it."""

import numpy as np
import pytest
from drawn_layers import few, whole_numbers
from hypothesis import given
from hypothesis import strategies as st
from lttkernels import condensed as condensed_module
from lttkernels.arguments import index_type
from lttkernels.condensed import Condensed, condensed_linear
from lttkernels.short_rows import LONGEST, fits, multiply_short_rows
from lttkernels.threads import set_threads


def layer(rng, n, features, inputs, fan_in) -> Condensed:
    """n of the features survive, each with fan_in inputs."""
    indices = rng.random((n, inputs)).argsort(1)[:, :fan_in].astype(index_type(inputs))
    rows = np.sort(rng.choice(features, n, replace=False)).astype(np.uint32)
    return Condensed(whole_numbers(rng, (n, fan_in)), indices, rows, (features, inputs))


def dense(condensed: Condensed) -> np.ndarray:
    """The layer's weight (out, in), float64."""
    weight = np.zeros(condensed.shape)
    weight[condensed.rows[:, None], condensed.indices] = condensed.values
    return weight


def test_batches_that_fit():
    assert [batch for batch in range(260) if fits(batch)] == [2, 4, 8, 16, 32, 64, 128, 192, 256]


@few
@given(
    st.sampled_from([batch for batch in range(200) if fits(batch)]),
    st.integers(0, 40),
    st.sampled_from([1, 5, 40, 300, 70_000]),
    st.integers(0, 60),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_against_the_dense_layer(batch, n, inputs, fan_in, threads, seed):
    """Also with one-, two- and four-byte indices; rows that do not survive stay as they were."""
    rng = np.random.default_rng(seed)
    drawn = layer(rng, n, n + 3, inputs, min(fan_in, inputs))
    x, bias = whole_numbers(rng, (inputs, batch)), whole_numbers(rng, n + 3)
    out = np.full((n + 3, batch), -77, np.float32)
    set_threads(threads)
    multiply_short_rows(drawn.values, drawn.indices, drawn.rows, bias, x, out)
    wanted = np.full(out.shape, -77.0)
    wanted[drawn.rows] = (dense(drawn) @ x + bias[:, None])[drawn.rows]
    np.testing.assert_array_equal(out, wanted)


def test_what_no_row_reads_does_not_matter(rng):
    drawn = layer(rng, 20, 20, 50, 3)
    x = whole_numbers(rng, (50, 8))
    unread = np.setdiff1d(np.arange(50), drawn.indices)
    expected = condensed_linear(x, drawn, transposed=True)
    x[unread] = np.nan
    assert len(unread) and np.array_equal(condensed_linear(x, drawn, transposed=True), expected)


@pytest.mark.parametrize(
    "fan_in, batch, transposed, taken",
    [(LONGEST, 8, True, True), (LONGEST + 1, 8, True, False), (3, 192, True, True), (3, 9, True, False), (3, 96, True, False), (3, 8, False, False), (3, 1, True, False)],
)  # fmt: skip
def test_where_it_is_taken(rng, monkeypatch, fan_in, batch, transposed, taken):
    calls = []
    monkeypatch.setattr(
        condensed_module, "multiply_short_rows", lambda *what: calls.append(1) or multiply_short_rows(*what)
    )
    drawn = layer(rng, 20, 24, 100, fan_in)
    x = whole_numbers(rng, (100, batch) if transposed else (batch, 100))
    found = condensed_linear(x, drawn, transposed=transposed)
    np.testing.assert_array_equal(found if transposed else found.T, dense(drawn) @ (x if transposed else x.T))
    assert bool(calls) == taken
