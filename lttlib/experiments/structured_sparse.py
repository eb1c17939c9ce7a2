"""Structured RigL beside RigL and N:M: the same budgets, patterns of different freedom, with and without ablation.

Parts of a run: "sparsities", all arms over sparsities (ERK); "gammas", the ablation ratio at one sparsity; "patterns",
three live weights of 32 everywhere, free, with constant fan-in, and in groups of 32. Test accuracy of the last
evaluation; networks, steps and rates are those of dynamic_sparse, and nothing is tuned per arm.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from lttlib.arguments import require_choice
from lttlib.data import Data
from lttlib.dst import layer_densities
from lttlib.experiments.dynamic_sparse import SETTINGS, Setting
from lttlib.masks import prunable
from lttlib.schedules import cosine
from lttlib.sparse_training import draws, first_masks, rescaled, train_sparse
from lttlib.sr_ste import train_sr_ste
from lttlib.srigl import constant_fan_in_masks
from lttlib.training import train

SPARSITIES = {"digits": (0.8, 0.9, 0.95, 0.97, 0.98), "disguised digits": (0.8, 0.9, 0.95, 0.97, 0.98),
              "mnist": (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.9975)}  # fmt: skip
GAMMA = 0.3  # the public code's
ARMS: Mapping[str, dict] = {
    "RigL": {"method": "rigl"},
    "SRigL": {"method": "srigl", "gamma": GAMMA},
    "SRigL, no ablation": {"method": "srigl", "gamma": 0.0},
    "constant fan-in, static": {"method": "static"},
}
GAMMAS = (0.1, 0.3, 0.6, 0.9, 1.0)
GAMMA_SPARSITY = {"digits": 0.97, "disguised digits": 0.97, "mnist": 0.98}
LIVE, GROUP = 3, 32
PATTERNS = ("RigL", "SRigL", "SRigL, no ablation", "SR-STE")


def cells(data: str, seeds: int) -> list[dict]:
    """The grid, one seed after the other."""
    require_choice(data, SETTINGS, "data")
    grid = []
    for seed in range(seeds):
        where = {"data": data, "seed": seed}
        grid.append(where | {"part": "sparsities", "arm": "dense", "value": 0.0})
        grid += [where | {"part": "sparsities", "arm": arm, "value": s} for s in SPARSITIES[data] for arm in ARMS]
        grid += [where | {"part": "gammas", "arm": "SRigL", "value": gamma} for gamma in GAMMAS]
        grid += [where | {"part": "patterns", "arm": arm, "value": 1 - LIVE / GROUP} for arm in PATTERNS]
    return grid


def run(data: str, part: str, arm: str, value: float, seed: int) -> list[dict]:
    """The row of one cell: accuracy, live weights, and of each layer the neurons left and their fan-in."""
    require_choice(part, ("sparsities", "gammas", "patterns"), "part")
    setting = SETTINGS[data]
    torch.set_flush_denormal(True)  # see lottery_tickets.run
    try:
        found = _row(setting, setting.load(), part, arm, value, seed, GAMMA_SPARSITY[data])
    finally:
        torch.set_flush_denormal(False)
    return [{"part": part, "arm": arm, "value": value, "seed": seed} | found]


def _row(setting: Setting, data: Data, part: str, arm: str, value: float, seed: int, gamma_sparsity: float) -> dict:
    model = setting.network(data, seed)
    shared = {"steps": setting.steps, "seed": seed, "optimizer": setting.optimizer, "batch_size": setting.batch_size,
              "schedule": partial(cosine, end=setting.steps), "progress": False}  # fmt: skip
    if arm == "dense":
        history = train(model, data, **shared)
        return {"accuracy": history.test_accuracy[-1], "live": sum(w.numel() for w in prunable(model).values())}
    if arm == "SR-STE":
        found = train_sr_ste(model, data, n=LIVE, m=GROUP, **shared)
        return {"accuracy": found.history.test_accuracy[-1]} | shapes_of(found.masks)
    options = dict(ARMS[arm]) | ({"gamma": value} if part == "gammas" else {})
    density = 1 - (gamma_sparsity if part == "gammas" else value)
    distribution = "uniform" if part == "patterns" else "erk"
    masks = starting_masks(model, arm, density, distribution, seed)
    rescaled(model, masks)
    given = {"masks": masks} if not arm.startswith("SRigL") else {"density": density, "distribution": distribution}
    found = train_sparse(model, data, interval=setting.interval, **given, **options, **shared)
    return {"accuracy": found.history.test_accuracy[-1]} | shapes_of(found.masks)


def starting_masks(model: nn.Module, arm: str, density: float, distribution: str, seed: int) -> dict[str, Tensor]:
    """The masks with which an arm begins: RigL's anywhere, the others' with constant fan-in."""
    if arm == "RigL":
        return first_masks(model, density, distribution, seed)
    shapes = {name: tuple(weight.shape) for name, weight in prunable(model).items()}
    return constant_fan_in_masks(shapes, layer_densities(shapes, density, distribution), draws(seed, 0))


def shapes_of(masks: Mapping[str, Tensor]) -> dict:
    """Live weights, and by layer those of each, the neurons with any, and the largest and smallest fan-in of these."""
    fan_ins = {name: mask.flatten(1).sum(1) for name, mask in masks.items()}
    return {
        "live": sum(int(fan_in.sum()) for fan_in in fan_ins.values()),
        "layers": {name: int(fan_in.sum()) for name, fan_in in fan_ins.items()},
        "neurons": {name: int((fan_in > 0).sum()) for name, fan_in in fan_ins.items()},
        "largest fan-in": {name: int(fan_in.max()) for name, fan_in in fan_ins.items()},
        "smallest fan-in": {name: int(fan_in[fan_in > 0].min()) for name, fan_in in fan_ins.items()},
    }
