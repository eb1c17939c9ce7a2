"""Right and wrong answers to the exercises on what updates explore, at most and by chance."""

import math
from fractions import Fraction

import numpy as np
from proof import Answer, solutions

from lttlib.checks.exploration import check_explored_by_chance, check_most_explored
from lttlib.dst import update_steps
from lttlib.schedules import rigl_drop_fraction

SOLVED = solutions("moving_masks")


def library_moves(live, alpha, interval, end):
    return [int(rigl_drop_fraction(t, alpha=alpha, end=end) * live) for t in update_steps(interval, end)]


def most_by_library(n, live, *schedule):
    return Fraction(min(n, live + sum(library_moves(live, *schedule))), n)


def most_by_loop(n, live, alpha, interval, end):
    seen, t = live, interval
    while t < end:
        seen = min(n, seen + math.floor(alpha * math.cos(math.pi * t / end / 2) ** 2 * live))
        t += interval
    return np.float32(seen / n)


def most_past_the_end(n, live, alpha, interval, end):
    """An update at `end` moves nothing, nor does one just after it."""
    t = np.arange(interval, end + 1, interval)
    return np.clip((live + (alpha / 2 * (1 + np.cos(np.pi * t / end)) * live).astype(int).sum()) / n, 0, 1)


def chance_by_steps(n, live, *schedule):
    """Of the free places, those never live are drawn in proportion."""
    seen = live
    for k in library_moves(live, *schedule):
        seen += k * (n - seen) / (n - live + k)
    return seen / n


def chance_by_logs(n, live, alpha, interval, end):
    t = np.arange(1, math.ceil(end / interval)) * interval
    k = (live * alpha * np.cos(np.pi * t / end / 2) ** 2).astype(int)
    return -np.expm1(np.log1p(-live / n) + np.log1p(-k / (n - live + k)).sum())


def simulated(n, live, *schedule, repeats=1):
    rng = np.random.default_rng(0)
    total = 0.0
    for _ in range(repeats):
        mask = np.arange(n) < live
        ever = mask.copy()
        for k in library_moves(live, *schedule):
            mask[rng.permutation(np.flatnonzero(mask))[:k]] = False
            free = np.flatnonzero(~mask)
            mask[rng.permutation(free)[:k]] = True
            ever |= mask
        total += ever.mean() / repeats
    return total


def half_cosine(alpha, t, end):
    return alpha / 2 * (1 + math.cos(math.pi * t / end))


def at_most(n, live, moves):
    return min(1, (live + sum(moves)) / n)


def by_chance(n, live, moves):
    return 1 - (1 - live / n) * math.prod(1 - k / (n - live + k) for k in moves)


def with_moves(finish, share=half_cosine, whole=int, start=None, of=lambda n, live: live):
    def answer(n, live, alpha, interval, end):
        t = interval if start is None else start
        moves = []
        while t < end:
            moves.append(whole(share(alpha, t, end) * of(n, live)))
            t += interval
        return finish(n, live, moves)

    return answer


def wrong_schedules(exercise, finish):
    return [
        Answer(exercise, name, with_moves(finish, **how), "wrong", says)
        for name, how, says in [
            ("constant", {"share": lambda alpha, t, end: alpha}, "is alpha at every update"),
            ("step 0", {"start": 0}, "at step 0 as well"),
            ("no half", {"share": lambda *c: 2 * half_cosine(*c)}, "starts at twice alpha"),
            ("rising", {"share": lambda alpha, t, end: alpha - half_cosine(alpha, t, end)}, "rises from 0 to alpha"),
            ("no pi", {"share": lambda alpha, t, end: half_cosine(alpha, t / math.pi, end)}, "no π in your cosine"),
            ("line", {"share": lambda alpha, t, end: alpha - alpha * t / end}, "on a straight line"),
            ("parts", {"whole": float}, "Parts of a weight move"),
            ("up", {"whole": math.ceil}, "You round up"),
            ("nearest", {"whole": round}, "nearest whole number"),
            ("of all", {"of": lambda n, live: n}, "drop fraction of all weights"),
        ]
    ]


def wrong_scales(exercise, finish, relation):
    def then(change):
        return with_moves(lambda n, live, moves: change(finish(n, live, moves), n, live))

    return [
        Answer(exercise, name, then(change), "wrong", says)
        for name, change, says in [
            ("number", lambda right, n, live: right * n, "a number or a share"),
            ("of live", lambda right, n, live: right * n / live, "divide by the live weights"),
            ("never", lambda right, n, live: 1 - right, "share that is never live"),
            ("percent", lambda right, n, live: right * 100, "This is in percent"),
            ("density", lambda right, n, live: live / n, "This is the density"),
            ("below the density", lambda right, n, live: right / 2, "before the first update"),
            ("half way to 1", lambda right, n, live: (1 + right) / 2, relation),
            ("list", lambda right, n, live: [right, right], "You return shape (2,)"),
        ]
    ]


def grows(n, live, moves):
    seen = live
    for k in moves:
        seen *= 1 + k / live
    return min(seen / n, 1)


EXPLORATION = [
    Answer(check_most_explored, "solution", SOLVED.most_explored),
    Answer(check_most_explored, "library, a fraction", most_by_library),
    Answer(check_most_explored, "loop, float32", most_by_loop),
    Answer(check_most_explored, "an update at the end", most_past_the_end),
    *wrong_schedules(check_most_explored, at_most),
    *wrong_scales(check_most_explored, at_most, "what does that add up to?"),
    *(
        Answer(check_most_explored, name, with_moves(finish), "wrong", says)
        for name, finish, says in [
            ("no cap", lambda n, live, moves: (live + sum(moves)) / n, "Your share passes 1"),
            ("no start", lambda n, live, moves: min(1, sum(moves) / n), "live from the start are missing"),
            ("no start, no cap", lambda n, live, moves: sum(moves) / n, "live from the start are missing"),
            ("compound", grows, "grows from update to update"),
            ("by chance", by_chance, "explores on average"),
        ]
    ),
    Answer(check_most_explored, "rounded once",
           with_moves(lambda n, live, moves: at_most(n, live, [int(sum(moves))]), whole=float), "wrong", "You round once"),
    Answer(check_most_explored, "no cap and step 0",
           with_moves(lambda n, live, moves: (live + sum(moves)) / n, start=0), "wrong", "what does that add up to?"),
    Answer(check_explored_by_chance, "solution", SOLVED.explored_by_chance),
    Answer(check_explored_by_chance, "step by step", chance_by_steps),
    Answer(check_explored_by_chance, "logarithms", chance_by_logs),
    Answer(check_explored_by_chance, "float32", lambda *c: np.float32(chance_by_steps(*c))),
    *wrong_schedules(check_explored_by_chance, by_chance),
    *wrong_scales(check_explored_by_chance, by_chance, "is it not this one?"),
    *(
        Answer(check_explored_by_chance, name, with_moves(finish), "wrong", says)
        for name, finish, says in [
            ("at most", at_most, "as if luck never failed"),
            ("dead alone", lambda n, live, moves: 1 - (1 - live / n) * math.prod(1 - k / (n - live) for k in moves),
             "You draw from n − live places"),
            ("all places", lambda n, live, moves: 1 - (1 - live / n) * math.prod(1 - k / n for k in moves),
             "You draw from all n places"),
            ("no start", lambda n, live, moves: 1 - math.prod(1 - k / (n - live + k) for k in moves),
             "live from the start are missing"),
            ("whole masks", lambda n, live, moves: 1 - (1 - live / n) ** (1 + len(moves)), "draw a whole new mask"),
            ("exponential", lambda n, live, moves: 1 - (1 - live / n) * math.exp(-sum(k / (n - live + k) for k in moves)),
             "Close, but not exact"),
        ]
    ),
    Answer(check_explored_by_chance, "simulation", simulated, "wrong", "Close, but not exact"),
]  # fmt: skip
