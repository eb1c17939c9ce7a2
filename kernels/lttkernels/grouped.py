"""Mixture of experts: from tokens to rows sorted by expert, where each expert is one matrix product, and back.

Token t has k slots; slot s sends it to expert chosen[t, s], or, if that is -1, nowhere (the pair was dropped).

    order      the pairs t * k + s that were kept, by expert, then by token, then by slot
    x_sorted[i] = x[order[i] // k]                                    permute
    y[t]       = sum over s of gates[t, s] * y_sorted[inverse[t, s]]  unpermute; what was dropped adds nothing

Each token gathers its own k answers, so no two threads ever add to one place: no atomics, and the same bits on any number
of threads. The ways back are the same loops: the gradient of permute by x is unpermute without gates, that of unpermute
by y_sorted is permute with gates, and that by gates is gate_gradients. The products belong to a BLAS: see
lttlib.grouped_experts. Sorted, dropless experts: Gale et al. 2022, arXiv:2211.15841. Chapter "Mixture of experts".
"""

from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numba.core import config

from lttkernels.arguments import FLOAT, require, require_array
from lttkernels.condensed_cuda import is_cuda_array
from lttkernels.grouped_loops import (
    DROPPED,
    count,
    dots,
    dots_parallel,
    permute_rows,
    permute_rows_parallel,
    place,
    range_of,
    unpermute_rows,
    unpermute_rows_parallel,
)  # fmt: skip
from lttkernels.threads import get_threads

PLACE = np.dtype(np.int32)  # of order and inverse
COUNTED = np.dtype(np.int64)  # of offsets
CHOICES = (np.dtype(np.int64), np.dtype(np.int32))


class Sorted(NamedTuple):
    """Where every pair of token and slot stands when sorted by expert.

    order: (kept,) int32, pair t * k + s of each row. offsets: (experts + 1,) int64; the rows of expert e are those from
    offsets[e] to offsets[e + 1]. inverse: (T, k) int32, the row of each pair, -1 if it was dropped.
    """

    order: np.ndarray
    offsets: np.ndarray
    inverse: np.ndarray


def sort_by_expert(chosen, experts: int) -> Sorted:
    """Sort pairs by expert: a counting sort, stable. chosen: (T, k) int64 or int32, 0 to experts - 1, or -1 for a dropped pair.

    On a GPU the three arrays have the dtype of chosen, order has T * k entries, -1 after the last kept one, and a number
    out of range counts as dropped: to look for one would stop and wait. Raises TypeError or ValueError for another
    dtype, layout or range.
    """
    require(experts >= 1, "experts", experts, "1 or more", "somebody must answer")
    if is_cuda_array(chosen):
        return Sorted(*_cuda().sort_by_expert(chosen, experts))
    dtype = getattr(chosen, "dtype", None)
    require(dtype in CHOICES, "chosen.dtype", dtype, "int64 or int32", "convert it with astype(np.int64)", TypeError)
    require(chosen.size < 2**31, "chosen.shape", chosen.shape, "fewer than 2**31 pairs", "split the batch")
    require_array(chosen, "chosen", dtype=dtype, shape=(None, None))
    offsets, inverse = np.empty(experts + 1, COUNTED), np.empty(chosen.shape, PLACE)
    wrong = count(chosen.reshape(-1), offsets)
    require(wrong < 0, "chosen", f"an array with the entry {chosen.flat[wrong] if wrong >= 0 else None}",
            f"entries from -1 to {experts - 1}", "an entry names an expert, -1 none")  # fmt: skip
    order = np.empty(offsets[-1], PLACE)
    place(chosen.reshape(-1), offsets.copy(), order, inverse.reshape(-1))
    return Sorted(order, offsets, inverse)


def permute(x, order, k: int, gates=None, *, out=None):
    """Row i is x[order[i] // k], times the gate of pair order[i] if there are gates: (T, d) to (kept, d).

    x: (T, d) float32. order: (kept,) of sort_by_expert, or a part of it, k: slots of a token. gates: (T, k) float32. out:
    where to write, instead of a new array. On a GPU rows past the last kept pair are 0.
    """
    require(k >= 1, "k", k, "1 or more", "it is the number of columns of chosen")
    if is_cuda_array(x):
        return _cuda().permute(x, order, k, gates, out)
    require_array(x, "x", dtype=FLOAT, shape=(None, None))
    require_array(order, "order", dtype=PLACE, shape=(None,), remedy="sort_by_expert makes it")
    _require_range(order, "order", 0, len(x) * k)
    if gates is not None:
        require_array(gates, "gates", dtype=FLOAT, shape=(len(x), k), remedy="one for each pair")
    out = _place_to_write(out, (len(order), x.shape[1]))
    if out.size:
        _shared(len(order), permute_rows, permute_rows_parallel, (x, order, k, _flat(gates), out))
    return out


def unpermute(y_sorted, inverse, gates=None, *, out=None):
    """Row t is the sum over s of gates[t, s] * y_sorted[inverse[t, s]], where inverse is not -1: (kept, d) to (T, d).

    y_sorted: (kept, d) float32. inverse: (T, k) of sort_by_expert. gates: (T, k) float32; None: all 1. out: where to
    write, instead of a new array.
    """
    if is_cuda_array(y_sorted):
        return _cuda().unpermute(y_sorted, inverse, gates, out)
    _require_sorted(y_sorted, inverse)
    if gates is not None:
        require_array(gates, "gates", dtype=FLOAT, shape=inverse.shape, remedy="one for each pair")
    out = _place_to_write(out, (len(inverse), y_sorted.shape[1]))
    if out.size:
        _shared(len(inverse), unpermute_rows, unpermute_rows_parallel, (y_sorted, inverse, _flat(gates), out))
    return out


def gate_gradients(grad, y_sorted, inverse, *, out=None):
    """The gradient of unpermute by gates, (T, k): grad[t] times y_sorted[inverse[t, s]] as vectors, 0 for a dropped pair.

    grad: (T, d) float32, by what unpermute answered. y_sorted, inverse, out: see unpermute.
    """
    if is_cuda_array(grad):
        return _cuda().gate_gradients(grad, y_sorted, inverse, out)
    _require_sorted(y_sorted, inverse)
    require_array(grad, "grad", dtype=FLOAT, shape=(len(inverse), y_sorted.shape[1]), remedy="of unpermute's shape")
    out = _place_to_write(out, inverse.shape)
    if out.size:
        _shared(len(inverse), dots, dots_parallel, (grad, y_sorted, inverse, out))
    return out


def _cuda() -> ModuleType:
    found = config.ENABLE_CUDASIM or find_spec("numba_cuda")
    require(bool(found), "numba-cuda", "not installed", "Numba's compiler for GPUs",
            "get it with .venv/bin/python -m pip install -e '.[cuda]'", ImportError)  # fmt: skip
    from lttkernels import grouped_cuda

    return grouped_cuda


def _require_sorted(y_sorted, inverse) -> None:
    require_array(y_sorted, "y_sorted", dtype=FLOAT, shape=(None, None))
    require_array(inverse, "inverse", dtype=PLACE, shape=(None, None), remedy="sort_by_expert makes it")
    _require_range(inverse, "inverse", DROPPED, len(y_sorted))


def _require_range(places, name: str, least: int, bound: int) -> None:
    low, high = range_of(places.reshape(-1))
    require(places.size == 0 or (least <= low and high < bound), name, f"an array from {low} to {high}",
            f"entries from {least} to {bound - 1}", "it belongs to other arrays: check k and the rows")  # fmt: skip


def _place_to_write(out, shape: tuple[int, int]) -> np.ndarray:
    if out is None:
        return np.empty(shape, np.float32)
    require_array(out, "out", dtype=FLOAT, shape=shape)
    require(out.flags.writeable, "out", "a read-only array", "one to write to", "leave it away, or copy it")
    return out


def _flat(gates) -> np.ndarray:
    return np.empty(0, np.float32) if gates is None else gates.reshape(-1)


def _shared(rows: int, alone, parallel, work: tuple) -> None:
    """All rows, on as many threads as are in use."""
    threads = min(get_threads(), rows)
    if threads > 1:
        parallel(threads, rows, *work)
    else:
        alone(0, rows, *work)


def reference_sort(chosen, experts: int) -> Sorted:
    """sort_by_expert by comparison: sort the pairs, take those of nobody away."""
    flat = np.asarray(chosen).reshape(-1)
    order = np.argsort(flat, kind="stable")[np.count_nonzero(flat < 0) :]
    inverse = np.full(flat.size, DROPPED)
    inverse[order] = np.arange(order.size)
    offsets = np.searchsorted(flat[order], np.arange(experts + 1))
    return Sorted(order.astype(PLACE), offsets.astype(COUNTED), inverse.reshape(np.shape(chosen)).astype(PLACE))


def reference_permute(x, order, k: int, gates=None) -> np.ndarray:
    """permute in float64: (kept, d)."""
    found = x.astype(np.float64)[order // k]
    return found if gates is None else found * gates.astype(np.float64).reshape(-1)[order, None]


def reference_unpermute(y_sorted, inverse, gates=None) -> np.ndarray:
    """unpermute in float64, as the equation has it: (T, d)."""
    gates = np.ones(inverse.shape) if gates is None else gates.astype(np.float64)
    answers = (
        y_sorted.astype(np.float64)[np.maximum(inverse, 0)]
        if len(y_sorted)
        else np.zeros((*inverse.shape, y_sorted.shape[1]))
    )
    return np.where(inverse[..., None] < 0, 0, gates[..., None] * answers).sum(1)


def reference_gate_gradients(grad, y_sorted, inverse) -> np.ndarray:
    """gate_gradients in float64: (T, k)."""
    found = np.zeros(inverse.shape)
    for token, slot in np.argwhere(inverse >= 0):
        found[token, slot] = grad[token].astype(np.float64) @ y_sorted[inverse[token, slot]].astype(np.float64)
    return found
