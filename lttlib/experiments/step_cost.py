"""What a training step with masks costs over a dense one: whole runs of the loops that the book trains with, timed in turn.

Masks save no time here: the matrices are multiplied densely, and the masks come on top. "mask in the forward" is the
other way to simulate sparsity, the product of weight and mask as part of the graph. Data are random, which changes no
time. Records belong to a machine: run it where nothing else runs.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from lttkernels.bench.timing import keep_freed_memory, quartiles
from torch import nn
from torch.nn.utils import parametrize

from lttlib.arguments import require_choice
from lttlib.data import Data
from lttlib.masks import prunable
from lttlib.models import initialize, mlp
from lttlib.networks import Masks
from lttlib.sparse_training import first_masks, train_sparse
from lttlib.training import SGD, train

NETWORKS = {  # data: (widths, batch) of each network
    "digits": (((64, 128, 64, 10), 64), ((784, 300, 100, 10), 100)),
    "mnist": (((784, 300, 100, 10), 100), ((784, 1024, 1024, 1024, 10), 128)),
}
DENSITY = 0.1
INTERVAL = 100
Calls = dict[str, Callable[[], object]]


def cells(data: str, seeds: int) -> list[dict]:
    """One cell for each network and number of threads; seeds: repetitions of the whole."""
    require_choice(data, NETWORKS, "data")
    return [{"data": data, "network": network, "threads": threads, "repetition": repetition}
            for repetition in range(seeds) for network in range(len(NETWORKS[data])) for threads in (1, 2)]  # fmt: skip


def run(
    data: str, network: int, threads: int, repetition: int, interval: int = INTERVAL, rounds: int = 5
) -> list[dict]:
    """A row for each way to train: seconds of a step, and its cost over the dense step of the same round."""
    sizes, batch = NETWORKS[data][network]
    torch.set_num_threads(threads)  # run_grid puts it back
    calls = step_calls(sizes, batch, interval)
    seconds = in_turn(calls, rounds)
    steps = steps_of(interval)
    where = {"sizes": list(sizes), "batch": batch, "density": DENSITY, "interval": interval, "threads": threads,
             "repetition": repetition}  # fmt: skip
    return [where | {"way": way, "over_dense": [float(value) for value in taken / seconds["dense"]]}
            | quartiles(taken / steps) for way, taken in seconds.items()]  # fmt: skip


def in_turn(calls: Calls, rounds: int) -> dict[str, np.ndarray]:
    """Seconds of every call in each round. A first round warms up and is left out."""
    keep_freed_memory()
    found = {way: [] for way in calls}
    for _ in range(rounds + 1):
        for way, call in calls.items():
            start = time.perf_counter()
            call()
            found[way].append(time.perf_counter() - start)
    return {way: np.array(taken[1:]) for way, taken in found.items()}


def steps_of(interval: int) -> int:
    """Steps of one timed run: with them two updates."""
    return 2 * interval + 1


def step_calls(sizes: tuple[int, ...], batch: int, interval: int) -> Calls:
    """Whole runs by name, of steps_of(interval) steps each; sizes: units from the inputs to the classes."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.rand(64 * batch, sizes[0], generator=draw), torch.randint(10, (64 * batch,), generator=draw)
    data = Data("random", x, y, x[:1], y[:1])
    steps = steps_of(interval)
    shared = {"data": data, "steps": steps, "seed": 0, "batch_size": batch, "optimizer": SGD, "progress": False}

    def model() -> nn.Module:
        return initialize(mlp(sizes, generator=torch.Generator().manual_seed(0)), torch.Generator().manual_seed(0))

    masks = first_masks(model(), DENSITY, "erk", 0)
    calls: Calls = {"dense": partial(train, model(), **shared)}
    for method in ("static", "set", "rigl"):
        calls[method] = partial(
            train_sparse, model(), method=method, masks=masks, interval=interval, end=steps, **shared
        )
    calls["mask in the forward"] = partial(train, masked_in_forward(model(), masks), **shared)
    return calls


def masked_in_forward(model: nn.Module, masks: Masks) -> nn.Module:
    """The model, whose layers multiply weight and mask at each forward pass. masks: name of the weight to bool."""
    layers = {name.removesuffix(".weight"): masks[name] for name in prunable(model)}
    for name, mask in layers.items():
        parametrize.register_parametrization(model.get_submodule(name), "weight", _Masked(mask))
    return model


class _Masked(nn.Module):
    def __init__(self, mask: torch.Tensor):
        super().__init__()
        self.mask = mask.float()  # no buffer: it is no part of the state

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.mask
