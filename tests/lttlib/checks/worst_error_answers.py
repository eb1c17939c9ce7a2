"""Right and wrong answers to the exercise on the worst target."""

import bisect
import itertools

import numpy as np
from proof import Answer, solutions

from lttlib.checks.worst_error import check_worst_error

worst_error = solutions("strong_lottery_tickets").worst_error


def subset_sums(values, smallest=0, largest=None):
    """In the order of their sizes."""
    sizes = range(smallest, (len(values) if largest is None else largest) + 1)
    return np.array([sum(chosen) for size in sizes for chosen in itertools.combinations(values.tolist(), size)])


def distance(sums, target):
    """sums: sorted."""
    at = bisect.bisect(sums, target)
    return min(abs(s - target) for s in sums[max(at - 1, 0) : at + 1])


def by_holes(values):
    """The worst target of each hole between neighbors, cut off at the ends."""
    sums = [-np.inf, *sorted(subset_sums(values)), np.inf]
    worst = 0.0
    for left, right in itertools.pairwise(sums):
        low, high = max(left, -1.0), min(right, 1.0)
        if low <= high:
            target = (
                np.clip((left + right) / 2, low, high) if np.isfinite(left + right) else (low if left < -9e9 else high)
            )
            worst = max(worst, min(target - left, right - target))
    return worst


def by_bisecting_radius(values):
    """The least radius at which intervals around the sums cover [-1, 1]."""
    sums = np.sort(subset_sums(values))
    low, high = 0.0, 2.0 + abs(sums).max()
    for _ in range(40):
        radius = (low + high) / 2
        reached = -1.0
        for s in sums:
            if s - radius <= reached:
                reached = max(reached, s + radius)
        low, high = (low, radius) if reached >= 1 else (radius, high)
    return high


def at(targets, finish=np.max, sums_of=subset_sums):
    """finish(distances of these targets)."""

    def answer(values):
        sums = sorted(sums_of(values).tolist())
        return float(finish([distance(sums, t) for t in targets]))

    return answer


def of_sums(sums_of):
    """The right rule for other sums."""

    def answer(values):
        sums = sorted(sums_of(values).tolist())
        halfway = [(a + b) / 2 for a, b in itertools.pairwise(sums) if abs(a + b) < 2]
        return max(distance(sums, t) for t in [-1, 1, *halfway])

    return answer


def gaps(choose=lambda sums: sums, share=0.5, ends=None):
    """The widest hole between neighbors; ends(sums): and what is missing at the ends, in full."""

    def answer(values):
        sums = choose(subset_doubled(values))
        widest = [share * abs(b - a) for a, b in itertools.pairwise(sums)]
        return max([0.0, *widest, *(ends(sums) if ends else [])])

    return answer


def outer(sums):
    return [min(sums) - -1, 1 - max(sums)]


def nearest(sums):
    return [distance(sorted(sums), -1), distance(sorted(sums), 1)]


def subset_doubled(values):
    sums = [0.0]
    for value in values.tolist():
        sums += [s + value for s in sums]
    return sums


def inside(sums):
    return [s for s in sorted(sums) if -1 <= s <= 1]


def with_ends(sums):
    return sorted([-1, 1, *sums])


def not_negative(values):
    sums = sorted(subset_sums(values).tolist())
    targets = [0, 1, *((a + b) / 2 for a, b in itertools.pairwise(sums) if 0 < a + b < 2)]
    return max(distance(sums, t) for t in targets)


def touching(values):
    sums = np.sort(subset_sums(values))
    holes = [(b - a) / 2 for a, b in itertools.pairwise(sums) if b > -1 and a < 1]
    return max([*holes, sums[0] + 1, 1 - sums[-1]])


def writes(values):
    values.sort()
    return worst_error(values)


RANDOM = np.random.default_rng(0).uniform(-1, 1, 1000)

WORST = [
    Answer(check_worst_error, "solution", worst_error),
    Answer(check_worst_error, "hole by hole", by_holes),
    Answer(check_worst_error, "radius", by_bisecting_radius),
    *(
        Answer(check_worst_error, name, function, "wrong", says)
        for name, function, says in [
            ("grid", at(np.linspace(-1, 1, 201)), "worse than all those you have tried"),
            ("random targets", at(RANDOM), "worse than all those you have tried"),
            ("target 0", at([0.0]), "0 is the error of the target 0"),
            ("ends", at([-1, 1]), "the two ends alone"),
            ("mean", at(np.linspace(-1, 1, 1001), np.mean), "mean over the targets"),
            ("median", at(np.linspace(-1, 1, 1001), np.median), "median over the targets"),
            ("from 0 to 1", not_negative, "from 0 to 1"),
            ("no empty subset", of_sums(lambda v: subset_sums(v, 1)), "empty subset is missing"),
            ("single numbers", of_sums(lambda v: subset_sums(v, 1, 1)), "one by one"),
            ("single numbers and 0", of_sums(lambda v: subset_sums(v, 0, 1)), "one by one"),
            ("unsorted", gaps(), "in the order in which they were made"),
            ("unsorted inside", gaps(lambda s: [x for x in s if abs(x) <= 1]), "in the order in which they were made"),
            (
                "unsorted inside, ends",
                gaps(lambda s: [x for x in s if abs(x) <= 1], ends=nearest),
                "in the order in which they were made",
            ),
            ("unsorted, ends", gaps(ends=outer), "in the order in which they were made"),
            ("whole holes", gaps(sorted, 1), "a whole hole"),
            ("whole holes, ends", gaps(sorted, 1, nearest), "a whole hole"),
            ("whole holes, outer sums", gaps(sorted, 1, outer), "a whole hole"),
            ("whole holes, ends as sums", gaps(with_ends, 1), "a whole hole"),
            ("whole holes inside, ends", gaps(inside, 1, outer), "a whole hole"),
            ("whole holes inside", gaps(inside, 1), "a whole hole"),
            ("whole holes inside, ends as sums", gaps(lambda s: with_ends(inside(s)), 1), "a whole hole"),
            ("no ends", gaps(inside), "The ends are not in this"),
            ("all holes", gaps(sorted), "even those far beyond"),
            ("all holes, outer sums", gaps(sorted, ends=outer), "even those far beyond"),
            ("all holes and ends", gaps(sorted, ends=nearest), "even those far beyond"),
            ("ends as sums", gaps(with_ends), "count −1 and 1 among the sums"),
            ("ends as sums, inside", gaps(lambda s: with_ends(inside(s))), "count −1 and 1 among the sums"),
            ("inside", gaps(inside, ends=outer), "Sums beyond [−1, 1] are left out"),
            ("touching", touching, "even where its middle lies beyond"),
            ("pairs", of_sums(lambda v: subset_sums(v, 0, min(2, len(v)))), "has a sum that is closer"),
            ("half", lambda v: worst_error(v) / 2, "is farther than that"),
            ("twice", lambda v: worst_error(v) * 2, "has a sum that is closer"),
            ("nan", lambda v: np.nan, "Which distance is that"),
            ("all targets", lambda v: v, "?"),
        ]
    ),
    Answer(check_worst_error, "writes", writes, "error", "Where does a copy belong?"),
]
