"""python -m lttkernels.bench NAME [--in 768 --out 3072 --sparsity .9 --batch 1 --threads 1 --device cpu] --json FILE

For subset_sum: [--n 10 21 --targets 400 --threads 1] --json FILE
For masked_ntk: [--n 64 --density .02 .1 1 --threads 1] --json FILE
For grouped: [--threads 1 2] --json FILE
"""

import argparse
import sys
from collections.abc import Iterator

from lttkernels.bench.condensed import forward_rows
from lttkernels.bench.formats import format_rows
from lttkernels.bench.grouped import LOADS, grouped_rows
from lttkernels.bench.masked_ntk import masked_ntk_rows
from lttkernels.bench.subset_sum import subset_sum_rows
from lttkernels.bench.training import training_rows
from lttkernels.limits import Limits, measure
from lttlib.records import provenance, write_json

LAYER_BENCHES = {"condensed": forward_rows, "formats": format_rows, "training": training_rows}
NUMBERS = [10, 12, 14, 16, 18, 20, 21, 22, 24, 26, 28, 30]  # values of a target
DENSITIES = [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0]


def main(arguments: list[str] | None = None) -> None:
    """Time one bench over every combination of the options and write the record."""
    parser = argparse.ArgumentParser(prog="python -m lttkernels.bench", description=__doc__)
    parser.add_argument("name", choices=[*LAYER_BENCHES, "subset_sum", "masked_ntk", "grouped"],
                        help="condensed: one layer, forward; formats: N:M, blocks, removed neurons; training: forward "
                        "and both gradients; subset_sum: the closest of 2^n sums; masked_ntk: the tangent kernel of "
                        "784-2048-2048-1; grouped: the feed-forward of a mixture of experts")  # fmt: skip
    parser.add_argument("--in", dest="inputs", type=int, nargs="+", default=[768], help="inputs of the layer")
    parser.add_argument("--out", dest="outputs", type=int, nargs="+", default=[3072], help="outputs, one for each --in")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.9], help="share of weights that are zero")
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--n", type=int, nargs="+", help="values of each target of subset_sum, samples of masked_ntk")
    parser.add_argument("--density", type=float, nargs="+", default=DENSITIES, help="share of live weights, masked_ntk")
    parser.add_argument("--targets", type=int, default=400, help="targets of subset_sum")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=15, help="how often each implementation has its turn")
    parser.add_argument("--json", metavar="FILE", help="where the record goes")
    asked = parser.parse_args(arguments)
    if len(asked.inputs) != len(asked.outputs):
        parser.error(
            f"--in has {len(asked.inputs)} numbers and --out {len(asked.outputs)}: give one --out for each --in"
        )
    limits = measure(1.0)
    rows = []
    special = {"subset_sum": subset_sum_cells, "masked_ntk": masked_ntk_cells, "grouped": grouped_cells}
    cells = special.get(asked.name, layer_cells)
    for found in cells(asked, limits):
        for row in found:
            print(shown(row), flush=True)
        rows += found
    if asked.json:
        record = {
            "bench": asked.name,
            "command": "python -m lttkernels.bench " + " ".join(arguments or sys.argv[1:]),
            "provenance": provenance(),
            "device": asked.device,
            "limits_of_one_core": limits.as_dict(),
            "rows": rows,
        }
        write_json(asked.json, record)


def layer_cells(asked: argparse.Namespace, limits: Limits) -> Iterator[list[dict]]:
    """The rows of each combination of a layer and threads."""
    cells = [(inputs, outputs, sparsity, batch, threads) for threads in asked.threads
             for inputs, outputs in zip(asked.inputs, asked.outputs, strict=True)
             for sparsity in asked.sparsity for batch in asked.batch]  # fmt: skip
    for cell in cells:
        yield LAYER_BENCHES[asked.name](*cell, device=asked.device, limits=limits, rounds=asked.rounds)


def subset_sum_cells(asked: argparse.Namespace, limits: Limits) -> Iterator[list[dict]]:
    """The rows of each n and number of threads, own values for each target and shared ones."""
    for threads in asked.threads:
        for n in asked.n or NUMBERS:
            for shared in (False, True):
                yield subset_sum_rows(n, asked.targets, shared, threads, rounds=asked.rounds)


def masked_ntk_cells(asked: argparse.Namespace, limits: Limits) -> Iterator[list[dict]]:
    """The rows of each number of threads, samples and density."""
    for threads in asked.threads:
        for n in asked.n or [64]:
            for density in asked.density:
                yield masked_ntk_rows(n, density, threads, rounds=asked.rounds)


def grouped_cells(asked: argparse.Namespace, limits: Limits) -> Iterator[list[dict]]:
    """The rows of each number of threads and load."""
    for threads in asked.threads:
        for load in LOADS:
            yield grouped_rows(load, threads, rounds=asked.rounds)


def shown(row: dict) -> str:
    """One row as a line."""
    if "load" in row:
        where = f"{row['load']}, {row['pass']}, {row['threads']} threads"
        spread = f"{row['q25_s'] * 1e3:.1f} to {row['q75_s'] * 1e3:.1f}"
        return (f"{where:52} {row['implementation']:30} {row['median_s'] * 1e3:8.2f} ms ({spread}) "
                f"{row['dense_fraction']:5.0%} of dense")  # fmt: skip
    if "density" in row:
        where = f"n = {row['n']}, {row['density']:.0%} live, {row['threads']} threads"
        spread = f"{row['q25_s'] * 1e3:.1f} to {row['q75_s'] * 1e3:.1f}"
        return (f"{where:30} {row['implementation']:36} {row['median_s'] * 1e3:9.2f} ms ({spread}) "
                f"{row['peak_bytes'] / 1e6:8.1f} MB")  # fmt: skip
    if "n" in row:
        where = f"n = {row['n']}, {'shared' if row['shared'] else 'own'} values, {row['threads']} threads"
        spread = f"{row['q25_s'] * 1e6:.1f} to {row['q75_s'] * 1e6:.1f}"
        return f"{where:34} {row['implementation']:28} {row['median_s'] * 1e6:11.2f} us ({spread}) a target"
    where = f"{row['in']} -> {row['out']}, {row['sparsity']:.0%} sparse, batch {row['batch']}, {row['threads']} threads"
    spread = f"{row['q25_s'] * 1e6:.0f} to {row['q75_s'] * 1e6:.0f}"
    return (f"{where:58} {row['implementation']:28} {row['median_s'] * 1e6:9.1f} us ({spread}) "
            f"{row['limit_fraction']:5.0%} of its limit")  # fmt: skip


if __name__ == "__main__":
    main()
