"""How many training rows does Optimal Brain Damage need? Curvature from few or many rows, one shot, against magnitude.

Curvature by LeCun's recursion, because it is cheap enough for all rows. Networks as in optimal_brain_damage.
"""

import torch

from lttlib.arguments import require_choice
from lttlib.criteria import hessian_diagonal, obd_saliency
from lttlib.experiments.optimal_brain_damage import LOSS, SETTINGS, generator, pruned, trained_models
from lttlib.masks import mask_by_scores, prunable
from lttlib.training import accuracy

SPARSITIES = (0.7, 0.8, 0.9)
ROWS = {"digits": (50, 200, 600, 1200), "disguised digits": (200, 1200, 4800), "mnist": (200, 2000, 20_000, 60_000)}


def cells(data: str, seeds: int) -> list[dict]:
    """The grid: one run per seed."""
    require_choice(data, ROWS, "data")
    return [{"data": data, "seed": seed} for seed in range(seeds)]


def run(data: str, seed: int) -> list[dict]:
    """Test accuracy without retraining, by count of rows (0 stands for magnitude, which looks at none) and sparsity."""
    loaded = SETTINGS[data].load()
    model = trained_models(loaded, [seed])[0]
    weights = prunable(model)
    scores = {0: {name: weight.detach().abs() for name, weight in weights.items()}}
    order = torch.randperm(len(loaded.x_train), generator=generator(seed))
    for rows in ROWS[data]:
        x, y = loaded.x_train[order[:rows]], loaded.y_train[order[:rows]]
        diagonal = hessian_diagonal(model, LOSS, x, y, estimator="lecun")
        scores[rows] = {name: obd_saliency(weight, diagonal[name]) for name, weight in weights.items()}
    return [
        {"seed": seed, "rows": rows, "sparsity": sparsity, "one_shot": _accuracy(model, loaded, score, sparsity)}
        for rows, score in scores.items()
        for sparsity in SPARSITIES
    ]


def _accuracy(model, data, scores, sparsity: float) -> float:
    net = pruned(model, mask_by_scores(scores, sparsity, scope="global"))
    return accuracy(net, data.x_test, data.y_test)
