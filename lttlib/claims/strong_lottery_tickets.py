"""Measurements behind the claims of the chapter "Strong lottery tickets": recorded; one value per seed, target or draw."""

import math
from functools import cache
from pathlib import Path

import numpy as np

from lttlib.experiments.runner import rows
from lttlib.records import read_json

RECORD = Path(__file__).parents[2] / "notebooks" / "recorded" / "subset_sum_mnist.json"


@cache
def part(name: str) -> list[dict]:
    """Rows of one part of the recorded run."""
    return rows(read_json(RECORD), part=name)


def factor_per_number(size: str) -> list[float]:
    """By what each further number divides the median error, n from 8 to 24; one value per distribution and target."""
    found = []
    for row in part("errors"):
        if row["size"] == size:
            points = [(n, e) for n, e in zip(row["n"], row["50%"], strict=True) if 8 <= n <= 24]
            slope = np.polyfit([n for n, _ in points], np.log2([e for _, e in points]), 1)[0]
            found.append(float(2**-slope))
    return found


def log_log_slope_of_one() -> list[float]:
    """Slope of log median error of the best single number over log n, n from 8 to 24, uniform numbers; per target."""
    found = []
    for row in part("errors"):
        if row["size"] == "single" and row["distribution"] == "uniform":
            points = [(n, e) for n, e in zip(row["n"], row["50%"], strict=True) if 8 <= n <= 24]
            found.append(float(np.polyfit(*(np.log([p[i] for p in points]) for i in (0, 1)), 1)[0]))
    return found


def needed_over_counting(epsilon: str) -> list[float]:
    """Numbers that a draw needs to meet every target to epsilon, over log2(1 / epsilon); uniform, one value per draw."""
    found = [
        count
        for row in part("coverage")
        if row["distribution"] == "uniform" and row["epsilon"] == float(epsilon)
        for count in row["needed"]
        if count is not None
    ]
    return [count / math.log2(1 / float(epsilon)) for count in found]


def network(field: str) -> list[float]:
    """Linear diamond, 21 uniform numbers for each weight of 784-500-10. field: "accuracy lost", or a field's ratio."""
    exact = [
        row
        for row in part("network")
        if (row["arm"], row.get("distribution"), row.get("samples")) == ("linear", "uniform", 21)
    ]
    if field == "accuracy lost":
        target = {row["seed"]: row["accuracy"] for row in part("network") if row["arm"] == "target"}
        return [abs(target[row["seed"]] - row["accuracy"]) for row in exact]
    return [row[field] / row["target"] for row in exact]
