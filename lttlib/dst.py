"""Dynamic sparse training, one step: drop the weakest connections of a layer, grow as many elsewhere.

    kept   the live weights without the k smallest |w|, k = floor(fraction * live)
    SET    kept, and k drawn at random from all other places   Mocanu et al. 2018, arXiv:1707.04780
    RigL   kept, and the k largest |dL/dw| of all other places   Evci et al. 2020, arXiv:1911.11134

"All other places" holds those that were just dropped, so a weight may return at once. Book: "Masks that move".
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from lttlib.arguments import require, require_choice, require_finite, require_mask, require_same_keys
from lttlib.masks import Tensors, density, erk_densities, keep_count, topk_mask
from lttlib.schedules import cubic_sparsity

DISTRIBUTIONS = ("uniform", "er", "erk")


def set_step(weight: Tensor, mask: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Mask after one step of SET; keeps mask.sum() exactly.

    weight, mask (bool, True = live): one shape. fraction: share of the live weights to drop, in [0, 1]. What is grown
    is drawn from everything not kept. Mocanu et al. drop a share of the positive weights and one of the negative ones,
    those nearest to 0; we drop the smallest |w| of both together, as RigL's authors did when they compared with SET.
    """
    require(generator is not None, "generator", None, "a torch.Generator", "torch.Generator().manual_seed(0)")
    kept, k = _drop(weight, mask, fraction)
    free = (~kept).flatten().nonzero().squeeze(1)
    chosen = torch.randperm(len(free), generator=generator, device=generator.device)[:k]
    grown = kept.flatten()
    grown[free[chosen.to(free.device)]] = True
    return grown.view(mask.shape)


def rigl_step(weight: Tensor, grad: Tensor, mask: Tensor, fraction: float) -> Tensor:
    """Mask after one step of RigL; keeps mask.sum() exactly.

    weight, grad (dL/dweight, dense: also where the mask is False), mask (bool, True = live): one shape. fraction:
    share of the live weights to drop, in [0, 1]. Ties: the lowest flat index is kept, and grown, first.
    """
    require(grad is not None and grad.shape == mask.shape, "grad.shape", None if grad is None else tuple(grad.shape),
            f"{tuple(mask.shape)}", "pass the gradient of the whole weight, backward() first")  # fmt: skip
    require_finite(grad, "grad")
    kept, k = _drop(weight, mask, fraction)
    return kept | topk_mask(grad.detach().abs().masked_fill(kept, -math.inf), k)


def magnitude_step(weight: Tensor, mask: Tensor, live: int) -> Tensor:
    """Mask of the `live` largest |w| among the live ones: a step of gradual magnitude pruning, nothing grows.

    weight, mask (bool, True = live): one shape. Zhu & Gupta 2018, arXiv:1710.01878; see gradual_count.
    """
    require_mask(mask, weight.shape)
    require_finite(weight[mask], "live weights")
    before = int(mask.sum())
    require(0 <= live <= before, "live", live, f"0 to {before}, the live weights", "pruning never grows a mask")
    return _strongest(weight, mask, live)


def exploration_rate(masks_seen: Iterable[Tensor | Tensors]) -> float:
    """R_s of Liu et al. 2021 (arXiv:2102.02887): the share of weights that were live at least once.

    masks_seen: the masks of one layer over time, or the masks of a model (dicts by parameter name), in any order; bool,
    True = live. All entries of all masks given count, those of layers kept dense, too.
    """
    ever: dict[str, Tensor] = {}
    for seen in masks_seen:
        masks = {"mask": seen} if isinstance(seen, Tensor) else seen
        if not ever:
            ever = {name: torch.zeros_like(mask, dtype=torch.bool) for name, mask in masks.items()}
        require_same_keys(masks, ever, "masks_seen", "the first masks")
        for name, mask in masks.items():
            require_mask(mask, ever[name].shape, f"masks_seen[...][{name!r}]")
            ever[name] |= mask
    require(len(ever) > 0, "masks_seen", "nothing", "at least one mask", "start with the initial masks")
    return density(ever)


def layer_densities(shapes: Mapping[str, Sequence[int]], density: float, distribution: str) -> dict[str, float]:
    """Density of each layer. shapes: name to (out, in) or (out, in, kh, kw). density: of all together, in (0, 1].

    distribution: "uniform" the same everywhere, the first layer included; "er" Erdős–Rényi, as in SET; "erk" with the
    kernel's sides counted as well, as in RigL. See masks.erk_densities.
    """
    require_choice(distribution, DISTRIBUTIONS, "distribution")
    if distribution != "uniform":
        return erk_densities(shapes, density, kernel=distribution == "erk")
    require(0 < density <= 1, "density", density, "a number in (0, 1]", "density is 1 - sparsity")
    require(len(shapes) > 0, "shapes", dict(shapes), "at least one layer", "pass {name: tuple(weight.shape)}")
    return dict.fromkeys(shapes, density)


def update_steps(interval: int, end: int) -> range:
    """The steps at which masks move: the multiples of interval (Delta T) with 0 < step < end."""
    require(interval >= 1, "interval", interval, "1 or more", "100 steps are usual")
    require(end >= 0, "end", end, "0 or more", "three quarters of the steps are usual")
    return range(interval, end, interval)


def gradual_count(n: int, density: float, step: int, updates: Sequence[int]) -> int:
    """Live weights of a layer of n after `step` in gradual magnitude pruning: n at first, density * n at the end.

    The sparsity follows schedules.cubic_sparsity from step 0 to the last of the updates and changes only at updates.
    """
    done = [update for update in updates if update <= step]
    if not done:
        return n
    return keep_count(n, cubic_sparsity(done[-1], start=0, end=updates[-1], final=1 - density))


def _drop(weight: Tensor, mask: Tensor, fraction: float) -> tuple[Tensor, int]:
    """(mask of what is kept, how many were dropped): the smallest |w| of the live weights go."""
    require_mask(mask, weight.shape)
    require(0 <= fraction <= 1, "fraction", fraction, "a number in [0, 1]", "it is a share of the live weights")
    require_finite(weight[mask], "live weights")
    live = int(mask.sum())
    dropped = math.floor(fraction * live + 1e-9)  # 0.29 * 100 is 28.999...: the slack of keep_count
    return _strongest(weight, mask, live - dropped), dropped


def _strongest(weight: Tensor, mask: Tensor, count: int) -> Tensor:
    """Mask of the `count` largest |w| among the live ones."""
    chosen = torch.zeros_like(mask)
    chosen[mask] = topk_mask(weight[mask].detach().abs(), count)
    return chosen
