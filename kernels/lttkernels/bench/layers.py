"""The same sparse layer in every format: what is called, what it must answer, and how fast it could be."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
import torch.nn.functional as F

from lttkernels.condensed import condense, condensed_linear
from lttkernels.csr import csr, csr_linear
from lttkernels.limits import Limits
from lttkernels.lookup import make_lookup, multiply_few

L2_BYTES = 2 * 2**20


@dataclass(frozen=True)
class Implementation:
    """call() answers (batch, out), or (out, batch) if transposed. bytes: read and written once. flops: a multiply-add is 2.

    gathers, lookups: entries of x read at an index one by one, or looked up in registers.
    """

    call: Callable[[], object]
    transposed: bool
    bytes: int
    flops: int
    gathers: int = 0
    lookups: int = 0

    def limit_s(self, limits: Limits, threads: int) -> float:
        """The least time in seconds that the machine's limits allow, all threads at work."""
        bandwidth = limits.l2_bandwidth if self.bytes < L2_BYTES else limits.ram_bandwidth
        times = (self.bytes / bandwidth, self.flops / limits.flop_rate,
                 self.gathers / limits.gather_rate + self.lookups / limits.lookup_rate)  # fmt: skip
        return max(times) / threads


def constant_fan_in(inputs: int, outputs: int, sparsity: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A weight (out, in), float32, and a random mask with the same number of live inputs in each row."""
    draw = np.random.default_rng(seed)
    fan_in = max(1, inputs - int(np.floor(sparsity * inputs + 1e-9)))
    picked = draw.permuted(np.tile(np.arange(inputs), (outputs, 1)), axis=1)[:, :fan_in]
    mask = np.zeros((outputs, inputs), bool)
    np.put_along_axis(mask, picked, True, axis=1)
    return draw.normal(size=(outputs, inputs)).astype(np.float32) * mask, mask


def cpu_implementations(weight: np.ndarray, mask: np.ndarray, x: np.ndarray) -> dict[str, Implementation]:
    """By name: torch dense and CSR, scipy, gather-and-sum, plain CSR and condensed, in both layouts where they have two.

    weight, mask: (out, in). x: (batch, in) float32. Every answer goes into new memory, as it does for a reader.
    """
    features, inputs = weight.shape
    batch = len(x)
    live = int(mask.sum())
    transposed_x = np.ascontiguousarray(x.T)
    dense, plain, condensed = torch.from_numpy(weight), csr(weight, mask), condense(weight, mask)
    torch_csr, wide_csr = narrow_csr(dense), usual_csr(dense)
    scipy_csr = scipy.sparse.csr_array(weight)
    tx, txt = torch.from_numpy(x), torch.from_numpy(transposed_x)
    positions, values = torch.from_numpy(condensed.indices.astype(np.int64)), torch.from_numpy(condensed.values)
    activations = 4 * batch * (inputs + features)
    useful = 2 * live * batch
    csr_bytes = 8 * live + 4 * (features + 1) + activations
    condensed_bytes = (4 + condensed.indices.itemsize) * live + activations
    dense_cost = {"bytes": 4 * weight.size + activations, "flops": 2 * weight.size * batch}
    csr_cost = {"bytes": csr_bytes, "flops": useful, "gathers": live if batch == 1 else 0}
    wide_cost = csr_cost | {"bytes": csr_bytes + 4 * live}
    found = {
        "torch dense": Implementation(lambda: F.linear(tx, dense), False, **dense_cost),
        "torch dense, transposed": Implementation(lambda: dense @ txt, True, **dense_cost),
        "torch CSR": Implementation(lambda: F.linear(tx, torch_csr), False, **csr_cost),
        "torch CSR, transposed": Implementation(lambda: torch_csr @ txt, True, **csr_cost),
        "torch CSR, 8-byte indices": Implementation(lambda: F.linear(tx, wide_csr), False, **wide_cost),
        "torch CSR, 8-byte indices, transposed": Implementation(lambda: wide_csr @ txt, True, **wide_cost),
        "scipy CSR, transposed": Implementation(lambda: scipy_csr @ transposed_x, True, **csr_cost),
        "plain CSR": Implementation(lambda: csr_linear(x, plain), False, **csr_cost),
        "plain CSR, transposed": Implementation(
            lambda: csr_linear(transposed_x, plain, transposed=True), True, **csr_cost
        ),
    }
    if batch > 16:  # a dot product for each number of the answer: 100 ms where others take 5
        del found["plain CSR"]
    if batch * live <= 2**21:  # its intermediate result has batch * live numbers
        found["torch gather and sum"] = Implementation(
            lambda: (tx[:, positions] * values).sum(-1), False,
            bytes=12 * live + 12 * batch * live + activations, flops=useful, gathers=batch * live)  # fmt: skip
    cost = {"bytes": condensed_bytes, "flops": useful, "gathers": live if batch == 1 else 0}
    if batch == 1:
        found["condensed, gathers only"] = Implementation(_gathers_only(condensed, x), False, **cost)
        packed = condensed.lookup
        places = packed.values.size + packed.rest_values.size
        cost = {"bytes": 4 * (packed.values.size + packed.words.size) + (4 + packed.rest_indices.itemsize) * packed.rest_values.size + activations,
                "flops": 2 * places, "gathers": packed.rest_values.size, "lookups": packed.values.size}  # fmt: skip
    found["condensed"] = Implementation(lambda: condensed_linear(x, condensed), False, **cost)
    found["condensed, transposed"] = Implementation(
        lambda: condensed_linear(transposed_x, condensed, transposed=True), True, **cost
    )
    return found


def usual_csr(dense: torch.Tensor) -> torch.Tensor:
    """dense in torch's CSR as most people make it, with indices of eight bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: sparse CSR is in beta
        return dense.to_sparse_csr()


def narrow_csr(dense: torch.Tensor) -> torch.Tensor:
    """dense in torch's CSR with indices of four bytes, at batch 1 several times as fast as the usual eight."""
    wide = usual_csr(dense)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(wide.crow_indices().int(), wide.col_indices().int(), wide.values(), wide.shape)


def _gathers_only(condensed, x):
    flat = (condensed.indices.reshape(-1), condensed.values.reshape(-1))
    indptr = np.arange(len(condensed.rows) + 1) * condensed.fan_in
    packed = make_lookup(indptr, *flat, (len(condensed.rows), condensed.shape[1]), slots=0, rows=condensed.rows)
    bias = np.zeros(condensed.shape[0], np.float32)

    def call():
        out = np.empty((1, condensed.shape[0]), np.float32)
        multiply_few(packed, x, bias, out)
        return out

    return call


def validate(found: dict[str, Implementation], expected: np.ndarray) -> None:
    """Every answer must agree with expected (batch, out), computed in float64; raises AssertionError naming who does not."""
    for name, implementation in found.items():
        answer = np.asarray(implementation.call())
        error = np.abs((answer.T if implementation.transposed else answer) - expected).max(initial=0)
        scale = np.abs(expected).max(initial=1)
        assert error < 1e-4 * scale, f"{name}: off by {error:.2g} where answers go up to {scale:.2g}"
