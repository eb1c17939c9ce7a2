"""Drawings of the chapter "Masks that move": edges per pixel, policies, exploration, operations, width, dead neurons."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lttlib.arguments import require
from lttlib.experiments.runner import by_seed
from lttlib.plots import ROLES, draw_arms, draw_retina, figure, legend_below, level, live_axis

POLICIES = {"static": ("static", "control"), "SET": ("SET", "method"), "RigL": ("RigL", "dynamic")}
COMPARISONS: Mapping[str, Mapping[str, tuple[str, str]]] = {  # title to {arm: (label, role)}
    "three policies": POLICIES,
    "signal at the start": {
        "static": ("static", "control"),
        "static, dense start": ("static, dense start", "values"),
        "RigL": ("RigL", "dynamic"),
        "RigL, dense start": ("RigL, dense start", "other"),
    },
    "distribution": {
        "static": ("static, ERK", "control"),
        "static, uniform": ("static, uniform", "values"),
        "RigL": ("RigL, ERK", "dynamic"),
        "RigL, uniform": ("RigL, uniform", "other"),
    },
    "mask or search?": {
        "static": ("static, random mask", "control"),
        "static, RigL's last mask": ("static, RigL's last mask", "values"),
        "RigL": ("RigL", "dynamic"),
    },
    "longer, and pruned": {
        "RigL": ("RigL", "dynamic"),
        "RigL, 5 times as long": ("RigL, 5 times as long", "method"),
        "gradual pruning": ("gradual pruning", "other"),
    },
}
COST_ROLES = {
    "dense": "dense",
    "dense, 5 times as long": "dense",
    "static": "control",
    "SET": "method",
    "RigL": "dynamic",
    "RigL, 5 times as long": "dynamic",
    "gradual pruning": "other",
}


def draw_edges(mask, before, *, limit: float, title: str) -> Figure:
    """Live edges of each pixel as an 8 x 8 image; + where a pixel has more than before, x where it has fewer.

    mask, before: (units, 64) bool, the first layer now and at the update before.
    """
    now, then = (np.asarray(m).sum(0).reshape(8, 8) for m in (mask, before))
    fig, ax = figure(3.6)
    draw_retina(ax, now, limit=limit)
    for marks, symbol, role in ((now > then, "+", "dynamic"), (now < then, "x", "control")):
        r, c = np.nonzero(marks)
        ax.plot(c + 0.84, r + 0.17, symbol, color=ROLES[role].color, markersize=3.6, markeredgewidth=1.2)
    ax.set_title(title)
    return fig


def draw_comparison(rows: Sequence[Mapping], comparison: str, title: str) -> Figure:
    """Test accuracy against live weights for the arms of one of COMPARISONS; rows: part "densities" of a record."""
    arms = COMPARISONS[comparison]
    fig, ax = figure(3.4)
    shown = set()
    for arm, (label, role) in arms.items():
        densities = sorted({row["value"] for row in rows if row["arm"] == arm}, reverse=True)
        require(len(densities) > 0, "rows", "no " + arm, "rows of the part densities", "see dynamic_sparse")
        values = np.array([by_seed(rows, "accuracy", arm=arm, value=density) for density in densities]).T
        draw_arms(ax, [100 * density for density in densities], values, role, label)
        shown |= set(densities)
    level(ax, by_seed(rows, "accuracy", arm="dense").mean(), "dense")
    live_axis(ax, sorted(100 * density for density in shown))
    ax.set(ylabel="test accuracy", title=title)
    legend_below(fig, 2)
    return fig


def draw_explored(rows: Sequence[Mapping], title: str) -> Figure:
    """Accuracy against the share of weights ever live, a point for each interval Delta T; rows: part "intervals"."""
    fig, ax = figure(3.4)
    for method, label, role, offset in (("set", "SET", "method", (4, -9)), ("rigl", "RigL", "dynamic", (-7, 6))):
        color, dash, marker = ROLES[role]
        intervals = sorted({int(row["arm"].split(", ")[1]) for row in rows})
        accuracy = np.array([by_seed(rows, "accuracy", arm=f"{method}, {interval}") for interval in intervals])
        explored = 100 * np.array([by_seed(rows, "explored", arm=f"{method}, {i}").mean() for i in intervals])
        ax.plot(np.repeat(explored, accuracy.shape[1]), accuracy.ravel(), ".", color=color, markersize=2.5, alpha=0.6)
        ax.plot(explored, accuracy.mean(1), color=color, linestyle=dash, marker=marker, label=label)
        named = intervals if method == "set" else (intervals[0], intervals[-1])  # RigL's points are close together
        for interval, x, y in zip(intervals, explored, accuracy.mean(1), strict=True):
            if interval not in named:
                continue
            ax.annotate(f"{interval}", (x, y), xytext=offset, textcoords="offset points", fontsize=7.5, color=color)
    ax.set(xscale="log", xlabel="weights ever live (%); numbers: steps between updates", ylabel="test accuracy")
    low, high = ax.get_xlim()
    _plain_ticks(ax, [tick for tick in (2, 3, 5, 10, 20, 40, 80) if low <= tick <= high])
    ax.set_title(title)
    legend_below(fig, 2)
    return fig


def draw_operations(rows: Sequence[Mapping], density: float, title: str) -> Figure:
    """Accuracy against operations of training, as multiples of the dense network's; rows: part "densities"."""
    dense = next(row["training flops"] for row in rows if row["arm"] == "dense")
    fig, ax = figure(3.4)
    for arm, role in COST_ROLES.items():
        found = [row for row in rows if row["arm"] == arm and row["value"] in (density, 1.0)]
        if not found:
            continue
        color, _, marker = ROLES[role]
        x = found[0]["training flops"] / dense
        y = np.array([row["accuracy"] for row in found])
        ax.plot(np.full(len(y), x), y, ".", color=color, markersize=2.5, alpha=0.6)
        ax.plot(x, y.mean(), marker, color=color, markersize=6, fillstyle="none" if "5 times" in arm else "full",
                linestyle="none", label=arm)  # fmt: skip
    ax.set(xscale="log", xlabel="training operations, dense = 1", ylabel="test accuracy", title=title, xlim=(0.015, 7))
    _plain_ticks(ax, (0.02, 0.05, 0.1, 0.25, 1, 5))
    legend_below(fig, 2)
    return fig


def draw_widths(rows: Sequence[Mapping], title: str) -> Figure:
    """Accuracy of random static masks and of the dense network as the width grows; rows: part "widths"."""
    fig, ax = figure(3.4)
    arms = sorted({row["arm"] for row in rows})
    for arm, role in zip(arms, ("dense", "method", "control"), strict=False):
        widths = sorted({row["value"] for row in rows if row["arm"] == arm})
        values = np.array([by_seed(rows, "accuracy", arm=arm, value=width) for width in widths]).T
        label = arm if arm == "dense" else f"{100 * float(arm.split(', ')[1]):g}% live, random"
        draw_arms(ax, widths, values, role, label)
    ax.set(xscale="log", xlabel="units of the first hidden layer", ylabel="test accuracy", title=title)
    _plain_ticks(ax, widths)
    legend_below(fig, 3)
    return fig


def draw_dead(rows: Sequence[Mapping], layer: str, units: int, title: str) -> Figure:
    """Share of a layer's neurons without a live input, against live weights; rows: part "densities"."""
    fig, ax = figure(3.2)
    densities = sorted({row["value"] for row in rows if row["arm"] == "RigL"}, reverse=True)
    for arm, (label, role) in POLICIES.items():
        dead = np.array([[100 * row["dead rows"][layer] / units for row in rows if (row["arm"], row["value"]) == (arm, d)]
                         for d in densities]).T  # fmt: skip
        draw_arms(ax, [100 * density for density in densities], dead, role, label)
    live_axis(ax, sorted(100 * density for density in densities))
    ax.set(ylabel="neurons without a live input (%)", title=title, ylim=(-3, 65))
    legend_below(fig, 3)
    return fig


def _plain_ticks(ax: Axes, ticks: Sequence[float]) -> None:
    """These ticks and no others, as plain numbers, on a logarithmic axis."""
    ax.xaxis.set_major_locator(FixedLocator(list(ticks)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
