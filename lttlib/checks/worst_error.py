"""Check of the exercise on the worst target: the largest distance of a t in [-1, 1] to the nearest subset sum.

The distance is largest at an end, -1 or 1, or halfway between two neighboring sums, if that point lies in [-1, 1].
"""

import numpy as np

from lttlib.checks.answers import Exercise, Mistake, equals, numbers, returns
from lttlib.checks.read_only import WRITTEN, read_only
from lttlib.checks.subsets import all_sums

FINE = np.linspace(-1, 1, 20_001)


def _error_cases(rng):
    """(values,): sums within [-1, 1] and beyond; the worst target is an end, in the middle, at 0; one sign; none repeated."""
    cases = [
        [0.5],  # sums 0 and .5: -1 is the worst
        [1.4, -0.2],  # a hole from 0 to 1.2
        [1.5, -1.7],  # all holes reach beyond the ends
        [0.62, -0.35, 0.18, -0.81, 0.44],
        [0.7, 0.9, 0.95],
        [-3.1, 3.4, 0.8, -0.7],  # many sums beyond
    ]
    cases += [rng.uniform(-1, 1, n).round(3) for n in (3, 6, 7)]
    cases += [rng.uniform(-scale, scale, n) for n, scale in ((8, 2.0), (9, 0.2), (11, 1.0), (12, 1.0), (14, 1.0))]
    return [(read_only(values),) for values in sorted(cases, key=len)]


def _candidates(sums, low=-1.0, high=1.0):
    """The targets where the distance can be largest."""
    halfway = (sums[1:] + sums[:-1]) / 2
    return np.concatenate([[low, high], halfway[(halfway > low) & (halfway < high)]])


def _nearest(sums, targets):
    place = np.searchsorted(sums, targets)
    near = [np.abs(sums[np.clip(place + step, 0, len(sums) - 1)] - targets) for step in (-1, 0)]
    return np.minimum(*near)


def _worst(sums_of=all_sums, low=-1.0):
    def error(values):
        sums = np.sort(sums_of(np.asarray(values)))
        return _nearest(sums, _candidates(sums, low)).max()

    return error


_reference = _worst()


def _relation(case, value):
    sums = np.sort(all_sums(np.asarray(case[0])))
    targets = _candidates(sums)
    distances = _nearest(sums, targets)
    asked = f"For the numbers {numbers(case[0])} you return {numbers(float(value))}. "
    if not np.isfinite(value):
        return f"{asked}Which distance is that, and of which target?"
    if value < distances.max():
        return f"{asked}But the target {numbers(float(targets[distances.argmax()]))} is farther than that from every sum. Where do the worst targets lie?"
    return f"{asked}But every target in [−1, 1] has a sum that is closer. At which target have you measured this?"


def _holes(inside=False, ends="none", empty=True, ordered=True, factor=0.5):
    """A wrong way to look for holes between sums.

    inside: only sums in [-1, 1]. ends: "none", "sums" (-1 and 1 are taken for sums) or "nearest" (their distance to the
    nearest sum). factor: what a hole counts for.
    """

    def wrong(values):
        sums = all_sums(np.asarray(values))[0 if empty else 1 :]
        sums = np.sort(sums) if ordered else sums
        if inside:
            sums = sums[np.abs(sums) <= 1]
        if ends == "sums":
            sums = np.sort(np.concatenate([[-1.0, 1.0], sums]))
        errors = [factor * np.abs(np.diff(sums)).max(initial=0)]
        if ends == "nearest":
            errors += [np.abs(sums + 1).min(), np.abs(sums - 1).min()]
        return max(errors)

    return wrong


def _touching(values):
    """Half of every hole that has a part in [-1, 1], and the ends where no sum lies beyond."""
    sums = np.sort(all_sums(np.asarray(values)))
    touches = (sums[1:] > -1) & (sums[:-1] < 1)
    return max((np.diff(sums)[touches] / 2).max(initial=0), sums[0] + 1, 1 - sums[-1])


def _mean(values):
    return _nearest(np.sort(all_sums(np.asarray(values))), FINE).mean()


def _median(values):
    return np.median(_nearest(np.sort(all_sums(np.asarray(values))), FINE))


def _some_targets(tried) -> bool:
    """Never too large, and short of the right value by no more than a coarse choice of targets would be."""
    gaps = [(float(value), _reference(*case)) for case, value in tried]
    return all(0 < value <= right * (1 + 1e-9) and right - value < 0.1 for value, right in gaps)


def _ends_alone(values):
    return _nearest(np.sort(all_sums(np.asarray(values))), np.array([-1.0, 1.0])).max()


def _one_or_none(values):
    return np.append(values, 0.0)


_ENDS = "The ends are not in this. Which sum is the nearest to −1 if all sums lie above it?"
_END_IS_NO_SUM = "You count −1 and 1 among the sums. Is there a subset that meets them?"
_BEYOND = "Sums beyond [−1, 1] are left out. Which sum is the nearest to 1 if the neighbors are .6 and 1.1?"

check_worst_error = Exercise(
    "worst_error",
    _error_cases,
    equals(_reference, _relation),
    "one number to fourteen, sums within [−1, 1] and beyond, the worst target at an end and inside",
    (
        WRITTEN,
        returns(
            lambda values: 0.0 * values[0],
            "0 is the error of the target 0, which the empty subset meets. What does another target get?",
        ),
        returns(_mean, "This is the mean over the targets. Which target is the worst?", 0.15),
        returns(_median, "This is the median over the targets. Which target is the worst?", 0.15),
        returns(
            _ends_alone, "You try the two ends alone. Where between two neighboring sums is a target the worst off?"
        ),
        returns(_worst(low=0.0), "Your targets run from 0 to 1. Which targets does the task name?"),
        returns(
            _worst(lambda values: all_sums(values)[1:]),
            "The empty subset is missing. Which target does it meet?",
        ),
        returns(_worst(_one_or_none), "These are the numbers one by one. How many sums have n numbers?"),
        returns(_worst(lambda values: values), "These are the numbers one by one. How many sums have n numbers?"),
        *(
            returns(
                _holes(ordered=False, inside=inside, ends=ends),
                "You measure from one sum to the next in the order in which they were made. Which sums are neighbors on the line?",
            )
            for inside in (True, False)
            for ends in ("none", "nearest")
        ),
        *(
            returns(
                _holes(inside=inside, ends=ends, factor=1),
                "You return a whole hole. A target in it has a sum on either side: how far is the nearer one at most?",
            )
            for inside, ends in (
                (True, "none"),
                (True, "nearest"),
                (False, "none"),
                (False, "nearest"),
                (False, "sums"),
            )
        ),
        returns(_holes(inside=True), _ENDS),
        *(
            returns(
                _holes(ends=ends),
                "Every hole between two sums is in this, even those far beyond. Which holes have a target in them, and what of the ends?",
            )
            for ends in ("none", "nearest")
        ),
        returns(_holes(ends="sums"), _END_IS_NO_SUM),
        returns(_holes(inside=True, ends="sums"), _END_IS_NO_SUM),
        returns(_holes(inside=True, ends="nearest"), _BEYOND),
        returns(
            _touching,
            "You take half of a hole even where its middle lies beyond −1 or 1. Which target in [−1, 1] is the worst in such a hole?",
        ),
        Mistake(
            "Some targets are worse than all those you have tried. Between which two sums does a hole lie, and where in it is the worst target?",
            _some_targets,
        ),
    ),
)
