"""Measurements behind the claims of the chapter "Mixture of experts": recorded; one value per seed, or one of a timing."""

from functools import cache
from pathlib import Path

import torch

from lttlib.experiments.runner import by_seed, rows
from lttlib.moe import TopKRouter, expert_choice
from lttlib.moe.collapse import matching
from lttlib.records import read_json

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "notebooks" / "recorded"
RATES = ROOT / "kernels" / "recorded" / "xeon_2_cores" / "grouped.json"


@cache
def images(data: str) -> list[dict]:
    """Rows of the recorded mixtures on "digits" or "disguised digits"."""
    return rows(read_json(RECORDED / f"mixtures_{data.replace(' ', '_')}.json"))


@cache
def text() -> list[dict]:
    """Rows of the recorded language models."""
    return rows(read_json(RECORDED / "mixtures_of_text_book.json"))


def experts_in_use(data: str, arm: str) -> list[float]:
    """Experts in use on test images, of four: exp of the entropy of their shares."""
    return list(by_seed(images(data), "effective experts", arm=arm))


def points(data: str, better: str, worse: str) -> list[float]:
    """Test accuracy of one arm minus that of another, in percentage points."""
    return list(100 * (by_seed(images(data), "accuracy", arm=better) - by_seed(images(data), "accuracy", arm=worse)))


def matched(arm: str, other: str) -> list[float]:
    """Share of disguised images that go to the expert matched with their disguise, minus that of another arm, in points."""
    shares = [[matching(torch.tensor(row["who"]))[1] for row in images("disguised digits") if row["arm"] == name]
              for name in (arm, other)]  # fmt: skip
    return [100 * (mine - theirs) for mine, theirs in zip(*shares, strict=True)]


def loss(arm: str, experts: str, other: str, other_experts: str) -> list[float]:
    """Loss on held-out text of one model minus that of another, in nats a character."""
    first = by_seed(text(), "loss", arm=arm, value=int(experts))
    return list(first - by_seed(text(), "loss", arm=other, value=int(other_experts)))


def text_experts_in_use(experts: str, arm: str = "top-1, unbalanced") -> list[float]:
    """Share of the experts that are in use on held-out text, 0 to 1."""
    return list(by_seed(text(), "effective experts", arm=arm, value=int(experts)) / int(experts))


def share_between(block: str, arm: str, other: str) -> list[float]:
    """Share of the variance between experts of one router minus that of another, eight experts each."""
    at = [[row["share between experts"][int(block) - 1] for row in text() if (row["arm"], row["value"]) == (name, 8)]
          for name in (arm, other)]  # fmt: skip
    return [mine - theirs for mine, theirs in zip(*at, strict=True)]


def expert_choice_spread() -> list[float]:
    """Most different tokens of an expert minus fewest, expert choice by fresh routers on skewed tokens; one value per seed."""
    found = []
    for seed in range(5):
        draw = torch.Generator().manual_seed(seed)
        x = torch.randn(1024, 64, generator=draw) + 3 * torch.randn(64, generator=draw)  # all tokens lean one way
        routing = expert_choice(x @ TopKRouter(64, 8, 1, generator=draw).weight.T, capacity_factor=1.0)
        different = [len(taken.unique()) for taken in routing.tokens]
        found.append(float(max(different) - min(different)))
    return found


def rate(load: str, way: str, threads: str, form: str = "grouped experts") -> list[float]:
    """Useful operations a second over those of the faster dense network of the same active size: at the quartiles."""
    found = [
        row
        for row in read_json(RATES)["rows"]
        if (row["load"], row["pass"], row["threads"]) == (load, way, int(threads))
    ]
    dense = min((row for row in found if row["implementation"].startswith("dense")), key=lambda row: row["median_s"])
    (mine,) = (row for row in found if row["implementation"] == form)
    kept = mine["dense_fraction"] * mine["median_s"] / dense["median_s"]
    return [kept * dense[key] / mine[key] for key in ("q25_s", "median_s", "q75_s")]
