"""A multilayer perceptron whose sparse layers exist only in condensed form, from initialization on.

    y[r] = bias[r] + sum over s < k of values[i, s] * x[indices[i, s]],   r the i-th neuron that is alive

What is stored of a layer are its budget of values and as many indices: k for each live neuron, neuron after neuron, and
nothing for the others. When the pattern moves (lttlib.condensed_training), the same memory is written again. Between layers
activations stay in panels of 64 samples, (panels, features, 64). Lasby et al. 2023, arXiv:2305.02299, train with masks on
dense weights and condense at the end. Book: "Structured RigL".
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from lttkernels.arguments import index_type
from lttkernels.condensed_panels import PANEL, PanelPattern, panels_grad_input, panels_grad_values, panels_linear
from lttkernels.threads import set_threads
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lttlib.arguments import require, require_mask, require_same_keys
from lttlib.dst import layer_densities
from lttlib.masks import Tensors, keep_count, prunable
from lttlib.srigl import constant_fan_in, row_topk_mask

INDEX_TYPES = {"uint8": torch.uint8, "uint16": torch.uint16, "uint32": torch.uint32}
BLOCK_ROWS = 128


class MovingLinear(nn.Module):
    """A Linear that holds `budget` live weights at most, the same number in every live neuron, on a processor.

    Parameters: values (budget,) float32, of which the first neurons * fan_in are in use and the others 0; bias (out,).
    Buffers: indices (budget,), the input of each value, increasing within a neuron; alive (out,) bool.
    Maps panels (panels, in, 64) to (panels, out, 64). With `listening` True, a backward pass leaves its input and the
    gradient by its output in `heard`, from which the gradient of every possible weight follows.
    """

    def __init__(self, in_features: int, out_features: int, budget: int):
        super().__init__()
        require(budget >= out_features, "budget", budget, f"{out_features} or more", "one weight for each neuron")
        self.in_features, self.out_features = in_features, out_features
        self.values = nn.Parameter(torch.zeros(budget))
        self.bias = nn.Parameter(torch.zeros(out_features))
        kind = INDEX_TYPES[index_type(in_features).__name__]
        self.register_buffer("indices", torch.zeros(budget, dtype=kind))
        self.register_buffer("alive", torch.ones(out_features, dtype=torch.bool))
        self.listening, self.heard = False, None
        self._pattern, self._pattern_of = None, None

    @property
    def neurons(self) -> int:
        """How many neurons are alive."""
        return int(self.alive.count_nonzero())

    @property
    def fan_in(self) -> int:
        """Live weights of a neuron that is alive."""
        return len(self.values) // self.neurons

    def in_use(self, flat: Tensor) -> Tensor:
        """The part of flat (budget,) that belongs to live weights, (neurons, fan_in), sharing its memory."""
        return flat[: self.neurons * self.fan_in].view(self.neurons, -1)

    def pattern(self) -> PanelPattern:
        """The pattern as the kernels take it; made again only when indices or alive have changed."""
        version = (self.indices._version, self.alive._version, self.indices.data_ptr())
        if self._pattern_of != version:
            rows = self.alive.nonzero().squeeze(1).to(torch.uint32)
            shape = (self.out_features, self.in_features)
            self._pattern = PanelPattern(self.in_use(self.indices).numpy(), rows.numpy(), shape)
            self._pattern_of = version
        return self._pattern

    @torch.no_grad()
    def place(self, flat: Tensor, alive: Tensor) -> None:
        """Take another pattern. flat: (neurons * fan_in,) int64, row * in + column of each live weight, increasing."""
        self.alive.copy_(alive)
        self.indices.zero_()
        self.indices[: len(flat)] = (flat % self.in_features).to(self.indices.dtype)

    def places(self) -> Tensor:
        """Where the live weights are: (neurons, fan_in) int64, row * in + column."""
        rows = self.alive.nonzero()
        return rows * self.in_features + self.in_use(self.indices).long()

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """A random pattern, all neurons alive, and values from N(0, 2 / fan_in); the bias becomes 0.

        The pattern is that of srigl.constant_fan_in_masks, drawn block by block.
        """
        self.alive.fill_(True)
        flat, fan_in = [], self.fan_in
        for first in range(0, self.out_features, BLOCK_ROWS):
            rows = min(BLOCK_ROWS, self.out_features - first)
            drawn = torch.rand(rows, self.in_features, generator=generator)
            chosen = row_topk_mask(drawn, torch.full((rows,), fan_in))
            flat.append(chosen.flatten().nonzero().squeeze(1) + first * self.in_features)
        self.place(torch.cat(flat), self.alive)
        self.values.zero_()
        self.in_use(self.values).normal_(0, math.sqrt(2 / fan_in), generator=generator)
        self.bias.zero_()

    @torch.no_grad()
    def copy_from(self, weight: Tensor, mask: Tensor, bias: Tensor | None) -> None:
        """Take the live weights of weight (out, in) under mask with constant fan-in; its live weights are the budget."""
        live = mask.sum(1)
        alive = live > 0
        require(bool((live[alive] == self.budget_fan_in(alive)).all()), "mask", "one with uneven rows",
                "the same number of live weights in every row, or none", "see srigl.constant_fan_in_masks")  # fmt: skip
        self.place(mask.flatten().nonzero().squeeze(1), alive)
        self.values.copy_(weight[mask])
        self.bias.zero_() if bias is None else self.bias.copy_(bias)

    def budget_fan_in(self, alive: Tensor) -> int:
        """The fan-in that the budget gives to these neurons."""
        return len(self.values) // max(int(alive.count_nonzero()), 1)

    def forward(self, x: Tensor, *, relu: bool = False, gate: bool = False) -> Tensor:
        """(panels, in, 64) to (panels, out, 64). relu, gate: see CondensedMLP.forward."""
        return _PanelProduct.apply(x, self.values, self.bias, self, relu, gate)

    def mask(self) -> Tensor:
        """The mask (out, in), for inspection: a dense copy."""
        mask = torch.zeros(self.out_features * self.in_features, dtype=torch.bool)
        mask[self.places().flatten()] = True
        return mask.view(self.out_features, self.in_features)

    def dense_weight(self) -> Tensor:
        """The weight (out, in) with its zeros, for inspection: a copy."""
        weight = self.values.new_zeros(self.out_features * self.in_features)
        weight[self.places().flatten()] = self.in_use(self.values.detach()).flatten()
        return weight.view(self.out_features, self.in_features)

    def extra_repr(self) -> str:
        """What print shows."""
        return f"in_features={self.in_features}, out_features={self.out_features}, neurons={self.neurons}, fan_in={self.fan_in}"


class DensePanels(nn.Linear):
    """A dense layer between panels: (panels, in, 64) to (panels, out, 64)."""

    def forward(self, x: Tensor, *, relu: bool = False, gate: bool = False) -> Tensor:
        """As Linear, for every sample of every panel. relu, gate: see CondensedMLP.forward."""
        y = _DenseProduct.apply(x, self.weight, self.bias, gate)
        return torch.relu(y) if relu else y


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
        """(batch, features) to logits (batch, classes).

        A sparse layer applies the ReLU after it itself (relu), and leaves its derivative to the layer that follows
        (gate): a pass over all activations less in each direction.
        """
        features = self[0].in_features
        require(x.ndim == 2 and x.shape[1] == features, "x.shape", tuple(x.shape), f"(batch, {features})", "flatten it")
        require(x.dtype == torch.float32, "x.dtype", x.dtype, "torch.float32", "use x.float()", TypeError)
        batch = len(x)
        padded = F.pad(x, (0, 0, 0, -batch % PANEL)) if batch % PANEL else x
        panels = padded.view(-1, PANEL, features).transpose(1, 2).contiguous()
        gate = False
        for i in range(0, len(self), 2):
            relu = i + 1 < len(self)
            panels = self[i](panels, relu=relu, gate=gate)
            gate = relu and isinstance(self[i], MovingLinear)
        return panels.transpose(1, 2).reshape(-1, panels.shape[1])[:batch]

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


class _PanelProduct(torch.autograd.Function):
    """The kernels as one differentiable operation; with relu, the gradient it is given is by what goes into the ReLU."""

    @staticmethod
    def forward(ctx, x, values, bias, layer, relu, gate):
        set_threads(torch.get_num_threads())
        ctx.save_for_backward(x, values)
        ctx.layer, ctx.pattern, ctx.gate = layer, layer.pattern(), gate
        out = x.new_empty(x.shape[0], layer.out_features, PANEL)
        panels_linear(ctx.pattern, _live(values, ctx.pattern), bias.numpy(), x.numpy(), out.numpy(), relu=relu)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, values = ctx.saved_tensors
        layer, pattern, grad = ctx.layer, ctx.pattern, grad.contiguous()
        set_threads(torch.get_num_threads())
        x_array, grad_array, by_x = x.numpy(), grad.numpy(), None
        if ctx.needs_input_grad[0]:
            by_x = torch.empty_like(x)
            gate = x_array if ctx.gate else None
            panels_grad_input(pattern, _live(values, pattern), grad_array, by_x.numpy(), gate=gate)
        by_values, by_bias = torch.empty_like(values), grad.new_empty(layer.out_features)
        by_values[pattern.indices.size :] = 0
        panels_grad_values(pattern, x_array, grad_array, _live(by_values, pattern), by_bias.numpy())
        if layer.listening:
            layer.heard = (x, grad)
        return by_x, by_values, by_bias, None, None, None


def _live(flat: Tensor, pattern: PanelPattern) -> np.ndarray:
    """The values in use, (n, k), sharing memory."""
    return flat.detach().numpy()[: pattern.indices.size].reshape(pattern.indices.shape)


class _DenseProduct(torch.autograd.Function):
    """A dense layer, panel by panel: torch would copy the activations to make one product of them."""

    @staticmethod
    def forward(ctx, x, weight, bias, gate):
        ctx.save_for_backward(x, weight)
        ctx.gate = gate
        out = x.new_empty(x.shape[0], len(weight), PANEL)
        for panel in range(len(x)):
            torch.addmm(bias[:, None], weight, x[panel], out=out[panel])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x, weight), by_x = ctx.saved_tensors, None
        if ctx.needs_input_grad[0]:
            by_x = torch.empty_like(x)
            for panel in range(len(x)):
                torch.mm(weight.T, grad[panel], out=by_x[panel])
            if ctx.gate:
                by_x *= x.sign()  # x is at least 0, the output of a ReLU; masked_fill_ takes ten times as long
        by_weight = grad[0] @ x[0].T
        for panel in range(1, len(x)):
            by_weight.addmm_(grad[panel], x[panel].T)
        return by_x, by_weight, grad.sum((0, 2)), None
