"""The recursion of Optimal Brain Damage against one written with loops and one written with whole Jacobians."""

import pytest
import torch
from errors import assert_one_line_error, case_name
from torch import nn
from torch.autograd.functional import jacobian

from lttlib.criteria import hessian_diagonal
from lttlib.lecun import lecun_diagonal
from lttlib.models import lenet5

CE, MSE = nn.CrossEntropyLoss(), nn.MSELoss()


def problem(model, shape, outputs, loss, seed=0):
    """Inputs of that shape and targets that fit loss; everything in float64."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=draw, dtype=torch.float64)
    y = torch.randint(0, outputs, (shape[0],), generator=draw)
    return model.double(), x, y if loss is CE else nn.functional.one_hot(y, outputs).double()


def output_curvature(loss, out, y) -> torch.Tensor:
    """Diagonal of one row's loss Hessian in closed form: p (1 - p), or 2 / outputs."""
    if loss is CE:
        p = out.softmax(0)
        return p * (1 - p)
    return torch.full_like(out, 2 / len(out))


@pytest.mark.parametrize("loss", [CE, MSE], ids=str)
def test_perceptron_against_loops(loss):
    torch.manual_seed(0)
    model, x, y = problem(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), (5, 3), 2, loss)
    (w1, b1), (w2, b2) = ([p.detach() for p in layer.parameters()] for layer in (model[0], model[2]))
    h_w1, h_b1, h_w2, h_b2 = (torch.zeros_like(p) for p in (w1, b1, w2, b2))
    for row, target in zip(x, y, strict=True):
        hidden = torch.tanh(w1 @ row + b1)
        h_out = output_curvature(loss, w2 @ hidden + b2, target)
        for o in range(2):
            h_b2[o] += h_out[o] / 5
            for j in range(4):
                h_w2[o, j] += h_out[o] * hidden[j] ** 2 / 5
        for j in range(4):
            slope = 1 - hidden[j] ** 2
            h_j = slope**2 * sum(w2[o, j] ** 2 * h_out[o] for o in range(2))
            h_b1[j] += h_j / 5
            for i in range(3):
                h_w1[j, i] += h_j * row[i] ** 2 / 5
    for value, expected in zip(lecun_diagonal(model, loss, x, y).values(), (h_w1, h_b1, h_w2, h_b2), strict=True):
        torch.testing.assert_close(value, expected)


def by_jacobians(model, loss, x, y) -> dict[str, torch.Tensor]:
    """Independent: row by row, layer by layer, h_in = (J^2)^T h_out with the layer's whole Jacobian, weights unshared."""
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for row, target in zip(x, y, strict=True):
        entering = [row[None]]
        for layer in model:
            entering.append(layer(entering[-1]).detach())
        curvature = output_curvature(loss, entering[-1][0], target)
        for (name, layer), value in reversed(list(zip(model.named_children(), entering, strict=False))):
            for key, p in layer.named_parameters():

                def of_parameter(p, key=key, layer=layer, value=value):
                    return torch.func.functional_call(layer, {key: p}, (value,)).flatten()

                squared = jacobian(of_parameter, p.detach()).flatten(1) ** 2  # (outputs, weights)
                total[f"{name}.{key}"] += (curvature @ squared).view(p.shape) / len(x)
            squared = jacobian(lambda v, layer=layer: layer(v).flatten(), value).flatten(1) ** 2
            curvature = curvature @ squared
    return total


def convolutional(*middle, channels=2, **options):
    """(rows, 50) -> one 5x5 image of two channels -> convolution -> middle -> logits."""
    layers = [nn.Unflatten(1, (2, 5, 5)), nn.Conv2d(2, channels, 3, **options), *middle, nn.Flatten()]
    width = nn.Sequential(*layers)(torch.zeros(1, 50)).shape[1]
    return nn.Sequential(*layers, nn.Linear(width, 3))


@pytest.mark.parametrize(
    "make",
    [
        lambda: convolutional(nn.ReLU()),
        lambda: convolutional(nn.Tanh(), padding=1, bias=False),
        lambda: convolutional(nn.ReLU(), stride=2, padding=1),
        lambda: convolutional(nn.ReLU(), padding=2, dilation=2),
        lambda: convolutional(nn.ReLU(), groups=2, channels=4, padding=(1, 0), stride=(1, 2)),
        lambda: convolutional(nn.MaxPool2d(2), nn.ReLU()),
        lambda: convolutional(nn.Tanh(), nn.MaxPool2d(2, stride=1)),
        lambda: convolutional(nn.Tanh(), nn.AvgPool2d(3)),
        lambda: convolutional(nn.AvgPool2d((2, 3), stride=1), nn.Tanh()),
        lambda: convolutional(nn.AvgPool2d(2, padding=1), nn.Tanh()),
        lambda: convolutional(nn.ReLU(), nn.Conv2d(2, 3, 2), nn.Sigmoid()),
        lambda: nn.Sequential(nn.Linear(50, 4), nn.GELU(), nn.Linear(4, 4, bias=False), nn.Identity(), nn.Linear(4, 3)),
        lambda: nn.Sequential(nn.Linear(50, 4), nn.SiLU(), nn.Linear(4, 4), nn.ELU(), nn.Linear(4, 3)),
        lambda: nn.Sequential(nn.Linear(50, 4), nn.LeakyReLU(), nn.Linear(4, 4), nn.Softplus(), nn.Linear(4, 3)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("loss", [CE, MSE], ids=str)
def test_every_layer_against_its_jacobian(make, loss):
    torch.manual_seed(0)
    model, x, y = problem(make(), (3, 50), 3, loss)
    found, expected = lecun_diagonal(model, loss, x, y), by_jacobians(model, loss, x, y)
    assert list(found) == [name for name, _ in model.named_parameters()]
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(
    "pool",
    [nn.AvgPool2d(2, ceil_mode=True), nn.AvgPool2d(2, padding=1, count_include_pad=False), nn.AvgPool2d(2, divisor_override=3)],
    ids=str,
)  # fmt: skip
def test_odd_averages_are_right_or_refused(pool):
    model, x, y = problem(convolutional(pool, nn.Tanh()), (3, 50), 3, CE)
    try:
        found = lecun_diagonal(model, CE, x, y)
    except (TypeError, ValueError):
        return
    expected = by_jacobians(model, CE, x, y)
    torch.testing.assert_close(found["1.weight"], expected["1.weight"])


@pytest.mark.parametrize("loss", [CE, MSE], ids=str)
def test_one_linear_layer_leaves_nothing_to_drop(loss):
    model, x, y = problem(nn.Sequential(nn.Linear(3, 4)), (6, 3), 4, loss)
    for estimator in ("ggn", "exact"):
        expected = hessian_diagonal(model, loss, x, y, estimator=estimator)
        for name, value in lecun_diagonal(model, loss, x, y).items():
            torch.testing.assert_close(value, expected[name])


def test_last_layer_agrees_with_ggn_and_the_first_does_not():
    torch.manual_seed(0)
    model, x, y = problem(nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 4)), (6, 3), 4, CE)
    found, ggn = lecun_diagonal(model, CE, x, y), hessian_diagonal(model, CE, x, y, estimator="ggn")
    torch.testing.assert_close(found["2.weight"], ggn["2.weight"])
    assert not torch.allclose(found["0.weight"], ggn["0.weight"], rtol=0.05)  # off-diagonal terms were dropped
    assert all((value >= 0).all() for value in found.values())


def test_inplace_activations_change_nothing():
    torch.manual_seed(0)
    model, x, y = problem(nn.Sequential(nn.Linear(3, 6), nn.ELU(), nn.Linear(6, 4)), (6, 3), 4, CE)
    expected = lecun_diagonal(model, CE, x, y)
    model[1].inplace = True
    for name, value in lecun_diagonal(model, CE, x, y).items():
        torch.testing.assert_close(value, expected[name])


def test_lenet5_at_full_size(generator):
    x, y = torch.rand(2, 784, generator=generator), torch.tensor([3, 8])
    model = lenet5(generator=generator)
    found = hessian_diagonal(model, CE, x, y, estimator="lecun")
    assert {name: value.shape for name, value in found.items()} == {n: p.shape for n, p in model.named_parameters()}
    assert all(torch.isfinite(value).all() and (value >= 0).all() and value.any() for value in found.values())


@pytest.mark.parametrize(
    "model, error, words",
    [
        (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), TypeError, ("model", "BatchNorm1d", "'ggn'")),
        (nn.Sequential(nn.Linear(4, 4), nn.Softmax(1)), TypeError, ("model", "Softmax", "'ggn'")),
        (nn.Linear(4, 4), TypeError, ("model", "Linear", "nn.Sequential", "'ggn'")),
        (nn.Sequential(nn.Conv2d(1, 1, 3, padding="same")), ValueError, ("padding of layer 0", "same", "'ggn'")),
        (nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")), ValueError, ("padding", "'ggn'")),
    ],
    ids=case_name,
)
def test_errors(model, error, words):
    assert_one_line_error(
        lambda: lecun_diagonal(model, CE, torch.ones(2, 4), torch.zeros(2).long()), *words, error=error
    )
