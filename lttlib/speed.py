"""What a sparse layer could cost and what it was measured to cost: roofline model and recorded timings.

Roofline: Williams, Waterman and Patterson 2009, doi:10.1145/1498765.1498785. Chapter "What makes sparsity fast".
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lttlib import budgets
from lttlib.arguments import require, require_choice
from lttlib.records import read_json

RECORDED = Path(__file__).parents[1] / "kernels" / "recorded"
FORMATS = ("dense", "CSR", "condensed")
DENSE = ("torch dense", "torch dense, transposed")
NARROW_CSR = ("torch CSR", "torch CSR, transposed")  # indices of four bytes
USUAL_CSR = ("torch CSR, 8-byte indices", "torch CSR, 8-byte indices, transposed")  # what to_sparse_csr makes
CSR = (*NARROW_CSR, *USUAL_CSR, "scipy CSR, transposed")
CONDENSED = ("condensed", "condensed, transposed")


class Cost(NamedTuple):
    """flops: useful operations, a multiply-add counts 2. bytes: weights, inputs and outputs, each moved once."""

    flops: int
    bytes: int

    @property
    def intensity(self) -> float:
        """Arithmetic intensity in FLOP per byte."""
        return self.flops / self.bytes


def layer_cost(kind: str, outputs: int, inputs: int, density: float, batch: int, *, index_bytes: int = 2) -> Cost:
    """Cost of y = W x for a batch, float32; kind: "dense", "CSR" (4-byte indices) or "condensed"."""
    require_choice(kind, FORMATS, "kind")
    fan_in = max(1, round(density * inputs))
    live = outputs * (inputs if kind == "dense" else fan_in)
    weights = {
        "dense": lambda: budgets.dense_bytes(outputs, inputs),
        "CSR": lambda: budgets.csr_bytes(outputs, inputs, live),
        "condensed": lambda: budgets.condensed_bytes(outputs, inputs, fan_in, index_bytes=index_bytes),
    }[kind]()
    return Cost(budgets.flops(live, batch=batch), weights + 4 * batch * (inputs + outputs))


def roofline(intensity: float, *, peak: float, bandwidth: float) -> float:
    """The most FLOP/s a loop of this intensity (FLOP/byte) can reach: peak in FLOP/s, bandwidth in bytes/s."""
    return min(peak, intensity * bandwidth)


def recorded(name: str, machine: str = "xeon_2_cores") -> dict:
    """A record of python -m lttkernels.bench: "condensed", "formats" or "training"."""
    return read_json(RECORDED / machine / f"{name}.json")


def select(rows: Iterable[Mapping], **wanted) -> list[dict]:
    """The rows whose fields equal the wanted ones; at least one."""
    rows = list(rows)
    found = [dict(row) for row in rows if all(row[key] == value for key, value in wanted.items())]
    known = {key: sorted({row[key] for row in rows}, key=str) for key in wanted}
    require(
        bool(found), "wanted", wanted, f"fields that were timed: {known}", "time them with python -m lttkernels.bench"
    )
    return found


def fastest(rows: Sequence[Mapping], names: Sequence[str]) -> dict:
    """Of one cell's rows, the one with the least median among the implementations named."""
    return min((row for row in rows if row["implementation"] in names), key=lambda row: row["median_s"])


class Ratio(NamedTuple):
    """How many times longer the baseline takes; undecided if the quartiles of the two overlap."""

    times: float
    undecided: bool


def time_ratio(baseline: Mapping, other: Mapping) -> Ratio:
    """Baseline over other, from two rows of one run: above 1, the other is faster."""
    apart = baseline["q25_s"] > other["q75_s"] or other["q25_s"] > baseline["q75_s"]
    return Ratio(baseline["median_s"] / other["median_s"], not apart)


def shown_time(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    return f"{seconds * 1e6:.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"
