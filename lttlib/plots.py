"""The visual language of the book: one style, one colour per role, masks as cells, arms with bands."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lttlib.arguments import require, require_choice


class Role(NamedTuple):
    """How one role of a comparison is drawn everywhere in the book."""

    color: str
    dash: str
    marker: str


# At least 3:1 on white and on #121212. Some pairs come close for deuteranopes: mark, dash and label tell them apart too.
ROLES = {
    "dense": Role("#777777", "-.", "D"),
    "method": Role("#0072B2", "-", "o"),
    "control": Role("#D55E00", "--", "^"),
    "values": Role("#CC79A7", ":", "s"),  # the mask is right, the values are wrong
    "dynamic": Role("#009E73", "-", "o"),
    "other": Role("#8E5BB5", "-.", "v"),
}
BLUES = LinearSegmentedColormap.from_list("live", ["#C9DFEE", "#0072B2", "#003A5C"])
DIVERGING = LinearSegmentedColormap.from_list("signed", ["#D55E00", "#F5F5F5", "#0072B2"])

STYLE = {
    "figure.figsize": (3.9, 3.0),
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "font.size": 8.5,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
}


def use_book_style() -> None:
    """Set matplotlib's defaults to the book's: 3.9 in wide, 8 to 9 pt, white paper (dark mode inverts it)."""
    plt.rcParams.update(STYLE)
    try:  # notebooks show figures as 200 dpi PNG, the width the page's style sheet expects
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina", bbox_inches=None)
    except ImportError:
        pass


def figure(height: float = 3.0) -> tuple[Figure, Axes]:
    """One panel, 3.9 in wide (390 pixels on a page) and `height` in tall, in the book's style."""
    with plt.rc_context(STYLE):
        return plt.subplots(figsize=(3.9, height))


def draw_arms(ax: Axes, x: Sequence[float], values, role: str, label: str) -> None:
    """One arm of a comparison: every seed a dot, the mean a line, one standard deviation a band.

    x: (points,). values: (seeds, points). role: key of ROLES.
    """
    values = np.asarray(values, dtype=float)
    require_choice(role, ROLES, "role")
    require(values.ndim == 2 and values.shape[1] == len(x), "values", f"array of shape {values.shape}",
            f"(seeds, {len(x)})", "one row per seed, one column per x")  # fmt: skip
    color, dash, marker = ROLES[role]
    mean, sd = values.mean(0), values.std(0, ddof=1) if len(values) > 1 else 0 * values[0]
    ax.fill_between(x, mean - sd, mean + sd, color=color, alpha=0.15, linewidth=0)
    ax.plot(np.tile(x, len(values)), values.ravel(), ".", color=color, markersize=2.5, alpha=0.6)
    ax.plot(x, mean, color=color, linestyle=dash, marker=marker, label=label)


def level(ax: Axes, y: float, label: str, role: str = "dense") -> None:
    """A dashed horizontal rule with its name, for a reference value."""
    require_choice(role, ROLES, "role")
    ax.axhline(y, color=ROLES[role].color, linestyle=(0, (4, 3)), linewidth=1.1, label=label)


def legend_below(fig: Figure, columns: int = 3) -> None:
    """The legend of all labelled lines under the figure, where it hides no data."""
    fig.legend(loc="outside lower center", ncols=columns)


def live_axis(ax: Axes, percents: Sequence[float]) -> None:
    """x-axis of sparsity: percent of live weights, logarithmic, running right to sparser."""
    require(len(percents) > 0 and min(percents) > 0, "percents", list(percents), "positive numbers", "1 is 1% live")
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(list(percents)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlim(max(percents) * 1.12, min(percents) / 1.12)
    ax.set_xlabel("live weights (%)")


def draw_mask(
    ax: Axes,
    mask,
    weight=None,
    *,
    signed: bool = False,
    dropped=None,
    grown=None,
    ablated: Sequence[int] = (),
    limit: float | None = None,
) -> None:
    """A mask as cells: live cells filled (the stronger |w| the darker), pruned cells empty with a hairline border.

    mask: (rows, columns) bool, rows = outputs. weight: same shape; signed=True shows its sign. dropped, grown: bool,
    marked with x and +. ablated: rows that are hatched. limit: |w| of the darkest cell, to share between frames.
    """
    mask = np.asarray(mask, dtype=bool)
    require(mask.ndim == 2, "mask.shape", mask.shape, "(rows, columns)", "reshape it")
    weight = np.ones(mask.shape) if weight is None else np.asarray(weight, dtype=float)
    require(weight.shape == mask.shape, "weight.shape", weight.shape, f"{mask.shape}", "a mask has its weight's shape")
    limit = limit or max(float(np.abs(weight[mask]).max(initial=0)), 1e-12)
    rows, columns = mask.shape
    for r, c in np.ndindex(rows, columns):
        value = weight[r, c] / limit
        color = DIVERGING((value + 1) / 2) if signed else BLUES(min(abs(value), 1.0))
        ax.add_patch(Rectangle((c + 0.06, r + 0.06), 0.88, 0.88, facecolor=color if mask[r, c] else "none",
                               edgecolor="#999999", linewidth=0.4))  # fmt: skip
    for marks, symbol, role in ((dropped, "x", "control"), (grown, "+", "dynamic")):
        if marks is not None:
            r, c = np.nonzero(np.asarray(marks, dtype=bool))
            ax.plot(c + 0.5, r + 0.5, symbol, color=ROLES[role].color, markersize=6, markeredgewidth=1.6)
    for r in ablated:
        ax.add_patch(Rectangle((0, r), columns, 1, fill=False, hatch="////", edgecolor="#999999", linewidth=0))
    _bare(ax, rows, columns)


def draw_retina(ax: Axes, counts, *, limit: float | None = None, numbers: bool = True) -> None:
    """Live first-layer edges per input pixel, as an image with the number in each cell. counts: (8, 8) or (64,)."""
    counts = np.asarray(counts)
    side = round(counts.size**0.5)
    require(side * side == counts.size, "counts", f"{counts.size} values", "a square number", "one count per pixel")
    counts = counts.reshape(side, side)
    limit = limit or max(float(counts.max()), 1.0)
    for r, c in np.ndindex(side, side):
        share = min(counts[r, c] / limit, 1.0)
        ax.add_patch(Rectangle((c, r), 1, 1, facecolor=BLUES(share) if counts[r, c] else "none", edgecolor="#BBBBBB",
                               linewidth=0.4))  # fmt: skip
        if numbers:
            ax.text(c + 0.5, r + 0.5, f"{counts[r, c]:g}", ha="center", va="center", fontsize=6.5,
                    color="white" if share > 0.45 else "black")  # fmt: skip
    _bare(ax, side, side)


def draw_dots(ax: Axes, groups: Mapping[str, Sequence[float]], roles: Mapping[str, str]) -> None:
    """Dot strip: one row per group, every seed a mark, the mean a short bar. groups: label to values."""
    for row, (label, values) in enumerate(groups.items()):
        color, _, marker = ROLES[roles[label]]
        ax.plot(values, np.full(len(values), row), marker, color=color, alpha=0.7, linestyle="none")
        ax.plot([np.mean(values)] * 2, [row - 0.28, row + 0.28], color=color, linewidth=2)
    ax.set_yticks(range(len(groups)), list(groups))
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)


def _bare(ax: Axes, rows: int, columns: int) -> None:
    ax.set(xlim=(-0.05, columns + 0.05), ylim=(rows + 0.05, -0.05), aspect="equal", xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
