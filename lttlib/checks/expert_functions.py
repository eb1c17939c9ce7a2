"""Experts for the exercise on a mixture, and its cases: functions of tokens that remember how many they computed."""

import numpy as np

from lttlib.checks.read_only import read_only


class Expert:
    """tanh(x A) B + b: (..., d) to the same. A copy for another call has computed nothing yet."""

    def __init__(self, number, into, out, bias):
        self.number, self.into, self.out, self.bias = number, into, out, bias
        self.computed = 0

    def __call__(self, x):
        x = np.asarray(x)
        if x.ndim not in (1, 2) or x.shape[-1] != len(self.into):
            raise ValueError(f"an expert maps (n, {len(self.into)}) to the same, and was given {x.shape}")
        self.computed += x.size // len(self.into)
        return np.tanh(x @ self.into) @ self.out + self.bias

    def __deepcopy__(self, memo):
        return Expert(self.number, self.into, self.out, self.bias)

    def __repr__(self):
        return f"expert {self.number}"


def mixture_case(rng, tokens, width, experts, k, kept):
    """(x, chosen, gates, kept, experts). Gates are probabilities, those of dropped choices, too."""
    stack = [
        Expert(e, *rng.normal(size=(2, width, width)), rng.choice([-2.0, 2.0], size=width)) for e in range(experts)
    ]
    powers = np.exp(rng.normal(size=(tokens, experts)))
    chosen = np.argsort(-powers, axis=1)[:, :k]
    gates = np.take_along_axis(powers / powers.sum(1, keepdims=True), chosen, axis=1)
    return *map(read_only, (rng.normal(size=(tokens, width)), chosen, gates, kept)), stack


def mixture_cases(rng):
    """One token and many, one choice and all; nothing dropped, choices, whole tokens, everything; idle experts."""

    def some(tokens, k, share):
        return rng.random((tokens, k)) < share

    return [
        mixture_case(rng, 3, 2, 3, 2, np.array([[1, 1], [1, 0], [0, 0]], dtype=bool)),
        mixture_case(rng, 1, 3, 2, 1, np.array([[True]])),
        mixture_case(rng, 4, 2, 3, 1, np.array([[1], [0], [1], [1]], dtype=bool)),
        mixture_case(rng, 5, 3, 4, 2, np.ones((5, 2), dtype=bool)),
        mixture_case(rng, 4, 3, 3, 2, np.zeros((4, 2), dtype=bool)),
        mixture_case(rng, 6, 2, 9, 2, some(6, 2, 0.7)),
        mixture_case(rng, 9, 4, 3, 3, some(9, 3, 0.6)),
        mixture_case(rng, 60, 5, 8, 2, some(60, 2, 0.8)),
    ]
