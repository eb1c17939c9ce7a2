"""What the drawings of the chapter "Structured RigL" hold: lines, bars, cells and their texts, measures, errors."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from errors import assert_one_line_error, case_name
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from lttlib.plots import ROLES
from lttlib.structured_figures import (
    ARMS,
    MEASURES,
    PATTERNS,
    WAYS,
    ablation_gap,
    draw_ablation_gap,
    draw_answers,
    draw_condensing,
    draw_fan_ins,
    draw_gammas,
    draw_patterns,
    draw_spending,
    draw_steps,
    measured,
)

ACCURACY = {"RigL": 0.7, "SRigL": 0.65, "SRigL, no ablation": 0.6, "constant fan-in, static": 0.5}
LIVE = {"RigL": 200, "SRigL": 190, "SRigL, no ablation": 180, "constant fan-in, static": 170}


@pytest.fixture(autouse=True)
def closed():
    """No figure stays open."""
    yield
    plt.close("all")


def row(arm, value, seed, accuracy):
    """A row as structured_sparse makes it: 12 neurons in the first layer, of which seed 1 has three fewer left."""
    return {"arm": arm, "value": value, "seed": seed, "accuracy": accuracy, "live": LIVE.get(arm, 0) * (1 + seed),
            "neurons": {"0.weight": 12 - 3 * seed, "2.weight": 7}, "smallest fan-in": {"0.weight": 1, "2.weight": 1},
            "largest fan-in": {"0.weight": round(100 * (1 - value)) + seed, "2.weight": 99}}  # fmt: skip


def rows(gap=0.0):
    """Two seeds, the second first, and two sparsities; gap: what seed 1 has more with ablation."""
    found = [{"arm": "dense", "value": 0.0, "seed": seed, "accuracy": 0.9 + seed / 10} for seed in (0, 1)]
    return found + [row(arm, value, seed, ACCURACY[arm] - value / 10 + seed / 100 + (gap * seed if arm == "SRigL" else 0))
                    for arm in ARMS for value in (0.8, 0.95) for seed in (1, 0)]  # fmt: skip


def named(fig) -> dict[str, tuple[list, list]]:
    lines = [line for line in fig.axes[0].lines if line.get_label()[0] != "_"]
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in lines}


def in_legend(fig) -> list[str]:
    return [text.get_text() for text in fig.legends[0].get_texts()]


def ticks(axis) -> list[str]:
    return [axis.get_major_formatter()(place, None) for place in axis.get_majorticklocs()]


@pytest.mark.parametrize(
    "measure, expected", [("accuracy", [0.57, 0.58]), ("neurons", [100, 75]), ("fan-in", [5, 6]), ("live", [190, 380])]
)
def test_measured_has_a_value_per_seed_in_order(measure, expected):
    found = [{**row("SRigL", 0.95, seed, 0.57 + seed / 100)} for seed in (1, 0)]
    assert measured(found, measure, 12).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    "measure, expected",
    [("accuracy", [0.575, 0.56]), ("neurons", [87.5, 87.5]), ("fan-in", [20.5, 5.5]), ("live", [95, 95])],
)
def test_spending_draws_every_arm(measure, expected):
    fig = draw_spending(rows(), measure, 12, "a title")
    ax, lines = fig.axes[0], named(fig)
    labels = ["RigL, free", "SRigL", "SRigL, no ablation", "constant fan-in, static"]
    assert in_legend(fig) == labels + ["dense"] * (measure == "accuracy")
    assert lines["SRigL"] == (pytest.approx([20, 5]), pytest.approx(expected))
    assert len(ax.lines) == 2 * 4 + (measure == "accuracy")  # seeds as dots, and means
    dots = ax.lines[2]
    assert dots.get_marker() == "." and len(dots.get_xdata()) == 4
    assert (ax.get_ylabel(), ax.get_title()) == (MEASURES[measure], "a title")
    assert ticks(ax.xaxis) == ["5", "20"] and ax.get_xlim()[0] > 20 > 5 > ax.get_xlim()[1]
    assert ax.get_yscale() == ("log" if measure == "fan-in" else "linear")
    if measure == "accuracy":
        assert lines["dense"][1] == pytest.approx([0.95, 0.95])
    if measure == "fan-in":
        assert {"1", "20", "500"} < set(ticks(ax.yaxis)) and not ax.yaxis.get_minorticklocs().size
    if measure == "live":  # of what RigL has, seed by seed
        assert lines["RigL, free"][1] == pytest.approx([100, 100])
        assert lines["constant fan-in, static"][1] == pytest.approx([85, 85])


def test_ablation_gap_is_paired_and_in_points():
    found = rows(gap=0.02)
    assert ablation_gap(found, 0.8).tolist() == pytest.approx([5, 7])
    fig = draw_ablation_gap({"digits": found, "mnist": rows()}, "live weights", "a")
    ax = fig.axes[0]
    assert sorted(in_legend(fig)) == ["digits", "mnist", "no difference"]
    first, second = ax.containers
    assert list(first.lines[0].get_ydata()) == pytest.approx([6, 6])
    assert list(second.lines[0].get_ydata()) == pytest.approx([5, 5])
    assert list(first.lines[0].get_xdata()) == pytest.approx([20 * 1.03, 5 * 1.03])
    # Student's t with one degree of freedom, 12.706; the standard error of 5 and 7 is 1
    for segment in first.lines[2][0].get_segments():
        assert segment[:, 1] == pytest.approx([6 - 12.706, 6 + 12.706], abs=1e-3)
    assert list(named(fig)["no difference"][1]) == [0, 0] and ticks(ax.xaxis) == ["5", "20"]


def test_ablation_gap_against_the_fan_in_that_all_neurons_would_have():
    found = rows()
    fig = draw_ablation_gap({"digits": found, "mnist": rows(gap=0.02)}, "fan-in", "a")
    expected = []
    for sparsity in (0.8, 0.95):
        fan_ins = [
            r["largest fan-in"]["0.weight"] for r in found if (r["arm"], r["value"]) == ("SRigL, no ablation", sparsity)
        ]
        expected.append(sum(fan_ins) / len(fan_ins))
    line = fig.axes[0].containers[0].lines[0]
    assert list(line.get_xdata()) == pytest.approx([1.03 * fan_in for fan_in in expected]) and len(set(expected)) == 2
    assert "inputs of each" in fig.axes[0].get_xlabel()


def test_gammas():
    found = [row("SRigL", gamma, seed, gamma / 2 + seed / 10) for gamma in (0.9, 0.1) for seed in (1, 0)]
    fig = draw_gammas(found, "accuracy", 12, "a")
    ax = fig.axes[0]
    assert named(fig)["SRigL"] == ([0.1, 0.9], pytest.approx([0.1, 0.5]))
    assert list(ax.get_xticks()) == [0.1, 0.9] and "gamma" in ax.get_xlabel() and ax.get_ylabel() == "test accuracy"
    assert named(draw_gammas(found, "neurons", 24, "a"))["SRigL"][1] == pytest.approx([43.75, 43.75])


def test_patterns_have_a_row_each():
    found = [
        row(arm, 29 / 32, seed, 0.5 + place / 10 + seed / 50) for place, arm in enumerate(PATTERNS) for seed in (0, 1)
    ]
    fig = draw_patterns(found, 0.97, "a")
    ax = fig.axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "RigL, free",
        "SRigL",
        "SRigL, no ablation",
        "3 of 32, SR-STE",
    ]
    assert len(ax.lines) == 2 * 4 + 1 and in_legend(fig) == ["dense"]
    for place in range(4):
        dots, mean = ax.lines[2 * place : 2 * place + 2]
        assert list(dots.get_xdata()) == pytest.approx([0.5 + place / 10, 0.52 + place / 10])
        assert list(dots.get_ydata()) == [place] * 2
        assert (list(mean.get_xdata()), list(mean.get_ydata())) == (pytest.approx([0.51 + place / 10]), [place])
    assert ax.lines[-1].get_xdata() == [0.97, 0.97] and ax.get_ylim() == (3.5, -0.5)


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_fan_ins_are_counted(kind):
    mask = kind([[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1], [1, 0, 1, 0], [0, 0, 0, 0]]) > 0
    fig = draw_fan_ins(mask, most=3, tallest=20, title="a")
    ax = fig.axes[0]
    bars = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in ax.patches}
    assert bars == {0: 2, 1: 1, 2: 3, 3: 0} and len(ax.patches) == 4
    (empty,) = (bar for bar in ax.patches if bar.get_hatch())
    assert empty.get_height() == 2 and ax.get_ylim() == (0, pytest.approx(21))
    assert in_legend(fig) == ["neurons that are left", "without any input"]


WEIGHT = np.array([[0, 2.0, 0, -0.1, 0], [0.0, 0, 0, 0, 0], [1.5, 0, 0, 0, 0.2]])
MASK = np.array([[0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 1]]) > 0


@pytest.mark.parametrize(
    "stage, cells, places",
    [
        (0, 15, {(1, 0): "1", (3, 0): "3", (0, 2): "0", (4, 2): "4"}),
        (1, 15, {(0, 0): "1", (1, 0): "3", (0, 2): "0", (1, 2): "4"}),
        (2, 4, {(0, 0): "1", (1, 0): "3", (0, 1): "0", (1, 1): "4"}),
    ],
)
def test_condensing_by_hand(stage, cells, places):
    """Numbers are the inputs that are read; a number moves with its weight, and only the last stage has no empty row."""
    ax = draw_condensing(WEIGHT, MASK, stage=stage, title="a").axes[0]
    patches = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    texts = {text.get_text(): text for text in ax.texts if text.get_text().startswith("neuron")}
    numbers = {tuple(int(x // 1) for x in text.get_position()): text.get_text() for text in ax.texts
               if text.get_text() not in texts}  # fmt: skip
    assert numbers == places and len(patches) == cells
    assert [(name, text.get_position()[1]) for name, text in texts.items()] == (
        [("neuron 0", 0.5), ("neuron 2", 1.5)] if stage == 2 else [(f"neuron {i}", i + 0.5) for i in range(3)])  # fmt: skip
    filled = {(int(p.get_x()), int(p.get_y())): to_hex(p.get_facecolor()) for p in patches if p.get_facecolor()[3] > 0}
    assert filled.keys() == places.keys()
    by_number = {places[place]: color for place, color in filled.items()}
    assert by_number["1"] == "#003a5c" and len(set(by_number.values())) == 4  # the largest |w| is the darkest
    inks = {text.get_text(): text.get_color() for text in ax.texts if text.get_text() not in texts}
    assert inks == {"1": "white", "3": "black", "0": "white", "4": "black"}
    assert ax.get_ylim() == (3, 0) and not ax.axison  # one size in all stages


def test_steps_have_a_bar_for_each_way():
    found = [{"way": way, "median_s": (place + 1) / 1000} for place, way in enumerate(reversed(WAYS))]
    ax = draw_steps([*found, {"way": "growth", "median_s": 9.0}], "a").axes[0]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([4, 3, 2, 1])
    assert [text.get_text() for text in ax.texts] == [" 4.0", " 3.0", " 2.0", " 1.0"]
    assert [to_hex(bar.get_facecolor()).upper() for bar in ax.patches] == [ROLES[role].color for role in WAYS.values()]
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "dense",
        "masked",
        "mask in the forward",
        "truly sparse",
    ]
    assert ax.get_xlim()[0] == 0 and ax.get_xlim()[1] > 4.5 and ax.get_ylim() == (3.5, -0.5)
    with pytest.raises(ValueError, match="unpack"):  # two rows of a way: two optimizers, or two numbers of threads
        draw_steps(found * 2, "a")


def test_answers_are_drawn_over_live_weights():
    found = [{"network": network, "value": value, "median_s": (1 - value) / 10 if network == "condensed" else 0.05}
             for value in (0.99, 0.8, 0.9) for network in ("dense", "condensed")]  # fmt: skip
    fig = draw_answers(found, "a")
    ax, lines = fig.axes[0], named(fig)
    assert lines["condensed"] == (pytest.approx([1, 10, 20]), pytest.approx([1, 10, 20]))
    assert lines["dense"][1] == pytest.approx([50] * 3) and ax.get_ylim()[0] == 0
    assert ticks(ax.xaxis) == ["1", "10", "20"] and in_legend(fig) == ["condensed", "dense"]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: measured(rows(), "speed", 12), ("measure", "'speed'", "'fan-in'")),
        (lambda: draw_spending(rows(), "speed", 12, "a"), ("measure", "'speed'", "'live'")),
        (lambda: draw_spending(rows()[:2], "accuracy", 12, "a"), ("rows", "empty", "part sparsities")),
        (lambda: draw_gammas([], "accuracy", 12, "a"), ("rows", "empty", "part gammas")),
        (lambda: draw_ablation_gap({"digits": rows()}, "fan-in", "a"), ("records", "['digits']", "two")),
        (lambda: draw_ablation_gap({"a": rows(), "b": rows()}, "depth", "a"), ("against", "'depth'", "'fan-in'")),
        (lambda: draw_condensing(WEIGHT, MASK, stage=3, title="a"), ("stage", "3", "0, 1 or 2")),
        (lambda: draw_fan_ins(MASK, most=1, tallest=3, title="a"), ("most", "1", "2 or more")),
    ],
    ids=case_name,
)  # fmt: skip
def test_value_errors(call, words):
    assert_one_line_error(call, *words)
