"""Drawings of the chapter "Strong lottery tickets": all sums on a line, error and coverage over n, what a ticket costs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lttlib.arguments import require
from lttlib.experiments.subset_sum import share_covered
from lttlib.plots import ROLES, figure, legend_below

SIZE_ROLES = {"single": "control", "at most 2": "values", "at most 3": "other", "any": "method"}
EPSILON_ROLES = ("method", "other", "values", "control", "dynamic")


def subset_sums(values: Sequence[float]) -> np.ndarray:
    """All 2^n sums, sorted; the empty sum 0 is one of them."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums, sums + value])
    return np.sort(sums)


def largest_hole(sums: np.ndarray) -> tuple[float, float]:
    """The widest interval inside [-1, 1] without a sum; the ends of [-1, 1] count as borders, not as sums."""
    inside = np.concatenate([[-1.0], sums[(sums > -1) & (sums < 1)], [1.0]])
    at = int(np.diff(inside).argmax())
    return float(inside[at]), float(inside[at + 1])


def draw_sums(values: Sequence[float]) -> Figure:
    """Every subset sum of the values as a tick on [-1, 1], with the largest hole marked."""
    sums = subset_sums(values)
    left, right = largest_hole(sums)
    fig, ax = figure(1.9)
    ax.vlines(sums[np.abs(sums) <= 1], 0, 1, color=ROLES["method"].color, linewidth=0.7)
    ax.axvspan(left, right, ymin=0, ymax=0.5, color=ROLES["control"].color, alpha=0.35, linewidth=0)
    ax.set(xlim=(-1.02, 1.02), ylim=(0, 1.05), yticks=[], xlabel=f"targets; largest hole {right - left:.2g}",
           title=f"{len(values)} weight{'s' * (len(values) > 1)}, {len(sums):,} subsets")  # fmt: skip
    ax.spines["left"].set_visible(False)
    ax.grid(False)
    return fig


def draw_errors(rows: Sequence[Mapping], distribution: str, target, sizes: Sequence[str] = tuple(SIZE_ROLES)) -> Figure:
    """Distance of the best sum from the target over n: median, and a band from 10% to 90%; two slopes for comparison."""
    found = {r["size"]: r for r in rows if r["distribution"] == distribution and r["target"] == target}
    require(len(found) > 0, "target", target, f"one of {sorted({str(r['target']) for r in rows})}", "see the rows")
    fig, ax = figure(3.4)
    for size in sizes:
        row, (color, dash, marker) = found[size], ROLES[SIZE_ROLES[size]]
        low, middle, high = (np.maximum(row[q], 1e-12) for q in ("10%", "50%", "90%"))
        ax.fill_between(row["n"], low, high, color=color, alpha=0.15, linewidth=0)
        ax.plot(row["n"], middle, color=color, linestyle=dash, marker=marker, label=size)
    n = np.array(found[sizes[0]]["n"], dtype=float)
    ax.plot(n, np.log(2) / n, color="#555555", linewidth=0.9, linestyle=":", label="ln 2 / n")
    ax.plot(n, 2.0**-n, color="#555555", linewidth=0.9, linestyle=(0, (6, 2)), label="2⁻ⁿ")
    shown = f"target {target}" if target != "uniform" else "targets from [−1, 1]"
    ax.set(
        yscale="log", xlabel="random weights, n", ylabel="distance from the target", title=f"{distribution}, {shown}"
    )
    ax.set_ylim(1e-8, 2)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(fig, 3)
    return fig


def draw_coverage(rows: Sequence[Mapping], distribution: str) -> Figure:
    """Share of draws whose first n numbers meet every target in [-1, 1], over n, for each epsilon; a tick at log2(1/eps)."""
    found = [row for row in rows if row["distribution"] == distribution]
    require(
        len(found) > 0,
        "distribution",
        distribution,
        f"one of {sorted({r['distribution'] for r in rows})}",
        "see the rows",
    )
    fig, ax = figure(3.4)
    numbers = np.arange(4, found[0]["most"] + 1)
    for epsilon, role in zip(sorted({row["epsilon"] for row in found}, reverse=True), EPSILON_ROLES, strict=False):
        needed = [count for row in found if row["epsilon"] == epsilon for count in row["needed"]]
        color, dash, marker = ROLES[role]
        ax.plot(numbers, [share_covered(needed, n) for n in numbers], color=color, linestyle=dash, marker=marker,
                label=f"ε = {epsilon:g}")  # fmt: skip
        ax.plot([np.log2(1 / epsilon)] * 2, [-0.04, 0.04], color=color, linewidth=2)
    ax.axhline(0.9, color=ROLES["dense"].color, linestyle=(0, (4, 3)), linewidth=1.1)
    ax.set(xlabel="random weights, n", ylabel="share of draws that meet all targets", ylim=(-0.05, 1.05),
           title=f"{distribution}; ticks: log₂(1/ε)")  # fmt: skip
    legend_below(fig, 3)
    return fig


def draw_accuracies(rows: Sequence[Mapping], limits: tuple[float, float] = (0, 1)) -> Figure:
    """Accuracy of pruned random networks over the numbers drawn per weight, by diamond; the target is a rule."""
    fig, ax = figure(3.4)
    arms = {("linear", "uniform"): ("method", "linear, uniform"), ("linear", "product"): ("other", "linear, products"),
            ("relu", "product"): ("dynamic", "ReLU, products")}  # fmt: skip
    for (arm, distribution), (role, label) in arms.items():
        found = [r for r in rows if r["arm"] == arm and r.get("distribution") == distribution]
        samples = sorted({r["samples"] for r in found})
        color, dash, marker = ROLES[role]
        means = [np.mean([r["accuracy"] for r in found if r["samples"] == n]) for n in samples]
        ax.plot(
            [r["samples"] for r in found], [r["accuracy"] for r in found], ".", color=color, markersize=2.5, alpha=0.6
        )
        ax.plot(samples, means, color=color, linestyle=dash, marker=marker, label=label)
    shuffled = [r for r in rows if r["arm"] == "linear" and r["distribution"] == "uniform"]
    samples = sorted({r["samples"] for r in shuffled})
    color, dash, marker = ROLES["control"]
    ax.plot(samples, [np.mean([r["shuffled"] for r in shuffled if r["samples"] == n]) for n in samples], color=color,
            linestyle=dash, marker=marker, label="masks shuffled")  # fmt: skip
    target = np.mean([r["accuracy"] for r in rows if r["arm"] == "target"])
    ax.axhline(target, color=ROLES["dense"].color, linestyle=(0, (4, 3)), linewidth=1.1, label="trained target")
    ax.set(xlabel="random numbers per weight", ylabel="test accuracy", ylim=limits, title="Pruned, never trained")
    legend_below(fig, 2)
    return fig


def draw_counts(row: Mapping, title: str) -> Figure:
    """Weights of the target, needed by counting, kept, and drawn; horizontal bars, logarithmic."""
    bars = {"target": row["target"], "needed": row["needed"], "kept: the ticket": row["kept"], "drawn": row["drawn"]}
    roles = ("dense", "values", "method", "control")
    fig, ax = figure(2.2)
    for place, (count, role) in enumerate(zip(bars.values(), roles, strict=True)):
        ax.barh(place, count, color=ROLES[role].color, height=0.6)
        ax.text(count * 1.15, place, f"{count:,} ({count / row['target']:.1f}×)", va="center", fontsize=7.5)
    ax.set_yticks(range(len(bars)), list(bars))
    ax.set(xscale="log", xlabel="weights", title=title, ylim=(len(bars) - 0.5, -0.5))
    ax.set_xlim(row["target"] / 3, row["drawn"] * 40)
    ax.grid(axis="y", visible=False)
    return fig


def draw_arch(rows: Sequence[Mapping], width: int, trained: float) -> Figure:
    """Accuracy of learned masks on untrained weights over the share kept; other widths stay in the background.

    trained: accuracy of a trained dense network, a rule.
    """
    fig, ax = figure(3.2)
    for one in sorted({row["width"] for row in rows}):
        found = [row for row in rows if row["width"] == one]
        kept = sorted({row["keep"] for row in found})
        means = [np.mean([row["accuracy"] for row in found if row["keep"] == share]) for share in kept]
        chosen = one == width
        color, dash, marker = ROLES["method" if chosen else "dense"]
        ax.plot([100 * share for share in kept], means, color=color, linestyle=dash, marker=marker if chosen else "",
                linewidth=1.6 if chosen else 0.8, label=f"{one} units" if chosen else None)  # fmt: skip
        if chosen:
            ax.plot(
                [100 * row["keep"] for row in found], [row["accuracy"] for row in found], ".", color=color, alpha=0.6
            )
    for level, label, above in ((trained, "trained, dense", 0.01), (0.1, "chance", 0.01)):
        ax.axhline(level, color=ROLES["dense"].color, linestyle=(0, (4, 3)), linewidth=1.1)
        ax.text(1, level + above, label, fontsize=7.5, color="#555555", va="bottom")
    ax.set(xlabel="weights kept (%)", ylabel="test accuracy", ylim=(0, 1.06), xlim=(0, 101),
           title=f"{width} hidden units, no weight trained")  # fmt: skip
    return fig


def draw_search_cost(rows: Sequence[Mapping], shared: bool) -> Figure:
    """Recorded time of one target over n, by implementation and threads; dotted: what grows as 2^(n/2).

    shared: all targets have the same values, so that their sums are sorted once.
    """
    found = [row for row in rows if row["shared"] == shared]
    require(len(found) > 0, "shared", shared, f"one of {sorted({r['shared'] for r in rows})}", "see the rows")
    fig, ax = figure(3.4)
    roles = {"best_subsets": "method", "numpy, sort and bisect": "other", "numpy, brute force": "control"}
    for name, threads in dict.fromkeys((row["implementation"], row["threads"]) for row in found):
        mine = [row for row in found if (row["implementation"], row["threads"]) == (name, threads)]
        color, dash, marker = ROLES["dynamic" if threads > 1 else roles.get(name, "values")]
        ax.plot([row["n"] for row in mine], [1e6 * row["median_s"] for row in mine], color=color, linestyle=dash,
                marker=marker, label=f"{name}, {threads} threads" if threads > 1 else name)  # fmt: skip
    ours = [row for row in found if (row["implementation"], row["threads"]) == ("best_subsets", 1)]
    last, numbers = ours[-1], [row["n"] for row in ours]
    ax.plot(numbers, [1e6 * last["median_s"] * 2 ** ((n - last["n"]) / 2) for n in numbers], color="#555555",
            linewidth=0.9, linestyle=":", label="$2^{n/2}$")  # fmt: skip
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(yscale="log", xlabel="random numbers, n", ylabel="microseconds per target",
           title=f"One best subset, {'shared' if shared else 'own'} numbers")  # fmt: skip
    legend_below(fig, 2)
    return fig


def draw_relu_diamond(weight: float, inner: np.ndarray, outer: np.ndarray, kept: np.ndarray) -> Figure:
    """A ReLU diamond with its kept edges: input, hidden units with inner and outer weights (n,), output; bool kept (n,)."""
    order = np.argsort(-inner, kind="stable")
    inner, outer, kept = inner[order], outer[order], kept[order]
    places = np.linspace(1, 0, len(inner)) if len(inner) > 1 else np.array([0.5])
    fig, ax = figure(3.4)
    for place, first, second, live in zip(places, inner, outer, kept, strict=True):
        color, width = (ROLES["method"].color, 1.5) if live else ("#BBBBBB", 0.6)
        ax.plot([0, 1, 2], [0.5, place, 0.5], color=color, linewidth=width, zorder=1)
        ax.plot(1, place, "o" if first > 0 else "s", markersize=7, zorder=2, color=color,
                markerfacecolor=color if live else "white")  # fmt: skip
        ax.text(1.1, place, f"{first * second:+.2f}", fontsize=6.5, va="center", zorder=3,
                color="#333333" if live else "#999999", bbox={"color": "white", "pad": 0.5})  # fmt: skip
    for x, label in ((0, "x"), (2, "y")):
        ax.plot(x, 0.5, "o", markersize=17, color="white", markeredgecolor="#555555", zorder=3)
        ax.text(x, 0.5, label, ha="center", va="center", zorder=4)
    sums = [(inner * outer)[kept & side].sum() for side in (inner > 0, inner < 0)]
    error = max(abs(weight - total) for total in sums)
    ax.text(1, 1.09, f"circles answer to x > 0: sum {sums[0]:+.3f}", ha="center", fontsize=8)
    ax.text(1, -0.13, f"squares answer to x < 0: sum {sums[1]:+.3f}", ha="center", fontsize=8)
    ax.set(xlim=(-0.2, 2.2), ylim=(-0.2, 1.18), title=f"w = {weight:g}, {len(inner)} hidden units: off by {error:.2g}")
    ax.set_axis_off()
    return fig
