"""Drawings of the chapter on tangent kernels: kernels as maps, ratio and error over width, five variants, training."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from torch import Tensor

from lttlib.arguments import require, require_choice
from lttlib.intervals import mean_interval
from lttlib.plots import ROLES, figure, legend_below, live_axis

KEEP_ROLES = {1.0: "dense", 0.5: "method", 0.2: "other", 0.1: "control"}


def draw_kernels(finite: Tensor, limit: Tensor, title: str) -> Figure:
    """Two kernels (n, n) on the same scale: that of one network, and the one at infinite width; the error in the title."""
    error = float((finite - limit).norm() / limit.norm())
    fig, _ = figure(2.3)
    fig.clear()
    largest = float(limit.max())
    for ax, kernel, name in zip(fig.subplots(1, 2), (finite, limit), ("one network", "infinite width"), strict=True):
        ax.imshow(kernel.numpy(), cmap="Blues", vmin=0, vmax=1.2 * largest, interpolation="nearest")
        ax.set(xticks=[], yticks=[], xlabel=name)
        ax.grid(False)
    fig.suptitle(f"{title}: off by {error:.0%}", fontsize=9, x=0.02, ha="left")
    return fig


def draw_ratio(rows: Sequence[Mapping], hidden_layers: int) -> Figure:
    """The factor on the dense limit kernel over width: a dot per network, the median, and a rule at keep^L."""
    fig, ax = figure(3.4)
    for keep, found in _curves(rows, hidden_layers):
        color, dash, marker = ROLES[KEEP_ROLES[keep]]
        widths = [width for width, _ in found]
        for width, row in found:
            ax.plot([width] * len(row["ratio"]), row["ratio"], ".", color=color, markersize=2, alpha=0.35)
        ax.plot(widths, [np.median(row["ratio"]) for _, row in found], color=color, linestyle=dash, marker=marker,
                label=f"κ = {keep:g}")  # fmt: skip
        ax.axhline(keep**hidden_layers, color=color, linewidth=0.9, linestyle=(0, (4, 3)))
    ax.set(yscale="log", ylabel="kernel / dense limit kernel", title=f"L = {hidden_layers}; rules: κ to the L")
    _width_axis(ax, widths)
    legend_below(fig, 4)
    return fig


def draw_error(rows: Sequence[Mapping], hidden_layers: int) -> Figure:
    """Relative error against keep^L times the limit over width: median, a band from 10% to 90%, and slope -1/2."""
    fig, ax = figure(3.4)
    for keep, found in _curves(rows, hidden_layers):
        color, dash, marker = ROLES[KEEP_ROLES[keep]]
        widths = [width for width, _ in found]
        low, middle, high = (np.array([np.quantile(row["error"], q) for _, row in found]) for q in (0.1, 0.5, 0.9))
        ax.fill_between(widths, low, high, color=color, alpha=0.13, linewidth=0)
        ax.plot(widths, middle, color=color, linestyle=dash, marker=marker, label=f"κ = {keep:g}")
        guide = middle[-1] * np.sqrt(widths[-1] / np.array(widths))
        ax.plot(widths, guide, color="#555555", linewidth=0.9, linestyle=":")
    ax.set(yscale="log", ylabel="relative error", title=f"L = {hidden_layers}; dotted: one over root of width")
    _plain_axis(ax)
    _width_axis(ax, widths)
    legend_below(fig, 4)
    return fig


def draw_constant(rows: Sequence[Mapping], layers: Sequence[int]) -> Figure:
    """Mean squared relative error times width over 1 / keep, at the largest width, for each number of hidden layers."""
    fig, ax = figure(3.2)
    for hidden_layers, role in zip(layers, ("method", "dynamic", "other"), strict=False):
        points = [(1 / keep, found[-1][0] * np.square(found[-1][1]["error"]))
                  for keep, found in _curves(rows, hidden_layers)]  # fmt: skip
        color, dash, marker = ROLES[role]
        means = [squares.mean() for _, squares in points]
        errors = [1.96 * squares.std(ddof=1) / np.sqrt(len(squares)) for _, squares in points]
        ax.errorbar([x for x, _ in points], means, errors, color=color, linestyle=dash, marker=marker, capsize=2,
                    label=f"L = {hidden_layers}")  # fmt: skip
    ax.set(xlabel="1 / κ", ylabel="squared error × width", title="What pruning costs: width", ylim=(0, None))
    legend_below(fig, 3)
    return fig


def draw_variants(rows: Sequence[Mapping], keep: float, limits: Mapping[str, tuple[float, float]], part: str) -> Figure:
    """Mean factor on one part of the kernel for each variant, with 95% intervals; its limit is a white diamond.

    part: "first" for the input layer's share, "rest" for the others. limits: (first, rest) by variant.
    """
    found = {row["variant"]: row[part] for row in rows if row["keep"] == keep}
    require(len(found) > 0, "keep", keep, f"one of {sorted({row['keep'] for row in rows})}", "see the rows")
    fig, ax = figure(2.6)
    for place, (variant, factors) in enumerate(found.items()):
        interval = mean_interval(factors)
        ax.plot([max(interval.low, 1e-4), interval.high], [place, place], color=ROLES["method"].color)
        ax.plot(interval.mean, place, "o", color=ROLES["method"].color, markersize=6)
        ax.plot(limits[variant][part == "rest"], place, "D", markersize=4, markerfacecolor="white",
                markeredgecolor=ROLES["control"].color)  # fmt: skip
    ax.set_yticks(range(len(found)), [variant.replace("_", " ") for variant in found])
    share = "the input layer's share" if part == "first" else "the other layers' share"
    ax.set(xscale="log", xlabel=f"factor on {share}", title=f"κ = {keep:g}; diamonds: limits",
           ylim=(len(found) - 0.5, -0.5), xlim=(5e-3, 2))  # fmt: skip
    ax.xaxis.set_major_locator(FixedLocator([0.01, 0.03, 0.1, 0.3, 1]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return fig


def draw_course(steps: Sequence[int], courses: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Training loss over steps, one line for each of "network", "its own kernel at the start", "infinite width"."""
    roles = dict(zip(courses, ("method", "values", "dense"), strict=False))
    fig, ax = figure(3.2)
    for name, losses in courses.items():
        color, dash, _ = ROLES[roles[name]]
        ax.plot(steps, losses, color=color, linestyle=dash, label=name)
    ax.set(xlabel="steps of gradient descent", ylabel="training loss", yscale="log", title=title)
    _plain_axis(ax)
    legend_below(fig, 1)
    return fig


def draw_gap(rows: Sequence[Mapping], field: str, label: str) -> Figure:
    """A field of the trained networks over width, by keep probability: a dot per seed, lines through the means."""
    fig, ax = figure(3.3)
    for keep in sorted({row["keep"] for row in rows}, reverse=True):
        color, dash, marker = ROLES[KEEP_ROLES[keep]]
        found = [row for row in rows if row["keep"] == keep and not row["diverged"]]
        widths = sorted({row["width"] for row in found})
        ax.plot(
            [row["width"] for row in found], [row[field] for row in found], ".", color=color, markersize=3, alpha=0.5
        )
        means = [np.mean([row[field] for row in found if row["width"] == width]) for width in widths]
        ax.plot(widths, means, color=color, linestyle=dash, marker=marker, label=f"κ = {keep:g}")
    if field == "accuracy":
        kernel = np.mean([row["accuracy of kernel"] for row in rows if not row["diverged"]])
        ax.axhline(kernel, color="#555555", linewidth=1.1, linestyle=(0, (4, 3)), label="infinite width")
    ax.set(ylabel=label, title="Trained networks, two hidden layers")
    _width_axis(ax, widths)
    legend_below(fig, 3)
    return fig


def draw_methods(rows: Sequence[Mapping], field: str) -> Figure:
    """Recorded cost of one kernel over density on one thread, by method. field: "median_s" or "peak_bytes"."""
    units = {"median_s": (1e3, "milliseconds"), "peak_bytes": (1e-6, "most memory beyond the network's (MB)")}
    require_choice(field, units, "field")
    scale, label = units[field]
    fig, ax = figure(3.4)
    names = {"masked_ntk, rows": ("rows", "method"), "masked_ntk, pairs": ("pairs", "other"),
             "masked_ntk, auto": ("auto", "dynamic"), "torch.func.jacrev, J @ J.T": ("torch.func.jacrev", "control"),
             "torch, sample by sample, live only": ("torch, sample by sample", "values")}  # fmt: skip
    for name, (short, role) in names.items():
        mine = sorted((row for row in rows if (row["implementation"], row["threads"]) == (name, 1)),
                      key=lambda row: row["density"])  # fmt: skip
        color, dash, marker = ROLES[role]
        ax.plot([100 * row["density"] for row in mine], [scale * row[field] for row in mine], color=color,
                linestyle=dash, marker=marker, label=short)  # fmt: skip
    ax.set(xscale="log", yscale="log", ylabel=label, title="784-2048-2048-1, 64 inputs, one thread")
    live_axis(ax, [2, 5, 10, 20, 50, 100])
    legend_below(fig, 2)
    return fig


def _curves(rows: Sequence[Mapping], hidden_layers: int) -> list[tuple[float, list[tuple[int, dict]]]]:
    """[(keep, [(width, {ratio, error}), ...]), ...], densest first; the networks of all seeds together."""
    found = [row for row in rows if row["hidden_layers"] == hidden_layers]
    require(len(found) > 0, "hidden_layers", hidden_layers, f"one of {sorted({r['hidden_layers'] for r in rows})}",
            "see the rows")  # fmt: skip
    curves = []
    for keep in sorted({row["keep"] for row in found}, reverse=True):
        points = []
        for width in sorted({row["width"] for row in found if row["keep"] == keep}):
            mine = [row for row in found if (row["keep"], row["width"]) == (keep, width)]
            points.append((width, {name: np.concatenate([row[name] for row in mine]) for name in ("ratio", "error")}))
        curves.append((keep, points))
    return curves


def _width_axis(ax, widths: Sequence[int]) -> None:
    ax.set(xscale="log", xlabel="width (units per hidden layer)")
    ax.xaxis.set_major_locator(FixedLocator(widths))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda width, _: f"{width:g}"))


def _plain_axis(ax) -> None:
    """A logarithmic y-axis of less than two decades, in decimal numbers."""
    ax.yaxis.set_major_locator(FixedLocator([1, 2, 5, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
