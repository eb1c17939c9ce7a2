"""Training with masks that move: static, SET, RigL, gradual magnitude pruning and Structured RigL in one loop.

    every step:          gradient step on all weights, then the dead ones back to 0
    at an update, instead: the mask of every layer moves (lttlib.dst), new weights and their moments start at 0

Updates are at 0 < step < end where step is a multiple of the interval. The loop is that of lttlib.training; only the
update is new. Torch computes gradients densely anyway, and a dead weight's gradient reaches nothing but its own moments,
which are cleared when it is born; so the dense gradient counts only at updates. Book: "Masks that move".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lttlib.arguments import require, require_choice, require_mask, require_same_keys
from lttlib.data import Data
from lttlib.dst import gradual_count, layer_densities, magnitude_step, rigl_step, set_step, update_steps
from lttlib.masks import density as live_share
from lttlib.masks import prunable, random_masks
from lttlib.networks import Masks, OneNetwork
from lttlib.schedules import rigl_drop_fraction
from lttlib.srigl import constant_fan_in_masks, srigl_step
from lttlib.training import SGD, History, Optimizer, Schedule, Validation, run_loop

METHODS = ("static", "set", "rigl", "gmp", "srigl")
Watch = Callable[[int, Masks], None]


@dataclass
class SparseHistory(History):
    """A History that also knows when the masks moved: the steps, and the share of weights ever live (R_s) after each."""

    updates: list[int] = field(default_factory=list)
    explored: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class SparseRun:
    """What train_sparse leaves: the history, the final masks, and where a weight was live at least once (bool)."""

    history: SparseHistory
    masks: dict[str, Tensor]
    ever_live: dict[str, Tensor]

    @property
    def exploration(self) -> float:
        """R_s at the end: the share of weights that were live at least once."""
        return live_share(self.ever_live)


def train_sparse(
    model: nn.Module,
    data: Data,
    *,
    method: str,
    density: float | None = None,
    distribution: str | None = None,
    steps: int,
    seed: int,
    interval: int = 100,
    alpha: float = 0.3,
    end: int | None = None,
    drop: Schedule | None = None,
    gamma: float = 0.3,
    masks: Masks | None = None,
    optimizer: Optimizer = SGD,
    batch_size: int = 64,
    eval_every: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    schedule: Schedule | None = None,
    validation: Validation | None = None,
    watch: Watch | None = None,
) -> SparseRun:
    """Train model in place with masks on all its prunable weights; returns a SparseRun.

    method: "static" never moves the masks, "set" and "rigl" see lttlib.dst, "gmp" starts dense and removes the smallest
    |w| of each layer until density is reached at its last update, "srigl" see lttlib.srigl. density in (0, 1] of all prunable weights and
    distribution ("uniform", "er", "erk") over the layers give the counts of the initial random masks, or of gmp's last
    ones; masks (name to bool, every prunable weight) start from others. Counts never change but in gmp and in srigl, whose
    masks have constant fan-in and never more live weights than the others. interval: steps between updates. end: the first step that has none any more, by default three quarters of the steps. alpha: first
    drop fraction of RigL's cosine, used for SET and SRigL, too; drop: step to another fraction. gamma: share of the fan-in
    that must be salient for a neuron to survive in srigl, where the last layer loses none; 0 ablates no neuron. seed: order of the data, initial
    masks, SET's draws; the unstructured methods start from the same masks. watch(step, masks): called with the initial masks, as
    step 0, and after each update, not for what a checkpoint already holds. The others: see training.train.
    """
    require_choice(method, METHODS, "method")
    require(0 <= gamma <= 1, "gamma", gamma, "a number in [0, 1]", "it is a share of the fan-in; 0 ablates no neuron")
    end = 3 * steps // 4 if end is None else end
    require(end <= steps, "end", end, f"0 to steps = {steps}", "masks move only while training goes on")
    updates = update_steps(interval, end)
    if masks is None:
        require(None not in (density, distribution), "density, distribution", (density, distribution), "both",
                "or pass initial masks")  # fmt: skip
        masks, final = _drawn(model, method, density, distribution, updates, seed)
    else:
        require(density is None and distribution is None, "density, distribution", (density, distribution),
                "None where masks are given", "the masks say what is live")  # fmt: skip
        masks = _given(model, method, masks)
        final = {name: live_share({name: mask}) for name, mask in masks.items()} if method == "srigl" else None
    drop = partial(rigl_drop_fraction, alpha=alpha, end=end) if drop is None else drop
    fractions = {step: drop(step) for step in updates} if method in ("set", "rigl", "srigl") else {}
    network = _MovingNetwork(model, masks, method, updates, fractions, final, seed, watch, gamma)
    settings = {"method": method, "updates": [interval, end], "fractions": list(fractions.values()), "final": final,
                "live": {name: int(mask.sum()) for name, mask in masks.items()}}  # fmt: skip
    settings |= {"gamma": gamma} if method == "srigl" else {}
    run_loop(network, data, [seed], steps=steps, optimizer=optimizer, batch_size=batch_size, eval_every=eval_every,
             checkpoint=checkpoint, progress=progress, start=0, schedule=schedule, validation=validation,
             settings=settings, histories=[network.history])  # fmt: skip
    return SparseRun(network.history, network.masks(), network.ever_live)


def first_masks(model: nn.Module, density: float, distribution: str, seed: int) -> dict[str, Tensor]:
    """The random masks with which train_sparse starts: name to bool, for every prunable weight, on its device."""
    weights = prunable(model)
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    drawn = random_masks(shapes, layer_densities(shapes, density, distribution), draws(seed, 0))
    return {name: drawn[name].to(weight.device) for name, weight in weights.items()}


@torch.no_grad()
def rescaled(model: nn.Module, masks: Masks) -> nn.Module:
    """The model, its weights scaled in place so that each neuron has the variance that it had before its inputs went.

    A row with fan-in n of which k inputs are live is multiplied by sqrt(n / k); rows without any are left alone. masks:
    name to bool, every prunable weight. Evci et al. 2022, arXiv:2010.03533, draw sparse networks this way. Networks with
    batch norm need it less.
    """
    weights = prunable(model)
    require_same_keys(masks, weights, "masks", "prunable(model)")
    for name, weight in weights.items():
        require_mask(masks[name], weight.shape, f"masks[{name!r}]")
        rows = masks[name].flatten(1)
        factors = (rows.shape[1] / rows.sum(1).clamp(min=1)).sqrt()
        factors[~rows.any(1)] = 1
        weight *= factors.view(-1, *[1] * (weight.ndim - 1))
    return model


def draws(seed: int, step: int) -> torch.Generator:
    """The random numbers of one update; step 0 is the initial masks. Nothing to save: a resumed run draws the same."""
    state = np.random.SeedSequence([seed % 2**64, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) % 2**63)


def _drawn(model, method: str, density: float, distribution: str, updates: range, seed: int):
    """(initial masks, the densities that gmp ends with or that are srigl's budget, else None)."""
    if method not in ("gmp", "srigl"):
        return first_masks(model, density, distribution, seed), None
    weights = prunable(model)
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    shares = layer_densities(shapes, density, distribution)
    if method == "srigl":
        drawn = constant_fan_in_masks(shapes, shares, draws(seed, 0))
        return {name: drawn[name].to(weight.device) for name, weight in weights.items()}, shares
    require(len(updates) > 0, "interval, end", (updates.step, updates.stop), "an update before the end",
            "gmp prunes only at updates")  # fmt: skip
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}, shares


def _given(model, method: str, masks: Masks) -> dict[str, Tensor]:
    """The masks of the caller, checked, in the order of the layers."""
    weights = prunable(model)
    require(method != "gmp", "masks", "given", "None with method 'gmp'", "gmp starts dense")
    require_same_keys(masks, weights, "masks", "prunable(model)")
    for name, mask in masks.items():
        require_mask(mask, weights[name].shape, f"masks[{name!r}]")
    return {name: masks[name].to(weight.device) for name, weight in weights.items()}


class _MovingNetwork(OneNetwork):
    """One network whose masks move. They are part of its state, so a checkpoint holds them."""

    def __init__(
        self, model, masks: Masks, method: str, updates: Sequence[int], fractions, final, seed: int, watch, gamma
    ):
        super().__init__(model, masks)
        self.method, self.updates, self.fractions, self.final, self.seed = method, updates, fractions, final, seed
        self.watch, self.gamma, self.history = watch, gamma, SparseHistory()
        self.weights = {name: weight for name, weight in model.named_parameters() if name in masks}
        self.dead = dict(zip(masks, self._dead, strict=True))
        self.ever_live = {name: mask.clone() for name, mask in masks.items()}
        self.state = dict(self.state)
        self.state |= {f"{name}, bits kept": dead.keep for name, dead in self.dead.items()}
        self.state |= {f"{name}, ever live": ever for name, ever in self.ever_live.items()}
        if watch is not None:
            watch(0, self.masks())

    def masks(self) -> dict[str, Tensor]:
        """The masks as they are now, as copies."""
        return {name: dead.live for name, dead in self.dead.items()}

    @torch.no_grad()
    def rewire(self, step: int, engine: torch.optim.Optimizer) -> bool:
        """Move the masks if this step is an update; True then, and there is no optimizer step."""
        if self.method == "static" or step not in self.updates:
            return False
        generator = draws(self.seed, step)
        for name, weight in self.weights.items():
            before = self.dead[name].live
            after = self._moved(name, weight, before, step, generator)
            self.dead[name].move(after)
            self.dead[name].clear()
            _clear_moments(engine, weight, after & ~before)
            self.ever_live[name] |= after
        self.history.updates.append(step)
        self.history.explored.append(live_share(self.ever_live))
        if self.watch is not None:
            self.watch(step, self.masks())
        return True

    def _moved(self, name: str, weight: Tensor, mask: Tensor, step: int, generator: torch.Generator) -> Tensor:
        """The mask of one layer after the update."""
        if self.method == "gmp":
            return magnitude_step(weight, mask, gradual_count(mask.numel(), self.final[name], step, self.updates))
        if self.method == "set":
            return set_step(weight, mask, self.fractions[step], generator)
        if self.method == "srigl":
            last = name == list(self.weights)[-1]
            return srigl_step(weight, weight.grad, mask, self.fractions[step], sparsity=1 - self.final[name],
                              gamma=self.gamma, last_layer=last)  # fmt: skip
        return rigl_step(weight, weight.grad, mask, self.fractions[step])


def _clear_moments(engine: torch.optim.Optimizer, weight: Tensor, born: Tensor) -> None:
    """Set what the optimizer remembers of newborn weights to 0: momentum, or both of Adam's moments."""
    for value in engine.state.get(weight, {}).values():
        if isinstance(value, Tensor) and value.shape == weight.shape:
            value[born] = 0
