"""N:M sparsity: at most n live weights in each m neighboring inputs, as 2:4 or 3:32.

    y[b, r] = bias[r] + sum over blocks j and places s of values[r, j, s] * x[b, m * j + offsets[r, j, s]]

Every row has the same number of places in every block: what a kernel must know of the pattern fits in one byte for
each weight, and no row waits for another. With 32 neighbors in two registers no weight needs a gather (lookup.py).
Mishra et al. 2021, arXiv:2104.08378. Chapter "What makes sparsity fast".
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lttkernels.arguments import FLOAT, index_type, require, require_array, require_finite
from lttkernels.layouts import linear_arguments, reference_bias, require_matrix_and_mask
from lttkernels.lookup import make_lookup, multiply_few
from lttkernels.lookup_loops import BLOCK, FEW
from lttkernels.simd import HAS_AVX512
from lttkernels.tiles import TiledMatrix, TiledPattern, multiply

EMPTY = 255  # the offset of a place that holds no weight


@dataclass(frozen=True)
class NM:
    """A sparse layer of shape (out, in) with at most n live weights in each of the blocks of m inputs.

    values: (out, blocks, n) float32. offsets: (out, blocks, n) uint8, from the block's first input; 255 for a place
    that is empty, whose value counts for nothing. The last block is shorter where m does not divide in. Everything else that
    the kernels need is made when first used, and kept. Raises TypeError or ValueError for another dtype or layout,
    offsets out of range, NaN or infinite values.
    """

    values: np.ndarray
    offsets: np.ndarray
    n: int
    m: int
    shape: tuple[int, int]

    def __post_init__(self):
        _require_pattern(self.n, self.m)
        features, inputs = self.shape
        shape = (features, -(-inputs // self.m), self.n)
        require_array(self.values, "values", dtype=FLOAT, shape=shape, remedy="compress makes it")
        require_array(self.offsets, "offsets", dtype=np.dtype(np.uint8), shape=shape, remedy="compress makes it")
        room = np.minimum(self.m, inputs - self.m * np.arange(shape[1]))[:, None]
        bad = self.offsets[(self.offsets != EMPTY) & (self.offsets >= room)]
        require(bad.size == 0, "offsets", f"an array with the entry {bad[0] if bad.size else 0}",
                f"entries below {self.m}, in the last block below {room[-1, 0] if room.size else 0}, or {EMPTY}",
                "an offset names an input of its block")  # fmt: skip
        require_finite(self.values, "values")

    @cached_property
    def entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The live weights row by row: indptr (out + 1,), indices and values (entries,)."""
        live = self.offsets != EMPTY
        inputs = self.offsets.astype(np.int64) + self.m * np.arange(self.offsets.shape[1])[:, None]
        indptr = np.concatenate([[0], np.cumsum(live.sum((1, 2)))])
        return indptr, inputs[live].astype(index_type(max(self.shape[1], 1))), self.values[live]

    @cached_property
    def rows(self) -> np.ndarray:
        """Every row of the layer: what the kernels write to."""
        return np.arange(self.shape[0], dtype=np.uint32)

    @cached_property
    def tiled(self) -> TiledMatrix:
        """The layer as the batched kernel wants it."""
        indptr, indices, values = self.entries
        return TiledMatrix(TiledPattern(indptr, indices, self.shape), values)

    @cached_property
    def lookup(self):
        """Pattern and values as the kernel for one sample wants them: all in slots, where m divides 32."""
        slots = self.n * BLOCK // self.m if HAS_AVX512 and BLOCK % self.m == 0 else None
        return make_lookup(*self.entries, self.shape, slots)


def _require_pattern(n: int, m: int) -> None:
    require(isinstance(m, int) and 1 <= m <= EMPTY, "m", m, f"a whole number from 1 to {EMPTY}", "2:4 is n=2, m=4")
    require(isinstance(n, int) and 0 <= n <= m, "n", n, f"a whole number from 0 to m = {m}", "2:4 is n=2, m=4")


def compress(weight: np.ndarray, mask: np.ndarray, n: int, m: int) -> NM:
    """Keep the live weights of weight (out, in), float32, by mask (bool, True = live), at most n in each m inputs.

    Fewer than n are padded. Raises ValueError that names the first block with more.
    """
    require_matrix_and_mask(weight, mask)
    _require_pattern(n, m)
    features, inputs = weight.shape
    blocks = -(-inputs // m)
    live = np.zeros((features, blocks * m), bool)
    live[:, :inputs] = mask
    live = live.reshape(features, blocks, m)
    full = np.argwhere(live.sum(2) > n)
    row, block = full[0] if full.size else (0, 0)
    require(full.size == 0, "mask", f"an array with {live[row, block].sum() if full.size else 0} live weights in row "
            f"{row}, block {block}", f"at most n = {n} in each m = {m} inputs", "see lttlib.masks.nm_mask")  # fmt: skip
    at = np.nonzero(live)
    place = (np.cumsum(live, 2) - 1)[at]  # the how manieth of its block
    values = np.zeros((features, blocks, n), np.float32)
    offsets = np.full(values.shape, EMPTY, np.uint8)
    values[at[0], at[1], place] = weight[mask]
    offsets[at[0], at[1], place] = at[2]
    return NM(values, offsets, n, m, weight.shape)


def nm_linear(x, nm: NM, bias=None, *, transposed: bool = False, out=None):
    """x (batch, in) to (batch, out); transposed: (in, batch) to (out, batch), the layout between sparse layers.

    x, bias (out,): float32, C-contiguous. out: where to write, instead of a new array. A row without live weights
    answers with its bias. An empty place never reads x: NaN and infinity there do not matter.
    """
    batch, bias, out = linear_arguments(x, nm.shape, bias, transposed, out)
    few = out.size and batch <= FEW and multiply_few(nm.lookup, x, bias, out, by_row=transposed)
    if out.size and not few:
        multiply(nm.tiled, x, nm.rows, bias, out, by_row=transposed)
    return out


def reference_linear(x, nm: NM, bias=None) -> np.ndarray:
    """nm_linear in float64, as the equation has it: (batch, in) to (batch, out)."""
    answer = np.zeros((len(x), nm.shape[0])) + reference_bias(bias)
    for block in range(nm.offsets.shape[1]):
        for place in range(nm.n):
            rows = np.flatnonzero(nm.offsets[:, block, place] != EMPTY)
            inputs = nm.m * block + nm.offsets[rows, block, place].astype(np.int64)
            answer[:, rows] += x.astype(np.float64)[:, inputs] * nm.values[rows, block, place].astype(np.float64)
    return answer
