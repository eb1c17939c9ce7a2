"""Measurements behind the claims of the chapter "Why sparsity": each function returns one value per seed, or per row."""

import copy
import itertools
from functools import cache, partial

import numpy as np
import torch

from lttlib import budgets
from lttlib.data import digits
from lttlib.masks import apply_masks, magnitude_masks, prunable, random_masks
from lttlib.models import mlp
from lttlib.training import train_together

SEEDS = range(5)
SIZES = (64, 100, 60, 10)
LIVE = (0.1, 0.05)
PERCENTS = {"10": 0.1, "5": 0.05}


def networks(sizes) -> list[torch.nn.Sequential]:
    """One network per seed, initialized as in the lab."""
    return [mlp(sizes, generator=torch.Generator().manual_seed(seed)) for seed in SEEDS]


def trained_accuracy(models, seeds=SEEDS, **options) -> np.ndarray:
    """Final test accuracy of each model on digits, trained in place."""
    histories = train_together(models, digits(), seeds=seeds, progress=False, **options)
    return np.array([history.test_accuracy[-1] for history in histories])


@cache
def cut() -> tuple[list[torch.nn.Sequential], list[list[dict]]]:
    """Five networks trained for 400 steps, and for each level of LIVE their global magnitude masks, one per seed."""
    models = networks(SIZES)
    trained_accuracy(models, steps=400)
    return models, [[magnitude_masks(prunable(model), 1 - live, scope="global") for model in models] for live in LIVE]


@cache
def healed(masks_of: str) -> dict[float, np.ndarray]:
    """Accuracy by level after cutting and 400 more steps. masks_of: "magnitude", or "random" with the same layer counts."""
    models, found = cut()
    accuracies = {}
    for live, masks in zip(LIVE, found, strict=True):
        if masks_of == "random":
            masks = [random_like(mask, seed) for seed, mask in zip(SEEDS, masks, strict=True)]
        copies = copy.deepcopy(models)
        for model, mask in zip(copies, masks, strict=True):
            apply_masks(model, mask)
        accuracies[live] = trained_accuracy(copies, [100 + seed for seed in SEEDS], steps=400, masks=masks)
    return accuracies


def random_like(masks, seed: int) -> dict:
    """Random masks with the layer counts of the given ones."""
    shapes = {name: mask.shape for name, mask in masks.items()}
    densities = {name: int(mask.sum()) / mask.numel() for name, mask in masks.items()}
    return random_masks(shapes, densities, torch.Generator().manual_seed(seed))


def small_sizes(count: int, hidden_layers: int) -> tuple[int, ...]:
    """The dense network 64-h-10 or 64-h-.6h-10 whose number of weights is closest to count."""
    options = [(64, h, 10) if hidden_layers == 1 else (64, h, max(1, round(0.6 * h)), 10) for h in range(1, 200)]
    return min(options, key=lambda sizes: abs(sum(a * b for a, b in itertools.pairwise(sizes)) - count))


@cache
def small_dense(hidden_layers: str, rate: str) -> np.ndarray:
    """Accuracy of small dense networks with as many weights as 5% of the large one, after 800 steps at this rate."""
    count = round(0.05 * sum(a * b for a, b in itertools.pairwise(SIZES)))
    optimizer = partial(torch.optim.SGD, lr=float(rate), momentum=0.9)
    return trained_accuracy(networks(small_sizes(count, int(hidden_layers))), steps=800, optimizer=optimizer)


def healed_minus_small_dense(hidden_layers: str, rate: str) -> list[float]:
    """Test accuracy at 5% live, cut and healed, minus that of a small dense network of equal count."""
    return list(healed("magnitude")[0.05] - small_dense(hidden_layers, rate))


def healed_minus_random(percent: str) -> list[float]:
    """Test accuracy after healing: cut by magnitude minus cut at random."""
    live = PERCENTS[percent]
    return list(healed("magnitude")[live] - healed("random")[live])


@cache
def linear() -> np.ndarray:
    """Accuracy of the linear model, 640 weights, after 800 steps."""
    return trained_accuracy(networks((64, 10)), steps=800)


def healed_minus_linear(percent: str) -> list[float]:
    """Test accuracy after healing minus that of the linear model."""
    return list(healed("magnitude")[PERCENTS[percent]] - linear())


def strubell_deviation(hours_of_bert: str) -> list[float]:
    """|kWh by the rule - kWh printed| of every row that states its power; BERT's hours from the "table" or the "text"."""
    deviations = []
    for run in budgets.STRUBELL:
        if run.watts is not None:
            from_text = hours_of_bert == "text" and run.model.startswith("BERT")
            kwh, _ = budgets.strubell_energy(run.watts, budgets.BERT_HOURS_IN_TEXT if from_text else run.hours)
            deviations.append(abs(kwh - run.kwh))
    return deviations
