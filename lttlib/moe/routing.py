"""Which expert computes which token: top-k with a capacity, and expert choice.

    token choice     each token takes the k experts with its largest logits; an expert has C = ceil(c_f k T / E) places
    expert choice    each expert takes the C = ceil(c_f T / E) tokens that give it the largest probability

T tokens, E experts. Top-k: Shazeer et al. 2017, arXiv:1701.06538; capacity: Lepikhin et al. 2020, arXiv:2006.16668, and
Fedus et al. 2022, arXiv:2101.03961; priority by probability: Riquelme et al. 2021, arXiv:2106.05974; expert choice:
Zhou et al. 2022, arXiv:2202.09368. Published code rounds capacities in many ways; here every capacity is rounded up.
Book: "Mixture of experts".
"""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lttlib.arguments import require, require_choice

PRIORITIES = ("slot", "token", "batch")
SOFTMAX = ("before", "after")


class Pairs(NamedTuple):
    """The pairs of token and expert that are computed, expert by expert, tokens in order within one.

    tokens: (P,) int64. gates: (P,). counts: (E,) int64, pairs of each expert; their sum is P.
    """

    tokens: Tensor
    gates: Tensor
    counts: Tensor


@dataclass(frozen=True, eq=False)
class Dispatch:
    """What dispatch returns: the choices of T tokens, k each, and which of them an expert has room for.

    chosen: (T, k) int64, experts, the best first. gates: (T, k), 0 where a pair is dropped. positions: (T, k) int64,
    place in the expert's queue from 0, counted on for those that are dropped. kept: (T, k) bool, positions < capacity.
    capacity: places of each expert, C. experts: how many there are.
    """

    chosen: Tensor
    gates: Tensor
    positions: Tensor
    kept: Tensor
    capacity: int
    experts: int

    @property
    def load(self) -> Tensor:
        """Share of all T k choices that fall on each expert before any is dropped, (E,) float; the sum is 1."""
        return torch.bincount(self.chosen.flatten(), minlength=self.experts) / self.chosen.numel()

    @property
    def served(self) -> Tensor:
        """Which tokens at least one expert computes, (T,) bool."""
        return self.kept.any(1)

    def pairs(self) -> Pairs:
        """The kept pairs, expert by expert."""
        kept = self.kept.flatten().nonzero().squeeze(1)
        experts = self.chosen.flatten()[kept]
        order = kept[experts.argsort(stable=True)]
        counts = torch.bincount(experts, minlength=self.experts)
        return Pairs(order // self.chosen.shape[1], self.gates.flatten()[order], counts)


@dataclass(frozen=True, eq=False)
class ExpertChoice:
    """What expert_choice returns. tokens: (E, C) int64, the best first; gates: (E, C); total: tokens there were, T."""

    tokens: Tensor
    gates: Tensor
    total: int

    @property
    def capacity(self) -> int:
        """Tokens that each expert takes."""
        return self.tokens.shape[1]

    @property
    def load(self) -> Tensor:
        """The same share for each expert, (E,) float."""
        return torch.full((len(self.tokens),), 1 / len(self.tokens), device=self.tokens.device)

    @property
    def served(self) -> Tensor:
        """Which tokens at least one expert computes, (T,) bool."""
        return torch.bincount(self.tokens.flatten(), minlength=self.total) > 0

    def pairs(self) -> Pairs:
        """All pairs, expert by expert."""
        order = self.tokens.argsort(1)
        counts = torch.full((len(self.tokens),), self.capacity, device=self.tokens.device)
        return Pairs(self.tokens.gather(1, order).flatten(), self.gates.gather(1, order).flatten(), counts)


def choose(logits: Tensor, k: int, *, softmax: str = "before") -> tuple[Tensor, Tensor]:
    """The k experts with the largest logits of each token, best first, and their gates: (chosen, gates), both (T, k).

    logits: (T, E), finite. softmax: "before" the selection takes probabilities over all experts, whose sum over the
    chosen is at most 1, and 1 if k = E; "after" takes the softmax of the chosen logits alone, which is the same
    divided by its sum and sums to 1. With k = 1 "after" makes every gate 1, and the router has no gradient.
    Ties: the lowest expert. Gates carry the gradient, the selection none.
    """
    require_logits(logits)
    require_count(k, logits.shape[1])
    require_choice(softmax, SOFTMAX, "softmax")
    chosen = logits.detach().sort(dim=1, descending=True, stable=True).indices[:, :k]
    if softmax == "before":
        return chosen, logits.softmax(1).gather(1, chosen)
    return chosen, logits.gather(1, chosen).softmax(1)


def dispatch(
    logits: Tensor, k: int, *, capacity_factor: float | None, priority: str = "slot", softmax: str = "before"
) -> Dispatch:
    """Choose k experts for each token, and let them queue for the C = ceil(capacity_factor * k * T / E) places.

    logits: (T, E), finite. capacity_factor: 0 or more, 0 drops everything; None drops nothing (C = T, since a token
    asks an expert once). priority, who queues first: "slot" all first choices in the order of tokens, then all second
    ones, and so on; "token" all choices of the first token, then those of the second; "batch" as "slot", but the token
    with the largest probability first. How many pairs an expert drops is the same for all three. Gates as in choose,
    then 0 where dropped; what is left is not rescaled.
    An autoregressive model must not look ahead: "token" does not. "batch" does, and so does "slot" with k > 1, where a
    second choice waits for the first choices of all later tokens.
    """
    chosen, gates = choose(logits, k, softmax=softmax)
    scores = logits.detach().softmax(1).amax(1) if priority == "batch" else None
    return queue(chosen, gates, logits.shape[1], capacity_factor=capacity_factor, priority=priority, scores=scores)


def queue(
    chosen: Tensor,
    gates: Tensor,
    experts: int,
    *,
    capacity_factor: float | None,
    priority: str = "slot",
    scores: Tensor | None = None,
) -> Dispatch:
    """The Dispatch of choices already made. chosen (int64), gates: (T, k); experts: how many there are.

    scores: (T,), who is first by "batch"; by default the largest gate of each token.
    """
    require_choice(priority, PRIORITIES, "priority")
    tokens, k = chosen.shape
    capacity = tokens if capacity_factor is None else expert_capacity(tokens, k, experts, capacity_factor)
    order = torch.arange(tokens * k, device=chosen.device).view(tokens, k)
    if priority == "batch":
        scores = gates.detach().amax(1) if scores is None else scores
        order = order[scores.argsort(descending=True, stable=True)]
    order = order.flatten() if priority == "token" else order.T.flatten()
    asked = F.one_hot(chosen.flatten()[order], experts)  # (T k, E), in order of priority
    positions = torch.empty_like(order)
    positions[order] = (asked.cumsum(0) * asked).sum(1) - 1
    positions = positions.view(tokens, k)
    kept = positions < capacity
    return Dispatch(chosen, gates.masked_fill(~kept, 0), positions, kept, capacity, experts)


def expert_choice(logits: Tensor, *, capacity_factor: float) -> ExpertChoice:
    """Each expert takes the C = ceil(capacity_factor * T / E) tokens, at most T, that give it the largest probability.

    logits: (T, E), finite. Gates are those probabilities, softmax over the experts; those of one token sum to at most
    1. A token may get no expert, or all. Ties: the lowest token. It looks ahead: not for autoregressive models.
    """
    require_logits(logits)
    tokens, experts = logits.shape
    capacity = expert_capacity(tokens, 1, experts, capacity_factor)
    probabilities = logits.softmax(1).T  # (E, T)
    taken = probabilities.detach().sort(dim=1, descending=True, stable=True).indices[:, :capacity]
    return ExpertChoice(taken, probabilities.gather(1, taken), tokens)


def expert_capacity(tokens: int, k: int, experts: int, capacity_factor: float) -> int:
    """Places of each expert: ceil(capacity_factor * k * tokens / experts).

    With 1e-9 of slack: 1.1 * 100 / 10 is 11.000000000000002, and must not become 12.
    """
    number = isinstance(capacity_factor, Real) and not isinstance(capacity_factor, bool)
    require(number and 0 <= capacity_factor < math.inf, "capacity_factor", capacity_factor, "a number, 0 or more",
            "1 gives each expert an even share of the choices, None in dispatch drops nothing")  # fmt: skip
    return math.ceil(capacity_factor * k * tokens / experts - 1e-9)


def require_logits(logits: Tensor) -> None:
    """Logits are finite floating-point numbers, (T, E), with a token and an expert at least."""
    fits = logits.ndim == 2 and logits.numel() > 0
    require(fits, "logits.shape", tuple(logits.shape), "(tokens, experts), 1 or more of both",
            "flatten batch and sequence into tokens")  # fmt: skip
    require(logits.is_floating_point(), "logits.dtype", logits.dtype, "a floating-point type", "use logits.float()",
            TypeError)  # fmt: skip
    bad = int((~torch.isfinite(logits)).sum())
    require(bad == 0, "logits", f"tensor with {bad} NaN or infinite entries", "finite numbers",
            "look at the training history: did the loss diverge?")  # fmt: skip


def require_count(k: int, experts: int) -> None:
    """k, the experts of a token, is a whole number from 1 to experts."""
    number = isinstance(k, Integral) and not isinstance(k, bool)
    require(number and 1 <= k <= experts, "k", k, f"an integer from 1 to {experts}, the experts", "1 or 2 are usual")
