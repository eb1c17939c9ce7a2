"""Right and wrong answers to the exercise on the fan-in after ablation."""

import math

import numpy as np
import torch
from proof import Answer, solutions

from lttlib.checks.fan_in_after_ablation import check_fan_in_after_ablation
from lttlib.srigl import surviving_neurons

fan_in_after_ablation = solutions("structured_rigl").fan_in_after_ablation


def by_library(mask, salient, gamma):
    k = int(mask.sum() // mask.any(1).sum())
    left = surviving_neurons(torch.tensor(salient), budget=int(mask.sum()), inputs=mask.shape[1], fan_in=k, gamma=gamma)
    return int(mask.sum()) // int(left.sum())


def one_lower_each_time(mask, salient, gamma):
    """Lowers the threshold by one until the budget fits."""
    budget, inputs = int(mask.sum()), mask.shape[1]
    threshold = max(1, math.floor(gamma * max(map(sum, mask.tolist()))))
    while sum(count >= threshold for count in salient.tolist()) * inputs < budget:
        threshold -= 1
    return float(budget // sum(count >= threshold for count in salient.tolist()))


def in_order(mask, salient, gamma):
    """Goes through the neurons from the most salient to the least, and stops where one may go."""
    ranked, budget = sorted(salient, reverse=True), mask.sum()
    k = mask[mask.any(1)][0].sum()
    stay = 0
    for place, count in enumerate(ranked):
        must = stay * mask.shape[1] < budget
        tied = place > 0 and count == ranked[place - 1]
        if not (count >= 1 and count >= int(gamma * k)) and not must and not tied:
            break
        stay += 1
    return torch.tensor(budget // stay)


def live(mask):
    return mask[mask.any(1)].sum(1)[0]


def fan_in(
    share=lambda gamma, k: int(gamma * k),
    least=1,
    k=live,
    lower=True,
    strict=False,
    keeps=lambda mask, left: mask.sum(),
    end=lambda b, n: b // n,
):
    """An answer with a part replaced. keeps(mask, left): the budget; end(budget, neurons left)."""

    def answer(mask, salient, gamma):
        threshold = max(least, share(gamma, k(mask)))
        if lower:
            must = math.ceil(mask.sum() / mask.shape[1])
            threshold = min(threshold, sorted(salient)[len(salient) - must] - strict)
        left = salient > threshold if strict else salient >= threshold
        return end(keeps(mask, left), left.sum())

    return answer


def clipped(mask, salient, gamma):
    left = (salient >= max(1, int(gamma * live(mask)))).sum()
    return min(mask.sum() // max(left, 1), mask.shape[1])


def just_enough(mask, salient, gamma):
    left = (salient >= max(1, int(gamma * live(mask)))).sum()
    return mask.sum() // max(left, -(-mask.sum() // mask.shape[1]))


def never_back(mask, salient, gamma):
    return by_library(mask, np.where(mask.any(1), salient, 0), gamma)


def the_ablated(mask, salient, gamma):
    return mask.sum() // max((salient < max(1, int(gamma * live(mask)))).sum(), 1)


def in_place(mask, salient, gamma):
    salient[~mask.any(1)] = 0
    return by_library(mask, salient, gamma)


def fewest(mask, salient, gamma):
    return mask.sum() // math.ceil(mask.sum() / mask.shape[1])


def fewest_and_equals(mask, salient, gamma):
    must = math.ceil(mask.sum() / mask.shape[1])
    return mask.sum() // (salient >= sorted(salient)[-must]).sum()


FAN_IN = [
    Answer(check_fan_in_after_ablation, "solution", fan_in_after_ablation),
    Answer(check_fan_in_after_ablation, "library", by_library),
    Answer(check_fan_in_after_ablation, "one lower each time, a float", one_lower_each_time),
    Answer(check_fan_in_after_ablation, "in order, a tensor", in_order),
    Answer(check_fan_in_after_ablation, "replaceable", fan_in()),
    Answer(check_fan_in_after_ablation, "in place", in_place, "error", "writes into one of its arguments"),
    Answer(
        check_fan_in_after_ablation,
        "Python divides by 0",
        fan_in(lower=False, end=lambda b, n: int(b) // int(n)),
        "error",
        "ZeroDivisionError: integer division or modulo by zero. You do not see to it that enough neurons stay",
    ),
    *(
        Answer(check_fan_in_after_ablation, name, function, "wrong", says)
        for name, function, says in [
            ("all neurons", lambda mask, salient, gamma: mask.sum() // len(mask), "share the budget among all"),
            ("old", lambda mask, salient, gamma: live(mask), "the fan-in before the step"),
            ("live before", lambda mask, salient, gamma: mask.sum() // mask.any(1).sum(), "the fan-in before the step"),
            ("budget after", fan_in(keeps=lambda mask, left: mask[left].sum()), "count the budget after the ablation"),
            ("up", fan_in(end=lambda b, n: math.ceil(b / n)), "You round up"),
            ("one more", fan_in(end=lambda b, n: b // n + 1), "You round up"),
            ("nearest", fan_in(end=lambda b, n: round(b / n)), "the nearest whole number. May the layer"),
            ("not rounded", fan_in(end=lambda b, n: b / n), "A part of a weight is left"),
            ("not lowered, 0 from numpy", fan_in(lower=False), "see to it that enough neurons stay"),
            ("not lowered, max", fan_in(lower=False, end=lambda b, n: b // max(n, 1)), "that enough neurons stay"),
            ("clipped", clipped, "cut the fan-in at the number of inputs"),
            ("just enough", just_enough, "What of others with the same count"),
            ("fewest", fewest, "whatever gamma is"),
            ("fewest and their equals", fewest_and_equals, "whatever gamma is"),
            ("least 0", fan_in(least=0), "stays here, when gamma times the fan-in is below 1. What is the least threshold?"),
            ("least 0, not lowered", fan_in(least=0, lower=False), "And must enough neurons stay"),
            ("<= for <", fan_in(strict=True), "with as many salient places as the threshold is ablated"),
            ("threshold up", fan_in(lambda gamma, k: math.ceil(gamma * k)), "is not rounded down"),
            ("threshold not rounded", fan_in(lambda gamma, k: gamma * k), "is not rounded down"),
            ("threshold nearest", fan_in(lambda gamma, k: round(gamma * k)), "You round the threshold to the nearest"),
            ("k of all neurons", fan_in(k=lambda mask: mask.sum() // len(mask)), "the mean over all neurons"),
            ("share of inputs", fan_in(k=lambda mask: mask.shape[1]), "is a share of all inputs"),
            ("never back", never_back, "never comes back here"),
            ("the ablated", the_ablated, "more than a neuron has inputs"),
            ("neurons", fan_in(end=lambda b, n: n), "This is how many neurons are left"),
            ("weights", fan_in(end=lambda b, n: b // n * n), "how many weights the layer has after the step"),
            ("half", lambda mask, salient, gamma: by_library(mask, salient, gamma) + 0.5, "How many whole weights does each"),
            ("inputs", lambda mask, salient, gamma: mask.shape[1], "How is it shared out"),
            ("too many", lambda mask, salient, gamma: mask.size, "more than a neuron has inputs"),
            ("nothing", lambda mask, salient, gamma: 0, "Are they enough to hold the budget"),
            ("all of them", lambda mask, salient, gamma: np.full(len(mask), by_library(mask, salient, gamma)), "You return shape (4,)"),
        ]
    ),
]  # fmt: skip
