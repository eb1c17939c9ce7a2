"""Check of the exercise on capacity: which choices find a place when experts are full.

    C = ceil(c_f k T / E) places;  all first choices queue in the order of tokens, then all second ones, and so on

Lepikhin et al. 2020, arXiv:2006.16668; Fedus et al. 2022, arXiv:2101.03961. Published code rounds in many ways.
"""

import math

import numpy as np

from lttlib.checks.answers import Exercise, numbers, returns
from lttlib.checks.read_only import WRITTEN, read_only


def _fitting_cases(rng):
    """(chosen, capacity_factor, experts): one choice and several, idle experts, no room, room for all, uneven load.

    c_f k T / E is a whole number, in floats, too, or far from any.
    """

    def drawn(tokens, k, factor, experts, skew=0.0):
        likes = rng.gumbel(size=(tokens, experts)) - skew * np.arange(experts) / experts
        return np.argsort(-likes, axis=1)[:, :k], factor, experts

    cases = [
        ([[0], [0], [0], [0], [1], [2]], 1.0, 3),  # the chapter's six tokens
        ([[0, 1], [0, 1], [1, 0], [0, 2]], 0.75, 3),
        ([[0, 1], [1, 0], [0, 1], [1, 0], [1, 0]], 1.0, 4),  # two idle experts, the last one too
        ([[0], [0], [0], [1], [0]], 1.25, 3),  # 2.08 places: c_f k T is no whole number here and in the next
        ([[0, 1, 2], [0, 2, 3], [1, 0, 4]], 0.5, 5),
        ([[0, 1], [0, 2], [0, 1]], 2.0, 3),  # room for all
        drawn(6, 2, 0.0, 3),
        drawn(5, 2, 1.0, 4, skew=3.0),
        drawn(7, 1, 1.25, 3, skew=2.0),
        drawn(9, 2, 2.0, 3),
        drawn(8, 4, 0.5, 4),  # every token asks every expert
        drawn(12, 3, 0.5, 7, skew=2.0),
        drawn(41, 2, 1.0, 8, skew=3.0),
        drawn(300, 2, 1.25, 16, skew=4.0),
    ]
    return [(read_only(chosen), factor, experts) for chosen, factor, experts in cases]


def _capacity(chosen, factor, experts):
    return math.ceil(factor * chosen.size / experts)


def _slot_by_slot(flat):
    """Who queues first, of the choices numbered 0, 1, 2, ... in the array flat (T, k)."""
    return flat.T.ravel()


def _places(chosen, order=_slot_by_slot):
    """Place of each choice in the queue of its expert, from 0; (T, k)."""
    turns = order(np.arange(chosen.size).reshape(chosen.shape))
    queue = chosen.ravel()[turns]
    places = np.empty(chosen.size, dtype=int)
    for expert in np.unique(queue):
        places[turns[queue == expert]] = np.arange((queue == expert).sum())
    return places.reshape(chosen.shape)


def _fits(capacity=_capacity, places=_places, then=lambda kept: kept):
    """The answer with a part replaced; capacity may be a number for each choice."""

    def answer(chosen, factor, experts):
        chosen = np.asarray(chosen)
        return then(places(chosen) < capacity(chosen, factor, experts))

    return answer


_reference = _fits()


def _ordered(order):
    return _fits(places=lambda chosen: _places(chosen, order))


def _own_load(chosen):
    """How many choices name the expert of each choice; (T, k)."""
    return np.bincount(chosen.ravel())[chosen]


def _queues_of_slots(chosen):
    """Places where the queue of each slot begins anew."""
    return np.hstack([_places(column) for column in np.split(chosen, chosen.shape[1], axis=1)])


def _whole_or_not(chosen, factor, experts):
    """A token enters, in turn, only if all its experts have room; it takes no place otherwise."""
    left = np.full(experts, _capacity(chosen, factor, experts))
    kept = np.zeros(chosen.shape, dtype=bool)
    for token, wanted in enumerate(np.asarray(chosen)):
        kept[token] = (left[wanted] > 0).all()
        left[wanted[kept[token]]] -= 1
    return kept


def _judge(case, value):
    chosen, factor, experts = case
    kept, right = np.asarray(value), _reference(*case)
    if kept.shape != right.shape:
        return f"You return shape {kept.shape}, chosen has {right.shape}. Which step of yours changes it?"
    if kept.dtype != bool:
        return f"You return dtype {kept.dtype}. Which dtype has an array that says yes or no to each choice?"
    if np.array_equal(kept, right):
        return None
    shown = numbers(chosen) if chosen.size < 20 else f"{len(chosen)} tokens' choices of {chosen.shape[1]}"
    asked = f"For chosen = {shown}, capacity_factor = {factor} and experts = {experts}: "
    load, served, due = (
        np.bincount(np.asarray(chosen)[part], minlength=experts) for part in (np.ones_like(right), kept, right)
    )
    if (served != due).any():
        expert = int(np.flatnonzero(served != due)[0])
        question = (
            "Has it so many places?" if served[expert] > due[expert] else "Who else asked, and does a place stay empty?"
        )
        times = "once" if load[expert] == 1 else f"{load[expert]} times"
        return f"{asked}expert {expert} is chosen {times}, and you keep {served[expert]} of these. {question}"
    token, slot = (int(index) for index in np.argwhere(kept & ~right)[0])
    return (
        f"{asked}every expert serves the right number, but not the right ones. You keep chosen[{token}, {slot}], for"
        " expert "
        f"{chosen[token, slot]}. Who asked this expert before, and in which order does the task let them queue?"
    )


_ROUNDED = "The capacity is not rounded up here. Which way does the task round a part of a place?"
_TWICE = "You round up before you multiply. How many numbers does the task round?"
_LEAST = "Every expert has a few places at least, as in some published code. What if capacity_factor is 0, in the task?"
_LOAD = "The more an expert is asked, the more places it has here. Which experts would ever be full?"
_ALL_OR_NOTHING = (
    "A token loses all its choices here if one of them finds no place. What is dropped in the task: tokens, or pairs"
    " of token and expert?"
)
_LAST_FIRST = "Late tokens go before early ones here. In which order do the tokens queue?"

check_who_fits = Exercise(
    "who_fits",
    _fitting_cases,
    _judge,
    "four tokens to 300, one choice to four, idle experts, no place, places for all and for few",
    (
        WRITTEN,
        returns(_fits(lambda chosen, factor, experts: math.floor(factor * chosen.size / experts)), _ROUNDED),
        returns(_fits(lambda chosen, factor, experts: round(factor * chosen.size / experts)), _ROUNDED),
        returns(_fits(lambda chosen, factor, experts: -(-int(factor * chosen.size) // experts)), _ROUNDED),
        returns(
            _fits(lambda chosen, factor, experts: math.ceil(factor * len(chosen) / experts)),
            "Your experts have too few places where tokens have several choices. How many pairs are there to serve?",
        ),
        returns(
            _fits(lambda chosen, factor, experts: chosen.shape[1] * math.ceil(factor * len(chosen) / experts)), _TWICE
        ),
        returns(_fits(lambda chosen, factor, experts: math.ceil(factor * math.ceil(chosen.size / experts))), _TWICE),
        returns(
            _fits(lambda chosen, factor, experts: math.ceil(chosen.size / experts)),
            "The capacity factor plays no part here. What does it multiply?",
        ),
        returns(
            _fits(lambda chosen, factor, experts: np.ceil(factor * _own_load(chosen))),
            _LOAD,
        ),
        returns(_fits(lambda chosen, factor, experts: np.ceil(factor * _own_load(chosen) / experts)), _LOAD),
        returns(
            _fits(lambda chosen, factor, experts: _capacity(chosen, factor, len(np.unique(chosen)))),
            "You count the experts that somebody chose. Is an expert that nobody asks no expert?",
        ),
        *(returns(_fits(lambda *case, least=least: max(least, _capacity(*case))), _LEAST) for least in (1, 4)),
        returns(
            _fits(lambda *case: _capacity(*case) + 1),
            "Every expert serves one more than it has places. Is your first place number 0 or number 1?",
        ),
        returns(
            _fits(lambda *case: _capacity(*case) - 1),
            "Every expert leaves its last place empty. Is your first place number 0 or number 1?",
        ),
        returns(_fits(lambda *case: case[0].size), "Nothing is ever dropped here. What happens to who finds no place?"),
        returns(
            _ordered(np.ravel),
            "The queue goes token by token here: a second choice of an early token is served before the first one of"
            " a late token. "
            "Who comes first in the task?",
        ),
        returns(
            _fits(places=_queues_of_slots),
            "For second choices the queue begins at an empty expert again. Who sits there already?",
        ),
        returns(
            _ordered(lambda flat: flat[:, ::-1].T.ravel()),
            "Last choices go before first ones here. Which column of chosen queues first?",
        ),
        returns(_ordered(lambda flat: flat[::-1].T.ravel()), _LAST_FIRST),
        returns(_ordered(lambda flat: flat[::-1, ::-1].T.ravel()), f"{_LAST_FIRST} And in which order their choices?"),
        returns(_ordered(lambda flat: flat[::-1].ravel()), f"{_LAST_FIRST} And in which order their choices?"),
        returns(_fits(then=lambda kept: np.tile(kept.all(1)[:, None], kept.shape[1])), _ALL_OR_NOTHING),
        returns(_whole_or_not, _ALL_OR_NOTHING),
        returns(
            _fits(then=lambda kept: np.tile(kept.any(1)[:, None], kept.shape[1])),
            "A token keeps all its choices here if one of them finds a place. What is dropped in the task: tokens, "
            "or pairs of token and "
            "expert?",
        ),
        returns(
            _fits(then=lambda kept: np.logical_and.accumulate(kept, axis=1)),
            "After a choice that finds no place, a token asks nobody else here. May its second choice still be served?",
        ),
        returns(
            _fits(then=lambda kept: kept & (kept.cumsum(1) == 1)),
            "A second choice counts here only if the first finds no place. How many experts may serve a token in the"
            " task?",
        ),
        returns(
            _fits(then=lambda kept: kept & (np.arange(kept.shape[1]) == 0)),
            "Only first choices are served here. Do the others not queue as well?",
        ),
        returns(_fits(then=lambda kept: ~kept), "Your array is True where a choice is dropped. What is True to mean?"),
    ),
)
