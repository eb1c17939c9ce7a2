"""criteria.hessian_diagonal: every estimator against a whole matrix computed another way. "lecun": test_lecun.py."""

import math

import pytest
import torch
from errors import assert_one_line_error, case_name
from torch import nn
from torch.func import functional_call, jacrev

from lttlib import criteria
from lttlib.criteria import ESTIMATORS, hessian_diagonal

LOSSES = [nn.CrossEntropyLoss(), nn.MSELoss()]
ROWS = 5


def problem(loss, activation=nn.Tanh, seed: int = 0):
    """A 3-4-2 network in float64, five inputs, targets of the kind that loss takes."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), activation(), nn.Linear(4, 2)).double()
    x = torch.randn(ROWS, 3, dtype=torch.float64)
    y = torch.randint(0, 2, (ROWS,)) if isinstance(loss, nn.CrossEntropyLoss) else torch.randn(ROWS, 2).double()
    return model, x, y


def flat(values) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in values])


def at(model, vector):
    """Parameters of the model by name, taken from one flat vector."""
    parts = vector.split([p.numel() for p in model.parameters()])
    return {name: part.view(p.shape) for (name, p), part in zip(model.named_parameters(), parts, strict=True)}


def whole_hessian(model, loss, x, y) -> torch.Tensor:
    def of_vector(vector):
        return loss(functional_call(model, at(model, vector), (x,)), y)

    return torch.autograd.functional.hessian(of_vector, flat(model.parameters()))


def whole_ggn(model, loss, x, y) -> torch.Tensor:
    """J^T H J, with J of all outputs of all rows and H of the loss at all of them."""
    jacobian = jacrev(lambda vector: functional_call(model, at(model, vector), (x,)).flatten())(
        flat(model.parameters())
    )
    outputs = model(x).detach()
    of_outputs = torch.autograd.functional.hessian(lambda out: loss(out.view(outputs.shape), y), outputs.flatten())
    return jacobian.T @ of_outputs @ jacobian


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_exact_is_the_diagonal_of_the_whole_hessian(loss):
    model, x, y = problem(loss)
    found = flat(hessian_diagonal(model, loss, x, y, estimator="exact").values())
    torch.testing.assert_close(found, whole_hessian(model, loss, x, y).diagonal())
    assert found.min() < 0  # a tanh network is not convex


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_exact_against_finite_differences(loss):
    model, x, y = problem(loss)
    start, h = flat(model.parameters()), 1e-4
    found = flat(hessian_diagonal(model, loss, x, y, estimator="exact").values())
    for i in range(len(start)):
        step = h * (torch.arange(len(start)) == i)
        with torch.no_grad():
            values = [float(loss(functional_call(model, at(model, start + k * step), (x,)), y)) for k in (-1, 0, 1)]
        assert (values[0] - 2 * values[1] + values[2]) / h**2 == pytest.approx(float(found[i]), abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_ggn_is_the_diagonal_of_the_whole_product(loss, activation):
    model, x, y = problem(loss, activation)
    found = flat(hessian_diagonal(model, loss, x, y, estimator="ggn").values())
    torch.testing.assert_close(found, whole_ggn(model, loss, x, y).diagonal())
    assert found.min() >= 0


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_relu_network_is_linear_in_each_weight_so_exact_is_ggn(loss):
    model, x, y = problem(loss, nn.ReLU)
    exact, ggn = (hessian_diagonal(model, loss, x, y, estimator=name) for name in ("exact", "ggn"))
    for name in exact:
        torch.testing.assert_close(exact[name], ggn[name])
    model, x, y = problem(loss, nn.Tanh)
    exact, ggn = (hessian_diagonal(model, loss, x, y, estimator=name) for name in ("exact", "ggn"))
    assert not torch.allclose(exact["0.weight"], ggn["0.weight"], rtol=0.1)
    torch.testing.assert_close(exact["2.weight"], ggn["2.weight"])  # nothing bends after the last layer


def test_by_hand():  # loss = mean of (w x - y)^2 over x = 1, 2, 3: second derivative 2 * 14 / 3, whatever y
    model, x = nn.Linear(1, 1, bias=False), torch.tensor([[1.0], [2], [3]])
    model = nn.Sequential(model)
    for estimator in ESTIMATORS:  # one parameter: all four agree
        found = hessian_diagonal(model, nn.MSELoss(), x, x * 5, estimator=estimator, generator=torch.Generator())
        assert float(found["0.weight"]) == pytest.approx(28 / 3), estimator


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_hutchinson_errs_as_theory_says(loss, generator):
    """One draw has variance sum over j of H_ij^2, j other than i, when the signs are drawn on all parameters jointly."""
    model, x, y = problem(loss)
    h, draws = whole_hessian(model, loss, x, y), 800
    found = flat(hessian_diagonal(model, loss, x, y, estimator="hutchinson", draws=draws, generator=generator).values())
    variance = (h**2).sum(1) - h.diagonal() ** 2
    errors = (found - h.diagonal()) / (variance / draws).sqrt()
    assert errors.abs().max() < 4.5
    assert 0.6 < errors.square().mean().sqrt() < 1.5


def test_hutchinson_follows_its_generator():
    model, x, y = problem(LOSSES[0])
    first, again, other = (
        flat(hessian_diagonal(model, LOSSES[0], x, y, estimator="hutchinson", generator=torch.Generator().manual_seed(s)).values())
        for s in (0, 0, 1)
    )  # fmt: skip
    assert first.equal(again) and not torch.allclose(first, other)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_result_speaks_of_every_parameter_and_changes_none(estimator, loss, generator):
    model, x, y = problem(loss, nn.ReLU)
    before = flat(model.parameters()).clone()
    found = hessian_diagonal(model, loss, x, y, estimator=estimator, generator=generator)
    assert {name: value.shape for name, value in found.items()} == {n: p.shape for n, p in model.named_parameters()}
    assert not any(value.requires_grad for value in found.values())
    assert flat(model.parameters()).equal(before)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("estimator", ["exact", "ggn", "lecun"])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_loss_averages_over_the_batch(estimator, loss):
    model, x, y = problem(loss)
    whole = flat(hessian_diagonal(model, loss, x, y, estimator=estimator).values())
    rows = [
        flat(hessian_diagonal(model, loss, x[i : i + 1], y[i : i + 1], estimator=estimator).values())
        for i in range(ROWS)
    ]
    torch.testing.assert_close(whole, torch.stack(rows).mean(0))
    twice = flat(hessian_diagonal(model, loss, x.repeat(2, 1), torch.cat([y, y]), estimator=estimator).values())
    torch.testing.assert_close(whole, twice)


@pytest.mark.parametrize("estimator", ["exact", "ggn"])
def test_chunks_leave_no_seam(estimator, monkeypatch):
    model, x, y = problem(LOSSES[0])
    whole = flat(hessian_diagonal(model, LOSSES[0], x, y, estimator=estimator).values())
    monkeypatch.setattr(criteria, "CHUNK", 3)  # 5 rows and 12 + 4 + 8 + 2 parameters: no multiple of 3 but the first
    torch.testing.assert_close(flat(hessian_diagonal(model, LOSSES[0], x, y, estimator=estimator).values()), whole)


class Branching(nn.Module):
    """Not a Sequential: a shared layer and a shortcut."""

    def __init__(self):
        super().__init__()
        self.shared, self.out = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.out(torch.tanh(self.shared(torch.tanh(self.shared(x)))) + x)


def test_any_module_will_do_for_exact_and_ggn():
    _, x, y = problem(LOSSES[0])
    model = Branching().double()
    for estimator, whole in (("exact", whole_hessian), ("ggn", whole_ggn)):
        found = flat(hessian_diagonal(model, LOSSES[0], x, y, estimator=estimator).values())
        torch.testing.assert_close(found, whole(model, LOSSES[0], x, y).diagonal())
    assert_one_line_error(
        lambda: hessian_diagonal(model, LOSSES[0], x, y, estimator="lecun"),
        "model",
        "Branching",
        "'ggn'",
        error=TypeError,
    )


@pytest.mark.parametrize(
    "change, words",
    [
        ({"estimator": "fisher"}, ("estimator", "'fisher'", "'exact'", "'ggn'", "'lecun'", "'hutchinson'", "spelling")),
        ({"estimator": "hutchinson"}, ("generator", "None", "torch.Generator().manual_seed(0)")),
        ({"estimator": "hutchinson", "generator": torch.Generator(), "draws": 0}, ("draws", "0", "1 or more", "sqrt")),
        ({"targets": torch.zeros(4).long()}, ("targets", "4 rows", "5, one per input")),
        ({"inputs": torch.zeros(0, 3), "targets": torch.zeros(0)}, ("targets", "0 rows", "one per input")),
        ({"inputs": torch.full((5, 3), math.nan).double()}, ("inputs", "15 NaN", "finite")),
    ],
    ids=case_name,
)
def test_errors(change, words):
    model, x, y = problem(LOSSES[0])
    arguments = {"inputs": x, "targets": y, "estimator": "exact"} | change
    assert_one_line_error(lambda: hessian_diagonal(model, LOSSES[0], **arguments), *words)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_nan_weights_are_named(estimator, generator):
    model, x, y = problem(LOSSES[0])
    model[2].weight.data[0, 0] = math.nan
    assert_one_line_error(
        lambda: hessian_diagonal(model, LOSSES[0], x, y, estimator=estimator, generator=generator),
        "2.weight", "1 NaN", "finite", "training history",
    )  # fmt: skip
