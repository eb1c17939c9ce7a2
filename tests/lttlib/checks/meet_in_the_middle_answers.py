"""Right and wrong answers to the exercise on meeting in the middle."""

import bisect
import itertools
import math

import numpy as np
from proof import Answer, solutions

from lttlib.checks.meet_in_the_middle import check_meet_in_the_middle

SOLVED = solutions("strong_lottery_tickets")
meet, best_subset = SOLVED.meet_in_the_middle, SOLVED.best_subset


def counted(part):
    """(sum, bits) of every subset of a half, as itertools.product counts, the last number fastest."""
    bits = itertools.product((False, True), repeat=len(part))
    return [(math.fsum(itertools.compress(part, b)), b) for b in bits]


def doubled(part):
    """The same, the first number fastest."""
    found = [(0.0, ())]
    for value in part:
        found = [(s, (*b, False)) for s, b in found] + [(s + value, (*b, True)) for s, b in found]
    return found


def by_bisection(*, steps=(-1, 0), edge="skip", swap=False, subsets=counted, sort=True):
    """One look-up for each sum of the one half in the list of the other. swap: look up in the first half."""

    def answer(values, target):
        values = values.tolist()
        half = len(values) // 2
        ours, theirs = subsets(values[:half]), subsets(values[half:])
        if swap:
            ours, theirs = theirs, ours
        if sort:
            theirs = sorted(theirs)
        keys = [s for s, _ in theirs]
        best = (math.inf, (False,) * len(values))
        for s, bits in ours:
            at = bisect.bisect_left(keys, target - s)
            for step in steps:
                place = at + step
                if edge == "clip":
                    place = min(max(place, 0), len(keys) - 1)
                elif edge == "wrap":
                    place %= len(keys)
                if edge == "raise" or 0 <= place < len(keys):
                    both = (theirs[place][1] + bits) if swap else (bits + theirs[place][1])
                    best = min(best, (abs(s + keys[place] - target), both))
        return np.array(best[1]), best[0]

    return answer


def two_pointers(values, target):
    """From both ends: a sum too small moves the lower pointer up, one too large the upper pointer down."""
    half = len(values) // 2
    low, high = sorted(doubled(values[half:])), sorted(doubled(values[:half]), reverse=True)
    i = j = 0
    least, mask = math.inf, None
    while i < len(low) and j < len(high):
        gap = low[i][0] + high[j][0] - target
        if abs(gap) < least:
            least, mask = abs(gap), high[j][1] + low[i][1]
        if gap < 0:
            i += 1
        else:
            j += 1
    return mask, least


def of_halves(finish):
    """finish(best of the first half, best of the second): each a padded (mask, error)."""

    def answer(values, target):
        half, none = len(values) // 2, [False] * len(values)
        one, two = best_subset(values[:half], target), best_subset(values[half:], target)
        return finish(([*one[0], *none[half:]], one[1]), ([*none[:half], *two[0]], two[1]))

    return answer


def settled(first_half_first):
    """One half for the target, the other for what is left."""

    def answer(values, target):
        half = len(values) // 2
        parts = [values[:half], values[half:]][:: 1 if first_half_first else -1]
        one, _ = best_subset(parts[0], target)
        two, error = best_subset(parts[1], target - sum(parts[0][one]))
        return np.concatenate([one, two] if first_half_first else [two, one]), error

    return answer


def shared(values, target):
    half = len(values) // 2
    mask = np.concatenate([best_subset(part, target / 2)[0] for part in (values[:half], values[half:])])
    return mask, abs(sum(values[mask]) - target)


def without(place_of):
    """One number is in neither half where n is odd."""

    def answer(values, target):
        if len(values) % 2 == 0:
            return meet(values, target)
        place = place_of(len(values))
        mask, error = meet(np.delete(values, place), target)
        return np.insert(mask, place, False), error

    return answer


def never_the_first(values, target):
    mask, error = meet(values[1:], target)
    return np.insert(mask, 0, False), error


def in_both(values, target):
    """The middle one of an odd number of numbers is in both halves."""
    n, half = len(values), len(values) // 2
    if n % 2 == 0:
        return meet(values, target)
    mask, error = meet(np.insert(values, half, values[half]), target)
    return np.concatenate([mask[:half], [mask[half] | mask[half + 1]], mask[half + 2 :]]), error


def forgot_to_move(values, target):
    """Sums are sorted, masks are not."""
    half = len(values) // 2
    ours, theirs = counted(values[:half]), counted(values[half:])
    keys = sorted(s for s, _ in theirs)
    least, mask = math.inf, None
    for s, bits in ours:
        at = bisect.bisect(keys, target - s)
        for place in range(max(at - 1, 0), min(at + 1, len(keys))):
            if abs(s + keys[place] - target) < least:
                least, mask = abs(s + keys[place] - target), bits + theirs[place][1]
    return np.array(mask), least


def exact(missing):
    """Looks up what a sum lacks among the other sums, as a key. missing(values): what it answers if none is found."""

    def answer(values, target):
        half = len(values) // 2
        theirs = dict(doubled(values[half:].tolist()))
        for s, bits in doubled(values[:half].tolist()):
            if target - s in theirs:
                return np.array(bits + theirs[target - s]), 0.0
        return missing(values)

    return answer


def no_such_key(values):
    return {}[0.0]


def all_at_once(values, target):
    """Every pair of sums, in one table."""
    half = len(values) // 2
    ours, theirs = doubled(values[:half]), doubled(values[half:])
    errors = abs(np.array([s for s, _ in ours])[:, None] + np.array([s for s, _ in theirs]) - target)
    i, j = np.unravel_index(errors.argmin(), errors.shape)
    return np.array(ours[i][1] + theirs[j][1]), errors.min()


def doubling(values, target):
    """All sums of all numbers, by numpy: quick, and large."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums, sums + value])
    k = int(abs(sums - target).argmin())
    return (k >> np.arange(len(values)) & 1).astype(bool), abs(sums[k] - target)


def one_by_one(values, target):
    values = values.tolist()
    ways = itertools.product((False, True), repeat=len(values))
    error, mask = min((abs(sum(itertools.compress(values, way)) - target), way) for way in ways)
    return np.array(mask), error


def finished(change):
    return lambda values, target: change(values, target, *meet(values, target))


def writes(values, target):
    values.sort()
    return meet(values, target)


ONE_SIDED = [
    (
        f"{side}, {edge}{', first half' * swap}",
        by_bisection(steps=(step,), edge=edge, swap=swap),
        f"only, the {side} one",
    )
    for side, step in (("left", -1), ("right", 0))
    for edge in ("clip", "skip", "wrap")
    for swap in (False, True)
]
UNSORTED = [
    (f"unsorted, {subsets.__name__}, {edge}{', first half' * swap}",
     by_bisection(edge=edge, swap=swap, subsets=subsets, sort=False), "needs sorted sums")
    for subsets in (counted, doubled)
    for edge in ("clip", "skip", "wrap")
    for swap in (False, True)
]  # fmt: skip

MEET = [
    Answer(check_meet_in_the_middle, "solution", meet),
    Answer(check_meet_in_the_middle, "bisection", by_bisection()),
    Answer(check_meet_in_the_middle, "bisection, first half", by_bisection(swap=True, edge="clip", subsets=doubled)),
    Answer(check_meet_in_the_middle, "two pointers", two_pointers),
    *(
        Answer(check_meet_in_the_middle, name, function, "wrong", says)
        for name, function, says in [
            *ONE_SIDED,
            *UNSORTED,
            ("first half", of_halves(lambda one, two: one), "Only sums of the first half"),
            ("second half", of_halves(lambda one, two: two), "Only sums of the second half"),
            (
                "either half",
                of_halves(lambda one, two: min(one, two, key=lambda o: o[1])),
                "Which subsets have numbers of both",
            ),
            ("first half first", settled(True), "settle one half"),
            ("second half first", settled(False), "settle one half"),
            ("half the target", shared, "share it evenly"),
            ("last left out", without(lambda n: n - 1), "in neither half"),
            ("middle left out", without(lambda n: n // 2), "in neither half"),
            ("middle in both", in_both, "stand in both halves"),
            ("masks not moved", forgot_to_move, "did their subsets move along"),
            ("exact, else nothing", exact(lambda v: (v != v, abs(v[0]))), "met exactly"),
            ("exact, else infinity", exact(lambda v: (None, math.inf)), "met exactly"),
            ("exact, else None", exact(lambda v: None), "`return` at its end"),
            ("table of pairs", all_at_once, "every pair of them have to be there"),
            ("doubling", doubling, "as many entries as there are subsets"),
            ("one by one", one_by_one, "takes too long"),
            ("best_subset", best_subset, "Right for up to 12 numbers, but with"),
            ("error alone", finished(lambda v, t, mask, error: error), "without its subset"),
            ("signed", finished(lambda v, t, mask, error: (mask, t - sum(v[mask]))), "the error has a sign"),
            ("digits", finished(lambda v, t, mask, error: (mask * 1, error)), "A mask is bool"),
            (
                "halves of the mask swapped",
                finished(lambda v, t, mask, error: (np.roll(mask, len(v) // 2), error)),
                "did their subsets move along",
            ),
            ("never the first", never_the_first, "Which sums have you looked at"),
        ]
    ),
    Answer(check_meet_in_the_middle, "exact, else an error", exact(no_such_key), "error", "met exactly"),
    Answer(check_meet_in_the_middle, "out of bounds", by_bisection(edge="raise"), "error", "behind the last sum"),
    Answer(check_meet_in_the_middle, "writes", writes, "error", "Where does a copy belong?"),
]
