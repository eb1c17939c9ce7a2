"""Right and wrong answers to the exercises of "Structured RigL", and what each is told."""

import math
import tracemalloc

import numpy as np
import pytest
import torch
from condensed_layer_answers import CONDENSED, NOTE
from fan_in_after_ablation_answers import FAN_IN
from fold_ablated_answers import FOLD
from proof import enough, fails_as_unforeseen, prove, solutions, unproven
from salient_counts_answers import SALIENT

from lttlib.checks.some_cases import returns_where
from lttlib.checks.structured_rigl import (
    check_condensed_forward,
    check_fan_in_after_ablation,
    check_fold_ablated,
    check_salient_counts,
)
from lttlib.layers import CondensedLinear
from lttlib.srigl import srigl_step

SOLVED = solutions("structured_rigl")
RIGHT = {
    name: getattr(SOLVED, name)
    for name in ("fan_in_after_ablation", "salient_counts", "condensed_forward", "fold_ablated")
}

ANSWERS = FAN_IN + SALIENT + CONDENSED + FOLD
CHECKED = {answer.exercise.name: answer.exercise for answer in ANSWERS}.values()


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


def test_a_mistake_in_some_cases_is_not_seen_where_there_are_none():
    mistake = returns_where(lambda x: x > 1, lambda x: -x, "minus")
    assert mistake.spotted([((1,), 1), ((2,), -2)])
    assert not mistake.spotted([((1,), 1), ((2,), 2)])
    assert not mistake.spotted([((1,), -1)])


def test_only_answers_that_build_the_dense_weight_are_told_so():
    for answer in CONDENSED:
        if answer.status == "right":
            assert (NOTE in check_condensed_forward(answer.function).text) == (answer.says == NOTE), answer.name


def test_a_reader_who_traces_memory_is_not_disturbed():
    tracemalloc.start()
    try:
        assert check_condensed_forward(SOLVED.condensed_forward).status == "right"
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


# Four neurons, six inputs, eight live weights; two gradients that are larger than all others
PLACES = [[0, 1], [1, 2], [2, 3], [3, 5]]
WEIGHT = np.zeros((4, 6))
for row, values in enumerate([[0.9, -0.8], [0.7, -0.6], [0.5, 0.2], [0.1, -0.05]]):
    WEIGHT[row, PLACES[row]] = values
GRAD = np.full((4, 6), 0.01)
GRAD[1, 5], GRAD[2, 0] = -3, 2
MASK = WEIGHT != 0


def test_the_chapter_example_by_hand():
    """Drop 2: counts 2, 3, 3, 0; the last neuron leaves, and three share eight weights: two each, two are lost."""
    counts = SOLVED.salient_counts(WEIGHT, GRAD, MASK, 0.25)
    assert counts.tolist() == [2, 3, 3, 0]
    assert SOLVED.fan_in_after_ablation(MASK, counts, 0.3) == 2


@pytest.mark.parametrize(
    "live, salient, gamma, expected",
    [
        ([4, 4, 4, 4], [6, 5, 3, 1], 0.3, 4),  # threshold 1: all stay
        ([4, 4, 4, 4], [6, 5, 3, 1], 0.6, 5),  # threshold 2: 16 // 3
        ([4, 4, 4, 4], [6, 5, 3, 1], 1.0, 5),  # threshold 4 leaves 2, and 16 weights need 3 of 6 inputs
        ([4, 4, 0, 0], [1, 0, 6, 0], 0.3, 4),  # two have salient places: one loses its weights, one gets some
        ([4, 4, 4, 4], [2, 2, 2, 2], 1.0, 4),  # nobody reaches 4: lowered to 2
    ],
)
def test_fan_in_by_hand(live, salient, gamma, expected):
    mask = np.arange(6) < np.array(live)[:, None]
    assert SOLVED.fan_in_after_ablation(mask, np.array(salient), gamma) == expected


def test_counts_and_fan_in_are_those_of_the_library_step():
    """The mask after a step of lttlib.srigl has exactly this fan-in, in the neurons that are salient enough."""
    ablated = 0
    for weight, grad, mask, fraction in check_salient_counts.draw_cases():
        weight, grad, mask = np.array(weight), np.array(grad), np.array(mask)
        for gamma in (0.3, 0.6, 1.0):
            counts = SOLVED.salient_counts(weight, grad, mask, fraction)
            after = srigl_step(
                torch.tensor(weight), torch.tensor(grad), torch.tensor(mask), fraction, sparsity=1 - mask.mean(), gamma=gamma
            )  # fmt: skip
            rows = after.sum(1).numpy()
            assert set(rows[rows > 0]) == {SOLVED.fan_in_after_ablation(mask, counts, gamma)}
            assert counts[rows > 0].min() > counts[rows == 0].max(initial=-1)
            ablated += (rows == 0).any()
    assert ablated >= 15


def test_condensed_layers_are_those_of_the_library():
    for values, indices, rows, bias, x, out in check_condensed_forward.draw_cases():
        if len(rows):
            linear = torch.nn.Linear(x.shape[1], out)
            weight = np.zeros((out, x.shape[1]))
            weight[np.array(rows)[:, None], np.array(indices)] = values
            with torch.no_grad():
                linear.weight.copy_(torch.tensor(weight))
                linear.bias.copy_(torch.tensor(np.array(bias)))
                layer = CondensedLinear.from_linear(linear, torch.tensor(weight != 0))
                expected = layer(torch.tensor(np.array(x)).float()).numpy()
            found = SOLVED.condensed_forward(*(np.array(part) for part in (values, indices, rows, bias, x)), out)
            assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_folded_networks_are_the_same_network():
    """In torch, and for larger inputs than the check's."""
    for case in check_fold_ablated.draw_cases():
        x = torch.randn(50, case[0].shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3
        answers = []
        for layers in (tuple(map(np.array, case)), SOLVED.fold_ablated(*map(np.array, case))):
            weight, bias, next_weight, next_bias = map(torch.tensor, layers)
            hidden = torch.nn.functional.linear(x, weight, bias).relu()
            answers.append(torch.nn.functional.linear(hidden, next_weight, next_bias))
        torch.testing.assert_close(*answers)
        assert len(bias) == sum(any(row) for row in case[0].tolist())


def test_folding_by_hand():
    """Neuron 1 answers 2 and neuron 3 answers 0: 2 times 5 goes to the bias."""
    weight = np.array([[1.0, -1], [0, 0], [0, 3], [0, 0]])
    folded = SOLVED.fold_ablated(weight, np.array([0, 2.0, 1, -4]), np.array([[4.0, 5, 6, 7]]), np.array([1.0]))
    assert [part.tolist() for part in folded] == [[[1, -1], [0, 3]], [0, 1], [[4, 6]], [11]]


def test_rounding_and_ties_never_decide():
    for mask, salient, gamma in check_fan_in_after_ablation.draw_cases():
        k = int(mask.sum(1).max())
        assert set(mask.sum(1).tolist()) <= {0, k}
        assert gamma in (0.5, 1) or 0.05 < gamma * k % 1 < 0.95
        assert (salient <= mask.shape[1]).all() and (salient >= 0).all()
    for weight, grad, mask, fraction in check_salient_counts.draw_cases():
        assert len(np.unique(np.abs(weight[weight != 0]))) == np.count_nonzero(weight)
        assert len(np.unique(np.abs(grad))) == grad.size
        assert fraction in (0, 0.25, 1) or 0.05 < fraction * mask.sum() % 1 < 0.95


def test_cases_cover_what_they_say():
    for mask, salient, _ in check_fan_in_after_ablation.draw_cases():
        assert mask.sum() >= len(mask) or (salient == 0).any()
    cases = check_fan_in_after_ablation.draw_cases()
    assert sum((~mask.any(1) & (salient > 0)).any() for mask, salient, _ in cases) >= 3
    few = [
        (salient >= max(1, math.floor(gamma * mask.sum(1).max()))).sum() * mask.shape[1] < mask.sum()
        for mask, salient, gamma in cases
    ]
    assert sum(few) == 4
    needed = [-(-int(mask.sum()) // mask.shape[1]) for mask, _, _ in cases]
    stay = [(salient >= np.sort(salient)[-n]).sum() for n, (_, salient, _) in zip(needed, cases, strict=True)]
    assert any(
        f and n < s < len(case[1]) for f, n, s, case in zip(few, needed, stay, cases, strict=True)
    )  # some equals
    zeros = [(np.array(weight)[np.array(mask)] == 0).any() for weight, _, mask, _ in check_salient_counts.draw_cases()]
    assert sum(zeros) == 4
    fractions = [case[3] for case in check_salient_counts.draw_cases()]
    assert {0, 1} <= {fraction for fraction, zero in zip(fractions, zeros, strict=True) if not zero}
    layers = check_condensed_forward.draw_cases()
    assert {len(case[2]) for case in layers} >= {0, 3} and any(len(case[2]) == case[5] for case in layers)
    assert all(abs(case[0][1].sum()) < 1e-12 for case in layers if len(case[0]) > 1)
    networks = [np.array(weight) for weight, *_ in check_fold_ablated.draw_cases()]
    assert {int((~weight.any(1)).sum()) for weight in networks} >= {0, 1, 2, 4, 6}
    assert sum((weight.any(1) & (np.abs(weight.sum(1)) < 1e-12)).any() for weight in networks) >= 4
