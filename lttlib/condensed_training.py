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
from lttkernels.steepest import carry, merged, set_aside, steepest_in_rows, where_before
from torch import Tensor, nn

from lttlib.arguments import require, require_finite
from lttlib.condensed_layers import BLOCK_ROWS, MovingLinear
from lttlib.condensed_mlp import CondensedMLP
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

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """As OneNetwork.losses; of a CondensedMLP without the way back from panels to rows of logits."""
        if isinstance(self.model, CondensedMLP):
            return self.model.loss(x[0], y[0])[None]
        return super().losses(x, y)

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
    values, places, rows = (
        layer.in_use(layer.values),
        layer.places().flatten().numpy(),
        layer.alive.numpy().nonzero()[0],
    )
    require_finite(values, "live weights")
    for heard in layer.heard:
        require_finite(heard, "grad")
    inputs, budget = layer.in_features, len(layer.values)
    size = values.abs()
    keep, drop = drop_counts(size.numel(), int(size.count_nonzero()), fraction)
    strong = topk_mask(size, keep)
    found = candidates(layer, drop, min(inputs, drop // len(rows) * 3 // 2 + 8))
    salient = _salient(layer, strong, places, found.largest(drop))
    left = surviving_neurons(salient, budget=budget, inputs=inputs, fan_in=layer.fan_in, gamma=gamma)
    fan_in, kept = budget // int(left.count_nonzero()), strong
    if not left[rows].all():
        size = size.masked_fill(~left[rows, None], 0)
        kept = topk_mask(size, min(keep, int(size.count_nonzero())))
    if fan_in < layer.fan_in:  # a neuron has come back to life
        kept = row_topk_mask(size.masked_fill(~kept, -math.inf), kept.count_nonzero(1).clamp(max=fan_in))
    wanted = fan_in * left.numpy()
    wanted[rows] -= kept.numpy().sum(1)
    stay = places[kept.numpy().reshape(-1)]
    _settle(layer, merged(stay, grown(layer, found, wanted, stay)), left, moments)


def dense_gradient(layer: MovingLinear) -> Iterator[tuple[int, Tensor]]:
    """The gradient of every possible weight, block by block: (first row, |dL/dw| of some rows (rows, in))."""
    for first in range(0, layer.out_features, BLOCK_ROWS):
        yield first, _gradient_of(layer, slice(first, first + BLOCK_ROWS))


def _gradient_of(layer: MovingLinear, rows: slice | np.ndarray) -> Tensor:
    """|dL/dw| of every possible weight of these rows, (rows, in)."""
    x, grad = layer.heard
    rows = grad[:, rows]
    block = rows[0] @ x[0].T
    for panel in range(1, len(x)):
        block.addmm_(rows[panel], x[panel].T)
    return block.abs_()


@dataclass(frozen=True)
class Candidates:
    """What may be salient or grow: of each row its per_row largest |dL/dw| or more, and the `count` largest of all.

    sizes: (candidates,) float32. places: (candidates,) int64, row * in + column, increasing. starts: (out + 1,).
    """

    sizes: np.ndarray
    places: np.ndarray
    starts: np.ndarray

    def largest(self, count: int) -> np.ndarray:
        """The places (int64, increasing) of the `count` largest of all; ties: the lowest place."""
        return self.places[topk_mask(torch.from_numpy(self.sizes), count).numpy()]


def candidates(layer: MovingLinear, count: int, per_row: int) -> Candidates:
    """One pass over the gradient of every possible weight, block by block. count, per_row: see Candidates."""
    inputs, least = layer.in_features, _guessed_threshold(layer, count)
    room = layer.out_features * per_row * 3 + BLOCK_ROWS * inputs
    sizes, places, filled = np.empty(room, np.float32), np.empty(room, np.int64), 0
    starts, above_mean = np.empty(layer.out_features + 1, np.int64), np.float32(2)
    for first, block in dense_gradient(layer):
        if filled + block.numel() > len(sizes):
            sizes, places = (np.concatenate([array, np.empty_like(array)]) for array in (sizes, places))
        filled, above_mean = set_aside(block.numpy(), per_row, least, above_mean, first * inputs, sizes, places,
                                       starts[first : first + BLOCK_ROWS], filled)  # fmt: skip
    starts[-1] = filled
    if per_row < inputs and np.count_nonzero(sizes[:filled] > least) < count:
        return candidates(layer, count, inputs)  # the guess was too high: keep all, which is rare
    return Candidates(sizes[:filled], places[:filled], starts)


def grown(layer: MovingLinear, found: Candidates, wanted: np.ndarray, stay: np.ndarray) -> np.ndarray:
    """The places of the wanted[r] largest |dL/dw| of each row outside `stay`, all increasing; ties: the lowest place.

    The gradients of a row with too few candidates, which is rare, are computed once more.
    """
    slots = np.cumsum(wanted) - wanted
    places, short = np.empty(int(wanted.sum()), np.int64), np.zeros(len(wanted), bool)
    steepest_in_rows(found.sizes, found.places, found.starts, wanted, slots, stay, places, short)
    rows = np.flatnonzero(short)
    for first in range(0, len(rows), BLOCK_ROWS):
        some, inputs = rows[first : first + BLOCK_ROWS], layer.in_features
        every = (some[:, None] * inputs + np.arange(inputs)).reshape(-1)
        block = _gradient_of(layer, torch.from_numpy(some)).numpy().reshape(-1)
        starts = np.arange(len(some) + 1) * inputs
        steepest_in_rows(block, every, starts, wanted[some], slots[some], stay, places, short)
    return places


def _guessed_threshold(layer: MovingLinear, count: int) -> np.float32:
    """What about 1.5 * count of all |dL/dw| are above, going by a few rows."""
    x, grad = layer.heard
    few = grad[:, :: max(layer.out_features // 32, 1)]
    seen = torch.einsum("prb,pcb->rc", few, x).abs_().numpy().reshape(-1)
    above = min(int(1.5 * count * seen.size / (layer.out_features * layer.in_features)) + 1, seen.size)
    return np.partition(seen, seen.size - above)[seen.size - above]


def _salient(layer: MovingLinear, strong: Tensor, places: np.ndarray, steep: np.ndarray) -> Tensor:
    """Salient places of each neuron, (out,): live weights that are strong, and steep places that are not among them."""
    at = where_before(places, steep)
    both = (at >= 0) & strong.numpy().reshape(-1)[at]
    counts = np.bincount(steep[~both] // layer.in_features, minlength=layer.out_features)
    counts[layer.alive.numpy()] += strong.numpy().sum(1)
    return torch.from_numpy(counts)


def _settle(layer: MovingLinear, places: np.ndarray, alive: Tensor, moments: list[Tensor]) -> None:
    """Write the new pattern. A place that was live before keeps its value and its moments, another one has 0."""
    source = where_before(layer.places().flatten().numpy(), places)
    for flat in (layer.values.detach(), *moments):
        carry(flat.numpy(), source)
    layer.place(torch.from_numpy(places), alive)
