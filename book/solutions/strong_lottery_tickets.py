"""Solutions of the exercises of the chapter "Strong lottery tickets"; the page shows them, the tests run them."""

import itertools

import numpy as np


def all_masks(n):
    return np.array(list(itertools.product([False, True], repeat=n)), dtype=bool)  # (2^n, n)


def best_subset(values, target):
    masks = all_masks(len(values))
    errors = np.abs(masks @ values - target)
    return masks[errors.argmin()], errors.min()


def meet_in_the_middle(values, target):
    half = len(values) // 2
    first, second = (all_masks(len(part)) for part in (values[:half], values[half:]))
    second = second[np.argsort(second @ values[half:])]  # the masks move with their sums
    ours, theirs = first @ values[:half], second @ values[half:]
    above = np.searchsorted(theirs, target - ours)
    least = np.inf
    for place in (above - 1, above):  # the neighbors on either side
        place = place.clip(0, len(theirs) - 1)
        errors = np.abs(ours + theirs[place] - target)
        i = errors.argmin()
        if errors[i] < least:
            mask, least = np.concatenate([first[i], second[place[i]]]), errors[i]
    return mask, least


def diamond_error(weight, inner, outer, mask):
    kept = mask * outer * inner
    positive, negative = kept[inner > 0].sum(), kept[inner < 0].sum()
    return max(abs(weight - positive), abs(weight - negative))


def worst_error(values):
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums, sums + value])  # without it, and with it
    sums = np.sort(sums)
    halfway = (sums[1:] + sums[:-1]) / 2
    targets = [-1.0, 1.0, *halfway[abs(halfway) < 1]]
    return max(np.abs(sums - target).min() for target in targets)
