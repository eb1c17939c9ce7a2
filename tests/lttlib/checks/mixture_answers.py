"""Right and wrong answers to the exercise on the output of a mixture."""

import numpy as np
import torch
from proof import Answer, solutions

from lttlib.checks.mixture_output import check_mixture
from lttlib.moe.layer import mix_by_loop
from lttlib.moe.routing import Dispatch

mixture = solutions("mixture_of_experts").mixture
NOTE = "what is left of the computation that a mixture saves"


def by_tokens(x, chosen, gates, kept, experts):
    """One token and one expert after the other, rows of shape (d,)."""
    return [
        sum(
            (g * experts[e](row) for e, g, k in zip(es, gs, ks, strict=True) if k),
            start=np.zeros(len(row)),
        )
        for row, es, gs, ks in zip(x, chosen, gates, kept, strict=True)
    ]


def by_sorting(x, chosen, gates, kept, experts):
    """All kept pairs sorted by expert; what belongs to one token is added up by np.add.at."""
    pairs = np.flatnonzero(kept)
    pairs = pairs[chosen.flat[pairs].argsort(kind="stable")]
    rows = x[pairs // kept.shape[1]]
    ends = np.bincount(chosen.flat[pairs], minlength=len(experts)).cumsum()[:-1]
    parts = np.split(rows, ends)
    answers = np.concatenate([expert(part) for expert, part in zip(experts, parts, strict=True)])
    y = np.zeros(x.shape)
    np.add.at(y, pairs // kept.shape[1], gates.flat[pairs][:, None] * answers)
    return y.astype(np.float32)


def by_library(x, chosen, gates, kept, experts):
    routing = Dispatch(*map(torch.tensor, (chosen, gates * kept, chosen, kept)), capacity=len(x), experts=len(experts))

    def compute(rows, counts):
        parts = rows.split(counts.tolist())
        return torch.cat([torch.tensor(expert(part)) for expert, part in zip(experts, parts, strict=True)])

    return mix_by_loop(torch.tensor(x), routing, compute)


def all_masked(x, chosen, gates, kept, experts):
    """Every expert computes every token; a (T, E) matrix of weights chooses."""
    weights = np.zeros((len(x), len(experts)))
    np.put_along_axis(weights, chosen, gates * kept, axis=1)
    return np.einsum("te,etd->td", weights, [expert(x) for expert in experts])


def only_the_chosen(x, chosen, gates, kept, experts):
    """Dropped choices are computed, too, and then left out."""
    return per_pair(lambda g, k: g * k)(x, chosen, gates, kept, experts)


def per_pair(weigh, finish=lambda y, x, gates, kept: y, read=lambda row, g, k: row, which=lambda e, s: e):
    """weigh(gates (k,), kept (k,)): the weights of one token's answers."""

    def answer(x, chosen, gates, kept, experts):
        y = np.zeros(x.shape)
        for t in range(len(x)):
            weights = weigh(gates[t], kept[t])
            for s, e in enumerate(chosen[t]):
                y[t] = y[t] + weights[s] * experts[which(e, s)](read(x[t], gates[t, s], kept[t, s]))
        return finish(y, x, gates, kept)

    return answer


def right(gates, kept):
    return gates * kept


def to_one(weights):
    return weights / weights.sum() if weights.sum() else weights


def first(count):
    return np.arange(count) == 0


def lone(kept):
    return ~kept.any(1, keepdims=True)


def written_by_expert(x, chosen, gates, kept, experts):
    y = np.zeros_like(x)
    for e, expert in enumerate(experts):
        token, slot = np.nonzero((chosen == e) & kept)
        y[token] = gates[token, slot][:, None] * expert(x[token])
    return y


def written_by_slot(x, chosen, gates, kept, experts):
    y = np.zeros_like(x)
    for s in range(chosen.shape[1]):
        for t in np.flatnonzero(kept[:, s]):
            y[t] = gates[t, s] * experts[chosen[t, s]](x[t])
    return y


def lost_by_fancy_addition(x, chosen, gates, kept, experts):
    """y[tokens] += ... for all pairs at once: of several for one token the last remains."""
    tokens, slots = np.nonzero(kept)
    y = np.zeros_like(x)
    answers = [experts[chosen[t, s]](x[t]) for t, s in zip(tokens, slots, strict=True)]
    if answers:
        y[tokens] += gates[tokens, slots][:, None] * np.array(answers)
    return y


def given_columns(x, chosen, gates, kept, experts):
    return sum(expert(x[:, :1]) for expert in experts)


def x_in_place(x, chosen, gates, kept, experts):
    x[~kept.any(1)] = 0
    return mixture(x, chosen, gates, kept, experts)


MIXTURE = [
    Answer(check_mixture, "solution", mixture),
    Answer(check_mixture, "token by token", by_tokens),
    Answer(check_mixture, "sorted pairs, float32", by_sorting),
    Answer(check_mixture, "library, torch", by_library),
    Answer(check_mixture, "all experts, masked", all_masked, "right", NOTE),
    Answer(check_mixture, "dropped ones computed", only_the_chosen, "right", NOTE),
    Answer(check_mixture, "in place", x_in_place, "error", "writes into one of its arguments"),
    Answer(check_mixture, "columns", given_columns, "error", "something else than rows of x"),
    *(
        Answer(check_mixture, name, function, "wrong", says)
        for name, function, says in [
            ("dropped tokens are x", per_pair(right, lambda y, x, g, k: y + lone(k) * x), "comes back unchanged"),
            ("dropped choices are p x", per_pair(right, lambda y, x, g, k: y + (g * (1 - k)).sum(1)[:, None] * x),
             "adds gate · x here"),
            ("dropped tokens are p x", per_pair(right, lambda y, x, g, k: y + lone(k) * g.sum(1, keepdims=True) * x),
             "comes back as gate · x"),
            ("residual", per_pair(right, lambda y, x, g, k: x + y), "or around it"),
            ("nothing dropped", per_pair(lambda g, k: g), "Dropped choices count here"),
            ("kept gates to 1", per_pair(lambda g, k: to_one(g * k)), "add up to 1 for each token"),
            ("all gates to 1", per_pair(lambda g, k: to_one(g) * k), "add up to 1 for each token"),
            ("no gates", per_pair(lambda g, k: k.astype(float)), "counts in full"),
            ("mean", per_pair(lambda g, k: to_one(k.astype(float))), "the plain mean"),
            ("mean of weighted", per_pair(lambda g, k: g * k / (k.sum() or 1)), "by the number of answers"),
            ("over k", per_pair(lambda g, k: g * k / len(k)), "by the number of choices"),
            ("first", per_pair(lambda g, k: g * k * first(len(k))), "Only first choices answer"),
            ("first gate", per_pair(lambda g, k: g[0] * k), "the gate of the first choice"),
            ("all or nothing", per_pair(lambda g, k: g * k.all()), "loses the others here"),
            ("dropped", per_pair(lambda g, k: g * ~k), "choices that are dropped"),
            ("overwritten by experts", written_by_expert, "writes where it should add"),
            ("overwritten by slots", written_by_slot, "writes where it should add"),
            ("+= with an array of places", lost_by_fancy_addition, "writes where it should add"),
            ("gates inside", per_pair(lambda g, k: k, read=lambda row, g, k: g * row), "multiply what the experts read"),
            ("zeros computed", per_pair(lambda g, k: g, read=lambda row, g, k: row * k), "as a row of zeros"),
            ("slots for experts", per_pair(right, which=lambda e, s: s), "taken for the number of the expert"),
            ("gates squared", per_pair(lambda g, k: g**2 * k), "Which of these count"),
            ("something for nothing", per_pair(right, lambda y, x, g, k: y + 100 * lone(k)), "a sum without terms"),
            ("transposed", per_pair(right, lambda y, x, g, k: y.T), "adds, removes or swaps axes"),
        ]
    ),
]  # fmt: skip
