"""Counts of salient places in which any part can be replaced by a wrong one, and the cases that tell such counts apart."""

import math

import numpy as np

from lttlib.checks.read_only import read_only


def salient_cases(rng):
    """(weight, grad, mask, fraction): some are dropped, none, all; live weights that are 0; ablated neurons.

    No two live weights, and no two gradients, have the same size. No fraction * live is near a whole number, unless it
    is 0 or live.
    """

    def drawn(out, inputs, fan_in, fraction, gone=(), newborn=0):
        count = out * inputs
        sizes = rng.permuted(np.tile(np.arange(1, count + 1), (2, 1)), axis=1) / (count + 1)
        weight, grad = np.round(sizes * rng.choice([-1, 1], size=(2, count)), 4).reshape(2, out, inputs)
        mask = rng.permuted(np.tile(np.arange(inputs) < fan_in, (out, 1)), axis=1)
        mask[list(gone)] = False
        weight = np.where(mask, weight, 0.0)
        weight.flat[rng.permutation(np.flatnonzero(mask))[:newborn]] = 0.0
        return weight, grad, mask, fraction

    by_hand = np.zeros((4, 6)), np.arange(1, 25).reshape(4, 6) / 100, np.zeros((4, 6), dtype=bool), 0.25
    for row, (places, values) in enumerate(
        [([0, 1], [0.9, -0.8]), ([1, 2], [0.7, -0.6]), ([2, 3], [0.5, 0.2]), ([3, 5], [0.1, -0.05])]
    ):
        by_hand[0][row, places], by_hand[2][row, places] = values, True
    by_hand[1][1, 5], by_hand[1][2, 0] = -0.95, 0.85
    cases = [
        by_hand,
        drawn(3, 4, 2, 0.4),
        drawn(4, 5, 3, 0.3),
        drawn(4, 7, 4, 0.57),
        drawn(3, 5, 2, 0.0),
        drawn(3, 5, 2, 1.0),
        drawn(5, 4, 2, 0.3, gone=[1, 4]),
        drawn(4, 7, 3, 0.2, newborn=5),  # fewer weights that are not 0 than would be kept
        drawn(5, 6, 4, 0.37, newborn=2),  # a weight of 0, but enough others
        drawn(6, 8, 2, 0.0, newborn=3),
        drawn(12, 10, 3, 0.3, gone=[2]),
        drawn(40, 30, 4, 0.17, newborn=20),
        drawn(60, 64, 3, 0.3, gone=range(11)),
    ]
    return [(*map(read_only, arrays), fraction) for *arrays, fraction in cases]


def keep_and_drop(
    weight, mask, fraction, *, rounded=math.floor, of=lambda mask: mask.sum(), capped=True, refilled=True
):
    """(keep, drop). capped: never keep zeros; refilled: take more gradients in place of them."""
    live = int(mask.sum())
    drop = min(int(rounded(fraction * of(mask))), live)
    keep = min(live - drop, np.count_nonzero(weight)) if capped else live - drop
    return keep, live - keep if refilled else drop


def _top(scores, count):
    """True at the `count` largest of all."""
    chosen = np.zeros(scores.size, dtype=bool)
    chosen[np.argsort(-scores, axis=None, kind="stable")[:count]] = True
    return chosen.reshape(scores.shape)


def top_backwards(scores, count):
    """order[-count:], which is everything if count is 0."""
    chosen = np.zeros(scores.size, dtype=bool)
    chosen[np.argsort(scores, axis=None, kind="stable")[-count:]] = True
    return chosen.reshape(scores.shape)


def signed(weight):
    return weight


def steepness(grad, mask, kept):
    return np.abs(grad)


def uphill(grad, mask, kept):
    return grad


def downhill(grad, mask, kept):
    return -grad


def _union(kept, steep, mask):
    return (kept | steep).sum(1)


def counting(*, size=np.abs, slope=steepness, top=_top, counts=keep_and_drop, swap=False, result=_union):
    """The counts with a part replaced. slope(grad, mask, kept): high is salient; result(kept, steep, mask)."""

    def answer(weight, grad, mask, fraction):
        keep, drop = counts(weight, mask, fraction)[:: -1 if swap else 1]
        kept = top(size(weight), keep)
        return result(kept, top(slope(grad, mask, kept), drop), mask)

    return answer


reference = counting()


def row_by_row(weight, grad, mask, fraction):
    """Each neuron keeps its own share."""
    parts = zip(weight, grad, mask, strict=True)
    return np.array([reference(w[None], g[None], m[None], fraction)[0] for w, g, m in parts])


def evenly(weight, grad, mask, fraction):
    """The layer's counts, shared out evenly."""
    keep, drop = (count // len(mask) for count in keep_and_drop(weight, mask, fraction))
    return np.array([(_top(np.abs(w), keep) | _top(np.abs(g), drop)).sum() for w, g in zip(weight, grad, strict=True)])
