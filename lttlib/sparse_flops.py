"""Floating-point operations of sparse training, counted as in the papers: one multiply and one add per live weight.

Per example, f_D = 2 * sum_l n_l u_l for the dense network and f_S = 2 * sum_l live_l u_l for the sparse one, where layer
l uses each weight u_l times (once in a linear layer, at every position in a convolution). Backward costs twice forward:

    dense 3 f_D      static, SET 3 f_S      pruning: the mean of 3 f_S(t)
    RigL and SRigL 3 f_S, at an update 2 f_S + f_D

With an update every Delta T steps RigL's mean is (3 f_S Delta T + 2 f_S + f_D) / (Delta T + 1), in the appendix of Evci et
al. 2020, arXiv:1911.11134. Biases, norms, activations, the optimizer and the choice of masks are left out, as there.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lttlib.arguments import require, require_choice, require_same_keys
from lttlib.dst import gradual_count, update_steps
from lttlib.masks import Tensors, keep_count, prunable

METHODS = ("dense", "static", "set", "rigl", "gmp", "srigl")
Counts = Mapping[str, int]


@torch.no_grad()
def weight_uses(model: nn.Module, x: Tensor) -> dict[str, int]:
    """How often one example uses each weight of a prunable layer: 1 in a linear layer, the positions in a convolution.

    x: any input with a batch axis, (batch, ...); its values do not matter. A layer that is called twice counts twice.
    """
    names = {id(weight): name for name, weight in prunable(model).items()}
    uses = dict.fromkeys(names.values(), 0)

    def count(layer, _, output):
        channels = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        uses[names[id(layer.weight)]] += output.numel() // (len(x) * channels)

    layers = [m for m in model.modules() if id(getattr(m, "weight", None)) in names]
    handles = [layer.register_forward_hook(count) for layer in layers]
    was = model.training
    try:
        model.eval()(x)
    finally:
        model.train(was)
        for handle in handles:
            handle.remove()
    return uses


def live_counts(masks: Tensors) -> dict[str, int]:
    """Live weights of each layer. masks: name to bool, True = live."""
    return {name: int(mask.sum()) for name, mask in masks.items()}


def forward_flops(uses: Counts, live: Counts) -> int:
    """f: operations of inference on one example. uses: from weight_uses. live: live weights by the same names."""
    require_same_keys(live, uses, "live", "uses")
    return 2 * sum(uses[name] * live[name] for name in uses)


def training_flops(
    method: str,
    uses: Counts,
    sizes: Counts,
    densities: Mapping[str, float] | None = None,
    *,
    steps: int,
    batch_size: int,
    interval: int = 100,
    end: int | None = None,
) -> int:
    """Operations of a whole run of train_sparse (or of dense training, method "dense") with the same arguments.

    sizes: weights of each layer. densities: from dst.layer_densities; None only for "dense". An update of SET or gmp
    is counted as any other step, though it needs no gradient; RigL's and SRigL's need that of every weight. SRigL is
    counted with its whole budget, of which it leaves less than one weight per neuron unused. The step of an update still
    runs with the old masks. Compare with dense training of as many steps, or of five times as many.
    """
    require_choice(method, METHODS, "method")
    require(steps >= 0, "steps", steps, "0 or more", "pass the total number of steps")
    require(batch_size >= 1, "batch_size", batch_size, "1 or more", "as in training")
    require_same_keys(sizes, uses, "sizes", "uses")
    dense = forward_flops(uses, sizes)
    if method == "dense":
        return 3 * dense * steps * batch_size
    require(densities is not None, "densities", None, "the density of each layer", "see dst.layer_densities")
    require_same_keys(densities, uses, "densities", "uses")
    end = 3 * steps // 4 if end is None else end
    require(end <= steps, "end", end, f"0 to steps = {steps}", "masks move only while training goes on")
    updates = update_steps(interval, end)
    if method == "gmp":
        require(len(updates) > 0, "interval", interval, f"less than end = {end}", "gmp prunes only at updates")
        return 3 * batch_size * _gradual_flops(uses, sizes, densities, updates, steps)
    sparse = forward_flops(uses, {name: keep_count(sizes[name], 1 - densities[name]) for name in sizes})
    extra = (dense - sparse) * len(updates) if method in ("rigl", "srigl") else 0
    return batch_size * (3 * sparse * steps + extra)


def _gradual_flops(uses: Counts, sizes: Counts, densities: Mapping[str, float], updates: range, steps: int) -> int:
    """Sum over all steps of one example's forward operations."""
    total, begun = 0, 0
    for until in [*(update + 1 for update in updates), steps]:
        live = {n: gradual_count(size, densities[n], begun - 1, updates) for n, size in sizes.items()}
        total += (until - begun) * forward_flops(uses, live)
        begun = until
    return total
