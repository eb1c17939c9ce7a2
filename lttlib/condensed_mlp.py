"""A multilayer perceptron whose sparse layers exist only in condensed form, from initialization on.

Between layers activations stay in panels of 64 samples, (panels, features, 64). Lasby et al. 2023, arXiv:2305.02299, train
with masks on dense weights and condense at the end. Book: "Structured RigL".
"""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from lttkernels.condensed_panels import PANEL
from torch import Tensor, nn

from lttlib.arguments import require, require_mask, require_same_keys
from lttlib.condensed_layers import DensePanels, MovingLinear, through
from lttlib.dst import layer_densities
from lttlib.masks import Tensors, keep_count, prunable
from lttlib.srigl import constant_fan_in

PADDING = -1  # the label of samples past the batch


class CondensedMLP(nn.Sequential):
    """Fully connected ReLU network for (batch, sizes[0]) whose sparse layers are MovingLinear: modules 0, 2, 4, ...

    sizes, density, distribution: as in models.mlp and train_sparse; a layer whose density is 1 stays dense. Initialized
    as by srigl.initialize_live, but no dense weight is made on the way.
    """

    def __init__(self, sizes: Sequence[int], *, density: float, distribution: str = "erk", generator: torch.Generator):
        require(len(sizes) >= 2, "sizes", tuple(sizes), "inputs and outputs at least", "a linear model is (64, 10)")
        shapes = {str(2 * i): (out, into) for i, (into, out) in enumerate(itertools.pairwise(sizes))}
        shares = layer_densities(shapes, density, distribution)
        for name, shape in shapes.items():
            constant_fan_in(shape, shares[name], name)  # refuses a layer with fewer weights than neurons
        super().__init__(*_with_relus([_layer(shape, keep_count(math.prod(shape), 1 - shares[name]))
                                       for name, shape in shapes.items()]))  # fmt: skip
        for layer in self.linear_layers().values():
            if isinstance(layer, MovingLinear):
                layer.draw(generator)
            else:
                with torch.no_grad():
                    layer.weight.normal_(0, math.sqrt(2 / layer.in_features), generator=generator)
                    layer.bias.zero_()

    @classmethod
    def from_model(cls, model: nn.Sequential, masks: Tensors) -> "CondensedMLP":
        """The network `model` (Linear and ReLU in turns) under masks with constant fan-in, one for each Linear."""
        odd = [type(m).__name__ for m in model[1::2] if not isinstance(m, nn.ReLU)]
        odd += [type(m).__name__ for m in model[::2] if not isinstance(m, nn.Linear)]
        require(not odd and len(model) % 2, "model", odd, "Linear and ReLU in turns", "see models.mlp")
        require_same_keys(masks, prunable(model), "masks", "prunable(model)")
        layers = []
        for i in range(0, len(model), 2):
            mask, weight = masks[f"{i}.weight"], model[i].weight.detach()
            require_mask(mask, weight.shape, f"masks['{i}.weight']")
            layer = _layer(tuple(weight.shape), int(mask.sum()))
            if isinstance(layer, MovingLinear):
                layer.copy_from(weight, mask, model[i].bias)
            else:
                layer.load_state_dict(model[i].state_dict())
            layers.append(layer)
        self = cls.__new__(cls)
        nn.Sequential.__init__(self, *_with_relus(layers))
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(batch, features) to logits (batch, classes)."""
        panels = self.in_panels(x)
        return panels.transpose(1, 2).reshape(-1, panels.shape[1])[: len(x)]

    def in_panels(self, x: Tensor) -> Tensor:
        """(batch, features) to logits in panels, (panels, classes, 64); those of samples past the batch mean nothing."""
        features = self[0].in_features
        require(x.ndim == 2 and x.shape[1] == features, "x.shape", tuple(x.shape), f"(batch, {features})", "flatten it")
        require(x.dtype == torch.float32, "x.dtype", x.dtype, "torch.float32", "use x.float()", TypeError)
        padded = F.pad(x, (0, 0, 0, -len(x) % PANEL)) if len(x) % PANEL else x
        return through(list(self)[::2], padded.view(-1, PANEL, features).transpose(1, 2).contiguous())

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy in nats, from the panels as they are. x: (batch, features), y: (batch,) int64."""
        if len(y) % PANEL:
            y = F.pad(y, (0, -len(y) % PANEL), value=PADDING)
        return F.cross_entropy(self.in_panels(x), y.view(-1, PANEL), ignore_index=PADDING)

    def linear_layers(self) -> dict[str, nn.Module]:
        """The layers that have weights, by name, from first to last."""
        return {name: layer for name, layer in self.named_children() if not isinstance(layer, nn.ReLU)}

    def sparse_layers(self) -> dict[str, MovingLinear]:
        """Those of them that are sparse."""
        return {name: layer for name, layer in self.linear_layers().items() if isinstance(layer, MovingLinear)}

    def masks(self) -> dict[str, Tensor]:
        """The masks of the sparse layers by the names they have in models.mlp, for inspection: dense copies."""
        return {f"{name}.weight": layer.mask() for name, layer in self.sparse_layers().items()}


def _layer(shape: tuple[int, int], live: int) -> nn.Module:
    rows, columns = shape
    return DensePanels(columns, rows) if live == rows * columns else MovingLinear(columns, rows, live)


def _with_relus(layers: Sequence[nn.Module]) -> list[nn.Module]:
    return [module for layer in layers for module in (layer, nn.ReLU())][:-1]
