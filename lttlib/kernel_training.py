"""Train a pruned network with one output, in the parameterization whose limit is the tangent kernel.

Full-batch gradient descent on half the sum of squares, so that kernel_gradient_descent of lttlib.kernel_regression, with
the same learning rate, predicts the outputs after every step. How far the prediction holds is how far the network is from
the kernel regime. Book: "The tangent kernel of a pruned network".
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lttlib.arguments import require, require_finite
from lttlib.ntk import network_output


class Course(NamedTuple):
    """Outputs on the training rows (moments, n) and on the test rows (moments, m), and the weights at the end."""

    train: Tensor
    test: Tensor
    weights: list[Tensor]


def train_pruned(
    weights: Sequence[Tensor],
    masks: Sequence[Tensor | None],
    x: Tensor,
    y: Tensor,
    x_test: Tensor,
    *,
    learning_rate: float,
    steps: Sequence[int],
    scale: float = 1.0,
) -> Course:
    """Outputs after each number of steps in `steps`, ascending; the given weights are left as they are.

    weights, masks: as in lttlib.ntk.empirical_ntk. x: (n, d0), y: (n,), x_test: (m, d0), dtype of the weights.
    scale: what the network's output is multiplied with; keep^(-L/2) is the rescaling inside the graph of
    lttlib.pruned_kernels. Only survivors move. Above 2 / (largest eigenvalue of the kernel) training diverges; outputs
    beyond 10^4 times the largest target raise FloatingPointError.
    """
    require(y.shape == (len(x),), "y.shape", tuple(y.shape), f"({len(x)},)", "one target per row of x")
    require(list(steps) == sorted(set(steps)) and min(steps, default=-1) >= 0, "steps", list(steps),
            "whole numbers, ascending, 0 or more", "0 is the start")  # fmt: skip
    require(0 < learning_rate < float("inf"), "learning_rate", learning_rate, "a positive number",
            "1 / (largest eigenvalue of the kernel) is safe")  # fmt: skip
    for name, rows in (("x", x), ("y", y), ("x_test", x_test)):
        require_finite(rows, name)
    weights = [weight.detach().clone().requires_grad_() for weight in weights]
    train, test, limit = [], [], 1e4 * y.abs().max()
    for step in range(steps[-1] + 1):
        output = scale * network_output(weights, x, masks)[:, 0]
        if not output.detach().abs().max() < limit:
            raise FloatingPointError(f"training diverged before step {step}: learning_rate = {learning_rate:g} is too "
                                     "large; take less than 2 / (largest eigenvalue of the kernel)")  # fmt: skip
        if step in steps:
            with torch.no_grad():
                train.append(output.detach().clone())
                test.append(scale * network_output(weights, x_test, masks)[:, 0])
        if step < steps[-1]:
            gradients = torch.autograd.grad((output - y).square().sum() / 2, weights)
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight -= learning_rate * gradient  # 0 where pruned: the mask is in the graph
    return Course(torch.stack(train), torch.stack(test), [weight.detach() for weight in weights])
