"""Five ways to prune a ReLU network at random, and the tangent kernel that each has at infinite width.

Yang & Wang 2022, arXiv:2203.14328, Theorem 1.1: L hidden layers; every matrix but the input's is pruned, each weight
kept with probability kappa (the paper's alpha); only survivors are differentiated. Then the kernel tends to kappa^L
Theta. The exponent is L for every layer's share: the forward and backward passes lose a factor kappa at each pruned
matrix but the layer's own, whose mask gives the missing one. The input layer has no mask: L factors, all backward.
Other conventions treat that own mask, or the scale, otherwise, so write Theta = T1 + T2: T1 the input layer's share.

    variant         what it means                                                          limit
    survivors       as above                                                               kappa^L T1 + kappa^L T2
    all_weights     df / d(w m) for pruned weights, too                                    kappa^L T1 + kappa^(L-1) T2
    rescaled        layers compute with W M / sqrt(kappa), gradients with respect to W     T1 + T2
    rescaled_once   W <- W M / sqrt(kappa) at the start, gradients with respect to it      T1 + kappa T2
    magnitude       the share kappa of largest |w| survives, v = E[w^2; kept]              v^L T1 + kappa v^(L-1) T2

"Rescaling restores the kernel" is true of one of the two rescaled forms only. What has no such law: networks with
biases, whose covariance 2 kappa E[relu relu] + b^2 is no multiple of the dense one; and a pruned input layer, as the
inputs stay few when the width grows: each unit sees its own part of x, and angles between those parts differ.
Book: "The tangent kernel of a pruned network".
"""

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor
from torch.distributions import Normal

from lttlib.arguments import require, require_choice
from lttlib.masks import keep_count, topk_mask
from lttlib.ntk import empirical_contributions, relu_contributions

VARIANTS = ("survivors", "all_weights", "rescaled", "rescaled_once", "magnitude")


def magnitude_energy(keep: float) -> float:
    """v = E[w^2; |w| > t] of w from N(0, 1), where P(|w| > t) = keep: what the largest weights hold of the variance.

    By parts, with density phi: v = keep + 2 t phi(t). It lies above keep: 10 % of the weights hold .44 of it.
    """
    _require_keep(keep)
    normal = Normal(*torch.tensor([0.0, 1.0], dtype=torch.float64))
    threshold = -normal.icdf(torch.tensor(keep / 2, dtype=torch.float64))
    return keep + 2 * float(threshold * normal.log_prob(threshold).exp())


def pruning_factors(variant: str, *, keep: float, hidden_layers: int) -> tuple[float, float]:
    """(factor of T1, factor of T2): what is left of the input layer's share and of the others' in the limit."""
    require_choice(variant, VARIANTS, "variant")
    _require_keep(keep)
    _require_layers(hidden_layers)
    if variant == "magnitude":
        energy = magnitude_energy(keep)
        return energy**hidden_layers, keep * energy ** (hidden_layers - 1)
    return {
        "survivors": (keep**hidden_layers, keep**hidden_layers),
        "all_weights": (keep**hidden_layers, keep ** (hidden_layers - 1)),
        "rescaled": (1.0, 1.0),
        "rescaled_once": (1.0, keep),
    }[variant]


def pruned_limit(x: Tensor, x2: Tensor | None = None, *, variant: str, keep: float, hidden_layers: int) -> Tensor:
    """Tangent kernel at infinite width between the rows of x (n, d0) and of x2 (n2, d0) or x: float64 (n, n2)."""
    first, rest = pruning_factors(variant, keep=keep, hidden_layers=hidden_layers)
    terms = relu_contributions(x, x2, hidden_layers=hidden_layers)
    return first * terms[0] + rest * terms[1:].sum(0)


def draw_network(
    features: int,
    width: int,
    hidden_layers: int,
    *,
    keep: float,
    generator: torch.Generator,
    variant: str = "survivors",
    dtype: torch.dtype = torch.float64,
) -> tuple[list[Tensor], list[Tensor | None]]:
    """(weights, masks) of a random network with one output; the input layer's mask is None. On the generator's device.

    Weights from N(0, 1), all drawn before the masks, so that a seed gives the same weights for every keep and variant,
    and the same masks for all variants but "magnitude", which keeps an exact count in each matrix. Weights are not
    masked or scaled yet: network_output(weights, x, masks) is the pruned network.
    """
    require_choice(variant, VARIANTS, "variant")
    _require_keep(keep)
    _require_layers(hidden_layers)
    require(min(features, width) >= 1, "features, width", f"{features}, {width}", "1 or more", "they count units")
    shapes = [(width, features)] + [(width, width)] * (hidden_layers - 1) + [(1, width)]
    place = {"generator": generator, "device": generator.device}
    weights = [torch.randn(shape, dtype=dtype, **place) for shape in shapes]
    masks: list[Tensor | None] = [None]
    for weight in weights[1:]:
        if variant == "magnitude":
            masks.append(topk_mask(weight.abs(), keep_count(weight.numel(), 1 - keep)))
        else:
            masks.append(torch.rand(weight.shape, **place) < keep)
    return weights, masks


def pruned_contributions(
    weights: Sequence[Tensor],
    masks: Sequence[Tensor | None],
    x: Tensor,
    *,
    variant: str,
    keep: float,
    method: str = "auto",
) -> Tensor:
    """What each layer adds to the tangent kernel of a network from draw_network: (layers, n, n); the sum is the kernel.

    x: (n, d0), dtype of the weights. method: as in empirical_contributions. The "rescaled" network is the pruned one
    times keep^(-L/2), as ReLU lets factors pass; so its kernel is that of "survivors" divided by keep^L, draw for draw.
    """
    require_choice(variant, VARIANTS, "variant")
    _require_keep(keep)
    if variant in ("all_weights", "rescaled_once"):
        scale = 1 / math.sqrt(keep) if variant == "rescaled_once" else 1.0
        weights = [w if m is None else w * m * scale for w, m in zip(weights, masks, strict=True)]
    if variant == "all_weights":
        masks = [None] * len(weights)
    terms = empirical_contributions(weights, x, masks, method=method)
    return terms / keep ** (len(weights) - 1) if variant == "rescaled" else terms


def draw_pruned_kernel(
    x: Tensor,
    *,
    variant: str,
    keep: float,
    width: int,
    hidden_layers: int,
    generator: torch.Generator,
    method: str = "auto",
) -> Tensor:
    """Tangent kernel (n, n) of one random network under `variant`; x (n, d0), its dtype is used throughout."""
    drawn = draw_network(
        x.shape[-1], width, hidden_layers, keep=keep, generator=generator, variant=variant, dtype=x.dtype
    )
    weights, masks = ([t if t is None else t.to(x.device) for t in part] for part in drawn)
    return pruned_contributions(weights, masks, x, variant=variant, keep=keep, method=method).sum(0)


def _require_keep(keep: float) -> None:
    fits = isinstance(keep, Real) and not isinstance(keep, bool) and 0 < keep <= 1
    require(fits, "keep", keep, "a number in (0, 1]", "it is the probability that a weight survives")


def _require_layers(hidden_layers: int) -> None:
    whole = isinstance(hidden_layers, int) and not isinstance(hidden_layers, bool)
    require(whole and hidden_layers >= 1, "hidden_layers", hidden_layers, "a whole number, 1 or more",
            "without a hidden layer only the input matrix is left, which is not pruned")  # fmt: skip
