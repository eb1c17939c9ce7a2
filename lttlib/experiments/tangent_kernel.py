"""Tangent kernels of randomly pruned networks: how they settle as the width grows, five variants, and training.

Parts of a run: "width", kernels of random networks with gradients of survivors only, against kappa^L Theta (Yang & Wang
2022, arXiv:2203.14328, Theorem 1.1); "variants", the five ways to prune of lttlib.pruned_kernels; "training", a small
task for which pruned and dense networks are trained beside the prediction of the kernel at infinite width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lttlib.arguments import require_choice
from lttlib.data import Data, digits, mnist
from lttlib.experiments.lottery_tickets import generator
from lttlib.kernel_regression import kernel_gradient_descent
from lttlib.kernel_training import train_pruned
from lttlib.ntk import empirical_ntk, relu_contributions, relu_kernels
from lttlib.pruned_kernels import VARIANTS, draw_network, pruned_contributions

KEEPS = (1.0, 0.5, 0.2, 0.1)
NETWORKS = 10  # of each seed in "width" and "variants"
IMAGES_PER_CLASS = 6  # of the kernels
TEST_IMAGES = 2000  # of the training task
RATE = 0.25  # learning rate times the largest eigenvalue of the limit kernel; 2 is where the limit diverges


@dataclass(frozen=True)
class Setting:
    """Sizes of one recording.

    widths: by hidden layers, of "width". variants: (hidden layers, width). training: hidden layers, widths, training
    images, steps.
    """

    load: Callable[[], Data]
    widths: dict[int, tuple[int, ...]]
    variants: tuple[int, int]
    training: tuple[int, tuple[int, ...], int, int]


SETTINGS = {
    "digits": Setting(digits, {2: (64, 256)}, (2, 256), (2, (64, 256), 200, 100)),
    "mnist": Setting(
        mnist,
        {1: (256, 512, 1024, 2048, 4096, 8192), 2: (256, 512, 1024, 2048, 4096, 8192), 3: (256, 512, 1024, 2048, 4096)},
        (3, 1024),
        (2, (128, 256, 512, 1024), 500, 600),
    ),
}


def cells(data: str, seeds: int) -> list[dict]:
    """The grid: small widths first, so that an interrupted recording has whole curves."""
    require_choice(data, SETTINGS, "data")
    setting = SETTINGS[data]
    grid = [
        ("width", layers, width, keep)
        for layers, widths in setting.widths.items()
        for width in widths
        for keep in KEEPS
    ]
    grid += [("variants", *setting.variants, keep) for keep in KEEPS[1:]]
    grid += [("training", setting.training[0], width, keep) for width in setting.training[1] for keep in KEEPS]
    grid.sort(key=lambda cell: cell[2])
    return [{"data": data, "part": part, "hidden_layers": layers, "width": width, "keep": keep, "seed": seed}
            for part, layers, width, keep in grid for seed in range(seeds)]  # fmt: skip


def run(data: str, part: str, hidden_layers: int, width: int, keep: float, seed: int) -> list[dict]:
    """Rows of one cell."""
    setting = SETTINGS[data]
    row = {"part": part, "hidden_layers": hidden_layers, "width": width, "keep": keep, "seed": seed}
    if part == "training":
        return [row | training_row(setting, hidden_layers, width, keep, seed)]
    x = sorted_images(setting.load())
    if part == "width":
        return [row | width_row(x, hidden_layers, width, keep, seed)]
    return [row | found for found in variant_rows(x, hidden_layers, width, keep, seed)]


def sorted_images(data: Data, per_class: int = IMAGES_PER_CLASS) -> Tensor:
    """The first test images of each class, class by class, as unit_inputs: float32 (classes * per_class, features)."""
    chosen = torch.cat([(data.y_test == label).nonzero()[:per_class, 0] for label in range(data.classes)])
    return unit_inputs(data.x_test[chosen])


def unit_inputs(x: Tensor) -> Tensor:
    """Rows of length sqrt(d0 / 2), so that pre-activations of the first layer have variance 1 over random weights.

    Outputs, too, then start at about 1. Much smaller inputs would leave the kernel regime at once: weights would have to
    move far before the outputs reach targets of 1 and -1.
    """
    return x * (x.shape[1] / 2) ** 0.5 / x.norm(dim=1, keepdim=True)


def width_row(x: Tensor, hidden_layers: int, width: int, keep: float, seed: int) -> dict:
    """Of NETWORKS random networks: ratio, the factor on Theta that fits best; error, ||K / kappa^L - Theta|| / ||Theta||.

    Frobenius norms.
    """
    limit = relu_kernels(x, hidden_layers=hidden_layers)[1]
    draw, ratios, errors = generator(seed), [], []
    for _ in range(NETWORKS):
        weights, masks = draw_network(x.shape[1], width, hidden_layers, keep=keep, generator=draw, dtype=x.dtype)
        kernel = empirical_ntk(weights, x, masks if keep < 1 else None).double()
        ratios.append(projection(kernel, limit))
        errors.append(float((kernel / keep**hidden_layers - limit).norm() / limit.norm()))
    return {"ratio": [float(f"{r:.5g}") for r in ratios], "error": [float(f"{e:.5g}") for e in errors]}


def variant_rows(x: Tensor, hidden_layers: int, width: int, keep: float, seed: int) -> list[dict]:
    """For each variant and NETWORKS networks: the factors on the input layer's share and on the other layers'."""
    terms = relu_contributions(x, hidden_layers=hidden_layers)
    rows = []
    for variant in VARIANTS:
        draw, first, rest = generator(seed), [], []
        for _ in range(NETWORKS):
            weights, masks = draw_network(x.shape[1], width, hidden_layers, keep=keep, generator=draw, variant=variant,
                                          dtype=x.dtype)  # fmt: skip
            found = pruned_contributions(weights, masks, x, variant=variant, keep=keep).double()
            first.append(float(f"{projection(found[0], terms[0]):.5g}"))
            rest.append(float(f"{projection(found[1:].sum(0), terms[1:].sum(0)):.5g}"))
        rows.append({"variant": variant, "first": first, "rest": rest})
    return rows


def projection(kernel: Tensor, onto: Tensor) -> float:
    """The c for which c * onto is nearest to kernel in Frobenius norm."""
    return float((kernel * onto).sum() / (onto * onto).sum())


def even_or_odd(labels: Tensor) -> Tensor:
    """Targets of the training task: 1 where the digit is even, -1 where it is odd; float32."""
    return 1.0 - 2.0 * (labels % 2)


def training_row(setting: Setting, hidden_layers: int, width: int, keep: float, seed: int) -> dict:
    """One network, rescaled inside the graph, so that its limit is Theta for every keep; and the kernel's prediction.

    A seed chooses the training images, the weights and the masks. drift: ||K_end - K_start|| / ||K_start|| on the images
    of "width". apart: mean absolute difference of the outputs on the test images, network minus kernel started at the
    network's own outputs, over the mean absolute output of the kernel.
    """
    data, (_, _, images, steps) = setting.load(), setting.training
    draw = generator(seed)
    chosen = torch.randperm(len(data.x_train), generator=draw)[:images]
    x, x_test = unit_inputs(data.x_train[chosen]), unit_inputs(data.x_test[:TEST_IMAGES])
    y, y_test = even_or_odd(data.y_train[chosen]), even_or_odd(data.y_test[:TEST_IMAGES])
    kernel, across = (relu_kernels(a, x, hidden_layers=hidden_layers)[1] for a in (x, x_test))
    rate = RATE / float(torch.linalg.eigvalsh(kernel)[-1])
    weights, masks = draw_network(x.shape[1], width, hidden_layers, keep=keep, generator=draw, dtype=x.dtype)
    masks = masks if keep < 1 else [None] * len(masks)
    scale = keep ** (-hidden_layers / 2)
    try:
        course = train_pruned(weights, masks, x, y, x_test, learning_rate=rate, steps=[0, steps], scale=scale)
    except FloatingPointError:  # a finite network's kernel may be several times as large as its limit
        return {"steps": steps, "diverged": True}
    predicted = kernel_gradient_descent(kernel, across, y, [steps], learning_rate=rate, start_train=course.train[0],
                                        start_test=course.test[0])[0]  # fmt: skip
    ideal = kernel_gradient_descent(kernel, across, y, [steps], learning_rate=rate)[0]
    few = sorted_images(data)
    before, after = (empirical_ntk(w, few, masks) for w in (weights, course.weights))
    return {
        "steps": steps,
        "diverged": False,
        "accuracy": share_right(course.test[1], y_test),
        "accuracy predicted": share_right(predicted, y_test),
        "accuracy of kernel": share_right(ideal, y_test),
        "train loss": float((course.train[1] - y).square().mean() / 2),
        "apart": float((course.test[1] - predicted).abs().mean() / predicted.abs().mean()),
        "drift": float((after - before).norm() / before.norm()),
    }


def share_right(outputs: Tensor, targets: Tensor) -> float:
    """Share of rows whose output has the sign of the target."""
    return float(((outputs > 0) == (targets > 0)).double().mean())
