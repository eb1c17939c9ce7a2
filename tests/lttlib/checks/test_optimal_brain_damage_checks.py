"""Right and wrong answers to the exercises of "Optimal Brain Damage", and what each is told."""

import pytest
import torch
from hutchinson_answers import HUTCHINSON
from proof import Answer, enough, prove, solutions, unproven

from lttlib.checks.optimal_brain_damage import check_damage, check_obs, check_saliency, check_wanda

SOLVED = solutions("optimal_brain_damage")
RIGHT = {name: getattr(SOLVED, name) for name in ("saliency", "damage", "hutchinson", "wanda", "obs")}
inv = torch.linalg.inv

# 1 saliency


def saliency_by_deleting(weight, gradient, hessian):
    rises = []
    for i in range(len(weight)):
        delta = torch.zeros_like(weight)
        delta[i] = -weight[i]
        rises.append(0.5 * delta @ hessian @ delta)
    return torch.stack(rises)


def saliency_as_list(weight, gradient, hessian):
    return [float(0.5 * hessian[i, i] * w * w) for i, w in enumerate(weight)]


def centers_weights(weight, gradient, hessian):
    weight -= weight.mean()
    return SOLVED.saliency(weight, gradient, hessian)


SALIENCY = [
    Answer(check_saliency, "solution", SOLVED.saliency),
    Answer(check_saliency, "by deleting each", saliency_by_deleting),
    Answer(check_saliency, "as a list", saliency_as_list),
    Answer(check_saliency, "float32", lambda w, g, h: 0.5 * w.float().square() * torch.diag(h).float()),
    *(
        Answer(check_saliency, name, function, "wrong", says)
        for name, function, says in [
            ("no half", lambda w, g, h: h.diagonal() * w * w, "factor ½"),
            ("|w|", lambda w, g, h: h.diagonal() * w.abs() / 2, "|w| where w² belongs"),
            ("curvature alone", lambda w, g, h: h.diagonal() / 2, "does not depend on the weights"),
            ("magnitude", lambda w, g, h: w**2 / 2, "does not depend on the Hessian"),
            ("couplings summed in", lambda w, g, h: w * (h @ w) / 2, "off-diagonal couplings"),
            ("gradient kept", lambda w, g, h: h.diagonal() * w**2 / 2 - g * w, "keeps the gradient"),
            ("gradient kept, sign", lambda w, g, h: h.diagonal() * w**2 / 2 + g * w, "with δ = +w"),
            ("sign turned", lambda w, g, h: -h.diagonal() * w**2 / 2, "by how much does"),
            ("row sums", lambda w, g, h: h.sum(1) * w**2 / 2, "by how much does"),
            ("first column", lambda w, g, h: h[0] * w**2 / 2, "by how much does"),
            ("a sum", lambda w, g, h: (h.diagonal() * w**2 / 2).sum(), "adds or removes an axis"),
            ("a matrix", lambda w, g, h: h * w**2 / 2, "adds or removes an axis"),
            ("OBS scores", lambda w, g, h: w**2 / inv(h).diagonal() / 2, "by how much does"),
            ("squared gradients", lambda w, g, h: g**2 * w**2 / 2, "by how much does"),
            ("eigenvalues", lambda w, g, h: torch.linalg.eigvalsh(h) * w**2 / 2, "by how much does"),
            ("in place", centers_weights, "in place"),
        ]
    ),
]

# 2 damage


def damage_by_pairs(weight, hessian, mask):
    gone = [i for i in range(len(weight)) if not mask[i]]
    return sum(float(weight[i] * hessian[i, j] * weight[j]) for i in gone for j in gone) / 2


def damage_of_losses(weight, hessian, mask):
    def loss(w):
        return 0.5 * (w - weight) @ hessian @ (w - weight)

    return loss(weight * mask) - loss(weight)


def zeroes_in_place(weight, hessian, mask):
    dense = weight.clone()
    weight[~mask] = 0
    return 0.5 * (weight - dense) @ hessian @ (weight - dense)


def summed(w, h, m):
    return (h.diagonal() * w**2 / 2)[~m].sum()


DAMAGE = [
    Answer(check_damage, "solution", SOLVED.damage),
    Answer(check_damage, "pair by pair", damage_by_pairs),
    Answer(check_damage, "difference of losses", damage_of_losses),
    *(
        Answer(check_damage, name, function, "wrong", says)
        for name, function, says in [
            ("sum of saliencies", summed, "sum of the saliencies"),
            ("no half", lambda w, h, m: 2 * SOLVED.damage(w, h, m), "factor ½"),
            ("mask inverted", lambda w, h, m: SOLVED.damage(w, h, ~m), "is True live or pruned"),
            ("mask inverted, by product", lambda w, h, m: (w * m) @ h @ (w * m) / 2, "is True live or pruned"),
            ("couplings twice", lambda w, h, m: 2 * SOLVED.damage(w, h, m) - summed(w, h, m), "counted twice"),
            ("couplings half", lambda w, h, m: (SOLVED.damage(w, h, m) + summed(w, h, m)) / 2, "What is ½ δᵀHδ"),
            ("couplings positive", lambda w, h, m: SOLVED.damage(w.abs(), h.abs(), m), "What is ½ δᵀHδ"),
            ("all deleted", lambda w, h, m: w @ h @ w / 2, "What is ½ δᵀHδ"),
            (
                "a vector",
                lambda w, h, m: torch.where(m, 0, w) * (h @ torch.where(m, 0, w)) / 2,
                "adds or removes an axis",
            ),
            ("in place", zeroes_in_place, "in place"),
            ("after repair", lambda w, h, m: 0.5 * w[~m] @ inv(inv(h)[~m][:, ~m]) @ w[~m], "What is ½ δᵀHδ"),
        ]
    ),
    Answer(check_damage, "mask as numbers", lambda w, h, m: -w * (1 - m) @ h @ w, "error", "Line "),
]

# 4 wanda


def wanda_by_loops(weight, inputs):
    out, n = weight.shape
    scores = torch.zeros(out, n, dtype=weight.dtype)
    for i in range(out):
        for j in range(n):
            scores[i, j] = abs(weight[i, j]) * sum(inputs[:, j] ** 2) ** 0.5
    return scores


WANDA = [
    Answer(check_wanda, "solution", SOLVED.wanda),
    Answer(check_wanda, "by loops", wanda_by_loops),
    Answer(check_wanda, "root of the quadratic form", lambda w, x: (w**2 * (x.T @ x).diagonal()).sqrt()),
    *(
        Answer(check_wanda, name, function, "wrong", says)
        for name, function, says in [
            ("sign kept", lambda w, x: w * x.norm(dim=0), "keep the sign"),
            ("mean size", lambda w, x: w.abs() * x.abs().mean(0), "mean size of each feature"),
            ("sum of sizes", lambda w, x: w.abs() * x.abs().sum(0), "the other norm"),
            ("no root", lambda w, x: w.abs() * (x**2).sum(0), "square root is missing"),
            ("root mean square", lambda w, x: w.abs() * (x**2).mean(0).sqrt(), "root mean square"),
            ("magnitude", lambda w, x: w.abs(), "plain magnitudes"),
            ("squared", lambda w, x: w**2 * (x**2).sum(0), "One input feature"),
            ("largest input", lambda w, x: w.abs() * x.abs().amax(0), "One input feature"),
            ("norm of everything", lambda w, x: w.abs() * x.norm(), "One input feature"),
            ("spread", lambda w, x: w.abs() * x.std(0) * (len(x) - 1) ** 0.5, "One input feature"),
            ("norm alone", lambda w, x: x.norm(dim=0), "adds or removes an axis"),
            (
                "normalized by row",
                lambda w, x: w.abs() * x.norm(dim=0) / w.norm(dim=1, keepdim=True),
                "One input feature",
            ),
            ("in place", lambda w, x: w.abs_() * x.norm(dim=0), "in place"),
        ]
    ),
    Answer(check_wanda, "norm of rows", lambda w, x: w.abs() * x.norm(dim=1), "error", "Which axis of (rows, in)"),
]

# 5 obs


def obs_by_elimination(weight, hessian, index, damping):
    damped = hessian + damping * torch.eye(len(weight), dtype=hessian.dtype)
    rest = torch.arange(len(weight)) != index
    repaired = torch.zeros_like(weight)
    moved = torch.linalg.solve(damped[rest][:, rest], damped[rest, index]) * weight[index]
    repaired[rest] = weight[rest] + moved
    return repaired


def obs_by_lagrange(weight, hessian, index, damping):
    n = len(weight)
    system = torch.zeros(n + 1, n + 1, dtype=hessian.dtype)
    system[:n, :n] = hessian + damping * torch.eye(n)
    system[index, n] = system[n, index] = 1
    right_side = torch.zeros(n + 1, dtype=hessian.dtype)
    right_side[n] = -weight[index]
    repaired = weight + torch.linalg.solve(system, right_side)[:n]
    repaired[index] = 0
    return repaired


def moved(step, *, damped=lambda h, damping: h + damping * torch.eye(len(h)), exact=True):
    """w + step(w, H damped, its inverse, q); exact: entry q is set to 0."""

    def repair(weight, hessian, index, damping):
        h = damped(hessian, damping)
        new = weight + step(weight, h, inv(h), index)
        if exact:
            new[index] = 0
        return new

    return repair


def right_step(w, h, i, q):
    return -w[q] / i[q, q] * i[:, q]


def damps_in_place(weight, hessian, index, damping):
    hessian.diagonal().add_(damping)
    return SOLVED.obs(weight, hessian, index, 0.0)


def undamped(hessian, damping):
    return hessian


def not_exactly_zero(weight, hessian, index, damping):
    inverse = inv(hessian + damping * torch.eye(len(weight)))
    return weight - weight[index] / inverse[index, index] * inverse[:, index]


def damped_if_singular(weight, hessian, index, damping):
    regular = torch.linalg.matrix_rank(hessian) == len(hessian)
    return SOLVED.obs(weight, hessian, index, 0.0 if regular else damping)


def undamped_cholesky(weight, hessian, index, damping):
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    new = weight - weight[index] / inverse[index, index] * inverse[:, index]
    new[index] = 0
    return new


def pseudo(weight, hessian, index, damping):
    inverse = torch.linalg.pinv(hessian)
    new = weight - weight[index] / inverse[index, index] * inverse[:, index]
    new[index] = 0
    return new


OBS = [
    Answer(check_obs, "solution", SOLVED.obs),
    Answer(check_obs, "by elimination", obs_by_elimination),
    Answer(check_obs, "by Lagrange's system", obs_by_lagrange),
    *(
        Answer(check_obs, name, function, "wrong", says)
        for name, function, says in [
            ("OBD", moved(lambda w, h, i, q: 0 * w), "only deletes, as OBD"),
            ("H for its inverse", moved(lambda w, h, i, q: -w[q] / h[q, q] * h[:, q]), "moves along a column of H"),
            ("sign turned", moved(lambda w, h, i, q: -right_step(w, h, i, q)), "move the wrong way"),
            ("step without w", moved(lambda w, h, i, q: -i[:, q] / i[q, q]), "does not scale with the deleted weight"),
            ("no division", moved(lambda w, h, i, q: -w[q] * i[:, q]), "division by [H⁻¹]_qq is missing"),
            (
                "not set to 0",
                moved(lambda w, h, i, q: right_step(w, h, i, q) + 1e-12, exact=False),
                "Deleted means exactly 0",
            ),
            ("undamped", moved(right_step, damped=undamped), "Where does the argument `damping` belong?"),
            ("pseudoinverse", pseudo, "Where does the argument `damping` belong?"),
            (
                "damping everywhere",
                moved(right_step, damped=lambda h, d: h + d),
                "Where does the argument `damping` belong?",
            ),
            (
                "damping of the mean",
                moved(right_step, damped=lambda h, d: h + d * h.diagonal().mean() * torch.eye(len(h))),
                "Where does the argument",
            ),
            ("damps in place", damps_in_place, "in place"),
            ("row divided by diagonal", moved(lambda w, h, i, q: -w[q] * i[:, q] * h[q, q]), "Is it, for your w'?"),
            ("others only halfway", moved(lambda w, h, i, q: right_step(w, h, i, q) / 2), "Is it, for your w'?"),
            ("the step alone", lambda *a: SOLVED.obs(*a) - a[0], "Is it, for your w'?"),
            ("divides by w", moved(lambda w, h, i, q: -i[:, q] / w[q] / i[q, q]), "Is it, for your w'?"),
            ("shorter vector", lambda *a: SOLVED.obs(*a)[torch.arange(len(a[0])) != a[2]], "adds or removes an axis"),
            ("not exactly zero", not_exactly_zero, "Deleted means exactly 0"),
            ("damped only if singular", damped_if_singular, "Is it, for your w'?"),
        ]
    ),
    Answer(check_obs, "undamped, with a Cholesky factor", undamped_cholesky, "error", "this Hessian has no inverse"),
]

ANSWERS = SALIENCY + DAMAGE + HUTCHINSON + WANDA + OBS


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_answer(answer, told):
    told.append((answer, prove(answer, RIGHT[answer.exercise.name])))


def test_two_right_and_five_wrong_answers_for_each():
    assert enough(ANSWERS) == {}


def test_every_classic_mistake_is_made_by_an_answer():
    assert unproven(ANSWERS) == []
