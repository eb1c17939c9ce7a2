"""Checks of arguments: every error names the argument, its value, what was expected and the remedy."""

from numbers import Real

import torch
from torch import Tensor


def require(condition: bool, name: str, value, expected: str, remedy: str, error: type[Exception] = ValueError) -> None:
    """Raise `error` with one line that a reader can act on, unless condition holds."""
    if not condition:
        raise error(f"{name} = {value}: expected {expected}; {remedy}")


def require_sparsity(sparsity: float, name: str = "sparsity") -> None:
    """Sparsity is the share of weights removed: a number in [0, 1)."""
    number = isinstance(sparsity, Real) and not isinstance(sparsity, bool)
    require(number and 0 <= sparsity < 1, name, sparsity, "a number in [0, 1)", "90% sparse is 0.9")


def require_choice(value, choices, name: str) -> None:
    """value must be one of choices (strings)."""
    require(value in tuple(choices), name, repr(value), "one of " + ", ".join(map(repr, choices)), "check the spelling")


def require_finite(tensor: Tensor, name: str) -> None:
    """No NaN and no infinity: scores of such weights cannot be ranked."""
    if tensor.numel() and torch.stack(torch.aminmax(tensor)).isfinite().all():
        return  # both are NaN if any is; five times as fast as a look at each
    bad = int((~torch.isfinite(tensor)).sum())
    require(bad == 0, name, f"tensor with {bad} NaN or infinite entries", "finite numbers",
            "lower the learning rate or look at the training history before pruning")  # fmt: skip


def require_mask(mask: Tensor, shape: torch.Size, name: str = "mask") -> None:
    """A mask is bool (True = live) and has the shape of what it masks."""
    require(mask.dtype == torch.bool, f"{name}.dtype", mask.dtype, "torch.bool", "make it so with mask != 0", TypeError)
    require(mask.shape == shape, f"{name}.shape", tuple(mask.shape), f"{tuple(shape)}",
            "a mask has the shape of its weight")  # fmt: skip


def require_same_keys(given: dict, expected: dict, name: str, reference: str) -> None:
    """Two dicts of tensors must speak of the same parameters."""
    odd = sorted(set(given) ^ set(expected))
    require(not odd, name, f"keys {sorted(given)}", f"the keys of {reference}", f"these differ: {odd}", KeyError)
