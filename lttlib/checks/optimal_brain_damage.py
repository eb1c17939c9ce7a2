"""Checks of the exercises of the chapter "Optimal Brain Damage"."""

import numpy as np
import torch

from lttlib.checks.answers import Exercise, Mistake, equals, numbers, returns, tensor
from lttlib.checks.hutchinson import check_hutchinson  # noqa: F401 - the chapter's third exercise
from lttlib.criteria import obd_saliency, obs_delete
from lttlib.layerwise import wanda_scores


def _positive_definite(rng, n: int) -> torch.Tensor:
    a = rng.normal(size=(n, n + 2))
    return tensor(a @ a.T / n + 0.1 * np.eye(n))


# 1 Warm-up: the saliency of a quadratic


def _saliency_cases(rng):
    sizes = (1, 2, 2, 3, 5, 8)
    return [(tensor(rng.normal(size=n)), tensor(rng.normal(size=n)), _positive_definite(rng, n)) for n in sizes]


def _saliency_relation(case, value):
    weight = case[0]
    return (
        f"For weights {numbers(weight)} you return {numbers(value)}. Take the first weight alone: by how much does "
        "½ δᵀHδ rise when δ moves only that weight to zero?"
    )


check_saliency = Exercise(
    "saliency",
    _saliency_cases,
    equals(lambda w, g, h: obd_saliency(w, h.diagonal()), _saliency_relation),
    "one to eight weights of both signs, coupled Hessians, gradients that must not matter",
    (
        returns(
            lambda w, g, h: h.diagonal() * w**2,
            "This looks like the factor ½ of the Taylor expansion is missing. Which factor stands before the second order?",
        ),
        returns(
            lambda w, g, h: h.diagonal() * w.abs() / 2,
            "This looks like |w| where w² belongs. What do you get when δ = −w goes into ½hδ²?",
        ),
        returns(
            lambda w, g, h: h.diagonal() / 2,
            "This does not depend on the weights at all. How far does each weight travel when it is deleted?",
        ),
        returns(
            lambda w, g, h: w**2 / 2,
            "This does not depend on the Hessian: it is magnitude pruning. Where does the curvature enter?",
        ),
        returns(
            lambda w, g, h: w * (h @ w) / 2,
            "This sums the off-diagonal couplings in. Which terms does the diagonal assumption drop?",
        ),
        returns(
            lambda w, g, h: h.diagonal() * w**2 / 2 - g * w,
            "This keeps the gradient. OBD assumes a minimum: what is the gradient there?",
        ),
        returns(
            lambda w, g, h: h.diagonal() * w**2 / 2 + g * w,
            "This keeps the gradient, with δ = +w. OBD assumes a minimum: what is the gradient there?",
        ),
    ),
)


# 2 Core: damages do not add


def _damage_cases(rng):
    cases = []
    for n, dead in ((1, [0]), (2, [0]), (2, [0, 1]), (3, [0, 2]), (5, [1, 2, 4]), (4, [])):
        mask = np.ones(n, dtype=bool)
        mask[dead] = False
        cases.append((tensor(rng.normal(size=n)), _positive_definite(rng, n), torch.tensor(mask)))
    return cases


def _true_damage(weight, hessian, mask):
    delta = torch.where(mask, 0.0, -weight)
    return float(delta @ hessian @ delta / 2)


def _damage_relation(case, value):
    weight, _, mask = case
    return (
        f"With {int((~mask).sum())} of {len(weight)} weights deleted you return {numbers(value)}. Write down δ, the change of "
        "the weights, entry by entry. What is ½ δᵀHδ for it?"
    )


check_damage = Exercise(
    "damage",
    _damage_cases,
    equals(_true_damage, _damage_relation),
    "nothing deleted, one, some and all of up to five weights, couplings of both signs",
    (
        returns(
            lambda w, h, m: float((h.diagonal() * w**2 / 2)[~m].sum()),
            "This is the sum of the saliencies. It forgets how the deleted weights act together. Which entries of H couple two of them?",
        ),
        returns(
            lambda w, h, m: 2 * _true_damage(w, h, m),
            "This looks like the factor ½ is missing. What does the second-order term of a Taylor expansion start with?",
        ),
        returns(
            lambda w, h, m: _true_damage(w, h, ~m),
            "This is the damage of deleting what the mask keeps. In this book, is True live or pruned?",
        ),
        returns(
            lambda w, h, m: float((w * m) @ h @ (w * m) / 2),
            "This is the damage of deleting what the mask keeps. In this book, is True live or pruned?",
        ),
        returns(
            lambda w, h, m: _true_damage(w, h, m) * 2 - float((h.diagonal() * w**2 / 2)[~m].sum()),
            "The couplings are counted twice. Does ½ ΣᵢΣⱼ visit the pair (i, j) once or twice, and what does the ½ do?",
        ),
    ),
)


# 4 Core: Wanda


def _wanda_cases(rng):
    return [
        (tensor(rng.normal(size=(out, n))), tensor(rng.normal(size=(rows, n)) * rng.uniform(0.1, 3, size=n)))
        for out, n, rows in ((1, 1, 2), (1, 2, 3), (2, 3, 5), (4, 4, 7), (3, 4, 4))
    ]


def _wanda_relation(case, value):
    weight, inputs = case
    shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
    return (
        f"For a weight of shape {tuple(weight.shape)} and inputs of shape {tuple(inputs.shape)} you return {shape}, first value "
        f"{numbers(torch.as_tensor(value).flatten()[:1])}. One input feature is one column of the inputs: how long is that column, as a vector?"
    )


check_wanda = Exercise(
    "wanda",
    _wanda_cases,
    equals(wanda_scores, _wanda_relation),
    "layers of one to four outputs, weights of both signs, input features of very different size, one square case",
    (
        returns(
            lambda w, x: w * x.norm(dim=0),
            "The scores keep the sign of the weight, so large negative weights go first. Is what goes first small, or negative?",
        ),
        returns(
            lambda w, x: w.abs() * x.norm(dim=1),
            "The norm runs over the features of each row. Which axis of (rows, in) belongs to one input feature?",
        ),
        returns(
            lambda w, x: w.abs() * x.abs().mean(0),
            "This is the mean size of each feature, not its norm. Outliers count more in one of the two: which?",
        ),
        returns(
            lambda w, x: w.abs() * x.abs().sum(0),
            "This is the sum of absolute values, the other norm. Which norm makes the square of the score a saliency?",
        ),
        returns(
            lambda w, x: w.abs() * x.square().sum(0),
            "The square root is missing: the input enters squared and the weight does not. What turns a sum of squares into a norm?",
        ),
        returns(
            lambda w, x: w.abs() * x.square().mean(0).sqrt(),
            "Nearly: this is the root mean square. It ranks the same; the score as defined has no mean. What is the norm of a vector?",
        ),
        returns(lambda w, x: w.abs(), "These are plain magnitudes. Where do the inputs enter?"),
    ),
)


# 5 Hard: delete and repair


def _obs_cases(rng):
    cases = [(tensor(rng.normal(size=n)), _positive_definite(rng, n), int(rng.integers(n)), 0.0) for n in (1, 2, 2, 3)]
    rounds = (tensor(rng.normal(size=6)), _positive_definite(rng, 6), int(rng.integers(6)), 0.0)
    while not _leaves_a_rounding_error(*rounds):
        rounds = (tensor(rng.normal(size=6)), _positive_definite(rng, 6), int(rng.integers(6)), 0.0)
    thin = rng.normal(size=(2, 4))
    damped = (tensor(rng.normal(size=3)), _positive_definite(rng, 3), 0, 0.5)
    return [*cases, rounds, damped, (tensor(rng.normal(size=4)), tensor(thin.T @ thin), 1, 0.5)]


def _leaves_a_rounding_error(weight, hessian, index, damping):
    """True where the formula alone does not give exactly 0 for the deleted weight."""
    inverse = torch.linalg.inv(hessian)
    return float(weight[index] - weight[index] / inverse[index, index] * inverse[index, index]) != 0


def _damped(hessian, damping):
    return hessian + damping * torch.eye(len(hessian), dtype=hessian.dtype)


def _obs_reference(weight, hessian, index, damping):
    return obs_delete(weight, _damped(hessian, damping), index)


def _judge_obs(case, value):
    weight, _, index, _ = case
    if (
        isinstance(value, torch.Tensor)
        and value.shape == weight.shape
        and abs(float(value[index])) <= 1e-9
        and float(value[index]) != 0
    ):
        return f"Entry {index} is {float(value[index]):.1e}. Deleted means exactly 0, or the mask and the weights will disagree. How can you make sure?"
    return equals(_obs_reference, _obs_relation)(case, value)


def _obs_relation(case, value):
    weight, _, index, damping = case
    return (
        f"Deleting entry {index} of {numbers(weight)} (damping {damping}) you return {numbers(value)}. At the best repair the gradient "
        "H(w' − w) is zero in every entry but the deleted one. Is it, for your w'?"
    )


def _singular(tried):
    case, value = tried[-1]
    failed = isinstance(value, Exception) or not bool(torch.isfinite(torch.as_tensor(value)).all())
    return failed and case[3] > 0 and _close_until_last(tried)


def _close_until_last(tried):
    return all(_judge_obs(case, value) is None for case, value in tried[:-1] if case[3] == 0)


def _undamped_last(tried):
    """Right wherever damping is zero, wrong where it is not."""
    damped = [(case, value) for case, value in tried if case[3] > 0]
    return bool(damped) and _close_until_last([*tried, tried[-1]]) and all(_judge_obs(c, v) for c, v in damped)


def _move(direction):
    """w + direction(w, H damped, q) with entry q set to 0."""

    def wrong(weight, hessian, index, damping):
        moved = weight + direction(weight, _damped(hessian, damping), index)
        moved[index] = 0
        return moved

    return wrong


check_obs = Exercise(
    "obs",
    _obs_cases,
    _judge_obs,
    "one to six weights, coupled Hessians, two that are damped, one of them singular without it",
    (
        Mistake("Without damping this Hessian has no inverse. Where does the argument `damping` belong?", _singular),
        Mistake(
            "Right where damping is 0, wrong where it is not. Where does the argument `damping` belong?", _undamped_last
        ),
        returns(
            _move(lambda w, h, q: torch.zeros_like(w)),
            "This only deletes, as OBD does. Which way should the other weights move?",
        ),
        returns(
            _move(lambda w, h, q: -w[q] / h[q, q] * h[:, q]),
            "This moves along a column of H. The valley runs along a column of its inverse; which one solves Hδ = μ e_q?",
        ),
        returns(
            _move(lambda w, h, q: w[q] / torch.linalg.inv(h)[q, q] * torch.linalg.inv(h)[:, q]),
            "The other weights move the wrong way. Which sign of the step makes entry q zero before you set it?",
        ),
        returns(
            _move(lambda w, h, q: -1 / torch.linalg.inv(h)[q, q] * torch.linalg.inv(h)[:, q]),
            "The step does not scale with the deleted weight. If w_q were zero already, how far should the others move?",
        ),
        returns(
            _move(lambda w, h, q: -w[q] * torch.linalg.inv(h)[:, q]),
            "The division by [H⁻¹]_qq is missing. What must entry q of the step be?",
        ),
    ),
)
