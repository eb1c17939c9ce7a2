"""Measurements behind the claims of the chapter "Masks that move": recorded; one value per seed, paired, in points."""

from functools import cache
from pathlib import Path

import numpy as np

from lttlib.experiments.dynamic_sparse import SETTINGS
from lttlib.experiments.runner import by_seed, rows
from lttlib.records import read_json

RECORDED = Path(__file__).parents[2] / "notebooks" / "recorded"


@cache
def record(data: str) -> dict:
    """The recorded grid of one data set, read once."""
    return read_json(RECORDED / f"dynamic_sparse_{data}.json")


def gap(data: str, better: str, worse: str, density: str) -> list[float]:
    """Test accuracy of one arm minus that of another, in percentage points."""
    return _minus(rows(record(data), part="densities", value=float(density)), better, worse)


def convolutional_gap(better: str, worse: str) -> list[float]:
    """As gap, of LeNet-5 on MNIST."""
    return _minus(rows(record("mnist"), part="convolutions"), better, worse)


def exploring(data: str, method: str, density: str, often: str, seldom: str) -> list[float]:
    """Accuracy with an update every `often` steps minus that with one every `seldom` steps, in percentage points."""
    found = rows(record(data), part="intervals", value=float(density))
    return _minus(found, f"{method}, {often}", f"{method}, {seldom}")


def at_equal_exploration(data: str, density: str, interval: str) -> list[float]:
    """Accuracy of RigL with this interval minus that of SET at the same share of weights ever live, in points.

    SET's accuracy there is read off the straight line between its two runs around that share, on a logarithmic axis.
    """
    found = rows(record(data), part="intervals", value=float(density))
    gaps = []
    for seed in sorted({row["seed"] for row in found}):
        mine = [row for row in found if row["seed"] == seed]
        (rigl,) = (row for row in mine if row["arm"] == f"rigl, {interval}")
        line = sorted((np.log(row["explored"]), row["accuracy"]) for row in mine if row["arm"].startswith("set"))
        there = np.interp(np.log(rigl["explored"]), *np.array(line).T)
        gaps.append(100 * (rigl["accuracy"] - float(there)))
    return gaps


def closing(data: str, density: str) -> list[float]:
    """Dense minus random mask at the smallest width, minus the same at the largest, in percentage points."""
    found = rows(record(data), part="widths")
    widths = sorted({row["value"] for row in found})
    gaps = [
        by_seed(found, "accuracy", arm="dense", value=width)
        - by_seed(found, "accuracy", arm=f"static, {density}", value=width)
        for width in (widths[0], widths[-1])
    ]
    return list(100 * (gaps[0] - gaps[1]))


def dead_neurons(data: str, density: str, other: str = "static") -> list[float]:
    """Neurons of the first layer without a live input, RigL minus another arm, in percentage points of the layer."""
    found = rows(record(data), part="densities", value=float(density))
    units = SETTINGS[data].hidden[0]
    dead = [[row["dead rows"]["0.weight"] for row in found if row["arm"] == arm] for arm in ("RigL", other)]
    return [100 * (here - there) / units for here, there in zip(*dead, strict=True)]


def _minus(found: list[dict], better: str, worse: str) -> list[float]:
    return list(100 * (by_seed(found, "accuracy", arm=better) - by_seed(found, "accuracy", arm=worse)))
