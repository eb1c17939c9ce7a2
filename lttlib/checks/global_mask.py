"""Check of the exercise on global magnitude masks: exact counts, one ranking over all tensors, ties by position."""

import math

import torch

from lttlib.checks.answers import Exercise, Mistake, numbers, returns, same, tensor
from lttlib.masks import keep_count


def _mask_cases(rng):
    """(weights, sparsity): name to tensor. Biases are among them in one case; sizes tie in two."""

    def drawn(*shape, scale=1.0):
        return tensor(rng.normal(size=shape) * scale)

    def tied(*shape, sizes):
        return tensor(rng.choice(sizes, size=shape) * rng.choice([-1, 1], size=shape))

    return [
        ({"0.weight": tensor([[0.5, -2.0, 1.0, -0.25]])}, 0.5),
        ({"0.weight": tied(1, 5, sizes=[1.0])}, 0.4),
        ({"0.weight": drawn(3, 3)}, 0.5),
        ({"0.weight": drawn(3, 2), "0.bias": drawn(3, scale=5), "2.weight": drawn(2, 3), "2.bias": drawn(2)}, 0.5),
        ({"0.weight": drawn(4, 4, scale=0.1), "2.weight": drawn(2, 4, scale=3)}, 0.8),
        # Large enough that an unstable sort shows; in alphabetical order the second tensor would come first.
        ({"2.weight": tied(8, 10, sizes=[1.0, 2.0, 2.0]), "10.weight": tied(10, 6, sizes=[1.0, 2.0, 2.0])}, 0.7),
        ({"0.weight": drawn(4, 2, 3, 3), "3.weight": drawn(10, 8)}, 0.9),
        ({"0.weight": drawn(20, 30), "2.weight": drawn(10, 40)}, 0.9),
        ({"0.weight": drawn(2, 3)}, 0.0),
    ]


def _prunable(weights):
    return [name for name in weights if not name.endswith(".bias")]


def _sizes(weights):
    return torch.cat([weights[name].abs().flatten() for name in _prunable(weights)])


def _keeping(count=keep_count, score=torch.abs, names=_prunable):
    """Masks of the `count(n, sparsity)` best scores of all named tensors together, ties to the lowest index."""

    def masks(weights, sparsity):
        chosen = {name: weights[name] for name in names(weights)}
        scores = torch.cat([score(weight).flatten() for weight in chosen.values()])
        mask = torch.zeros(len(scores), dtype=torch.bool)
        mask[scores.sort(descending=True, stable=True).indices[: count(len(scores), sparsity)]] = True
        parts = mask.split([weight.numel() for weight in chosen.values()])
        return {name: part.view(chosen[name].shape) for name, part in zip(chosen, parts, strict=True)}

    return masks


_reference = _keeping()


def _changed(change):
    """The right masks, each changed by `change(mask, weight)`."""
    return lambda weights, s: {name: change(mask, weights[name]) for name, mask in _reference(weights, s).items()}


def _per_layer(weights, sparsity):
    return {name: _keeping()({name: weights[name]}, sparsity)[name] for name in _prunable(weights)}


def _biases_kept(weights, sparsity):
    return {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()} | _reference(weights, sparsity)


def _judge_masks(case, value):
    weights, sparsity = case
    names = _prunable(weights)
    if not isinstance(value, dict):
        return f"You return {numbers(value)}, of type {type(value).__name__}. Which dict goes from the name of a tensor to its mask?"
    if value.keys() != set(names):
        return f"You return masks for {sorted(map(str, value))} where the tensors are {list(weights)}. Which of them are to be pruned?"
    for name in names:
        mask = value[name]
        kind = str(mask.dtype) if isinstance(mask, torch.Tensor) else type(mask).__name__
        shape = tuple(getattr(mask, "shape", ()))
        if kind != "torch.bool" or shape != tuple(weights[name].shape):
            return f"Your mask of {name!r} is of kind {kind} and shape {shape}. What kind and what shape has the mask of a {tuple(weights[name].shape)} tensor?"
    if same(value, _reference(*case)):
        return None
    return _wrong_choice(_sizes(weights), torch.cat([value[name].flatten() for name in names]), sparsity)


def _wrong_choice(sizes, mask, sparsity):
    """The count, else a pruned entry that is larger than a live one, else the ties."""
    live, n = int(mask.sum()), len(mask)
    if live != keep_count(n, sparsity):
        return f"At sparsity {sparsity} you keep {live} of {n}. How many zeros is {sparsity} · {n}, rounded down?"
    pruned, kept = float(sizes[~mask].max()), float(sizes[mask].min())
    if pruned > kept:
        return (
            f"The count is right, {live} of {n}. But you prune an entry of size {pruned:.4f} and keep one of size {kept:.4f}. "
            "Which of the two ranks higher when all tensors are ranked together?"
        )
    return f"The count is right, {live} of {n}, but sizes tie. Of two equal ones the first stays: which did you keep?"


def _ties_alone(broken):
    """Right wherever sizes do not tie (and something is pruned); where they do, broken(live, wanted) holds."""

    def spotted(tried):
        outcomes = []
        for (weights, sparsity), value in tried:
            ranked = _sizes(weights).sort(descending=True).values
            wanted = keep_count(len(ranked), sparsity)
            if wanted == len(ranked) or isinstance(value, Exception):
                continue
            right = same(value, _reference(weights, sparsity))
            if ranked[wanted - 1] == ranked[wanted] and not right:
                outcomes.append((sum(int(mask.sum()) for mask in value.values()), wanted))
            elif not right:
                return False
        return bool(outcomes) and all(broken(live, wanted) for live, wanted in outcomes)

    return spotted


def _numbers_as_mask(tried):
    return all(
        mask.dtype != torch.bool
        and torch.equal(mask.bool(), _reference(*case)[name])
        and set(mask.unique().tolist()) <= {0, 1}
        for case, value in tried
        for name, mask in value.items()
    )


check_global_mask = Exercise(
    "global_mask",
    _mask_cases,
    _judge_masks,
    "one tensor and several, linear and convolutional, of very different size, with negative weights, ties, biases, sparsity 0 to 0.9",
    (
        Mistake("A mask is bool in this book, yours holds numbers. What would `~mask` do to them?", _numbers_as_mask),
        returns(
            _changed(lambda m, w: w * m),
            "You return the pruned weights. What says True for a live weight, and nothing else?",
        ),
        returns(
            _changed(lambda m, w: ~m),
            "The mask is inverted: yours is True where a weight is pruned. Which of the two is live in this book?",
        ),
        returns(_keeping(score=lambda w: -w.abs()), "You keep the smallest. Which end of the ranking is pruned?"),
        returns(
            _keeping(score=lambda w: w),
            "The ranking looks at the sign, so large negative weights go first. What is the size of −3?",
        ),
        returns(_per_layer, "Every tensor is ranked on its own here. Which tensors compete when the scope is global?"),
        returns(
            _keeping(lambda n, s: int(n * (1 - s))),
            "1000·(1−.9) is 99.99…: floor the zeros instead. In which order do you multiply, subtract and round?",
        ),
        returns(
            _keeping(lambda n, s: math.floor(n - s * n + 1e-9)),
            "You round the number of live weights down. Which number does the task round down?",
        ),
        returns(
            _keeping(lambda n, s: math.ceil(n * (1 - s))),
            "140·(1−.7) is a hair above a whole number, and rounding up makes one more of it. What if you floor the zeros?",
        ),
        returns(
            _keeping(lambda n, s: round(n * (1 - s))),
            "You round the live weights to the nearest whole number. Which number does the task round, and which way?",
        ),
        returns(
            _keeping(lambda n, s: n - round(s * n)),
            "You round the zeros to the nearest whole number. Which way does the task round them?",
        ),
        returns(
            _keeping(lambda n, s: math.floor(s * n + 1e-9)),
            "You keep the share that should go. Sparsity is the share of zeros: what is the density?",
        ),
        returns(
            _keeping(lambda n, s: n - math.floor((1 - s) * n + 1e-9)),
            "You keep the share that should go. Sparsity is the share of zeros: what is the density?",
        ),
        returns(_keeping(names=list), "Biases are ranked with the weights here. Which names does the task leave out?"),
        returns(_biases_kept, "The ranking is right, but biases get a mask. Which names does the task leave out?"),
        Mistake(
            "A threshold prunes every weight that ties with it, so too many go. How can you choose exactly that many, by position?",
            _ties_alone(lambda live, wanted: live < wanted),
        ),
        Mistake(
            "A threshold keeps every weight that ties with it, so too many stay. How can you choose exactly that many, by position?",
            _ties_alone(lambda live, wanted: live > wanted),
        ),
        Mistake(
            "Right, except where sizes tie: the first tensor and then the lowest index stays. Does your sort promise an order among equals, and which one?",
            _ties_alone(lambda live, wanted: live == wanted),
        ),
    ),
)
