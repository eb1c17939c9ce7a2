"""Constant fan-in with ablated neurons, condensed: only live weights are stored, k in each of n surviving rows.

    y[b, rows[i]] = bias[rows[i]] + sum over s < k of values[i, s] * x[b, indices[i, s]],   y[b, r] = bias[r] elsewhere

Lasby et al. 2023, arXiv:2305.02299. Chapter "What makes sparsity fast".
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lttkernels import condensed_cuda
from lttkernels.arguments import FLOAT, index_type, require, require_array, require_finite, require_indices
from lttkernels.dots import dot_products
from lttkernels.layouts import linear_arguments
from lttkernels.lookup import make_lookup, multiply_few
from lttkernels.lookup_loops import FEW
from lttkernels.short_rows import LONGEST, fits, multiply_short_rows
from lttkernels.tiles import TiledMatrix, TiledPattern, multiply


@dataclass(frozen=True)
class Condensed:
    """A sparse layer of shape (out, in) with the same number k of live weights in each of its n surviving rows.

    values: (n, k) float32. indices: (n, k), the inputs they multiply, uint8, uint16 or uint32. rows: (n,) uint32,
    increasing, the neurons that survive. Everything else that the kernels need is made when first used, and kept.
    Raises TypeError or ValueError for another dtype or layout, indices out of range, NaN or infinite values.
    """

    values: np.ndarray
    indices: np.ndarray
    rows: np.ndarray
    shape: tuple[int, int]
    _pattern: dict = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self):
        if self._pattern:
            return
        require_array(self.values, "values", dtype=FLOAT, shape=(None, None))
        n, k = self.values.shape
        features, inputs = self.shape
        require_indices(self.indices, "indices", shape=(n, k), bound=inputs)
        require_array(self.rows, "rows", dtype=np.dtype(np.uint32), shape=(n,))
        require(bool((np.diff(self.rows.astype(np.int64)) > 0).all()), "rows", self.rows, "increasing numbers",
                "each surviving neuron is named once")  # fmt: skip
        require(n == 0 or self.rows[-1] < features, "rows", self.rows, f"entries below {features}", "check shape")
        require_finite(self.values, "values")
        self._pattern["indptr"] = np.arange(n + 1) * k

    @property
    def fan_in(self) -> int:
        """k, the number of live weights of a surviving neuron."""
        return self.values.shape[1]

    def with_values(self, values: np.ndarray) -> "Condensed":
        """The same pattern with other values, (n, k) float32: what training makes at every step."""
        require_array(values, "values", dtype=FLOAT, shape=self.values.shape)
        return Condensed(values, self.indices, self.rows, self.shape, self._pattern)

    @cached_property
    def tiled(self) -> TiledMatrix:
        """The layer as the batched forward kernel wants it."""
        if "tiled" not in self._pattern:
            surviving = (len(self.rows), self.shape[1])
            self._pattern["tiled"] = TiledPattern(self._pattern["indptr"], self.indices.reshape(-1), surviving)
        return TiledMatrix(self._pattern["tiled"], self.values.reshape(-1))

    @cached_property
    def transposed_tiled(self) -> TiledMatrix:
        """The transposed layer: for each input the neurons that read it."""
        if "transposed" not in self._pattern:
            flat = self.indices.reshape(-1)
            order = np.argsort(flat, kind="stable").astype(np.uint32)
            indptr = np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=self.shape[1]))])
            readers = np.repeat(self.rows, self.fan_in)[order]
            self._pattern["transposed"] = TiledPattern(indptr, readers, self.shape[::-1], order)
        return TiledMatrix(self._pattern["transposed"], self.values.reshape(-1))

    @cached_property
    def lookup(self):
        """Pattern and values as the kernel for one sample wants them."""
        return self._lookup(1)

    @cached_property
    def few_lookup(self):
        """As lookup, for two to FEW samples at once."""
        return self._lookup(FEW)

    def _lookup(self, samples: int):
        flat, shape = (self.indices.reshape(-1), self.values.reshape(-1)), (len(self.rows), self.shape[1])
        return make_lookup(self._pattern["indptr"], *flat, shape, rows=self.rows, samples=samples)


def condense(weight: np.ndarray, mask: np.ndarray) -> Condensed:
    """Condense weight (out, in), float32, by mask (bool, True = live) with constant fan-in; empty rows are ablated.

    Raises ValueError if two surviving rows have different numbers of live weights.
    """
    require_array(weight, "weight", dtype=FLOAT, shape=(None, None))
    require_array(mask, "mask", dtype=np.dtype(bool), shape=weight.shape, remedy="a mask has the shape of its weight")
    live = mask.sum(1)
    rows = np.flatnonzero(live)
    k = int(live.max(initial=0))
    uneven = rows[live[rows] != k]
    require(uneven.size == 0, "mask", f"an array whose rows have {int(live[uneven[0]]) if uneven.size else k} to {k} live "
            "weights", "the same number in every row, or none", "see lttlib.masks.constant_fan_in_mask")  # fmt: skip
    columns = np.nonzero(mask)[1].reshape(len(rows), k)
    values = np.ascontiguousarray(np.take_along_axis(weight[rows], columns, 1))
    indices = columns.astype(index_type(max(weight.shape[1], 1)))
    return Condensed(values, indices, rows.astype(np.uint32), weight.shape)


def condensed_linear(x, condensed: Condensed, bias=None, *, transposed: bool = False, out=None):
    """x (batch, in) to (batch, out); transposed: (in, batch) to (out, batch), the layout between sparse layers.

    x, bias (out,): float32, C-contiguous, numpy arrays or, with a Condensed whose arrays are there too, arrays on a
    GPU. out: where to write, instead of a new array. A neuron without live weights answers with its bias.
    """
    if condensed_cuda.is_cuda_array(x):
        return condensed_cuda.linear(x, condensed, bias, transposed, out)
    batch, bias, out = linear_arguments(x, condensed.shape, bias, transposed, out)
    if len(condensed.rows) < condensed.shape[0]:
        out[...] = bias[:, None] if transposed else bias
    if transposed and fits(batch) and condensed.fan_in <= LONGEST:
        multiply_short_rows(condensed.values, condensed.indices, condensed.rows, bias, x, out)
        return out
    few = 0 < batch <= FEW
    if few and multiply_few(condensed.few_lookup if batch > 1 else condensed.lookup, x, bias, out, by_row=transposed):
        return out
    if batch:
        multiply(condensed.tiled, x, condensed.rows, bias, out, by_row=transposed)
    return out


def condensed_grad_values(x, grad_out, condensed: Condensed, *, transposed: bool = False):
    """Gradient of the loss by values, (n, k), from the layer's input x and the gradient grad_out by its output."""
    if condensed_cuda.is_cuda_array(x):
        return condensed_cuda.grad_values(x, grad_out, condensed, transposed)
    features, inputs = condensed.shape
    require_array(x, "x", dtype=FLOAT, shape=(inputs, None) if transposed else (None, inputs))
    batch = x.shape[1] if transposed else x.shape[0]
    require_array(grad_out, "grad_out", dtype=FLOAT, shape=(features, batch) if transposed else (batch, features))
    if not batch:
        return np.zeros(condensed.values.shape, np.float32)
    out = np.empty(condensed.values.shape, np.float32)
    if out.size:
        dot_products(condensed.indices, condensed.rows, grad_out, x, out, by_row=transposed)
    return out


def condensed_grad_input(grad_out, condensed: Condensed, *, transposed: bool = False):
    """Gradient of the loss by the layer's input, (batch, in), or (in, batch) if transposed."""
    if condensed_cuda.is_cuda_array(grad_out):
        return condensed_cuda.grad_input(grad_out, condensed, transposed)
    features, inputs = condensed.shape
    require_array(grad_out, "grad_out", dtype=FLOAT, shape=(features, None) if transposed else (None, features))
    batch = grad_out.shape[1] if transposed else grad_out.shape[0]
    out = np.empty((inputs, batch) if transposed else (batch, inputs), np.float32)
    none = condensed._pattern.setdefault("no input bias", np.zeros(inputs, np.float32))
    if out.size:
        every = condensed._pattern.setdefault("every input", np.arange(inputs, dtype=np.uint32))
        multiply(condensed.transposed_tiled, grad_out, every, none, out, by_row=transposed)
    return out


def reference_linear(x, condensed: Condensed, bias=None) -> np.ndarray:
    """condensed_linear in float64, as the equation has it: (batch, in) to (batch, out)."""
    answer = np.zeros((len(x), condensed.shape[0])) + (0 if bias is None else bias.astype(np.float64))
    picked = x.astype(np.float64)[:, condensed.indices]
    answer[:, condensed.rows] += np.einsum("nk,bnk->bn", condensed.values.astype(np.float64), picked)
    return answer


def reference_gradients(x, grad_out, condensed: Condensed) -> tuple[np.ndarray, np.ndarray]:
    """Gradients by values (n, k) and by x (batch, in), in float64, from grad_out (batch, out)."""
    grad = grad_out.astype(np.float64)[:, condensed.rows]
    by_values = np.einsum("bn,bnk->nk", grad, x.astype(np.float64)[:, condensed.indices])
    by_input = np.zeros(x.shape)
    for i, inputs in enumerate(condensed.indices):
        by_input[:, inputs] += np.outer(grad[:, i], condensed.values[i].astype(np.float64))
    return by_values, by_input
