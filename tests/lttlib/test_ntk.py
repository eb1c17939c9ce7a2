"""Tangent kernels: the recursion against quadrature and a recorded library, networks against torch.func, by hand."""

import json
import math
from itertools import pairwise
from pathlib import Path

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
    relu_contributions,
    relu_expectations,
    relu_kernels,
)

RECORDED = json.loads((Path(__file__).parent / "neural_tangents.json").read_text())
NAMES = ("hidden_layers", "bias_variance", "parameterization")
SETTINGS = [tuple(case[name] for name in NAMES) for case in RECORDED["cases"]]
HAND = [torch.tensor([[1.0, -1.0], [2.0, 1.0]]), torch.tensor([[1.0, -1.0]])]
HAND_X = torch.tensor([[1.0, 0.0]])


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(sizes, density=1.0, seed=0):
    """(weights, masks): random weights of a perceptron, the input layer dense and a mask on all others."""
    weights = [randn(out, fan_in, seed=seed + i) for i, (fan_in, out) in enumerate(pairwise(sizes))]
    masks = [torch.rand(w.shape, generator=torch.Generator().manual_seed(seed - 1)) < density for w in weights]
    return weights, [None, *masks[1:]]


# The limit. Independent of the closed forms: Gauss-Legendre quadrature between the kinks, each layer's share by itself.


def gaussian_mean(function, degree, covariance):
    """E[f(u) f(v)] of a Gaussian pair with `covariance` (2, 2), f homogeneous of `degree` with a kink at 0.

    (u, v) = r (a.e, b.e), e a direction: the mean of r^(2 degree) is 1 or 2, and the mean over e is an integral over
    the circle, smooth between the directions where u or v changes sign.
    """
    corner = math.sqrt(covariance[0, 0])
    lower = covariance[1, 0] / corner
    rest = covariance[1, 1] - lower**2
    a, b = (corner, 0.0), (lower, math.sqrt(rest) if rest > 1e-12 * covariance[1, 1] else 0.0)  # less is rounding
    kinks = sorted(math.atan2(p[1], p[0]) + turn for p in (a, b) for turn in (-math.pi / 2, math.pi / 2))
    nodes, shares = np.polynomial.legendre.leggauss(24)
    total = 0.0
    for start, stop in pairwise([*kinks, kinks[0] + 2 * math.pi]):
        angles = (start + stop) / 2 + nodes * (stop - start) / 2
        u, v = (p[0] * np.cos(angles) + p[1] * np.sin(angles) for p in (a, b))
        total += (stop - start) / 2 * (shares * function(u) * function(v)).sum()
    return total / (2 * math.pi) * (2 if degree else 1)


def relu(u):
    return np.maximum(u, 0)


def step(u):
    return (u > 0).astype(float)


def kernels_by_quadrature(x, hidden_layers, bias_variance, parameterization, width):
    """(nngp, ntk) among all rows of x: sum over layers h of [input products of h] times [E relu' relu' behind h]."""
    n, features = x.shape
    pairs = [(p, q) for p in range(n) for q in range(n)]
    standard, bias = parameterization == "standard", float(bias_variance > 0)
    covariance = np.array([[2 * np.dot(p, q) / features + bias_variance for q in x] for p in x])
    own = [np.array([[np.dot(p, q) + bias for q in x] for p in x]) if standard else covariance]
    behind = []
    for _ in range(hidden_layers):
        blocks = [covariance[np.ix_(pair, pair)] for pair in pairs]
        products = np.array([gaussian_mean(relu, 1, block) for block in blocks]).reshape(n, n)
        behind.append(2 * np.array([gaussian_mean(step, 0, block) for block in blocks]).reshape(n, n))
        covariance = 2 * products + bias_variance
        own.append(width * products + bias if standard else covariance)
    return covariance, sum(term * math.prod(behind[h:]) for h, term in enumerate(own))


@pytest.mark.parametrize("hidden_layers, bias_variance, parameterization", SETTINGS)
def test_limit_against_quadrature(hidden_layers, bias_variance, parameterization):
    x = randn(3, 5, seed=3).numpy()
    x = np.concatenate([x, x[:1], -x[1:2], 2 * x[:1] + 1e-3 * x[2:]])  # equal, opposite, nearly parallel
    nngp, kernel = kernels_by_quadrature(x, hidden_layers, bias_variance, parameterization, 11)
    arguments = dict(zip(NAMES, (hidden_layers, bias_variance, parameterization), strict=True), width=11)
    own = relu_kernels(torch.tensor(x), **arguments)
    other = relu_kernels(torch.tensor(x[:2]), torch.tensor(x), **arguments)
    scale = np.sqrt(np.outer(kernel.diagonal(), kernel.diagonal()))  # opposite inputs: 0 up to rounding
    for found, part in ((own, slice(None)), (other, slice(2))):
        assert [kind.dtype for kind in found] == [torch.float64] * 2
        np.testing.assert_allclose(found[0].numpy(), nngp[part], rtol=1e-10, atol=1e-12)
        assert (np.abs(found[1].numpy() - kernel[part]) <= 1e-9 * np.abs(kernel[part]) + 1e-12 * scale[part]).all()


@pytest.mark.parametrize("case", RECORDED["cases"], ids=["-".join(map(str, setting)) for setting in SETTINGS])
def test_limit_against_a_recorded_library(case):
    """neural-tangents 0.6.5 (Novak et al. 2020, arXiv:1912.02803), recorded once: it needs jax 0.4.26, numpy below 2.

    x and x2 were drawn with np.random.default_rng(0).normal, rounded to three digits. Then, in float64, stax.serial of
    Dense(7, W_std=2**.5, b_std=b, parameterization=...), Relu(), ..., Dense(1, ...), b None or .1**.5; kernel_fn(x, x2,
    ("nngp", "ntk")), and kernel_fn(x, None, "ntk") as ntk_own. Seven is the width of "standard".
    """
    x, x2 = (torch.tensor(RECORDED[name], dtype=torch.float64) for name in ("x", "x2"))
    arguments = {name: case[name] for name in NAMES} | {"width": RECORDED["width"]}
    found = (*relu_kernels(x, x2, **arguments), relu_kernels(x, **arguments)[1])
    for kernel, name in zip(found, ("nngp", "ntk", "ntk_own"), strict=True):
        np.testing.assert_allclose(kernel.numpy(), case[name], rtol=1e-13)


def test_recorded_cases_are_all_there():
    assert set(SETTINGS) == {(d, b, p) for d in (1, 2, 3, 5) for b in (0.0, 0.1) for p in ("ntk", "standard")}


@given(st.integers(0, 999), st.integers(0, 6), st.sampled_from([0.0, 0.3]))
def test_limit_on_the_diagonal(seed, hidden_layers, bias_variance):
    """c = 1 in every layer, so Theta is a sum of covariances: (L + 1) K without biases."""
    x = randn(4, 3, seed=seed)
    x[3] = x[1]
    first = 2 * x.square().sum(1) / 3 + bias_variance
    expected = sum(first + layer * bias_variance for layer in range(hidden_layers + 1))
    arguments = {"hidden_layers": hidden_layers, "bias_variance": bias_variance}
    nngp, kernel = relu_kernels(x, **arguments)
    torch.testing.assert_close(nngp.diagonal(), first + hidden_layers * bias_variance, rtol=1e-14, atol=0)
    torch.testing.assert_close(kernel.diagonal(), expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(kernel[1, 3], expected[1], rtol=1e-14, atol=0)  # equal rows
    torch.testing.assert_close(relu_kernels(x, x[[2]].clone(), **arguments)[1][2, 0], expected[2], rtol=1e-14, atol=0)


def test_limit_of_opposite_inputs():
    """At 180 degrees no unit sees both, so one hidden layer gives 0, up to sin(pi); coordinates that are 0 included."""
    x = randn(40, 7) * (randn(40, 7, seed=1) > 0)
    for other in (-x, 0 - x):  # zeros with and without a sign
        for kernel in relu_kernels(x, other, hidden_layers=1):
            assert (kernel.diagonal().abs() <= 1e-15 * x.square().sum(1)).all()
        exact, near = (relu_kernels(x, y, hidden_layers=1, bias_variance=0.1)[1] for y in (other, (1 + 1e-9) * other))
        torch.testing.assert_close(exact, near, rtol=1e-6, atol=1e-7)  # a bias makes the angle smaller


def test_limit_of_parallel_inputs():
    """Their cosines round to a little more or less than 1."""
    x = randn(40, 7)
    kernel = relu_kernels(x, 3 * x, hidden_layers=2)[1]
    torch.testing.assert_close(kernel.diagonal(), 3 * 3 * 2 / 7 * x.square().sum(1), rtol=5e-8, atol=0)


@given(st.integers(0, 999), st.integers(1, 4), st.sampled_from([0.0, 0.3]))
def test_limit_invariants(seed, hidden_layers, bias_variance):
    """Symmetric, positive semidefinite, blind to rotations; without biases a factor on x goes through."""
    x, x2 = randn(5, 3, seed=seed), randn(2, 3, seed=seed + 1)
    rotation = torch.linalg.qr(randn(3, 3, seed=seed + 2)).Q
    arguments = {"hidden_layers": hidden_layers, "bias_variance": bias_variance}
    for kind in (0, 1):
        kernel = relu_kernels(x, **arguments)[kind]
        across = relu_kernels(x, x2, **arguments)[kind]
        torch.testing.assert_close(kernel, kernel.T)
        assert torch.linalg.eigvalsh(kernel)[0] > -1e-9 * kernel.max()
        torch.testing.assert_close(relu_kernels(torch.cat([x, x2]), **arguments)[kind][:5, 5:], across)
        torch.testing.assert_close(relu_kernels(x @ rotation, x2 @ rotation, **arguments)[kind], across)
        if not bias_variance:
            torch.testing.assert_close(relu_kernels(3 * x, x2 / 2, **arguments)[kind], 1.5 * across)


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_limit_of_zero_inputs(parameterization):
    x = torch.stack([torch.zeros(3), torch.ones(3)])
    arguments = {"hidden_layers": 2, "parameterization": parameterization, "width": 5}
    for kernel in relu_kernels(x, **arguments):
        assert kernel[0].tolist() == kernel[:, 0].tolist() == [0, 0] and kernel[1, 1] > 0
    assert torch.isfinite(relu_kernels(x, bias_variance=0.5, **arguments)[1]).all()


def test_limit_by_hand():
    """Orthogonal inputs of length 1 in two dimensions: K = I, theta = 90 degrees: products 1 / 2 pi, slopes 1 / 4."""
    products, slopes = relu_expectations(torch.eye(2), [torch.ones(2)] * 2, torch.eye(2))
    torch.testing.assert_close(products, torch.tensor([[0.5, 0.5 / math.pi], [0.5 / math.pi, 0.5]]))
    torch.testing.assert_close(slopes, torch.tensor([[0.5, 0.25], [0.25, 0.5]]))
    nngp, kernel = relu_kernels(torch.eye(2), hidden_layers=1)
    assert nngp.flatten().tolist() == pytest.approx([1, 1 / math.pi, 1 / math.pi, 1])
    assert kernel.flatten().tolist() == pytest.approx([2, 1 / math.pi, 1 / math.pi, 2])
    nngp, kernel = relu_kernels(torch.eye(2), hidden_layers=1, parameterization="standard", width=10)
    assert nngp[0, 0] == pytest.approx(1) and kernel[0].tolist() == pytest.approx([5 + 1, 10 * 0.5 / math.pi])
    for x, x2 in ((torch.eye(2), None), (torch.eye(2), torch.eye(2).double()), (torch.eye(2).double(), torch.eye(2))):
        assert [kernel.dtype for kernel in relu_kernels(x, x2, hidden_layers=1)] == [torch.float64] * 2
    linear = relu_kernels(torch.eye(2), hidden_layers=0, bias_variance=0.5)
    assert linear[0].tolist() == linear[1].tolist() == [[1.5, 0.5], [0.5, 1.5]]


@pytest.mark.parametrize("bias_variance", [0.0, 0.2])
def test_contributions_of_the_limit(bias_variance):
    """They add up to the kernel; the last is the nngp kernel, the first what is left where the width is negligible."""
    x, x2 = randn(4, 3), randn(2, 3, seed=1)
    x[3] = -x2[1]
    arguments = {"hidden_layers": 3, "bias_variance": bias_variance}
    terms, (nngp, kernel) = (f(x, x2, **arguments) for f in (relu_contributions, relu_kernels))
    assert terms.shape == (4, 4, 2)
    torch.testing.assert_close(terms.sum(0), kernel)
    torch.testing.assert_close(terms[-1], nngp)
    fewer = relu_contributions(x, x2, hidden_layers=2, bias_variance=bias_variance)
    factors = (terms[:3] / fewer)[:, :3]  # of one more layer behind each; the last row may have 0 / 0
    torch.testing.assert_close(factors, factors[:1].expand(3, 3, 2))


def test_contributions_without_biases_are_equal_on_the_diagonal():
    terms = relu_contributions(randn(4, 3), hidden_layers=3)
    torch.testing.assert_close(terms.diagonal(dim1=1, dim2=2), terms[0].diagonal().expand(4, 4))


# Finite networks.


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
        (lambda: relu_kernels(torch.ones(3), hidden_layers=1), ("x.shape", "(3,)", "(n, d0)")),
        (lambda: relu_kernels(torch.ones(3, 0), hidden_layers=1), ("x.shape", "(3, 0)", "at least 1")),
        (lambda: relu_kernels(HAND_X, torch.ones(3, 4), hidden_layers=1), ("x2.shape", "(3, 4)", "that of x")),
        (lambda: relu_kernels(HAND_X / 0, hidden_layers=1), ("x", "2 NaN or infinite")),
        (lambda: relu_kernels(HAND_X, HAND_X * math.nan, hidden_layers=1), ("x2", "2 NaN or infinite")),
        (lambda: relu_kernels(HAND_X, hidden_layers=-1), ("hidden_layers", "-1", "0 or more")),
        (lambda: relu_kernels(HAND_X, hidden_layers=1.0), ("hidden_layers", "1.0", "whole number")),
        (lambda: relu_kernels(HAND_X, hidden_layers=True), ("hidden_layers", "True", "whole number")),
        (lambda: relu_kernels(HAND_X, hidden_layers=1, bias_variance=-0.1), ("bias_variance", "-0.1", "0 or more")),
        (lambda: relu_kernels(HAND_X, hidden_layers=1, bias_variance=math.nan), ("bias_variance", "nan")),
        (lambda: relu_kernels(HAND_X, hidden_layers=1, parameterization="mup"), ("parameterization", "'mup'", "'ntk'")),
        (lambda: relu_kernels(HAND_X, hidden_layers=1, parameterization="standard"), ("width", "None", "grows")),
        (lambda: relu_kernels(HAND_X, hidden_layers=1, parameterization="standard", width=0), ("width", "0")),
        (lambda: relu_contributions(HAND_X, hidden_layers=-1), ("hidden_layers", "-1")),
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
