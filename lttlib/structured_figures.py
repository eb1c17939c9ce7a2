"""Drawings of the chapter "Structured RigL": how a budget is spent, fan-ins, the condensed form, ablation, and time."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lttlib.arguments import require, require_choice
from lttlib.experiments.runner import by_seed
from lttlib.intervals import mean_interval
from lttlib.plots import BLUES, ROLES, draw_arms, figure, legend_below, level, live_axis

ARMS: Mapping[str, tuple[str, str]] = {  # arm to (label, role)
    "RigL": ("RigL, free", "dynamic"),
    "SRigL": ("SRigL", "method"),
    "SRigL, no ablation": ("SRigL, no ablation", "values"),
    "constant fan-in, static": ("constant fan-in, static", "control"),
}
PATTERNS: Mapping[str, tuple[str, str]] = {
    "RigL": ("RigL, free", "dynamic"),
    "SRigL": ("SRigL", "method"),
    "SRigL, no ablation": ("SRigL, no ablation", "values"),
    "SR-STE": ("3 of 32, SR-STE", "other"),
}
MEASURES: Mapping[str, str] = {  # measure to the label of its axis
    "accuracy": "test accuracy",
    "neurons": "first-layer neurons left (%)",
    "fan-in": "fan-in of the first layer, largest",
    "live": "live weights, of what RigL has (%)",
}
WAYS: Mapping[str, str] = {
    "dense": "dense",
    "masked": "control",
    "mask in the forward": "values",
    "truly sparse": "method",
}
FIRST = "0.weight"


def measured(rows: Sequence[Mapping], measure: str, units: int) -> np.ndarray:
    """One value per seed of rows, all of one arm and one sparsity; units: neurons of the first layer."""
    require_choice(measure, MEASURES, "measure")
    of = {
        "accuracy": lambda row: row["accuracy"],
        "neurons": lambda row: 100 * row["neurons"][FIRST] / units,
        "fan-in": lambda row: row["largest fan-in"][FIRST],
        "live": lambda row: row["live"],
    }[measure]
    return np.array([of(row) for row in sorted(rows, key=lambda row: row["seed"])], dtype=float)


def draw_spending(rows: Sequence[Mapping], measure: str, units: int, title: str) -> Figure:
    """One of MEASURES against live weights, for all ARMS; rows: part "sparsities" of a record."""
    sparsities = sorted({row["value"] for row in rows if row["arm"] in ARMS})
    require(len(sparsities) > 0, "rows", "empty", "rows of the part sparsities", "see structured_sparse")
    fig, ax = figure(3.4)
    live = [100 * (1 - sparsity) for sparsity in sparsities]

    def values(arm: str) -> np.ndarray:
        per_sparsity = [[row for row in rows if (row["arm"], row["value"]) == (arm, s)] for s in sparsities]
        return np.array([measured(found, measure, units) for found in per_sparsity]).T

    scale = 100 / values("RigL") if measure == "live" else 1
    for arm, (label, role) in ARMS.items():
        draw_arms(ax, live, scale * values(arm), role, label)
    if measure == "accuracy":
        level(ax, by_seed(rows, "accuracy", arm="dense").mean(), "dense")
    live_axis(ax, sorted(round(share, 6) for share in live))
    if measure == "fan-in":
        ax.set_yscale("log")
        _plain(ax.yaxis, (1, 2, 5, 10, 20, 50, 100, 200, 500))
    ax.set(ylabel=MEASURES[measure], title=title)
    legend_below(fig, 2)
    return fig


def draw_ablation_gap(records: Mapping[str, Sequence[Mapping]], against: str, title: str) -> Figure:
    """SRigL with ablation minus without, in points of accuracy, paired, with 95% intervals.

    records: two, name to rows of the part "sparsities". against: "live weights", or "fan-in", that of the first layer
    where no neuron is ablated.
    """
    require(len(records) == 2, "records", list(records), "two, by name", "digits and mnist")
    require_choice(against, ("live weights", "fan-in"), "against")
    fig, ax = figure(3.2)
    shown = set()
    for (name, rows), role, shift in zip(records.items(), ("method", "control"), (1.03, 0.97), strict=True):
        color, dash, marker = ROLES[role]
        sparsities = sorted({row["value"] for row in rows if row["arm"] == "SRigL"})
        gaps = [mean_interval(ablation_gap(rows, sparsity)) for sparsity in sparsities]
        x = [round(100 * (1 - sparsity), 6) for sparsity in sparsities]
        if against == "fan-in":
            x = [by_fan_in(rows, sparsity) for sparsity in sparsities]
        middle = np.array([gap.mean for gap in gaps])
        reach = np.array([[gap.mean - gap.low, gap.high - gap.mean] for gap in gaps]).T
        ax.errorbar(
            shift * np.array(x), middle, reach, color=color, linestyle=dash, marker=marker, label=name, capsize=2.5
        )
        shown |= set(x)
    level(ax, 0, "no difference")
    live_axis(ax, sorted(shown) if against == "live weights" else (1, 2, 3, 6, 12, 30, 62, 127))
    if against == "fan-in":
        ax.set_xlabel("inputs of each first-layer neuron, none ablated")
    ax.set(ylabel="with minus without ablation (points)", title=title)
    legend_below(fig, 3)
    return fig


def by_fan_in(rows: Sequence[Mapping], sparsity: float) -> float:
    """Fan-in of the first layer at this sparsity where no neuron is ablated, the mean over seeds."""
    wanted = ("SRigL, no ablation", sparsity)
    return float(np.mean([row["largest fan-in"][FIRST] for row in rows if (row["arm"], row["value"]) == wanted]))


def ablation_gap(rows: Sequence[Mapping], sparsity: float) -> np.ndarray:
    """Test accuracy of SRigL with ablation minus that without, in points, one value per seed."""
    with_it, without = (by_seed(rows, "accuracy", arm=arm, value=sparsity) for arm in ("SRigL", "SRigL, no ablation"))
    return 100 * (with_it - without)


def draw_gammas(rows: Sequence[Mapping], measure: str, units: int, title: str) -> Figure:
    """One of MEASURES against the ablation ratio gamma; rows: part "gammas" of a record."""
    gammas = sorted({row["value"] for row in rows})
    require(len(gammas) > 0, "rows", "empty", "rows of the part gammas", "see structured_sparse")
    fig, ax = figure(3.0)
    values = np.array([measured([row for row in rows if row["value"] == gamma], measure, units) for gamma in gammas]).T
    draw_arms(ax, gammas, values, "method", "SRigL")
    ax.set(xlabel=r"ablation ratio $\gamma_\mathrm{abl}$", ylabel=MEASURES[measure], title=title, xticks=gammas)
    return fig


def draw_patterns(rows: Sequence[Mapping], dense: float, title: str) -> Figure:
    """Test accuracy of 3 live weights in 32, by how free the pattern is: a row for each of PATTERNS, seeds as dots."""
    fig, ax = figure(2.6)
    for place, (arm, (_, role)) in enumerate(PATTERNS.items()):
        accuracy = by_seed(rows, "accuracy", arm=arm)
        color, _, marker = ROLES[role]
        ax.plot(accuracy, np.full(len(accuracy), place), ".", color=color, markersize=4, alpha=0.6)
        ax.plot(accuracy.mean(), place, marker, color=color, markersize=7)
    ax.axvline(dense, color=ROLES["dense"].color, linestyle=(0, (4, 3)), linewidth=1.1, label="dense")
    ax.set_yticks(range(len(PATTERNS)), [label for label, _ in PATTERNS.values()])
    ax.set(xlabel="test accuracy", title=title, ylim=(len(PATTERNS) - 0.5, -0.5))
    legend_below(fig, 1)
    return fig


def draw_fan_ins(mask, *, most: int, tallest: int, title: str) -> Figure:
    """How many neurons have how many live inputs; mask: (out, in) bool. most, tallest: ends of the axes, to share."""
    counts = np.bincount(np.asarray(mask).sum(1), minlength=most + 1)
    require(len(counts) == most + 1, "most", most, f"{len(counts) - 1} or more", "no neuron may lie beyond the axis")
    fig, ax = figure(3.0)
    ax.bar(range(1, most + 1), counts[1:], color=ROLES["method"].color, label="neurons that are left")
    ax.bar([0], counts[:1], color="none", edgecolor=ROLES["control"].color, hatch="////", label="without any input")
    ax.set_axisbelow(True)
    ax.set(xlabel="live inputs of a neuron", ylabel="neurons", title=title, ylim=(0, 1.05 * tallest))
    legend_below(fig, 2)
    return fig


def draw_condensing(weight, mask, *, stage: int, title: str) -> Figure:
    """From a mask to the condensed form, in three stages: the mask; each row slid to the left; empty rows gone.

    weight, mask: (out, in), constant fan-in; the numbers in the cells are the inputs they read.
    """
    require(stage in (0, 1, 2), "stage", stage, "0, 1 or 2", "the mask, slid, without empty rows")
    weight, mask = np.asarray(weight, float), np.asarray(mask, bool)
    rows, columns = mask.shape
    fig, ax = figure(2.9)
    limit, shown = np.abs(weight[mask]).max(), 0
    for r in range(rows):
        inputs = np.flatnonzero(mask[r])
        if stage == 2 and not len(inputs):
            continue
        width = columns if stage < 2 else len(inputs)
        for c in range(width):
            live = mask[r, c] if stage == 0 else c < len(inputs)
            read = c if stage == 0 else (inputs[c] if live else None)
            color = BLUES(abs(weight[r, read]) / limit) if live else "none"
            ax.add_patch(
                Rectangle((c + 0.06, shown + 0.06), 0.88, 0.88, facecolor=color, edgecolor="#999999", linewidth=0.4)
            )
            if live:
                ink = "white" if abs(weight[r, read]) / limit > 0.4 else "black"
                ax.text(c + 0.5, shown + 0.5, f"{read}", ha="center", va="center", fontsize=9, color=ink)
        ax.text(-0.3, shown + 0.5, f"neuron {r}", ha="right", va="center", fontsize=8.5)
        shown += 1
    ax.set(xlim=(-2.2, columns), ylim=(rows, 0), title=title)
    ax.set_aspect("equal")
    ax.axis("off")
    return fig


def draw_steps(rows: Sequence[Mapping], title: str) -> Figure:
    """Milliseconds of a training step by way to train, a bar each; rows: part "cost", one optimizer, one thread count."""
    fig, ax = figure(2.4)
    for place, (way, role) in enumerate(WAYS.items()):
        (row,) = (row for row in rows if row["way"] == way)
        middle = 1000 * row["median_s"]
        ax.barh(place, middle, color=ROLES[role].color, height=0.62)
        ax.text(middle, place, f" {middle:.1f}", va="center", fontsize=8)
    ax.set_yticks(range(len(WAYS)), list(WAYS))
    ax.set(xlabel="time of a training step (ms)", title=title, ylim=(len(WAYS) - 0.5, -0.5))
    ax.set_xlim(0, 1.15 * ax.get_xlim()[1])
    ax.set_axisbelow(True)
    return fig


def draw_answers(rows: Sequence[Mapping], title: str) -> Figure:
    """Milliseconds until the network has answered, against live weights; rows: part "inference", one batch and threads."""
    fig, ax = figure(3.0)
    for network, role in (("condensed", "method"), ("dense", "dense")):
        found = sorted((100 * (1 - row["value"]), 1000 * row["median_s"]) for row in rows if row["network"] == network)
        color, dash, marker = ROLES[role]
        ax.plot(*np.array(found).T, color=color, linestyle=dash, marker=marker, label=network)
    live_axis(ax, [round(share, 6) for share, _ in found])
    ax.set(ylabel="time of an answer (ms)", title=title)
    ax.set_ylim(0)
    legend_below(fig, 2)
    return fig


def _plain(axis, ticks: Sequence[float]) -> None:
    """These ticks and no others, as plain numbers."""
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
