"""Check of the exercise on meeting in the middle: the best subset of n numbers from the sums of two halves.

Every subset is one of the 2^(n/2) of the first half with one of the second. Horowitz and Sahni 1974: sort the sums of
one half and look up what each sum of the other half lacks, among them, on either side.
"""

import numpy as np

from lttlib.checks.answers import Mistake
from lttlib.checks.fast_enough import LAST, TRACED, FastExercise
from lttlib.checks.read_only import WRITTEN, read_only
from lttlib.checks.subsets import (
    FORM,
    all_masks,
    all_sums,
    judge_subset,
    other_masks,
    takes,
    too_good,
)


def _few_cases(rng):
    """(values, target): odd and even n, targets met exactly, ties, targets out of reach."""
    cases = [
        ([0.5, -0.25], 0.25),
        ([0.62, -0.35, 0.18, -0.81, 0.44], 0.9),
        (rng.uniform(-1, 1, 6).round(3), -5.0),
        (rng.uniform(-1, 1, 7).round(3), 6.0),
    ]
    cases += [(rng.integers(-8, 9, n) / 8, 0.25) for n in (4, 9)]  # met exactly, in floats too
    cases += [(rng.uniform(-1, 1, n).round(3), round(float(rng.uniform(-1, 1)), 3)) for n in (3, 5)]
    cases += [_drawn(rng, n) for n in (8, 10, 11, 12)]
    cases.sort(key=lambda case: len(case[0]))
    return [(read_only(values), target) for values, target in cases]


def _many_cases(rng):
    return [(read_only(values), target) for values, target in (_drawn(rng, n) for n in (16, 18, TRACED, 23, LAST))]


def _drawn(rng, n):
    return rng.uniform(-1, 1, n), float(rng.uniform(-1, 1))


def _join(first, second, order):
    """Masks of subsets of two halves as one. order 1: the first half first; -1: the second."""
    return np.concatenate([first, second][::order])


def _digits(n, first_fastest):
    masks = all_masks(n)
    return masks if first_fastest else masks[:, ::-1]


def _look_up(*, steps=(-1, 0), edge="clip", order=1, first_fastest=True, in_order=np.argsort):
    """Meeting in the middle with a part replaced.

    steps: which neighbors of the insertion point are looked at. edge: "clip", "skip" or "wrap" at the ends. order 1
    looks up in the second half, -1 in the first. first_fastest: how subsets are counted. in_order: how sums are sorted.
    """

    def wrong(values, target):
        half = len(values) // 2
        here, there = [values[:half], values[half:]][::order]
        ours, theirs = (_digits(len(part), first_fastest) for part in (here, there))
        sorting = in_order(theirs @ there)
        sums = (theirs @ there)[sorting]
        best, least = None, np.inf
        for mask in ours:
            place = np.searchsorted(sums, target - mask @ here)
            for step in steps:
                found = _at_the_edge(place + step, len(sums), edge)
                error = np.inf if found is None else abs(mask @ here + sums[found] - target)
                if error < least:
                    best, least = _join(mask, theirs[sorting[found]], order), error
        return np.zeros(len(values), dtype=bool) if best is None else best

    return wrong


def _as_made(sums):
    return np.arange(len(sums))


def _at_the_edge(place, count, edge):
    if 0 <= place < count:
        return place
    return None if edge == "skip" else (place % count if edge == "wrap" else int(np.clip(place, 0, count - 1)))


def _limited(allowed):
    """The best of those subsets only whose masks are in allowed(masks, half)."""

    def wrong(values, target):
        masks = all_masks(len(values))
        masks = masks[allowed(masks, len(values) // 2)]
        return masks[np.abs(masks @ values - target).argmin()]

    return wrong


def _one_after_the_other(order):
    """The best of one half for the target, then the best of the other half for what is left."""

    def wrong(values, target):
        half, masks = len(values) // 2, []
        for part in [values[:half], values[half:]][::order]:
            subsets = all_masks(len(part))
            masks.append(subsets[np.abs(subsets @ part - target).argmin()])
            target = target - part[masks[-1]].sum()
        return _join(*masks, order)

    return wrong


def _half_the_target(values, target):
    half = len(values) // 2
    parts = [(part, all_masks(len(part))) for part in (values[:half], values[half:])]
    return np.concatenate([masks[np.abs(masks @ part - target / 2).argmin()] for part, masks in parts])


def _exact(case) -> bool:
    return bool((all_sums(np.asarray(case[0])) == case[1]).any())


def _equality(tried) -> bool:
    """Right where a sum equals the target; elsewhere a wrong mask or none, or it ends in a failed search."""
    *before, (case, last) = tried
    if isinstance(last, Exception):
        searched = isinstance(last, KeyError | StopIteration) or "not in list" in str(last)
        return searched and not _exact(case) and all(judge_subset(*one) is None for one in before)
    right = [judge_subset(*one) is None if _exact(one[0]) else _nothing(*one) for one in tried]
    return all(right)


def _nothing(case, value) -> bool:
    mask, error = value
    return mask is None or not np.isfinite(error) or not np.any(mask)


def _out_of_bounds(tried) -> bool:
    return isinstance(tried[-1][1], IndexError) and "out of" in str(tried[-1][1])


_NEIGHBORS = "You look at one neighbor of the insertion point only, {}. On which side may the nearest sum lie?"
# To skip at the ends is the same from either half, and where both neighbors are tried it is the same as to clip.
_ENDS = [(1, "clip"), (1, "wrap"), (-1, "clip"), (-1, "wrap")]
_ONE_SIDED = [*_ENDS, (1, "skip")]
_UNSORTED = "A binary search needs sorted sums. In which order do yours stand when you search?"
_LEFT_OUT = "With an odd n one number is in neither half. Which slice leaves it out?"

check_meet_in_the_middle = FastExercise(
    "meet_in_the_middle",
    _few_cases,
    judge_subset,
    f"two numbers to {LAST}, odd n and even, targets met exactly, out of reach, ties; fast at {LAST}",
    (
        WRITTEN,
        *FORM,
        other_masks(
            "Your error is right, but not always your mask. When the sums were sorted, did their subsets move along?"
        ),
        Mistake(
            "Only targets that are met exactly are found. How often do two sums of random numbers agree in every digit?",
            _equality,
        ),
        Mistake(
            "An insertion point may lie behind the last sum. Which sum is the nearest there?",
            _out_of_bounds,
        ),
        takes(
            _limited(lambda masks, half: ~masks[:, half:].any(1)),
            "Only sums of the first half are tried. What does the second half add?",
        ),
        takes(
            _limited(lambda masks, half: ~masks[:, :half].any(1)),
            "Only sums of the second half are tried. What does the first half add?",
        ),
        takes(
            _limited(lambda masks, half: ~masks[:, :half].any(1) | ~masks[:, half:].any(1)),
            "You take the best of the one half or of the other. Which subsets have numbers of both?",
        ),
        *(
            takes(
                _one_after_the_other(order),
                "You settle one half before you look at the other. Is what comes closest alone the best partner, too?",
            )
            for order in (1, -1)
        ),
        takes(_half_the_target, "Each half goes for half of the target. Why should the two share it evenly?"),
        *(
            takes(_look_up(steps=(step,), order=order, edge=edge), _NEIGHBORS.format(side))
            for step, side in ((0, "the right one"), (-1, "the left one"))
            for order, edge in _ONE_SIDED
        ),
        *(
            takes(_look_up(order=order, edge=edge, first_fastest=fastest, in_order=_as_made), _UNSORTED)
            for fastest in (True, False)
            for order, edge in _ENDS
        ),
        takes(_limited(lambda masks, half: ~masks[:, 2 * half :].any(1)), _LEFT_OUT),
        takes(_limited(lambda masks, half: ~masks[:, half : masks.shape[1] - half].any(1)), _LEFT_OUT),
        too_good("Your error is smaller than that of any subset. Does a number stand in both halves?"),
    ),
    _many_cases,
)
