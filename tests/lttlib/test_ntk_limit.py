"""Tangent kernels in the limit of wide layers: against quadrature and a recorded library, by hand, invariants, errors."""

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

from lttlib.ntk import (
    relu_contributions,
    relu_expectations,
    relu_kernels,
)

RECORDED = json.loads((Path(__file__).parent / "neural_tangents.json").read_text())
NAMES = ("hidden_layers", "bias_variance", "parameterization")
SETTINGS = [tuple(case[name] for name in NAMES) for case in RECORDED["cases"]]
HAND_X = torch.tensor([[1.0, 0.0]])


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Independent of the closed forms: Gauss-Legendre quadrature between the kinks, each layer's share by itself.


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
    ],
    ids=case_name,
)
def test_errors(call, words):
    assert_one_line_error(call, *words)
