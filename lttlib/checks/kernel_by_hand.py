"""Check of the exercise on one entry of a tangent kernel, that of a small network with itself.

f(x) = sum over i of a_i relu(w_i . x), no scales, so df/da_i = relu(w_i . x) and df/dw_ij = a_i relu'(w_i . x) x_j, and

    Theta(x, x) = sum over i of relu(w_i . x)^2  +  |x|^2 sum over active i of a_i^2

Jacot et al. 2018, arXiv:1806.07572.
"""

import numpy as np

from lttlib.checks.answers import Exercise, numbers, returns
from lttlib.checks.arrays import array_equals
from lttlib.checks.read_only import WRITTEN, read_only


def _kernel_cases(rng):
    """(hidden, output, x): the chapter's example, one unit, some units active, none, more inputs than units and fewer."""
    cases = [
        ([[1.0, -1.0], [2.0, 1.0]], [1.0, -1.0], [1.0, 0.0]),
        ([[0.5]], [-3.0], [2.0]),
        ([[1.5, 0.5], [-1.0, 0.3], [0.2, -2.0]], [2.0, -1.5, 0.7], [1.0, 2.0]),
        ([[-1.0, -0.5], [-0.4, 0.1]], [1.2, 0.8], [3.0, 1.0]),  # nothing answers
    ]
    for units, inputs in ((3, 4), (5, 2), (8, 3), (7, 5)):
        hidden, output, x = rng.normal(size=(units, inputs)), rng.normal(size=units), rng.normal(size=inputs)
        hidden[:2] *= np.sign(hidden[:2] @ x)[:, None] * [[1], [-1]]  # one active, one silent
        cases.append((hidden.round(2), output.round(2), x))
    return [(read_only(hidden), read_only(output), read_only(np.round(x, 2))) for hidden, output, x in cases]


def _shares(hidden, output, x, *, activation=None, power=2, norm=None, active=None):
    """(share of the output weights, share of the hidden ones), with a part replaced.

    activation: of z, in place of relu. power: of a. norm: of x, in place of |x|^2. active: of z, in place of relu'.
    """
    z = hidden @ x
    h = np.maximum(z, 0) if activation is None else activation(z)
    gate = (z > 0) if active is None else active(z)
    squared = x @ x if norm is None else norm(x)
    return h @ h, squared * ((output**power) * gate).sum()


def _reference(hidden, output, x):
    return sum(_shares(hidden, output, x))


def _finish(finish, **wrong):
    """finish(share of the output weights, share of the hidden ones)."""
    return lambda *case: finish(*_shares(*case, **wrong))


def _sum(**wrong):
    return _finish(lambda by_output, by_hidden: by_output + by_hidden, **wrong)


def _of_units(finish):
    """finish(h, a, gate, x): activations, output weights, relu' and the input."""
    return lambda hidden, output, x: finish(np.maximum(hidden @ x, 0), output, hidden @ x > 0, x)


def _scaled(scale):
    """The right value times scale(units, inputs)."""
    return lambda hidden, output, x: _reference(hidden, output, x) * scale(*hidden.shape)


def _relation(case, value, _):
    hidden, output, x = case
    asked = (
        f"For W = {numbers(hidden)}, a = {numbers(output)} and x = {numbers(x)} you return {numbers(float(value))}. "
    )
    if value < 0:
        return f"{asked}Θ(x, x) is a sum of squares. How does it get below 0?"
    if not (hidden @ x > 0).any():
        return f"{asked}No hidden unit is active there. If one weight moves a little, does f(x) move?"
    return (
        f"{asked}Write down the derivative of f(x) to every aᵢ and to every wᵢⱼ, one number for each weight. Which of "
        "them are 0, and what does the kernel do with the others?"
    )


def _ones(z):
    return np.ones_like(z)


_SCALED = (
    "The right value times a factor that depends on the size of the network. Which factors does the task leave out?"
)

check_kernel_by_hand = Exercise(
    "kernel_by_hand",
    _kernel_cases,
    array_equals(_reference, _relation),
    "one unit to eight, one input to five, units active and silent, none active",
    (
        WRITTEN,
        returns(
            _finish(lambda by_output, by_hidden: by_output),
            "This is the share of the output weights. Which weights does f have besides the aᵢ?",
        ),
        returns(
            _finish(lambda by_output, by_hidden: by_hidden),
            "This is the share of the hidden weights. What if an aᵢ moves?",
        ),
        returns(
            _shares, "These are the two shares. The task asks for one number: what does the kernel do with the two?"
        ),
        returns(
            _sum(active=_ones),
            "Silent units count here: their aᵢ² is in the sum. If wᵢ · x < 0 and wᵢ moves a little, does f(x) move?",
        ),
        returns(
            _sum(activation=lambda z: z),
            "The derivative to aᵢ is wᵢ · x here, even below 0. By what is aᵢ multiplied in f?",
        ),
        returns(
            _sum(activation=lambda z: z, active=_ones),
            "This is the kernel without the ReLU. Which of its two places, the activation and its slope, does f have?",
        ),
        returns(
            _of_units(lambda h, a, gate, x: (a @ h) ** 2),
            "This is f(x)². Which derivatives does the kernel multiply with themselves?",
        ),
        returns(
            _of_units(lambda h, a, gate, x: ((a * h) ** 2).sum()),
            "Your sum runs over what the units add to f(x). Over what does the kernel's sum run?",
        ),
        returns(
            _of_units(lambda h, a, gate, x: ((a * h) ** 2).sum() + (x @ x) * (a**2 * gate).sum()),
            "The derivative to aᵢ has a factor aᵢ here. What is left of aᵢ u if you differentiate it by aᵢ?",
        ),
        returns(
            _of_units(lambda h, a, gate, x: h @ h + (x @ x) * ((a * h) ** 2).sum()),
            "The hidden share holds the activations where the slopes belong. What is the derivative of relu(z) at z = 5?",
        ),
        returns(
            _of_units(lambda h, a, gate, x: h @ h + (x @ x) * (h @ h)),
            "The hidden share holds the activations. On its way from wᵢⱼ to f, which two factors does a change meet?",
        ),
        returns(_sum(power=1), "aᵢ is not squared in the hidden share. How often is each derivative in Θ(x, x)?"),
        returns(_sum(power=4), "aᵢ is squared twice in the hidden share. How often is each derivative in Θ(x, x)?"),
        returns(_sum(power=0), "The aᵢ are missing. On its way from wᵢⱼ to f, which two factors does a change meet?"),
        returns(
            _sum(norm=lambda x: 1.0),
            "The input is missing in the hidden share. What does a change of wᵢⱼ do to wᵢ · x?",
        ),
        returns(
            _sum(norm=lambda x: np.sqrt(x @ x)),
            "The hidden share holds |x|, the length of x. How often is each derivative in Θ(x, x)?",
        ),
        returns(
            _sum(norm=lambda x: x.sum() ** 2),
            "You add up the derivatives to the weights of a unit, then square. What is squared first in a kernel, what summed?",
        ),
        returns(
            _of_units(lambda h, a, gate, x: h.sum() ** 2 + (x @ x) * (a * gate).sum() ** 2),
            "You add up units, then square. Is a change of one weight made up for by that of another?",
        ),
        returns(
            _of_units(lambda h, a, gate, x: (h.sum() + x.sum() * (a * gate).sum()) ** 2),
            "You add up all derivatives, then square. What is squared first in a kernel, what summed?",
        ),
        returns(
            _of_units(lambda h, a, gate, x: h.sum() + x.sum() * (a * gate).sum()),
            "This is the sum of all derivatives. What does Θ(x, x) do to each before it sums?",
        ),
        returns(
            _of_units(lambda h, a, gate, x: h.sum() + (x @ x) * (a**2 * gate).sum()),
            "The activations are not squared in the output share. How often is each derivative in Θ(x, x)?",
        ),
        returns(
            lambda *case: np.sqrt(_reference(*case)),
            "This is the length of the gradient. Which product of the gradient with itself is the kernel?",
        ),
        returns(
            lambda hidden, output, x: _reference(hidden.T, output, x),
            "You read the columns of W as units. In this book, are the rows of a weight matrix its outputs or its inputs?",
        ),
        *(
            returns(_scaled(scale), _SCALED)
            for scale in (
                lambda units, inputs: 4 / (units * inputs),
                lambda units, inputs: 1 / (units * inputs),
                lambda units, inputs: 2 / units,
                lambda units, inputs: 1 / units,
                lambda units, inputs: 1 / (units * inputs + units),
            )
        ),
    ),
)
