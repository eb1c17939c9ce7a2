"""Scores for pruning: magnitude, activations, Optimal Brain Damage and Optimal Brain Surgeon.

A criterion turns parameters into scores; masks.mask_by_scores turns scores into masks. Book: "Optimal Brain Damage".
The curvature that OBD needs is in hessian_diagonal, with four estimators that are four different things.
"""

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, vjp, vmap

from lttlib.arguments import require, require_choice, require_finite
from lttlib.lecun import lecun_diagonal

ESTIMATORS = ("exact", "ggn", "lecun", "hutchinson")
CHUNK = 128  # basis vectors or rows that are differentiated at once: bounds the memory

Loss = Callable[[Tensor, Tensor], Tensor]


def random_scores(weights: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Uniform scores in [0, 1): the control of every criterion. weights: name to tensor."""
    require(generator is not None, "generator", None, "a torch.Generator", "torch.Generator().manual_seed(0)")
    return {n: torch.rand(w.shape, generator=generator, device=generator.device) for n, w in weights.items()}


def mean_activation(activations: Tensor) -> Tensor:
    """Mean output of each channel; low means little used. activations after the nonlinearity, (N, C) or (N, C, H, W).

    Returns (C,). A baseline in Molchanov et al. 2017, arXiv:1611.06440.
    """
    return _by_channel(activations).mean(1)


def apoz(activations: Tensor) -> Tensor:
    """Average percentage of zeros as a share in [0, 1]: how often a channel is exactly 0 after ReLU.

    High means prunable. activations (N, C) or (N, C, H, W), all positions count; returns (C,).
    Hu et al. 2016, arXiv:1607.03250.
    """
    return (_by_channel(activations) == 0).float().mean(1)


def activation_entropy(activations: Tensor, bins: int = 10) -> Tensor:
    """Entropy in nats of each channel's histogram over the data; low means the channel tells inputs apart poorly.

    activations (N, C) or (N, C, H, W), globally average-pooled first; `bins` equal bins over each channel's own range.
    A constant channel has entropy 0. Returns (C,). Luo & Wu 2017, arXiv:1706.05791.
    """
    require(bins >= 1, "bins", bins, "1 or more", "the paper's idea needs about 10")
    pooled = _by_channel(activations.flatten(2).mean(2) if activations.ndim == 4 else activations)  # (C, N)
    low, high = pooled.min(1, keepdim=True).values, pooled.max(1, keepdim=True).values
    width = torch.where(high > low, high - low, torch.ones_like(high))
    cell = ((pooled - low) / width * bins).long().clamp(max=bins - 1)  # the maximum falls into the last bin
    share = nn.functional.one_hot(cell, bins).to(pooled.dtype).mean(1)
    return -torch.special.xlogy(share, share).sum(1)


def hessian_diagonal(
    model: nn.Module,
    loss: Loss,
    inputs: Tensor,
    targets: Tensor,
    *,
    estimator: str,
    draws: int = 1,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Diagonal curvature of loss(model(inputs), targets) by parameter name, one entry per parameter entry.

    loss averages over the batch. estimator:
    "exact": the diagonal of the Hessian, one Hessian-vector product per parameter. May be negative.
    "ggn": the diagonal of the generalized Gauss-Newton matrix, J^T H_out J. Never negative for a convex loss.
    "lecun": the recursion of LeCun et al. 1989 in its Levenberg-Marquardt form; see lttlib.lecun.
    "hutchinson": mean over `draws` of z * (H z), z random signs on all parameters jointly; unbiased for "exact".
    Needs generator. The model is evaluated as it is: call model.eval() first if it has dropout or batch norm.
    """
    require_choice(estimator, ESTIMATORS, "estimator")
    require(
        len(inputs) == len(targets) > 0,
        "targets",
        f"{len(targets)} rows",
        f"{len(inputs)}, one per input",
        "pass whole pairs",
    )
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    for name, parameter in parameters.items():
        require_finite(parameter, name)
    require_finite(inputs, "inputs")
    if estimator == "lecun":
        return lecun_diagonal(model, loss, inputs, targets)
    if estimator == "ggn":
        return _ggn_diagonal(model, parameters, loss, inputs, targets)

    def mean_loss(values):
        return loss(functional_call(model, values, (inputs,)), targets)

    _, pull_back = vjp(grad(mean_loss), parameters)  # H is symmetric, so pulling back multiplies by it

    def hvp(direction):
        return pull_back(direction)[0]

    if estimator == "exact":
        return _exact_diagonal(hvp, parameters)
    require(generator is not None, "generator", None, "a torch.Generator", "torch.Generator().manual_seed(0)")
    require(draws >= 1, "draws", draws, "1 or more", "the error falls as 1/sqrt(draws)")
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for _ in range(draws):
        signs = {n: torch.randint(0, 2, p.shape, generator=generator).to(p) * 2 - 1 for n, p in parameters.items()}
        for name, product in hvp(signs).items():
            total[name] += signs[name] * product / draws
    return total


def obd_saliency(weight: Tensor, diagonal: Tensor) -> Tensor:
    """Predicted rise of the loss when one weight is set to 0: h * w^2 / 2 (LeCun et al. 1989).

    weight and diagonal (its entries of hessian_diagonal): one shape. Negative where the curvature is.
    """
    require(weight.shape == diagonal.shape, "diagonal.shape", tuple(diagonal.shape), f"{tuple(weight.shape)}",
            "take both by the same parameter name")  # fmt: skip
    require_finite(weight, "weight")
    require_finite(diagonal, "diagonal")
    return diagonal * weight.detach() ** 2 / 2


def obs_scores(weight: Tensor, hessian: Tensor) -> Tensor:
    """Rise of a quadratic loss when one weight is deleted and the others repair it: w_q^2 / (2 [H^-1]_qq).

    weight (n,), hessian (n, n) positive definite. Hassibi & Stork 1992. Never above the OBD saliency of the same H.
    """
    inverse = _inverse(weight, hessian)
    return weight.detach() ** 2 / (2 * inverse.diagonal())


def obs_delete(weight: Tensor, hessian: Tensor, index: int) -> Tensor:
    """New weights after deleting weight[index] and moving the others to where the quadratic loss is least.

    w - (w_q / [H^-1]_qq) H^-1 e_q; entry `index` is exactly 0. weight (n,), hessian (n, n). Hassibi & Stork 1992.
    """
    require(
        0 <= index < weight.numel(), "index", index, f"0 to {weight.numel() - 1}", "it counts the entries of weight"
    )
    inverse = _inverse(weight, hessian)
    repaired = weight.detach() - weight[index].detach() / inverse[index, index] * inverse[:, index]
    repaired[index] = 0  # exactly: the subtraction above may leave a rounding error
    return repaired


def _by_channel(activations: Tensor) -> Tensor:
    """(N, C) or (N, C, H, W) to (C, samples)."""
    require(
        activations.ndim in (2, 4),
        "activations.shape",
        tuple(activations.shape),
        "(N, C) or (N, C, H, W)",
        "reshape it",
    )
    require(
        activations.shape[0] > 0, "activations.shape", tuple(activations.shape), "at least one row", "measure on data"
    )
    require_finite(activations, "activations")
    return activations.movedim(1, 0).flatten(1)


def _exact_diagonal(hvp, parameters) -> dict[str, Tensor]:
    """e_i^T H e_i for every i, CHUNK basis vectors at a time."""
    zeros = {name: torch.zeros_like(p) for name, p in parameters.items()}
    result = {}
    for name, p in parameters.items():

        def entry(basis, name=name, shape=p.shape):
            return (hvp(zeros | {name: basis.view(shape)})[name].flatten() * basis).sum()

        rows = torch.arange(p.numel()).split(CHUNK)
        parts = [vmap(entry)(nn.functional.one_hot(r, p.numel()).to(p)) for r in rows]
        result[name] = torch.cat(parts).view(p.shape)
    return result


def _ggn_diagonal(model, parameters, loss, inputs, targets) -> dict[str, Tensor]:
    """Mean over rows of sum_k (J^T s_k)^2, where the columns s_k satisfy S S^T = Hessian of the loss at the outputs."""
    frozen = copy.deepcopy(model).requires_grad_(False)

    def squared_gradients(x, y):
        outputs, pull_back = vjp(lambda values: functional_call(frozen, values, (x[None],))[0], parameters)
        curvature = hessian(lambda out: loss(out[None], y[None]))(outputs)
        eigenvalues, vectors = torch.linalg.eigh(curvature)
        columns = (vectors * eigenvalues.clamp(min=0).sqrt()).T
        (gradients,) = vmap(pull_back)(columns)
        return {name: (g**2).sum(0) for name, g in gradients.items()}

    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    # A chunk holds one gradient per row and output: keep it near 100 million numbers.
    per_row = sum(p.numel() for p in parameters.values()) * 10
    rows = max(1, min(CHUNK, 100_000_000 // per_row))
    for x, y in zip(inputs.split(rows), targets.split(rows), strict=True):
        for name, part in vmap(squared_gradients)(x, y).items():
            total[name] += part.sum(0) / len(inputs)
    return total


def _inverse(weight: Tensor, hessian: Tensor) -> Tensor:
    """Inverse Hessian of a weight vector, both checked."""
    n = weight.numel()
    require(weight.ndim == 1, "weight.shape", tuple(weight.shape), "(n,)", "flatten it")
    require(hessian.shape == (n, n), "hessian.shape", tuple(hessian.shape), f"({n}, {n})", "one row per weight")
    require_finite(weight, "weight")
    return inverse_of_positive_definite(hessian)


def inverse_of_positive_definite(hessian: Tensor) -> Tensor:
    """Inverse through the Cholesky factor; a matrix that is not positive definite is an error that names the damping."""
    require_finite(hessian, "hessian")
    factor, failed = torch.linalg.cholesky_ex(hessian)
    require(int(failed) == 0, "hessian", "matrix that is not positive definite", "positive eigenvalues",
            "add damping: hessian + 0.01 * hessian.diagonal().mean() * torch.eye(n)")  # fmt: skip
    return torch.cholesky_inverse(factor)
