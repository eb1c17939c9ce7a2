"""Structured RigL: masks that move, with the same fan-in in every neuron, and neurons that may leave.

One step for a layer whose budget is B live weights, and whose mask has n of them, k in each neuron:

    count    n_drop = floor(fraction * n), n_keep = n - n_drop; never keep more than the weights that are not zero
    salient  the n_keep largest |w| and the n_drop largest |dL/dw| of all places
    ablate   neurons with fewer than max(1, floor(gamma * k)) salient places lose all their weights
    fan-in   k' = floor(B / neurons left)
    drop     of the weights of the neurons left all but the n_keep largest |w|; in each neuron all but the k' largest
    grow     in each neuron left the places with the largest |dL/dw|, up to k'

Lasby et al. 2023, arXiv:2305.02299. Everything is decided afresh at every step: a neuron that was ablated comes back as
soon as its gradients are salient. Book: "Structured RigL".
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lttlib.arguments import require, require_finite, require_mask, require_same_keys, require_sparsity
from lttlib.masks import Tensors, keep_count, topk_mask


def srigl_step(
    weight: Tensor,
    grad: Tensor,
    mask: Tensor,
    fraction: float,
    *,
    sparsity: float,
    gamma: float,
    last_layer: bool = False,
) -> Tensor:
    """Mask after one step of SRigL: the same number of live weights in every row that has any, at most the budget.

    weight, grad (dL/dweight, dense), mask (bool, True = live): one shape, (out, in) or (out, in, kh, kw), where a row is
    a filter. fraction: share of the live weights to drop, in [0, 1]. sparsity: of the layer; its budget is
    keep_count(weight.numel(), sparsity). gamma in [0, 1]: share of the fan-in that must be salient for a neuron to stay;
    0 ablates none, and a last_layer never loses one. The mask given need not have constant fan-in; k is then the average.
    Ties: the lowest flat index is kept, and grown, first. ValueError where the budget has no weight for each neuron.
    """
    require_mask(mask, weight.shape)
    require(grad is not None and grad.shape == mask.shape, "grad.shape", None if grad is None else tuple(grad.shape),
            f"{tuple(mask.shape)}", "pass the gradient of the whole weight, backward() first")  # fmt: skip
    require_finite(grad, "grad")
    require_finite(weight[mask], "live weights")
    require_sparsity(sparsity)
    size = weight.detach().abs().masked_fill(~mask, 0).flatten(1)
    steep, live = grad.detach().abs().flatten(1), int(mask.sum())
    budget, inputs = keep_count(mask.numel(), sparsity), size.shape[1]
    keep, drop = drop_counts(live, int(size.count_nonzero()), fraction)
    salient = (topk_mask(size, keep) | topk_mask(steep, drop)).count_nonzero(1)
    fan_in = live // max(int(mask.flatten(1).any(1).sum()), 1)
    left = surviving_neurons(salient, budget=budget, inputs=inputs, fan_in=fan_in, gamma=0 if last_layer else gamma)
    fan_in = budget // int(left.sum())
    size = size.masked_fill(~left[:, None], 0)
    kept = topk_mask(size, min(keep, int(size.count_nonzero())))
    kept = row_topk_mask(size.masked_fill(~kept, -math.inf), kept.count_nonzero(1).clamp(max=fan_in))
    grown = row_topk_mask(steep.masked_fill(kept, -math.inf), (fan_in - kept.count_nonzero(1)) * left)
    return (kept | grown).view(mask.shape)


def drop_counts(live: int, nonzero: int, fraction: float) -> tuple[int, int]:
    """(weights to keep, weights to drop) of `live`, of which `nonzero` are not 0: zeros are never kept for their size."""
    require(0 <= fraction <= 1, "fraction", fraction, "a number in [0, 1]", "it is a share of the live weights")
    require(live > 0, "mask", "empty", "a live weight", "start from constant_fan_in_masks")
    keep = min(live - math.floor(fraction * live + 1e-9), nonzero)
    return keep, live - keep


def surviving_neurons(salient: Tensor, *, budget: int, inputs: int, fan_in: int, gamma: float) -> Tensor:
    """Which neurons stay, (out,) bool. salient: (out,) salient places of each; fan_in: k before the step.

    The threshold is lowered, where it must be, to leave so many neurons that the budget fits into them.
    """
    require(0 <= gamma <= 1, "gamma", gamma, "a number in [0, 1]", "it is a share of the fan-in; 0 ablates no neuron")
    left = torch.ones_like(salient, dtype=torch.bool)
    if gamma > 0:
        threshold = max(1, math.floor(gamma * fan_in + 1e-9))
        needed = -(-budget // inputs)
        left = salient >= min(threshold, int(salient.sort(descending=True).values[needed - 1]))
    neurons = int(left.sum())
    require(neurons <= budget, "sparsity", f"one that leaves {budget} live weights", f"one for each of {neurons} neurons",
            "take a smaller sparsity or distribution='erk'")  # fmt: skip
    return left


def row_topk_mask(scores: Tensor, counts: Tensor) -> Tensor:
    """True at the counts[r] largest scores of each row r; ties: the lowest index. scores: (rows, columns), no NaN.

    counts: (rows,) integers from 0 to the columns.
    """
    place = scores.shape[1] - counts.clamp(min=1)[:, None]
    least = _ascending(scores).gather(1, place)
    mask = (scores >= least) & (counts > 0)[:, None]
    crowded = (mask.count_nonzero(1) > counts).nonzero().squeeze(1)  # rows where several are as small as the last one
    above, ties = scores[crowded] > least[crowded], scores[crowded] == least[crowded]
    room = counts[crowded, None] - above.sum(1, keepdim=True)
    mask[crowded] = above | (ties & (ties.cumsum(1) <= room))
    return mask


def _ascending(rows: Tensor) -> Tensor:
    """Each row sorted; on a processor numpy sorts twenty times as fast as torch."""
    if rows.device.type == "cpu":
        return torch.from_numpy(np.sort(rows.numpy(), axis=1))
    return rows.sort(dim=1).values


def constant_fan_in_masks(
    shapes: Mapping[str, Sequence[int]], densities: Mapping[str, float], generator: torch.Generator
) -> dict[str, Tensor]:
    """Random masks with the same fan-in in every neuron: the budget of masks.random_masks, floor(B / out) in each row.

    shapes: name to (out, in) or (out, in, kh, kw). densities: name to a number in (0, 1]. What is left over of the
    budget stays unused. ValueError where the budget has no weight for each neuron.
    """
    require_same_keys(densities, shapes, "densities", "shapes")
    require(generator is not None, "generator", None, "a torch.Generator", "torch.Generator().manual_seed(0)")
    masks = {}
    for name, shape in shapes.items():
        rows, columns = shape[0], math.prod(shape[1:])
        fan_in = constant_fan_in(shape, densities[name], name)
        drawn = torch.rand(rows, columns, generator=generator, device=generator.device)
        counts = torch.full((rows,), fan_in, device=generator.device)
        masks[name] = row_topk_mask(drawn, counts).view(tuple(shape))
    return masks


def constant_fan_in(shape: Sequence[int], density: float, name: str = "layer") -> int:
    """The fan-in of every neuron of a layer with this density while none is ablated: floor(B / out)."""
    require(0 < density <= 1, f"densities[{name!r}]", density, "a number in (0, 1]", "density is 1 - sparsity")
    budget = keep_count(math.prod(shape), 1 - density)
    require(budget >= shape[0], f"densities[{name!r}]", f"{density:.4g}, {budget} live weights",
            f"one for each of {shape[0]} neurons", "take a larger density or distribution='erk'")  # fmt: skip
    return budget // shape[0]


@torch.no_grad()
def initialize_live(model: nn.Module, masks: Tensors, generator: torch.Generator) -> nn.Module:
    """Draw the live weights of each row from N(0, 2 / live fan-in) and set biases to 0, in place; returns model.

    Evci et al. 2022, arXiv:2010.03533: what reaches a neuron is then as large as in a dense net, where
    models.initialize counts inputs that are not there. masks: every masked layer's name to bool.
    """
    modules = {f"{name}.weight" if name else "weight": module for name, module in model.named_modules()}
    for name, mask in masks.items():
        layer = modules[name]
        require_mask(mask, layer.weight.shape, f"masks[{name!r}]")
        fan_in = mask.flatten(1).sum(1).clamp(min=1).to(layer.weight.dtype)
        layer.weight.normal_(generator=generator)
        layer.weight *= (2 / fan_in).sqrt().view(-1, *[1] * (mask.ndim - 1))
        layer.weight.masked_fill_(~mask, 0)
        if layer.bias is not None:
            layer.bias.zero_()
    return model
