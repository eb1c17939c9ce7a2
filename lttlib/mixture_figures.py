"""Drawings of the chapter "Mixture of experts": queues, shares over time, who takes whom, what routing pays, text, rates."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lttlib.arguments import require
from lttlib.experiments.runner import by_seed
from lttlib.moe import Dispatch
from lttlib.moe.collapse import matching
from lttlib.plots import BLUES, ROLES, draw_arms, figure, legend_below, level

EXPERT_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
EDGE = "#999999"
ARMS: Mapping[str, tuple[str, str]] = {  # arm to (label, role)
    "dense, same active": ("dense, same active", "dense"),
    "frozen random": ("frozen random router", "control"),
    "top-1, b = 0": ("top-1, b = 0", "values"),
    "top-1, b = 0.01": ("top-1, b = .01", "values"),
    "top-1, b = 0.1": ("top-1, b = .1", "method"),
    "top-1, b = 1": ("top-1, b = 1", "method"),
    "noisy": ("noisy top-1, b = .1", "method"),
    "cosine": ("cosine, b = .1", "method"),
    "two of four": ("two of four, b = .1", "method"),
    "expert choice": ("expert choice", "dynamic"),
    "dense, same total": ("dense, same total", "dense"),
    "told the disguise": ("told the disguise", "other"),
}
TEXT_ARMS: Mapping[str, tuple[str, str]] = {
    "top-1": ("one of E, balanced", "method"),
    "top-1, unbalanced": ("unbalanced", "values"),
    "two of E": ("two of E, half as large", "dynamic"),
    "cosine": ("cosine", "method"),
    "hash": ("hash of the character", "other"),
    "frozen random": ("frozen random", "control"),
}

TEXT_MEASURES = {"loss": "loss (nats a character)", "effective experts": "experts in use"}


def draw_queue(dispatch: Dispatch, names: Sequence[str], title: str) -> Figure:
    """The places of each expert and who sits there: first choices dark, others light; who is dropped, crossed out."""
    longest = max(dispatch.capacity, int(dispatch.positions.max()) + 1)
    fig, ax = figure(2.2)
    for expert in range(dispatch.experts):
        ax.text(-0.2, expert + 0.5, f"expert {expert}", ha="right", va="center", fontsize=8.5)
        for place in range(dispatch.capacity):
            _cell(ax, place, expert, "none")
    for (token, slot), expert in np.ndenumerate(dispatch.chosen.numpy()):
        _seat(ax, dispatch, token, slot, expert, names[token])
    ax.axvline(dispatch.capacity + 0.2, color=EDGE, linewidth=0.8, linestyle=":")
    ax.set(xlim=(-1.8, longest + 0.6), ylim=(dispatch.experts, 0), title=title)
    ax.axis("off")
    return fig


def _seat(ax: Axes, dispatch: Dispatch, token: int, slot: int, expert: int, name: str) -> None:
    kept, at = bool(dispatch.kept[token, slot]), int(dispatch.positions[token, slot])
    at = at if kept else at + 0.4
    _cell(ax, at, expert, ("none" if not kept else BLUES(0.75) if slot == 0 else BLUES(0.0)))
    color = "#555555" if not kept else "white" if slot == 0 else "black"
    ax.text(at + 0.5, expert + 0.5, name, ha="center", va="center", fontsize=8.5, color=color)
    if not kept:
        ax.plot([at + 0.15, at + 0.85], [expert + 0.85, expert + 0.15], color=ROLES["control"].color, linewidth=0.9)


def _cell(ax: Axes, x: float, y: float, color) -> None:
    ax.add_patch(Rectangle((x + 0.05, y + 0.08), 0.9, 0.84, facecolor=color, edgecolor=EDGE, linewidth=0.6))


def draw_river(shares, every: int, title: str) -> Figure:
    """Share of each expert in the batch over the steps, as bands; shares: (moments, E), rows sum to 1."""
    shares = np.asarray(shares, float)
    fig, ax = figure(2.9)
    steps, below = every * np.arange(len(shares)), np.zeros(len(shares))
    for expert, share in enumerate(shares.T):
        ax.fill_between(steps, below, below + 100 * share, facecolor=EXPERT_COLORS[expert % 4], edgecolor="white",
                        linewidth=0.8, label=f"expert {expert}")  # fmt: skip
        if share[-1] > 0.08:  # told apart without color, too
            ax.text(0.96 * steps[-1], below[-1] + 50 * share[-1], expert, color="white", ha="center", va="center")
        below = below + 100 * share
    ax.grid(visible=False)
    ax.set(xlabel="training step", ylabel="share of the images (%)", title=title, ylim=(0, 100), xlim=(0, steps[-1]))
    legend_below(fig, 4)
    return fig


def draw_takers(tables: Sequence[Sequence[Sequence[float]]], kinds: Sequence[str], title: str) -> Figure:
    """Who takes whom, a panel for each seed: rows kinds, columns experts in the order that matches, darkness the share."""
    fig, _ = figure(3.4)
    fig.clear()
    axes = fig.subplots(2, -(-len(tables) // 2), squeeze=False).flatten()
    for seed, (ax, table) in enumerate(zip(axes, tables, strict=False)):
        table = torch.tensor(table)
        order, share = matching(table)
        order += [expert for expert in range(table.shape[1]) if expert not in order]
        for (r, c), value in np.ndenumerate(table[:, order].numpy()):
            _cell(ax, c, r, BLUES(value) if value >= 0.01 else "none")
        ax.set(xlim=(0, table.shape[1]), ylim=(len(table), 0), aspect="equal", xticks=[])
        ax.set_title(f"seed {seed}: {100 * share:.0f}%", fontsize=8)
        ax.set_yticks(np.arange(len(table)) + 0.5, kinds if seed % (-(-len(tables) // 2)) == 0 else [""] * len(table))
        ax.tick_params(length=0)
        ax.grid(visible=False)
    for ax in axes[len(tables) :]:
        ax.axis("off")
    fig.suptitle(title, fontsize=9, x=0.02, ha="left")
    fig.supxlabel("experts", fontsize=8.5)
    return fig


def draw_arms_of_routing(rows: Sequence[Mapping], title: str) -> Figure:
    """Test accuracy of all ARMS that rows has, a line each, seeds as dots; rows: a record of experiments.mixtures."""
    arms = [arm for arm in ARMS if any(row["arm"] == arm for row in rows)]
    require(len(arms) > 0, "rows", "empty", "rows of experiments.mixtures", "see lttlib.experiments.mixtures")
    fig, ax = figure(3.9)
    for place, arm in enumerate(arms):
        _strip(ax, place, by_seed(rows, "accuracy", arm=arm), ARMS[arm][1])
    ax.set_yticks(range(len(arms)), [ARMS[arm][0] for arm in arms])
    ax.set(xlabel="test accuracy", title=title, ylim=(len(arms) - 0.5, -0.5))
    return fig


def _strip(ax: Axes, place: float, values: np.ndarray, role: str) -> None:
    color, _, marker = ROLES[role]
    ax.plot(values, np.full(len(values), place), ".", color=color, markersize=4, alpha=0.6)
    ax.plot(values.mean(), place, marker, color=color, markersize=6.5)


def draw_spending_on_answers(
    points: Mapping[str, tuple[Sequence[float], Sequence[float]]], cascade, title: str
) -> Figure:
    """Test accuracy against operations for an answer. points: label to (operations, accuracies), a seed each; the labels
    are drawn in the order dense, mixture, dense. cascade: (operations, accuracies), both (thresholds,), means over seeds.
    """
    fig, ax = figure(3.2)
    looks = (("dense", "full"), ("method", "full"), ("dense", "none"))
    for (label, (x, y)), (role, filled) in zip(points.items(), looks, strict=True):
        color, _, marker = ROLES[role]
        ax.plot(x, y, ".", color=color, markersize=3, alpha=0.6)
        ax.plot(np.mean(x), np.mean(y), marker, color=color, markersize=6.5, fillstyle=filled, label=label)
    color, dash, _ = ROLES["dynamic"]
    ax.plot(*cascade, color=color, linestyle=dash, label="small one first, large one if unsure")
    ax.set(xlabel="multiplications for an image, mean", ylabel="test accuracy", title=title)
    legend_below(fig, 2)
    return fig


def draw_text(rows: Sequence[Mapping], against: str, title: str) -> Figure:
    """Loss on held-out text of dense models of three sizes and mixtures, against "active flops" or "parameters"."""
    fig, ax = figure(3.3)
    scale, name = {"active flops": (1e-6, "active operations for a character (millions)"),
                   "parameters": (1e-6, "weights in all (millions)")}[against]  # fmt: skip
    for arm, role, label in (
        ("dense", "dense", "dense, 1, 2, 4 times as wide"),
        ("top-1", "method", "one of E experts"),
    ):
        values = sorted({row["value"] for row in rows if row["arm"] == arm})
        x = [scale * by_seed(rows, against, arm=arm, value=value)[0] for value in values]
        losses = np.array([by_seed(rows, "loss", arm=arm, value=value) for value in values])
        draw_arms(ax, x, losses.T, role, label)
        for value, at, loss in zip(values, x, losses.mean(1), strict=True):
            if arm == "top-1":
                ax.annotate(f"E = {value}", (at, loss), xytext=(6, 1), textcoords="offset points", fontsize=7.5)
    if against == "parameters":
        ax.set_xscale("log")
    ax.set(xlabel=name, ylabel="loss (nats a character)", title=title)
    legend_below(fig, 2)
    return fig


def draw_experts(rows: Sequence[Mapping], measure: str, title: str) -> Figure:
    """ "loss" on held-out text or "effective experts" against the number of experts, at equal active size; 1 is dense."""
    fig, ax = figure(3.2)
    values = sorted({row["value"] for row in rows if row["arm"] == "top-1"})
    found = [by_seed(rows, measure, arm="top-1", value=value) for value in values]
    if measure == "loss":
        values, found = [1, *values], [by_seed(rows, measure, arm="dense", value=1), *found]
        level(ax, by_seed(rows, measure, arm="dense", value=4).mean(), "dense, 4 times as wide")
    draw_arms(ax, values, np.array(found).T, "method", TEXT_ARMS["top-1"][0])
    for arm in list(TEXT_ARMS)[1:]:
        (label, role), mine = TEXT_ARMS[arm], [row for row in rows if row["arm"] == arm]
        marker = "P" if arm == "cosine" else ROLES[role].marker  # as a method it would look like top-1
        ax.plot([row["value"] for row in mine], [row[measure] for row in mine], marker, label=label,
                color=ROLES[role].color, markersize=4.5, fillstyle="none")  # fmt: skip
    ax.set(xscale="log", xlabel="experts", ylabel=TEXT_MEASURES[measure], title=title)
    if measure != "loss":
        ax.set_yscale("log")
        ax.plot(values, values, color=EDGE, linewidth=0.8, linestyle=":")
    for axis in (ax.xaxis, ax.yaxis) if measure != "loss" else (ax.xaxis,):
        axis.set_major_locator(FixedLocator(values))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    legend_below(fig, 2)
    return fig


def draw_collapse(rows: Sequence[Mapping], measure: str, block: int, title: str) -> Figure:
    """A measure of moe.collapse at what a block's feed-forward reads, eight experts, a line for each router; and dense."""
    fig, ax = figure(2.8)
    arms = {("dense", 1): ("dense", "dense")} if measure == "dimensions" else {}
    arms |= {(arm, 8): shown for arm, shown in TEXT_ARMS.items()}
    for place, ((arm, value), (_, role)) in enumerate(arms.items()):
        found = np.array([row[measure][block] for row in rows if (row["arm"], row["value"]) == (arm, value)])
        _strip(ax, place, found, role)
    ax.set_yticks(range(len(arms)), [label for label, _ in arms.values()])
    ax.set(xlabel={"dimensions": "effective dimensions, of 64"}.get(measure, measure), title=title, xlim=(0, None),
           ylim=(len(arms) - 0.5, -0.5))  # fmt: skip
    return fig


def draw_rates(rows: Sequence[Mapping], title: str) -> Figure:
    """Useful operations a second over those of a dense network of the same active size, a bar for each implementation."""
    rows = sorted(rows, key=lambda row: -row["dense_fraction"])
    require(len(rows) > 0, "rows", "empty", "rows of lttkernels.bench grouped", "see kernels/recorded")
    fig, ax = figure(0.9 + 0.3 * len(rows))
    for place, row in enumerate(rows):
        role = "method" if row["implementation"] == "grouped experts" else "dense"
        ax.barh(place, row["dense_fraction"], color=ROLES[role].color, height=0.65)
        ax.text(row["dense_fraction"] + 0.01, place, f"{row['dense_fraction']:.2f}", va="center", fontsize=7.5)
    ax.set_yticks(range(len(rows)), [row["implementation"] for row in rows])
    ax.set(xlabel="useful rate, dense = 1", title=title, xlim=(0, 1.15), ylim=(len(rows) - 0.5, -0.5))
    return fig
