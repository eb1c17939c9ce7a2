"""Regression with a kernel, and the whole course of training that a tangent kernel predicts.

Jacot et al. 2018, arXiv:1806.07572. Minimize sum over rows of ||f - y||^2 / 2 by gradient flow. Where the kernel K
stays as it was at the start, the outputs on the training rows obey df/dt = -K (f - y), so

    f_t(x) = f_0(x) + k(x) K^-1 (1 - exp(-K t)) (y - f_0),    f_inf(x) = f_0(x) + k(x) K^-1 (y - f_0)

Along an eigenvector of K with eigenvalue s the error falls as exp(-s t); under gradient descent with learning rate r as
(1 - r s)^steps. A factor c on the kernel changes nothing at the end and is a factor c on time or on the learning rate
on the way: random pruning by kappa in L layers, kernel kappa^L K, only slows the training down, 1 / kappa^L times. A
ridge breaks that: it must be scaled, too. Book: "The tangent kernel of a pruned network".
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lttlib.arguments import require, require_finite

SINGULAR = 1e-11  # of the largest pivot; less leaves no more than about four digits of the answer


def centered_one_hot(labels: Tensor, classes: int) -> Tensor:
    """Targets float64 (n, classes): 1 - 1 / classes in the column of the label, -1 / classes elsewhere."""
    return torch.nn.functional.one_hot(labels.long(), classes).double() - 1 / classes


def kernel_regression(kernel: Tensor, kernel_test_train: Tensor, y_train: Tensor, *, ridge: float = 0.0) -> Tensor:
    """Predictions k (K + ridge I)^-1 y, float64.

    kernel: K, (n, n) among the training rows. kernel_test_train: k, (m, n). y_train: (n,) or (n, outputs), the result
    (m,) or (m, outputs). With ridge=0 the fit passes through all targets, whatever the scale of the kernel; K must then
    be regular. It is not if two training rows are equal, nor for one hidden layer without biases if more than d0 pairs
    of rows are opposite, since relu(u) - relu(-u) = u makes f(x) - f(-x) linear.
    """
    kernel, kernel_test_train, y_train = _checked(kernel, kernel_test_train, y_train)
    require(0 <= ridge < float("inf"), "ridge", ridge, "a number, 0 or more", "0 fits all targets")
    factor, failed = torch.linalg.cholesky_ex(kernel + ridge * torch.eye(len(kernel)).to(kernel))
    pivots = factor.diagonal().square()
    whole = not failed and pivots.min() > SINGULAR * pivots.max()
    require(bool(whole), "kernel", f"matrix ({len(kernel)}, {len(kernel)}), singular up to rounding",
            "a positive definite one", "drop duplicate or opposite training rows, or set ridge > 0")  # fmt: skip
    columns = y_train if y_train.ndim == 2 else y_train[:, None]
    return (kernel_test_train @ torch.cholesky_solve(columns, factor)).reshape(-1, *y_train.shape[1:])


def kernel_gradient_flow(
    kernel: Tensor,
    kernel_test_train: Tensor,
    y_train: Tensor,
    times: Sequence[float],
    *,
    start_train: Tensor | None = None,
    start_test: Tensor | None = None,
) -> Tensor:
    """Outputs f_t on the test rows after each time of `times`, float64 (times, m) or (times, m, outputs).

    kernel, kernel_test_train, y_train: as in kernel_regression. Loss: half the sum of squares over rows and outputs.
    start_train, start_test: outputs before training, shapes of y_train and of a prediction; 0 if None.
    Pass kernel itself as kernel_test_train, and start_train as start_test, for the course on the training rows.
    """
    require(min(times, default=-1) >= 0, "times", list(times), "numbers, 0 or more", "time 0 is the start")

    def learned(eigenvalues: Tensor, time: float) -> Tensor:
        return -torch.expm1(-eigenvalues * time)

    return _course(kernel, kernel_test_train, y_train, times, learned, start_train, start_test)


def kernel_gradient_descent(
    kernel: Tensor,
    kernel_test_train: Tensor,
    y_train: Tensor,
    steps: Sequence[int],
    *,
    learning_rate: float,
    start_train: Tensor | None = None,
    start_test: Tensor | None = None,
) -> Tensor:
    """As kernel_gradient_flow, after each number of full-batch steps in `steps`.

    Loss: half the sum of squares over rows and outputs. torch's MSELoss is the mean instead: its learning rate r is
    2 r / (n outputs) here. Above 2 / (largest eigenvalue) the course diverges, as training would.
    """
    whole = all(isinstance(step, int) and step >= 0 for step in steps)
    require(whole and len(steps) > 0, "steps", list(steps), "whole numbers, 0 or more", "0 is the start")
    require(learning_rate > 0, "learning_rate", learning_rate, "a positive number", "below 2 / (largest eigenvalue)")

    def learned(eigenvalues: Tensor, step: int) -> Tensor:
        rates = learning_rate * eigenvalues
        slow = -torch.expm1(step * torch.log1p(-rates.clamp(max=0.5)))  # no cancellation at small rates
        return torch.where(rates < 0.5, slow, 1 - (1 - rates) ** step)

    return _course(kernel, kernel_test_train, y_train, steps, learned, start_train, start_test)


def _course(
    kernel: Tensor,
    kernel_test_train: Tensor,
    y_train: Tensor,
    moments: Sequence[float],
    learned: Callable[[Tensor, float], Tensor],
    start_train: Tensor | None,
    start_test: Tensor | None,
) -> Tensor:
    """start + k V (learned(s) / s) V^T (y - start) at each moment, with K = V diag(s) V^T."""
    kernel, kernel_test_train, y_train = _checked(kernel, kernel_test_train, y_train)
    shape = (len(kernel_test_train), *y_train.shape[1:])
    for name, given, wanted in (("start_train", start_train, y_train.shape), ("start_test", start_test, shape)):
        fits = given is None or given.shape == wanted
        require(fits, f"{name}.shape", None if given is None else tuple(given.shape), tuple(wanted),
                "one row per input, columns as in y_train")  # fmt: skip
    columns = y_train if y_train.ndim == 2 else y_train[:, None]
    missing = columns if start_train is None else columns - start_train.to(columns).reshape(columns.shape)
    eigenvalues, vectors = torch.linalg.eigh(kernel)
    present = eigenvalues > len(kernel) * torch.finfo(kernel.dtype).eps * eigenvalues[-1]  # else noise: not learned
    along, read = vectors.T @ missing, kernel_test_train @ vectors
    begin = 0.0 if start_test is None else start_test.to(kernel)
    return torch.stack([
        begin + (read @ (reached[:, None] * along)).reshape(shape)
        for moment in moments
        for reached in [(learned(eigenvalues, moment) / eigenvalues).where(present, 0.0)]
    ])  # fmt: skip


def _checked(kernel: Tensor, kernel_test_train: Tensor, y_train: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All three in float64; errors unless they fit together."""
    n = len(y_train)
    require(y_train.ndim in (1, 2) and n > 0, "y_train.shape", tuple(y_train.shape), "(n,) or (n, outputs)",
            "see centered_one_hot")  # fmt: skip
    require(kernel.shape == (n, n), "kernel.shape", tuple(kernel.shape), f"({n}, {n})", "one row per target")
    fits = kernel_test_train.ndim == 2 and kernel_test_train.shape[1] == n
    require(fits, "kernel_test_train.shape", tuple(kernel_test_train.shape), f"(m, {n})",
            "rows are test inputs, columns training inputs")  # fmt: skip
    for name, tensor in (("kernel", kernel), ("kernel_test_train", kernel_test_train), ("y_train", y_train)):
        require_finite(tensor, name)
    kernel = kernel.double()
    skew = float((kernel - kernel.T).abs().max() / kernel.abs().max().clamp(min=1e-300))
    require(skew < 1e-4, "kernel", f"matrix that differs from its transpose by {skew:.1g}", "a symmetric one",
            "kernel_test_train is the one with test rows")  # fmt: skip
    return kernel, kernel_test_train.double(), y_train.double()
