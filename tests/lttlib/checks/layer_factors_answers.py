"""Right and wrong answers to the exercise on the factors of each layer's share of the kernel."""

import numpy as np
import torch
from proof import Answer, solutions

from lttlib.checks.layer_factors import check_layer_factors

layer_factors = solutions("tangent_kernel").layer_factors


def parts(before=True, behind=True, own=True, flag=lambda count_pruned: count_pruned):
    """Walks over the matrices; matrix 1 has no mask."""

    def answer(keep, count_pruned):
        factors = []
        for h in range(1, len(keep) + 2):
            factor = 1.0
            for matrix, kappa in enumerate(keep, start=2):
                its = own and not flag(count_pruned) if matrix == h else before if matrix < h else behind
                factor *= kappa if its else 1
            factors.append(factor)
        return factors

    return answer


by_loop = parts()


def by_torch(keep, count_pruned):
    keep = torch.tensor(keep)
    logs = keep.log().sum().expand(len(keep) + 1).clone()
    if count_pruned:
        logs[1:] -= keep.log()
    return logs.exp()


def by_ways(keep, count_pruned):
    """Forward, own, backward; the last is a flipped view."""
    every = np.append(1, keep)
    forward, backward = np.append(1, np.cumprod(every[:-1])), np.append(1, np.cumprod(every[::-1][:-1]))[::-1]
    return (forward[::-1] * backward[::-1] * (1 if count_pruned else every[::-1]))[::-1]


def then(change):
    """change(right factors, keep, count_pruned)."""
    return lambda keep, count_pruned: change(np.array(by_loop(keep, count_pruned)), keep, count_pruned)


def power(exponent):
    """kappa to the power exponent(L, count_pruned) for every layer, as if all were pruned like the first."""
    return lambda keep, count: np.full(len(keep) + 1, keep[0] ** exponent(len(keep), count))


def masked_input(keep, count_pruned):
    every = np.append(keep[0], keep)
    return np.prod(every) / (every if count_pruned else np.ones_like(every))


def shifted(keep, count_pruned):
    whole = np.full(len(keep) + 1, np.prod(keep))
    if count_pruned:
        whole[:-1] /= keep
    return whole


def own_for_input(right, keep, count_pruned):
    if count_pruned:
        right[0] /= keep[0]
    return right


def writes(keep, count_pruned):
    keep *= 1
    return by_loop(keep, count_pruned)


NO_AHEAD, NO_BEHIND = "You count no masks behind a layer", "You count no masks before a layer"

FACTORS = [
    Answer(check_layer_factors, "solution", layer_factors),
    Answer(check_layer_factors, "loop", by_loop),
    Answer(check_layer_factors, "torch", by_torch),
    Answer(check_layer_factors, "two ways", by_ways),
    *(
        Answer(check_layer_factors, name, function, "wrong", says)
        for name, function, says in [
            ("survivors always", parts(flag=lambda _: False), "Right for survivors"),
            ("all always", parts(flag=lambda _: True), "Right where pruned weights are counted"),
            ("swapped", parts(flag=lambda count: not count), "two conventions are swapped"),
            ("no way back", parts(behind=False), NO_AHEAD),
            ("forward alone", parts(behind=False, own=False), NO_AHEAD),
            ("cumulative", lambda keep, count: np.cumprod(np.append(1, keep)), NO_AHEAD),
            ("no forward", parts(before=False), NO_BEHIND),
            ("backward alone", parts(before=False, own=False), NO_BEHIND),
            ("backward with own", parts(before=False, flag=lambda _: False), NO_BEHIND),
            ("own alone", parts(before=False, behind=False), "a layer's own mask alone"),
            ("rescaled once", lambda keep, count: np.append(1, keep), "a layer's own mask alone"),
            ("rescaled", lambda keep, count: np.ones(len(keep) + 1), "Nothing shrinks"),
            ("output first", then(lambda right, keep, count: right[::-1]), "order is turned around"),
            ("shifted", shifted, "loses the mask behind it"),
            ("input like others", then(own_for_input), "as if it had a mask"),
            ("gradient", then(lambda right, keep, count: right**0.5), "how much a gradient shrinks"),
            ("squared", then(lambda right, keep, count: right**2), "Your factors are squared"),
            ("inverse", then(lambda right, keep, count: 1 / right), "Your factors are above 1"),
            ("pruned shares", lambda keep, count: by_loop(1 - keep, count), "Is κ the probability"),
            ("masked ones", then(lambda right, keep, count: right[1:]), "An entry is missing"),
            ("hidden layers", then(lambda right, keep, count: right[:-1]), "An entry is missing"),
            ("one number", then(lambda right, keep, count: right[-1]), "This is one number"),
            ("input masked", masked_input, "one too high for survivors"),
            ("L + 1", power(lambda layers, count: layers + 1), "one too high for survivors"),
            ("L - 1", power(lambda layers, count: layers - 1), "one too low for survivors"),
            ("first kappa", power(lambda layers, count: layers), "Which masked matrices lie"),
            ("double", then(lambda right, keep, count: 2 * right), "does that weight have a mask?"),
            ("kernel", then(lambda right, keep, count: np.diag(right)), "Which step of yours adds, removes"),
            (
                "output layer",
                then(lambda right, keep, count: np.append(right[:-1], 0.25)),
                "factor of layer 2 (the output layer)",
            ),
        ]
    ),
    Answer(check_layer_factors, "writes", writes, "error", "Where does a copy belong?"),
]
