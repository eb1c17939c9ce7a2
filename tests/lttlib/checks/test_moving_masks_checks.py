"""Right and wrong answers to the exercises of "Masks that move", and what each is told."""

import math

import numpy as np
import pytest
import torch
from erk_counts_answers import ERK
from exploration_answers import EXPLORATION, library_moves
from explored_share_answers import EXPLORED, flat
from proof import enough, fails_as_unforeseen, prove, solutions, unproven
from rigl_update_answers import RIGL, by_library

from lttlib.checks.moving_masks import (
    check_erk_counts,
    check_explored_by_chance,
    check_explored_share,
    check_most_explored,
    check_rigl_update,
)
from lttlib.dst import exploration_rate, rigl_step, set_step
from lttlib.masks import erk_densities

SOLVED = solutions("moving_masks")
RIGHT = {
    name: getattr(SOLVED, name)
    for name in ("rigl_update", "explored_share", "erk_counts", "most_explored", "explored_by_chance")
}

ANSWERS = RIGL + EXPLORED + ERK + EXPLORATION
CHECKED = {answer.exercise.name: answer.exercise for answer in ANSWERS}.values()

EXAMPLE = np.array([0.9, -0.1, 0.5, -0.7, 0, 0, 0, 0]), np.array([0.2, 0.9, 0.1, -0.3, 0.6, 0.05, -0.8, 0.4])


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_answer(answer, told):
    told.append((answer, prove(answer, RIGHT[answer.exercise.name])))


def test_two_right_and_five_wrong_answers_for_each():
    assert len(CHECKED) == 5
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


@pytest.mark.parametrize(
    "drop, live, values",
    [
        (0.2, [0, 1, 2, 3], [0.9, -0.1, 0.5, -0.7, 0, 0, 0, 0]),
        (0.5, [0, 1, 3, 6], [0.9, -0.1, 0, -0.7, 0, 0, 0, 0]),  # weight 1 returns
        (1.0, [1, 4, 6, 7], [0, -0.1, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_updates_by_hand(drop, live, values):
    mask, weights = SOLVED.rigl_update(*EXAMPLE, np.arange(8) < 4, drop)
    assert np.flatnonzero(mask).tolist() == live
    assert weights.tolist() == values


def test_updates_are_those_of_the_library():
    for weight, gradient, mask, drop in check_rigl_update.draw_cases():
        given = [np.array(part) for part in (weight, gradient, mask)]
        found, weights = SOLVED.rigl_update(*given, drop)
        expected, values = by_library(*given, drop)
        assert found.tolist() == expected.tolist() and weights.tolist() == values.tolist()


def test_the_three_masks_by_hand():
    masks = [{"layer": np.isin(np.arange(6), live)} for live in ([0, 1], [0, 2], [2, 3])]
    assert SOLVED.explored_share(masks) == pytest.approx(2 / 3)


def test_shares_are_those_of_the_library():
    for (masks,) in check_explored_share.draw_cases():
        tensors = [{name: torch.tensor(np.array(mask)) for name, mask in moment.items()} for moment in masks]
        assert SOLVED.explored_share(masks) == pytest.approx(exploration_rate(tensors))


@pytest.mark.parametrize(
    "shapes, density, expected",
    [
        # 66 weights, 26.4 live; sides 14 + 9: 14 * 26.4 / 23 = 16.07, 9 * 26.4 / 23 = 10.33
        ({"hidden": (6, 8), "output": (3, 6)}, 0.4, {"hidden": 17, "output": 11}),
        # 18 weights of 29; sides 7 + 4 + 2 would give 9.9, 5.6, 2.8 of 12, 4, 1; then 13.2 over 7 sides... of 12: dense
        ({"a": (3, 4), "b": (2, 2), "c": (1, 1)}, 0.6, {"a": 6, "b": 4, "c": 1}),
    ],
)
def test_counts_by_hand(shapes, density, expected):
    assert SOLVED.erk_counts(shapes, density) == expected


def test_the_largest_share_by_hand():
    """alpha / 2 (1 + cos) of .5 is .427, .25, .073 at quarters of the way: of 10 live weights 4, 2 and 0 move."""
    assert SOLVED.most_explored(40, 10, 0.5, 25, 100) == 16 / 40
    assert SOLVED.most_explored(14, 10, 0.5, 25, 100) == 1


def test_the_average_share_by_hand():
    """Of 30 dead places 4 are drawn from 34, then 2 from 32: 30 * 30 / 34 * 30 / 32 of them are never live."""
    assert SOLVED.explored_by_chance(40, 10, 0.5, 25, 100) == pytest.approx(1 - 30**3 / (34 * 32 * 40))


def test_random_growth_explores_that_much_on_average():
    """SET itself, with random weights: the mean over 400 courses, in units of its standard error."""
    generator = torch.Generator().manual_seed(0)
    for n, live, alpha, interval, end in [(12, 5, 0.6, 10, 75), (30, 6, 1.0, 7, 60)]:
        moves = library_moves(live, alpha, interval, end)
        shares = []
        for _ in range(400):
            masks = [torch.arange(n) < live]
            for k in moves:
                weight = torch.randn(n, generator=generator)
                masks.append(set_step(weight, masks[-1], min((k + 0.5) / live, 1.0), generator))
            shares.append(exploration_rate(masks))
        error = np.std(shares) / math.sqrt(len(shares))
        expected = SOLVED.explored_by_chance(n, live, alpha, interval, end)
        assert abs(np.mean(shares) - expected) < 4 * error < 0.03
        assert max(shares) <= SOLVED.most_explored(n, live, alpha, interval, end) + 1e-12


def test_the_largest_share_is_reached():
    """RigL with gradients that point at what has never lived."""
    for n, live, *schedule in check_most_explored.draw_cases():
        masks = [torch.arange(n) < live]
        ever = masks[0].clone()
        for k in library_moves(live, *schedule):
            fraction = min((k + 0.5) / live, 1.0)
            masks.append(rigl_step(torch.arange(n) + 1.0, (~ever).double(), masks[-1], fraction))
            ever |= masks[-1]
        assert SOLVED.most_explored(n, live, *schedule) == pytest.approx(exploration_rate(masks))


def test_chance_never_beats_the_most():
    for case in check_explored_by_chance.draw_cases():
        assert SOLVED.explored_by_chance(*case) <= SOLVED.most_explored(*case) + 1e-12


def test_rounding_never_decides():
    """No count is near the next whole number, no density near 1, and no two sizes or slopes are equal."""
    for weight, gradient, mask, drop in check_rigl_update.draw_cases():
        live = int(mask.sum())
        assert math.floor(drop * live) == live - math.ceil((1 - drop) * live)
        assert math.floor(drop * live + 1e-6) == math.floor(drop * live)
        for part in (np.abs(weight[mask]), np.abs(gradient)):
            assert len(np.unique(part)) == len(part)
    for shapes, density in check_erk_counts.draw_cases():
        for name, d in erk_densities(shapes, density).items():
            rest = d * math.prod(shapes[name]) % 1
            assert d == 1 or (d < 0.99 and 0.005 < rest < 0.995)
    for _, live, alpha, interval, end in check_most_explored.draw_cases():
        for t in range(interval, end, interval):
            assert 3e-4 < alpha / 2 * (1 + math.cos(math.pi * t / end)) * live % 1 < 1 - 3e-4


def test_cases_cover_what_they_say():
    updates = check_rigl_update.draw_cases()
    returned = [by_library(*map(np.array, case[:3]), case[3])[0].numpy() & case[2] for case in updates]
    moved = [int((case[2] & ~np.array(back)).sum()) for case, back in zip(updates, returned, strict=True)]
    dropped = [math.floor(case[3] * case[2].sum()) for case in updates]
    assert sum(0 < left < k for left, k in zip(moved, dropped, strict=True)) >= 3  # some return, some do not
    assert any(k > (~case[2]).sum() for case, k in zip(updates, dropped, strict=True))
    assert sum((np.asarray(case[0])[case[2]] == 0).any() for case in updates) == 2
    courses = [flat(masks) for (masks,) in check_explored_share.draw_cases()]
    gone = [table[:-1].any(0) & ~table[-1] for table in courses]
    assert sum(places.any() for places in gone) >= 4
    dense = [[name for name, d in erk_densities(*case).items() if d == 1] for case in check_erk_counts.draw_cases()]
    assert {len(names) for names in dense} >= {0, 2, 3, 4}
    capped = [SOLVED.most_explored(*case) == 1 for case in check_most_explored.draw_cases()]
    assert sum(capped) >= 2
