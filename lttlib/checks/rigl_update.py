"""Check of the exercise on one step of RigL: drop the smallest live weights, grow where the gradient is steepest.

    k = floor(drop * live);  kept: the live ones without the k smallest |w|;  grown: the k largest |g| of all not kept

A weight that is dropped and grown in the same step keeps its value; one that is new starts at 0. Evci et al. 2020,
arXiv:1911.11134.
"""

import copy
import math

import numpy as np

from lttlib.checks.answers import Exercise, numbers, returns
from lttlib.checks.read_only import WRITTEN
from lttlib.checks.rigl_steps import share, update, update_cases
from lttlib.checks.some_cases import returns_where

_reference = update()


def _dead_first(weight, gradient, mask, drop):
    """Ranks the dead with the live ones: they are 0, so the smallest, and go once more."""
    kept = np.array(mask)
    kept[np.argsort(np.abs(weight), kind="stable")[: share(drop, mask)]] = False
    places = np.flatnonzero(~kept)
    kept[places[np.argsort(-np.abs(gradient[places]))][: share(drop, mask)]] = True
    return kept, weight * kept


def _from_weights(weight, gradient, mask, drop):
    return _reference(weight, gradient, weight != 0, drop)


def _enough_dead(weight, gradient, mask, drop):
    return (~mask).sum() >= share(drop, mask) and (weight[mask] != 0).all()


def _judge(case, value):
    weight, gradient, before, drop = case
    mask, weights = (np.asarray(part) for part in value)
    for name, part in (("a mask", mask), ("weights", weights)):
        if part.shape != before.shape:
            return f"You return {name} of shape {part.shape}, the arguments have {before.shape}. Which step of yours changes it?"
    if mask.dtype != bool:
        return f"The first thing you return has dtype {mask.dtype}. In which dtype is a mask, and does the mask come first?"
    if np.array_equal(mask, _reference(*copy.deepcopy(case))[0]):
        return _judge_weights(case, weights)
    return (
        f"For weight = {numbers(weight)}, gradient = {numbers(gradient)}, mask = {numbers(before)} and drop = {drop}: "
        f"{_relation(case, mask)}"
    )


def _relation(case, mask):
    """What is wrong with a mask."""
    weight, gradient, before, drop = copy.deepcopy(case)
    right = _reference(weight, gradient, before, drop)[0]
    kept = update(growth=lambda *_: np.zeros(len(mask)), free=lambda kept, _: np.zeros(len(mask), bool))
    lost = np.flatnonzero(kept(weight, gradient, before, drop)[0] & ~mask)
    if mask.sum() != before.sum():
        return (
            f"{mask.sum()} weights live after your step, {before.sum()} before. How many grow for each that is dropped?"
        )
    if len(lost):
        return (
            f"you drop the weight {numbers(float(weight[lost[0]]))} at index {lost[0]}. How many live weights are to go, "
            "and is this one nearest to 0?"
        )
    there, missing = np.flatnonzero(mask & ~right)[0], np.flatnonzero(right & ~mask)[0]
    return (
        f"the weight at index {there} lives after your step, where the gradient is {numbers(float(gradient[there]))}, and "
        f"the one at index {missing} does not, where it is {numbers(float(gradient[missing]))}. Among which places do you look for "
        "the steepest slope?"
    )


def _judge_weights(case, weights):
    _, _, before, _ = case
    new, expected = _reference(*copy.deepcopy(case))
    off = np.where(expected == 0, weights != 0, ~np.isclose(weights, expected, rtol=1e-5))  # a 0 needs no rounding
    if not off.any():
        return None
    place = int(off.argmax())
    state = ("is dead now", "is new")[int(new[place])] if new[place] != before[place] else "lives before and after"
    state = state if new[place] or before[place] else "is dead before and after"
    return (
        f"The mask is right. The weight at index {place} {state}, and you return {numbers(float(weights[place]))} for it. "
        "What does the task say of the value of such a weight?"
    )


_UP = "One too many goes wherever drop · live is not whole. Which way does the task round what is dropped?"
_SIGN_OF_SLOPE = "You grow by the signed gradient. Which is steeper, a slope of −2 or one of 2?"

check_rigl_update = Exercise(
    "rigl_update",
    update_cases,
    _judge,
    "six weights to ninety, all dropped, none, too few dead places for what grows, a live weight that is still 0",
    (
        WRITTEN,
        returns(lambda *case: _reference(*case)[::-1], "The two are swapped. Which one does the task want first?"),
        returns_where(
            _enough_dead,
            lambda weight, gradient, mask, drop: (mask, weight),
            "Your mask never moves. Either the gradient is masked, and a masked gradient can never grow anything, or weights "
            "that have just grown, at 0, are dropped as the smallest. Which of the two is it here?",
        ),
        returns(
            _from_weights,
            "You read off the weights what lives. Can a live weight be 0, say because it grew a moment ago?",
        ),
        returns_where(
            _enough_dead,
            update(free=lambda kept, mask: ~mask),
            "You grow only where nothing lived before the step, as if you grew first and dropped then. Which places are free "
            "once the smallest weights are dropped?",
        ),
        returns(
            update(free=lambda kept, mask: kept | True),
            "The steepest places of all are grown, those that are kept among them, so weights are lost. Which places are free?",
        ),
        returns(
            update(free=lambda kept, mask: kept & False), "You drop and never grow. What is to happen after the drop?"
        ),
        returns(update(growth=lambda gradient, *_: gradient), _SIGN_OF_SLOPE),
        returns(update(growth=lambda gradient, *_: -gradient), _SIGN_OF_SLOPE),
        returns(
            update(growth=lambda gradient, *_: -np.abs(gradient)),
            "You grow where the gradient is flattest. Where does a new weight lower the loss the fastest?",
        ),
        returns(
            update(score=lambda weight, gradient: weight),
            "Large negative weights are dropped first here. Is −2 a small weight?",
        ),
        returns(
            update(score=lambda weight, gradient: weight, growth=lambda gradient, *_: gradient),
            "Signs count in both rankings of yours. Is −2 a small weight, and is −2 a flat slope?",
        ),
        returns(
            update(score=lambda weight, gradient: -np.abs(weight)),
            "You drop the largest. Which live weights matter least?",
        ),
        returns(
            update(score=lambda weight, gradient: np.abs(gradient)),
            "You drop by the gradient. By which of the two arrays does RigL drop, and by which does it grow?",
        ),
        returns(
            update(score=lambda weight, gradient: np.abs(weight * gradient)),
            "You drop by |weight · gradient|. By which one of the two arrays does RigL drop?",
        ),
        returns_where(
            _enough_dead,
            _dead_first,
            "No live weight is dropped. Dead weights are 0, so they are the smallest of all: among which weights do you look for "
            "those that go?",
        ),
        returns(
            update(count=lambda drop, mask: math.floor(drop * mask.size)),
            "Your number of dropped weights is a share of all weights. Of which weights is drop a share in the task?",
        ),
        returns(update(count=lambda drop, mask: math.ceil(drop * mask.sum())), _UP),
        returns(update(count=lambda drop, mask: share(drop, mask) + 1), _UP),
        returns(
            update(count=lambda drop, mask: round(drop * mask.sum())),
            "You round to the nearest whole number. Which way does the task round what is dropped?",
        ),
        returns(
            update(count=lambda drop, mask: mask.sum() - share(drop, mask)),
            "You keep the share drop and drop the rest. Which of the two is drop?",
        ),
        *(
            returns(
                update(values=lambda w, g, mask, kept, new, s=sign: np.where(new & ~mask, s * g, np.where(new, w, 0))),
                "The mask is right, but new weights start from their gradient. From which value does the task start them?",
            )
            for sign in (1, -1)
        ),
        returns(
            update(values=lambda weight, gradient, mask, kept, new: np.where(kept, weight, 0.0)),
            "The mask is right, but a weight that was dropped and grown in the same step is 0. Was it ever dead?",
        ),
        returns(
            update(values=lambda weight, gradient, mask, kept, new: weight),
            "The mask is right, but dropped weights keep their values. What is the value of a dead weight?",
        ),
        returns(
            lambda *case: (~_reference(*case)[0], _reference(*case)[1]),
            "Your mask is True where a weight is dead. In this book, is True live or dead?",
        ),
    ),
)
