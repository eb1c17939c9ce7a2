"""Masks that move: static, SET, RigL and gradual pruning at equal counts, and what updates explore.

Parts of a run: "densities", all arms over densities; "intervals", how often masks move against what they explore and
reach (Liu et al. 2021, arXiv:2102.02887); "widths", random static masks as the network grows (Liu et al. 2022,
arXiv:2202.02643); "convolutions", LeNet-5 at one density. Test accuracy of the last evaluation; nothing is tuned per arm.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from lttlib.arguments import require_choice
from lttlib.data import Data, digits, disguised_digits, mnist
from lttlib.experiments.lottery_tickets import generator
from lttlib.masks import prunable
from lttlib.models import initialize, lenet5, mlp
from lttlib.sparse_training import train_sparse
from lttlib.training import Optimizer, train

PARTS = ("densities", "intervals", "widths", "convolutions")
ARMS: Mapping[str, dict] = {  # of "densities"; times: steps over those of the others
    "static, uniform": {"method": "static", "distribution": "uniform"},
    "static, ERK": {"method": "static", "distribution": "erk"},
    "SET, ERK": {"method": "set", "distribution": "erk"},
    "RigL, uniform": {"method": "rigl", "distribution": "uniform"},
    "RigL, ERK": {"method": "rigl", "distribution": "erk"},
    "RigL, ERK, 5 times as long": {"method": "rigl", "distribution": "erk", "times": 5},
    "gradual pruning, ERK": {"method": "gmp", "distribution": "erk"},
}
CONVOLUTION_ARMS = tuple(name for name in ARMS if "5 times" not in name)


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


MOMENTUM = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
SMALL = {"hidden": (64, 128, 64), "optimizer": MOMENTUM, "batch_size": 64, "steps": 1500, "interval": 50,
         "densities": (0.2, 0.1, 0.05, 0.03, 0.02), "intervals": (10, 25, 50, 100, 400), "interval_densities": (0.03,),
         "widths": (16, 32, 64, 128, 256), "width_densities": (0.1,), "convolution_density": None}  # fmt: skip
SETTINGS = {
    "digits": Setting(digits, **SMALL),
    "disguised digits": Setting(disguised_digits, **SMALL),
    "mnist": Setting(mnist, (300, 100), partial(torch.optim.SGD, lr=0.05, momentum=0.9), 100, 6000, 100,
                     (0.2, 0.1, 0.05, 0.02), (10, 30, 100, 300, 1000), (0.05, 0.02), (30, 100, 300, 1000), (0.2, 0.05),
                     0.05),
}  # fmt: skip


def cells(data: str, seeds: int) -> list[dict]:
    """The grid, one seed after the other, so that an interrupted recording has whole seeds. LeNet-5 has three at most."""
    require_choice(data, SETTINGS, "data")
    setting, grid = SETTINGS[data], []
    for seed in range(seeds):
        where = {"data": data, "seed": seed}
        grid.append(where | {"part": "densities", "arm": "dense", "value": 1.0})
        grid += [where | {"part": "densities", "arm": arm, "value": density}
                 for density in setting.densities for arm in ARMS]  # fmt: skip
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
    """An arm of ARMS, or "dense"."""
    return _trained(setting, data, setting.network(data, seed), arm, density, seed)


def convolution_row(setting: Setting, data: Data, arm: str, density: float, seed: int) -> dict:
    """As density_row, with LeNet-5."""
    return _trained(setting, data, setting.convolutional(seed), arm, density, seed)


def interval_row(setting: Setting, data: Data, arm: str, density: float, seed: int) -> dict:
    """arm: "set, 100" for updates every 100 steps; ERK."""
    method, interval = arm.split(", ")
    options = {"method": method, "distribution": "erk", "density": density, "interval": int(interval)}
    return _sparse(setting, data, setting.network(data, seed), seed, setting.steps, options)


def width_row(setting: Setting, data: Data, arm: str, width: int, seed: int) -> dict:
    """arm: "dense" or "static, 0.05" (ERK). width: units of the first hidden layer; the others keep their proportions."""
    hidden = tuple(max(1, round(units * width / setting.hidden[0])) for units in setting.hidden)
    model = setting.network(data, seed, hidden)
    if arm == "dense":
        return _dense(setting, data, model, seed)
    options = {"method": "static", "distribution": "erk", "density": float(arm.split(", ")[1])}
    return _sparse(setting, data, model, seed, setting.steps, options)


RUNS = {"densities": density_row, "intervals": interval_row, "widths": width_row, "convolutions": convolution_row}


def _trained(setting: Setting, data: Data, model: nn.Module, arm: str, density: float, seed: int) -> dict:
    if arm == "dense":
        return _dense(setting, data, model, seed)
    options = dict(ARMS[arm]) | {"density": density, "interval": setting.interval}
    steps = options.pop("times", 1) * setting.steps
    return _sparse(setting, data, model, seed, steps, options)


def _dense(setting: Setting, data: Data, model: nn.Module, seed: int) -> dict:
    history = train(model, data, steps=setting.steps, optimizer=setting.optimizer, batch_size=setting.batch_size,
                    seed=seed, progress=False)  # fmt: skip
    weights = sum(weight.numel() for weight in prunable(model).values())
    return {"steps": setting.steps, "accuracy": history.test_accuracy[-1], "live": weights}


def _sparse(setting: Setting, data: Data, model: nn.Module, seed: int, steps: int, options: dict) -> dict:
    found = train_sparse(model, data, steps=steps, seed=seed, optimizer=setting.optimizer,
                         batch_size=setting.batch_size, progress=False, **options)  # fmt: skip
    return {
        "steps": steps,
        "accuracy": found.history.test_accuracy[-1],
        "live": sum(int(mask.sum()) for mask in found.masks.values()),
        "layers": {name: int(mask.sum()) for name, mask in found.masks.items()},
        "dead rows": {name: int((mask.flatten(1).sum(1) == 0).sum()) for name, mask in found.masks.items()},
        "updates": len(found.history.updates),
        "explored": found.exploration,
    }
