"""One linear layer, pruned so that its outputs change least: from OBS to SparseGPT and Wanda.

For a layer y = W x and calibration inputs X the layer's own loss ||W X - W' X||^2 is quadratic, one row of W at a time,
with the same Hessian H = X^T X / rows for every row. Magnitude ignores H, Wanda keeps its diagonal, OBS uses all of it
and repairs one weight at a time, SparseGPT does that for all rows in one sweep. Book: "Optimal Brain Damage".
"""

import torch
from torch import Tensor

from lttlib.arguments import require, require_finite, require_mask
from lttlib.criteria import inverse_of_positive_definite
from lttlib.masks import keep_count


def input_hessian(inputs: Tensor, damping: float = 0.01) -> Tensor:
    """H = X^T X / rows + damping * mean(diagonal) * I, in float64. inputs X: (rows, in), what the layer sees."""
    require(
        inputs.ndim == 2 and len(inputs) > 0,
        "inputs.shape",
        tuple(inputs.shape),
        "(rows, in)",
        "flatten all but the last axis",
    )
    require(damping >= 0, "damping", damping, "0 or more", "0.01 is usual")
    require_finite(inputs, "inputs")
    x = inputs.detach().double()
    h = x.T @ x / len(x)
    return h + damping * h.diagonal().mean() * torch.eye(h.shape[0], dtype=h.dtype)


def output_error(weight: Tensor, pruned: Tensor, inputs: Tensor) -> float:
    """||(W - W') X||^2 / ||W X||^2, the share of the layer's output that pruning destroyed. weights (out, in)."""
    require(
        pruned.shape == weight.shape, "pruned.shape", tuple(pruned.shape), f"{tuple(weight.shape)}", "prune this weight"
    )
    x = inputs.double()
    return float(((weight - pruned).double() @ x.T).square().sum() / (weight.double() @ x.T).square().sum())


def wanda_scores(weight: Tensor, inputs: Tensor) -> Tensor:
    """|w_ij| * ||x_j||: magnitude times the norm of the input feature (Sun et al. 2024, arXiv:2306.11695).

    weight (out, in), inputs (rows, in); returns (out, in), to be compared within a row. Its square is, up to a
    factor, the OBD saliency of the layer's own quadratic loss.
    """
    require(inputs.ndim == 2 and inputs.shape[-1] == weight.shape[1], "inputs.shape", tuple(inputs.shape), f"(rows, {weight.shape[1]})",
            "pass what enters this layer")  # fmt: skip
    require_finite(weight, "weight")
    require_finite(inputs, "inputs")
    return weight.detach().abs() * inputs.detach().norm(dim=0)


def repair(weight: Tensor, mask: Tensor, hessian: Tensor) -> Tensor:
    """The live weights of every row moved to where the layer's loss is least, for a mask that stays: least squares.

    weight (out, in), mask bool of the same shape, hessian (in, in) positive definite. Solves H_SS w'_S = (H w)_S for the live
    inputs S of each row; pruned entries are exactly 0.
    """
    require_mask(mask, weight.shape)
    inverse_of_positive_definite(hessian)  # refuses a singular H with a remedy
    h, w = hessian.double(), weight.detach().double()
    repaired = torch.zeros_like(w)
    for i, live in enumerate(mask):
        repaired[i, live] = torch.linalg.solve(h[live][:, live], (h @ w[i])[live])
    return repaired.to(weight.dtype)


def obs_prune_row(weight: Tensor, hessian: Tensor, sparsity: float) -> Tensor:
    """Delete the weight of least OBS score, repair the others, repeat: one row, exactly. O(in^3) a row.

    weight (in,), hessian (in, in) positive definite. Returns the repaired row with its zeros.
    """
    require(weight.ndim == 1, "weight.shape", tuple(weight.shape), "(in,)", "pass one row")
    require(hessian.shape == (weight.numel(),) * 2, "hessian.shape", tuple(hessian.shape), f"({weight.numel()}, {weight.numel()})",
            "use input_hessian of this layer's inputs")  # fmt: skip
    require_finite(weight, "weight")
    row, inverse = weight.detach().double().clone(), inverse_of_positive_definite(hessian.double())
    alive = torch.ones(row.numel(), dtype=torch.bool)
    for _ in range(row.numel() - keep_count(row.numel(), sparsity)):
        scores = torch.where(alive, row**2 / inverse.diagonal(), torch.inf)
        q = int(scores.argmin())
        row = row - row[q] / inverse[q, q] * inverse[:, q]
        alive[q] = False
        row[~alive] = 0
        # The inverse of H without row and column q, by one step of Gaussian elimination.
        inverse = inverse - inverse[:, q : q + 1] @ inverse[q : q + 1] / inverse[q, q]
        inverse[q, :], inverse[:, q], inverse[q, q] = 0, 0, 1
    return row.to(weight.dtype)


def sparsegpt_prune(weight: Tensor, hessian: Tensor, sparsity: float, *, block: int = 16) -> Tensor:
    """All rows at once, one sweep over the columns (Frantar & Alistarh 2023, arXiv:2301.00774).

    weight (out, in), hessian (in, in). Columns are visited from left to right; a pruned weight is repaired only by
    columns not yet visited, so every row shares one sequence of inverse Hessians (the Cholesky factor of H^-1). In each
    block of columns the smallest w^2 / [H^-1]_jj of each row go (the paper ranks a block over all rows at once). Returns repaired weights with exact counts per row.
    """
    require(hessian.shape == (weight.shape[1],) * 2, "hessian.shape", tuple(hessian.shape), f"({weight.shape[1]}, {weight.shape[1]})",
            "use input_hessian of this layer's inputs")  # fmt: skip
    require(block >= 1, "block", block, "1 or more", "16 is usual")
    require_finite(weight, "weight")
    w, columns = weight.detach().double().clone(), weight.shape[1]
    factor = torch.linalg.cholesky(inverse_of_positive_definite(hessian.double()), upper=True)
    zeros_so_far = 0
    for start in range(0, columns, block):
        stop = min(start + block, columns)
        zeros = stop - keep_count(stop, sparsity) - zeros_so_far  # cumulative, so that the row's total is exact
        zeros_so_far += zeros
        scores = w[:, start:stop] ** 2 / factor.diagonal()[start:stop] ** 2
        order = scores.sort(dim=1, stable=True).indices
        dead = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, order[:, :zeros], True)
        for j in range(start, stop):
            error = torch.where(dead[:, j - start], w[:, j], 0.0) / factor[j, j]
            w[:, j:] -= error[:, None] * factor[j, j:]
            w[dead[:, j - start], j] = 0
    return w.to(weight.dtype)
