"""Measurements behind the claims of the chapter "Strong lottery tickets": recorded; one value per seed or draw."""

import math
from functools import cache
from pathlib import Path

import numpy as np

from lttlib.experiments.runner import by_seed, rows
from lttlib.experiments.subset_sum import numbers_for
from lttlib.records import read_json

RECORD = Path(__file__).parents[2] / "notebooks" / "recorded" / "subset_sum_mnist.json"
NUMBERS = range(8, 25)  # n of the slopes: smaller ones leave many targets out of reach


@cache
def record() -> dict:
    """The recorded run, read once."""
    return read_json(RECORD)


def median_errors(size: str, distribution: str) -> list[tuple[list[int], list[float]]]:
    """For each seed the n and the median errors over draws, targets from [-1, 1]."""
    found = rows(record(), part="errors", size=size, distribution=distribution, target="uniform")
    pairs = [[(n, e) for n, e in zip(row["n"], row["50%"], strict=True) if n in NUMBERS] for row in found]
    return [tuple(map(list, zip(*pair, strict=True))) for pair in pairs]


def factor_per_number(size: str, distribution: str) -> list[float]:
    """By what each further number divides the median error; one value per seed."""
    return [float(2 ** -np.polyfit(n, np.log2(error), 1)[0]) for n, error in median_errors(size, distribution)]


def power_of_n(size: str, distribution: str) -> list[float]:
    """The power of n with which the median error falls; one value per seed."""
    return [float(np.polyfit(np.log(n), np.log(error), 1)[0]) for n, error in median_errors(size, distribution)]


def needed(epsilon: str, **seed: int) -> list[int]:
    """Uniform numbers that each draw takes to meet every target in [-1, 1] to epsilon; of one seed, or of all."""
    found = rows(record(), part="coverage", distribution="uniform", epsilon=float(epsilon), **seed)
    return [count for row in found for count in row["needed"]]


def cost_of_smaller_error(coarse: str, fine: str) -> list[float]:
    """The numbers a draw takes to meet every target to `fine`, over those it takes to `coarse`; one value per draw."""
    return [late / early for early, late in zip(needed(coarse), needed(fine), strict=True)]


def nine_in_ten(epsilon: str) -> list[float]:
    """The n at which nine draws in ten meet every target, over log2(1 / epsilon); one value per seed."""
    seeds = sorted({row["seed"] for row in rows(record(), part="coverage")})
    return [numbers_for(0.9, needed(epsilon, seed=seed)) / math.log2(1 / float(epsilon)) for seed in seeds]


def accuracy_lost(samples: str) -> list[float]:
    """Accuracy of the trained 784-500-10 minus that of the pruned random network, without its sign; one value per seed."""
    target = by_seed(rows(record(), part="network", arm="target"), "accuracy")
    return list(np.abs(target - by_seed(approximations(samples), "accuracy")))


def kept_per_weight(samples: str) -> list[float]:
    """Weights of the pruned random network for each weight of the trained one; one value per seed."""
    return [row["kept"] / row["target"] for row in approximations(samples)]


def approximations(samples: str) -> list[dict]:
    """Rows of the linear diamond with so many uniform numbers for each weight."""
    return rows(record(), part="network", arm="linear", distribution="uniform", samples=int(samples))
