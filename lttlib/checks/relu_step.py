"""Check of the exercise on one step of the recursion: what a layer of ReLU units makes of a covariance.

u, v Gaussian of mean 0 with covariance K, q = sqrt(diag K), theta = arccos(K / (q q')):

    E[relu(u) relu(v)]   = q q' (sin theta + (pi - theta) cos theta) / (2 pi)
    E[relu'(u) relu'(v)] = (pi - theta) / (2 pi)

Arc-cosine kernels: Jacot et al. 2018, arXiv:1806.07572; Arora et al. 2019, arXiv:1904.11955.
"""

import numpy as np

from lttlib.checks.answers import Exercise, Mistake, Tried, numbers, returns, same
from lttlib.checks.arrays import array_equals
from lttlib.checks.read_only import WRITTEN, read_only

TURN = 2 * np.pi


def _step_cases(rng):
    """(kernel,): by hand, inputs in one direction, opposite ones, rounding that makes cosines above 1 and below -1, lengths far apart."""
    cases = [np.array(k) for k in ([[1.0, 0.5], [0.5, 1.0]], [[2.0, -0.6], [-0.6, 0.5]], [[4.0, 0.0], [0.0, 9.0]])]
    ray = np.array([[1.0, 2.0], [0.5, 1.0], [-3.0, -6.0], [2.0, -1.0]])
    inputs = [ray, *(rng.normal(size=shape) for shape in ((3, 5), (6, 3), (12, 40)))]
    lengths = 10.0 ** rng.uniform(-2, 2, (8, 1))
    lines = np.repeat(rng.integers(-8, 9, (4, 7)), 3, axis=0) * np.arange(1, 13)[:, None]  # whole: no sum is rounded
    inputs += [rng.normal(size=(8, 6)) * lengths, np.concatenate([lines, -lines])]
    return [(read_only(kernel),) for kernel in [*cases, *(2 * x @ x.T / x.shape[1] for x in inputs)]]


def _cosine(kernel):
    lengths = np.sqrt(np.diag(kernel))
    return np.clip(kernel / np.outer(lengths, lengths), -1, 1)


def _step(
    *, cosine=_cosine, scale=lambda k: np.sqrt(np.outer(np.diag(k), np.diag(k))), rest=lambda angle: np.pi - angle
):
    """The pair, with a part replaced. cosine, scale: of the covariance. rest: what stands for pi - theta."""

    def pair(kernel):
        cosines = cosine(np.asarray(kernel))
        angle = np.arccos(cosines)
        products = np.sin(angle) + rest(angle) * cosines
        return scale(np.asarray(kernel)) * products / TURN, rest(angle) / TURN

    return pair


_reference = _step()


def _then(change):
    """change(products, slopes, kernel) of the right pair."""
    return lambda kernel: change(*_reference(kernel), np.asarray(kernel))


_NO_NUMBER = "That is no number. Between which two values must lie what you hand to arccos?"


def _asked(case, place, name, value):
    i, j = place
    kernel = np.asarray(case[0])
    entries = {"variances": kernel[[i, j], [i, j]], "covariance": kernel[i, j]}
    return (
        f"For two inputs with variances {numbers(float(entries['variances'][0]))} and {numbers(float(entries['variances'][1]))} "
        f"and covariance {numbers(float(entries['covariance']))} your {name} is {numbers(float(value[place]))}. "
    )


def _products_relation(case, value, place):
    i, j = place
    asked = _asked(case, place, "E[relu(u) relu(v)]", value)
    kernel, found = np.asarray(case[0]), float(value[place])
    if not np.isfinite(found):
        return asked + _NO_NUMBER
    if found < 0:
        return f"{asked}Can a mean of products of numbers that are not negative be below 0?"
    if i == j:
        return f"{asked}Here u = v. How much of a variance is left if the negative half of a symmetric distribution becomes 0?"
    if found > np.sqrt(kernel[i, i] * kernel[j, j]) / 2 * (1 + 1e-9):
        return f"{asked}That is more than u = v could reach at the same lengths. Where do the lengths √K enter, and how often?"
    return f"{asked}What is the angle θ of the two, and on which side of the formula do their lengths stand?"


def _slopes_relation(case, value, place):
    asked = _asked(case, place, "E[relu'(u) relu'(v)]", value)
    if not np.isfinite(value[place]):
        return asked + _NO_NUMBER
    if not 0 <= float(value[place]) <= 1:
        return f"{asked}It is the probability that both are positive. Can it lie outside of 0 to 1?"
    if place[0] == place[1]:
        return f"{asked}Here u = v. With which probability is u positive?"
    return (
        f"{asked}It is the probability that both are positive. What is it if the two are independent, and at which θ?"
    )


_products_judge = array_equals(lambda kernel: _reference(kernel)[0], _products_relation)
_slopes_judge = array_equals(lambda kernel: _reference(kernel)[1], _slopes_relation)


def _judge(case, value):
    if isinstance(value, np.ndarray) and value.ndim == 2:
        return "You return one matrix. Which two does the task ask for?"
    if len(value) != 2:
        return f"You return {len(value)} things. Which two matrices does the task ask for?"
    products, slopes = value
    return _products_judge(case, products) or _slopes_judge(case, slopes)


def _agrees_where(chosen):
    """Right at the entries chosen(value, right, cosines). Only wrong answers come here, so the rest is wrong."""

    def agrees(tried: Tried) -> bool:
        for case, value in tried:
            cosines = _cosine(np.asarray(case[0]))
            for found, right in zip(value, _reference(*case), strict=True):
                found = np.asarray(found, dtype=float)
                good = chosen(found, right, cosines)
                if good.mean() < 0.25 or not same(np.where(good, found, right), right):
                    return False
        return True

    return agrees


def _but_for_gaps(wrong, says):
    """The mistake of computing `wrong`, recognized by the entries that are numbers: without a cut there may be others."""

    def spotted(tried: Tried) -> bool:
        numbers_in_all = 0
        for case, value in tried:
            for found, expected in zip(value, wrong(*case), strict=True):
                known = np.isfinite(np.asarray(found, dtype=float))
                numbers_in_all += known.sum()
                if not same(np.where(known, found, expected), expected):
                    return False
        return numbers_in_all > 40

    return Mistake(says, spotted)


_NOT_NUMBERS = Mistake(
    "Some of your entries are not numbers, all others are right. The cosine of an input and itself can come out as "
    "1.0000000000000002: what does arccos make of it?",
    _agrees_where(lambda found, right, cosines: np.isfinite(found)),
)
_CLIPPED = Mistake(
    "Right, but where two inputs lie on one line. At which angle are they, and at which angle after your way around rounding?",
    _agrees_where(
        lambda found, right, cosines: (np.abs(cosines) < 1 - 1e-9) | ~(np.abs(found - right) < 0.05 * (1 + right))
    ),
)
_TWICE = "The factor σ² = 2 of the weights, or a 1/π, is in {}. What is the mean of relu(u)² if u has variance 1?"

check_relu_step = Exercise(
    "relu_step",
    _step_cases,
    _judge,
    "two inputs to twelve, orthogonal, on one line, opposite, of lengths far apart, cosines that rounding lifts above 1",
    (
        WRITTEN,
        _NOT_NUMBERS,
        _CLIPPED,
        returns(
            _then(lambda products, slopes, k: (slopes, products)),
            "The two are swapped. Which does the task want first?",
        ),
        returns(_then(lambda products, slopes, k: products), "You return the first matrix alone. Where is the second?"),
        returns(_then(lambda products, slopes, k: slopes), "You return the second matrix alone. Where is the first?"),
        *(
            returns(_then(lambda products, slopes, k, a=a, b=b: (a * products, b * slopes)), _TWICE.format(where))
            for a, b, where in ((2, 2, "both matrices"), (2, 1, "the first matrix"), (1, 2, "the second matrix"))
        ),
        *(
            _but_for_gaps(
                _step(cosine=lambda k, root=root: np.clip(root(k), -1, 1)),
                f"Your cosines are none: {what} What makes a covariance a cosine?",
            )
            for root, what in (
                (np.array, "you take arccos of the covariance itself."),
                (lambda k: k / np.outer(np.diag(k), np.diag(k)), "you divide by variances."),
                (lambda k: k / np.diag(k), "you divide by one of the two variances."),
                (lambda k: k / k.max(), "you divide by the largest entry."),
            )
        ),
        returns(
            _step(rest=lambda angle: angle),
            "θ stands where π − θ belongs. At θ = 0 the two inputs are the same: with which probability are both active?",
        ),
        returns(
            _then(lambda products, slopes, k: (products, 0.5 - slopes)),
            "In the second matrix θ stands where π − θ belongs. At θ = 0 both are the same: with which probability are both active?",
        ),
        returns(
            _step(scale=np.ones_like),
            "The lengths are missing in the first matrix: every variance counts as 1. What becomes of relu(u) if u is doubled?",
        ),
        returns(
            _step(scale=lambda k: np.outer(np.diag(k), np.diag(k))),
            "The first matrix is scaled by variances. What becomes of relu(u) relu(v) if both u and v are doubled?",
        ),
        returns(
            _then(lambda products, slopes, k: (products, slopes * np.sqrt(np.outer(np.diag(k), np.diag(k))))),
            "The second matrix is scaled by the lengths. Does relu' know how large u is?",
        ),
        returns(
            _then(lambda products, slopes, k: (products - slopes * k, slopes)),
            "Only the sine is left in your first matrix. What does it say for an input with itself, where θ = 0?",
        ),
        returns(
            _then(lambda products, slopes, k: (slopes * k, slopes)),
            "The sine is missing in your first matrix. What does it say for independent u and v?",
        ),
        returns(
            _then(lambda products, slopes, k: (products - np.sqrt(np.outer(np.diag(k), np.diag(k))) / TURN, slopes)),
            "You subtract the product of the means: a covariance. Is E[relu(u) relu(v)] 0 for independent u and v?",
        ),
        returns(
            lambda k: (np.maximum(k, 0), (k > 0).astype(float)),
            "You apply the ReLU to the covariance. To what does the layer apply it, and what is the mean over?",
        ),
        returns(
            lambda k: (np.asarray(k) / 2, np.full(k.shape, 0.5)),
            "You halve everything, right for an input with itself. Are two inputs at an angle active at the same time as often?",
        ),
        returns(
            _reference,
            "Near, but not exact. If these are averages over random draws: what gives the angle without them?",
            3e-2,
        ),
    ),
)
