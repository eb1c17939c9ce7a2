"""Measurements behind the claims of the chapter "Structured RigL": recorded; one value per seed, or per round of a timing."""

from functools import cache
from pathlib import Path

import numpy as np

from lttlib.experiments.runner import by_seed, rows
from lttlib.records import read_json
from lttlib.structured_figures import FIRST

RECORDED = Path(__file__).parents[2] / "notebooks" / "recorded"


@cache
def record(data: str, name: str = "structured_sparse") -> dict:
    """The recorded grid of one data set, read once."""
    return read_json(RECORDED / f"{name}_{data}.json")


def gap(data: str, better: str, worse: str, sparsity: str, part: str = "sparsities") -> list[float]:
    """Test accuracy of one arm minus that of another, in percentage points."""
    found = rows(record(data), part=part, value=float(sparsity))
    return list(100 * (by_seed(found, "accuracy", arm=better) - by_seed(found, "accuracy", arm=worse)))


def widening(data: str, sparse: str, sparser: str) -> list[float]:
    """What ablation adds at the larger sparsity minus what it adds at the smaller, in percentage points."""
    arms = ("SRigL", "SRigL, no ablation")
    return list(np.subtract(gap(data, *arms, sparser), gap(data, *arms, sparse)))


def gammas(data: str, one: str, other: str) -> list[float]:
    """Test accuracy with one ablation ratio minus that with another, in percentage points."""
    found = rows(record(data), part="gammas")
    return list(100 * (by_seed(found, "accuracy", value=float(one)) - by_seed(found, "accuracy", value=float(other))))


def neurons_left(data: str, sparsity: str) -> list[float]:
    """First-layer neurons that SRigL leaves minus those that RigL leaves."""
    found = rows(record(data), part="sparsities", value=float(sparsity))
    left = {arm: [row["neurons"][FIRST] for row in found if row["arm"] == arm] for arm in ("SRigL", "RigL")}
    return [float(mine - theirs) for mine, theirs in zip(left["SRigL"], left["RigL"], strict=True)]


def truly_minus_masked() -> list[float]:
    """Test accuracy of the truly sparse run minus that of the masked one, in percentage points."""
    found = rows(record("mnist", "truly_sparse"), part="accuracy")
    return list(100 * (by_seed(found, "accuracy", arm="truly sparse") - by_seed(found, "accuracy", arm="masked")))


def step_ratio(optimizer: str, threads: str, way: str) -> list[float]:
    """Time of a training step over that of a truly sparse one, one value per round."""
    (row,) = rows(record("mnist", "truly_sparse"), part="cost", arm=optimizer, value=int(threads), way=way)
    return row["over_sparse"]


def answer_ratio(sparsity: str, batch: str, threads: str) -> list[float]:
    """Time of the dense network's answer over the condensed one's: quartile by quartile."""
    found = rows(
        record("mnist", "truly_sparse"), part="inference", value=float(sparsity), batch=int(batch), threads=int(threads)
    )
    dense, condensed = ([row[key] for key in ("q25_s", "median_s", "q75_s")] for name in ("dense", "condensed")
                        for row in found if row["network"] == name)  # fmt: skip
    return [float(a / b) for a, b in zip(dense, condensed, strict=True)]
