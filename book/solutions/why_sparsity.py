"""Solutions of the exercises of the chapter "Why sparsity"; the page shows them, the tests run them."""

import math

import torch


def csr_bytes(rows, columns, live, value_bytes, index_bytes):
    values, indices = live * value_bytes, live * index_bytes
    pointers = (rows + 1) * 4  # one more closes the last row
    return values + indices + pointers


def global_mask(weights, sparsity):
    pruned = {name: weight for name, weight in weights.items() if not name.endswith(".bias")}
    sizes = torch.cat([weight.abs().flatten() for weight in pruned.values()])
    zeros = math.floor(sparsity * len(sizes) + 1e-9)  # the slack: .29 · 100 is 28.999… in floating point
    order = sizes.sort(descending=True, stable=True).indices  # stable: among equals the lowest index comes first
    mask = torch.zeros(len(sizes), dtype=torch.bool)
    mask[order[: len(sizes) - zeros]] = True
    parts = mask.split([weight.numel() for weight in pruned.values()])
    return {name: part.view(pruned[name].shape) for name, part in zip(pruned, parts, strict=True)}


def break_even_density(value_bytes, index_bytes, rows, columns):
    cells = rows * columns
    left_for_live = cells * value_bytes - (rows + 1) * 4  # dense bytes, less the row pointers
    return max(0, left_for_live / (cells * (value_bytes + index_bytes)))
