"""Right and wrong answers to the exercise on what a router learns."""

import math

import numpy as np
import torch
from proof import Answer, solutions

from lttlib.checks.router_gradient import check_router_gradient
from lttlib.moe.routing import choose

router_gradient = solutions("mixture_of_experts").router_gradient


def by_autograd(logits, slopes, k, softmax):
    z = torch.tensor(logits, requires_grad=True)
    chosen, gates = choose(z[None], k, softmax=softmax)
    (gates[0] * torch.tensor(slopes)[chosen[0]]).sum().backward()
    return z.grad


def loss(logits, slopes, chosen, softmax):
    among = range(len(logits)) if softmax == "before" else chosen
    top = max(logits[e] for e in among)
    whole = math.fsum(math.exp(logits[e] - top) for e in among)
    return math.fsum(math.exp(logits[e] - top) / whole * slopes[e] for e in chosen)


def by_differences(logits, slopes, k, softmax):
    """Each logit a little up and a little down; who is chosen stays."""
    z = logits.tolist()
    chosen = sorted(range(len(z)), key=lambda e: -z[e])[:k]
    found = []
    for e in range(len(z)):
        up, down = ([*z[:e], z[e] + step, *z[e + 1 :]] for step in (1e-5, -1e-5))
        found.append((loss(up, slopes, chosen, softmax) - loss(down, slopes, chosen, softmax)) / 2e-5)
    return found


def by_sums(logits, slopes, k, softmax):
    """Entry by entry: dg_e / dz_j = g_e ([e = j] - g_j); the derivative of a ratio, in float32."""
    z = (logits - logits.max()).astype(np.float32)
    chosen = set(np.argsort(logits)[-k:].tolist())
    among = chosen if softmax == "after" else set(range(len(z)))
    whole = sum(np.exp(z[e]) for e in among)
    g = [np.exp(z[e]) / whole if e in among else np.float32(0) for e in range(len(z))]
    return np.array([sum(g[e] * ((e == j) - g[j]) * slopes[e] for e in chosen) for j in range(len(z))])


def probabilities(logits, among, shift=np.max):
    with np.errstate(over="ignore", invalid="ignore"):  # where the shift is too small
        powers = np.exp(logits - shift(logits)) * among
        return powers / powers.sum()


def derived(rule, before=None, after=None, shift=np.max):
    """rule(g, slopes, chosen), or another one for each order; chosen (E,) is 1 or 0."""

    def answer(logits, slopes, k, softmax):
        chosen = (logits >= np.sort(logits)[-k]).astype(float)
        use = {"before": before or rule, "after": after or rule}[softmax]
        g = probabilities(logits, chosen if softmax == "after" else 1.0, shift)
        return use(g, slopes, chosen)

    return answer


def true(g, a, c):
    return g * (c * a - np.sum(g * c * a))


def as_if(order):
    return lambda logits, slopes, k, softmax: by_sums(logits, slopes, k, order(softmax))


def constant_sum(logits, slopes, k, softmax):
    found = np.array(by_differences(logits, slopes, k, "before"))
    if softmax == "before":
        return found
    chosen = logits >= np.sort(logits)[-k]
    return found / probabilities(logits, 1.0)[chosen].sum()


def in_place(logits, slopes, k, softmax):
    logits -= logits.max()
    return router_gradient(logits, slopes, k, softmax)


def math_overflow(logits, slopes, k, softmax):
    """Python's exp raises where numpy's is infinite."""
    chosen = np.argsort(-logits)[:k]
    powers = [math.exp(z) for z in logits]
    among = chosen if softmax == "after" else np.arange(len(logits))
    g = np.zeros(len(logits))
    g[among] = np.array(powers)[among] / sum(powers[e] for e in among)
    return true(g, slopes, np.isin(np.arange(len(logits)), chosen).astype(float))


ROUTER = [
    Answer(check_router_gradient, "solution", router_gradient),
    Answer(check_router_gradient, "autograd of the library", by_autograd),
    Answer(check_router_gradient, "differences, a list", by_differences),
    Answer(check_router_gradient, "sums, float32", by_sums),
    Answer(check_router_gradient, "in place", in_place, "error", "writes into one of its arguments"),
    Answer(check_router_gradient, "math.exp", math_overflow, "error", "Right but where logits are large"),
    *(
        Answer(check_router_gradient, name, function, "wrong", says)
        for name, function, says in [
            ("chosen logits only", derived(true, before=lambda g, a, c: c * true(g, a, c)), "only chosen logits have a gradient"),
            ("always after", as_if(lambda softmax: "after"), "after the selection always"),
            ("always before", as_if(lambda softmax: "before"), "before the selection always"),
            ("swapped", as_if({"before": "after", "after": "before"}.get), "two orders swapped"),
            ("all slopes", derived(lambda g, a, c: g * (a - np.sum(g * a))), "that are not chosen count"),
            ("all experts", lambda z, a, k, softmax: by_sums(z, a, len(z), softmax), "which uses every expert"),
            ("gate times slope", derived(lambda g, a, c: g * a * c), "A gate grows in proportion"),
            ("own gate", derived(lambda g, a, c: (g - g**2) * a * c), "moves its own gate only"),
            ("other gates", derived(lambda g, a, c: -g * (np.sum(g * a * c) - g * a * c)), "only the gates of others"),
            ("slopes", derived(lambda g, a, c: a * c), "the slopes by the gates"),
            ("gates", derived(lambda g, a, c: g * c), "These are the gates"),
            ("sum a constant", constant_sum, "as if it were a constant"),
            ("plain mean", derived(lambda g, a, c: g * (c * a - np.sum(c * a) / c.sum())), "the plain mean of the slopes"),
            ("downhill", derived(lambda g, a, c: -true(g, a, c)), "In which direction does a gradient point"),
            ("the loss", lambda z, a, k, softmax: loss(z, a, np.argsort(-z)[:k], softmax), "This is one number"),
            ("overflow", derived(true, shift=lambda z: 0), "Right but where logits are large"),
            *((f"overflow, shifted by {name}", derived(true, shift=shift), "you return numbers that are not finite")
              for name, shift in {"least": np.min, "mean": np.mean, "middle": np.median, "first": lambda z: z[0]}.items()),
            ("signs of zero", derived(lambda g, a, c: -0.0 * g), "you return 0 for expert"),
            ("columns of the Jacobian", lambda z, a, k, softmax: (np.diag(z) - np.diag(z)).sum(0) + 1e-17, "Which gates move"),
            ("not finite", derived(lambda g, a, c: true(g, a, c) * np.nan), "you return numbers that are not finite"),
            ("not chosen, after", derived(true, after=lambda g, a, c: true(g, a, c) + 1 - c), "Does its logit enter"),
            ("does not add up", derived(lambda g, a, c: true(g, a, c) + 0.1 * c), "all logits rise by the same"),
            ("twice", derived(lambda g, a, c: 2 * true(g, a, c)), "what does each of them do to the loss"),
            ("one each for the chosen", lambda z, a, k, softmax: by_sums(z, a, k, softmax)[:k], "adds, removes or swaps axes"),
        ]
    ),
]  # fmt: skip
