"""Networks that use a mixture of experts: a feed-forward block for a transformer, a mixture of perceptrons for images.

Both return one tensor; what their MoELayer returns beside it goes through moe.collecting. Book: "Mixture of experts".
"""

import torch
from torch import Tensor, nn

from lttlib.moe.layer import Experts, MoELayer


class MixtureFeedForward(nn.Module):
    """A MoELayer that returns y alone, and so stands wherever a feed-forward network does."""

    def __init__(self, layer: MoELayer):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """(..., features) to (..., outputs)."""
        return self.layer(x)[0]


def mixture_feed_forward(
    width: int, hidden: int, router: nn.Module, *, generator: torch.Generator, **options
) -> MixtureFeedForward:
    """The feed-forward block of a transformer as a mixture: (batch, tokens, width) to the same.

    hidden: units of each expert; as many experts as the router knows. options: capacity_factor ... of MoELayer.
    """
    return mixture_mlp(width, hidden, width, router, generator=generator, **options)


def mixture_mlp(
    features: int, hidden: int, classes: int, router: nn.Module, *, generator: torch.Generator, **options
) -> MixtureFeedForward:
    """Perceptrons features-hidden-classes as experts, and a router that looks at the same flat image.

    (batch, features) to logits (batch, classes): the gates mix the experts' logits. An image that is dropped gets
    logits 0. As many experts as the router knows. options: capacity_factor ... of MoELayer.
    """
    experts = Experts(router.experts, features, hidden, classes, generator=generator)
    return MixtureFeedForward(MoELayer(router, experts, **options))
