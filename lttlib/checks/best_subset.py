"""Check of the exercise on the best subset of a few numbers, by trying all."""

import numpy as np

from lttlib.checks.answers import Exercise
from lttlib.checks.read_only import WRITTEN, read_only
from lttlib.checks.subsets import FORM, all_masks, errors_of, judge_subset, other_masks, takes, too_good


def _subset_cases(rng):
    """(values, target): one number to twelve; best is the empty subset, all numbers, either sign, out of reach, ties."""

    def drawn(n):
        return rng.uniform(-1, 1, n).round(3)

    five = [0.62, -0.35, 0.18, -0.81, 0.44]
    cases = [
        ([0.7], 0.2),  # empty
        ([0.5, -0.2], 0.3),  # all
        ([0.9, 0.8, -0.6], 0.05),  # empty
        (five, 0.9),
        (five, 0.3),  # ties
        (rng.integers(-8, 9, 7) / 8, 0.375),  # ties, bit for bit
        (drawn(6), -4.0),  # out of reach
        (-np.abs(drawn(5)), -0.731),
        (np.abs(drawn(8)), 1.234),
    ]
    cases += [(rng.uniform(-1, 1, n), float(rng.uniform(-1, 1))) for n in (7, 8, 9, 10, 11, 12, 12)]
    cases.sort(key=lambda case: len(case[0]))
    return [(read_only(values), target) for values, target in cases]


def _best_of(masks, values, target, cost=np.abs):
    return masks[np.argmin(cost(masks @ values - target))]


def _among(choose, cost=np.abs):
    """The best of some subsets only, or the empty one. choose(masks, values): bool, which of them."""

    def wrong(values, target):
        masks = all_masks(len(values))
        chosen = masks[choose(masks, values)]
        return _best_of(chosen if len(chosen) else masks[:1], values, target, cost)

    return wrong


def _sized(condition):
    return _among(lambda masks, values: condition(masks.sum(1), len(values)))


def _runs(masks, values):
    """No number left out between two kept ones; the empty subset is one of them."""
    edges = np.diff(np.pad(masks, ((0, 0), (1, 1))).astype(int), axis=1)
    return (edges == 1).sum(1) <= 1


def _greedy(order, wanted=lambda old, new: abs(new) < abs(old)):
    """One pass over the numbers in this order: keep a number if `wanted(sum - target before, after)`."""

    def wrong(values, target):
        mask, total = np.zeros(len(values), dtype=bool), 0.0
        for place in order(values):
            if wanted(total - target, total + values[place] - target):
                mask[place] = True
                total += values[place]
        return mask

    return wrong


def _steepest(values, target):
    """Of all numbers left, the one that brings the sum closest; until none does."""
    mask, total = np.zeros(len(values), dtype=bool), 0.0
    while not mask.all():
        distances = np.where(mask, np.inf, np.abs(total + values - target))
        place = distances.argmin()
        if distances[place] >= abs(total - target):
            break
        mask[place] = True
        total += values[place]
    return mask


def _below(sums):
    """Sums that are not above the target come first; among them the largest."""
    return np.where(sums <= 1e-12, -sums, np.inf)


def _above(sums):
    return np.where(sums >= -1e-12, sums, np.inf)


def _signs_error(values, target):
    signs = np.where(all_masks(len(values)), 1, -1)
    return np.abs(signs @ values - target).min()


_GREEDY = (
    "You take one number after another, and a number once taken stays. Can two poor choices together make a good sum?"
)
_RUNS = "Only numbers that stand side by side are added up here. May a subset skip a number in the middle?"

check_best_subset = Exercise(
    "best_subset",
    _subset_cases,
    judge_subset,
    "one number to twelve, of both signs and of one, ties, targets out of reach, best subsets that are empty or hold all",
    (
        WRITTEN,
        *FORM,
        other_masks(
            "The least error, but often another mask: to which mask does the error belong? "
            "One that was stored in a loop may change when the loop goes on."
        ),
        takes(
            _sized(lambda kept, n: kept > 0),
            "Right, except that nothing may be the best choice. What is the sum of the empty subset?",
        ),
        takes(
            _sized(lambda kept, n: kept < n),
            "Right, except where all numbers together are best. Up to which size do your subsets go?",
        ),
        takes(
            _sized(lambda kept, n: (kept > 0) & (kept < n)),
            "Right, except where the best subset is empty or holds all numbers. Which sizes can a subset have?",
        ),
        takes(
            _among(lambda masks, values: ~masks[:, -1]),
            "The last number is never kept. How many subsets have n numbers?",
        ),
        takes(
            _among(lambda masks, values: ~masks[:, 0]),
            "The first number is never kept. How many subsets have n numbers?",
        ),
        takes(
            _among(lambda masks, values: ~(masks & (values < 0)).any(1)),
            "No negative number is ever kept. What can a negative number do for a sum that is too large?",
        ),
        takes(_among(_runs), _RUNS),
        takes(_among(lambda masks, values: _runs(masks, values) & masks.any(1)), _RUNS),
        takes(_sized(lambda kept, n: kept == 1), "This is the best single number. How many numbers may a subset have?"),
        takes(
            _sized(lambda kept, n: kept <= 1),
            "This is the best single number, or none. How many numbers may a subset have?",
        ),
        takes(_sized(lambda kept, n: kept <= 2), "No more than two numbers are kept here. How many may a subset have?"),
        takes(_steepest, _GREEDY),
        takes(_greedy(lambda values: range(len(values))), _GREEDY),
        takes(_greedy(lambda values: np.argsort(-np.abs(values), kind="stable")), _GREEDY),
        takes(_greedy(lambda values: np.argsort(-values, kind="stable")), _GREEDY),
        takes(_greedy(lambda values: np.argsort(-values, kind="stable"), lambda old, new: new <= 0), _GREEDY),
        takes(
            _among(lambda masks, values: np.full(len(masks), True), _below),
            "You take the largest sum that is not above the target. Is a sum just above it far away?",
        ),
        takes(
            _among(lambda masks, values: np.full(len(masks), True), _above),
            "You take the smallest sum that is not below the target. Is a sum just below it far away?",
        ),
        takes(
            lambda values, target: values < 0,
            "You take the smallest sum of all, so sum − target is as negative as it gets. What makes a distance of a difference?",
        ),
        takes(
            lambda values, target: values > 0,
            "You take the largest sum of all, so target − sum is as negative as it gets. What makes a distance of a difference?",
        ),
        takes(
            lambda values, target: _best_of(all_masks(len(values)), values, target, lambda gap: -np.abs(gap)),
            "This is the subset that is farthest away. Which end of the errors do you want?",
        ),
        takes(lambda values, target: np.full(len(values), True), "You keep everything. What is there to choose?"),
        takes(lambda values, target: np.full(len(values), False), "You keep nothing. Which sums are there besides 0?"),
        errors_of(
            _signs_error,
            "Every number is added or subtracted here. What happens in a sum to a number that is pruned?",
        ),
        too_good("Your error is smaller than that of any subset. Is a number taken twice?"),
    ),
)
