"""A trained sparse network condensed for inference: live weights alone, and nothing for what is constant.

Lasby et al. 2023, arXiv:2305.02299. Book: "Structured RigL".
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from lttkernels.arguments import index_type
from lttkernels.condensed import Condensed, condensed_linear
from lttkernels.condensed_panels import PANEL, PanelPattern, panels_linear
from lttkernels.lookup_chain import make_chain, multiply_chain
from lttkernels.lookup_loops import FEW
from lttkernels.memory import scratch
from lttkernels.panels import pack
from lttkernels.threads import set_threads
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lttlib.arguments import require
from lttlib.condensed_layers import MovingLinear


class CondensedModel(nn.Module):
    """A ReLU perceptron for inference on a processor: (batch, features) to logits (batch, classes), float32.

    Made by condense_model or load_condensed. Buffers of layer i: i.values (n, k), i.indices (n, k), i.rows (n,), i.bias.
    A few samples go through one at a time; larger batches in panels of 64, each through the whole network while it is in
    the cache. The kernels use as many threads as torch.
    """

    def __init__(self, layers: list[Condensed], biases: list[np.ndarray]):
        super().__init__()
        self.shapes = [layer.shape for layer in layers]
        for i, (layer, bias) in enumerate(zip(layers, biases, strict=True)):
            parts = {"values": layer.values, "indices": layer.indices, "rows": layer.rows, "bias": bias}
            for name, part in parts.items():
                self.register_buffer(f"{i}_{name}", torch.from_numpy(part))
        self._layers, self._biases, self._chain = layers, biases, None
        self._patterns = [PanelPattern(layer.indices, layer.rows, layer.shape) for layer in layers]

    @property
    def bytes(self) -> int:
        """What its tensors take, in memory and, but for a few hundred bytes, on disk."""
        return sum(part.nbytes for part in self.state_dict().values())

    def forward(self, x: Tensor) -> Tensor:
        """(batch, features) to logits (batch, classes), which carry no gradient."""
        features = self.shapes[0][1]
        if (
            x.ndim != 2 or x.shape[1] != features or x.dtype != torch.float32
        ):  # asked first: to say what is wrong takes time
            require(
                x.ndim == 2 and x.shape[1] == features, "x.shape", tuple(x.shape), f"(batch, {features})", "flatten it"
            )
            require(False, "x.dtype", x.dtype, "torch.float32", "use x.float()", TypeError)
        set_threads(torch.get_num_threads())
        samples = x.detach().contiguous().numpy()
        if len(samples) < FEW and (logits := self._each_sample(samples)) is not None:
            return torch.from_numpy(logits)
        return torch.from_numpy(self._few(samples) if len(samples) < FEW_SAMPLES else self._in_panels(samples))

    def _each_sample(self, x: np.ndarray) -> np.ndarray | None:
        """One sample after the other through the network; None if a number on the way is not finite."""
        if self._chain is None:
            self._chain = make_chain([layer.lookup for layer in self._layers], self._biases)
        logits = np.empty((len(x), self.shapes[-1][0]), np.float32)
        finite = [multiply_chain(self._chain, sample, answers) for sample, answers in zip(x, logits, strict=True)]
        return logits if all(finite) else None

    def _few(self, x: np.ndarray) -> np.ndarray:
        for i, (layer, bias) in enumerate(zip(self._layers, self._biases, strict=True)):
            if i:
                np.maximum(x, 0, out=x)
            x = condensed_linear(x, layer, bias)
        return x

    def _in_panels(self, x: np.ndarray) -> np.ndarray:
        logits = np.empty((len(x), self.shapes[-1][0]), np.float32)
        layers = list(zip(self._layers, self._biases, self._patterns, strict=True))
        for first in range(0, len(x), PANELS * PANEL):
            count, inputs = min(PANELS, -(-(len(x) - first) // PANEL)), self.shapes[0][1]
            panels = pack(x, inputs, (first, count, PANEL), False, "samples").reshape(count, inputs, PANEL)
            for i, (layer, bias, pattern) in enumerate(layers):
                shape = (count, layer.shape[0], PANEL)
                before, panels = panels, scratch(f"answers {i % 2}", math.prod(shape)).reshape(shape)
                panels_linear(pattern, layer.values, bias, before, panels, relu=i + 1 < len(layers))
            answers = panels.transpose(0, 2, 1).reshape(-1, panels.shape[1])
            logits[first : first + count * PANEL] = answers[: len(x) - first]
        return logits


PANELS = 2  # so many go through a layer together
FEW_SAMPLES = 32  # below, the kernels of lttkernels.condensed waste less of a panel


def condense_model(model: nn.Sequential) -> CondensedModel:
    """A trained network of Linear and ReLU in turns, condensed: what is 0, or constant, is gone; model stays as it is.

    model: nn.Linear, of which exact zeros are dead weights, or condensed_layers.MovingLinear. A hidden neuron without live
    weights answers max(0, bias) to every input: that goes into the biases of the next layer, and the neuron goes. If a
    neuron of the next layer loses all its weights so, it goes, too. Outputs always stay. Rows with fewer weights than
    the fullest one are filled up with zeros.
    """
    odd = [type(module).__name__ for module in list(model)[1::2] if not isinstance(module, nn.ReLU)]
    require(not odd and len(model) % 2 == 1, "model", odd or len(model), "Linear and ReLU in turns", "see models.mlp")
    layers, biases, constant = [], [], None
    for place, module in list(enumerate(model))[::2]:
        rows, columns, values, bias = _live_weights(module)
        if constant is not None:
            known = ~np.isnan(constant[columns])
            np.add.at(bias, rows[known], values[known] * constant[columns[known]])
            number = np.cumsum(np.isnan(constant)) - 1  # the inputs that are left, counted anew
            rows, columns, values = rows[~known], number[columns[~known]], values[~known]
        inputs = module.in_features if constant is None else int(np.isnan(constant).sum())
        live = np.bincount(rows, minlength=len(bias)) > 0
        if place + 1 < len(model):
            constant = np.where(live, np.nan, np.maximum(bias, 0))
            rows, bias = (np.cumsum(live) - 1)[rows], bias[live]
        layers.append(_condensed(rows, columns, values, (len(bias), inputs)))
        biases.append(bias.astype(np.float32))
    return CondensedModel(layers, biases)


def _live_weights(module: nn.Module) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(rows, columns, values) of the weights that are not 0, row by row, and the bias (out,) in float64."""
    if isinstance(module, MovingLinear):
        flat, values = module.places().flatten().numpy(), module.in_use(module.values.detach()).flatten().numpy()
        flat, values = flat[values != 0], values[values != 0]
    else:
        weight = module.weight.detach().numpy()
        flat = np.flatnonzero(weight)
        values = weight.reshape(-1)[flat]
    bias = np.zeros(module.out_features) if module.bias is None else module.bias.detach().numpy().astype(np.float64)
    return flat // module.in_features, flat % module.in_features, values, bias


def _condensed(rows, columns, values, shape: tuple[int, int]) -> Condensed:
    """Rows (increasing), columns and values of the live weights as a layer of this shape, filled up with zeros."""
    surviving, counts = np.unique(rows, return_counts=True)
    fan_in = int(counts.max(initial=0))
    slot = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    last = columns[np.cumsum(counts) - 1] if len(rows) else columns
    indices = np.repeat(last[:, None], fan_in, 1)  # what fills up reads an input that the row reads anyway
    packed = np.zeros((len(surviving), fan_in), np.float32)
    row = np.repeat(np.arange(len(surviving)), counts)
    indices[row, slot], packed[row, slot] = columns, values
    return Condensed(packed, indices.astype(index_type(max(shape[1], 1))), surviving.astype(np.uint32), shape)


def save_condensed(model: CondensedModel, path: str | Path) -> None:
    """Write model to a file of numbers and names alone (safetensors), which runs no code when it is read."""
    save_file(model.state_dict(), path, metadata={"shapes": json.dumps(model.shapes)})


def load_condensed(path: str | Path) -> CondensedModel:
    """What save_condensed wrote. ValueError that names the file if it is damaged or holds something else."""
    try:
        with safe_open(path, framework="pt") as file:
            shapes = [tuple(shape) for shape in json.loads(file.metadata()["shapes"])]
            names = ("values", "indices", "rows", "bias")
            parts = [[file.get_tensor(f"{i}_{name}").numpy() for name in names] for i in range(len(shapes))]
        layers = [Condensed(*part[:3], shape) for part, shape in zip(parts, shapes, strict=True)]
        return CondensedModel(layers, [part[3] for part in parts])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"path = {path}: not a condensed model ({error}); write it anew with save_condensed") from None
