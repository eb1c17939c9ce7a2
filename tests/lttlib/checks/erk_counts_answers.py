"""Right and wrong answers to the exercise on live weights per layer after Erdős–Rényi-Kernel."""

import math

import numpy as np
from proof import Answer, solutions
from scipy.optimize import brentq

from lttlib.checks.erk_counts import check_erk_counts
from lttlib.masks import erk_densities, keep_count

erk_counts = solutions("moving_masks").erk_counts


def by_library(shapes, density):
    return {name: keep_count(math.prod(shapes[name]), 1 - d) for name, d in erk_densities(shapes, density).items()}


def parts(shapes, dtype=float):
    """(weights, sum of sides) as arrays."""
    return tuple(np.array([f(shape) for shape in shapes.values()], dtype=dtype) for f in (math.prod, sum))


def named(shapes, counts):
    return dict(zip(shapes, counts, strict=True))


def by_root(shapes, density):
    """c is where the densities, cut off at 1, add up: no redistribution."""
    n, sides = parts(shapes)
    c = brentq(lambda c: (np.minimum(c * sides / n, 1) * n).sum() - density * n.sum(), 0, n.max(), xtol=1e-14)
    return named(shapes, np.ceil(np.minimum(c * sides / n, 1) * n).astype(np.int64))


def by_one_at_a_time(shapes, density):
    """The densest layer becomes dense first; floats that are whole."""
    n, sides = parts(shapes)
    dense = np.zeros(len(n), dtype=bool)
    while True:
        share = np.where(dense, 0, (density * n.sum() - n[dense].sum()) / sides[~dense].sum() * sides / n)
        if share.max() <= 1:
            return named(shapes, np.where(dense, n, n - np.floor((1 - share) * n)))
        dense[share.argmax()] = True


def solve(
    density_of=lambda sides, n: sides / n, weigh=lambda n: n, cut=True, again=True, pays=True, keep=None, dtype=float
):
    """again: how often c is solved a second time, True for as long as needed."""

    def answer(shapes, density):
        n, sides = parts(shapes, dtype)
        raw, w = density_of(sides, n), weigh(n)
        dense, times = np.zeros(len(n), dtype=bool), 0
        while True:
            c = (dtype(density) * w.sum() - pays * w[dense].sum()) / (raw * w)[~dense].sum()
            share = np.where(dense, 1, c * raw)
            if (share <= 1).all() or times >= (99 if again is True else again):
                break
            dense, times = share >= 1, times + 1
        share = np.minimum(share, 1) if cut else share
        counts = n - np.floor((1 - share) * n + dtype(1e-9)) if keep is None else keep(share, n)
        return named(shapes, counts.tolist())

    return answer


def upside_down(sides, n):
    return n / sides


def no_product(sides, n):
    return sides


def no_sum(sides, n):
    return 1 / n


def paper(sides, n):
    return 1 - sides / n


def without_kernel(shapes, density, **how):
    """The densities come from (out, in) alone."""
    raw = np.array([(shape[0] + shape[1]) / (shape[0] * shape[1]) for shape in shapes.values()])
    return solve(lambda sides, n: raw, **how)(shapes, density)


def below_alone(shapes, density):
    sides = np.array([shape[0] + shape[1] for shape in shapes.values()])
    return solve(lambda _, n: sides / n)(shapes, density)


def above_alone(shapes, density):
    places = np.array([shape[0] * shape[1] for shape in shapes.values()])
    return solve(lambda sides, n: sides / places)(shapes, density)


def fewer_weights(shapes, density):
    return by_library({name: shape[:2] for name, shape in shapes.items()}, density)


def by_mean(shapes, density):
    n, sides = parts(shapes)
    share = np.minimum(density * sides / n / np.mean(sides / n), 1)
    return named(shapes, np.ceil(share * n))


def as_in_rigl(shapes, density):
    """Live weights less what dense layers would lack, with whole numbers in every layer."""
    n, sides = parts(shapes)
    zeros, dense = np.floor((1 - density) * n), np.zeros(len(n), dtype=bool)
    while True:
        c = ((n - zeros)[~dense].sum() - zeros[dense].sum()) / sides[~dense].sum()
        share = np.where(dense, 0, c * sides / n)
        if share.max() <= 1:
            return named(shapes, n - np.floor(np.where(dense, 0, 1 - share) * n))
        dense |= share == share.max()


def rounded_budget(whole):
    def answer(shapes, density):
        total = sum(map(math.prod, shapes.values()))
        return erk_counts(shapes, whole(density * total) / total)

    return answer


def shared_out(shapes, density):
    """What dense layers cannot hold goes to the others in equal parts."""
    n, sides = parts(shapes)
    counts = density * n.sum() / sides.sum() * sides
    while (counts > n).any():
        rest = (counts - n)[counts > n].sum()
        counts = np.minimum(counts, n)
        counts[counts < n] += rest / (counts < n).sum()
    return named(shapes, np.ceil(counts))


def dropped_names(shapes, density):
    return list(by_library(shapes, density).values())


def to_the_total(shapes, density):
    """Rounding is made up for in the largest layer."""
    counts = by_library(shapes, density)
    largest = max(counts, key=counts.get)
    counts[largest] -= sum(counts.values()) - math.ceil(density * sum(map(math.prod, shapes.values())))
    return counts


def pops(shapes, density):
    right = by_library(shapes, density)
    shapes.pop(next(iter(shapes)))
    return right


ERK = [
    Answer(check_erk_counts, "solution", erk_counts),
    Answer(check_erk_counts, "library", by_library),
    Answer(check_erk_counts, "root finding, np.int64", by_root),
    Answer(check_erk_counts, "one at a time, floats", by_one_at_a_time),
    Answer(check_erk_counts, "arrays", solve()),
    Answer(check_erk_counts, "other order", lambda *c: dict(sorted(by_library(*c).items()))),
    *(
        Answer(check_erk_counts, name, function, "wrong", says)
        for name, function, says in [
            ("no kernel", without_kernel, "Erdős–Rényi without Kernel"),
            ("no kernel, cut off", lambda *c: without_kernel(*c, again=0), "Erdős–Rényi without Kernel"),
            ("no kernel anywhere", fewer_weights, "Erdős–Rényi without Kernel"),
            ("kernel below alone", below_alone, "in one half of your fraction"),
            ("kernel above alone", above_alone, "in one half of your fraction"),
            ("above 1", solve(cut=False, again=0), "hold more weights than they have"),
            ("above 1 later", solve(cut=False, again=1), "hold more weights than they have"),
            ("cut off", solve(again=0), "are cut off at 1"),
            ("once more", solve(again=1), "When is it safe to stop"),
            ("twice more", solve(again=2), "where does it go?"),
            ("dense for free", solve(pays=False), "as if the dense layers cost nothing"),
            ("dense for free, once", solve(pays=False, again=1), "as if the dense layers cost nothing"),
            ("mean", by_mean, "average to the density"),
            ("mean, solved again", solve(weigh=np.ones_like), "average to the density"),
            ("mean, not cut", solve(weigh=np.ones_like, again=0, cut=False), "average to the density"),
            ("upside down", solve(upside_down), "upside down"),
            ("upside down, cut", solve(upside_down, again=0), "upside down"),
            ("product", solve(lambda sides, n: n), "upside down"),
            ("sum alone", solve(no_product), "below the fraction line"),
            ("product alone", solve(no_sum), "above the fraction line"),
            ("product alone, cut", solve(no_sum, again=0), "above the fraction line"),
            ("paper", solve(paper), "for a layer's *sparsity*"),
            ("uniform", solve(lambda sides, n: np.ones_like(n)), "All layers have the same density"),
            ("down", solve(keep=lambda d, n: np.floor(d * n + 1e-9)), "You round down what lives"),
            ("nearest", solve(keep=lambda d, n: np.round(d * n)), "nearest whole number"),
            ("unrounded", solve(keep=lambda d, n: d * n), "Can a part of a weight live"),
            ("RigL's code", as_in_rigl, "rounded before c is solved"),
            ("budget down", rounded_budget(int), "rounded before c is solved"),
            ("budget up", rounded_budget(math.ceil), "rounded before c is solved"),
            ("budget to the nearest", rounded_budget(round), "rounded before c is solved"),
            ("text", lambda *c: {k: str(v) for k, v in by_library(*c).items()}, "something of this kind"),
            ("densities", erk_densities, "These are densities"),
            ("dead", lambda *c: {k: math.prod(c[0][k]) - v for k, v in by_library(*c).items()}, "These are the dead"),
            ("sparsity", lambda shapes, density: by_library(shapes, 1 - density), "the share that goes"),
            ("float32", solve(dtype=np.float32), "not in the large layers"),
            ("equal parts", shared_out, "not every layer has its own part"),
            ("list", dropped_names, "you return a list"),
            ("other names", lambda *c: {k + ".weight": v for k, v in by_library(*c).items()}, "you return the names"),
            ("empty", lambda *c: {}, "you return a dict"),
            ("one more each", lambda *c: {k: v + 1 for k, v in by_library(*c).items()}, "where does it go?"),
            ("to the total", to_the_total, "not every layer has its own part"),
            ("negative", lambda *c: {k: -v for k, v in by_library(*c).items()}, "can live, in whole numbers"),
            ("pops", pops, "in place"),
            ("arrays in it", lambda *c: {k: np.array([v, v]) for k, v in by_library(*c).items()}, "something of this kind"),
        ]
    ),
]  # fmt: skip
