"""The tangent kernel of a whole pruned network, 784-2048-2048-1 with ReLU: masked_ntk against Jacobians in torch.

Layer l computes h @ (W * M).T * sqrt(2 / fan_in); the kernel sums over all surviving weights. What masked_ntk is timed
with includes the pass forward and backward that its arguments take, in torch. Each baseline is what a reader would write.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from math import sqrt
from pathlib import Path

import numpy as np
import torch

from lttkernels.bench.timing import interleaved, quartiles
from lttkernels.masked_ntk import METHODS, masked_ntk, reference_masked_ntk
from lttkernels.threads import set_threads

WIDTHS = (784, 2048, 2048, 1)
TOLERANCE = 1e-5  # of the largest entry: float32, and ReLUs that decide otherwise where their input is nearly 0
SLOW = 5  # a baseline that takes seconds has its turn in one of so many rounds

Layers = list[tuple[np.ndarray, np.ndarray, np.ndarray]]


class Network:
    """weights, masks: lists of (out, in) tensors, normal and bool. x: (n, widths[0]), uniform."""

    def __init__(self, n: int, density: float, widths: tuple[int, ...] = WIDTHS):
        draw = torch.Generator().manual_seed(0)
        shapes = list(zip(widths[1:], widths[:-1], strict=True))
        self.weights = [torch.randn(shape, generator=draw) for shape in shapes]
        self.masks = [torch.rand(shape, generator=draw) < density for shape in shapes]
        self.x = torch.rand((n, widths[0]), generator=draw)

    def output(self, weights: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """The network's output for x (n, in), or (in,): (n,), or a number."""
        for layer, (weight, mask) in enumerate(zip(weights, self.masks, strict=True)):
            x = (x.relu() if layer else x) @ (weight * mask).T * sqrt(2 / weight.shape[1])
        return x[..., 0]

    def layers(self) -> Layers:
        """Activations (n, in), deltas (n, out) and mask (out, in) of each layer: what masked_ntk takes."""
        inputs, live = [self.x], [weight * mask for weight, mask in zip(self.weights, self.masks, strict=True)]
        for weight in live[:-1]:
            inputs.append((inputs[-1] @ weight.T * sqrt(2 / weight.shape[1])).relu())
        delta, deltas = torch.ones(len(self.x), 1, dtype=self.x.dtype), []
        for layer in reversed(range(len(live))):
            delta = delta * sqrt(2 / live[layer].shape[1])
            deltas.append(delta)
            delta = delta @ live[layer] * (inputs[layer] > 0)
        arrays = zip(inputs, reversed(deltas), self.masks, strict=True)
        return [tuple(part.numpy() for part in layer) for layer in arrays]


def masked_ntk_rows(
    n: int, density: float, threads: int, *, widths: tuple[int, ...] = WIDTHS, rounds: int = 15
) -> list[dict]:
    """Rows {implementation, n, density, threads, median_s, q25_s, q75_s, peak_bytes}.

    peak_bytes: by how much one call raises the most memory that a fresh process has in use.
    """
    set_threads(threads)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    found = implementations(Network(n, density, widths))
    validate(found, Network(n, density, widths).layers())
    fast = {name: call for name, call in found.items() if name.startswith("masked_ntk")}
    slow = {name: call for name, call in found.items() if name not in fast}
    seconds = interleaved(fast, threads=threads, rounds=rounds)
    seconds |= interleaved(slow, threads=threads, rounds=-(-rounds // SLOW))
    torch.set_num_threads(before)
    cell = {"n": n, "density": density, "threads": threads}
    return [{"implementation": name, **cell, **quartiles(seconds[name]),
             "peak_bytes": peak_of(name, n, density, threads, widths)} for name in found]  # fmt: skip


def implementations(network: Network) -> dict[str, Callable[[], np.ndarray]]:
    """By name; call() answers with the kernel (n, n)."""
    found = {f"masked_ntk, {method}": lambda method=method: by_layers(network, method) for method in METHODS}
    return found | {
        "torch.func.jacrev, J @ J.T": lambda: jacobian(network),
        "torch, sample by sample, live only": lambda: sample_by_sample(network),
    }


def by_layers(network: Network, method: str) -> np.ndarray:
    """The sum of masked_ntk over the layers."""
    return sum(masked_ntk(*layer, method=method) for layer in network.layers())


def jacobian(network: Network) -> np.ndarray:
    """The gradient by every weight of all samples at once; by dead ones it is 0, since the network multiplies by the mask."""
    found = torch.func.jacrev(network.output)(network.weights, network.x)
    kernel = torch.zeros(len(network.x), len(network.x))
    for gradient in found:
        flat = gradient.flatten(1)
        kernel += flat @ flat.T
    return kernel.numpy()


def sample_by_sample(network: Network) -> np.ndarray:
    """One backward pass for each sample; only gradients of live weights are kept."""
    weights, kept = [weight.clone().requires_grad_() for weight in network.weights], []
    for sample in network.x:
        gradients = torch.autograd.grad(network.output(weights, sample), weights)
        kept.append(torch.cat([gradient[mask] for gradient, mask in zip(gradients, network.masks, strict=True)]))
    rows = torch.stack(kept)
    return (rows @ rows.T).numpy()


def validate(found: dict[str, Callable[[], np.ndarray]], layers: Layers) -> None:
    """Every kernel must be the reference's, in float64; raises AssertionError naming who errs."""
    wanted = sum(reference_masked_ntk(*layer) for layer in layers)
    for name, call in found.items():
        off = np.abs(call() - wanted).max() / np.abs(wanted).max()
        assert off <= TOLERANCE, f"{name}: off by {off:.2g}"


def peak_of(name: str, n: int, density: float, threads: int, widths: tuple[int, ...]) -> int:
    """Bytes that one call adds at its height, measured in a process of its own, which has called it once on a small net."""
    command = [sys.executable, "-m", __name__, name, str(n), str(density), str(threads), *map(str, widths)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _measure_peak(name: str, n: str, density: str, threads: str, *widths: str) -> int:
    set_threads(int(threads))
    torch.set_num_threads(int(threads))
    implementations(Network(2, float(density), (20, 30, 1)))[name]()  # compiles, and starts threads
    call = implementations(Network(int(n), float(density), tuple(map(int, widths))))[name]
    _most_so_far()
    before = _most_so_far()
    call()
    return _most_so_far() - before


def _most_so_far() -> int:
    """Bytes in use at their height: since the last such question on Linux, elsewhere since the process began."""
    if sys.platform == "linux":  # getrusage would answer with what the parent had, if that was more
        status = Path("/proc/self/status").read_text()
        Path("/proc/self/clear_refs").write_text("5")  # begins anew with what is in use now
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    print(_measure_peak(*sys.argv[1:]))
