"""Right and wrong answers to the exercises of "Strong lottery tickets", and what each is told."""

import numpy as np
import pytest
import torch
from best_subset_answers import BEST
from diamond_error_answers import DIAMOND
from lttkernels.subset_holes import covering_radius
from meet_in_the_middle_answers import MEET
from proof import enough, prove, solutions, unproven
from worst_error_answers import WORST

from lttlib import subset_sum
from lttlib.checks.fast_enough import FastExercise
from lttlib.checks.strong_lottery_tickets import (
    check_best_subset,
    check_diamond_error,
    check_meet_in_the_middle,
    check_worst_error,
)
from lttlib.checks.subsets import least_error
from lttlib.diamonds import draw_diamond, prune_diamond

SOLVED = solutions("strong_lottery_tickets")
NAMES = ("best_subset", "meet_in_the_middle", "diamond_error", "worst_error")
RIGHT = {name: getattr(SOLVED, name) for name in NAMES}

ANSWERS = BEST + MEET + DIAMOND + WORST
CHECKED = {answer.exercise.name: answer.exercise for answer in ANSWERS}.values()


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_answer(answer, told):
    told.append((answer, prove(answer, RIGHT[answer.exercise.name])))


def test_two_right_and_five_wrong_answers_for_each():
    assert enough(ANSWERS) == {}


def test_every_classic_mistake_is_made_by_an_answer():
    assert unproven(ANSWERS) == []


def stub(*_):
    raise NotImplementedError


@pytest.mark.parametrize("exercise", CHECKED, ids=lambda exercise: exercise.name)
def test_a_stub_is_not_attempted_yet(exercise):
    assert exercise(stub).status == "not attempted yet"


def right_until(failing, exercise):
    """The right answer, until a mistake of a kind that no check foresees ends it."""
    calls = iter(range(len(exercise.draw_cases())))

    def answer(*case):
        if next(calls) == failing:
            raise ValueError("no such thing")
        return RIGHT[exercise.name](*case)

    return answer


@pytest.mark.parametrize("exercise", CHECKED, ids=lambda exercise: exercise.name)
def test_an_unforeseen_error_is_not_taken_for_a_classic_mistake(exercise):
    for failing in range(len(exercise.draw_cases())):
        verdict = exercise(right_until(failing, exercise))
        assert verdict.status == "error"
        assert "ValueError: no such thing. It happened for the arguments" in verdict.text


FIVE = np.array([0.62, -0.35, 0.18, -0.81, 0.44])


@pytest.mark.parametrize("name", ["best_subset", "meet_in_the_middle"])
@pytest.mark.parametrize(
    "values, target, kept, error",
    [
        (FIVE, 0.9, [1, 1, 1, 0, 1], 0.01),  # .62 - .35 + .18 + .44
        (FIVE, -2.0, [0, 1, 0, 1, 0], 0.84),
        (FIVE, 0.0, [0, 0, 0, 0, 0], 0.0),
        (np.array([0.5, 0.9]), 0.1, [0, 0], 0.1),
        (np.array([0.5, 0.9]), 2.0, [1, 1], 0.6),
    ],
)
def test_subsets_by_hand(name, values, target, kept, error):
    mask, found = RIGHT[name](values, target)
    assert mask.tolist() == [bool(k) for k in kept]
    assert found == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize(
    "values, expected",
    [
        ([0.5], 1.0),  # sums 0, .5; target -1
        ([1.4, -0.2], 0.8),  # sums -.2, 0, 1.2, 1.4: -1 is .8 from -.2
        ([1.5, -1.7], 0.75),  # sums -1.7, -.2, 0, 1.5: the middle of 0 and 1.5; -1 is .7 off
        ([3.0, -3.0], 1.0),  # sums -3, 0, 0, 3: middles at -1.5 and 1.5 are no targets
        ([1.0, -1.0, 0.5, -0.5], 0.25),
    ],
)
def test_worst_errors_by_hand(values, expected):
    assert SOLVED.worst_error(np.array(values)) == pytest.approx(expected)


def test_a_diamond_by_hand():
    inner, outer = np.array([0.5, 0.4, -0.8]), np.array([0.6, 1.0, -0.5])  # products .3, .4 and .4
    for mask, expected in (([1, 0, 1], 0.2), ([1, 1, 1], 0.2), ([1, 1, 0], 0.5), ([0, 0, 0], 0.5)):
        assert SOLVED.diamond_error(0.5, inner, outer, np.array(mask, dtype=bool)) == pytest.approx(expected)


def cases_of(check):
    return [*check.draw_cases(), *(check.more(np.random.default_rng(0)) if isinstance(check, FastExercise) else [])]


@pytest.mark.parametrize("check", [check_best_subset, check_meet_in_the_middle], ids=lambda check: check.name)
def test_subsets_are_as_good_as_those_of_the_library(check):
    for values, target in cases_of(check):
        best = subset_sum.best_subset(np.asarray(values), target)
        assert least_error((values, target)) == pytest.approx(best.error, abs=1e-12)
        assert RIGHT[check.name](np.asarray(values), target)[1] == pytest.approx(best.error, abs=1e-12)


def test_the_worst_error_is_the_covering_radius_of_the_library():
    for (values,) in check_worst_error.draw_cases():
        assert SOLVED.worst_error(np.asarray(values)) == pytest.approx(covering_radius(np.asarray(values)), abs=1e-12)


def test_a_pruned_diamond_of_the_library_has_the_errors_of_its_sums():
    diamond = draw_diamond((3, 4), 9, generator=torch.Generator().manual_seed(0), diamond="relu", dtype=torch.float64)
    weight = torch.rand(3, 4, dtype=torch.float64) - 0.5
    kept = prune_diamond(diamond, weight)
    for i, j in np.ndindex(3, 4):
        error = SOLVED.diamond_error(
            float(weight[i, j]), diamond.inner[j].numpy(), diamond.outer[i, j].numpy(), kept.mask[i, j].numpy()
        )
        sums = (kept.positive[i, j], kept.negative[i, j])
        assert error == pytest.approx(max(abs(float(weight[i, j] - s)) for s in sums))


def test_rounding_never_decides():
    """A target is met bit for bit, or missed by far more than rounding."""
    for check in (check_best_subset, check_meet_in_the_middle):
        errors = [least_error(case) for case in cases_of(check)]
        assert all(error == 0 or error > 1e-8 for error in errors)
        assert errors.count(0) >= 2


def test_what_is_right_for_few_numbers_and_wrong_for_many_is_wrong():
    """Quick, and twelve numbers are all that it looks at."""

    def first_twelve(values, target):
        mask, error = SOLVED.meet_in_the_middle(values[:12], target)
        return np.pad(mask, (0, len(values) - len(mask))), error

    verdict = check_meet_in_the_middle(first_twelve)
    assert verdict.status == "wrong"
    assert "Another subset comes closer" in verdict.text


@pytest.mark.parametrize("check", [check_best_subset, check_meet_in_the_middle], ids=lambda check: check.name)
def test_the_second_best_subset_of_twelve_numbers_is_wrong(check):
    def nearly(values, target):
        if len(values) < 12:
            return RIGHT[check.name](values, target)
        masks = SOLVED.all_masks(len(values))
        errors = abs(masks @ values - target)
        second = errors.argsort()[1]
        return masks[second], errors[second]

    assert "Another subset comes closer" in check(nearly).text


def test_speed_is_asked_for_by_the_grader_too(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    check_meet_in_the_middle(SOLVED.meet_in_the_middle)
    with pytest.raises(AssertionError, match="Right for up to 12 numbers"):
        check_meet_in_the_middle(SOLVED.best_subset)


def test_the_worst_targets_lie_at_both_ends_and_inside():
    inside = ends = 0
    for (values,) in check_worst_error.draw_cases():
        sums = np.array([0.0])
        for value in values:
            sums = np.append(sums, sums + value)
        at_ends = max(abs(sums - end).min() for end in (-1, 1))
        inside += at_ends < SOLVED.worst_error(np.asarray(values)) - 1e-12
        ends += at_ends >= SOLVED.worst_error(np.asarray(values)) - 1e-12
    assert min(inside, ends) >= 4


def test_either_side_of_a_diamond_is_the_worse_one():
    worse = set()
    for weight, inner, outer, mask in check_diamond_error.draw_cases():
        slopes = [(outer * inner * mask)[side].sum() for side in (inner > 0, inner < 0)]
        worse.add(int(np.argmax([abs(weight - slope) for slope in slopes])))
    assert worse == {0, 1}
