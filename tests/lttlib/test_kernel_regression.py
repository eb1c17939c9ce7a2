"""Kernel regression and the course of training: by hand, against solvers and models that are really trained."""

import math

import numpy as np
import pytest
import torch
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from sklearn.kernel_ridge import KernelRidge

from lttlib.kernel_regression import (
    centered_one_hot,
    kernel_gradient_descent,
    kernel_gradient_flow,
    kernel_regression,
)
from lttlib.ntk import empirical_ntk, network_output, relu_kernels
from lttlib.pruned_kernels import draw_network, pruned_limit

HAND = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
READ = torch.tensor([[1.0, 3.0]])
TARGETS = torch.tensor([4.0, -1.0])


def problem(seed=0, n=6, m=3, outputs=2, rank=8):
    """(features of the training rows, of the test rows, targets); kernels are products of features."""
    draw = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in ((n, rank), (m, rank), (n, outputs))
    )


def test_one_hot_by_hand():
    found = centered_one_hot(torch.tensor([1, 0]), 4)
    assert found.tolist() == [[-0.25, 0.75, -0.25, -0.25], [0.75, -0.25, -0.25, -0.25]] and found.dtype == torch.float64


def test_regression_by_hand():
    """K^-1 y = (2, -1), read as 2 - 3; with ridge 1 it is (4 / 3, -1 / 2), read as 4 / 3 - 3 / 2."""
    assert kernel_regression(HAND, READ, TARGETS).tolist() == pytest.approx([-1])
    assert kernel_regression(HAND, READ, TARGETS, ridge=1.0).tolist() == pytest.approx([-1 / 6])
    assert kernel_regression(HAND, READ, TARGETS[:, None]).shape == (1, 1)
    steep = torch.tensor([[1.0, 0.0], [0.0, 1e-9]])  # badly conditioned, but regular
    torch.testing.assert_close(kernel_regression(steep, steep, TARGETS), TARGETS.double())


@given(st.integers(0, 999), st.sampled_from([0.0, 0.3]))
def test_regression_is_the_solution(seed, ridge):
    """Against scikit-learn; without a ridge the training rows are met, and it is least squares of least norm."""
    train, test, y = problem(seed)
    kernel, across = train @ train.T, test @ train.T
    found = kernel_regression(kernel, across, y, ridge=ridge)
    if ridge:
        other = KernelRidge(alpha=ridge, kernel="precomputed").fit(kernel.numpy(), y.numpy()).predict(across.numpy())
    else:
        torch.testing.assert_close(kernel_regression(kernel, kernel, y), y, rtol=1e-7, atol=1e-7)
        other = test.numpy() @ np.linalg.lstsq(train.numpy(), y.numpy(), rcond=None)[0]
    np.testing.assert_allclose(found.numpy(), other, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(kernel_regression(kernel, across, y[:, 0], ridge=ridge), found[:, 0])


@given(st.integers(0, 999), st.floats(1e-6, 1e6))
def test_only_a_ridge_sees_the_scale(seed, factor):
    train, test, y = problem(seed)
    kernel, across = train @ train.T, test @ train.T
    plain = kernel_regression(kernel, across, y)
    torch.testing.assert_close(kernel_regression(factor * kernel, factor * across, y), plain, rtol=1e-6, atol=1e-8)
    ridged = kernel_regression(kernel, across, y, ridge=0.5)
    scaled = kernel_regression(factor * kernel, factor * across, y, ridge=factor * 0.5)
    torch.testing.assert_close(scaled, ridged, rtol=1e-6, atol=1e-8)
    assert (kernel_regression(4 * kernel, 4 * across, y, ridge=0.5) - ridged).abs().max() > 1e-4


def test_pruning_only_slows_training_down():
    """kappa^L on the kernel: the same prediction at the end, the same course 1 / kappa^L times later."""
    x, y = problem(rank=4)[0], problem(rank=4)[2]
    arguments = {"keep": 0.5, "hidden_layers": 2}
    dense, pruned, mixed = (pruned_limit(x, variant=v, **arguments) for v in ("rescaled", "survivors", "rescaled_once"))
    ends = [kernel_regression(k[:4, :4], k[4:, :4], y[:4]) for k in (dense, pruned, mixed)]
    torch.testing.assert_close(ends[0], ends[1])
    assert (ends[2] - ends[0]).abs().max() > 1e-3  # another mixture of the layers is another kernel
    courses = [
        kernel_gradient_flow(k[:4, :4], k[4:, :4], y[:4], times)
        for k, times in ((dense, [0.5, 2.0]), (pruned, [2.0, 8.0]), (pruned, [0.5, 2.0]))
    ]
    torch.testing.assert_close(courses[0], courses[1])
    assert (courses[0] - courses[2]).abs().max() > 1e-2
    slow, quick = (
        kernel_gradient_descent(k[:4, :4], k[4:, :4], y[:4], [7], learning_rate=r)
        for k, r in ((pruned, 0.04), (dense, 0.01))
    )
    torch.testing.assert_close(slow, quick)


def test_one_hidden_layer_cannot_tell_opposite_inputs():
    """Without biases f(x) - f(-x) is linear, so three pairs in two dimensions are too many; not so with two layers."""
    x = problem(rank=2, n=3)[0]
    x = torch.cat([x, -x])
    first, second = (relu_kernels(x, hidden_layers=layers)[1] for layers in (1, 2))
    odd = first[:3] - first[3:]  # as functions of the second input: linear ones
    assert torch.linalg.matrix_rank(odd, rtol=1e-7) == 2 < torch.linalg.matrix_rank(second[:3] - second[3:], rtol=1e-7)
    y = torch.arange(6.0)
    with pytest.raises(ValueError, match="opposite"):
        kernel_regression(first, first, y)
    torch.testing.assert_close(kernel_regression(second, second, y), y.double())


def test_courses_by_hand():
    """Errors fall as exp(-2 t) and exp(-t), or halve and fall to 3/4 at each step of .25."""
    flow = kernel_gradient_flow(HAND, HAND, TARGETS, [0, 1.5])
    expected = [4 * (1 - math.exp(-3)), -(1 - math.exp(-1.5))]
    assert flow.shape == (2, 2) and flow[0].tolist() == [0, 0] and flow[1].tolist() == pytest.approx(expected)
    steps = kernel_gradient_descent(HAND, HAND, TARGETS, [0, 1, 2], learning_rate=0.25)
    assert steps.flatten().tolist() == pytest.approx([0, 0, 2, -0.25, 3, -0.4375])
    read = kernel_gradient_descent(HAND, READ, TARGETS, [1], learning_rate=0.25)
    assert read.shape == (1, 1) and read.item() == pytest.approx(0.25 * (1 * 4 - 3 * 1))
    start = torch.tensor([1.0, 0.0])
    moved = kernel_gradient_descent(
        HAND, HAND, TARGETS, [0, 1], learning_rate=0.25, start_train=start, start_test=start
    )
    assert moved.flatten().tolist() == pytest.approx([1, 0, 2.5, -0.25])
    bouncing = kernel_gradient_descent(HAND, HAND, TARGETS, [1, 2, 3], learning_rate=0.75)  # 1 - 1.5 = -.5
    assert bouncing[:, 0].tolist() == pytest.approx([6, 3, 4.5])


@given(st.integers(0, 999), st.sampled_from([0.001, 0.02, 0.06]))
def test_descent_is_the_training_of_a_linear_model(seed, learning_rate):
    """The model's kernel is that of its features: weights really trained, with a start that is not 0."""
    train, test, y = problem(seed)
    weights = problem(seed + 1)[1].T[:, :2].clone().requires_grad_()
    starts = {"start_train": (train @ weights).detach(), "start_test": (test @ weights).detach()}
    outputs = []
    for _ in range(8):
        outputs.append((test @ weights).detach())
        (gradient,) = torch.autograd.grad((train @ weights - y).square().sum() / 2, weights)
        weights = (weights - learning_rate * gradient).detach().requires_grad_()
    found = kernel_gradient_descent(train @ train.T, test @ train.T, y, range(8), learning_rate=learning_rate, **starts)
    torch.testing.assert_close(found, torch.stack(outputs), rtol=1e-8, atol=1e-8)


@given(st.integers(0, 999))
def test_flow_is_the_solution_of_its_equation(seed):
    """Against a Runge-Kutta solver for training and test outputs together."""
    train, test, y = (t.numpy() for t in problem(seed, outputs=1))
    kernel, read = train @ train.T, np.concatenate([train, test]) @ train.T
    start = np.random.default_rng(seed).normal(size=9)
    solved = solve_ivp(
        lambda _, f: -read @ (f[:6] - y[:, 0]), (0, 0.7), start, t_eval=[0.2, 0.7], rtol=1e-10, atol=1e-10
    )
    found = kernel_gradient_flow(
        *map(torch.tensor, (kernel, read, y[:, 0])), [0.2, 0.7],
        start_train=torch.tensor(start[:6]), start_test=torch.tensor(start),
    )  # fmt: skip
    np.testing.assert_allclose(found.numpy(), solved.y.T, rtol=1e-7, atol=1e-7)


@given(st.integers(0, 999))
def test_courses_end_in_the_regression(seed):
    train, test, y = problem(seed)
    kernel, across = train @ train.T, test @ train.T
    end = kernel_regression(kernel, across, y)
    rate = 1 / float(torch.linalg.eigvalsh(kernel)[-1])
    flow = kernel_gradient_flow(kernel, across, y, [1e12])
    descent = kernel_gradient_descent(kernel, across, y, [10**12], learning_rate=rate)
    assert flow.shape == (1, 3, 2)
    for course in (flow, descent):
        torch.testing.assert_close(course[0], end, rtol=1e-6, atol=1e-6)


def test_a_duplicate_is_no_obstacle_to_training():
    """Two equal inputs with targets 1 and 3: both outputs go to 2, and the kernel is singular."""
    kernel = torch.ones(2, 2)
    targets = torch.tensor([1.0, 3.0])
    flow = kernel_gradient_flow(kernel, kernel, targets, [0.3, 100.0])
    assert flow.flatten().tolist() == pytest.approx([2 * (1 - math.exp(-0.6))] * 2 + [2] * 2)
    descent = kernel_gradient_descent(kernel, kernel, targets, [1, 500], learning_rate=0.25)
    assert descent.flatten().tolist() == pytest.approx([1, 1, 2, 2])
    wild = kernel_gradient_descent(kernel, kernel, targets, [2000], learning_rate=4.0)
    assert not torch.isfinite(wild).any() or wild.abs().min() > 1e6  # diverges, but is a number or infinite
    assert not torch.isnan(wild).any()


def test_slow_directions_are_exact():
    """1 - (1 - r)^steps where r is far below the rounding of 1."""
    found = kernel_gradient_descent(torch.eye(2), torch.eye(2), TARGETS, [3], learning_rate=1e-20)
    torch.testing.assert_close(found[0], (3e-20 * TARGETS).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(kernel_gradient_flow(torch.eye(2), torch.eye(2), TARGETS, [1e-20])[0],
                               (1e-20 * TARGETS).double(), rtol=1e-6, atol=0)  # fmt: skip


def test_a_wide_pruned_network_follows_its_kernel():
    """Full-batch descent on a network of width 2,000 with 30 % live stays near the course of its own kernel at the
    start, which is near kappa times the dense one of infinite width.
    """
    train, _, y = problem(3, n=5, outputs=1, rank=4)
    test = problem(4, n=4, rank=4)[0]
    weights, masks = draw_network(4, 2000, 1, keep=0.3, generator=torch.Generator().manual_seed(0))
    x = torch.cat([train, test])
    kernel = empirical_ntk(weights, x, masks)
    begin = network_output(weights, x, masks)[:, 0]
    rate, steps = 0.2, 60
    for _ in range(steps):
        weights = [w.detach().requires_grad_() for w in weights]
        loss = (network_output(weights, train, masks)[:, 0] - y[:, 0]).square().sum() / 2
        gradients = torch.autograd.grad(loss, weights)
        weights = [w - rate * g for w, g in zip(weights, gradients, strict=True)]
    trained = network_output(weights, x, masks)[:, 0].detach()
    (found,) = kernel_gradient_descent(
        kernel[:5, :5], kernel[:, :5], y[:, 0], [steps], learning_rate=rate, start_train=begin[:5], start_test=begin
    )
    moved = (trained - begin).norm()
    assert (found - trained).norm() < 0.05 * moved
    (late,) = kernel_gradient_descent(
        kernel[:5, :5], kernel[:, :5], y[:, 0], [4 * steps], learning_rate=rate, start_train=begin[:5], start_test=begin
    )
    assert (late - trained).norm() > 0.05 * moved  # time matters: it is not just the end
    limit = 0.3 * relu_kernels(x, hidden_layers=1)[1]
    assert (kernel - limit).norm() < 0.15 * limit.norm()


def test_numbers_of_lower_precision_are_welcome():
    train, test, y = problem()
    expected = kernel_regression(train @ train.T, test @ train.T, y)
    skew = torch.tensor([[1 + 1e-6]]).expand(6, 6).triu(1) + torch.ones(6, 6).tril()  # a product of float32 rounds so
    found = kernel_regression((train @ train.T).float() * skew, (test @ train.T).float(), y.float())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def flow(**start):
    return kernel_gradient_flow(HAND, READ, TARGETS, [1], **start)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: kernel_regression(HAND, READ, torch.ones(3)), ("kernel.shape", "(2, 2)", "(3, 3)")),
        (lambda: kernel_regression(HAND, READ, torch.ones(0)), ("y_train.shape", "(0,)")),
        (lambda: kernel_regression(HAND, READ, torch.ones(2, 1, 1)), ("y_train.shape", "(2, 1, 1)", "outputs")),
        (lambda: kernel_regression(HAND, READ.T, TARGETS), ("kernel_test_train.shape", "(2, 1)", "(m, 2)")),
        (lambda: kernel_regression(HAND, READ[0], TARGETS), ("kernel_test_train.shape", "(2,)", "(m, 2)")),
        (lambda: kernel_regression(HAND / 0, READ, TARGETS), ("kernel", "NaN or infinite")),
        (lambda: kernel_regression(HAND, READ / 0, TARGETS), ("kernel_test_train", "2 NaN or infinite")),
        (lambda: kernel_regression(HAND, READ, TARGETS / 0), ("y_train", "2 NaN or infinite")),
        (lambda: kernel_regression(HAND + READ, READ, TARGETS), ("kernel", "transpose", "symmetric")),
        (lambda: kernel_regression(torch.ones(2, 2), READ, TARGETS), ("kernel", "singular", "ridge > 0")),
        (lambda: kernel_regression(-HAND, READ, TARGETS), ("kernel", "singular", "duplicate")),
        (lambda: kernel_regression(torch.zeros(2, 2), READ, TARGETS), ("kernel", "singular")),
        (lambda: kernel_regression(HAND, READ, TARGETS, ridge=-1), ("ridge", "-1", "0 or more")),
        (lambda: kernel_regression(HAND, READ, TARGETS, ridge=math.inf), ("ridge", "inf")),
        (lambda: kernel_gradient_flow(HAND, READ, TARGETS, []), ("times", "[]", "0 or more")),
        (lambda: kernel_gradient_flow(HAND, READ, TARGETS, [1, -1]), ("times", "[1, -1]", "0 or more")),
        (lambda: flow(start_train=torch.ones(3)), ("start_train.shape", "(3,)", "(2,)")),
        (lambda: flow(start_test=torch.ones(2)), ("start_test.shape", "(2,)", "(1,)")),
        (lambda: kernel_gradient_descent(HAND, READ, TARGETS, [], learning_rate=0.1), ("steps", "[]")),
        (lambda: kernel_gradient_descent(HAND, READ, TARGETS, [0.5], learning_rate=0.1), ("steps", "[0.5]", "whole")),
        (lambda: kernel_gradient_descent(HAND, READ, TARGETS, [-1], learning_rate=0.1), ("steps", "[-1]", "0 or more")),
        (lambda: kernel_gradient_descent(HAND, READ, TARGETS, [1], learning_rate=0), ("learning_rate", "0", "below 2")),
    ],
    ids=case_name,
)  # fmt: skip
def test_errors(call, words):
    assert_one_line_error(call, *words)
