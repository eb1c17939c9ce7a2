"""Activation criteria, OBD and OBS scores. The four curvature estimators: test_curvature.py and test_lecun.py."""

import math

import numpy as np
import pytest
import torch
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lttlib.criteria import (
    activation_entropy,
    apoz,
    mean_activation,
    obd_saliency,
    obs_delete,
    obs_scores,
    random_scores,
)

seeds = st.integers(0, 10_000)
ACTIVATIONS = torch.tensor([[0.0, 1.0, 2.0], [0.0, 3.0, 2.0], [0.0, 0.0, 2.0], [0.0, 1.0, 2.0]])  # dead, lively, stuck


def test_activation_criteria_by_hand():
    assert mean_activation(ACTIVATIONS).tolist() == [0, 1.25, 2]
    assert apoz(ACTIVATIONS).tolist() == [1, 0.25, 0]
    entropy = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25))  # 0, 1, 1, 3: three bins of ten
    assert activation_entropy(ACTIVATIONS).tolist() == pytest.approx([0, entropy, 0])
    assert activation_entropy(ACTIVATIONS, bins=1).tolist() == [0, 0, 0]
    # Two bins: 0 and 1 lie below the middle 1.5, 3 above it.
    assert float(activation_entropy(ACTIVATIONS, bins=2)[1]) == pytest.approx(
        -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    )


def test_negative_outputs_are_not_zeros_and_count_with_their_sign():
    tanh = torch.tensor([[-1.0, 0.5], [3.0, -0.5]])
    assert mean_activation(tanh).tolist() == [1, 0] and apoz(tanh).tolist() == [0, 0]


def test_maps_by_hand():  # (1 sample, 2 channels, 1, 2): every position counts, but entropy pools first
    maps = torch.tensor([[[[0.0, 4.0]], [[0.0, 0.0]]], [[[2.0, 2.0]], [[1.0, 0.0]]]])
    assert mean_activation(maps).tolist() == [2, 0.25]
    assert apoz(maps).tolist() == [0.25, 0.75]
    assert activation_entropy(maps).tolist() == pytest.approx([0, math.log(2)])  # pooled: 2, 2 and 0, 0.5


@given(seeds, st.sampled_from([(40, 3), (1, 2), (15, 3, 2, 5), (6, 1, 1, 1)]), st.integers(1, 13))
def test_activation_criteria_against_numpy(seed, shape, bins):
    relu = np.random.default_rng(seed).normal(size=shape).clip(0)
    x = torch.from_numpy(relu)
    channels = [relu[:, c] for c in range(shape[1])]
    pooled = [channel.reshape(shape[0], -1).mean(1) for channel in channels]
    entropies = [stats.entropy(np.histogram(values, bins)[0]) for values in pooled]
    assert mean_activation(x).tolist() == pytest.approx([channel.mean() for channel in channels])
    assert apoz(x).tolist() == pytest.approx([1 - np.count_nonzero(channel) / channel.size for channel in channels])
    assert activation_entropy(x, bins).tolist() == pytest.approx(entropies)


def test_random_scores_are_uniform_and_follow_the_generator():
    weights = {"a": torch.zeros(50, 40), "b": torch.zeros(7)}
    first, again, other = (random_scores(weights, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert {name: score.shape for name, score in first.items()} == {name: w.shape for name, w in weights.items()}
    assert stats.kstest(first["a"].flatten().numpy(), "uniform").pvalue > 1e-3
    assert first["a"].equal(again["a"]) and not first["a"].equal(other["a"])


# H = [[1, 4], [4, 25]], w = (2, 1/2), worked by hand: H^-1 = [[25, -4], [-4, 1]] / 9.
H, W = torch.tensor([[1.0, 4], [4, 25]], dtype=torch.float64), torch.tensor([2.0, 0.5], dtype=torch.float64)


def test_obd_and_obs_by_hand():
    assert obd_saliency(W, H.diagonal()).tolist() == [2, 3.125]
    assert obs_scores(W, H).tolist() == pytest.approx([0.72, 1.125])
    assert obs_delete(W, H, 0).tolist() == pytest.approx([0, 0.5 + 0.32])
    assert obs_delete(W, H, 1).tolist() == pytest.approx([2 + 2, 0])


def test_damages_do_not_add():
    together = float(W @ H @ W / 2)
    assert together == 9.125 and float(obd_saliency(W, H.diagonal()).sum()) == 5.125


def test_obd_keeps_the_sign_of_the_curvature_and_the_shape():
    weight, diagonal = torch.tensor([[1.0, -2], [0, 3]]), torch.tensor([[2.0, -1], [5, 0]])
    assert obd_saliency(weight, diagonal).tolist() == [[1, -2], [0, 0]]


def random_problem(seed: int, n: int, ridge: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (n,) and a positive definite Hessian (n, n) in float64."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(2 * n, n, generator=draw, dtype=torch.float64)
    return torch.randn(n, generator=draw, dtype=torch.float64), x.T @ x / n + ridge * torch.eye(n, dtype=torch.float64)


@given(seeds, st.integers(1, 7), st.data())
def test_obs_against_a_constrained_least_squares_solve(seed, n, data):
    """Independent: least 1/2 d^T H d with d_q = -w_q, from the equations of Karush, Kuhn and Tucker."""
    weight, hessian = random_problem(seed, n)
    q = data.draw(st.integers(0, n - 1))
    system = torch.zeros(n + 1, n + 1, dtype=torch.float64)
    system[:n, :n], system[n, q], system[q, n] = hessian, 1, 1
    right = torch.zeros(n + 1, dtype=torch.float64)
    right[n] = -weight[q]
    move = torch.linalg.solve(system, right)[:n]
    repaired = obs_delete(weight, hessian, q)
    assert repaired[q] == 0 and not repaired.signbit()[q]
    torch.testing.assert_close(repaired, weight + move, atol=1e-9, rtol=1e-7)
    torch.testing.assert_close(obs_scores(weight, hessian)[q], move @ hessian @ move / 2)


@given(seeds, st.integers(1, 7))
def test_repair_never_costs_more_than_no_repair(seed, n):
    weight, hessian = random_problem(seed, n)
    assert (obs_scores(weight, hessian) <= obd_saliency(weight, hessian.diagonal()) * (1 + 1e-12)).all()
    diagonal = hessian.diagonal().diag()  # nothing to repair with: both agree
    torch.testing.assert_close(obs_scores(weight, diagonal), obd_saliency(weight, hessian.diagonal()))
    torch.testing.assert_close(obs_delete(weight, diagonal, 0), weight.masked_fill(torch.arange(n) == 0, 0))


def test_arguments_are_left_alone():
    weight, hessian = torch.nn.Parameter(W.clone()), H.clone()
    results = [obs_delete(weight, hessian, 0), obs_scores(weight, hessian), obd_saliency(weight, hessian.diagonal())]
    assert weight.equal(W) and hessian.equal(H)
    assert not any(result.requires_grad for result in results)


TWO = torch.ones(2)
EYE = torch.eye(2)
NAN = torch.tensor([1.0, math.nan])


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: apoz(torch.ones(2, 3, 4)), ("activations.shape", "(2, 3, 4)", "(N, C) or (N, C, H, W)")),
        (lambda: mean_activation(torch.ones(0, 3)), ("activations.shape", "(0, 3)", "at least one row")),
        (lambda: activation_entropy(torch.ones(0, 3, 2, 2)), ("activations.shape", "0", "at least one row")),
        (lambda: activation_entropy(NAN[None]), ("activations", "1 NaN", "finite")),
        (lambda: apoz(NAN[None]), ("activations", "1 NaN", "finite")),
        (lambda: activation_entropy(EYE, bins=0), ("bins", "0", "1 or more", "10")),
        (lambda: obd_saliency(TWO, torch.ones(3)), ("diagonal.shape", "(3,)", "(2,)", "same parameter name")),
        (lambda: obd_saliency(TWO, torch.ones(1)), ("diagonal.shape", "(1,)", "(2,)")),  # would broadcast
        (lambda: obd_saliency(NAN, TWO), ("weight", "1 NaN", "finite")),
        (lambda: obd_saliency(TWO, NAN), ("diagonal", "1 NaN", "finite")),
        (lambda: obs_scores(NAN, EYE), ("weight", "1 NaN", "finite")),
        (lambda: obs_scores(TWO, EYE * NAN), ("hessian", "NaN", "finite")),
        (lambda: obs_scores(EYE, torch.eye(4)), ("weight.shape", "(2, 2)", "(n,)", "flatten")),
        (lambda: obs_scores(TWO, torch.eye(3)), ("hessian.shape", "(3, 3)", "(2, 2)", "one row per weight")),
        (lambda: obs_scores(TWO, torch.ones(2, 2)), ("hessian", "not positive definite", "add damping", "torch.eye")),
        (lambda: obs_delete(TWO, -EYE, 0), ("hessian", "not positive definite", "add damping", "torch.eye")),
        (lambda: obs_delete(TWO, EYE, 2), ("index", "2", "0 to 1")),
        (lambda: obs_delete(TWO, EYE, -1), ("index", "-1", "0 to 1")),
    ],
    ids=case_name,
)
def test_errors(call, words):
    assert_one_line_error(call, *words)


def test_damping_of_the_error_message_works():
    hessian = torch.ones(2, 2)
    damped = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(2)
    assert torch.isfinite(obs_scores(TWO, damped)).all()


def test_missing_generator():
    assert_one_line_error(lambda: random_scores({"w": TWO}, None), "generator", "None", error=Exception)
