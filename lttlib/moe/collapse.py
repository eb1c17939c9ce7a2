"""Do experts specialize, do the tokens of one look alike, do all look alike? Numbers for who is sent where.

    matching                   one expert for each known kind of token, so that as many as possible find theirs
    share between experts      between / (between + within): variance of the experts' mean tokens over that of all tokens
    effective dimensions       tr(C)^2 / tr(C^2) of the tokens' covariance C: how many directions carry the variance

A router that is learned pulls tokens toward what stands for their expert; Chi et al. 2022, arXiv:2204.09179, call it
representation collapse. Book: "Mixture of experts".
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lttlib.arguments import require


def matching(who: Tensor) -> tuple[list[int], float]:
    """(experts, share): for each kind of token an expert of its own, and the mean share of a kind that goes there.

    who: (kinds, E), the share of each kind that each expert takes; at least as many experts as kinds. The matching is
    the best one. 1: each kind has its own expert; 1 / E: the experts do not tell the kinds apart.
    """
    fits = who.ndim == 2 and 1 <= who.shape[0] <= who.shape[1]
    require(fits, "who.shape", tuple(who.shape), "(kinds, experts), not more kinds than experts", "transpose it?")
    kinds, experts = linear_sum_assignment(who.numpy(), maximize=True)
    return experts.tolist(), float(who.numpy()[kinds, experts].mean())


def share_between_experts(x: Tensor, expert: Tensor) -> float:
    """Of the variance of tokens x (T, features), the share that the means of the experts' tokens carry: 0 to 1.

    expert: (T,) int64, who takes each token. 0: all experts get the same kind of token; 1: one point for each expert.
    """
    _require_tokens(x)
    require(
        expert.shape == x.shape[:1], "expert.shape", tuple(expert.shape), f"({len(x)},)", "one expert for each token"
    )
    centered = x.double() - x.double().mean(0)
    counts = torch.bincount(expert).clamp(min=1).double()
    means = centered.new_zeros(len(counts), x.shape[1]).index_add(0, expert, centered) / counts[:, None]
    whole = centered.square().sum()
    return (means.square().sum(1) @ torch.bincount(expert).double() / whole).item() if whole > 0 else 0.0


def effective_dimensions(x: Tensor) -> float:
    """How many directions carry the variance of tokens x (T, features): 1 to features; 0 if all tokens are equal."""
    _require_tokens(x)
    covariance = torch.cov(x.double().T).reshape(x.shape[1], x.shape[1])
    total = covariance.trace()
    return (total.square() / covariance.square().sum()).item() if total > 0 else 0.0


def _require_tokens(x: Tensor) -> None:
    fits = x.ndim == 2 and len(x) >= 2 and x.shape[1] >= 1
    require(fits, "x.shape", tuple(x.shape), "(tokens, features), 2 tokens or more", "flatten batch and sequence")
    require(bool(torch.isfinite(x).all()), "x", "tensor with NaN or infinite entries", "finite numbers",
            "look at the training history: did the loss diverge?")  # fmt: skip
