"""The empirical tangent kernel of a pruned network, one layer's part: gradients of surviving weights only, exact.

    kernel[p, q] = sum over i, j of mask[i, j] * deltas[p, i] * deltas[q, i] * activations[p, j] * activations[q, j]

The gradient of the network's output for sample p by weight (i, j) is deltas[p, i] * activations[p, j], so no Jacobian
need ever be in memory. Without a mask the sum falls apart into two Gram matrices, multiplied entry by entry; with one it
does not. Two methods:

- rows: for each output one Gram matrix over the inputs that it reads. Where it reads more than half of them, the others
  are taken away from the answer without a mask. The time follows the share of live weights, or of dead ones if these
  are fewer, and the square of the number of samples whose delta is not 0. Loops: masked_ntk_rows.py.
- pairs: a matrix product for all n (n + 1) / 2 pairs of samples, the same time for any mask. masked_ntk_pairs.py.

The kernel: Jacot et al. 2018, arXiv:1806.07572; computed exactly: Arora et al. 2019, arXiv:1904.11955; of a randomly
pruned network: Yang and Wang 2022, arXiv:2203.14328. Chapter "The tangent kernel of a pruned network".
"""

from importlib.util import find_spec

import numba
import numpy as np
from numba.core import config

from lttkernels.arguments import require, require_array
from lttkernels.condensed_cuda import is_cuda_array
from lttkernels.masked_ntk_pairs import pairs, pairs_parallel, pairs_room
from lttkernels.masked_ntk_rows import gram, gram_parallel, rows, rows_parallel, rows_room
from lttkernels.memory import scratch
from lttkernels.threads import get_threads

METHODS = ("auto", "rows", "pairs")
REGISTER = 64  # bytes
BLOCK = 128  # samples at a time
PARTS = 16  # of the outputs, each added up by itself: the same bits on any number of threads


def masked_ntk(activations, deltas, mask=None, *, method: str = "auto"):
    """One layer's part of the tangent kernel, (n, n), symmetric, in the dtype of the arguments.

    activations: (n, in), the layer's inputs. deltas: (n, out), derivatives of the network's output by what the layer
    hands to its nonlinearity, times the layer's scale. Both float32 or both float64. mask: (out, in) bool, True = live,
    or None, all live. C-contiguous, finite, numpy arrays or arrays on a GPU. method: "rows", "pairs", or "auto", the one
    that a model of their time expects to be faster. Raises TypeError or ValueError for another dtype, layout or shape.

    An entry is off by less than 2e-6 (float64: 2e-14) times the same sum of absolute values over all weights, live or
    not. Memory: the arguments once more, some 3 MB, and 2 MB more for each thread.
    """
    require(method in METHODS, "method", repr(method), "one of " + ", ".join(map(repr, METHODS)), "check the spelling")
    if is_cuda_array(activations):
        return _on_gpu(activations, deltas, mask, method)
    _check(activations, deltas, mask)
    n, kernel = len(activations), np.zeros((len(activations),) * 2, activations.dtype)
    if not activations.size or not deltas.size:
        return kernel
    blocks = [slice(first, min(first + BLOCK, n)) for first in range(0, n, BLOCK)]
    turned = [(_turned(activations[block]), _turned(deltas[block])) for block in blocks]
    part = _every_weight if mask is None else _chosen(method, mask, turned, n)
    for p, one in enumerate(blocks):  # on and below the diagonal
        for q, other in enumerate(blocks[: p + 1]):
            samples, others = one.stop - one.start, other.stop - other.start
            kernel[one, other] = part(samples, *turned[p], *turned[q])[:samples, :others]
    below = np.tril(kernel, -1)
    return below + below.T + np.diag(kernel.diagonal())


def reference_masked_ntk(activations, deltas, mask=None) -> np.ndarray:
    """masked_ntk in float64, as the equation has it: the gradients by the weights of one output after the other."""
    a, d, kernel = activations.astype(np.float64), deltas.astype(np.float64), np.zeros((len(activations),) * 2)
    for i in range(d.shape[1]):
        gradients = np.einsum("p,pj->pj", d[:, i], a if mask is None else a * mask[i])
        kernel += np.einsum("pj,qj->pq", gradients, gradients, optimize=True)
    return kernel


def _on_gpu(activations, deltas, mask, method: str):
    found = config.ENABLE_CUDASIM or find_spec("numba_cuda")
    require(bool(found), "numba-cuda", "not installed", "Numba's compiler for GPUs",
            "get it with .venv/bin/python -m pip install -e '.[cuda]'", ImportError)  # fmt: skip
    require(method != "pairs", "method", repr(method), "'auto' or 'rows' for arrays on a GPU",
            "by pairs it is a product of dense matrices there: ask torch for it")  # fmt: skip
    from lttkernels import masked_ntk_cuda

    return masked_ntk_cuda.masked_ntk(activations, deltas, mask)


def _check(activations, deltas, mask) -> None:
    dtype = getattr(activations, "dtype", None)
    require(isinstance(activations, np.ndarray), "activations", type(activations).__name__, "a numpy array",
            "np.asarray makes one", TypeError)  # fmt: skip
    require(dtype in (np.float32, np.float64), "activations.dtype", dtype, "float32 or float64",
            "convert it with astype(np.float32)", TypeError)  # fmt: skip
    require_array(activations, "activations", dtype=dtype, shape=(None, None))
    require_array(deltas, "deltas", dtype=dtype, shape=(len(activations), None), remedy="one row for each sample")
    if mask is not None:
        require_array(mask, "mask", dtype=np.dtype(bool), shape=(deltas.shape[1], activations.shape[1]),
                      remedy="a mask has the shape of its weight, (out, in)")  # fmt: skip


def _turned(x: np.ndarray) -> np.ndarray:
    """x transposed: (features, samples), filled with 0 up to whole registers."""
    lanes = REGISTER // x.itemsize
    turned = np.zeros((x.shape[1], -(-len(x) // lanes) * lanes), x.dtype)
    turned[:, : len(x)] = x.T
    return turned


def _chosen(method: str, mask: np.ndarray, turned: list, n: int):
    """The function that answers for two blocks of samples, as _every_weight does."""
    outputs, inputs = mask.shape
    lanes = REGISTER // turned[0][0].itemsize
    live, active = _count_nonzero(mask), sum(_count_nonzero(d) for _, d in turned)
    costs = row_costs(live, active, inputs, lanes)
    if method == "auto":
        method = "rows" if costs.sum() <= pairs_cost(n, outputs, inputs, lanes) else "pairs"
    if method == "pairs":
        even = _shares(np.ones(outputs))
        return lambda samples, *blocks: _summed(pairs, pairs_parallel, even, pairs_room, blocks[0] is blocks[2], blocks,
                                                samples, mask)  # fmt: skip
    bounds, mostly, counting = _shares(costs), 2 * live > inputs, np.arange(inputs, dtype=np.int32)

    def by_rows(samples, a_p, d_p, a_q, d_q):
        total = _summed(rows, rows_parallel, bounds, rows_room, a_p is a_q, (a_p, d_p, a_q, d_q),
                        mask, live, counting)  # fmt: skip
        if mostly.any():
            total += _every_weight(samples, a_p, d_p[mostly], a_q, d_q[mostly])
        return total

    return by_rows


def _every_weight(samples: int, a_p, d_p, a_q, d_q) -> np.ndarray:
    """The part of two blocks of samples, the first of so many, all weights live; at least on and below the diagonal.

    a_p: (in, samples and more), d_p: (out, samples and more), and those of the other block. Returns float64.
    """
    over_inputs, over_outputs = (
        _summed(gram, gram_parallel, _shares(np.ones(len(x_p))), rows_room, a_p is a_q, (x_p, x_q))
        for x_p, x_q in ((a_p, a_q), (d_p, d_q))
    )
    return over_inputs * over_outputs


def _shares(costs: np.ndarray) -> np.ndarray:
    """Borders (parts + 1,) of up to PARTS parts of the rows that cost about the same."""
    done, parts = np.cumsum(costs), min(PARTS, len(costs))
    return np.concatenate([[0], np.searchsorted(done, done[-1] * np.arange(1, parts) / parts), [len(costs)]])


def _summed(alone, parallel, bounds, room_for, same: bool, blocks: tuple, *what) -> np.ndarray:
    """All parts of what a kernel finds for blocks added up, on the set number of threads, each with memory of its own.

    same: both blocks are the same samples, and what is above the diagonal does not matter.
    """
    first, last = blocks[0], blocks[-1]
    width, lanes, parts = max(first.shape[1], last.shape[1]), REGISTER // first.itemsize, len(bounds) - 1
    threads = max(1, min(get_threads(), parts))
    room = -(-room_for(width, lanes) // lanes) * lanes
    rooms = scratch("masked_ntk", threads * room * first.itemsize // 4).view(first.dtype).reshape(threads, room)
    out = np.zeros((parts, first.shape[1], last.shape[1]))
    if threads > 1:
        parallel(threads, bounds, rooms, out, lanes, same, *what, *blocks)
    else:
        alone(0, parts, bounds, rooms[0], out, lanes, same, *what, *blocks)
    return out.sum(0)


@numba.njit(nogil=True, cache=True)
def _count_nonzero(table):
    """How many entries of each row of table, (rows, columns), are not 0."""
    found = np.zeros(len(table), np.int64)
    for i in range(len(table)):
        count = 0
        for entry in table[i]:
            count += entry != 0
        found[i] = count
    return found


def row_costs(live: np.ndarray, active: np.ndarray, inputs: int, lanes: int) -> np.ndarray:
    """Expected time of each row by rows, in cycles of a core with AVX-512. active: samples whose delta is not 0."""
    products = np.maximum(4, (active**2 / 2 + 12 * active) / (1.7 * lanes))  # of one input
    packing = 3 + 3 * active / lanes
    return 300 + inputs / 2 + (3 * products + np.minimum(live, inputs - live) * (products + packing)) * (active > 0)


def pairs_cost(n: int, outputs: int, inputs: int, lanes: int) -> float:
    """Expected time by pairs, in the same unit."""
    return outputs * inputs * (2 + np.ceil(n * (n + 1) / 2 / lanes) / 1.7)
