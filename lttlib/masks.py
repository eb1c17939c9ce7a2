"""Masks with exact counts: top-k, global and per layer, N:M, constant fan-in, Erdős–Rényi-Kernel densities.

A mask is a bool tensor, True = live. The masks of a model are a dict from parameter name to mask.
Ties are broken by position: the lowest flat index wins. Book: "Optimal Brain Damage" and every chapter after it.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lttlib.arguments import require, require_choice, require_finite, require_mask, require_same_keys, require_sparsity

Tensors = Mapping[str, Tensor]


def keep_count(n: int, sparsity: float) -> int:
    """Number of live entries among n at the given sparsity: n - floor(sparsity * n).

    The zeros are floored, with 1e-9 of slack: int(1000 * (1 - 0.9)) would be 99, because 1 - 0.9 is 0.0999...
    """
    require(n >= 0, "n", n, "a count of entries, 0 or more", "pass tensor.numel()")
    require_sparsity(sparsity)
    return n - math.floor(sparsity * n + 1e-9)


def topk_mask(scores: Tensor, k: int) -> Tensor:
    """Bool mask, shape of scores, that is True at the k largest scores. Infinite scores are allowed, NaN is not."""
    require(
        0 <= k <= scores.numel(), "k", k, f"0 to {scores.numel()}, the number of scores", "use keep_count(n, sparsity)"
    )
    missing = int(torch.isnan(scores).count_nonzero())
    require(missing == 0, "scores", f"tensor with {missing} NaN entries", "numbers that can be ranked",
            "look at the training history: did the loss diverge?")  # fmt: skip
    if k == 0:
        return torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
    flat = scores.detach().flatten()
    least = _kth_largest(flat, k)
    mask = flat > least
    ties = (flat == least).nonzero().squeeze(1)
    mask[ties[: k - int(mask.sum())]] = True
    return mask.view(scores.shape)


def _kth_largest(flat: Tensor, k: int) -> float:
    """Masks that move are chosen again and again: on a processor numpy finds the place ten times as fast as torch."""
    place = flat.numel() - k
    if flat.device.type == "cpu" and flat.dtype in (torch.float32, torch.float64):
        return np.partition(flat.numpy(), place)[place].item()
    return flat.kthvalue(place + 1).values.item()


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that may be pruned, by parameter name: those of Linear and Conv layers, never biases or norms."""
    layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return {
        f"{name}.weight" if name else "weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, layers)
    }


def mask_by_scores(scores: Tensors, sparsity: float, *, scope: str, masks: Tensors | None = None) -> dict[str, Tensor]:
    """Masks that keep the highest scores.

    scores: name to tensor, any shapes. sparsity: share removed of ALL entries, counted from dense.
    scope: "global" ranks all tensors together, "layer" keeps the same share of each. masks: earlier masks; what they
    removed stays removed. Raises ValueError where the earlier masks leave too few live entries.
    """
    require_choice(scope, ("global", "layer"), "scope")
    require_sparsity(sparsity)
    require(len(scores) > 0, "scores", "{}", "at least one tensor", "pass the scores of prunable(model)")
    if masks is not None:
        require_same_keys(masks, scores, "masks", "scores")
        for name in scores:
            require_mask(masks[name], scores[name].shape, f"masks[{name!r}]")
    groups = [list(scores)] if scope == "global" else [[name] for name in scores]
    result: dict[str, Tensor] = {}
    for names in groups:
        flat = torch.cat([scores[name].flatten() for name in names])
        keep = keep_count(flat.numel(), sparsity)
        live = flat.numel() if masks is None else sum(int(masks[name].sum()) for name in names)
        require(keep <= live, "sparsity", sparsity, f"at least {1 - live / flat.numel():.4g}",
                f"the given masks leave only {live} of {flat.numel()} weights of {names} and masks never grow")  # fmt: skip
        alive = torch.ones_like(flat, dtype=torch.bool)
        if masks is not None:
            alive = torch.cat([masks[name].flatten() for name in names])
        chosen_flat = torch.zeros_like(alive)
        chosen_flat[alive] = topk_mask(flat[alive], keep)  # among the live only: their score, too, may be -inf
        chosen = chosen_flat.split([scores[name].numel() for name in names])
        result |= {name: part.view(scores[name].shape) for name, part in zip(names, chosen, strict=True)}
    return result


def magnitude_masks(
    weights: Tensors, sparsity: float, *, scope: str, masks: Tensors | None = None
) -> dict[str, Tensor]:
    """Masks that keep the largest |w| (Han et al. 2015, arXiv:1506.02626). Arguments as in mask_by_scores."""
    for name, weight in weights.items():
        require_finite(weight, f"weights[{name!r}]")
    return mask_by_scores({n: w.detach().abs() for n, w in weights.items()}, sparsity, scope=scope, masks=masks)


def erk_densities(shapes: Mapping[str, Sequence[int]], density: float, *, kernel: bool = True) -> dict[str, float]:
    """Density of each layer after Erdős–Rényi-Kernel (Evci et al. 2020, arXiv:1911.11134), not rounded to counts.

    shapes: name to (out, in) or (out, in, kh, kw). density: share of all weights kept, in (0, 1].
    A layer's density is c * sum(dims) / prod(dims), c solved for the total; a layer that would pass 1 is kept dense
    and c solved again. kernel=False is Erdős–Rényi: only (out, in) enter, as in SET.
    """
    require(0 < density <= 1, "density", density, "a number in (0, 1]", "density is 1 - sparsity")
    require(len(shapes) > 0, "shapes", dict(shapes), "at least one layer", "pass {name: tuple(weight.shape)}")
    size = {name: math.prod(shape) for name, shape in shapes.items()}
    dims = {name: tuple(shape) if kernel else tuple(shape)[:2] for name, shape in shapes.items()}
    raw = {name: sum(d) / math.prod(d) for name, d in dims.items()}
    dense: set[str] = set()
    while True:
        sparse = [name for name in shapes if name not in dense]
        budget = density * sum(size.values()) - sum(size[name] for name in dense)
        c = budget / sum(raw[name] * size[name] for name in sparse) if sparse else 0.0
        over = {name for name in sparse if c * raw[name] > 1}
        if not over:
            return {name: 1.0 if name in dense else c * raw[name] for name in shapes}
        dense |= over  # c only grows when they leave, so none of them would come back under 1


def random_masks(
    shapes: Mapping[str, Sequence[int]], densities: Mapping[str, float], generator: torch.Generator
) -> dict[str, Tensor]:
    """Random masks with exact counts: n - floor((1 - density) * n) live entries in each layer."""
    require_same_keys(densities, shapes, "densities", "shapes")
    require(generator is not None, "generator", None, "a torch.Generator", "torch.Generator().manual_seed(0)")
    masks = {}
    for name, shape in shapes.items():
        require(
            0 < densities[name] <= 1, f"densities[{name!r}]", densities[name], "a number in (0, 1]", "see erk_densities"
        )
        n = math.prod(shape)
        order = torch.randperm(n, generator=generator, device=generator.device)
        mask = torch.zeros(n, dtype=torch.bool, device=generator.device)
        mask[order[: keep_count(n, 1 - densities[name])]] = True
        masks[name] = mask.view(tuple(shape))
    return masks


def shuffled_masks(masks: Tensors, generator: torch.Generator) -> dict[str, Tensor]:
    """Each mask with its entries permuted: the control that keeps the layer counts and loses everything else."""
    return {
        name: mask.flatten()[torch.randperm(mask.numel(), generator=generator)].view(mask.shape)
        for name, mask in masks.items()
    }


def nm_mask(weight: Tensor, n: int, m: int) -> Tensor:
    """N:M mask: the n largest |w| of every m consecutive inputs (Zhou et al. 2021, arXiv:2102.04010).

    weight: (out, in) or (out, in, kh, kw); for convolutions the groups run along the input channels.
    """
    require(weight.ndim in (2, 4), "weight.shape", tuple(weight.shape), "(out, in) or (out, in, kh, kw)", "reshape it")
    require(m >= 1, "m", m, "1 or more", "2:4 is n=2, m=4")
    require(
        weight.shape[1] % m == 0, "m", m, f"a divisor of the {weight.shape[1]} inputs", "pad the inputs or change m"
    )
    require(0 <= n <= m, "n", n, f"0 to m = {m}", "2:4 is n=2, m=4")
    require_finite(weight, "weight")
    inputs_last = weight.detach().abs().movedim(1, -1)  # (out, [kh, kw,] in)
    groups = inputs_last.reshape(-1, m)
    order = torch.sort(groups, dim=1, descending=True, stable=True).indices
    mask = torch.zeros_like(groups, dtype=torch.bool).scatter_(1, order[:, :n], True)
    return mask.view(inputs_last.shape).movedim(-1, 1).contiguous()


def constant_fan_in_mask(weight: Tensor, k: int) -> Tensor:
    """Mask with the k largest |w| of every output: rows of (out, in), filters of (out, in, kh, kw)."""
    require(weight.ndim >= 2, "weight.shape", tuple(weight.shape), "(out, in) or (out, in, kh, kw)", "reshape it")
    rows = weight.detach().abs().flatten(1)
    require(0 <= k <= rows.shape[1], "k", k, f"0 to {rows.shape[1]}, the fan-in", "k counts live inputs of one output")
    require_finite(weight, "weight")
    order = torch.sort(rows, dim=1, descending=True, stable=True).indices
    return torch.zeros_like(rows, dtype=torch.bool).scatter_(1, order[:, :k], True).view(weight.shape)


def unit_masks(weights: Tensors, scores: Tensors, sparsity: float) -> dict[str, Tensor]:
    """Masks that remove whole hidden units of a multilayer perceptron: their incoming and outgoing weights.

    weights: the Linear weights (out, in) from first to last. scores: name to (out,) for every layer but the last, high
    is kept. sparsity: share of the units of each hidden layer that go; exact counts as in keep_count.
    """
    names = list(weights)
    require_same_keys(scores, dict.fromkeys(names[:-1]), "scores", "all layers but the last")
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    for name, following in itertools.pairwise(names):
        units = weights[name].shape[0]
        require(
            scores[name].shape == (units,),
            f"scores[{name!r}].shape",
            tuple(scores[name].shape),
            f"({units},)",
            "one per unit",
        )
        dead = ~topk_mask(scores[name], keep_count(units, sparsity))
        masks[name][dead] = False
        masks[following][:, dead] = False
    return masks


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Tensors) -> None:
    """Set the masked weights of model to exactly 0, in place. masks: parameter name to bool mask."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        require(
            name in parameters,
            "masks",
            f"key {name!r}",
            "a parameter of the model",
            f"it has {sorted(parameters)}",
            KeyError,
        )
        require_mask(mask, parameters[name].shape, f"masks[{name!r}]")
        parameters[name].masked_fill_(~mask, 0)  # not *=: a product would keep NaN and the sign of zero


def density(masks: Tensors) -> float:
    """Share of live entries over all masks."""
    require(len(masks) > 0, "masks", "{}", "at least one mask", "pass the masks of a model")
    return sum(int(mask.sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())
