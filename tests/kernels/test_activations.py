"""Bias and activation in one pass: against math.erf in double precision, in place and not, on any number of threads."""

from math import erf, exp, pi, sqrt

import numpy as np
import pytest
from drawn_layers import assert_one_line_error
from lttkernels.activations import ACTIVATIONS, activate, activate_gradient
from lttkernels.threads import set_threads

NAMES = pytest.mark.parametrize("name", ACTIVATIONS)


def value(name: str, x: float) -> float:
    """The activation in double precision."""
    return max(x, 0.0) if name == "relu" else x * (1 + erf(x / sqrt(2))) / 2


def slope(name: str, x: float) -> float:
    """Its derivative, 0 at 0 for the ReLU."""
    return float(x > 0) if name == "relu" else (1 + erf(x / sqrt(2))) / 2 + x * exp(-x * x / 2) / sqrt(2 * pi)


def test_by_hand():
    """h + bias = -1, 0, 2: Phi(-1) = .158655, Phi(2) = .977250; phi(1) = .241971, phi(2) = .053991."""
    h, bias, grad = (np.array(row, np.float32) for row in ([[-2, 1, 1]], [1, -1, 1], [[10, 10, 10]]))
    np.testing.assert_allclose(activate(h.copy(), bias), [[-0.158655, 0, 1.9545]], rtol=1e-5)
    np.testing.assert_allclose(activate_gradient(h, bias, grad.copy()), [[-0.83316, 5, 10.85232]], rtol=1e-5)
    assert activate(h.copy(), bias, "relu").tolist() == [[0, 0, 2]]
    assert activate_gradient(h, bias, grad, "relu").tolist() == [[0, 0, 10]]


@NAMES
def test_everywhere(name):
    """Every float32 in steps of 1/512 from -12 to 12, and far out; the fits end at 5.3 and 5.6."""
    x = np.concatenate([np.arange(-12, 12, 1 / 512), [-1e30, -50, 50, 1e30, 5.3, -5.3, 5.6, -5.6, 1e-30]]).astype(
        np.float32
    )
    h, none, ones = x[None], np.zeros(x.size, np.float32), np.ones((1, x.size), np.float32)
    wanted = np.array([value(name, float(number)) for number in x])
    slopes = np.array([slope(name, float(number)) for number in x])
    found, found_slopes = activate(h.copy(), none, name)[0], activate_gradient(h, none, ones.copy(), name)[0]
    assert (np.abs(found - wanted) <= 1.2e-6 * np.maximum(1, np.abs(wanted) / 8)).all()
    assert np.abs(found_slopes - slopes).max() < 5e-7
    far = np.abs(x) > 5.7
    np.testing.assert_array_equal(found[far], np.maximum(x[far], 0))
    np.testing.assert_array_equal(found_slopes[far], x[far] > 0)


@NAMES
def test_the_gradient_is_the_slope_of_the_values(name):
    """By differences: far from what both were fitted to."""
    x, step = np.arange(-6, 6, 0.03125).astype(np.float32) + np.float32(0.0078125), np.float32(0.00390625)
    none, ones = np.zeros(x.size, np.float32), np.ones((1, x.size), np.float32)
    above, below = (activate((x + sign * step)[None], none, name)[0].astype(float) for sign in (1, -1))
    found = activate_gradient(x[None], none, ones, name)[0]
    np.testing.assert_allclose(found, (above - below) / (2 * step), atol=4e-4)


@NAMES
def test_what_is_no_number_stays_none(name):
    h = np.array([[np.nan, 1]], np.float32)
    assert np.isnan(activate(h.copy(), np.zeros(2, np.float32), name)).tolist() == [[True, False]]
    assert np.isnan(activate_gradient(h, np.zeros(2, np.float32), np.ones((1, 2), np.float32))).tolist() == [
        [True, False]
    ]


@NAMES
@pytest.mark.parametrize("rows, units", [(0, 5), (1, 1), (1, 40), (7, 33), (3, 0)])
def test_in_place_elsewhere_and_on_two_threads(rng, name, rows, units):
    h, grad = (rng.standard_normal((rows, units)).astype(np.float32) for _ in range(2))
    bias, answers = rng.standard_normal(units).astype(np.float32), []
    for threads in (1, 2):
        set_threads(threads)
        out, place = np.full((rows, units), np.nan, np.float32), h.copy()
        assert activate(h, bias, name, out=out) is out and activate(place, bias, name) is place
        np.testing.assert_array_equal(out, place)
        back, place = np.full((rows, units), np.nan, np.float32), grad.copy()
        assert activate_gradient(h, bias, grad, name, out=back) is back
        assert activate_gradient(h, bias, place, name) is place
        np.testing.assert_array_equal(back, place)
        answers.append((out, back))
    np.testing.assert_array_equal(answers[0][0], answers[1][0])
    np.testing.assert_array_equal(answers[0][1], answers[1][1])
    wanted = np.array([[value(name, float(x)) for x in row] for row in h + bias]).reshape(h.shape)
    np.testing.assert_allclose(answers[0][0], wanted, atol=1e-6)
    slopes = np.array([[slope(name, float(x)) for x in row] for row in h + bias]).reshape(h.shape)
    np.testing.assert_allclose(answers[0][1], grad * slopes, atol=2e-6)


def test_wrong_arguments_are_named():
    h, bias = np.ones((2, 3), np.float32), np.ones(3, np.float32)
    frozen = h.copy()
    frozen.flags.writeable = False
    for call, words in (
        (lambda: activate(h, bias, "tanh"), ("activation = tanh", "gelu or relu")),
        (lambda: activate(h, bias[:2]), ("bias.shape = (2,)", "(3)")),
        (lambda: activate(h[0], bias), ("h.shape = (3,)", "(any, any)")),
        (lambda: activate(h, bias, out=h[:1]), ("out.shape = (1, 3)", "(2, 3)")),
        (lambda: activate(frozen, bias), ("out = a read-only array",)),
        (lambda: activate_gradient(h, bias, h[:1], out=h), ("grad.shape = (1, 3)", "(2, 3)")),
        (lambda: activate(h.T.copy().T, bias), ("h.strides", "C-contiguous")),
    ):
        assert_one_line_error(call, *words)
    assert_one_line_error(lambda: activate(h.astype(float), bias), "h.dtype = float64", "float32", error=TypeError)
    assert_one_line_error(lambda: activate(h, bias.astype(float)), "bias.dtype = float64", error=TypeError)
