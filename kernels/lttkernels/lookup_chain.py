"""A whole ReLU network times one vector in one call: what lies between its layers would take longer than they do.

    x[i + 1] = max(0, W[i] x[i] + b[i]),   without the maximum after the last layer

A layer of 1024 x 1024 at 90 % sparsity takes 15 us, and so does Python between two of them. The layers are packed as in
lttkernels.lookup, and their arrays stand one after another in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np

from lttkernels.arguments import FLOAT, require_array
from lttkernels.lookup import Lookup, _aligned_zeros
from lttkernels.lookup_loops import BLOCK, GROUP, one_sample, pad
from lttkernels.memory import scratch
from lttkernels.threads import get_threads


@dataclass(frozen=True)
class LookupChain:
    """Layers one after another. plan: (layers, 10) int64, for each its blocks, slots, groups, rows and outputs, and where
    its values, its words, its rest, its rows and its biases begin. The other arrays: those of the layers, flat.
    """

    inputs: int
    plan: np.ndarray
    values: np.ndarray
    words: np.ndarray
    rest_values: np.ndarray
    rest_indices: np.ndarray
    rest_start: np.ndarray
    rows: np.ndarray
    bias: np.ndarray

    @cached_property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All of them, as the kernels take them."""
        return (self.plan, self.values, self.words, self.rest_values, self.rest_indices, self.rest_start, self.rows,
                self.bias)  # fmt: skip

    @cached_property
    def sizes(self) -> tuple[int, int, int]:
        """The inputs of the widest layer, padded; the most outputs of any layer; the outputs of the last."""
        return (int(self.plan[:, 0].max()) + 1) * BLOCK, int(self.plan[:, 4].max()), int(self.plan[-1, 4])


def make_chain(layers: Sequence[Lookup], biases: Sequence[np.ndarray]) -> LookupChain:
    """layers: from first to last. biases: (outputs,) float32, of all outputs of each."""
    plan, begin = [], np.zeros(5, np.int64)
    for layer, bias in zip(layers, biases, strict=True):
        groups, blocks, slots, _ = layer.values.shape
        plan.append([blocks, slots, groups, len(layer.rows), len(bias), *begin])
        begin += [layer.values.size, layer.words.size, layer.rest_values.size, len(layer.rows), len(bias)]
    aligned = {}
    for name in ("values", "words", "rest_values"):
        parts = [getattr(layer, name).reshape(-1) for layer in layers]
        aligned[name] = _aligned_zeros((sum(part.size for part in parts),)).view(parts[0].dtype)
        np.concatenate(parts, out=aligned[name])
    rest_indices, starts, rows = (
        np.concatenate([getattr(layer, name).reshape(-1) for layer in layers])
        for name in ("rest_indices", "rest_start", "rows")
    )
    return LookupChain(inputs=layers[0].shape[1], plan=np.array(plan, np.int64), **aligned, rest_indices=rest_indices,
                       rest_start=starts, rows=rows, bias=np.concatenate(biases))  # fmt: skip


def multiply_chain(chain: LookupChain, x, out) -> bool:
    """Write the network's answer for x (inputs,) to out (outputs,); False if a number on the way is not finite.

    0 times infinity is no 0: with such a number the empty places would count. x, out: float32.
    """
    width, most, outputs = chain.sizes
    require_array(x, "x", dtype=FLOAT, shape=(chain.inputs,))
    require_array(out, "out", dtype=FLOAT, shape=(outputs,))
    threads = get_threads()
    room = scratch("chain", width + most + threads * GROUP)
    parts = (room[:width], room[width : width + most], room[width + most :])
    return _parallel(threads, *chain.arrays, x, *parts, out) if threads > 1 else _serial(*chain.arrays, x, *parts, out)


@numba.njit(nogil=True, cache=True)
def _prepare(plan, i, values, words, rest_values, rest_indices, rest_start, rows, bias, x, padded, answers, out):
    """Layer i: whether its input is finite, and what one_sample takes."""
    blocks, slots, groups, count, features, at, word_at, rest, row, offset = plan[i]
    finite = pad(x if i == 0 else answers[: plan[i - 1, 4]], i > 0, padded[: (blocks + 1) * BLOCK])
    target = (out if i + 1 == len(plan) else answers)[:features]
    own_bias, own_rows = bias[offset : offset + features], rows[row : row + count]
    if count < features:
        target[:] = own_bias
    own = values[at : at + groups * blocks * slots * GROUP].reshape(groups, blocks, slots, GROUP)
    start = rest_start[np.sum(plan[:i, 2]) + i :]
    packed = (own, words[word_at:], rest_values[rest:], rest_indices[rest:], start, own_rows)
    return finite, packed, (own_bias, target)


@numba.njit(nogil=True, cache=True)
def _serial(plan, values, words, rest_values, rest_indices, rest_start, rows, bias, x, padded, answers, sums, out):
    for i in range(len(plan)):
        finite, packed, ends = _prepare(plan, i, values, words, rest_values, rest_indices, rest_start, rows, bias, x,
                                        padded, answers, out)  # fmt: skip
        if not finite:
            return False
        one_sample(0, plan[i, 2], *packed, padded, sums, *ends)
    return True


@numba.njit(nogil=True, cache=True, parallel=True)
def _parallel(
    threads, plan, values, words, rest_values, rest_indices, rest_start, rows, bias, x, padded, answers, sums, out
):
    for i in range(len(plan)):
        finite, packed, ends = _prepare(plan, i, values, words, rest_values, rest_indices, rest_start, rows, bias, x,
                                        padded, answers, out)  # fmt: skip
        if not finite:
            return False
        groups = plan[i, 2]
        for thread in numba.prange(threads):
            first, last = groups * thread // threads, groups * (thread + 1) // threads
            one_sample(first, last, *packed, padded, sums[thread * GROUP :], *ends)
    return True
