"""Layers of condensed training: a sparse one whose pattern moves, and a dense one between panels.

    y[r] = bias[r] + sum over s < k of values[i, s] * x[indices[i, s]],   r the i-th neuron that is alive

What is stored of a sparse layer are its budget of values and as many indices: k for each live neuron, neuron after neuron,
and nothing for the others. When the pattern moves (lttlib.condensed_training), the same memory is written again.
Activations come and go in panels of 64 samples, (panels, features, 64).
Lasby et al. 2023, arXiv:2305.02299, train with masks on dense weights and condense at the end. Book: "Structured RigL".
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from lttkernels.arguments import index_type
from lttkernels.condensed_panels import PANEL, PanelPattern, panels_grad_input, panels_grad_values, panels_linear
from lttkernels.threads import set_threads
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lttlib.arguments import require
from lttlib.srigl import row_topk_mask

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

    def forward(self, x: Tensor) -> Tensor:
        """(panels, in, 64) to (panels, out, 64)."""
        return through([self], x)

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
    """A dense layer between panels: (panels, in, 64) to (panels, out, 64), by the same kernels. Meant for few outputs."""

    listening = False

    def __init__(self, in_features: int, out_features: int):
        super().__init__(in_features, out_features)
        every = np.arange(in_features, dtype=index_type(in_features))
        rows = np.arange(out_features, dtype=np.uint32)
        self._pattern = PanelPattern(np.tile(every, (out_features, 1)), rows, (out_features, in_features))

    @property
    def values(self) -> Tensor:
        """The weight, under the name that a MovingLinear has for it."""
        return self.weight

    def pattern(self) -> PanelPattern:
        """Every input for every neuron."""
        return self._pattern

    def forward(self, x: Tensor) -> Tensor:
        """As Linear, for every sample of every panel."""
        return through([self], x)


def through(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """x, panels (panels, in, 64), through the layers with a ReLU between each two: (panels, out, 64)."""
    return _Chain.apply(layers, x, *(part for layer in layers for part in (layer.values, layer.bias)))


class _Chain(torch.autograd.Function):
    """Layers and the ReLUs between them as one differentiable operation.

    One operation for the whole network, not one for each layer: autograd takes longer to go from one to the next than a
    kernel of a small layer. The kernels apply each ReLU, and its derivative, before they write what it is applied to.
    """

    @staticmethod
    def forward(ctx, layers, x, *parameters):
        set_threads(torch.get_num_threads())
        ctx.layers, ctx.patterns = layers, [layer.pattern() for layer in layers]
        reached = [x]
        for i, pattern in enumerate(ctx.patterns):
            values, bias = parameters[2 * i : 2 * i + 2]
            out = x.new_empty(len(x), pattern.shape[0], PANEL)
            relu = i + 1 < len(layers)
            panels_linear(pattern, _live(values, pattern), bias.numpy(), reached[-1].numpy(), out.numpy(), relu=relu)
            reached.append(out)
        ctx.save_for_backward(*reached[:-1], *parameters)
        return reached[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        set_threads(torch.get_num_threads())
        count, found, grad = len(ctx.layers), [], grad.contiguous()
        saved = ctx.saved_tensors
        for i in reversed(range(count)):
            layer, pattern, x, values = ctx.layers[i], ctx.patterns[i], saved[i], saved[count + 2 * i]
            x_array, grad_array = x.numpy(), grad.numpy()
            by_values, by_bias = torch.empty_like(values), grad.new_empty(pattern.shape[0])
            live = _live(by_values, pattern)
            if live.size < values.numel():
                by_values[live.size :] = 0
            panels_grad_values(pattern, x_array, grad_array, live, by_bias.numpy())
            found += [by_bias, by_values]
            if layer.listening:
                layer.heard = (x, grad)
            if i or ctx.needs_input_grad[1]:
                grad = torch.empty_like(x)
                gate = x_array if i else None
                panels_grad_input(pattern, _live(values, pattern), grad_array, grad.numpy(), gate=gate)
        return None, grad if ctx.needs_input_grad[1] else None, *reversed(found)


def _live(flat: Tensor, pattern: PanelPattern) -> np.ndarray:
    """The values in use, (n, k), sharing memory."""
    return flat.detach().numpy().reshape(-1)[: pattern.indices.size].reshape(pattern.indices.shape)
