"""Right and wrong answers to the exercise on one entry of a tangent kernel."""

import numpy as np
import torch
from proof import Answer, solutions

from lttlib.checks.kernel_by_hand import check_kernel_by_hand

kernel_by_hand = solutions("tangent_kernel").kernel_by_hand


def by_autograd(hidden, output, x):
    w, a = (torch.tensor(part, requires_grad=True) for part in (hidden, output))
    (torch.relu(w @ torch.tensor(x)) @ a).backward()
    return (w.grad**2).sum().item() + (a.grad**2).sum().item()


def by_loop(hidden, output, x):
    total = 0.0
    for w, a in zip(hidden, output, strict=True):
        z = sum(wj * xj for wj, xj in zip(w, x, strict=True))
        if z > 0:
            total += z * z + sum((a * xj) ** 2 for xj in x)
    return total


def by_differences(hidden, output, x):
    """Move one weight at a time; f is straight in each."""
    flat, split = np.append(hidden, output), hidden.size

    def f(theta):
        return theta[split:] @ np.maximum(theta[:split].reshape(hidden.shape) @ x, 0)

    steps = 1e-6 * np.eye(len(flat))
    return sum(((f(flat + step) - f(flat - step)) / 2e-6) ** 2 for step in steps)


def derivatives(finish):
    """finish(derivatives to the output weights (units,), those to the hidden ones (units, inputs))."""

    def answer(hidden, output, x):
        z = hidden @ x
        return finish(z.clip(0), np.outer(output * (z > 0), x))

    return answer


def parts(finish):
    """finish(z, a, x)."""
    return lambda hidden, output, x: finish(hidden @ x, output, x)


def relu(z):
    return z * (z > 0)


def square(v):
    return (v**2).sum()


def writes(hidden, output, x):
    hidden[hidden @ x < 0] = 0
    return by_loop(hidden, output, x)


HAND = [
    Answer(check_kernel_by_hand, "solution", kernel_by_hand),
    Answer(check_kernel_by_hand, "autograd", by_autograd),
    Answer(check_kernel_by_hand, "loop", by_loop),
    Answer(check_kernel_by_hand, "differences", by_differences),
    *(
        Answer(check_kernel_by_hand, name, function, "wrong", says)
        for name, function, says in [
            ("output weights", derivatives(lambda g, d: square(g)), "share of the output weights"),
            ("hidden weights", derivatives(lambda g, d: square(d)), "share of the hidden weights"),
            ("both shares", derivatives(lambda g, d: (square(g), square(d))), "These are the two shares"),
            ("no slope", parts(lambda z, a, x: square(relu(z)) + square(a) * square(x)), "Silent units count"),
            ("z for h", parts(lambda z, a, x: square(z) + square(a[z > 0]) * square(x)), "even below 0"),
            ("no ReLU", parts(lambda z, a, x: square(z) + square(a) * square(x)), "kernel without the ReLU"),
            ("output squared", parts(lambda z, a, x: (a @ relu(z)) ** 2), "This is f(x)²"),
            ("terms squared", parts(lambda z, a, x: square(a * relu(z))), "what the units add to f(x)"),
            (
                "a in df/da",
                parts(lambda z, a, x: square(a * relu(z)) + square(a[z > 0]) * square(x)),
                "has a factor aᵢ here",
            ),
            (
                "activation for slope",
                parts(lambda z, a, x: square(relu(z)) + square(a * relu(z)) * square(x)),
                "activations where the slopes belong",
            ),
            (
                "activation for gradient",
                parts(lambda z, a, x: square(relu(z)) * (1 + square(x))),
                "The hidden share holds the activations. On",
            ),
            ("a once", parts(lambda z, a, x: square(relu(z)) + a[z > 0].sum() * square(x)), "aᵢ is not squared"),
            (
                "a four times",
                parts(lambda z, a, x: square(relu(z)) + (a[z > 0] ** 4).sum() * square(x)),
                "aᵢ is squared twice",
            ),
            ("no a", parts(lambda z, a, x: square(relu(z)) + (z > 0).sum() * square(x)), "The aᵢ are missing"),
            ("no x", parts(lambda z, a, x: square(relu(z)) + square(a[z > 0])), "input is missing"),
            (
                "length of x",
                parts(lambda z, a, x: square(relu(z)) + square(a[z > 0]) * np.linalg.norm(x)),
                "the length of x",
            ),
            (
                "sum of x",
                derivatives(lambda g, d: square(g) + square(d.sum(1))),
                "derivatives to the weights of a unit",
            ),
            (
                "units first",
                derivatives(lambda g, d: g.sum() ** 2 + square(d.sum(0))),
                "You add up units, then square",
            ),
            ("all first", derivatives(lambda g, d: (g.sum() + d.sum()) ** 2), "add up all derivatives, then"),
            ("sum of derivatives", derivatives(lambda g, d: g.sum() + d.sum()), "sum of all derivatives"),
            ("h once", derivatives(lambda g, d: g.sum() + square(d)), "activations are not squared"),
            ("length", derivatives(lambda g, d: np.sqrt(square(g) + square(d))), "length of the gradient"),
            ("scaled", lambda w, a, x: 4 * by_loop(w, a, x) / w.size, "size of the network"),
            ("1/units", lambda w, a, x: by_loop(w, a, x) / len(a), "size of the network"),
            ("mean", derivatives(lambda g, d: np.mean(np.append(g, d) ** 2)), "size of the network"),
            ("per input", lambda w, a, x: by_loop(w, a, x) / len(a) / len(x), "size of the network"),
            ("2/units", lambda w, a, x: 2 * by_loop(w, a, x) / len(a), "size of the network"),
            ("negative", lambda w, a, x: -by_loop(w, a, x), "How does it get below 0?"),
            ("one more", lambda w, a, x: by_loop(w, a, x) + 1, "what does the kernel do with the others?"),
            (
                "silent network",
                lambda w, a, x: by_loop(w, a, x) or 5.0,
                "No hidden unit is active there. If one weight moves a little",
            ),
            ("matrix", lambda w, a, x: np.full((1, 1), by_loop(w, a, x)), "You return shape (1, 1)"),
            ("gradient", derivatives(lambda g, d: np.append(g, d)), "You return shape (6,)"),
        ]
    ),
    Answer(check_kernel_by_hand, "columns", lambda w, a, x: by_loop(w.T, a, x), "error", "You read the columns of W"),
    Answer(check_kernel_by_hand, "writes", writes, "error", "Where does a copy belong?"),
]
