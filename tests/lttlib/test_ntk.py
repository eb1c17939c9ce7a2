"""Tangent kernels of finite networks: by hand, against torch.func, all methods against each other, errors."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st
from torch.func import grad, vmap

from lttlib import ntk
from lttlib.ntk import (
    empirical_contributions,
    empirical_ntk,
    network_output,
    relu_kernels,
)

HAND = [torch.tensor([[1.0, -1.0], [2.0, 1.0]]), torch.tensor([[1.0, -1.0]])]
HAND_X = torch.tensor([[1.0, 0.0]])


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(sizes, density=1.0, seed=0):
    """(weights, masks): random weights of a perceptron, the input layer dense and a mask on all others."""
    weights = [randn(out, fan_in, seed=seed + i) for i, (fan_in, out) in enumerate(pairwise(sizes))]
    masks = [torch.rand(w.shape, generator=torch.Generator().manual_seed(seed - 1)) < density for w in weights]
    return weights, [None, *masks[1:]]


@pytest.mark.parametrize("method", ntk.METHODS)
@pytest.mark.parametrize(
    "readout, survivors, counted", [((0, 0), 0, 5), ((1, 0), 2, 6), ((0, 1), 5, 6), ((1, 1), 7, 7)]
)
def test_two_units_by_hand(method, readout, survivors, counted):
    """Activations (1, 2), so the readout adds 1 + 4, and each unit read adds x.x = 1. Both factors are 2 / 2 = 1.

    With pruned weights differentiated, too (the mask multiplied in beforehand), the readout's 5 stay.
    """
    mask = torch.tensor([readout]).bool()
    assert empirical_ntk(HAND, HAND_X, [None, mask], method=method).tolist() == [[survivors]]
    assert empirical_ntk(HAND, HAND_X.clone().requires_grad_(), [None, mask], method=method).item() == survivors
    assert empirical_ntk([HAND[0], HAND[1] * mask], HAND_X, method=method).tolist() == [[counted]]
    assert empirical_contributions(HAND, HAND_X, [None, mask], method=method).flatten().tolist() == [
        sum(readout), survivors - sum(readout)
    ]  # fmt: skip


def kernel_of_survivors(weights, x, masks):
    """Independent: all survivors in one vector, one gradient per input, a product of the gradients."""
    masks = [torch.ones_like(w, dtype=torch.bool) if m is None else m for w, m in zip(weights, masks, strict=True)]
    vector = torch.cat([w[m] for w, m in zip(weights, masks, strict=True)])

    def output(vector, row):
        used = 0
        for layer, mask in enumerate(masks):
            live = int(mask.sum())
            places = mask.nonzero()
            terms = vector[used : used + live] * row[places[:, 1]] * (2 / mask.shape[1]) ** 0.5
            row = torch.zeros(len(mask), dtype=x.dtype).index_add(0, places[:, 0], terms)
            row = row if layer == len(masks) - 1 else torch.relu(row)
            used += live
        return row[0]

    gradients = vmap(grad(output), in_dims=(None, 0))(vector, x)
    return gradients @ gradients.T


@pytest.mark.parametrize("sizes", [(3, 1), (4, 7, 1), (5, 9, 6, 1), (2, 8, 3, 5, 1)])
@pytest.mark.parametrize("density", [1.0, 0.6, 0.2])
def test_methods_agree_with_torch_func(sizes, density):
    weights, masks = network(sizes, density)
    x = randn(6, sizes[0], seed=9)
    draw = torch.Generator().manual_seed(10)
    drawn = [
        torch.rand(w.shape, generator=draw) < density for w in weights
    ]  # may cut the network in two: a kernel of 0
    for given_masks in (masks, drawn, [None] * len(weights)):
        expected = kernel_of_survivors(weights, x, given_masks)
        scale = expected.abs().max()
        for method in ntk.METHODS:
            found = empirical_ntk(weights, x, given_masks, method=method)
            assert found.dtype == torch.float64 and found.shape == (6, 6)
            assert (found - expected).abs().max() <= 1e-12 * scale + 1e-15, method
    for method in ntk.METHODS:
        torch.testing.assert_close(empirical_ntk(weights, x, method=method), expected, rtol=1e-12, atol=1e-13)


@given(st.integers(0, 999), st.integers(1, 6), st.integers(1, 9), st.floats(0.1, 1))
def test_methods_agree_on_random_networks(seed, n, width, density):
    weights, masks = network((3, width, 5, 1), density, seed)
    x = randn(n, 3, seed=seed)
    rows, pairs, auto, jacobian = (
        empirical_contributions(weights, x, masks, method=method) for method in ("rows", "pairs", "auto", "jacobian")
    )
    assert jacobian.shape == (3, n, n)
    for found in (rows, pairs, auto):
        assert (found - jacobian).abs().max() <= 1e-12 * jacobian.abs().max()


@pytest.mark.parametrize("method", ntk.METHODS)
def test_float32_strides_and_gradients(method):
    """Parameters, transposed views and float32 are as good; the answer has no graph."""
    weights, masks = network((6, 30, 20, 1), 0.3)
    x = randn(5, 6, seed=4)
    expected = empirical_ntk(weights, x, masks, method="jacobian")
    single = [torch.nn.Parameter(w.T.contiguous().T.float()) for w in weights]
    strided = [None if m is None else m.T.contiguous().T for m in masks]
    found = empirical_ntk(single, x.T.contiguous().T.float().requires_grad_(), strided, method=method)
    assert found.dtype == torch.float32 and not found.requires_grad
    assert (found.double() - expected).abs().max() <= 1e-5 * expected.max()


def test_output_is_what_the_kernel_differentiates():
    """A small step against the gradient of the output at row 0 changes all outputs in proportion to column 0."""
    weights, masks = network((4, 20, 10, 1), 0.5)
    x = randn(5, 4, seed=7)
    weights = [w.requires_grad_() for w in weights]
    before = network_output(weights, x, masks)
    gradients = torch.autograd.grad(before[0, 0], weights)
    after = network_output([w + 1e-7 * g for w, g in zip(weights, gradients, strict=True)], x, masks)
    moved = ((after - before) / 1e-7)[:, 0].detach()
    torch.testing.assert_close(moved, empirical_ntk(weights, x, masks)[:, 0], rtol=1e-4, atol=1e-5)
    assert network_output([weights[0], randn(3, 20)], x).shape == (5, 3)


def test_threads_are_those_of_torch(monkeypatch):
    asked = []
    monkeypatch.setattr(ntk, "set_threads", asked.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    empirical_ntk(HAND, HAND_X)
    assert asked == [3]


@pytest.mark.parametrize("method", ["auto", "rows", "pairs"])
def test_method_reaches_the_kernel(monkeypatch, method):
    asked = []
    monkeypatch.setattr(ntk, "masked_ntk", lambda a, d, m, *, method: asked.append((method, m)) or np.ones((1, 1)))
    empirical_ntk(HAND, HAND_X, [None, torch.ones(1, 2).bool()], method=method)
    assert [name for name, _ in asked] == [method] * 2 and asked[0][1] is None and asked[1][1].dtype == bool


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_on_a_gpu(dtype, tolerance):
    weights, masks = network((5, 40, 30, 1), 0.4)
    x = randn(7, 5, seed=2)
    expected = empirical_ntk(weights, x, masks, method="jacobian")
    there = [[t if t is None else t.cuda() for t in part] for part in ([w.to(dtype) for w in weights], masks)]
    for method in ("auto", "rows", "jacobian"):
        found = empirical_ntk(there[0], x.to(dtype).cuda(), there[1], method=method)
        assert found.is_cuda and found.dtype == dtype
        assert (found.cpu().double() - expected).abs().max() <= tolerance * expected.max()
    limit = relu_kernels(x.cuda(), hidden_layers=2)[1]
    assert limit.is_cuda
    torch.testing.assert_close(limit.cpu(), relu_kernels(x, hidden_layers=2)[1])


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: empirical_ntk([], HAND_X), ("weights", "[]", "at least one")),
        (lambda: empirical_ntk(HAND, HAND_X[0]), ("x.shape", "(2,)", "one row per input")),
        (lambda: empirical_ntk(HAND, HAND_X / 0), ("x", "2 NaN or infinite")),
        (lambda: empirical_ntk(HAND, torch.ones(2, 3)), ("weights[0].shape", "(2, 2)", "(out, 3)")),
        (lambda: empirical_ntk([HAND[0], HAND[1].T], HAND_X), ("weights[1].shape", "(2, 1)", "(out, 2)")),
        (lambda: empirical_ntk([HAND[0], HAND[1][0]], HAND_X), ("weights[1].shape", "(2,)", "(out, 2)")),
        (lambda: empirical_ntk(HAND[:1], HAND_X), ("weights[0].shape", "(2, 2)", "one row", "at a time")),
        (lambda: empirical_ntk([HAND[0], HAND[1] / 0], HAND_X), ("weights[1]", "2 NaN or infinite")),
        (lambda: empirical_ntk(HAND, HAND_X, [None]), ("len(masks)", "1", "2, one per matrix")),
        (lambda: empirical_ntk(HAND, HAND_X, [None, HAND[0] > 0]), ("masks[1].shape", "(2, 2)", "(1, 2)")),
        (lambda: empirical_ntk(HAND, HAND_X, method="fast"), ("method", "'fast'", "'jacobian'")),
    ],
    ids=case_name,
)
def test_errors(call, words):
    assert_one_line_error(call, *words)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: empirical_ntk(HAND, HAND_X.int()), ("x.dtype", "torch.int32", "torch.float64")),
        (lambda: empirical_ntk(HAND, HAND_X.double()), ("weights[0].dtype", "torch.float32", "that of x")),
        (lambda: empirical_ntk(HAND, HAND_X, [None, torch.ones(1, 2)]), ("masks[1].dtype", "torch.float32")),
    ],
    ids=case_name,
)
def test_type_errors(call, words):
    assert_one_line_error(call, *words, error=TypeError)
