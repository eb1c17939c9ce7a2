"""Condensed layers between panels: against the dense masked layer in float64, threads, ReLU and gate, bad arguments."""

import numpy as np
import pytest
from drawn_layers import few
from hypothesis import given
from hypothesis import strategies as st
from lttkernels.condensed_panels import (
    PanelPattern,
    from_panels,
    panels_grad_input,
    panels_grad_values,
    panels_linear,
    to_panels,
)
from lttkernels.threads import set_threads


def whole(draw, *shape):
    """Whole numbers, whose sums are exact in single precision."""
    return draw.integers(-4, 5, shape).astype(np.float32)


def layer(draw, rows, columns, fan_in, ablated):
    """A pattern, its mask (rows, columns) and its values (n, k)."""
    alive = np.setdiff1d(np.arange(rows), ablated)
    indices = np.sort(draw.random((len(alive), columns)).argsort(1)[:, :fan_in], 1).astype(np.uint16)
    mask = np.zeros((rows, columns), bool)
    mask[alive[:, None], indices] = True
    return PanelPattern(indices, alive.astype(np.uint32), (rows, columns)), mask, whole(draw, len(alive), fan_in)


@few
@given(
    st.integers(1, 70), st.integers(1, 90), st.integers(1, 150), st.integers(1, 2), st.booleans(), st.integers(0, 999)
)
def test_against_dense(rows, columns, batch, threads, relu, seed):
    draw = np.random.default_rng(seed)
    ablated = np.flatnonzero(draw.random(rows) < 0.2)
    pattern, mask, values = layer(draw, rows, columns, int(draw.integers(0, columns + 1)), ablated)
    weight = np.zeros((rows, columns))
    weight[mask] = values.reshape(-1)
    x, grad, bias = whole(draw, batch, columns), whole(draw, batch, rows), whole(draw, rows)
    set_threads(threads)
    x_panels, grad_panels = to_panels(x), to_panels(grad)
    out, by_x, by_values, by_bias = (np.full_like(a, np.nan) for a in (grad_panels, x_panels, values, bias))
    panels_linear(pattern, values, bias, x_panels, out, relu=relu)
    expected = x @ weight.T + bias
    np.testing.assert_array_equal(from_panels(out, batch), np.maximum(expected, 0) if relu else expected)
    panels_grad_values(pattern, x_panels, grad_panels, by_values, by_bias)
    np.testing.assert_array_equal(by_values.reshape(-1), (grad.T.astype(float) @ x)[mask])
    np.testing.assert_array_equal(by_bias, grad.sum(0))
    panels_grad_input(pattern, values, grad_panels, by_x)
    np.testing.assert_array_equal(from_panels(by_x, batch), grad @ weight)
    panels_grad_input(pattern, values, grad_panels, by_x, gate=x_panels)
    np.testing.assert_array_equal(from_panels(by_x, batch), np.where(x > 0, grad @ weight, 0))
    set_threads(1)


def test_nan_is_not_hidden_by_the_relu():
    pattern = PanelPattern(np.array([[0]], np.uint8), np.array([0], np.uint32), (1, 1))
    out = np.zeros((1, 1, 64), np.float32)
    panels_linear(
        pattern, np.ones((1, 1), np.float32), np.zeros(1, np.float32), np.full_like(out, np.nan), out, relu=True
    )
    assert np.isnan(out).all()


def test_panels_there_and_back():
    x = whole(np.random.default_rng(0), 130, 7)
    panels = to_panels(x)
    assert panels.shape == (3, 7, 64) and (panels[1, 5, 3], panels[2, 6, 1]) == (x[67, 5], x[129, 6])
    assert not panels[2, :, 2:].any() and (from_panels(panels, 130) == x).all()


def test_memory_is_far_below_that_of_the_dense_weight():
    pattern, _, values = layer(np.random.default_rng(0), 1000, 1000, 100, [])
    pattern.transposed  # noqa: B018
    assert pattern.bytes + values.nbytes < 0.34 * 4 * 1000 * 1000


GOOD = PanelPattern(np.array([[0, 2]], np.uint8), np.array([1], np.uint32), (2, 3))
V, B, X, Y = (np.zeros(shape, np.float32) for shape in ((1, 2), (2,), (1, 3, 64), (1, 2, 64)))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: PanelPattern(np.array([[3]], np.uint8), np.array([0], np.uint32), (2, 3)), "entries below 3"),
        (lambda: PanelPattern(np.array([[1], [2]], np.uint8), np.array([1, 1], np.uint32), (2, 3)), "increasing"),
        (lambda: PanelPattern(np.array([[1]], np.uint8), np.array([2], np.uint32), (2, 3)), "entries below 2"),
        (lambda: panels_linear(GOOD, V[:, :1], B, X, Y), r"values.shape = \(1, 1\)"),
        (lambda: panels_linear(GOOD, V, B[:1], X, Y), r"bias.shape = \(1,\)"),
        (lambda: panels_linear(GOOD, V, B, X[:, :2], Y), r"x.shape = \(1, 2, 64\)"),
        (lambda: panels_linear(GOOD, V, B, X, X), r"out.shape = \(1, 3, 64\)"),
        (lambda: panels_linear(GOOD, V, B, X.astype(float), Y), "x.dtype = float64"),
        (lambda: panels_grad_input(GOOD, V, Y, X, gate=Y), r"gate.shape = \(1, 2, 64\)"),
        (lambda: panels_grad_values(GOOD, X, Y, V, B[:1]), r"by_bias.shape = \(1,\)"),
        (lambda: panels_grad_values(GOOD, X[:, :, ::2], Y, V, B), r"x.shape = \(1, 3, 32\)"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
