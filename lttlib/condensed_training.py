"""Structured RigL without masks: training in which a dense weight never exists.

The step is that of lttlib.srigl, its outcome the same. A growing connection is chosen by the gradient it would have,
which needs the gradient of the dense weight: it is computed in blocks of rows, and of each block only the places that may
grow are remembered. Values that stay carry their momentum to their new place; new ones start at 0, with no momentum.
Lasby et al. 2023, arXiv:2305.02299. Book: "Structured RigL".
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lttkernels.steepest import set_aside, steepest_in_rows, where_before
from torch import Tensor, nn

from lttlib.arguments import require, require_finite
from lttlib.condensed_layers import BLOCK_ROWS, MovingLinear
from lttlib.data import Data
from lttlib.dst import update_steps
from lttlib.masks import topk_mask
from lttlib.networks import OneNetwork
from lttlib.schedules import rigl_drop_fraction
from lttlib.sparse_training import SparseHistory
from lttlib.srigl import drop_counts, row_topk_mask, surviving_neurons
from lttlib.training import SGD, Optimizer, Schedule, Validation, run_loop

Watch = Callable[[int, nn.Module], None]


def train_condensed(
    model: nn.Module,
    data: Data,
    *,
    steps: int,
    seed: int,
    interval: int = 100,
    alpha: float = 0.3,
    end: int | None = None,
    drop: Schedule | None = None,
    gamma: float = 0.3,
    optimizer: Optimizer = SGD,
    batch_size: int = 64,
    eval_every: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    schedule: Schedule | None = None,
    validation: Validation | None = None,
    watch: Watch | None = None,
) -> SparseHistory:
    """Train model in place with SRigL; the same as train_sparse(method="srigl") with masks on dense weights.

    model: condensed_mlp.CondensedMLP, or any module with MovingLinear layers inside. Its last layer (last_layer) loses no
    neuron. seed: order of the data, nothing else. watch(step, model): called at step 0 and after each update. The optimizer must
    act on each number alone, as SGD and Adam do. `explored` of the history stays empty: to know which weights were ever
    live takes a dense mask. The others: see train_sparse.
    """
    end = 3 * steps // 4 if end is None else end
    require(end <= steps, "end", end, f"0 to steps = {steps}", "masks move only while training goes on")
    require(0 <= gamma <= 1, "gamma", gamma, "a number in [0, 1]", "it is a share of the fan-in; 0 ablates no neuron")
    updates = update_steps(interval, end)
    drop = partial(rigl_drop_fraction, alpha=alpha, end=end) if drop is None else drop
    fractions = {step: drop(step) for step in updates}
    network = _MovingCondensed(model, fractions, gamma, watch)
    settings = {"updates": [interval, end], "fractions": list(fractions.values()), "gamma": gamma}
    run_loop(network, data, [seed], steps=steps, optimizer=optimizer, batch_size=batch_size, eval_every=eval_every,
             checkpoint=checkpoint, progress=progress, start=0, schedule=schedule, validation=validation,
             settings=settings, histories=[network.history])  # fmt: skip
    return network.history


def sparse_layers(model: nn.Module) -> dict[str, MovingLinear]:
    """The layers of model that are truly sparse, by name, in the order in which the model lists them."""
    return {name: module for name, module in model.named_modules() if isinstance(module, MovingLinear)}


def last_layer(model: nn.Module) -> str:
    """Name of the last layer with weights that model lists, sparse or dense: its neurons are the model's answers."""
    kinds = (MovingLinear, nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return [name for name, module in model.named_modules() if isinstance(module, kinds)][-1]


class _MovingCondensed(OneNetwork):
    """A network whose patterns move; they are buffers, so a checkpoint holds them."""

    def __init__(self, model: nn.Module, fractions: dict[int, float], gamma: float, watch: Watch | None):
        super().__init__(model, {})
        self.fractions, self.gamma, self.watch, self.history = fractions, gamma, watch, SparseHistory()
        self._listen(True)  # the first step after a checkpoint may be an update
        if watch is not None:
            watch(0, model)

    def _listen(self, listening: bool) -> None:
        for layer in sparse_layers(self.model).values():
            layer.listening, layer.heard = listening, None

    def rewire(self, step: int, engine: torch.optim.Optimizer) -> bool:
        """Move the patterns if this step is an update; True then, and there is no optimizer step."""
        moving = step in self.fractions
        if moving:
            last = last_layer(self.model)
            for name, layer in sparse_layers(self.model).items():
                moments = [value for value in engine.state.get(layer.values, {}).values()
                           if isinstance(value, Tensor) and value.shape == layer.values.shape]  # fmt: skip
                move(layer, self.fractions[step], gamma=0 if name == last else self.gamma, moments=moments)
            self.history.updates.append(step)
            if self.watch is not None:
                self.watch(step, self.model)
        self._listen(step + 1 in self.fractions)
        return moving


@torch.no_grad()
def move(layer: MovingLinear, fraction: float, *, gamma: float, moments: list[Tensor]) -> None:
    """One step of SRigL, in place. layer: after a backward pass with listening True. moments: (budget,) each, moved along.

    See srigl.srigl_step, which does the same to a mask.
    """
    require(
        layer.heard is not None, "layer.heard", None, "what a backward pass leaves", "set layer.listening before it"
    )
    values, places, alive = layer.in_use(layer.values), layer.places(), layer.alive
    require_finite(values, "live weights")
    for heard in layer.heard:
        require_finite(heard, "grad")
    inputs, budget, rows = layer.in_features, len(layer.values), alive.nonzero().squeeze(1)
    size = values.abs()
    keep, drop = drop_counts(size.numel(), int(size.count_nonzero()), fraction)
    found = candidates(layer, drop, min(inputs, layer.fan_in + layer.fan_in // 4 + 1))
    salient = _salient(layer, topk_mask(size, keep), places, found.largest(drop))
    left = surviving_neurons(salient, budget=budget, inputs=inputs, fan_in=layer.fan_in, gamma=gamma)
    fan_in = budget // int(left.count_nonzero())
    size = size.masked_fill(~left[rows, None], 0)
    kept = topk_mask(size, min(keep, int(size.count_nonzero())))
    kept = row_topk_mask(size.masked_fill(~kept, -math.inf), kept.count_nonzero(1).clamp(max=fan_in))
    wanted = fan_in * left.long()
    wanted[rows] -= kept.count_nonzero(1)
    if (
        fan_in > found.per_row
    ):  # the largest fan_in of a row hold all that can grow in it, and here they are not all there
        found = candidates(layer, drop, fan_in)
    grown = found.largest_in_rows(wanted, places[kept])
    new = np.sort(np.concatenate([places[kept].numpy(), grown]))  # torch sorts ten times as slowly
    _settle(layer, torch.from_numpy(new), left, moments)


def dense_gradient(layer: MovingLinear) -> Iterator[tuple[int, Tensor]]:
    """The gradient of every possible weight, block by block: (first row, |dL/dw| of some rows (rows, in))."""
    x, grad = layer.heard
    for first in range(0, layer.out_features, BLOCK_ROWS):
        rows = grad[:, first : first + BLOCK_ROWS]
        block = rows[0] @ x[0].T
        for panel in range(1, len(x)):
            block.addmm_(rows[panel], x[panel].T)
        yield first, block.abs_()


@dataclass(frozen=True)
class Candidates:
    """What may be salient or grow: the largest |dL/dw| of each row, per_row or more, and the `count` largest of all.

    sizes: (candidates,) float32. places: (candidates,) int64, row * in + column, increasing. starts: (out + 1,).
    """

    sizes: np.ndarray
    places: np.ndarray
    starts: np.ndarray
    per_row: int

    def largest(self, count: int) -> Tensor:
        """The places (int64, increasing) of the `count` largest of all; ties: the lowest place."""
        return torch.from_numpy(self.places[topk_mask(torch.from_numpy(self.sizes), count).numpy()])

    def largest_in_rows(self, wanted: Tensor, kept: Tensor) -> np.ndarray:
        """The places of the wanted[r] largest of each row outside those kept (increasing); ties: the lowest place."""
        found = np.empty(int(wanted.sum()), np.int64)
        steepest_in_rows(self.sizes, self.places, self.starts, wanted.numpy(), kept.numpy(), found)
        return found


def candidates(layer: MovingLinear, count: int, per_row: int) -> Candidates:
    """One pass over the gradient of every possible weight, block by block. count, per_row: see Candidates."""
    inputs, least = layer.in_features, _guessed_threshold(layer, count)
    room = layer.out_features * per_row * 3 // 2 + BLOCK_ROWS * inputs
    sizes, places, filled = np.empty(room, np.float32), np.empty(room, np.int64), 0
    starts, above_mean = np.empty(layer.out_features + 1, np.int64), np.float32(1)
    for first, block in dense_gradient(layer):
        if filled + block.numel() > len(sizes):
            sizes, places = (np.concatenate([array, np.empty_like(array)]) for array in (sizes, places))
        filled, above_mean = set_aside(block.numpy(), per_row, least, above_mean, first * inputs, sizes, places,
                                       starts[first : first + BLOCK_ROWS], filled)  # fmt: skip
    starts[-1] = filled
    if per_row < inputs and np.count_nonzero(sizes[:filled] > least) < count:
        return candidates(layer, count, inputs)  # the guess was too high: keep all, which is rare
    return Candidates(sizes[:filled], places[:filled], starts, per_row)


def _guessed_threshold(layer: MovingLinear, count: int) -> np.float32:
    """What about 1.5 * count of all |dL/dw| are above, going by a few rows."""
    x, grad = layer.heard
    few = grad[:, :: max(layer.out_features // 32, 1)]
    seen = torch.einsum("prb,pcb->rc", few, x).abs_().numpy().reshape(-1)
    above = min(int(1.5 * count * seen.size / (layer.out_features * layer.in_features)) + 1, seen.size)
    return np.partition(seen, seen.size - above)[seen.size - above]


def _salient(layer: MovingLinear, strong: Tensor, places: Tensor, steep: Tensor) -> Tensor:
    """Salient places of each neuron, (out,): live weights that are strong, and steep places that are not among them."""
    at = torch.from_numpy(where_before(places.flatten().numpy(), steep.numpy()))
    both = (at >= 0) & strong.flatten()[at]
    counts = torch.bincount(steep[~both] // layer.in_features, minlength=layer.out_features)
    counts[layer.alive] += strong.count_nonzero(1)
    return counts


def _settle(layer: MovingLinear, places: Tensor, alive: Tensor, moments: list[Tensor]) -> None:
    """Write the new pattern. A place that was live before keeps its value and its moments, another one has 0."""
    source = where_before(layer.places().flatten().numpy(), places.numpy())
    stays, source = torch.from_numpy(source >= 0), torch.from_numpy(source.clip(0))
    for flat in (layer.values.detach(), *moments):
        moved = flat[source] * stays
        flat.zero_()
        flat[: len(moved)] = moved
    layer.place(places, alive)
