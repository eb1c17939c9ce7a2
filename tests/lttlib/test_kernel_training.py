"""Training of pruned networks beside their kernel: against torch.optim, what stays fixed, and where the kernel is right."""

import pytest
import torch
from errors import assert_one_line_error

from lttlib.kernel_regression import kernel_gradient_descent
from lttlib.kernel_training import train_pruned
from lttlib.ntk import empirical_ntk
from lttlib.pruned_kernels import draw_network


def task(width=32, keep=0.5, n=6, seed=0):
    draw = torch.Generator().manual_seed(seed)
    weights, masks = draw_network(5, width, 2, keep=keep, generator=draw)
    x, x_test = (torch.randn(rows, 5, generator=draw, dtype=torch.float64) for rows in (n, 4))
    return weights, masks, x, torch.where(torch.arange(n) % 2 == 0, 1.0, -1.0).double(), x_test


class Masked(torch.nn.Module):
    """The same network as modules, layer by layer."""

    def __init__(self, weights, masks):
        super().__init__()
        self.weights = torch.nn.ParameterList([w.clone() for w in weights])
        self.masks = [torch.ones_like(w, dtype=bool) if m is None else m for w, m in zip(weights, masks, strict=True)]

    def forward(self, x):
        for layer, (weight, mask) in enumerate(zip(self.weights, self.masks, strict=True)):
            x = torch.nn.functional.linear(x, (2 / weight.shape[1]) ** 0.5 * weight * mask)
            x = torch.relu(x) if layer + 1 < len(self.weights) else x
        return x.squeeze(1)


def test_equals_plain_sgd_on_modules():
    weights, masks, x, y, x_test = task()
    found = train_pruned(weights, masks, x, y, x_test, learning_rate=0.02, steps=[0, 1, 7], scale=1.5)
    model = Masked(weights, masks)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for step in range(8):
        if step in (0, 1, 7):
            at = [0, 1, 7].index(step)
            torch.testing.assert_close(found.train[at], 1.5 * model(x).detach())
            torch.testing.assert_close(found.test[at], 1.5 * model(x_test).detach())
        if step < 7:
            optimizer.zero_grad()
            (0.5 * (1.5 * model(x) - y) ** 2).sum().backward()
            optimizer.step()
    for mine, theirs in zip(found.weights, model.weights, strict=True):
        torch.testing.assert_close(mine, theirs.detach())


def test_pruned_weights_and_the_given_ones_stay():
    weights, masks, x, y, x_test = task()
    before = [weight.clone() for weight in weights]
    found = train_pruned(weights, masks, x, y, x_test, learning_rate=0.05, steps=[20])
    assert all(torch.equal(old, given) for old, given in zip(before, weights, strict=True))
    assert not torch.equal(found.weights[1], weights[1])
    for old, new, mask in zip(before[1:], found.weights[1:], masks[1:], strict=True):
        assert torch.equal(old[~mask], new[~mask])


@pytest.mark.parametrize("keep", [1.0, 0.3])
def test_a_wide_network_follows_its_own_kernel_and_a_narrow_one_less(keep):
    apart = []
    for width in (16, 1024):
        weights, masks, x, y, x_test = task(width, keep)
        both = torch.cat([x, x_test])
        kernel = empirical_ntk(weights, both, masks) / keep**2
        rate = 0.5 / float(torch.linalg.eigvalsh(kernel[:6, :6])[-1])
        found = train_pruned(weights, masks, x, y, x_test, learning_rate=rate, steps=[0, 40], scale=1 / keep)
        predicted = kernel_gradient_descent(kernel[:6, :6], kernel[6:, :6], y, [40], learning_rate=rate,
                                            start_train=found.train[0], start_test=found.test[0])[0]  # fmt: skip
        apart.append(float((found.test[1] - predicted).norm() / (predicted - found.test[0]).norm()))
    assert apart[1] < 0.12 and apart[1] < apart[0] / 3


def test_errors_name_the_argument():
    weights, masks, x, y, x_test = task()
    with pytest.raises(FloatingPointError, match=r"diverged before step .* learning_rate = 50"):
        train_pruned(weights, masks, x, y, x_test, learning_rate=50.0, steps=[30])
    assert_one_line_error(lambda: train_pruned(weights, masks, x, y[:3], x_test, learning_rate=0.1, steps=[1]),
                          "y.shape", "(3,)", "(6,)", "one target")  # fmt: skip
    assert_one_line_error(lambda: train_pruned(weights, masks, x, y, x_test, learning_rate=0.1, steps=[2, 1]), "steps",
                          "[2, 1]", "ascending", "0 is the start")  # fmt: skip
    assert_one_line_error(lambda: train_pruned(weights, masks, x, y, x_test, learning_rate=0.0, steps=[1]),
                          "learning_rate", "0.0", "positive", "eigenvalue")  # fmt: skip
    x[0, 0] = float("nan")
    assert_one_line_error(lambda: train_pruned(weights, masks, x, y, x_test, learning_rate=0.1, steps=[1]), "x", "NaN")
