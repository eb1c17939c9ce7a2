"""A network in one call: against dense layers in float64, threads, rows without weights, numbers that are not finite."""

import itertools

import numpy as np
import pytest
from drawn_layers import few
from hypothesis import given
from hypothesis import strategies as st
from lttkernels.condensed import Condensed
from lttkernels.lookup_chain import make_chain, multiply_chain
from lttkernels.threads import set_threads


def network(draw, sizes):
    """Layers with random patterns, some rows of each without weights: (weights in float64, Condensed, biases)."""
    weights, layers, biases = [], [], []
    for inputs, outputs in itertools.pairwise(sizes):
        rows = np.flatnonzero(draw.random(outputs) < 0.8).astype(np.uint32)
        fan_in = int(draw.integers(0, inputs + 1))
        indices = np.sort(draw.random((len(rows), inputs)).argsort(1)[:, :fan_in], 1).astype(np.uint16)
        values = draw.integers(-3, 4, indices.shape).astype(np.float32)
        weight = np.zeros((outputs, inputs))
        weight[rows[:, None], indices] = values
        weights.append(weight)
        layers.append(Condensed(values, indices, rows, (outputs, inputs)))
        biases.append(draw.integers(-3, 4, outputs).astype(np.float32))
    return weights, layers, biases


def chain_of(layers, biases):
    return make_chain([layer.lookup for layer in layers], biases)


@few
@given(st.lists(st.integers(1, 90), min_size=2, max_size=5), st.integers(1, 2), st.integers(0, 999))
def test_against_dense(sizes, threads, seed):
    draw = np.random.default_rng(seed)
    weights, layers, biases = network(draw, sizes)
    chain = chain_of(layers, biases)
    set_threads(threads)
    for _ in range(2):  # the second finds what the first left in scratch memory
        x = draw.integers(-3, 4, sizes[0]).astype(np.float32)
        expected = x.astype(float)
        for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            expected = weight @ (np.maximum(expected, 0) if i else expected) + bias
        out = np.full(sizes[-1], np.nan, np.float32)
        assert multiply_chain(chain, x, out)
        np.testing.assert_allclose(out, expected, rtol=1e-5)
    set_threads(1)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_told(bad, threads):
    _, layers, biases = network(np.random.default_rng(0), (9, 8, 7))
    set_threads(threads)
    x, out = np.ones(9, np.float32), np.empty(7, np.float32)
    assert multiply_chain(chain_of(layers, biases), x, out)
    x[4] = bad
    assert not multiply_chain(chain_of(layers, biases), x, out)
    biases[0][3] = bad  # on the way: a row without weights hands its bias on
    assert not multiply_chain(chain_of(layers, biases), np.ones(9, np.float32), out)
    set_threads(1)


def test_bad_arguments():
    _, layers, biases = network(np.random.default_rng(0), (9, 8, 7))
    chain = chain_of(layers, biases)
    with pytest.raises(ValueError, match=r"x.shape = \(8,\): expected \(9\)"):
        multiply_chain(chain, np.ones(8, np.float32), np.ones(7, np.float32))
    with pytest.raises(ValueError, match=r"out.shape = \(8,\): expected \(7\)"):
        multiply_chain(chain, np.ones(9, np.float32), np.ones(8, np.float32))
    with pytest.raises(TypeError, match=r"x\.dtype = float64"):
        multiply_chain(chain, np.ones(9), np.ones(7, np.float32))
