"""Drawings of the chapter "Mixture of experts": shares over time, who takes whom, queues, what routing pays, text, rates."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lttlib.arguments import require
from lttlib.data import DISGUISES
from lttlib.experiments.runner import by_seed
from lttlib.moe import Dispatch
from lttlib.plots import BLUES, ROLES, draw_arms, figure, legend_below

EXPERT_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
EXPERT_HATCHES = ("", "////", "....", "\\\\\\\\")  # told apart without color, too
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


def draw_river(shares, every: int, title: str) -> Figure:
    """Share of each expert in the batch over the steps, as bands; shares: (moments, E), rows sum to 1."""
    shares = np.asarray(shares, float)
    fig, ax = figure(2.9)
    steps = every * np.arange(len(shares))
    below = np.zeros(len(shares))
    for expert, share in enumerate(shares.T):
        color, hatch = EXPERT_COLORS[expert % 4], EXPERT_HATCHES[expert % 4]
        ax.fill_between(steps, below, below + 100 * share, facecolor=color, edgecolor="white", hatch=hatch, linewidth=0,
                        label=f"expert {expert}")  # fmt: skip
        below = below + 100 * share
    ax.set(xlabel="training step", ylabel="share of the images (%)", title=title, ylim=(0, 100), xlim=(0, steps[-1]))
    legend_below(fig, 4)
    return fig


def draw_who(table, title: str, names: Sequence[str] = DISGUISES) -> Figure:
    """Percent of each kind of image that each expert takes; table: (kinds, E), rows sum to 1."""
    table = np.asarray(table, float)
    fig, ax = figure(2.6)
    for (r, c), share in np.ndenumerate(table):
        ax.add_patch(Rectangle((c + 0.04, r + 0.04), 0.92, 0.92, facecolor=BLUES(share) if share >= 0.005 else "none",
                               edgecolor="#999999", linewidth=0.4))  # fmt: skip
        ax.text(c + 0.5, r + 0.5, f"{100 * share:.0f}", ha="center", va="center", fontsize=9,
                color="white" if share > 0.4 else "black")  # fmt: skip
    kinds, experts = table.shape
    ax.set(xlim=(0, experts), ylim=(kinds, 0), title=title, xlabel="taken by expert (%)")
    ax.set_xticks(np.arange(experts) + 0.5, range(experts))
    ax.set_yticks(np.arange(kinds) + 0.5, names)
    ax.grid(visible=False)
    return fig


def draw_arms_of_routing(rows: Sequence[Mapping], title: str) -> Figure:
    """Test accuracy of all ARMS that rows has, a line each, seeds as dots; rows: a record of experiments.mixtures."""
    shown = [arm for arm in ARMS if any(row["arm"] == arm for row in rows)]
    require(len(shown) > 0, "rows", "empty", "rows of experiments.mixtures", "see lttlib.experiments.mixtures")
    fig, ax = figure(3.9)
    for place, arm in enumerate(shown):
        accuracy = by_seed(rows, "accuracy", arm=arm)
        color, _, marker = ROLES[ARMS[arm][1]]
        ax.plot(accuracy, np.full(len(accuracy), place), ".", color=color, markersize=4, alpha=0.6)
        ax.plot(accuracy.mean(), place, marker, color=color, markersize=6.5)
    ax.set_yticks(range(len(shown)), [ARMS[arm][0] for arm in shown])
    ax.set(xlabel="test accuracy", title=title, ylim=(len(shown) - 0.5, -0.5))
    return fig


def draw_queue(dispatch: Dispatch, names: Sequence[str], title: str) -> Figure:
    """The places of each expert and who sits there; who finds none stands at the right, crossed out."""
    chosen, positions, kept = (part.numpy() for part in (dispatch.chosen, dispatch.positions, dispatch.kept))
    waiting = max(int(positions.max()) + 1 - dispatch.capacity, 0)
    fig, ax = figure(2.6)
    for expert in range(dispatch.experts):
        for place in range(dispatch.capacity):
            ax.add_patch(
                Rectangle(
                    (place + 0.05, expert + 0.08), 0.9, 0.84, facecolor="none", edgecolor="#999999", linewidth=0.6
                )
            )
        ax.text(-0.2, expert + 0.5, f"expert {expert}", ha="right", va="center", fontsize=8.5)
    for (token, slot), expert in np.ndenumerate(chosen):
        seated, at = kept[token, slot], positions[token, slot] + (0 if kept[token, slot] else 0.4)
        color = ROLES["method" if slot == 0 else "values"].color if seated else "none"
        ax.add_patch(
            Rectangle((at + 0.05, expert + 0.08), 0.9, 0.84, facecolor=color, edgecolor="#999999", linewidth=0.6)
        )
        ax.text(
            at + 0.5,
            expert + 0.5,
            names[token],
            ha="center",
            va="center",
            fontsize=8.5,
            color="white" if seated else "#777777",
        )
        if not seated:
            ax.plot([at + 0.2, at + 0.8], [expert + 0.25, expert + 0.75], color=ROLES["control"].color, linewidth=1.4)
    ax.set(xlim=(-1.6, dispatch.capacity + waiting + 0.5), ylim=(dispatch.experts, 0), title=title)
    ax.axis("off")
    return fig


def draw_text(rows: Sequence[Mapping], title: str) -> Figure:
    """Loss on held-out text against active operations: dense models of three sizes, mixtures by their number of experts."""
    fig, ax = figure(3.3)
    for arm, role, label in (
        ("dense", "dense", "dense, 1, 2, 4 times as wide"),
        ("top-1", "method", "one of E experts"),
    ):
        values = sorted({row["value"] for row in rows if row["arm"] == arm})
        x = [
            next(row["active flops"] for row in rows if (row["arm"], row["value"]) == (arm, value)) / 1e6
            for value in values
        ]
        losses = np.array([by_seed(rows, "loss", arm=arm, value=value) for value in values]).T
        draw_arms(ax, x, losses, role, label)
        if arm == "top-1":
            for value, at, loss in zip(values, x, losses.mean(0), strict=True):
                ax.annotate(f"E = {value}", (at, loss), xytext=(7, -2), textcoords="offset points", fontsize=7.5)
    ax.set(xlabel="active operations for a character (millions)", ylabel="loss (nats a character)", title=title)
    legend_below(fig, 1)
    return fig


def draw_experts(rows: Sequence[Mapping], title: str) -> Figure:
    """Loss on held-out text against the number of experts, at equal active size; 1 is dense."""
    fig, ax = figure(3.0)
    values = [1, *sorted({row["value"] for row in rows if row["arm"] == "top-1"})]
    losses = [by_seed(rows, "loss", arm="dense" if value == 1 else "top-1", value=value) for value in values]
    draw_arms(ax, values, np.array(losses).T, "method", "one of E experts, balanced")
    others = {"top-1, unbalanced": ("values", "unbalanced"), "hash": ("control", "hash of the character"),
              "frozen random": ("other", "frozen random"), "two of E": ("dynamic", "two of E, half as large")}  # fmt: skip
    for arm, (role, label) in others.items():
        found = [row for row in rows if row["arm"] == arm]
        if found:
            ax.plot([row["value"] for row in found], [row["loss"] for row in found], ROLES[role].marker,
                    color=ROLES[role].color, markersize=4, label=label, fillstyle="none")  # fmt: skip
    ax.set(xscale="log", xlabel="experts", ylabel="loss (nats a character)", title=title)
    ax.xaxis.set_major_locator(FixedLocator(values))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    legend_below(fig, 2)
    return fig
