"""Measurements behind the claims of the chapter on tangent kernels: recorded; one value per network or per seed."""

from functools import cache
from pathlib import Path

import numpy as np

from lttlib.experiments.runner import by_seed, rows
from lttlib.pruned_kernels import pruning_factors
from lttlib.records import read_json

RECORD = Path(__file__).parents[2] / "notebooks" / "recorded" / "tangent_kernel_mnist.json"


@cache
def record() -> dict:
    """The recorded run, read once."""
    return read_json(RECORD)


def widths(hidden_layers: int, keep: float) -> list[dict]:
    """Rows of "width" for one depth and keep probability."""
    return rows(record(), part="width", hidden_layers=int(hidden_layers), keep=float(keep))


def ratio(hidden_layers: str, width: str, keep: str) -> list[float]:
    """The factor on the dense limit kernel, over keep^L; one value per network."""
    found = [row for row in widths(hidden_layers, keep) if row["width"] == int(width)]
    return [value / float(keep) ** int(hidden_layers) for row in found for value in row["ratio"]]


def power_of_width(hidden_layers: str, keep: str) -> list[float]:
    """The power of the width with which the mean squared error falls, halved; one value per seed."""
    found = widths(hidden_layers, keep)
    slopes = []
    for seed in sorted({row["seed"] for row in found}):
        mine = sorted((row["width"], np.square(row["error"]).mean()) for row in found if row["seed"] == seed)
        slopes.append(float(np.polyfit(*np.log(np.array(mine)).T, 1)[0]) / 2)
    return slopes


def power_of_keep(hidden_layers: str, width: str) -> list[float]:
    """The power of 1 / keep with which the mean squared error grows from keep .2 to .1; one value per seed."""
    sparse, sparser = (
        {
            row["seed"]: np.square(row["error"]).mean()
            for row in widths(hidden_layers, keep)
            if row["width"] == int(width)
        }
        for keep in (0.2, 0.1)
    )
    return [float(np.log2(sparser[seed] / sparse[seed])) for seed in sorted(sparse)]


def variant(name: str, share: str, keep: str) -> list[float]:
    """A variant's factor on one share of the kernel, "first" or "rest", over its limit; one value per network."""
    found = rows(record(), part="variants", variant=name, keep=float(keep))
    limits = pruning_factors(name, keep=float(keep), hidden_layers=found[0]["hidden_layers"])
    return [value / limits[share == "rest"] for row in found for value in row[share]]


def accuracy_gap(width: str, keep: str) -> list[float]:
    """Test accuracy of the dense network minus that of the pruned one, trained, paired by seed, in percentage points."""
    found = rows(record(), part="training", width=int(width), diverged=False)
    dense, pruned = (by_seed(found, "accuracy", keep=probability) for probability in (1.0, float(keep)))
    return list(100 * (dense - pruned))
