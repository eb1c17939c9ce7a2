"""Right and wrong answers to the exercises of "The tangent kernel of a pruned network", and what each is told."""

import math

import numpy as np
import pytest
import torch
from kernel_by_hand_answers import HAND
from layer_factors_answers import FACTORS
from proof import enough, fails_as_unforeseen, prove, solutions, unproven
from pruned_kernel_answers import PRUNED
from relu_step_answers import STEP

from lttlib.checks.tangent_kernel import (
    check_kernel_by_hand,
    check_layer_factors,
    check_pruned_kernel,
    check_relu_step,
)
from lttlib.ntk import empirical_contributions, empirical_ntk, relu_kernels
from lttlib.pruned_kernels import pruned_contributions, pruning_factors

SOLVED = solutions("tangent_kernel")
RIGHT = {name: getattr(SOLVED, name) for name in ("kernel_by_hand", "pruned_kernel", "layer_factors", "relu_step")}

ANSWERS = HAND + PRUNED + FACTORS + STEP
CHECKED = {answer.exercise.name: answer.exercise for answer in ANSWERS}.values()

W, A, X = np.array([[1.0, -1.0], [2.0, 1.0]]), np.array([1.0, -1.0]), np.array([1.0, 0.0])  # the chapter's example


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_answer(answer, told):
    told.append((answer, prove(answer, RIGHT[answer.exercise.name])))


def test_two_right_and_five_wrong_answers_for_each():
    assert len(CHECKED) == 4
    assert enough(ANSWERS) == {}


def test_every_classic_mistake_is_made_by_an_answer():
    assert unproven(ANSWERS) == []


def stub(*_):
    raise NotImplementedError


@pytest.mark.parametrize("exercise", CHECKED, ids=lambda exercise: exercise.name)
def test_a_stub_is_not_attempted_yet(exercise):
    assert exercise(stub).status == "not attempted yet"


@pytest.mark.parametrize("exercise", CHECKED, ids=lambda exercise: exercise.name)
def test_an_unforeseen_error_is_not_taken_for_a_classic_mistake(exercise):
    fails_as_unforeseen(exercise, RIGHT[exercise.name])


@pytest.mark.parametrize("mask, expected", [((0, 0), 0.0), ((1, 0), 2.0), ((0, 1), 5.0), ((1, 1), 7.0)])
def test_the_four_masks_by_hand(mask, expected):
    mask = np.array(mask, dtype=bool)
    assert SOLVED.pruned_kernel(W, A, np.ones((2, 2), dtype=bool), mask, X, X) == expected
    if mask.all():
        assert SOLVED.kernel_by_hand(W, A, X) == expected


def test_two_inputs_by_hand():
    """Masked, W is (1, 0; 2, 1) and a is (1, 0): h = (1, 2) at (1, 0) and (3, 7) at (3, 1). 1 * 3, and 1^2 * 1 * 3."""
    masks = np.array([[True, False], [True, True]]), np.array([True, False])
    assert SOLVED.pruned_kernel(W, A, *masks, X, np.array([3.0, 1.0])) == 6.0


@pytest.mark.parametrize(
    "keep, count_pruned, expected",
    [
        ([0.5], False, [0.5, 0.5]),
        ([0.5], True, [0.5, 1.0]),
        ([0.5, 0.2], False, [0.1, 0.1, 0.1]),
        ([0.5, 0.2], True, [0.1, 0.2, 0.5]),
    ],
)
def test_factors_by_hand(keep, count_pruned, expected):
    assert SOLVED.layer_factors(np.array(keep), count_pruned) == pytest.approx(expected)


@pytest.mark.parametrize(
    "cosine, product, slope",
    [
        (1.0, 0.5, 0.5),
        (0.5, (math.sqrt(3) / 2 + math.pi / 3) / (2 * math.pi), 1 / 3),
        (0.0, 1 / (2 * math.pi), 0.25),
        (-1.0, 0.0, 0.0),
    ],
)
def test_steps_by_hand(cosine, product, slope):
    kernel = np.array([[1.0, 3 * cosine], [3 * cosine, 9.0]])  # lengths 1 and 3
    products, slopes = SOLVED.relu_step(kernel)
    assert products == pytest.approx(np.array([[0.5, 3 * product], [3 * product, 4.5]]), abs=1e-12)
    assert slopes == pytest.approx(np.array([[0.5, slope], [slope, 0.5]]), abs=1e-12)


def test_the_library_has_the_same_kernels_but_for_its_scales():
    """Its layers divide by the square root of fan-in / 2."""
    for hidden, output, mask_hidden, mask_output, x, x2 in check_pruned_kernel.draw_cases():
        weights = [torch.tensor(np.array(part)) for part in (hidden, output[None])]
        masks = [torch.tensor(np.array(part)) for part in (mask_hidden, mask_output[None])]
        kernel = empirical_ntk(weights, torch.tensor(np.array([x, x2])), masks) * hidden.size / 4
        found = SOLVED.pruned_kernel(*map(np.asarray, (hidden, output, mask_hidden, mask_output, x, x2)))
        assert found == pytest.approx(float(kernel[0, 1]), abs=1e-12)
        dense = empirical_ntk(weights, torch.tensor(np.array([x]))) * hidden.size / 4
        assert SOLVED.kernel_by_hand(*map(np.asarray, (hidden, output, x))) == pytest.approx(float(dense))


def test_the_steps_make_the_kernel_of_the_library():
    x = np.random.default_rng(0).normal(size=(7, 4))
    kernel = ntk = 2 * x @ x.T / 4
    for _ in range(3):
        products, slopes = SOLVED.relu_step(kernel)
        kernel = 2 * products
        ntk = kernel + 2 * slopes * ntk
    nngp, expected = relu_kernels(torch.tensor(x), hidden_layers=3)
    assert kernel == pytest.approx(nngp.numpy(), rel=1e-7)
    assert ntk == pytest.approx(expected.numpy(), rel=1e-7)


@pytest.mark.parametrize("count_pruned, variant", [(False, "survivors"), (True, "all_weights")])
def test_equal_keep_probabilities_have_the_factors_of_the_library(count_pruned, variant):
    for layers in (1, 2, 5):
        found = SOLVED.layer_factors(np.full(layers, 0.3), count_pruned)
        first, rest = pruning_factors(variant, keep=0.3, hidden_layers=layers)
        assert found == pytest.approx([first] + [rest] * layers)


@pytest.mark.parametrize("count_pruned, variant", [(False, "survivors"), (True, "all_weights")])
def test_wide_networks_have_the_factors_of_each_layer(count_pruned, variant):
    """Different keep probabilities: the mean over networks of every layer's share, in units of its standard error."""
    keep, width, networks = (0.3, 0.5), 256, 60
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((3, 5), generator=generator, dtype=torch.float64)
    shapes = [(width, 5), (width, width), (1, width)]
    dense, pruned = [], []
    for _ in range(networks):
        weights = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
        masks = [torch.rand(w.shape, generator=generator) < k for w, k in zip(weights, (1, *keep), strict=True)]
        drawn = pruned_contributions(weights, [None, *masks[1:]], x, variant=variant, keep=0.5)
        pruned.append(drawn.diagonal(dim1=1, dim2=2).sum(1))
        dense.append(empirical_contributions(weights, x).diagonal(dim1=1, dim2=2).sum(1))
    pruned, dense = torch.stack(pruned).numpy(), torch.stack(dense).numpy()
    factors = SOLVED.layer_factors(np.array(keep), count_pruned)
    gaps = pruned - factors * dense  # (networks, layers)
    errors = gaps.std(0, ddof=1) / math.sqrt(networks)
    assert (np.abs(gaps.mean(0)) < 4 * errors + 0.02 * factors * dense.mean(0)).all()
    assert (errors < 0.08 * factors * dense.mean(0)).all()  # a factor too many, too few, or that of another layer shows


def test_rounding_never_decides():
    """No unit stands on its kink but those that have lost all inputs."""
    for hidden, _, x in check_kernel_by_hand.draw_cases():
        assert np.abs(hidden @ x).min() > 1e-6
    for hidden, _, mask, _, x, x2 in check_pruned_kernel.draw_cases():
        for weights in (hidden, hidden * mask, hidden * ~np.asarray(mask)):
            z = np.abs(np.asarray(weights) @ np.stack([x, x2], axis=1))
            assert (z[(np.asarray(weights) != 0).any(1)] > 1e-6).all()


def test_most_networks_have_active_and_silent_units():
    shares = [np.mean(np.asarray(hidden @ x) > 0) for hidden, _, x in check_kernel_by_hand.draw_cases()]
    assert shares[:4] == pytest.approx([1, 1, 1 / 3, 0])
    assert all(0 < share < 1 for share in shares[4:])


def test_some_units_are_active_at_one_input_alone():
    changed = 0
    for hidden, _, mask, mask_output, x, x2 in check_pruned_kernel.draw_cases():
        w = np.asarray(hidden * mask)
        changed += int((((w @ x > 0) != (w @ x2 > 0)) & mask_output).sum())
    assert changed >= 4


@pytest.mark.parametrize(
    "cosine",
    [
        lambda k, q: k / np.outer(q, q),
        lambda k, q: k / q[:, None] / q,
        lambda k, q: k / np.sqrt(np.outer(q**2, q**2)),
        lambda k, q: k / np.sqrt(np.outer(np.diag(k), np.diag(k))),
        lambda k, q: k / np.sqrt(q**2)[:, None] / np.sqrt(q**2)[None, :],
    ],
)
def test_every_way_to_a_cosine_is_caught_without_a_clip(cosine):
    """Rounding lifts a cosine above 1 whichever way it is computed, and not on the diagonal alone."""
    found = [cosine(k, np.sqrt(np.diag(k))) for k in (np.asarray(kernel) for (kernel,) in check_relu_step.draw_cases())]
    beside = [c[~np.eye(len(c), dtype=bool)] for c in found]
    assert any((c > 1).any() for c in beside)
    assert any((c < -1 + 1e-9).any() for c in beside)


def test_factors_are_asked_for_with_equal_and_with_different_keep_probabilities():
    cases = check_layer_factors.draw_cases()
    equal = [len(keep) for keep, count in cases if len(set(keep.tolist())) == 1 and not count]
    assert equal == [1, 2, 3]
    assert len(cases) - 2 * len(equal) >= 6
