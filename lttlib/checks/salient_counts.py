"""Check of the exercise on salient places: how many of each neuron's are among the layer's largest weights or gradients.

    keep = min(live - floor(fraction * live), live weights that are not 0);  drop = live - keep
    salient = the keep largest |w|, and the drop largest |g| of all places;  counted in each row

Lasby et al. 2023, arXiv:2305.02299.
"""

import math
from functools import partial

import numpy as np

from lttlib.checks.answers import Exercise, Mistake, numbers, returns
from lttlib.checks.arrays import array_equals
from lttlib.checks.read_only import WRITTEN
from lttlib.checks.salient_places import (
    counting,
    downhill,
    evenly,
    keep_and_drop,
    reference,
    row_by_row,
    salient_cases,
    signed,
    steepness,
    top_backwards,
    uphill,
)
from lttlib.checks.some_cases import returns_where


def _relation(case, found, place):
    weight, grad, mask, fraction = case
    (row,) = place
    asked = (
        f"With fraction = {fraction}, the neuron with the weights {numbers(weight[row])} and the gradients {numbers(grad[row])} "
        f"has {numbers(float(found[row]))} salient places for you. "
    )
    if not 0 <= found[row] <= mask.shape[1]:
        return f"{asked}Can it have fewer than none, or more than it has inputs?"
    if found.sum() > mask.sum():
        return f"{asked}The whole layer has more salient places than live weights. How many can there be at most?"
    return (
        f"{asked}Which of its weights are among the largest of the layer, which of its gradients, and how many different places are "
        "these?"
    )


def _no_zeros(weight, grad, mask, fraction):
    """Where no live weight is 0. Elsewhere most mistakes rank zeros, and which of them come first depends on the sort."""
    return np.count_nonzero(weight) == mask.sum()


def _enough_positive(weight, grad, mask, fraction):
    """Where also a ranking with signs comes to no zero."""
    return _no_zeros(weight, grad, mask, fraction) and (weight > 0).sum() >= keep_and_drop(weight, mask, fraction)[0]


_seen = partial(returns_where, _no_zeros)


def _zeros_kept(tried):
    """Right where every live weight may be kept; elsewhere zeros are kept, and which of them depends on the sort."""
    enough = [
        keep_and_drop(*case[:1], *case[2:]) == keep_and_drop(*case[:1], *case[2:], capped=False) for case, _ in tried
    ]
    right = [not isinstance(value, Exception) and np.array_equal(value, reference(*case)) for case, value in tried]
    return all(r for r, e in zip(right, enough, strict=True) if e) and not isinstance(tried[-1][1], Exception)


_SIGN = "Signs count in your ranking. Is a number far below 0 small, be it a weight or a slope?"
_ROWS = "Each neuron has places of its own right here. Among which weights does the task look for the largest?"

check_salient_counts = Exercise(
    "salient_counts",
    salient_cases,
    array_equals(reference, _relation),
    "three neurons to sixty, some of them ablated, some weights dropped, none and all, live weights that are still 0",
    (
        WRITTEN,
        _seen(
            counting(result=lambda kept, steep, mask: kept.sum(1)),
            "Only weights count here. How could an ablated neuron, whose weights are all 0, ever come back?",
        ),
        _seen(
            counting(result=lambda kept, steep, mask: steep.sum(1)),
            "Only gradients count here. Which live weights are salient, too?",
        ),
        _seen(
            counting(slope=lambda grad, mask, kept: np.abs(grad) * mask),
            "You look for steep slopes among live places alone. Among which places could a weight grow?",
        ),
        _seen(
            counting(slope=lambda grad, mask, kept: np.where(mask, -1, np.abs(grad))),
            "You look for steep slopes among dead places alone. What does the task say of live ones?",
        ),
        _seen(
            counting(slope=lambda grad, mask, kept: np.where(kept, -1, np.abs(grad))),
            "You look for steep slopes only where no weight is kept, as for growing. May a place be salient for both reasons?",
        ),
        _seen(
            counting(result=lambda kept, steep, mask: kept.sum(1) + steep.sum(1)),
            "A place that has a large weight and a large gradient counts twice here. How many places is it?",
        ),
        _seen(
            counting(result=lambda kept, steep, mask: (kept & steep).sum(1)),
            "You count places where both are large. Is a large weight enough?",
        ),
        _seen(
            counting(result=lambda kept, steep, mask: (kept ^ steep).sum(1)),
            "A place that has a large weight and a large gradient does not count at all here. Is it salient?",
        ),
        _seen(row_by_row, _ROWS),
        _seen(evenly, _ROWS),
        *(
            returns_where(_enough_positive, counting(size=size, slope=slope), _SIGN)
            for size, slope in (
                (signed, steepness),
                (np.abs, uphill),
                (np.abs, downhill),
                (signed, uphill),
                (signed, downhill),
            )
        ),
        _seen(
            counting(swap=True),
            "You take as many weights as are dropped, and as many gradients as are kept. Which number belongs to which?",
        ),
        _seen(
            counting(counts=partial(keep_and_drop, of=lambda mask: mask.size)),
            "You drop a share of all weights. Of which weights is it a share in the task?",
        ),
        _seen(
            counting(counts=partial(keep_and_drop, rounded=math.ceil)),
            "You round up what is dropped. Which way does the task round?",
        ),
        _seen(
            counting(counts=partial(keep_and_drop, rounded=round)),
            "You round to the nearest whole number. Which way does the task round what is dropped?",
        ),
        _seen(
            counting(counts=lambda weight, mask, fraction: (int(mask.sum()), keep_and_drop(weight, mask, fraction)[1])),
            "You drop nothing: every live weight is salient here. How many does the task keep?",
        ),
        returns(
            counting(counts=lambda weight, mask, fraction: keep_and_drop(weight, weight != 0, fraction)),
            "You read off the weights what lives. Can a live weight be 0, say because it grew a moment ago?",
        ),
        _seen(
            counting(top=top_backwards),
            "Right but where nothing is kept, or nothing dropped. What does order[-k:] hold if k is 0?",
        ),
        returns(
            counting(counts=partial(keep_and_drop, refilled=False)),
            "Right but where live weights are 0: you keep fewer then. How many places does the task take for their gradients in exchange?",
        ),
        Mistake(
            "Right but where live weights are 0. Are zeros among those that you keep for their size?",
            _zeros_kept,
        ),
        _seen(
            counting(result=lambda kept, steep, mask: (kept | steep).sum(0)),
            "These are counts of inputs. Along which axis of a mask (out, in) lie the places of one neuron?",
        ),
        _seen(
            counting(result=lambda kept, steep, mask: (kept | steep).sum()),
            "This counts the whole layer. Which places belong to one neuron?",
        ),
        _seen(
            counting(result=lambda kept, steep, mask: (kept | steep).mean(1)),
            "These are shares of the inputs. Does the task ask for shares or for counts?",
        ),
    ),
)
