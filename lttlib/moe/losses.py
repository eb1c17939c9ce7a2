"""Losses that keep a router healthy: load balance in four conventions, and the z-loss.

    balance    E * sum_e f_e P_e    f_e: how often expert e is chosen (no gradient); P_e: its mean probability
    z          mean over tokens of logsumexp(logits)^2

Fedus et al. 2022, arXiv:2101.03961; Zoph et al. 2022, arXiv:2202.08906. For k > 1 published code counts f in four ways.
Of several layers compute the loss of each and average: pooled before they are multiplied, imbalances cancel.
Book: "Mixture of experts".
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lttlib.arguments import require, require_choice
from lttlib.moe.routing import choose, require_logits

CONVENTIONS = ("switch", "sum", "mean", "square")


def load_balance_loss(logits: Tensor, k: int, *, convention: str) -> Tensor:
    """E * sum_e f_e P_e, a scalar. logits: (T, E) before the softmax; P: mean over tokens of the softmax.

    f counts choices over the T tokens, before any is dropped. convention: "switch" counts first choices only, and is 1
    at balance; "sum" counts all k choices, k at balance; "mean" those divided by k, 1 at balance; "square" divided by
    k * k, 1 / k at balance. With k = 1 all are the same. These values are no lower bounds: see at_balance.
    The gradient goes through P alone. Ties: the lowest expert is chosen.
    """
    return balance_of(choose(logits, k)[0], logits, convention=convention)


def balance_of(
    chosen: Tensor, logits: Tensor, *, convention: str, average: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """load_balance_loss of choices already made. chosen: (T, k) int64; logits: (T, E) they were made from.

    average: what f and P, stacked as (2, E), go through before they are multiplied. Processes that share a batch average
    them here: the mean of their losses is not the loss of the whole batch.
    """
    require_choice(convention, CONVENTIONS, "convention")
    (tokens, experts), k = logits.shape, chosen.shape[1]
    counted = chosen[:, :1] if convention == "switch" else chosen
    divisor = {"switch": 1, "sum": 1, "mean": k, "square": k * k}[convention]
    share = torch.bincount(counted.flatten(), minlength=experts).to(logits.dtype) / (tokens * divisor)
    both = torch.stack([share, logits.softmax(1).mean(0)])
    share, probability = both if average is None else average(both)
    return experts * (share * probability).sum()


def at_balance(k: int, *, convention: str) -> float:
    """What load_balance_loss is when f or P is the same for all experts. Not its minimum.

    Tokens with probabilities (.51, 0, .49) and (0, .51, .49) leave the third expert idle, and score .765 with k = 1.
    """
    require_choice(convention, CONVENTIONS, "convention")
    require(k >= 1, "k", k, "1 or more", "it counts the experts of a token")
    return {"switch": 1.0, "sum": float(k), "mean": 1.0, "square": 1 / k}[convention]


def z_loss(logits: Tensor) -> Tensor:
    """Mean over tokens of logsumexp(logits)^2, a scalar that keeps logits small. logits: (T, E), not probabilities."""
    require_logits(logits)
    return logits.logsumexp(1).square().mean()


def effective_experts(load: Tensor) -> float:
    """How many experts are in use: exp of the entropy of the shares load, (E,), whose sum is 1; from 1 to E."""
    total = load.sum().item()
    require(load.ndim == 1 and abs(total - 1) < 1e-4 and bool((load >= 0).all()), "load", load.tolist(),
            "shares of one whole", "pass the load of a Dispatch")  # fmt: skip
    return torch.special.entr(load).sum().exp().item()
