"""Optimal Brain Damage against its controls: one shot, retrained, rescaled, and how damages add.

The lab runs these functions live on digits; the recorded run is LeNet-300-100 on MNIST.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from lttlib.arguments import require_choice
from lttlib.criteria import hessian_diagonal, obd_saliency
from lttlib.data import Data, digits, disguised_digits, mnist
from lttlib.masks import apply_masks, mask_by_scores, prunable, shuffled_masks
from lttlib.models import mlp, rescale_hidden_units
from lttlib.training import accuracy, mean_loss, train_together


@dataclass(frozen=True)
class Setting:
    """What is trained on one data set. The learning rate was chosen by the dense network alone."""

    load: Callable[[], Data]
    hidden: tuple[int, ...]
    learning_rate: float
    steps: int
    retrain_steps: int
    curvature_rows: int

    @property
    def optimizer(self):
        """SGD with momentum 0.9, the same for training and retraining."""
        return partial(torch.optim.SGD, lr=self.learning_rate, momentum=0.9)


SETTINGS = {
    "digits": Setting(digits, (100, 60), 0.1, 400, 400, 1200),
    "disguised digits": Setting(disguised_digits, (100, 60), 0.1, 1000, 400, 1200),
    "mnist": Setting(mnist, (300, 100), 0.05, 10_000, 1000, 2000),
}
CRITERIA = ("obd", "obd-lecun", "obd-hutchinson", "magnitude", "shuffled")
SPARSITIES = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
RATIOS = (1, 2, 4, 8)
HUTCHINSON_DRAWS = 30

LOSS = nn.CrossEntropyLoss()


def cells(data: str, seeds: int) -> list[dict]:
    """The grid: one run per seed."""
    require_choice(data, SETTINGS, "data")
    return [{"data": data, "seed": seed} for seed in range(seeds)]


def run(data: str, seed: int) -> list[dict]:
    """Rows of all three comparisons for one seed."""
    loaded = SETTINGS[data].load()
    model = trained_models(loaded, [seed])[0]
    return [
        *compare_criteria([model], [seed], loaded, CRITERIA, SPARSITIES),
        *compare_rescaled(model, seed, loaded, SPARSITIES[1:4]),
        *compare_damage(model, seed, loaded, SPARSITIES),
    ]


def generator(seed: int) -> torch.Generator:
    """A fresh generator: the same seed, the same numbers."""
    return torch.Generator().manual_seed(seed)


def trained_models(data: Data, seeds: Sequence[int], progress: bool = False) -> list[nn.Sequential]:
    """Dense networks, one per seed: the seed draws the initial weights and the order of the data."""
    setting = SETTINGS[data.name]
    models = [mlp((data.features, *setting.hidden, data.classes), generator=generator(seed)) for seed in seeds]
    train_together(models, data, steps=setting.steps, seeds=seeds, optimizer=setting.optimizer, progress=progress)
    return models


def calibration_rows(data: Data, seed: int) -> Tensor:
    """Random training rows that measure curvature. Random matters: the first rows may all be of one kind."""
    return torch.randperm(len(data.x_train), generator=generator(seed))[: SETTINGS[data.name].curvature_rows]


def weight_scores(model: nn.Module, data: Data, criterion: str, seed: int) -> dict[str, Tensor]:
    """Scores of all prunable weights by "magnitude", "obd" (Gauss-Newton curvature), "obd-lecun" or "obd-hutchinson"."""
    weights = prunable(model)
    if criterion == "magnitude":
        return {name: weight.detach().abs() for name, weight in weights.items()}
    estimator = {"obd": "ggn", "obd-lecun": "lecun", "obd-hutchinson": "hutchinson"}[criterion]
    rows = calibration_rows(data, seed)
    diagonal = hessian_diagonal(model, LOSS, data.x_train[rows], data.y_train[rows], estimator=estimator,
                                draws=HUTCHINSON_DRAWS, generator=generator(seed))  # fmt: skip
    return {name: obd_saliency(weight, diagonal[name]) for name, weight in weights.items()}


def criteria_masks(
    model: nn.Module, data: Data, criteria: Sequence[str], sparsities: Sequence[float], seed: int
) -> dict[str, list[dict[str, Tensor]]]:
    """Criterion to global masks, one per sparsity. "shuffled" is the control: OBD's layer counts, random places."""
    for criterion in criteria:
        require_choice(criterion, CRITERIA, "criterion")
    scored = {"obd" if criterion == "shuffled" else criterion for criterion in criteria}
    masks = {}
    for criterion in scored:
        scores = weight_scores(model, data, criterion, seed)
        masks[criterion] = [mask_by_scores(scores, sparsity, scope="global") for sparsity in sparsities]
    if "shuffled" in criteria:
        masks["shuffled"] = [shuffled_masks(m, generator(seed)) for m in masks["obd"]]
    return {criterion: masks[criterion] for criterion in criteria}


def pruned(model: nn.Module, masks: dict[str, Tensor]) -> nn.Module:
    """A copy of model with its masked weights at 0."""
    result = copy.deepcopy(model)
    apply_masks(result, masks)
    return result


def compare_criteria(
    models: Sequence[nn.Module],
    seeds: Sequence[int],
    data: Data,
    criteria: Sequence[str],
    sparsities: Sequence[float],
    progress: bool = False,
) -> list[dict]:
    """Test accuracy one shot and after retraining, for every seed, criterion and sparsity (global scope).

    All arms of a seed share the trained network and the order of the retraining data.
    """
    rows, nets, masks = [], [], []
    for model, seed in zip(models, seeds, strict=True):
        for criterion, arm in criteria_masks(model, data, criteria, sparsities, seed).items():
            for sparsity, mask in zip(sparsities, arm, strict=True):
                masks.append(mask)
                nets.append(pruned(model, masks[-1]))
                rows.append({"part": "criteria", "seed": seed, "criterion": criterion, "sparsity": sparsity,
                             "dense": accuracy(model, data.x_test, data.y_test),
                             "one_shot": accuracy(nets[-1], data.x_test, data.y_test)})  # fmt: skip
    order = [1000 + row["seed"] for row in rows]
    setting = SETTINGS[data.name]
    histories = train_together(nets, data, steps=setting.retrain_steps, seeds=order, masks=masks,
                               optimizer=setting.optimizer, progress=progress)  # fmt: skip
    for row, history in zip(rows, histories, strict=True):
        row["retrained"] = history.test_accuracy[-1]
    return rows


def compare_rescaled(model: nn.Module, seed: int, data: Data, sparsities: Sequence[float]) -> list[dict]:
    """Test accuracy of magnitude and OBD, no retraining, after the same function is written with other weight sizes."""
    rows = []
    for ratio in RATIOS:
        rescaled = rescale_hidden_units(model, ratio, generator(seed))
        for criterion in ("obd", "magnitude"):
            scores = weight_scores(rescaled, data, criterion, seed)
            for sparsity in sparsities:
                net = pruned(rescaled, mask_by_scores(scores, sparsity, scope="global"))
                rows.append({"part": "rescaling", "seed": seed, "ratio": ratio, "criterion": criterion, "sparsity": sparsity,
                             "one_shot": accuracy(net, data.x_test, data.y_test)})  # fmt: skip
    return rows


def compare_damage(model: nn.Module, seed: int, data: Data, sparsities: Sequence[float]) -> list[dict]:
    """Sum of the saliencies of the deleted weights against the true rise of the loss on the same rows (nats)."""
    rows = calibration_rows(data, seed)
    x, y = data.x_train[rows], data.y_train[rows]
    scores = weight_scores(model, data, "obd", seed)
    before = mean_loss(model, x, y)
    found = []
    for sparsity in sparsities:
        masks = mask_by_scores(scores, sparsity, scope="global")
        predicted = sum(float(scores[name][~masks[name]].double().sum()) for name in scores)
        found.append({"part": "damage", "seed": seed, "sparsity": sparsity, "predicted": predicted,
                      "true": mean_loss(pruned(model, masks), x, y) - before})  # fmt: skip
    return found
