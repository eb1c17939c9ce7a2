"""Check of the exercise on the factors by which random masks shrink each layer's share of the limiting kernel.

Matrices 1 to L + 1, all but the first masked, a weight of matrix h kept with probability kappa_h. Layer h's share loses
kappa for each masked matrix before it (forward), for each behind it (backward), and for its own if only survivors are
differentiated. Yang & Wang 2022, arXiv:2203.14328, Theorem 1.1, where all kappa_h are one.
"""

import numpy as np

from lttlib.checks.answers import Exercise, Mistake, Tried, numbers, returns, same
from lttlib.checks.arrays import array_equals
from lttlib.checks.read_only import WRITTEN, read_only


def _factor_cases(rng):
    """(keep, count_pruned): 1 to 6 hidden layers, keep probabilities equal, different and 1, each both ways."""
    keeps = [[0.5], [0.3, 0.3], [0.2, 0.7], [0.6, 0.6, 0.6], [0.9, 1.0, 0.4]]
    keeps += [rng.uniform(0.1, 0.9, hidden_layers).round(2) for hidden_layers in (4, 5, 6)]
    return [(read_only(keep), count_pruned) for keep in keeps for count_pruned in (False, True)]


def _factors(keep, count_pruned, *, forward=True, backward=True, own=True):
    """The factors, input layer first, with one of their three parts left out if asked."""
    every = np.concatenate([[1.0], keep])  # of each matrix; the first has no mask
    before = np.cumprod(np.append(1.0, every[:-1]))
    behind = np.cumprod(np.append(1.0, every[:0:-1]))[::-1]
    parts = (before, forward), (behind, backward), (every, own and not count_pruned)
    return np.prod([part if counts else np.ones_like(part) for part, counts in parts], axis=0)


_reference = _factors


def _relation(case, value, place):
    keep, count_pruned = case
    layer = int(place[0]) + 1
    whose = "all weights, pruned ones too," if count_pruned else "surviving weights"
    asked = (
        f"For keep = {numbers(keep)}, where {whose} are differentiated, you return {numbers(float(value[place]))} as the "
        f"factor of layer {layer}{' (the output layer)' if layer == len(value) else ''}. "
    )
    if layer == 1:
        return f"{asked}Which masked matrices lie between a weight of the input layer and f, and does that weight have a mask?"
    return f"{asked}Which masked matrices lie before layer {layer}, which behind it, and what does its own mask do?"


def _with(finish):
    """finish(right factors, keep, count_pruned)."""
    return lambda keep, count_pruned: finish(_factors(keep, count_pruned), np.asarray(keep), count_pruned)


def _power(exponent, says):
    """The mistake of a wrong power of kappa, seen where all keep probabilities are one and survivors are differentiated."""

    def spotted(tried: Tried) -> bool:
        equal = [(case[0], value) for case, value in tried if len(set(case[0].tolist())) == 1 and not case[1]]
        return all(same(value, np.full(len(keep) + 1, keep[0] ** exponent(len(keep)))) for keep, value in equal)

    return Mistake(says, spotted)


def _shifted(_, keep, count_pruned):
    """Each layer has the mask of the one behind it."""
    return np.prod(keep) / np.append(keep, 1.0) if count_pruned else np.full(len(keep) + 1, np.prod(keep))


_AHEAD = "You count no masks behind a layer. On its way from the layer to f, what does a change meet?"
_BEHIND = "You count no masks before a layer. From which activations are its gradients made?"
_OWN = "You count a layer's own mask alone. Which network computes the activations before it, and the way behind it?"
_MATRICES = "An entry is missing. How many weight matrices does a network with L hidden layers have?"

check_layer_factors = Exercise(
    "layer_factors",
    _factor_cases,
    array_equals(_reference, _relation),
    "one hidden layer to six, keep probabilities equal and different, survivors alone and all weights",
    (
        WRITTEN,
        returns(
            lambda keep, count_pruned: _factors(keep, False),
            "Right for survivors; count_pruned plays no part. Which of the three parts of a factor (before, behind, own) is "
            "not there if pruned weights are differentiated as well?",
        ),
        returns(
            lambda keep, count_pruned: _factors(keep, True),
            "Right where pruned weights are counted; count_pruned plays no part. What becomes of a layer's sum of gradients "
            "if only survivors are in it?",
        ),
        returns(
            lambda keep, count_pruned: _factors(keep, not count_pruned),
            "The two conventions are swapped. Which kernel is larger: the one with more gradients in its sum, or the one with fewer?",
        ),
        *(
            returns(lambda keep, count_pruned, f=flag, k=part: _factors(keep, f(count_pruned), **k), says)
            for part, says in (
                ({"backward": False}, _AHEAD),
                ({"forward": False}, _BEHIND),
                ({"forward": False, "backward": False}, _OWN),
            )
            for flag in (lambda count_pruned: count_pruned, lambda _: False, lambda _: True)
            if not (len(part) == 2 and flag(False))
        ),
        returns(
            lambda keep, count_pruned: np.broadcast_to(1.0, len(keep) + 1),
            "Nothing shrinks here, as if the layers were rescaled. Where in this exercise is a factor 1/√κ?",
        ),
        returns(
            _with(lambda right, keep, count_pruned: right[::-1]),
            "The order is turned around. Which layer comes first?",
        ),
        returns(
            _with(_shifted),
            "With pruned weights counted, a layer loses the mask behind it instead of its own. To which matrix does keep[0] belong?",
        ),
        returns(
            _with(lambda right, keep, count_pruned: np.append(right[1], right[1:])),
            "The input layer is treated as if it had a mask of its own. Which of its weights are pruned?",
        ),
        returns(
            _with(lambda right, keep, count_pruned: np.sqrt(right)),
            "This is how much a gradient shrinks. How many gradients are multiplied in a kernel?",
        ),
        returns(
            _with(lambda right, keep, count_pruned: right**2),
            "Your factors are squared. If κ of the terms in a sum of products are kept, is that κ of the sum, or κ²?",
        ),
        returns(
            _with(lambda right, keep, count_pruned: 1 / right),
            "Your factors are above 1. Does a kernel grow as weights go?",
        ),
        returns(
            lambda keep, count_pruned: _factors(1 - np.asarray(keep), count_pruned),
            "You multiply the shares that are pruned. Is κ the probability to be kept or to be pruned?",
        ),
        returns(_with(lambda right, keep, count_pruned: right[1:]), _MATRICES),
        returns(_with(lambda right, keep, count_pruned: right[:-1]), _MATRICES),
        returns(
            _with(lambda right, keep, count_pruned: right[-1]),
            "This is one number. Does every layer's share shrink by the same factor if pruned weights are counted?",
        ),
        _power(
            lambda layers: layers + 1,
            "Your power of κ is one too high for survivors: it counts the input layer's matrix. Which matrices are masked, "
            "and how many are they for L hidden layers?",
        ),
        _power(
            lambda layers: layers - 1,
            "Your power of κ is one too low for survivors: it counts the masks before and behind a layer. What does the "
            "layer's own mask do to its sum of gradients?",
        ),
    ),
)
