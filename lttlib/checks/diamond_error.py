"""Check of the exercise on one pruned ReLU diamond: how far it is from the weight that it stands for.

    y(x) = sum over kept k of a_k relu(b_k x)  =  x sum of a_k b_k over kept k of the sign of x

so max over |x| <= 1 of |w x - y(x)| is the larger of two distances |w - sum|, one for each sign of b. Pensia et al. 2020,
arXiv:2006.07990.
"""

import numpy as np

from lttlib.checks.answers import Exercise, equals, numbers, returns
from lttlib.checks.read_only import WRITTEN, read_only


def _diamond_cases(rng):
    """(weight, inner, outer, mask): units of both signs; kept ones of one sign, of both, none, all; either side is worse."""
    cases = [
        (0.5, [0.5, -0.5], [0.8, -0.6], [True, True]),
        (0.4, [0.8, -0.5, 0.6], [0.5, 0.9, -0.7], [True, False, False]),  # nothing answers to x < 0
        (-0.3, [-0.8, 0.5, -0.6], [0.5, 0.9, 0.7], [True, False, True]),  # nothing answers to x > 0
        (0.7, [0.3, -0.9], [0.4, 0.2], [False, False]),
    ]
    for n, share in ((4, 1.0), (6, 0.5), (9, 0.5), (20, 0.4), (40, 0.6)):
        inner, outer = rng.uniform(-1, 1, (2, n)).round(3)
        cases.append((round(float(rng.uniform(-1, 1)), 3), inner, outer, rng.random(n) < share))
    return [(weight, read_only(inner), read_only(outer), read_only(mask)) for weight, inner, outer, mask in cases]


def _slopes(weight, inner, outer, mask):
    """y(x) / x for x > 0 and for x < 0."""
    products = np.where(mask, outer * inner, 0.0)
    return products[inner > 0].sum(), products[inner < 0].sum()


def _of_slopes(finish):
    """finish(weight, slope for x > 0, slope for x < 0)."""
    return lambda weight, inner, outer, mask: finish(weight, *_slopes(weight, inner, outer, mask))


_reference = _of_slopes(lambda w, up, down: max(abs(w - up), abs(w - down)))


def _relation(case, value):
    weight, inner, outer, mask = case
    kept = np.asarray(mask)
    sides = ", ".join(
        f"{int((kept & side).sum())} with b {sign} 0" for side, sign in ((inner > 0, ">"), (inner < 0, "<"))
    )
    return (
        f"For w = {numbers(weight)}, b = {numbers(inner)} and a = {numbers(outer)}, of which you keep {sides}, you return "
        f"{numbers(value)}. Which units answer to x = 1, which to x = −1, and what should come out in either case?"
    )


def _with(change):
    """The right computation on changed arguments."""
    return lambda *case: _reference(*change(*case))


def _outputs(of):
    """The larger error at x = 1 and x = −1 of a wrong y(x) = of(inner, outer, x), given kept units only."""

    def wrong(weight, inner, outer, mask):
        kept = np.asarray(mask)
        return max(abs(weight * x - of(inner[kept], outer[kept], x)) for x in (1.0, -1.0))

    return wrong


def _relu(z):
    return np.maximum(z, 0)


def _mean_over_inputs(finish):
    """Errors are even on either side: |slope error| |x|."""
    return _of_slopes(lambda w, up, down: finish(abs(w - up), abs(w - down)))


check_diamond_error = Exercise(
    "diamond_error",
    _diamond_cases,
    equals(_reference, _relation),
    "two units to forty, kept ones of one sign, of both, all and none",
    (
        WRITTEN,
        returns(
            _of_slopes(lambda w, up, down: abs(w - up - down)),
            "All kept products are in one sum here, as without the ReLU. Does any input reach units of both signs?",
        ),
        returns(
            _of_slopes(lambda w, up, down: abs(w - up)),
            "This is the error for positive inputs. Which units answer when x is negative?",
        ),
        returns(
            _of_slopes(lambda w, up, down: abs(w - down)),
            "This is the error for negative inputs. Which units answer when x is positive?",
        ),
        returns(
            _of_slopes(lambda w, up, down: min(abs(w - up), abs(w - down))),
            "This is the error of the better side. For which inputs must the promise hold?",
        ),
        returns(
            _of_slopes(lambda w, up, down: abs(w - up) + abs(w - down)),
            "You add up the errors of the two sides. Can one input be positive and negative?",
        ),
        returns(
            _mean_over_inputs(lambda up, down: (up + down) / 2),
            "This is the mean of the two sides. Which input is the worst?",
        ),
        returns(
            _mean_over_inputs(lambda up, down: (up + down) / 4),
            "This is the mean error over all inputs. Which input is the worst?",
            2e-2,
        ),
        returns(
            _of_slopes(lambda w, up, down: max(w - up, w - down)),
            "Your errors have a sign, so an overshoot counts as less than nothing. What is missing around the difference?",
        ),
        returns(
            _of_slopes(lambda w, up, down: max(up - w, down - w)),
            "Your errors have a sign, so an output too small counts as less than nothing. What is missing around the difference?",
        ),
        returns(
            _of_slopes(lambda w, up, down: max(abs(w - up), abs(w + down))),
            "At x = −1 you compare with w, or your slope lost the sign of x. What should come out there?",
        ),
        returns(
            _with(lambda w, b, a, mask: (w, b, a, np.ones_like(mask))),
            "The mask plays no part here: this is the diamond before pruning. Which units are left?",
        ),
        returns(
            _with(lambda w, b, a, mask: (w, b, a, ~np.asarray(mask))),
            "These are the units that were pruned. In this book, is True live or pruned?",
        ),
        returns(
            _with(lambda w, b, a, mask: (w, np.sign(b), a, mask)),
            "Only the sign of b is in this. By what does a unit multiply its input before the ReLU?",
        ),
        returns(
            _with(lambda w, b, a, mask: (w, b, np.ones_like(a), mask)),
            "The outer weights are missing. What happens to a unit's answer on its way to y?",
        ),
        returns(
            _with(lambda w, b, a, mask: (w, a, b, mask)),
            "Inner and outer weights are swapped. Which of the two stands before the ReLU?",
        ),
        returns(
            _outputs(lambda b, a, x: _relu(a * b * x).sum()),
            "Your ReLU acts on a b x. Which weight comes after it, and can still turn the sign?",
        ),
        returns(
            _outputs(lambda b, a, x: _relu((a * b).sum() * x)),
            "Your ReLU acts on the sum. On what does the ReLU of a hidden unit act?",
        ),
    ),
)
