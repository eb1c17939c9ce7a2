"""Solutions of the exercises of the chapter "Why sparsity"; the page shows them, the tests run them."""

import math

import torch


def csr_bytes(rows, columns, live, value_bytes, index_bytes):
    values, indices = live * value_bytes, live * index_bytes
    pointers = (rows + 1) * 4  # one more closes the last row
    return values + indices + pointers


def global_mask(weights, sparsity):
    pruned = {name: w for name, w in weights.items() if not name.endswith(".bias")}
    sizes = torch.cat([w.abs().flatten() for w in pruned.values()])
    # The slack: in floating point .29 · 100 is 28.999…
    zeros = math.floor(sparsity * len(sizes) + 1e-9)
    # Stable: among equals the lowest index comes first.
    order = sizes.sort(descending=True, stable=True).indices
    mask = torch.zeros(len(sizes), dtype=torch.bool)
    mask[order[: len(sizes) - zeros]] = True
    parts = mask.split([w.numel() for w in pruned.values()])
    return {name: part.view(w.shape) for (name, w), part in zip(pruned.items(), parts, strict=True)}


def break_even_density(value_bytes, index_bytes, rows, columns):
    cells = rows * columns
    left = cells * value_bytes - (rows + 1) * 4  # dense bytes, less the pointers
    return max(0, left / (cells * (value_bytes + index_bytes)))
