"""How a check judges a subset: a bool mask over the numbers, True = kept, and its error |sum - target|.

Any best subset is right, so masks are compared by how far their sums are from the target, never with one another.
"""

from collections.abc import Callable

import numpy as np
from numpy import ndarray

from lttlib.checks.answers import Case, Mistake, Tried, numbers

ROUNDING = 1e-9  # errors closer than this are equal


def all_masks(n: int) -> ndarray:
    """All subsets of n numbers, bool (2^n, n): row k holds the binary digits of k, the lowest first."""
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)


def all_sums(values: ndarray) -> ndarray:
    """The sums of all subsets, (2^n,), in the order of all_masks."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums, sums + value])
    return sums


def least_error(case: Case) -> float:
    """|sum - target| of the best subset."""
    values, target = case
    half = len(values) // 2
    sums, others = np.sort(all_sums(values[:half])), np.sort(all_sums(values[half:]))
    place = np.searchsorted(sums, target - others)
    near = [sums[np.clip(place + step, 0, len(sums) - 1)] for step in (-1, 0)]
    return float(np.abs(np.array(near) + others - target).min())


def off(case: Case, mask: ndarray) -> float:
    """|sum - target| of this subset."""
    values, target = case
    return float(abs(np.asarray(values)[mask].sum() - target))


def judge_subset(case: Case, value) -> str | None:
    """Right: the mask of any best subset, and its error."""
    values, target = case
    mask, error = (np.asarray(part) for part in value)
    if mask.dtype != bool or mask.shape != values.shape:
        found = f"Your mask is of kind {mask.dtype} and shape {mask.shape}."
        return f"{found} Which kind and which shape has a mask over {len(values)} number{'s' * (len(values) > 1)}?"
    if error.shape != ():
        return (
            f"Your error has shape {error.shape}; the task asks for a single number. Which step of yours adds an axis?"
        )
    error = float(error.astype(np.float64, casting="same_kind"))  # text or complex numbers: an error, put in words
    least, reached = least_error(case), off(case, mask)
    asked = f"For the numbers {numbers(values)} and target {numbers(target)} "
    if reached <= least + ROUNDING:
        if abs(error - reached) <= ROUNDING:
            return None
        return f"{asked}your subset is a best one, but you return {numbers(error)} for its error. How far is its sum from the target, and which sign has a distance?"
    if abs(error - least) <= ROUNDING:
        return f"{asked}your error is the least there is, but the numbers in your mask add up to {numbers(_sum(case, mask))}. To which subset does the error belong?"
    return f"{asked}the numbers you keep add up to {numbers(_sum(case, mask))}. Another subset comes closer. Which sums have you looked at?"


def _sum(case: Case, mask: ndarray) -> float:
    return float(np.asarray(case[0])[mask].sum())


def pairs(tried: Tried) -> list[tuple[Case, ndarray, float]]:
    """(case, mask, error) of every answer; raises where an answer is of another kind, so that nothing is recognized."""
    found = []
    for case, (mask, error) in tried:
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != case[0].shape:
            raise TypeError("no mask")
        found.append((case, mask, float(error)))
    return found


def takes(wrong: Callable[[ndarray, float], ndarray], says: str) -> Mistake:
    """The mistake of taking the subset wrong(values, target), a mask, or one as far from the target."""

    def spotted(tried):
        found = [(case, off(case, mask)) for case, mask, _ in pairs(tried)]
        return all(abs(reached - off(case, wrong(np.asarray(case[0]), case[1]))) <= ROUNDING for case, reached in found)

    return Mistake(says, spotted)


def reports(wrong: Callable[[float, float], float], says: str) -> Mistake:
    """A best subset, but wrong(its sum, target) in place of its error."""

    def spotted(tried):
        found = pairs(tried)
        return all(_is_best(case, mask) for case, mask, _ in found) and all(
            abs(error - wrong(_sum(case, mask), case[1])) <= ROUNDING for case, mask, error in found
        )

    return Mistake(says, spotted)


def errors_of(wrong: Callable[[ndarray, float], float], says: str) -> Mistake:
    """The error wrong(values, target), whatever the first part of the answer is."""

    def spotted(tried):
        return all(abs(value[1] - wrong(np.asarray(case[0]), case[1])) <= ROUNDING for case, value in tried)

    return Mistake(says, spotted)


def other_masks(says: str) -> Mistake:
    """The least error every time, but masks that belong to other sums."""

    def spotted(tried):
        found = pairs(tried)
        return all(abs(error - least_error(case)) <= ROUNDING for case, _, error in found) and any(
            off(case, mask) > error + ROUNDING for case, mask, error in found
        )

    return Mistake(says, spotted)


def too_good(says: str) -> Mistake:
    """Errors that no subset has, in some cases, and in all others the right ones."""

    def spotted(tried):
        gaps = [float(value[1]) - least_error(case) for case, value in tried]
        return max(gaps) <= ROUNDING and min(gaps) < -ROUNDING

    return Mistake(says, spotted)


def _is_best(case: Case, mask: ndarray) -> bool:
    return off(case, mask) <= least_error(case) + ROUNDING


def _as_if(tried: Tried, mask_of: Callable[[Case, ndarray], ndarray]) -> bool:
    """The first part of every answer, no mask, becomes a best subset by mask_of."""
    arrays = [(case, np.asarray(value[0])) for case, value in tried]
    if any(found.dtype == bool for _, found in arrays):
        return False
    return all(_is_best(case, mask_of(case, found)) for case, found in arrays)


def _from_positions(case, found):
    mask = np.zeros(len(case[0]), dtype=bool)
    mask[found.astype(int)] = True
    return mask


def _from_digits(case, found):
    if not set(np.unique(found)) <= {0, 1} or found.shape != case[0].shape:
        raise TypeError("no zeros and ones")
    return found.astype(bool)


def _members(tried: Tried) -> bool:
    """The first part of every answer holds the numbers of a best subset."""
    found = [(case, np.asarray(value[0], dtype=np.float64)) for case, value in tried]
    return all(
        np.isin(kept, case[0]).all() and abs(kept.sum() - case[1]) <= least_error(case) + ROUNDING
        for case, kept in found
    )


def _swapped(tried: Tried) -> bool:
    return all(judge_subset(case, tuple(value)[::-1]) is None for case, value in tried)


def _alone(tried: Tried) -> bool:
    return all(abs(float(value) - least_error(case)) <= ROUNDING for case, value in tried)


def _masks_alone(tried: Tried) -> bool:
    arrays = [(case, np.asarray(value)) for case, value in tried]
    return all(found.dtype == bool and _is_best(case, found) for case, found in arrays)


FORM = (
    Mistake("This is the error without its subset. Which numbers are to be kept, and which part says it?", _alone),
    Mistake("This is the mask without its error. What is the second thing that the task asks for?", _masks_alone),
    Mistake("The two are swapped. Which does the task want first, the mask or the error?", _swapped),
    Mistake(
        "A mask is bool in this book, yours holds numbers. What would `~mask` do to them?",
        lambda tried: _as_if(tried, _from_digits),
    ),
    Mistake(
        "You return positions. What has as many entries as there are numbers, and is True at these positions?",
        lambda tried: _as_if(tried, _from_positions),
    ),
    Mistake(
        "You return the kept numbers themselves. What says of every number whether it is kept?",
        _members,
    ),
    Mistake(
        "The mask is inverted: yours is True where a number is left out. In this book, is True live or pruned?",
        lambda tried: all(_is_best(case, ~mask) for case, mask, _ in pairs(tried)),
    ),
    reports(
        lambda found, target: found - target, "The subset is right, the error has a sign. Which sign has a distance?"
    ),
    reports(
        lambda found, target: target - found, "The subset is right, the error has a sign. Which sign has a distance?"
    ),
    reports(
        lambda found, target: (found - target) ** 2,
        "The subset is right, the error is squared. It ranks subsets just as well, but in which unit is a distance?",
    ),
    reports(
        lambda found, target: found, "The subset is right, and you return its sum. How far is that from the target?"
    ),
)
