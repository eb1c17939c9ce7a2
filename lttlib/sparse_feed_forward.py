"""Transformers with truly sparse feed-forward blocks: the tokens of all samples are the batch of a condensed perceptron.

    y[b, t] = W2 relu(W1 x[b, t] + c1) + c2,   W1 (hidden, width) and W2 (width, hidden) in condensed form

Attention, norms, embedding and readout stay dense. Lasby et al. 2023, arXiv:2305.02299, make a vision transformer sparse
with masks. Book: "Structured RigL".
"""

import copy

import torch
from torch import Tensor, nn

from lttlib.arguments import require, require_same_keys
from lttlib.condensed_mlp import CondensedMLP
from lttlib.masks import Tensors, prunable
from lttlib.srigl import constant_fan_in_masks
from lttlib.transformers import feed_forwards


class CondensedFeedForward(CondensedMLP):
    """What transformers.dense_feed_forward makes, truly sparse: (batch, tokens, width) to the same, float32.

    Both layers are condensed_layers.MovingLinear with this density in (0, 1], drawn with constant fan-in; no dense weight
    is made. At density 1 they are dense. Trained by condensed_training.train_condensed, inside any model.
    """

    def __init__(self, width: int, hidden: int, *, density: float, generator: torch.Generator):
        super().__init__((width, hidden, width), density=density, distribution="uniform", generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to the same; a token knows nothing of the others."""
        width = self[0].in_features
        require(x.ndim == 3 and x.shape[2] == width, "x.shape", tuple(x.shape), f"(batch, tokens, {width})",
                "see lttlib.transformers")  # fmt: skip
        return super().forward(x.flatten(0, 1)).view(x.shape)


def feed_forward_masks(model: nn.Module, density: float, *, generator: torch.Generator) -> dict[str, Tensor]:
    """Random masks with constant fan-in and this density for the dense feed-forwards of model; all else is live.

    There is a mask for every prunable weight, as train_sparse wants it. Where all weights are live, SRigL moves none.
    """
    blocks = tuple(f"{name}." for name in feed_forwards(model))
    weights = prunable(model)
    shapes = {name: tuple(weight.shape) for name, weight in weights.items() if name.startswith(blocks)}
    require(len(shapes) > 0, "model", type(model).__name__, "a transformer with Linear layers in its feed-forwards",
            "see transformers.dense_feed_forward")  # fmt: skip
    drawn = constant_fan_in_masks(shapes, dict.fromkeys(shapes, density), generator)
    return {name: drawn.get(name, torch.ones_like(weight, dtype=torch.bool)) for name, weight in weights.items()}


def with_condensed_feed_forwards(model: nn.Module, masks: Tensors) -> nn.Module:
    """A copy of model with its feed-forwards (Linear and ReLU in turns) under their masks in condensed form.

    masks: every prunable weight of model, with constant fan-in in the feed-forwards and all live elsewhere.
    """
    require_same_keys(masks, prunable(model), "masks", "prunable(model)")
    copied, left = copy.deepcopy(model), dict(masks)
    for block, dense in feed_forwards(copied).items():
        inside = {name: left.pop(f"{block}.{name}") for name in prunable(dense)}
        copied.set_submodule(block, CondensedFeedForward.from_model(dense, inside))
    dead = [name for name, mask in left.items() if not mask.all()]
    require(not dead, "masks", f"dead weights in {dead}", "none outside the feed-forwards", "see feed_forward_masks")
    return copied
