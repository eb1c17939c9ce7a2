"""Right and wrong answers to the exercise on the balance loss."""

from collections import Counter
from fractions import Fraction

import numpy as np
import torch
from proof import Answer, solutions

from lttlib.checks.balance_loss import check_balance_loss
from lttlib.moe import load_balance_loss

balance_loss = solutions("mixture_of_experts").balance_loss


def by_library(probabilities):
    return load_balance_loss(torch.tensor(probabilities).clamp(min=1e-300).log(), 1, convention="switch")


def by_counting(probabilities):
    """Fractions, expert by expert."""
    rows = probabilities.tolist()
    load = Counter(max(range(len(row)), key=row.__getitem__) for row in rows)
    exact = [[Fraction(p) for p in row] for row in rows]
    return sum(
        Fraction(load[e], len(rows)) * sum(row[e] for row in exact) / len(rows) * len(rows[0])
        for e in range(len(rows[0]))
    )


def by_mean_of_products(probabilities):
    """The mean over experts, times the number of experts twice, as in published code."""
    hard = probabilities == probabilities.max(1, keepdims=True)
    return np.float32(np.mean(hard.mean(0) * probabilities.mean(0)) * probabilities.shape[1] ** 2)


def winners(p):
    return (p == p.max(1, keepdims=True)).astype(float)


def made(f=lambda p: winners(p).mean(0), big_p=lambda p: p.mean(0), factor=lambda tokens, experts: experts):
    return lambda p: factor(*p.shape) * np.dot(f(p), big_p(p))


def mean_of_those_who_come(p):
    went = winners(p).astype(bool)
    return np.array([p[went[:, e], e].mean() if went[:, e].any() else 0.0 for e in range(p.shape[1])])


def softmax_again(p):
    powers = np.exp(p - p.max(1, keepdims=True))
    return (powers / powers.sum(1, keepdims=True)).mean(0)


def in_place(p):
    p /= p.sum(1, keepdims=True)
    return made()(p)


BALANCE = [
    Answer(check_balance_loss, "solution", balance_loss),
    Answer(check_balance_loss, "library, torch", by_library),
    Answer(check_balance_loss, "fractions", by_counting),
    Answer(check_balance_loss, "E squared times a mean, float32", by_mean_of_products),
    Answer(check_balance_loss, "writes", in_place, "error", "writes into one of its arguments"),
    *(
        Answer(check_balance_loss, name, function, "wrong", says)
        for name, function, says in [
            ("soft f", made(f=lambda p: p.mean(0)), "mean probabilities for f as well"),
            ("hard P", made(big_p=lambda p: winners(p).mean(0)), "hard shares for P as well"),
            ("no E", made(factor=lambda tokens, experts: 1), "value at balance depends on the number of experts"),
            ("mean over experts", lambda p: np.mean(winners(p).mean(0) * p.mean(0)), "which factor makes it 1"),
            ("E squared", made(factor=lambda tokens, experts: experts**2), "which factor makes it 1"),
            ("P a sum", made(big_p=lambda p: p.sum(0)), "Numbers of tokens are left"),
            ("f a count", made(f=lambda p: winners(p).sum(0)), "Numbers of tokens are left"),
            ("both sums", made(lambda p: winners(p).sum(0), lambda p: p.sum(0)), "Numbers of tokens are left"),
            ("P of the chosen", made(big_p=lambda p: np.where(winners(p), p, 0).mean(0)), "Only the probabilities of chosen"),
            ("P among its own", made(big_p=mean_of_those_who_come), "only for the expert that it goes to"),
            ("token by token", lambda p: p.shape[1] * (winners(p) * p).sum(1).mean(), "only for the expert that it goes to"),
            ("P over all", made(big_p=lambda p: np.full(p.shape[1], p.mean())), "You return 1 whatever"),
            ("both over all", lambda p: p.shape[1] * winners(p).mean() * p.mean(), "You return 1 / E whatever"),
            ("smallest", made(f=lambda p: np.eye(p.shape[1])[p.argmin(1)].mean(0)), "the smallest probability"),
            ("above even", made(f=lambda p: (p * p.shape[1] > 1).mean(0)), "above an even share"),
            ("softmax again", made(big_p=softmax_again), "a softmax of probabilities"),
            ("minus 1", lambda p: made()(p) - 1, "You subtract the value at balance"),
            ("negative", lambda p: -made()(p), "Your value is negative"),
            ("each expert", lambda p: winners(p).mean(0) * p.mean(0) * p.shape[1], "a number for each expert"),
            ("too large", lambda p: made()(p) + 2 * p.shape[1], "Between which values"),
            ("squares", made(big_p=lambda p: (p**2).mean(0)), "their products add up to"),
            ("a gradient", lambda p: np.tile(winners(p).mean(0), (len(p), 1)), "the task asks for a single number"),
        ]
    ),
]  # fmt: skip
