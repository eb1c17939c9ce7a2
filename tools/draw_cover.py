"""Draw book/assets/cover.png, the picture of the README: a pruned layer, its input pixels, and what it costs."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from lttlib.data import digits
from lttlib.experiments.optimal_brain_damage import compare_criteria, criteria_masks, trained_models
from lttlib.masks import prunable
from lttlib.plots import STYLE, draw_arms, draw_mask, draw_retina, live_axis

TARGET = Path(__file__).parents[1] / "book" / "assets" / "cover.png"
SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95)
SEEDS = range(3)


def main(target: Path = TARGET) -> None:
    """Train three small networks on digits, prune them by OBD, draw; about ten seconds."""
    torch.set_num_threads(1)
    data = digits()
    models = trained_models(data, SEEDS)
    rows = compare_criteria(models, SEEDS, data, ("obd", "shuffled"), SPARSITIES)
    mask = criteria_masks(models[0], data, ("obd",), (0.9,), 0)["obd"][0]
    plt.rcParams.update(STYLE)
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3), width_ratios=(1.1, 0.9, 1.1))
    draw_mask(left, mask["4.weight"][:, :16], prunable(models[0])["4.weight"].detach()[:, :16], signed=True)
    left.set_title("A pruned layer (rows: classes)")
    draw_retina(middle, mask["0.weight"].sum(0).numpy())
    middle.set_title("Live weights per pixel")
    for criterion, role, label in (("obd", "method", "chosen"), ("shuffled", "control", "at random")):
        values = np.reshape([r["retrained"] for r in rows if r["criterion"] == criterion], (len(SEEDS), -1))
        draw_arms(right, [100 * (1 - s) for s in SPARSITIES], values, role, label)
    live_axis(right, [50, 30, 20, 10, 5])
    right.set(title="Which weights live matters", ylabel="test accuracy")
    right.legend(loc="lower left")
    fig.savefig(target, dpi=150)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
