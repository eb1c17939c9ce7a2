"""Right and wrong answers to the exercise on a pruned ReLU diamond."""

import numpy as np
import torch
from proof import Answer, solutions

from lttlib.checks.diamond_error import check_diamond_error

diamond_error = solutions("strong_lottery_tickets").diamond_error


def output(x, inner, outer, mask):
    return float((outer * np.maximum(inner * x, 0))[mask].sum())


def at_the_ends(weight, inner, outer, mask):
    return max(abs(weight * x - output(x, inner, outer, mask)) for x in (-1, 1))


def by_torch(weight, inner, outer, mask):
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    hidden = torch.relu(x * torch.tensor(inner)) * torch.tensor(mask)
    return (hidden @ torch.tensor(outer) - weight * x[:, 0]).abs().max()


def by_loop(weight, inner, outer, mask):
    rest = {True: weight, False: weight}
    for b, a, kept in zip(inner, outer, mask, strict=True):
        if kept:
            rest[b > 0] -= a * b
    return np.abs(list(rest.values())).max()


def at(inputs, finish=max):
    """finish(errors at these inputs), signed."""

    def answer(weight, inner, outer, mask):
        return finish([weight * x - output(x, inner, outer, mask) for x in inputs])

    return answer


def absolute(finish):
    return lambda errors: finish(abs(e) for e in errors)


def pruned_first(change):
    """The right answer for changed weights."""
    return lambda weight, inner, outer, mask: diamond_error(weight, *change(inner, outer, mask))


def activated(output_of):
    """The larger error at the ends of another y(x)."""

    def answer(weight, inner, outer, mask):
        b, a = inner[mask], outer[mask]
        return max(abs(weight * x - output_of(b, a, x)) for x in (1, -1))

    return answer


def against_weight(weight, inner, outer, mask):
    return max(abs(weight - output(x, inner, outer, mask)) for x in (1, -1))


def writes(weight, inner, outer, mask):
    inner *= mask
    return at_the_ends(weight, inner, outer, mask)


GRID = np.linspace(-1, 1, 2001)

DIAMOND = [
    Answer(check_diamond_error, "solution", diamond_error),
    Answer(check_diamond_error, "at the ends", at_the_ends),
    Answer(check_diamond_error, "torch", by_torch),
    Answer(check_diamond_error, "loop", by_loop),
    *(
        Answer(check_diamond_error, name, function, "wrong", says)
        for name, function, says in [
            ("linear", lambda w, b, a, mask: abs(w - (a * b)[mask].sum()), "as without the ReLU"),
            ("x = 1", at([1], absolute(max)), "error for positive inputs"),
            ("x = -1", at([-1], absolute(max)), "error for negative inputs"),
            ("better side", at([-1, 1], absolute(min)), "error of the better side"),
            ("both sides", at([-1, 1], absolute(sum)), "add up the errors"),
            ("mean of the sides", at([-1, 1], absolute(lambda e: sum(e) / 2)), "mean of the two sides"),
            ("mean over inputs", at(GRID, lambda e: np.abs(e).mean()), "mean error over all inputs"),
            (
                "overshoot free",
                lambda w, b, a, m: max(w - output(1, b, a, m), w + output(-1, b, a, m)),
                "an overshoot counts",
            ),
            (
                "undershoot free",
                lambda w, b, a, m: max(output(1, b, a, m) - w, -output(-1, b, a, m) - w),
                "output too small",
            ),
            ("against w", against_weight, "At x = −1 you compare with w"),
            ("unpruned", pruned_first(lambda b, a, mask: (b, a, mask | True)), "before pruning"),
            ("inverted", pruned_first(lambda b, a, mask: (b, a, ~mask)), "units that were pruned"),
            ("sign of b", pruned_first(lambda b, a, mask: (np.where(b > 0, 1, -1), a, mask)), "Only the sign of b"),
            ("no a", pruned_first(lambda b, a, mask: (b, a**0, mask)), "outer weights are missing"),
            ("swapped", pruned_first(lambda b, a, mask: (a, b, mask)), "Inner and outer weights are swapped"),
            ("ReLU of the product", activated(lambda b, a, x: (a * b * x).clip(0).sum()), "acts on a b x"),
            ("ReLU of the sum", activated(lambda b, a, x: max(0, (a * b * x).sum())), "acts on the sum"),
            ("root of squares", at([-1, 1], np.linalg.norm), "what should come out in either case"),
            ("zero", lambda *case: 0.0, "what should come out in either case"),
            ("both errors", lambda w, b, a, m: [abs(w), abs(w)], "what should come out in either case"),
        ]
    ),
    Answer(check_diamond_error, "writes", writes, "error", "Where does a copy belong?"),
]
