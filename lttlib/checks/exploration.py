"""Checks of the exercises on how much of a layer U updates can explore, at most and by chance.

At each update k_t = floor(f_t * live) weights move, f_t RigL's cosine. At most, all of them are new:
R_s <= min(1, (live + sum of k_t) / n). Drawn at random from the n - live + k_t free places, as SET does, a place that was
never live stays so with probability 1 - k_t / (n - live + k_t), whatever was dropped; so, exactly,

    E[R_s] = 1 - (1 - live / n) * product of (n - live) / (n - live + k_t)

Drop fraction: Evci et al. 2020, arXiv:1911.11134; R_s: Liu et al. 2021, arXiv:2102.02887.
"""

import math

from lttlib.checks.answers import Exercise, Mistake, Tried, numbers, returns
from lttlib.checks.shares import share_equals


def _exploration_cases(rng):
    """(n, live, alpha, interval, end): no update, one, many; too few weights to move any; everything explored and little.

    No drop fraction times live is near a whole number, so that no way of computing the cosine decides a verdict.
    """
    return [
        (40, 10, 0.5, 25, 100),
        (12, 3, 0.3, 100, 100),
        (30, 9, 0.3, 50, 100),
        (50, 2, 0.3, 10, 75),  # too few for one to go
        (60, 31, 0.5, 10, 95),
        (200, 91, 0.5, 5, 98),
        (1000, 53, 0.3, 40, 750),
        (4096, 207, 0.3, 100, 1125),
        (500, 101, 1.0, 7, 60),
        (20_000, 613, 0.3, 50, 1125),
        (8192, 411, 0.3, 10, 1125),
    ]


def _cosine(alpha, t, end):
    return alpha / 2 * (1 + math.cos(math.pi * t / end))


def _moved(n, live, alpha, interval, end, *, fraction=_cosine, first=None, of=None, count=math.floor):
    """How many weights move at each update, with a part replaced. first: step of the first update; of: (n, live)."""
    steps = range(interval if first is None else first, end, interval)
    return [count(fraction(alpha, t, end) * (live if of is None else of(n, live))) for t in steps]


def _most(n, live, moved):
    return min(1.0, (live + sum(moved)) / n)


def _chance(n, live, moved):
    never = 1 - live / n
    for k in moved:
        never *= (n - live) / (n - live + k)
    return 1 - never


def _answer(finish, **wrong):
    """finish(n, live, moved)."""
    return lambda n, live, *rest: finish(n, live, _moved(n, live, *rest, **wrong))


_SCHEDULE = (
    (
        {"fraction": lambda alpha, t, end: alpha},
        "The drop fraction is alpha at every update here. What does the cosine do to it as t goes to end?",
    ),
    ({"first": 0}, "You move weights at step 0 as well. Which is the first step with an update?"),
    (
        {"fraction": lambda alpha, t, end: alpha * (1 + math.cos(math.pi * t / end))},
        "The drop fraction starts at twice alpha here. What is 1 + cos 0?",
    ),
    (
        {"fraction": lambda alpha, t, end: alpha / 2 * (1 - math.cos(math.pi * t / end))},
        "The drop fraction rises from 0 to alpha here. When do the masks move most, at the start or at the end?",
    ),
    (
        {"fraction": lambda alpha, t, end: alpha / 2 * (1 + math.cos(t / end))},
        "There is no π in your cosine. What is the drop fraction at t = end?",
    ),
    (
        {"fraction": lambda alpha, t, end: alpha * (1 - t / end)},
        "The drop fraction falls on a straight line here. How does it fall in the task?",
    ),
    ({"count": lambda k: k}, "Parts of a weight move here. How many whole weights move at an update?"),
    ({"count": math.ceil}, "You round up what is dropped. Which way does the task round?"),
    ({"count": round}, "You round to the nearest whole number. Which way does the task round what is dropped?"),
    (
        {"of": lambda n, live: n},
        "You take the drop fraction of all weights. Of which weights is it a share in the task?",
    ),
)


def _schedules(finish):
    """The mistakes in how many weights move when."""
    return tuple(returns(_answer(finish, **wrong), says) for wrong, says in _SCHEDULE)


def _scales(finish):
    """The mistakes in what the result is a share of."""
    return (
        returns(
            _answer(lambda n, live, moved: n * finish(n, live, moved)),
            "This is a number of weights. Does the task ask for a number or a share?",
        ),
        returns(
            _answer(lambda n, live, moved: n * finish(n, live, moved) / live),
            "You divide by the live weights. Of which weights does the task want the share?",
        ),
        returns(
            _answer(lambda n, live, moved: 1 - finish(n, live, moved)),
            "This is the share that is never live. Which share does the task ask for?",
        ),
        returns(
            _answer(lambda n, live, moved: 100 * finish(n, live, moved)),
            "This is in percent. Between which numbers does a share lie?",
        ),
    )


def _asked(case, value):
    n, live, alpha, interval, end = case
    return (
        f"For n = {n}, live = {live}, alpha = {alpha}, interval = {interval} and end = {end} you return "
        f"{numbers(value)}. "
    )


def _outside(case, value):
    """What is wrong with a value that no explored share can have; None if it may be one."""
    n, live, *_ = case
    if not live / n - 1e-9 <= value <= 1 + 1e-9:
        return f"{_asked(case, value)}What is the share before the first update, and can a share fall from there or pass 1?"
    return None


def _most_relation(case, value):
    return _outside(case, value) or (
        f"{_asked(case, value)}List the steps at which the mask moves and how many whole weights move at each. If all of them go "
        "where no weight has ever been, what does that add up to?"
    )


def _chance_relation(case, value):
    return _outside(case, value) or (
        f"{_asked(case, value)}Follow one place that has never been live. How many places are free at an update once k weights are dropped, "
        "how many of them are drawn, and with which probability is it not this one?"
    )


_most_explored = _answer(_most)
_explored_by_chance = _answer(_chance)

check_most_explored = Exercise(
    "most_explored",
    _exploration_cases,
    share_equals(_most_explored, _most_relation),
    "no update to 112, too few live weights to move any, all weights explored and a few",
    (
        returns(
            _answer(lambda n, live, moved: (live + sum(moved)) / n),
            "Your share passes 1 where updates are many. How many weights can be new if none is left?",
        ),
        *(
            returns(
                _answer(lambda n, live, moved, cap=cap: min(cap, sum(moved) / n)),
                "The weights that live from the start are missing. Were they live at least once?",
            )
            for cap in (1.0, math.inf)
        ),
        *_schedules(_most),
        returns(
            _answer(lambda n, live, moved: _most(n, live, [math.floor(sum(moved))]), count=lambda k: k),
            "You round once, after the sum. Can a part of a weight move at one update and the rest of it at the next?",
        ),
        *(
            returns(
                _answer(lambda n, live, moved, cap=cap: min(cap, live / n * math.prod(1 + k / live for k in moved))),
                "Your number of live weights grows from update to update. How many does an update drop for those that it grows?",
            )
            for cap in (1.0, math.inf)
        ),
        returns(
            _explored_by_chance, "This is what random growth explores on average. What if every choice were lucky?"
        ),
        returns(
            _answer(lambda n, live, moved: live / n),
            "This is the density, which no update changes. Which weights were live at least once?",
        ),
        *_scales(_most),
    ),
)


def _nearly(tried: Tried) -> bool:
    """Near everywhere: a simulation, or an approximation for small shares."""
    return all(abs(float(value) - _explored_by_chance(*case)) < 0.04 for case, value in tried)


check_explored_by_chance = Exercise(
    "explored_by_chance",
    _exploration_cases,
    share_equals(_explored_by_chance, _chance_relation),
    "no update to 112, too few live weights to move any, nearly all weights explored and a few",
    (
        returns(
            _most_explored,
            "Every weight that grows is new here, as if luck never failed. May a random draw hit an old place?",
        ),
        *_schedules(_chance),
        returns(
            _answer(lambda n, live, moved: 1 - (1 - live / n) * math.prod(1 - k / (n - live) for k in moved)),
            "You draw from n − live places. How many places are free once k weights are dropped, and may one of these return?",
        ),
        returns(
            _answer(lambda n, live, moved: 1 - (1 - live / n) * math.prod(1 - k / n for k in moved)),
            "You draw from all n places, those of kept weights among them. Where may a weight grow?",
        ),
        returns(
            _answer(lambda n, live, moved: 1 - math.prod(1 - k / (n - live + k) for k in moved)),
            "The weights that live from the start are missing. With which probability was a place never live before the first update?",
        ),
        returns(
            _answer(lambda n, live, moved: 1 - (1 - live / n) ** (len(moved) + 1)),
            "You draw a whole new mask at every update. How many of its weights move?",
        ),
        returns(
            _answer(lambda n, live, moved: live / n),
            "This is the density, which no update changes. Which weights were live at least once?",
        ),
        *_scales(_chance),
        Mistake(
            "Close, but not exact: a simulation, or an approximation? A place that was never live is free at every update: with which probability does it stay so?",
            _nearly,
        ),
    ),
)
