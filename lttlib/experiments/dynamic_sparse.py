"""Masks that move: static, SET, RigL and gradual pruning at equal counts, and what updates explore.

Parts of a run: "densities", all arms over densities (ERK unless said); "intervals", how often masks move against what
they explore and reach (Liu et al. 2021, arXiv:2102.02887); "widths", random static masks as the network grows (Liu et
al. 2022, arXiv:2202.02643); "convolutions", LeNet-5 at one density. Test accuracy of the last evaluation; the learning
rate falls to 0 along a cosine, however long the run, and nothing is tuned per arm. "training flops" of the arm with
RigL's last mask leave out the search for the mask.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from lttlib.arguments import require_choice
from lttlib.data import Data, digits, disguised_digits, mnist
from lttlib.experiments.lottery_tickets import generator
from lttlib.masks import prunable
from lttlib.models import initialize, lenet5, mlp
from lttlib.schedules import cosine, itop_drop_fraction
from lttlib.sparse_flops import forward_flops, live_counts, training_flops, weight_uses
from lttlib.sparse_training import SparseRun, first_masks, rescaled, train_sparse
from lttlib.training import SGD, Optimizer, train

PARTS = ("densities", "intervals", "widths", "convolutions")


@dataclass(frozen=True)
class Arm:
    """A way to train at a density. times: length of the run over that of the others.

    rescaled: see sparse_training.rescaled; without it the initial weights are those of the dense network. updates: with
    it the settings of ITOP, that many updates until the last step and half of the weights replaced at first; without it
    the setting's interval and RigL's fractions. hindsight: the masks with which RigL ended, kept still, from the same
    initial weights, rescaled for these masks.
    """

    method: str
    distribution: str = "erk"
    times: int = 1
    rescaled: bool = True
    updates: int | None = None
    hindsight: bool = False


LONG = "RigL, 5 times as long"
ARMS: Mapping[str, Arm] = {  # ITOP: 200 epochs of 391 steps, an update every 1,500 (SET) or every 4,000 (RigL)
    "static": Arm("static"),
    "SET": Arm("set"),
    "RigL": Arm("rigl"),
    "static, uniform": Arm("static", "uniform"),
    "RigL, uniform": Arm("rigl", "uniform"),
    "static, dense start": Arm("static", rescaled=False),
    "SET, dense start": Arm("set", rescaled=False),
    "RigL, dense start": Arm("rigl", rescaled=False),
    "static, RigL's last mask": Arm("static", hindsight=True),
    "SET, ITOP's settings": Arm("set", updates=52),
    "RigL, ITOP's settings": Arm("rigl", updates=19),
    LONG: Arm("rigl", times=5),
    "gradual pruning": Arm("gmp", rescaled=False),
}
DENSE = {"dense": 1, "dense, 5 times as long": 5}
CONVOLUTION_ARMS = ("static", "SET", "RigL", "static, uniform", "gradual pruning")


@dataclass(frozen=True)
class Setting:
    """Sizes of one recording. interval: steps between updates in all parts but "intervals"."""

    load: Callable[[], Data]
    hidden: tuple[int, ...]
    optimizer: Optimizer
    batch_size: int
    steps: int
    interval: int
    densities: tuple[float, ...]
    long_densities: tuple[float, ...]
    intervals: tuple[int, ...]
    interval_densities: tuple[float, ...]
    widths: tuple[int, ...]
    width_densities: tuple[float, ...]
    convolution_density: float | None

    def network(self, data: Data, seed: int, hidden: tuple[int, ...] | None = None) -> nn.Module:
        """A fresh dense perceptron; hidden: units of its hidden layers, the setting's if None."""
        hidden = self.hidden if hidden is None else hidden
        return initialize(mlp((data.features, *hidden, data.classes), generator=generator(seed)), generator(seed))

    def convolutional(self, seed: int) -> nn.Module:
        """A fresh dense LeNet-5."""
        return initialize(lenet5(generator=generator(seed)), generator(seed))


ADAM = partial(torch.optim.Adam, lr=1e-3)
SMALL = {"hidden": (128, 64), "optimizer": SGD, "batch_size": 64, "steps": 1500, "interval": 50,
         "densities": (0.2, 0.1, 0.05, 0.03, 0.02), "long_densities": (0.1, 0.05, 0.03, 0.02),
         "intervals": (10, 25, 50, 100, 400), "interval_densities": (0.03,),
         "widths": (16, 32, 64, 128, 256), "width_densities": (0.1,), "convolution_density": None}  # fmt: skip
SETTINGS = {
    "digits": Setting(digits, **SMALL),
    "disguised digits": Setting(disguised_digits, **SMALL),
    "mnist": Setting(mnist, (300, 100), SGD, 100, 3000, 100, (0.2, 0.1, 0.05, 0.02), (0.05, 0.02),
                     (10, 30, 100, 300, 1000), (0.02,), (30, 100, 300, 1000), (0.2, 0.05), 0.05),
}  # fmt: skip


def cells(data: str, seeds: int) -> list[dict]:
    """The grid, one seed after the other, so that an interrupted recording has whole seeds. LeNet-5 has three at most."""
    require_choice(data, SETTINGS, "data")
    setting, grid = SETTINGS[data], []
    for seed in range(seeds):
        where = {"data": data, "seed": seed}
        grid += [where | {"part": "densities", "arm": arm, "value": 1.0} for arm in DENSE]
        grid += [where | {"part": "densities", "arm": arm, "value": density} for density in setting.densities
                 for arm in ARMS if arm != LONG or density in setting.long_densities]  # fmt: skip
        grid += [where | {"part": "intervals", "arm": f"{method}, {interval}", "value": density}
                 for density in setting.interval_densities for method in ("set", "rigl")
                 for interval in setting.intervals]  # fmt: skip
        grid += [where | {"part": "widths", "arm": arm, "value": width} for width in setting.widths
                 for arm in ("dense", *(f"static, {density}" for density in setting.width_densities))]  # fmt: skip
        if setting.convolution_density is not None and seed < 3:
            grid += [where | {"part": "convolutions", "arm": arm, "value": setting.convolution_density}
                     for arm in ("dense", *CONVOLUTION_ARMS)]  # fmt: skip
    return grid


def run(data: str, part: str, arm: str, value: float, seed: int) -> list[dict]:
    """The row of one cell: accuracy, and of a sparse network its live weights, updates and the share ever live."""
    require_choice(part, PARTS, "part")
    setting = SETTINGS[data]
    torch.set_flush_denormal(True)  # see lottery_tickets.run
    try:
        found = RUNS[part](setting, setting.load(), arm, value, seed)
    finally:
        torch.set_flush_denormal(False)
    return [{"part": part, "arm": arm, "value": value, "seed": seed} | found]


def density_row(setting: Setting, data: Data, arm: str, density: float, seed: int) -> dict:
    """An arm of ARMS or of DENSE."""
    return _trained(setting, data, partial(setting.network, data, seed), arm, density, seed)


def convolution_row(setting: Setting, data: Data, arm: str, density: float, seed: int) -> dict:
    """As density_row, with LeNet-5: half as many steps, and Adam, for SGD at our rate diverges on it."""
    setting = replace(setting, steps=setting.steps // 2, optimizer=ADAM)
    return _trained(setting, data, partial(setting.convolutional, seed), arm, density, seed)


def interval_row(setting: Setting, data: Data, arm: str, density: float, seed: int) -> dict:
    """arm: "set, 100" for updates every 100 steps; ERK, rescaled."""
    method, interval = arm.split(", ")
    model = setting.network(data, seed)
    masks = first_masks(model, density, "erk", seed)
    options = {"method": method, "masks": masks, "interval": int(interval)}
    return _sparse(setting, data, rescaled(model, masks), seed, setting.steps, options)


def width_row(setting: Setting, data: Data, arm: str, width: int, seed: int) -> dict:
    """arm: "dense" or "static, 0.05" (ERK, rescaled). width: units of the first hidden layer; the others keep their share."""
    hidden = tuple(max(1, round(units * width / setting.hidden[0])) for units in setting.hidden)
    model = setting.network(data, seed, hidden)
    if arm == "dense":
        return _dense(setting, data, model, seed, setting.steps)
    masks = first_masks(model, float(arm.split(", ")[1]), "erk", seed)
    return _sparse(setting, data, rescaled(model, masks), seed, setting.steps, {"method": "static", "masks": masks})


RUNS = {"densities": density_row, "intervals": interval_row, "widths": width_row, "convolutions": convolution_row}


def _trained(
    setting: Setting, data: Data, network: Callable[[], nn.Module], arm: str, density: float, seed: int
) -> dict:
    """network: a fresh one, the same at every call."""
    if arm in DENSE:
        return _dense(setting, data, network(), seed, DENSE[arm] * setting.steps)
    how, steps, model = ARMS[arm], ARMS[arm].times * setting.steps, network()
    options = {"method": how.method, "interval": setting.interval}
    if how.updates is not None:
        options |= {"interval": steps // how.updates, "end": steps, "drop": partial(itop_drop_fraction, end=steps)}
    if how.method == "gmp":
        return _sparse(setting, data, model, seed, steps, options | {"density": density, "distribution": "erk"})
    masks = first_masks(model, density, how.distribution, seed)
    if how.hindsight:
        searched = rescaled(network(), masks) if how.rescaled else network()
        masks = _run(setting, data, searched, seed, steps, options | {"method": "rigl", "masks": masks}).masks
    model = rescaled(model, masks) if how.rescaled else model
    return _sparse(setting, data, model, seed, steps, options | {"masks": masks})


def _dense(setting: Setting, data: Data, model: nn.Module, seed: int, steps: int) -> dict:
    history = train(model, data, steps=steps, optimizer=setting.optimizer, batch_size=setting.batch_size,
                    seed=seed, schedule=partial(cosine, end=steps), progress=False)  # fmt: skip
    live = {name: weight.numel() for name, weight in prunable(model).items()}
    uses = weight_uses(model, data.x_test[:1])
    return {
        "steps": steps,
        "accuracy": history.test_accuracy[-1],
        "live": sum(live.values()),
        "inference flops": forward_flops(uses, live),
        "training flops": training_flops("dense", uses, live, steps=steps, batch_size=setting.batch_size),
    }


def _run(setting: Setting, data: Data, model: nn.Module, seed: int, steps: int, options: dict) -> SparseRun:
    return train_sparse(model, data, steps=steps, seed=seed, optimizer=setting.optimizer, progress=False,
                        batch_size=setting.batch_size, schedule=partial(cosine, end=steps), **options)  # fmt: skip


def _sparse(setting: Setting, data: Data, model: nn.Module, seed: int, steps: int, options: dict) -> dict:
    found = _run(setting, data, model, seed, steps, options)
    live, uses = live_counts(found.masks), weight_uses(model, data.x_test[:1])
    sizes = {name: mask.numel() for name, mask in found.masks.items()}
    times = {"interval": options.get("interval", 1), "end": options.get("end")}
    flops = training_flops(options["method"], uses, sizes, {name: live[name] / sizes[name] for name in sizes},
                           steps=steps, batch_size=setting.batch_size, **times)  # fmt: skip
    return {
        "steps": steps,
        "accuracy": found.history.test_accuracy[-1],
        "live": sum(live.values()),
        "inference flops": forward_flops(uses, live),
        "training flops": flops,
        "layers": live,
        "dead rows": {name: int((mask.flatten(1).sum(1) == 0).sum()) for name, mask in found.masks.items()},
        "updates": len(found.history.updates),
        "explored": found.exploration,
    }
