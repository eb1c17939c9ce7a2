"""Check of the exercise on the fan-in after ablation, for a layer with constant fan-in k.

    threshold = max(1, floor(gamma * k)), lowered to the count of the neuron in place ceil(budget / in), if that is less
    left      = neurons with at least so many salient places;   new fan-in = floor(budget / left)

Lasby et al. 2023, arXiv:2305.02299; the lowered threshold is their public code's.
"""

import math

import numpy as np

from lttlib.checks.answers import Exercise, numbers, returns
from lttlib.checks.read_only import WRITTEN, read_only
from lttlib.checks.shares import share_equals
from lttlib.checks.some_cases import returns_where


def _ablation_cases(rng):
    """(mask, salient, gamma): none leaves, some, nearly all; too few would be left; neurons that have none come back.

    No gamma times k is near a whole number, unless floating point has it exactly.
    """

    def drawn(inputs, fan_in, salient, gamma, gone=()):
        mask = rng.permuted(np.tile(np.arange(inputs) < fan_in, (len(salient), 1)), axis=1)
        mask[list(gone)] = False
        return read_only(mask), read_only(np.array(salient)), gamma

    def many(out, inputs, fan_in, gamma, gone):
        budget = (out - len(gone)) * fan_in
        shares = rng.dirichlet(np.full(out, 0.7))
        return drawn(inputs, fan_in, np.minimum(rng.multinomial(budget, shares), inputs), gamma, gone)

    return [
        drawn(6, 2, [2, 3, 3, 0], 0.3),  # the chapter's example
        drawn(7, 3, [6, 5, 2, 1, 1, 0], 0.7),  # two are at the threshold's count, or below it
        drawn(5, 3, [3, 4, 3, 4], 0.5),
        drawn(8, 2, [2, 4, 0, 0, 2], 0.3, gone=[1]),  # it comes back
        drawn(5, 4, [5, 3, 5, 4, 5, 1], 1.0),  # five must stay
        drawn(5, 4, [5, 2, 5, 2, 5, 2, 1], 0.9, gone=[6]),  # five must stay; three are equal in place five
        drawn(4, 3, [0, 4, 0, 4, 1], 0.5, gone=[2, 4]),
        drawn(4, 3, [0, 4, 0, 4], 1.0),  # nobody has places but two, and three must stay
        drawn(4, 3, [2, 2, 1, 2], 1.0),  # nobody reaches the threshold
        drawn(9, 4, [9, 3, 2, 6, 2, 1, 3, 8, 4, 0], 0.5, gone=[5]),
        many(40, 30, 7, 0.3, gone=[0, 7, 9]),
        many(128, 64, 11, 0.6, gone=[]),
        many(300, 100, 13, 0.95, gone=list(range(60))),
    ]


def _fan_in(mask):
    return int(mask.sum(1).max())


def _threshold(mask, gamma):
    return max(1, math.floor(gamma * _fan_in(mask)))


def _needed(mask):
    return -(-int(mask.sum()) // mask.shape[1])


def _lowered(threshold, mask, salient):
    """Neurons that are left if the threshold falls as far as it must."""
    return salient >= min(threshold, np.sort(salient)[-_needed(mask)])


def _answer(threshold=_threshold, left=_lowered, budget=lambda mask, left: int(mask.sum()), result=lambda b, n: b // n):
    """The new fan-in with a part replaced. left(threshold, mask, salient), bool (out,); result(budget, neurons left)."""

    def answer(mask, salient, gamma):
        stay = left(threshold(mask, gamma), mask, salient)
        return result(budget(mask, stay), int(stay.sum()))

    return answer


_reference = _answer()


def _not_lowered(threshold, mask, salient):
    return salient >= threshold


def _exactly(threshold, mask, salient):
    """Of equals at the lowered threshold only as many stay as must."""
    order = np.argsort(-salient, kind="stable")
    return (salient >= threshold) | np.isin(np.arange(len(salient)), order[: _needed(mask)])


def _as_few_as_possible(mask, salient, gamma):
    """Looks at the budget, never at the threshold."""
    return int(mask.sum()) // int((salient >= np.sort(salient)[-_needed(mask)]).sum())


def _capped(mask, salient, gamma):
    stay = salient >= _threshold(mask, gamma)
    return min(int(mask.sum()) // int(stay.sum()), mask.shape[1]) if stay.any() else mask.shape[1]


def _reached(mask, salient, gamma):
    """Elsewhere nobody is left, and numpy divides by 0 where Python does not."""
    return (salient >= _threshold(mask, gamma)).any()


def _relation(case, value):
    mask, salient, gamma = case
    asked = (
        f"For salient = {numbers(salient)}, mask = {numbers(mask)} and gamma = {gamma} you return {numbers(value)}. "
    )
    if value != round(value):
        return f"{asked}How many whole weights does each neuron have?"
    if value > mask.shape[1]:
        return f"{asked}That is more than a neuron has inputs. How many neurons must stay to hold the budget?"
    if value * _needed(mask) > mask.sum():
        return (
            f"{asked}As many neurons as must stay would then have more weights than the budget. How is it shared out?"
        )
    return (
        f"{asked}Write down the threshold, then the neurons that reach it. Are they enough to hold the budget, and what does "
        "each of them get of it?"
    )


_NO_MAX = "A neuron without a single salient place stays here, when gamma times the fan-in is below 1. What is the least threshold?"
_UP = "You round up. How many weights does the layer have then, and is that within the budget?"
_ONLY_BUDGET = "You keep only as many neurons as must stay, whatever gamma is. When does the threshold decide, and when the budget?"
_TOO_FEW = "You do not see to it that enough neurons stay. With how many inputs to each can those left hold the budget?"

check_fan_in_after_ablation = Exercise(
    "fan_in_after_ablation",
    _ablation_cases,
    share_equals(_reference, _relation),
    "four neurons to 300, all stay or few, neurons without weights that come back, budgets that need more neurons than are salient",
    (
        WRITTEN,
        returns(
            lambda mask, salient, gamma: int(mask.sum()) // len(mask),
            "You share the budget among all neurons. Who gets weights after the ablation?",
        ),
        returns(
            lambda mask, salient, gamma: _fan_in(mask),
            "This is the fan-in before the step. Where do the weights of the ablated neurons go?",
        ),
        returns(
            _answer(budget=lambda mask, left: int(mask[left].sum())),
            "You count the budget after the ablation, when the weights of ablated neurons are gone. Which number of weights may the "
            "layer have, before and after?",
        ),
        returns(_answer(result=lambda budget, left: -(-budget // left)), _UP),
        returns(_answer(result=lambda budget, left: budget // left + 1), _UP),
        returns(
            _answer(result=lambda budget, left: round(budget / left)),
            "You round to the nearest whole number. May the layer have more weights than its budget?",
        ),
        returns(
            _answer(result=lambda budget, left: budget / left),
            "A part of a weight is left in your fan-in. How many whole weights does each neuron have?",
        ),
        returns_where(_reached, _answer(left=_not_lowered), _TOO_FEW),
        returns(
            _capped,
            "You cut the fan-in at the number of inputs, and lose weights of the budget. What does the task lower instead?",
        ),
        returns(
            _answer(left=_exactly),
            "Where the threshold is lowered, you keep just as many neurons as must stay. What of others with the same count?",
        ),
        *(
            returns(wrong, _ONLY_BUDGET)
            for wrong in (_as_few_as_possible, lambda mask, *_: int(mask.sum()) // _needed(mask))
        ),
        returns(_answer(lambda mask, gamma: math.floor(gamma * _fan_in(mask))), _NO_MAX),
        returns_where(
            _reached,
            _answer(lambda mask, gamma: math.floor(gamma * _fan_in(mask)), _not_lowered),
            f"{_NO_MAX} And must enough neurons stay to hold the budget?",
        ),
        returns(
            _answer(lambda mask, gamma: max(1, math.floor(gamma * _fan_in(mask))) + 1),
            "A neuron with as many salient places as the threshold is ablated here. Are these fewer than the threshold?",
        ),
        returns(
            _answer(lambda mask, gamma: max(1, math.ceil(gamma * _fan_in(mask)))),
            "Your threshold is not rounded down. Which way does the task round it?",
        ),
        returns(
            _answer(lambda mask, gamma: max(1, round(gamma * _fan_in(mask)))),
            "You round the threshold to the nearest whole number. Which way does the task round it?",
        ),
        returns(
            _answer(lambda mask, gamma: max(1, math.floor(gamma * (mask.sum() // len(mask))))),
            "You take the fan-in for the mean over all neurons. What is it in a neuron that has weights, where others have none?",
        ),
        returns(
            _answer(lambda mask, gamma: max(1, math.floor(gamma * mask.shape[1]))),
            "Your threshold is a share of all inputs. Of what is it a share in the task?",
        ),
        returns(
            _answer(left=lambda t, mask, salient: _lowered(t, mask, np.where(mask.any(1), salient, 0))),
            "A neuron that has no weights never comes back here. Does the task ask for more than salient places?",
        ),
        returns(
            _answer(result=lambda budget, left: left),
            "This is how many neurons are left. What does each of them get?",
        ),
        returns(
            _answer(result=lambda budget, left: budget // left * left),
            "This is how many weights the layer has after the step. How many has each neuron?",
        ),
    ),
)
