"""Right and wrong answers to the exercise on the best subset of a few numbers."""

import itertools
import math

import numpy as np
import torch
from proof import Answer, solutions

from lttlib.checks.best_subset import check_best_subset

best_subset = solutions("strong_lottery_tickets").best_subset


def closest(places_of, measure=abs):
    """The first of these subsets, given as tuples of positions, with the least measure(sum - target)."""

    def answer(values, target):
        chosen = min(places_of(values, target), key=lambda places: measure(sum(values[list(places)]) - target))
        mask = np.isin(np.arange(len(values)), chosen)
        return mask, abs(sum(values[mask]) - target)

    return answer


def of_sizes(sizes):
    def places_of(values, target):
        n = len(values)
        return [places for size in sizes(n) for places in itertools.combinations(range(n), size)]

    return places_of


every = of_sizes(lambda n: range(n + 1))


def aliased(values, target):
    """Stores the mask that the loop goes on to write to."""
    mask, best, least = np.zeros(len(values), dtype=bool), None, math.inf
    for number in range(2 ** len(values)):
        for place in range(len(values)):
            mask[place] = number >> place & 1
        if abs(values[mask].sum() - target) < least:
            best, least = mask, abs(values[mask].sum() - target)
    return best, least


def by_recursion(values, target):
    """Without the first number, or with it."""
    if len(values) == 0:
        return [], abs(target)
    out, into = by_recursion(values[1:], target), by_recursion(values[1:], target - values[0])
    kept, (mask, error) = (False, out) if out[1] <= into[1] else (True, into)
    return [kept, *mask], error


def by_bits(values, target):
    mask, least = None, math.inf
    for k in range(2 ** len(values)):
        bits = [bool(k >> i & 1) for i in range(len(values))]
        error = abs(math.fsum(v for v, bit in zip(values, bits, strict=True) if bit) - target)
        if error < least:
            mask, least = bits, error
    return torch.tensor(mask), torch.tensor(least, dtype=torch.float64)


def finished(change):
    """The solution's answer, changed: change(values, target, mask, error)."""
    return lambda values, target: change(values, target, *best_subset(values, target))


def runs(shortest):
    def places_of(values, target):
        n = len(values)
        return [range(i, j) for i in range(n + 1) for j in range(i, n + 1) if j - i >= shortest]

    return closest(places_of)


def one_pass(order, fits):
    def answer(values, target):
        mask, rest = np.zeros(len(values), dtype=bool), target
        for place in sorted(range(len(values)), key=lambda i: order(values[i])):
            if fits(values[place], rest):
                mask[place], rest = True, rest - values[place]
        return mask, abs(rest)

    return answer


def steepest(values, target):
    left, rest = set(range(len(values))), target
    while left:
        place = min(left, key=lambda i: abs(rest - values[i]))
        if abs(rest - values[place]) >= abs(rest):
            break
        left.remove(place)
        rest -= values[place]
    return np.array([i not in left for i in range(len(values))]), abs(rest)


def counted(times):
    """Every number as many times as one of `times`; kept if at all."""

    def answer(values, target):
        small = values[:7]  # 3^7 ways are enough to be wrong
        ways = np.array(list(itertools.product(times, repeat=len(small))))
        errors = abs(ways @ small - target)
        if min(times) == 0 and errors.min() > best_subset(values, target)[1]:
            return best_subset(values, target)
        mask = np.zeros(len(values), dtype=bool)
        mask[:7] = ways[errors.argmin()] > 0
        return mask, errors.min()

    return answer


def signs(values, target):
    ways = np.array(list(itertools.product((1, -1), repeat=len(values))))
    errors = abs(ways @ values - target)
    return ways[errors.argmin()] > 0, errors.min()


def least_signed(values, target):
    sums = [sum(values[list(places)]) - target for places in every(values, target)]
    k = int(np.argmin(sums))
    return np.isin(np.arange(len(values)), every(values, target)[k]), sums[k]


def positive_only(values, target):
    places = [p for p in every(values, target) if all(values[i] >= 0 for i in p)]
    return closest(lambda *_: places)(values, target)


def without(place):
    def answer(values, target):
        mask, error = best_subset(np.delete(values, place), target)
        return np.insert(mask, place if place >= 0 else len(mask), False), error

    return answer


def writes(values, target):
    values -= target
    return values > 0, 0.0


def better(old, new):
    return abs(new - old) < abs(new)


BEST = [
    Answer(check_best_subset, "solution", best_subset),
    Answer(check_best_subset, "combinations", closest(every)),
    Answer(check_best_subset, "recursion", by_recursion),
    Answer(check_best_subset, "bits", by_bits),
    Answer(check_best_subset, "last of equals", closest(lambda *c: every(*c)[::-1])),
    *(
        Answer(check_best_subset, name, function, "wrong", says)
        for name, function, says in [
            ("no empty subset", closest(of_sizes(lambda n: range(1, n + 1))), "sum of the empty subset"),
            ("not all", closest(of_sizes(range)), "Up to which size"),
            ("neither", closest(lambda v, t: of_sizes(lambda n: range(1, n))(v, t) or [()]), "Which sizes can"),
            ("first number never", without(0), "The first number is never kept"),
            ("last number never", without(-1), "The last number is never kept"),
            ("positive numbers", positive_only, "No negative number"),
            ("runs", runs(1), "side by side"),
            ("runs or nothing", runs(0), "side by side"),
            ("one", closest(of_sizes(lambda n: [1])), "best single number. How"),
            ("at most one", closest(of_sizes(lambda n: [0, 1])), "best single number, or none"),
            ("at most two", closest(of_sizes(lambda n: range(min(n, 2) + 1))), "No more than two"),
            ("steepest", steepest, "one number after another"),
            ("as they come", one_pass(lambda v: 0, better), "one number after another"),
            ("by size", one_pass(lambda v: -abs(v), better), "one number after another"),
            ("from above", one_pass(lambda v: -v, better), "one number after another"),
            ("while it fits", one_pass(lambda v: -v, lambda v, rest: v <= rest), "one number after another"),
            ("not above", closest(every, lambda gap: -gap if gap <= 1e-12 else 99), "not above the target"),
            ("not below", closest(every, lambda gap: gap if gap >= -1e-12 else 99), "not below the target"),
            ("least signed", least_signed, "smallest sum of all"),
            ("largest sum", closest(every, lambda gap: -gap), "largest sum of all"),
            ("farthest", closest(every, lambda gap: -abs(gap)), "farthest away"),
            ("one mask for all", aliased, "may change when the loop goes on"),
            ("all", lambda v, t: (v == v, abs(sum(v) - t)), "You keep everything"),
            ("nothing", lambda v, t: (v != v, abs(t)), "You keep nothing"),
            ("signs", signs, "added or subtracted"),
            ("twice", counted((0, 1, 2)), "taken twice"),
            ("signed", finished(lambda v, t, mask, error: (mask, sum(v[mask]) - t)), "the error has a sign"),
            ("signed, other way", finished(lambda v, t, mask, error: (mask, t - sum(v[mask]))), "the error has a sign"),
            ("squared", finished(lambda v, t, mask, error: (mask, error**2)), "the error is squared"),
            ("sum", finished(lambda v, t, mask, error: (mask, sum(v[mask]))), "you return its sum"),
            ("swapped", finished(lambda v, t, mask, error: (error, mask)), "two are swapped"),
            ("error alone", finished(lambda v, t, mask, error: error), "without its subset"),
            ("mask alone", finished(lambda v, t, mask, error: mask), "without its error"),
            ("digits", finished(lambda v, t, mask, error: (mask.astype(int), error)), "A mask is bool"),
            ("positions", finished(lambda v, t, mask, error: (np.flatnonzero(mask), error)), "You return positions"),
            ("numbers", finished(lambda v, t, mask, error: (v[mask], error)), "kept numbers themselves"),
            ("inverted", finished(lambda v, t, mask, error: (~mask, error)), "The mask is inverted"),
            ("relative", finished(lambda v, t, mask, error: (mask, error / abs(t))), "is a best one, but you return"),
            ("wrong mask", finished(lambda v, t, mask, error: (np.roll(mask, 1), error)), "does the error belong"),
            ("too short", finished(lambda v, t, mask, error: (mask[1:], error)), "Which kind and which shape"),
            ("nan", finished(lambda v, t, mask, error: (mask, np.nan)), "is a best one, but you return nan"),
            ("list of one", finished(lambda v, t, mask, error: (mask, [error])), "asks for a single number"),
            ("three", closest(of_sizes(lambda n: range(min(n, 3) + 1))), "Which sums have you looked at"),
        ]
    ),
    Answer(check_best_subset, "writes", writes, "error", "Where does a copy belong?"),
]
