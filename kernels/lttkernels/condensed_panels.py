"""Condensed layers between activations that stay in panels: forward and both gradients, as training takes them.

    y[p, rows[i], b] = bias[rows[i]] + sum over s < k of values[i, s] * x[p, indices[i, s], b],   y[p, r, b] = bias[r] elsewhere

A panel holds 64 samples side by side, (panels, features, 64): a weight then multiplies four whole registers, the sums of a
neuron stay in four more from its first weight to its last, and nothing is packed or transposed between layers. A panel
of 1,024 inputs takes 256 KB and stays in the second-level cache. Samples past the batch are padding.

The gradient by the input walks the transposed pattern, so that no two threads write to the same place. It is made once
for every pattern; at every step the values are put in its order.

Lasby et al. 2023, arXiv:2305.02299. Chapter "Structured RigL".
"""

import numba
import numpy as np

from lttkernels.arguments import FLOAT, index_type, require, require_array, require_indices
from lttkernels.dots import WIDTH as PANEL
from lttkernels.dots import dot_rows
from lttkernels.memory import scratch
from lttkernels.reorder import reorder
from lttkernels.simd import element, fma, gated, load, pointer, put, splat, store, total, zeros
from lttkernels.threads import get_threads

PLAIN, RELU, GATED = 0, 1, 2  # what happens to the sums before they are written


class PanelPattern:
    """Where the live weights of a layer (out, in) are: k inputs for each of the n surviving neurons.

    indices: (n, k) unsigned, the inputs. rows: (n,) uint32, increasing, the neurons. Raises TypeError or ValueError for
    another dtype or layout, and for numbers out of range. Nothing here is as large as the dense weight.
    """

    def __init__(self, indices: np.ndarray, rows: np.ndarray, shape: tuple[int, int]):
        n, k = indices.shape
        features, inputs = shape
        require_indices(indices, "indices", shape=(n, k), bound=inputs)
        require_array(rows, "rows", dtype=np.dtype(np.uint32), shape=(n,))
        require(bool((np.diff(rows.astype(np.int64)) > 0).all()), "rows", rows, "increasing numbers",
                "each surviving neuron is named once")  # fmt: skip
        require(n == 0 or rows[-1] < features, "rows", rows, f"entries below {features}", "check shape")
        self.indices, self.rows, self.shape, self.flat = indices, rows, shape, indices.reshape(-1)
        self.ablated = np.setdiff1d(np.arange(features, dtype=np.uint32), rows)
        self.indptr = np.arange(n + 1, dtype=np.uint64) * np.uint64(k)
        self.every, self.none = np.arange(inputs, dtype=np.uint32), np.zeros(inputs, np.float32)
        self._transposed = None

    @property
    def transposed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each input the neurons that read it: indptr (in + 1,), readers (entries,), order (entries,)."""
        if self._transposed is None:
            readers = self.rows.astype(index_type(max(self.shape[0], 1)))
            self._transposed = _transpose(self.flat, readers, self.indices.shape[1], self.shape[1])
        return self._transposed

    @property
    def bytes(self) -> int:
        """Memory of the pattern, of its transpose where that was needed."""
        parts = [self.indices, self.rows, self.ablated, self.indptr, self.every, self.none, *(self._transposed or ())]
        return sum(part.nbytes for part in parts)


@numba.njit(cache=True)
def _transpose(indices, readers, fan_in, inputs):
    """A counting sort by input: stable, so the readers of an input come in increasing order."""
    indptr = np.zeros(inputs + 1, np.uint64)
    for entry in range(indices.size):
        indptr[indices[entry] + 1] += np.uint64(1)
    for column in range(inputs):
        indptr[column + 1] += indptr[column]
    following = indptr[:-1].astype(np.int64)
    names = np.empty(indices.size, readers.dtype)
    order = np.empty(indices.size, np.uint32)
    for row in range(readers.size):
        for entry in range(row * fan_in, (row + 1) * fan_in):
            there = following[indices[entry]]
            following[indices[entry]] += 1
            names[there] = readers[row]
            order[there] = entry
    return indptr, names, order


def panels_linear(pattern: PanelPattern, values, bias, x, out, *, relu: bool = False) -> None:
    """Write the layer's answers to out (panels, out, 64). values: (n, k), bias: (out,), x: (panels, in, 64), float32.

    relu: write max(0, y) in place of y.
    """
    features, inputs = pattern.shape
    _require(pattern, values, x, inputs, "x", out, features, "out")
    require_array(bias, "bias", dtype=FLOAT, shape=(features,))
    _shared(pattern.indptr, pattern.flat, values.reshape(-1), pattern.rows, bias, x, out, RELU if relu else PLAIN, x)
    if len(pattern.ablated):
        answers = bias[pattern.ablated]
        out[:, pattern.ablated] = (np.maximum(answers, 0) if relu else answers)[:, None]


def panels_grad_input(pattern: PanelPattern, values, grad, out, *, gate=None) -> None:
    """Write the gradient by the layer's input to out (panels, in, 64), from grad (panels, out, 64) by its output.

    gate: of out's shape; where it is 0 or less, out is 0. Given the layer's input, if that is the output of a ReLU, out
    is the gradient by what went into the ReLU.
    """
    features, inputs = pattern.shape
    _require(pattern, values, grad, features, "grad", out, inputs, "out")
    if gate is not None:
        require_array(gate, "gate", dtype=FLOAT, shape=out.shape)
    indptr, readers, order = pattern.transposed
    permuted = scratch("permuted values", order.size)
    mode, gate = (PLAIN, out) if gate is None else (GATED, gate)
    reorder(values.reshape(-1), order, permuted)
    _shared(indptr, readers, permuted, pattern.every, pattern.none, grad, out, mode, gate)


def panels_grad_values(pattern: PanelPattern, x, grad, out, by_bias) -> None:
    """Write the gradients by values to out (n, k) and by the bias to by_bias (out,).

    x: (panels, in, 64), grad: (panels, out, 64). Padding must be 0 in grad.
    """
    features, inputs = pattern.shape
    panels = _require(pattern, out, x, inputs, "x", grad, features, "grad")
    require_array(by_bias, "by_bias", dtype=FLOAT, shape=(features,))
    n, k = pattern.indices.shape
    dot_rows(n, pattern.flat, k, pattern.rows, grad.reshape(-1), features, x.reshape(-1), inputs, panels,
             out.reshape(-1))  # fmt: skip
    _sums(grad, by_bias)


def _require(pattern, values, first, first_features, first_name, second, second_features, second_name) -> int:
    """The number of panels, if all shapes agree."""
    require_array(values, "values", dtype=FLOAT, shape=pattern.indices.shape, remedy="one for each index")
    require_array(first, first_name, dtype=FLOAT, shape=(None, first_features, PANEL), remedy="see to_panels")
    shape = (first.shape[0], second_features, PANEL)
    require_array(second, second_name, dtype=FLOAT, shape=shape, remedy="as many panels as the other has")
    return first.shape[0]


@numba.njit(nogil=True, cache=True)
def _sums(grad, out):
    """Sum over panels and samples."""
    grad_at, out_at = pointer(grad), pointer(out)
    panels, features, _ = grad.shape
    one = splat(np.float32(1), 16)
    for row in range(features):
        a = zeros(16)
        for panel in range(panels):
            at = (panel * features + row) * PANEL
            b = fma(load(grad_at, at, 16), one, load(grad_at, at + 16, 16))
            c = fma(load(grad_at, at + 32, 16), one, load(grad_at, at + 48, 16))
            a = fma(fma(b, one, c), one, a)
        put(out_at, row, total(a))


def _shared(indptr, indices, values, rows, bias, x, out, mode, gate) -> None:
    """All rows in all panels, on as many threads as are in use."""
    count = len(rows) * len(x)
    threads = min(get_threads(), count)
    if threads > 1:
        _rows_parallel(threads, count, indptr, indices, values, rows, bias, x, out, mode, gate)
    elif count:
        _rows(0, count, indptr, indices, values, rows, bias, x, out, mode, gate)


@numba.njit(nogil=True, cache=True)
def _rows(first, last, indptr, indices, values, rows, bias, x, out, mode, gate):
    """Rows of the product, `first` to `last` counted through all panels: those of panel 0, of panel 1, and so on.

    With as many panels as threads, each thread stays with its panel from layer to layer, and in its own cache.
    """
    indptr_at, indices_at, values_at = pointer(indptr), pointer(indices), pointer(values)
    rows_at, bias_at, x_at, out_at, gate_at = pointer(rows), pointer(bias), pointer(x), pointer(out), pointer(gate)
    count = rows.size
    for panel in range(first // count, (last - 1) // count + 1):
        here, there = panel * x.shape[1] * PANEL, panel * out.shape[1] * PANEL
        for r in range(max(first - panel * count, 0), min(last - panel * count, count)):
            row = element(rows_at, r)
            a = splat(element(bias_at, row), 16)
            b, c, d = a, a, a
            for entry in range(element(indptr_at, r), element(indptr_at, r + 1)):
                value = splat(element(values_at, entry), 16)
                near = here + element(indices_at, entry) * PANEL
                a = fma(value, load(x_at, near, 16), a)
                b = fma(value, load(x_at, near + 16, 16), b)
                c = fma(value, load(x_at, near + 32, 16), c)
                d = fma(value, load(x_at, near + 48, 16), d)
            at = there + row * PANEL
            if mode == RELU:
                a, b, c, d = gated(a, a), gated(b, b), gated(c, c), gated(d, d)
            elif mode == GATED:
                a, b = gated(load(gate_at, at, 16), a), gated(load(gate_at, at + 16, 16), b)
                c, d = gated(load(gate_at, at + 32, 16), c), gated(load(gate_at, at + 48, 16), d)
            store(out_at, at, a)
            store(out_at, at + 16, b)
            store(out_at, at + 32, c)
            store(out_at, at + 48, d)


@numba.njit(nogil=True, cache=True, parallel=True)
def _rows_parallel(threads, count, indptr, indices, values, rows, bias, x, out, mode, gate):
    for thread in numba.prange(threads):
        first, last = count * thread // threads, count * (thread + 1) // threads
        _rows(first, last, indptr, indices, values, rows, bias, x, out, mode, gate)


def to_panels(x: np.ndarray) -> np.ndarray:
    """x (batch, features), float32, as panels (panels, features, 64), 0 past the batch."""
    batch, features = x.shape
    panels = -(-batch // PANEL)
    padded = np.zeros((panels * PANEL, features), np.float32)
    padded[:batch] = x
    return np.ascontiguousarray(padded.reshape(panels, PANEL, features).transpose(0, 2, 1))


def from_panels(panels: np.ndarray, batch: int) -> np.ndarray:
    """The first `batch` samples of panels (panels, features, 64), as (batch, features)."""
    count, features, width = panels.shape
    return np.ascontiguousarray(panels.transpose(0, 2, 1).reshape(count * width, features)[:batch])
