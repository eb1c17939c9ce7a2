"""One step of RigL in which any part can be replaced by a wrong one, and the cases that tell such steps apart."""

import math

import numpy as np

from lttlib.checks.read_only import read_only


def update_cases(rng):
    """(weight, gradient, mask, drop): the chapter's example, all go, none goes, fewer dead than grown, a live 0.

    Sizes are all different. No drop * live is whole in one way of computing it and not in another.
    """

    def drawn(n, live, drop, newborn=False):
        sizes = rng.permuted(np.tile(np.arange(1, 100), (2, 1)), axis=1)[:, :n] / 100
        weight, gradient = sizes * rng.choice([-1, 1], size=(2, n))
        mask = np.zeros(n, dtype=bool)
        mask[rng.permutation(n)[:live]] = True
        weight = np.where(mask, weight, 0.0)
        if newborn:
            weight[rng.choice(np.flatnonzero(mask))] = 0
        return weight, gradient, mask, drop

    by_hand = (
        np.array([0.9, -0.1, 0.5, -0.7, 0, 0, 0, 0]),
        np.array([0.2, 0.9, 0.1, -0.3, 0.6, 0.05, -0.8, 0.4]),
        np.arange(8) < 4,
        0.5,
    )
    cases = [
        by_hand,
        drawn(6, 3, 1.0),
        drawn(7, 5, 0.1),
        drawn(10, 6, 0.4),
        drawn(9, 9, 0.3),
        drawn(12, 9, 0.5),
        drawn(20, 7, 0.25),
        drawn(30, 12, 0.3, newborn=True),
        drawn(60, 20, 0.3),
        drawn(90, 9, 0.3),
        drawn(80, 39, 0.25, newborn=True),
    ]
    return [(*map(read_only, arrays), drop) for *arrays, drop in cases]


def _size(weight, gradient):
    return np.abs(weight)


def _slope(gradient, weight, mask):
    return np.abs(gradient)


def share(drop, mask):
    return math.floor(drop * mask.sum())


def _free(kept, mask):
    return ~kept


def _values(weight, gradient, mask, kept, new):
    return np.where(new & mask, weight, 0.0)


def update(*, score=_size, count=share, free=_free, growth=_slope, values=_values):
    """One step with a part replaced. score: low is dropped; count: how many; free: may grow; growth: high is grown."""

    def answer(weight, gradient, mask, drop):
        live = np.flatnonzero(mask)
        k = min(int(count(drop, mask)), len(live))
        kept = np.zeros(len(mask), dtype=bool)
        kept[live[np.argsort(score(weight, gradient)[live], kind="stable")][k:]] = True
        places = np.flatnonzero(free(kept, mask))
        new = kept.copy()
        new[places[np.argsort(-growth(gradient, weight, mask)[places], kind="stable")][:k]] = True
        return new, values(weight, gradient, mask, kept, new)

    return answer
