"""Dense, masked and truly sparse training of one perceptron: what it learns, what it takes, and how fast it answers.

Parts of a run: "accuracy", the same start trained dense, with masks on dense weights and without a dense weight; "vision
transformer", the same for the feed-forward blocks of a small transformer; "cost",
seconds of a step by optimizer and threads, and of one move of all patterns; "memory", what must be kept, and the highest
level a process reaches; "inference", the trained network condensed, beside the dense one. Records belong to a machine:
run it where nothing else runs. `cpu seconds` are those of the process's one thread, so they bear some company.
"""

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lttkernels.bench.timing import interleaved, keep_freed_memory, quartiles
from torch import Tensor, nn

from lttlib.arguments import require, require_choice
from lttlib.condensed_layers import MovingLinear
from lttlib.condensed_mlp import CondensedMLP
from lttlib.condensed_model import condense_model, save_condensed
from lttlib.condensed_training import move, train_condensed
from lttlib.data import Data, digits, mnist
from lttlib.dst import layer_densities
from lttlib.experiments.lottery_tickets import generator
from lttlib.experiments.step_cost import in_turn, masked_in_forward
from lttlib.masks import prunable
from lttlib.models import initialize, mlp
from lttlib.schedules import cosine
from lttlib.sparse_feed_forward import feed_forward_masks, with_condensed_feed_forwards
from lttlib.sparse_training import draws, rescaled, train_sparse
from lttlib.srigl import constant_fan_in_masks
from lttlib.training import SGD, Optimizer, train
from lttlib.transformers import VisionTransformer, dense_feed_forward

PARTS = ("accuracy", "vision transformer", "cost", "memory", "inference")
SPARSITY = 0.9
SPARSITIES = (0.8, 0.9, 0.95, 0.98, 0.99)
BATCHES = (1, 16, 256)
WAYS = ("dense", "masked", "mask in the forward", "truly sparse")
OPTIMIZERS: Mapping[str, Optimizer] = {  # to be timed on random data, where larger rates diverge
    "SGD": partial(torch.optim.SGD, lr=1e-3, momentum=0.9),
    "Adam": partial(torch.optim.Adam, lr=1e-4),
}


@dataclass(frozen=True)
class Setting:
    """Sizes of one recording. interval: steps between updates. side, patch: of the transformer's square images."""

    load: Callable[[], Data]
    sizes: tuple[int, ...]
    batch_size: int
    steps: int
    interval: int
    side: int = 8
    patch: int = 2


SETTINGS = {
    "digits": Setting(digits, (64, 256, 256, 256, 10), 128, 300, 50),
    "mnist": Setting(mnist, (784, 1024, 1024, 1024, 10), 128, 1000, 100, side=28, patch=7),
}
TRANSFORMER = {"width": 64, "heads": 4, "depth": 2}
FEED_FORWARD_HIDDEN = 256


def cells(data: str, seeds: int) -> list[dict]:
    """Accuracies for every seed; the other parts, which have no seeds, once."""
    require_choice(data, SETTINGS, "data")
    grid = [{"data": data, "part": part, "arm": arm, "value": SPARSITY, "seed": seed} for seed in range(seeds)
            for part in ("accuracy", "vision transformer") for arm in ("dense", "masked", "truly sparse")]  # fmt: skip
    grid += [{"data": data, "part": "memory", "arm": way, "value": SPARSITY, "seed": 0} for way in WAYS]
    grid += [{"data": data, "part": "inference", "arm": "truly sparse", "value": s, "seed": 0} for s in SPARSITIES]
    return grid + [{"data": data, "part": "cost", "arm": name, "value": threads, "seed": 0}
                   for name in OPTIMIZERS for threads in (1, 2)]  # fmt: skip


def run(data: str, part: str, arm: str, value: float, seed: int) -> list[dict]:
    """The rows of one cell. value: sparsity, or of the part "cost" the threads."""
    require_choice(part, PARTS, "part")
    rows_of = {"accuracy": _accuracy, "vision transformer": _vision_transformer, "cost": _cost, "memory": _memory,
               "inference": _inference}[part]  # fmt: skip
    torch.set_flush_denormal(True)  # see lottery_tickets.run
    try:
        found = rows_of(SETTINGS[data], arm, value, seed)
    finally:
        torch.set_flush_denormal(False)
    return [{"part": part, "arm": arm, "value": value, "seed": seed} | row for row in found]


def started(setting: Setting, sparsity: float, seed: int) -> tuple[nn.Sequential, dict[str, Tensor]]:
    """A fresh perceptron whose weights are scaled for the masks, and the masks: ERK, constant fan-in."""
    model = initialize(mlp(setting.sizes, generator=generator(seed)), generator(seed))
    shapes = {name: tuple(weight.shape) for name, weight in prunable(model).items()}
    masks = constant_fan_in_masks(shapes, layer_densities(shapes, 1 - sparsity, "erk"), draws(seed, 0))
    return rescaled(model, masks), masks


def _trained(setting: Setting, arm: str, sparsity: float, seed: int) -> tuple[nn.Module, float, float]:
    """(model, test accuracy, cpu seconds) of a whole run."""
    _warm_up(setting, arm)
    data, (model, masks) = setting.load(), started(setting, sparsity, seed)
    shared = {"steps": setting.steps, "seed": seed, "batch_size": setting.batch_size, "optimizer": SGD,
              "schedule": partial(cosine, end=setting.steps), "progress": False}  # fmt: skip
    start = time.thread_time()
    if arm == "dense":
        model = initialize(mlp(setting.sizes, generator=generator(seed)), generator(seed))
        history = train(model, data, **shared)
    elif arm == "masked":
        history = train_sparse(model, data, method="srigl", masks=masks, interval=setting.interval, **shared).history
    else:
        model = CondensedMLP.from_model(model, masks)
        history = train_condensed(model, data, interval=setting.interval, **shared)
    return model, history.test_accuracy[-1], time.thread_time() - start


def _accuracy(setting: Setting, arm: str, sparsity: float, seed: int) -> list[dict]:
    model, accuracy, seconds = _trained(setting, arm, sparsity, seed)
    layers = list(model)[::2]
    live = sum(int((m.values if isinstance(m, MovingLinear) else m.weight).count_nonzero()) for m in layers)
    return [{"accuracy": accuracy, "cpu_seconds": seconds, "live": live}]


def _vision_transformer(setting: Setting, arm: str, sparsity: float, seed: int) -> list[dict]:
    """Masks, or condensed layers, in the feed-forward blocks alone; 64 images a batch, half of the setting's steps."""
    data, steps = setting.load(), setting.steps // 2
    model = VisionTransformer(
        (setting.side, setting.side), patch=setting.patch, classes=data.classes, generator=generator(seed), **TRANSFORMER,
        feed_forward=lambda block: dense_feed_forward(
            TRANSFORMER["width"], FEED_FORWARD_HIDDEN, generator=generator(seed + 1000 * (block + 1))
        ),
    )  # fmt: skip
    masks = feed_forward_masks(model, 1 - sparsity, generator=draws(seed, 0))
    shared = {"steps": steps, "seed": seed, "batch_size": 64, "optimizer": partial(torch.optim.Adam, lr=1e-3),
              "schedule": partial(cosine, end=steps), "progress": False}  # fmt: skip
    start = time.thread_time()
    if arm == "dense":
        history = train(model, data, **shared)
    elif arm == "masked":
        rescaled(model, masks)
        history = train_sparse(model, data, method="srigl", masks=masks, interval=setting.interval, **shared).history
    else:
        model = with_condensed_feed_forwards(rescaled(model, masks), masks)
        history = train_condensed(model, data, interval=setting.interval, **shared)
    return [{"accuracy": history.test_accuracy[-1], "cpu_seconds": time.thread_time() - start}]


def step_call(way: str, setting: Setting, optimizer: Optimizer, *, steps: int | None = None) -> Callable[[], object]:
    """A whole run of one of WAYS on random data, of `steps` steps: by default two intervals and one."""
    steps = 2 * setting.interval + 1 if steps is None else steps
    x, y = _random_batch(setting, batches=8)
    data = Data("random", x, y, x[:1], y[:1])
    shared = {"data": data, "steps": steps, "seed": 0, "batch_size": setting.batch_size, "optimizer": optimizer,
              "progress": False}  # fmt: skip
    moving = {"interval": setting.interval, "end": steps}
    if way == "truly sparse":  # nothing dense on the way
        return partial(train_condensed, _never_dense(setting), **moving, **shared)
    model, masks = started(setting, SPARSITY, 0)
    if way == "masked":
        return partial(train_sparse, model, method="srigl", masks=masks, **moving, **shared)
    return partial(train, model if way == "dense" else masked_in_forward(model, masks), **shared)


def _never_dense(setting: Setting) -> CondensedMLP:
    return CondensedMLP(setting.sizes, density=1 - SPARSITY, generator=generator(0))


def _random_batch(setting: Setting, batches: int = 1) -> tuple[Tensor, Tensor]:
    draw, count = torch.Generator().manual_seed(0), batches * setting.batch_size
    x = torch.rand(count, setting.sizes[0], generator=draw)
    return x, torch.randint(setting.sizes[-1], (count,), generator=draw)


def _warm_up(setting: Setting, way: str) -> None:
    """Load and compile what a run needs, which is not to count: small networks, but indices of the same type."""
    sizes = tuple(min(units, 300) for units in setting.sizes)
    step_call(way, replace(setting, sizes=sizes, batch_size=64, interval=1), SGD)()


def growth_call(setting: Setting, optimizer: Optimizer) -> Callable[[], None]:
    """One move of all patterns of the truly sparse network, as it happens once in an interval."""
    model = _never_dense(setting)
    layers, last = model.sparse_layers(), list(model.linear_layers())[-1]
    for layer in layers.values():
        layer.listening = True
    x, y = _random_batch(setting)
    engine = optimizer(model.parameters())
    nn.functional.cross_entropy(model(x), y).backward()
    engine.step()

    def call() -> None:
        for name, layer in layers.items():
            moments = [value for value in engine.state[layer.values].values()
                       if isinstance(value, Tensor) and value.shape == layer.values.shape]  # fmt: skip
            move(layer, 0.15, gamma=0 if name == last else 0.3, moments=moments)

    return call


def _cost(setting: Setting, arm: str, threads: int, seed: int) -> list[dict]:
    """A row for each way, and one for the move of all patterns; arm: the optimizer."""
    torch.set_num_threads(threads)  # run_grid puts it back
    steps = 2 * setting.interval + 1
    seconds = in_turn({way: step_call(way, setting, OPTIMIZERS[arm]) for way in WAYS}, rounds=3)
    found = [{"way": way, "over_sparse": [float(ratio) for ratio in taken / seconds["truly sparse"]]}
             | quartiles(taken / steps) for way, taken in seconds.items()]  # fmt: skip
    moved = in_turn({"growth": growth_call(setting, OPTIMIZERS[arm])}, rounds=5)["growth"]
    return [*found, {"way": "growth", "interval": setting.interval} | quartiles(moved)]


def state_bytes(model: nn.Module, engine: torch.optim.Optimizer) -> int:
    """Bytes of weights, gradients, optimizer state, and of the patterns of truly sparse layers."""
    kept = [*model.parameters(), *model.buffers()]
    kept += [p.grad for p in model.parameters() if p.grad is not None]
    kept += [value for state in engine.state.values() for value in state.values() if isinstance(value, Tensor)]
    patterns = [m.pattern() for m in model.modules() if isinstance(m, MovingLinear)]
    beside = sum(pattern.bytes - pattern.indices.nbytes for pattern in patterns)  # the indices are those of a buffer
    return sum(tensor.nbytes for tensor in kept) + beside


def _memory(setting: Setting, arm: str, sparsity: float, seed: int) -> list[dict]:
    """State by optimizer, counted, and with SGD the highest level of a process of its own above that before training."""
    rows = []
    for name, optimizer in OPTIMIZERS.items():
        model, masks = started(setting, sparsity, seed)
        model = _never_dense(setting) if arm == "truly sparse" else model
        engine = optimizer(model.parameters())
        x, y = _random_batch(setting)
        nn.functional.cross_entropy(model(x), y).backward()
        engine.step()
        entry = {"masked": 1, "mask in the forward": 4}.get(arm, 0)  # bytes of a mask's entry: bool, or float32
        taken = state_bytes(model, engine) + entry * sum(mask.numel() for mask in masks.values())
        rows.append({"optimizer": name, "state_bytes": taken})
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        rows[0]["peak_bytes"] = pool.apply(_peak, (setting, arm))
    return rows


def _peak(setting: Setting, arm: str) -> int:
    """The highest resident memory of this process, from the first weight to the last step, above that before. Linux."""
    linux = sys.platform == "linux"
    require(linux, "sys.platform", sys.platform, "linux", "the highest level can be reset there alone")
    torch.set_num_threads(1)
    _warm_up(setting, arm)
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    step_call(arm, setting, OPTIMIZERS["SGD"], steps=setting.interval + 2)()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def _inference(setting: Setting, arm: str, sparsity: float, seed: int) -> list[dict]:
    """The trained network condensed: accuracy, bytes on disk, and seconds of an answer beside the dense network's."""
    keep_freed_memory()
    model, accuracy, _ = _trained(setting, arm, sparsity, seed)
    condensed, data = condense_model(model), setting.load()
    with torch.inference_mode():
        again = float((condensed(data.x_test).argmax(1) == data.y_test).float().mean())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "condensed.safetensors"
        save_condensed(condensed, path)
        size = path.stat().st_size
    dense = mlp(setting.sizes, generator=generator(seed))
    dense_bytes = sum(p.nbytes for p in dense.parameters())
    shared = {"accuracy": accuracy, "condensed_accuracy": again, "file_bytes": size, "dense_bytes": dense_bytes,
              "neurons": [layer.neurons for layer in model.sparse_layers().values()],
              "fan_in": [layer.fan_in for layer in model.sparse_layers().values()]}  # fmt: skip
    rows = []
    for threads in (1, 2):
        torch.set_num_threads(threads)  # run_grid puts it back
        for batch in BATCHES:
            x = torch.rand(batch, setting.sizes[0], generator=torch.Generator().manual_seed(0))
            with torch.inference_mode():
                seconds = interleaved({"dense": partial(dense, x), "condensed": partial(condensed, x)}, threads=threads)
            rows += [shared | {"batch": batch, "threads": threads, "network": name} | quartiles(taken)
                     for name, taken in seconds.items()]  # fmt: skip
    return rows


def ratio(found: list[dict], numerator: Mapping, denominator: Mapping) -> float:
    """Median seconds of the one row with these fields over those of the other."""
    seconds = []
    for wanted in (numerator, denominator):
        (row,) = (row for row in found if all(row.get(key) == value for key, value in wanted.items()))
        seconds.append(row["median_s"])
    return float(np.divide(*seconds))
