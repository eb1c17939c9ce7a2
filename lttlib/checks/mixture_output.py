"""Check of the exercise on the output of a mixture: each expert computes its tokens, gates weigh the answers.

    y[t] = sum over the kept choices s of token t of gates[t, s] * expert_chosen[t, s](x[t]);  exactly 0 if none is kept

A right answer whose experts compute more pairs than are kept is right, and is told what that costs.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lttlib.checks.answers import Exercise, Mistake, Verdict, numbers, returns
from lttlib.checks.arrays import array_equals
from lttlib.checks.expert_functions import mixture_cases
from lttlib.checks.read_only import WRITTEN


def _answers(x, chosen, experts):
    """What the expert of each choice answers to its token; (T, k, d)."""
    every = np.stack([np.asarray(expert(x)) for expert in experts], axis=1)  # (T, E, d)
    return every[np.arange(len(x))[:, None], chosen]


def _mixture(weigh=lambda gates, kept: gates * kept, after=lambda y, x, gates, kept: y):
    """The output with a part replaced. weigh: (T, k) factors of the answers; after: what is done to y (T, d)."""

    def answer(x, chosen, gates, kept, experts):
        y = np.einsum("tk,tkd->td", weigh(gates, kept), _answers(x, chosen, experts))
        return after(y, x, gates, kept)

    return answer


_reference = _mixture()


def _share(weights):
    """Rows that add up to 1; rows of 0 stay."""
    whole = weights.sum(1, keepdims=True)
    return np.divide(weights, whole, out=np.zeros_like(weights), where=whole > 0)


def _lone(kept):
    """(T, 1): tokens without a kept choice."""
    return ~kept.any(1)[:, None]


def _last_written(order):
    """Each answer overwrites the one before; order(chosen): (T, k), who writes last has the largest."""

    def weigh(x, chosen, gates, kept, experts):
        rank = np.where(kept, order(chosen), -1)
        last = kept & (rank == rank.max(1, keepdims=True))
        return np.einsum("tk,tkd->td", gates * last, _answers(x, chosen, experts))

    return weigh


def _columns(chosen):
    return np.broadcast_to(np.arange(chosen.shape[1]), chosen.shape)


def _gates_inside(x, chosen, gates, kept, experts):
    """The gates multiply what the experts read."""
    y = np.zeros(x.shape)
    for t, s in np.argwhere(kept):
        y[t] += experts[chosen[t, s]](gates[t, s] * x[t])
    return y


def _zeros_computed(x, chosen, gates, kept, experts):
    """A dropped token is a row of zeros, and its expert answers to it."""
    y = np.zeros(x.shape)
    for t, s in np.ndindex(*kept.shape):
        y[t] += gates[t, s] * experts[chosen[t, s]](x[t] * kept[t, s])
    return y


def _slots_for_experts(x, chosen, gates, kept, experts):
    return _reference(x, _columns(chosen), gates, kept, experts)


def _relation(case, found, place):
    x, chosen, gates, kept, experts = case
    token, column = place
    asked = (
        f"Token {token} has chosen = {numbers(chosen[token])} with gates = {numbers(gates[token])} and kept = "
        f"{numbers(kept[token])}. In column "
        f"{column} of its answer you return {numbers(float(found[place]))}"
    )
    if not kept[token].any():
        return f"{asked}. Which of its experts have computed it, and what is a sum without terms?"
    every = ", ".join(
        f"expert {e} {numbers(float(answers[column]))}"
        for e, answers in zip(chosen[token], _answers(x, chosen, experts)[token], strict=True)
    )
    return f"{asked}; there its experts answer: {every}. Which of these count, and with which weight?"


@dataclass(frozen=True)
class MixtureExercise(Exercise):
    """An exercise whose right answers are told if their experts compute what nobody needs."""

    def _examine(self, answer: Callable) -> Verdict:
        verdict = super()._examine(answer)
        if verdict.status != "right":
            return verdict
        given = copy.deepcopy(self.draw_cases()[-1])
        experts = list(given[-1])  # the answer may put others in their places
        try:
            answer(*given)
        except Exception:  # right for all the cases: not what is asked here
            return verdict
        computed, needed = sum(expert.computed for expert in experts), int(given[-2].sum())
        if computed <= needed:
            return verdict
        return Verdict(
            "right",
            f"{verdict.text} Your experts computed {computed} tokens in the largest, though only {needed} choices "
            "are kept. That is right all "
            "the same: but what is left of the computation that a mixture saves?",
        )


_TO_ONE = (
    "Your weights add up to 1 for each token. Does the task say so of the gates, and what becomes of the share of "
    "what is dropped?"
)
_OVERWRITTEN = "A token with several experts gets the answer of one of them. Which line writes where it should add?"

check_mixture = MixtureExercise(
    "mixture",
    mixture_cases,
    array_equals(_reference, _relation),
    "one token to sixty, one choice and all experts, nothing dropped, some and everything, experts without tokens",
    (
        WRITTEN,
        Mistake(
            "An expert was given something else than rows of x. Which rows of x (T, d) does it compute?",
            lambda tried: isinstance(tried[-1][1], ValueError) and "an expert maps" in str(tried[-1][1]),
        ),
        returns(
            _mixture(after=lambda y, x, gates, kept: np.where(_lone(kept), x, y)),
            "A token that no expert computes comes back unchanged here. The residual connection carries it already: "
            "what does a sum without "
            "terms add to it?",
        ),
        returns(
            _mixture(after=lambda y, x, gates, kept: y + (gates * ~kept).sum(1, keepdims=True) * x),
            "A choice that is dropped adds gate · x here, as if an expert had copied the token. Who computed that?",
        ),
        returns(
            _mixture(after=lambda y, x, gates, kept: y + np.where(_lone(kept), gates.sum(1, keepdims=True) * x, 0)),
            "A token that no expert computes comes back as gate · x here. Who computed that?",
        ),
        returns(
            _mixture(after=lambda y, x, gates, kept: y + x),
            "Your answer holds the token itself. Is the residual connection part of this layer, or around it?",
        ),
        returns(
            _mixture(weigh=lambda gates, kept: gates), "Dropped choices count here as the others do. What is kept for?"
        ),
        returns(_mixture(weigh=lambda gates, kept: _share(gates * kept)), _TO_ONE),
        returns(_mixture(weigh=lambda gates, kept: _share(gates) * kept), _TO_ONE),
        returns(
            _mixture(weigh=lambda gates, kept: 1.0 * kept),
            "Every answer counts in full here. Which weight has it in the equation?",
        ),
        returns(
            _mixture(weigh=lambda gates, kept: _share(1.0 * kept)),
            "This is the plain mean of the answers. Which weight has each in the equation?",
        ),
        returns(
            _mixture(weigh=lambda gates, kept: gates * kept / np.maximum(kept.sum(1, keepdims=True), 1)),
            "You divide by the number of answers. Is it a sum or a mean in the task?",
        ),
        returns(
            _mixture(weigh=lambda gates, kept: gates * kept / kept.shape[1]),
            "You divide by the number of choices. Is it a sum or a mean in the task?",
        ),
        returns(
            _mixture(weigh=lambda gates, kept: gates * kept * (np.arange(kept.shape[1]) == 0)),
            "Only first choices answer here. What of the others that are kept?",
        ),
        returns(
            _mixture(weigh=lambda gates, kept: gates[:, :1] * kept),
            "Every answer gets the gate of the first choice. Which gate belongs to which expert?",
        ),
        returns(
            _mixture(weigh=lambda gates, kept: gates * kept.all(1, keepdims=True)),
            "A token with one dropped choice loses the others here. Which of its experts have computed it?",
        ),
        returns(
            _mixture(weigh=lambda gates, kept: gates * ~kept),
            "You add up the choices that are dropped. What is True in kept?",
        ),
        returns(_last_written(lambda chosen: chosen), _OVERWRITTEN),
        returns(_last_written(_columns), _OVERWRITTEN),
        returns(
            _gates_inside,
            "Your gates multiply what the experts read. An expert is not linear: what does a gate multiply in the "
            "equation?",
        ),
        returns(
            _zeros_computed,
            "A dropped token goes to its expert as a row of zeros. What does an expert with biases answer to that?",
        ),
        returns(
            _slots_for_experts,
            "The number of the choice is taken for the number of the expert. What does chosen hold?",
        ),
    ),
)
