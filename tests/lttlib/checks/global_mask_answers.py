"""Right and wrong answers to the exercise on global magnitude masks."""

import math

import torch
from proof import Answer, solutions

from lttlib.checks.global_mask import check_global_mask
from lttlib.masks import magnitude_masks

global_mask = solutions("why_sparsity").global_mask


def by_library(weights, sparsity):
    return magnitude_masks({n: w for n, w in weights.items() if "bias" not in n}, sparsity, scope="global")


def by_python_sort(weights, sparsity):
    entries = [
        (name, i, abs(v)) for name, w in weights.items() if w.ndim > 1 for i, v in enumerate(w.flatten().tolist())
    ]
    masks = {name: torch.zeros(w.shape, dtype=torch.bool) for name, w in weights.items() if w.ndim > 1}
    best = sorted(entries, key=lambda entry: -entry[2])[: len(entries) - int(len(entries) * sparsity)]
    for name, i, _ in best:
        masks[name].view(-1)[i] = True
    return masks


def by_pruning_from_the_back(weights, sparsity):
    named = [(n, w) for n, w in weights.items() if not n.endswith("bias")]
    flat = torch.cat([w.reshape(-1) for _, w in named]).square()
    last_first = torch.arange(len(flat)).flip(0)
    order = last_first[flat.flip(0).argsort(stable=True)]  # smallest first, among equals the last one
    live = torch.full((len(flat),), True)
    live[order[: math.floor(sparsity * len(flat))]] = False
    masks, start = {}, 0
    for name, w in named:
        masks[name] = live[start : start + w.numel()].reshape(w.shape)
        start += w.numel()
    return masks


def ranked(weights, sparsity, *, keep, score=torch.abs, stable=True, names=None):
    names = names or [n for n in weights if not n.endswith(".bias")]
    flat = torch.cat([score(weights[n]).flatten() for n in names])
    mask = torch.zeros(len(flat), dtype=torch.bool)
    mask[flat.argsort(descending=True, stable=True)[: keep(len(flat), sparsity)]] = True
    return {
        n: m.view(weights[n].shape) for n, m in zip(names, mask.split([weights[n].numel() for n in names]), strict=True)
    }


def exactly(n, sparsity):
    return n - math.floor(sparsity * n)


def kept(**options):
    return lambda weights, sparsity: ranked(weights, sparsity, **({"keep": exactly} | options))


def changed(change):
    return lambda weights, s: {n: change(m, weights[n]) for n, m in by_library(weights, s).items()}


def per_layer(weights, sparsity):
    return {n: by_library({n: w}, sparsity)[n] for n, w in weights.items() if w.ndim > 1}


def threshold(compare):
    """Live where compare(|w|, the smallest size kept or the largest pruned)."""

    def masks(weights, sparsity):
        flat = torch.cat([w.abs().flatten() for n, w in weights.items() if "bias" not in n])
        return {
            n: compare(w.abs(), flat.sort().values, len(flat) - exactly(len(flat), sparsity))
            for n, w in weights.items()
            if "bias" not in n
        }

    return masks


def kth_value(weights, sparsity):
    flat = torch.cat([w.abs().flatten() for n, w in weights.items() if "bias" not in n])
    bound = torch.kthvalue(flat, int(sparsity * len(flat))).values
    return {n: w.abs() > bound for n, w in weights.items() if "bias" not in n}


def last_among_equals(weights, sparsity):
    flat = torch.cat([w.abs().flatten() for n, w in weights.items() if "bias" not in n])
    live = torch.ones(len(flat), dtype=torch.bool)
    live[flat.argsort(stable=True)[: len(flat) - exactly(len(flat), sparsity)]] = False
    shapes = {n: w.shape for n, w in weights.items() if "bias" not in n}
    return {n: m.view(shapes[n]) for n, m in zip(shapes, live.split([s.numel() for s in shapes.values()]), strict=True)}


def picked(order):
    """Live where order(sizes, k) says: a way to choose k that may not mind ties."""

    def masks(weights, sparsity):
        shapes = {n: w.shape for n, w in weights.items() if "bias" not in n}
        flat = torch.cat([weights[n].abs().flatten() for n in shapes])
        live = torch.zeros(len(flat), dtype=torch.bool)
        live[torch.as_tensor(order(flat, exactly(len(flat), sparsity)))] = True
        return {
            n: m.view(shapes[n]) for n, m in zip(shapes, live.split([s.numel() for s in shapes.values()]), strict=True)
        }

    return masks


def writes_into_weights(weights, sparsity):
    for weight in weights.values():
        weight.abs_()
    return by_library(weights, sparsity)


def pops_biases(weights, sparsity):
    for name in [n for n in weights if n.endswith(".bias")]:
        weights.pop(name)
    return by_library(weights, sparsity)


def all_live_biases(weights, sparsity):
    return {n: torch.ones_like(w, dtype=torch.bool) for n, w in weights.items()} | by_library(weights, sparsity)


MASKS = [
    Answer(check_global_mask, "solution", global_mask),
    Answer(check_global_mask, "the library", by_library),
    Answer(check_global_mask, "Python's sort", by_python_sort),
    Answer(check_global_mask, "squares, pruned from the back", by_pruning_from_the_back),
    *(
        Answer(check_global_mask, name, function, "wrong", says)
        for name, function, says in [
            ("int(n(1-s))", kept(keep=lambda n, s: int(n * (1 - s))), "floor the zeros instead"),
            ("ceil(n(1-s))", kept(keep=lambda n, s: math.ceil(n * (1 - s))), "a hair above a whole number"),
            ("round(n(1-s))", kept(keep=lambda n, s: round(n * (1 - s))), "round the live weights to the nearest"),
            ("n - round(sn)", kept(keep=lambda n, s: n - round(n * s)), "round the zeros to the nearest"),
            ("floor(n - sn)", kept(keep=lambda n, s: int(n - s * n)), "round the number of live weights down"),
            ("s is density", kept(keep=lambda n, s: int(n * s)), "keep the share that should go"),
            (
                "s is density, zeros floored",
                kept(keep=lambda n, s: n - int(n * (1 - s) + 1e-9)),
                "keep the share that should go",
            ),
            ("one too many", kept(keep=lambda n, s: min(n, exactly(n, s) + 1)), "rounded down?"),
            ("no abs", kept(score=lambda w: w), "large negative weights go first"),
            ("smallest kept", kept(score=lambda w: -w.abs()), "keep the smallest"),
            ("scores by tensor mean", kept(score=lambda w: w.abs() / w.abs().mean()), "Which of the two ranks higher"),
            ("per layer", per_layer, "Every tensor is ranked on its own"),
            ("inverted", changed(lambda m, w: ~m), "mask is inverted"),
            ("float mask", changed(lambda m, w: m.float()), "A mask is bool"),
            ("uint8 mask", changed(lambda m, w: m.to(torch.uint8)), "A mask is bool"),
            ("pruned weights", changed(lambda m, w: m * w), "You return the pruned weights"),
            ("flat masks", changed(lambda m, w: m.flatten()), "what shape"),
            ("numpy masks", changed(lambda m, w: m.numpy()), "of kind ndarray"),
            ("lists", changed(lambda m, w: m.tolist()), "of kind list"),
            ("one vector", lambda w, s: torch.cat([m.flatten() for m in by_library(w, s).values()]), "of type Tensor"),
            ("list of masks", lambda w, s: list(by_library(w, s).values()), "of type list"),
            (
                "biases ranked",
                lambda w, s: ranked(w, s, keep=exactly, names=list(w)),
                "Biases are ranked with the weights",
            ),
            ("biases masked", all_live_biases, "biases get a mask"),
            (
                "first tensor only",
                lambda w, s: dict([next(iter(by_library(w, s).items()))]),
                "Which of them are to be pruned",
            ),
            ("ties: > threshold", threshold(lambda w, v, z: w > v[z - 1] if z else w >= 0), "so too many go"),
            ("ties: >= threshold", threshold(lambda w, v, z: w >= v[z]), "so too many stay"),
            ("ties: last wins", last_among_equals, "lowest index stays"),
            ("ties: topk", picked(lambda sizes, k: sizes.topk(k).indices), "promise an order among equals"),
            (
                "ties: numpy's argsort",
                picked(lambda sizes, k: (-sizes).numpy().argsort()[:k]),
                "promise an order among equals",
            ),
            (
                "ties: argpartition",
                picked(lambda sizes, k: (-sizes).numpy().argpartition(k - 1)[:k]),
                "promise an order among equals",
            ),
            (
                "ties: names sorted",
                lambda w, s: by_library({n: w[n] for n in sorted(w)}, s),
                "promise an order among equals",
            ),
            ("writes into weights", writes_into_weights, "in place"),
            ("pops biases", pops_biases, "in place"),
            ("all live", changed(lambda m, w: torch.ones_like(m)), "rounded down?"),
            ("all pruned", changed(lambda m, w: torch.zeros_like(m)), "rounded down?"),
        ]
    ),
    Answer(check_global_mask, "kthvalue of 0", kth_value, "error", "so too many go"),
]
