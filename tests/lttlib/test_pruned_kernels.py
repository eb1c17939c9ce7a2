"""Pruning variants: finite networks against their limits, term by term; torch.func with each convention written out."""

import math
from itertools import product

import pytest
import torch
from errors import assert_one_line_error, case_name
from scipy import integrate, stats
from torch.func import jacrev

from lttlib.ntk import network_output, relu_contributions, relu_kernels
from lttlib.pruned_kernels import (
    VARIANTS,
    draw_network,
    draw_pruned_kernel,
    magnitude_energy,
    pruned_contributions,
    pruned_limit,
    pruning_factors,
)

X = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
SIGMAS = 5  # standard errors: kernels are skewed, and over 12 other seeds the largest of 120 deviations was 2.1 to 4.6


@pytest.mark.parametrize("keep", [1e-4, 0.02, 0.1, 0.3, 0.9, 1.0])
def test_energy_of_the_largest_weights(keep):
    """Independent: the integral of w^2 phi(w) over the tails."""
    threshold = stats.norm.isf(keep / 2)
    tail, _ = integrate.quad(lambda w: w * w * stats.norm.pdf(w), threshold, 40, epsabs=1e-14)
    assert magnitude_energy(keep) == pytest.approx(2 * tail, rel=1e-9)
    assert type(magnitude_energy(keep)) is float and magnitude_energy(keep) >= keep


@pytest.mark.parametrize(
    "variant, first, rest",  # L = 3, keep = 1/2; for magnitude v = .5 + 2 * .67449 * .31778 = .92867
    [
        ("survivors", 1 / 8, 1 / 8),
        ("all_weights", 1 / 8, 1 / 4),
        ("rescaled", 1, 1),
        ("rescaled_once", 1, 1 / 2),
        ("magnitude", 0.80092, 0.43122),
    ],
)
def test_limits_by_hand(variant, first, rest):
    assert pruning_factors(variant, keep=0.5, hidden_layers=3) == pytest.approx((first, rest), rel=1e-5)
    assert pruning_factors(variant, keep=1, hidden_layers=3) == (1, 1)
    terms = relu_contributions(X, X[:2], hidden_layers=3)
    found = pruned_limit(X, X[:2], variant=variant, keep=0.5, hidden_layers=3)
    torch.testing.assert_close(found, first * terms[0] + rest * (terms[1] + terms[2] + terms[3]), rtol=1e-5, atol=0)
    dense = pruned_limit(X, variant=variant, keep=1.0, hidden_layers=3)
    torch.testing.assert_close(dense, relu_kernels(X, hidden_layers=3)[1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_units_by_hand(variant):
    """The kernel 7 = 5 + 2 of test_ntk, averaged over the four masks of the readout: the limits at keep = 1/2."""
    weights = [torch.tensor([[1.0, -1.0], [2.0, 1.0]]), torch.tensor([[1.0, -1.0]])]
    found = [
        pruned_contributions(
            weights, [None, torch.tensor([m])], torch.tensor([[1.0, 0.0]]), variant=variant, keep=0.5
        ).flatten()
        for m in product([False, True], repeat=2)
    ]
    mean = torch.stack(found).mean(0).tolist()  # of [input layer, readout]
    expected = {"all_weights": [1, 5], "rescaled": [2, 5], "rescaled_once": [2, 2.5]}.get(variant, [1, 2.5])
    assert mean == pytest.approx(expected)


def deviation(variant, *, keep, hidden_layers, width, networks, generator):
    """(mean - limit, standard error, limit), each (2, n, n): the input layer's share and that of the other layers."""
    draws = []
    for _ in range(networks):
        drawn = draw_network(5, width, hidden_layers, keep=keep, generator=generator, variant=variant)
        terms = pruned_contributions(*drawn, X, variant=variant, keep=keep)
        draws.append(torch.stack([terms[0], terms[1:].sum(0)]))
    draws = torch.stack(draws)
    factors = torch.tensor(pruning_factors(variant, keep=keep, hidden_layers=hidden_layers), dtype=torch.float64)
    terms = relu_contributions(X, hidden_layers=hidden_layers)
    limit = factors[:, None, None] * torch.stack([terms[0], terms[1:].sum(0)])
    return draws.mean(0) - limit, draws.std(0) / math.sqrt(networks), limit


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("hidden_layers, keep", [(1, 0.25), (3, 0.375)])
def test_networks_against_their_limit(variant, hidden_layers, keep, generator):
    """On the diagonal the mean over networks IS the limit, at any width: gates of a ReLU are fair coins whatever the
    sizes of the weights (dense: Hanin & Nica 2019, arXiv:1909.05989), so nothing is allowed beside the standard error;
    1e-3 is for the magnitudes, whose expectation over a finite matrix is not quite that of the Gaussian. Off the
    diagonal angles fluctuate, which costs O(1 / (keep width)): measured .3 / (keep width) of the diagonal over 8,000
    networks at widths 32 and 64, twice that allowed.
    """
    width = 64
    wrong, error, limit = deviation(
        variant, keep=keep, hidden_layers=hidden_layers, width=width, networks=200, generator=generator
    )
    scale = limit.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    diagonal = torch.eye(3).bool()
    allowed = SIGMAS * error + torch.where(diagonal, 1e-3, 0.6 / (keep * width)) * scale
    assert (wrong.abs() <= allowed).all(), (wrong / error).numpy().round(1)
    for power in (-1, 1):  # such a test would see an exponent that is off by one, in each share
        off = limit * keep**power - limit
        assert ((off + wrong).abs() > allowed)[:, diagonal].all()


def test_one_number_for_each_network(generator):
    """draw_pruned_kernel is the sum of the contributions of draw_network; both take the same draws."""
    for variant in VARIANTS:
        state = generator.get_state()
        drawn = draw_network(5, 16, 2, keep=0.5, generator=generator, variant=variant)
        expected = pruned_contributions(*drawn, X, variant=variant, keep=0.5).sum(0)
        generator.set_state(state)
        found = draw_pruned_kernel(X, variant=variant, keep=0.5, width=16, hidden_layers=2, generator=generator)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    single = draw_pruned_kernel(X.float(), variant="survivors", keep=0.5, width=16, hidden_layers=2,
                                generator=generator, method="jacobian")  # fmt: skip
    assert single.dtype == torch.float32


@pytest.mark.parametrize("variant", VARIANTS)
def test_kernels_are_what_torch_func_says(variant, generator):
    """Each convention as a function of the parameters that it differentiates, in full."""
    keep, layers = 0.4, 3
    weights, masks = draw_network(5, 12, layers, keep=keep, generator=generator, variant=variant)

    def kernel(function, parameters):
        jacobians = jacrev(lambda *given: function(given)[:, 0], tuple(range(len(parameters))))(*parameters)
        return sum(j.flatten(1) @ j.flatten(1).T for j in jacobians)

    def pruned(scale):
        return lambda given: network_output([given[0], *(w * scale for w in given[1:])], X, masks)

    effective = [weights[0], *(w * m for w, m in zip(weights[1:], masks[1:], strict=True))]
    expected = {
        "survivors": lambda: kernel(pruned(1), weights),
        "magnitude": lambda: kernel(pruned(1), weights),
        "all_weights": lambda: kernel(lambda given: network_output(given, X), effective),
        "rescaled": lambda: kernel(pruned(keep**-0.5), weights),
        "rescaled_once": lambda: kernel(pruned(1), [effective[0], *(w / keep**0.5 for w in effective[1:])]),
    }[variant]()
    for method in ("auto", "jacobian"):
        found = pruned_contributions(weights, masks, X, variant=variant, keep=keep, method=method).sum(0)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_draws():
    """Shapes; weights of a seed the same for all; Bernoulli masks, or exact counts of the largest."""
    drawn = {
        variant: draw_network(5, 40, 3, keep=0.3, generator=torch.Generator().manual_seed(7), variant=variant)
        for variant in VARIANTS
    }
    weights, masks = drawn["survivors"]
    assert [tuple(w.shape) for w in weights] == [(40, 5), (40, 40), (40, 40), (1, 40)]
    assert masks[0] is None and [m.shape for m in masks[1:]] == [w.shape for w in weights[1:]]
    for variant, (others, found) in drawn.items():
        assert all(torch.equal(a, b) for a, b in zip(weights, others, strict=True))
        same = all(torch.equal(a, b) for a, b in zip(masks[1:], found[1:], strict=True))
        assert same == (variant != "magnitude")
    for weight, mask in zip(*(part[1:] for part in drawn["magnitude"]), strict=True):
        assert int(mask.sum()) == round(0.3 * mask.numel())
        assert weight[mask].abs().min() > weight[~mask].abs().max()
    counts = sum(int(m.sum()) for m in masks[1:])
    assert counts == pytest.approx(0.3 * 3240, abs=4 * math.sqrt(3240 * 0.21)) and counts != round(0.3 * 3240)
    assert abs(float(weights[1].mean())) < 0.1 and float(weights[1].std()) == pytest.approx(1, abs=0.1)
    single, _ = draw_network(5, 40, 1, keep=1.0, generator=torch.Generator(), dtype=torch.float32)
    assert [w.dtype for w in single] == [torch.float32] * 2
    everything = draw_network(5, 40, 3, keep=1.0, generator=torch.Generator())[1]
    assert all(mask.all() for mask in everything[1:])


def test_no_law_for_a_pruned_input_layer(generator):
    """L = 1, x = (1, 1), x' = (1, -1): units see both coordinates, at 90 degrees, or one, where the inputs are equal or
    opposite, or none. So Theta(x, x') = 2 / pi becomes (2 / pi + 2 + 0 + 0) / 8, .52 of it and not kappa^2 = .25.
    """
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    keep, width, networks = 0.5, 64, 400
    dense = relu_kernels(x, hidden_layers=1)[1]
    seen = [relu_kernels(x * torch.tensor(m), hidden_layers=1)[1] for m in product([0.0, 1.0], repeat=2)]
    limit = keep * sum(seen) / 4  # the readout's mask, and the four masks of a unit
    kernels = []
    for _ in range(networks):
        weights, masks = draw_network(2, width, 1, keep=keep, generator=generator)
        masks = [torch.rand(weights[0].shape, generator=generator) < keep, masks[1]]
        kernels.append(pruned_contributions(weights, masks, x, variant="survivors", keep=keep).sum(0))
    kernels = torch.stack(kernels)
    error = kernels.std(0) / math.sqrt(networks)
    assert ((kernels.mean(0) - limit).abs() < SIGMAS * error).all()
    assert limit[0, 1] == pytest.approx((2 / math.pi + 2) / 8)
    torch.testing.assert_close(limit.diagonal(), keep**2 * dense.diagonal())  # the mean of the diagonal does obey
    assert (limit - keep**2 * dense)[0, 1] > 10 * error[0, 1]


def draw(**changes):
    arguments = {"variant": "survivors", "keep": 0.5, "width": 4, "hidden_layers": 1, "generator": torch.Generator()}
    return draw_pruned_kernel(X, **arguments | changes)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: magnitude_energy(0), ("keep", "0", "(0, 1]")),
        (lambda: magnitude_energy(1.1), ("keep", "1.1", "(0, 1]")),
        (lambda: magnitude_energy(math.nan), ("keep", "nan")),
        (lambda: magnitude_energy(True), ("keep", "True")),
        (lambda: magnitude_energy("half"), ("keep", "half")),
        (lambda: pruning_factors("random", keep=0.5, hidden_layers=1), ("variant", "'random'", "'survivors'")),
        (lambda: pruning_factors("survivors", keep=0, hidden_layers=1), ("keep", "0", "survives")),
        (lambda: pruning_factors("survivors", keep=0.5, hidden_layers=0), ("hidden_layers", "0", "1 or more")),
        (lambda: pruning_factors("survivors", keep=0.5, hidden_layers=1.5), ("hidden_layers", "1.5", "whole")),
        (lambda: pruning_factors("survivors", keep=0.5, hidden_layers=True), ("hidden_layers", "True", "whole")),
        (lambda: pruned_limit(X, variant="none", keep=0.5, hidden_layers=1), ("variant", "'none'")),
        (lambda: draw(variant="none"), ("variant", "'none'")),
        (lambda: draw_network(5, 4, 1, keep=0.5, generator=torch.Generator(), variant="x"), ("variant", "'x'")),
        (lambda: draw(keep=0.0), ("keep", "0.0")),
        (lambda: draw(width=0), ("features, width", "5, 0", "1 or more")),
        (lambda: draw(hidden_layers=0), ("hidden_layers", "0")),
        (lambda: draw(method="fast"), ("method", "'fast'")),
        (lambda: pruned_contributions([], [], X, variant="none", keep=0.5), ("variant", "'none'")),
        (lambda: pruned_contributions([], [], X, variant="survivors", keep=2), ("keep", "2")),
    ],
    ids=case_name,
)
def test_errors(call, words):
    assert_one_line_error(call, *words)
