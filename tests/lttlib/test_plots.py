"""The visual language: sizes, contrast, cells, axes. What is drawn is read back from the axes."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from errors import assert_one_line_error, case_name
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.patches import Rectangle

from lttlib import plots
from lttlib.plots import ROLES


@pytest.fixture
def ax():
    """Axes of one panel, closed after the test."""
    fig, axes = plots.figure()
    yield axes
    plt.close(fig)


def luminance(color) -> float:
    """Relative luminance by WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b) -> float:
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_formula_by_hand():
    assert contrast("white", "black") == pytest.approx(21) and contrast("#777777", "#ffffff") == pytest.approx(
        4.48, abs=0.01
    )


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("paper", ["#ffffff", "#121212"])
def test_roles_can_be_seen_on_light_and_dark(role, paper):
    assert contrast(ROLES[role].color, paper) >= 3


def test_roles_differ_in_more_than_color():
    looks = [(role.color, role.dash, role.marker) for role in ROLES.values()]
    for one, other in itertools.combinations(looks, 2):
        assert one[0] != other[0]
        if one[1:] == other[1:]:
            assert {one[0], other[0]} == {ROLES["method"].color, ROLES["dynamic"].color}


def test_figures_are_as_wide_as_a_phone():
    for fig, height in ((plots.figure()[0], 3.0), (plots.figure(2)[0], 2.0)):
        assert tuple(fig.get_size_inches()) == (3.9, height)
        plt.close(fig)


def test_style_is_set_by_use_and_only_lent_by_figure():
    with plt.rc_context():
        plt.rcParams.update({"font.size": 20.0, "axes.spines.top": True})
        fig, axes = plots.figure()
        assert axes.title.get_fontsize() == 9 and not axes.spines["top"].get_visible()
        assert plt.rcParams["font.size"] == 20
        plots.use_book_style()
        assert plt.rcParams["font.size"] == 8.5 and tuple(plt.rcParams["figure.figsize"]) == (3.9, 3.0)
        plt.close(fig)


def test_arms_show_every_seed_the_mean_and_one_deviation(ax):
    values = np.array([[1.0, 2, 4], [3, 2, 8]])
    plots.draw_arms(ax, [10, 20, 30], values, "control", "random")
    dots, mean = ax.lines
    assert sorted(zip(*dots.get_data(), strict=True)) == [(10, 1), (10, 3), (20, 2), (20, 2), (30, 4), (30, 8)]
    assert mean.get_xdata().tolist() == [10, 20, 30] and mean.get_ydata().tolist() == [2, 2, 6]
    assert (mean.get_color(), mean.get_linestyle(), mean.get_marker()) == tuple(ROLES["control"])
    assert mean.get_label() == "random" and dots.get_label().startswith("_")
    corners = {(x, round(y, 9)) for x, y in ax.collections[0].get_paths()[0].vertices}
    for x, middle, sd in ((10, 2, 2**0.5), (20, 2, 0), (30, 6, 8**0.5)):  # n - 1 in the denominator
        assert {(x, round(middle - sd, 9)), (x, round(middle + sd, 9))} <= corners


def test_one_seed_has_no_band_but_is_drawn(ax):
    plots.draw_arms(ax, [1, 2], [[0.5, 0.6]], "method", "OBD")
    assert np.isfinite(ax.collections[0].get_paths()[0].vertices).all() and len(ax.lines) == 2


def test_level_is_a_named_rule(ax):
    plots.level(ax, 0.9, "dense")
    (line,) = ax.lines
    assert (
        list(line.get_ydata()) == [0.9, 0.9]
        and line.get_label() == "dense"
        and line.get_color() == ROLES["dense"].color
    )


def test_legend_stands_below_the_axes():
    fig, axes = plots.figure()
    for i, role in enumerate(("method", "control")):
        plots.draw_arms(axes, [1, 2], [[i, i]], role, role)
    plots.legend_below(fig)
    fig.canvas.draw()
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == ["method", "control"]
    assert legend.get_window_extent().y1 <= axes.get_tightbbox().y0
    plt.close(fig)


def test_live_axis_runs_right_to_sparser(ax):
    plots.live_axis(ax, [100, 50, 5, 0.5])
    left, right = ax.get_xlim()
    assert left > 100 > 0.5 > right > 0 and ax.get_xscale() == "log"
    ticks = ax.xaxis.get_major_locator()()
    assert sorted(ticks) == [0.5, 5, 50, 100] and not len(ax.xaxis.get_minor_locator()())
    assert [ax.xaxis.get_major_formatter()(tick) for tick in (100, 0.5)] == ["100", "0.5"]
    assert "live" in ax.get_xlabel() and "%" in ax.get_xlabel()


def cells(ax) -> dict[tuple[int, int], Rectangle]:
    """Patches by (row, column)."""
    return {(int(patch.get_y()), int(patch.get_x())): patch for patch in ax.patches}


MASK = np.array([[True, False, True], [False, True, True]])
WEIGHT = np.array([[1.0, 9, -4], [9, 2, -2]])


def test_mask_is_one_cell_per_weight_filled_where_live(ax):
    plots.draw_mask(ax, MASK, WEIGHT)
    found = cells(ax)
    assert len(ax.patches) == len(found) == 6
    assert {place for place, patch in found.items() if patch.get_facecolor()[3] > 0} == set(
        zip(*np.nonzero(MASK), strict=True)
    )
    assert luminance(found[0, 0].get_facecolor()[:3]) > luminance(found[1, 1].get_facecolor()[:3])
    assert luminance(found[1, 1].get_facecolor()[:3]) > luminance(found[0, 2].get_facecolor()[:3])
    assert found[1, 1].get_facecolor() == found[1, 2].get_facecolor()  # 2 and -2
    assert found[0, 2].get_facecolor() == plots.BLUES(1.0)  # the strongest live weight, not the pruned 9
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    assert x0 < 0 and x1 > 3 and y0 > 2 and y1 < 0  # row 0 on top
    assert ax.get_aspect() == 1 and not len(ax.get_xticks()) and not len(ax.get_yticks())


def test_signed_mask_shows_signs_and_shares_its_limit(ax):
    plots.draw_mask(ax, MASK, WEIGHT, signed=True, limit=8)
    found = cells(ax)
    assert found[0, 0].get_facecolor() == plots.DIVERGING((1 / 8 + 1) / 2)
    assert found[0, 2].get_facecolor() == plots.DIVERGING((-4 / 8 + 1) / 2)


def test_cells_above_a_shared_limit_are_the_darkest(ax):
    plots.draw_mask(ax, MASK, WEIGHT, limit=1.5)
    assert cells(ax)[0, 2].get_facecolor() == cells(ax)[1, 1].get_facecolor() == plots.BLUES(1.0)
    ax.clear()
    plots.draw_retina(ax, np.array([[1, 9], [4, 2]]), limit=2, numbers=False)
    assert [cells(ax)[place].get_facecolor() for place in ((0, 1), (1, 0), (1, 1))] == [plots.BLUES(1.0)] * 3


def test_mask_without_weights_or_without_live_cells(ax):
    plots.draw_mask(ax, MASK)
    assert {patch.get_facecolor() for patch in ax.patches} == {plots.BLUES(1.0), (0, 0, 0, 0)}
    ax.clear()
    plots.draw_mask(ax, 0 * MASK, WEIGHT)
    assert {patch.get_facecolor()[3] for patch in ax.patches} == {0}


def test_dropped_grown_and_ablated_are_marked(ax):
    plots.draw_mask(ax, MASK, dropped=WEIGHT < 0, grown=WEIGHT == 1, ablated=[1])
    drop, grow = ax.lines
    assert set(zip(*drop.get_data(), strict=True)) == {(2.5, 0.5), (2.5, 1.5)} and drop.get_marker() == "x"
    assert set(zip(*grow.get_data(), strict=True)) == {(0.5, 0.5)} and grow.get_marker() == "+"
    (hatched,) = [patch for patch in ax.patches if patch.get_hatch()]
    assert (hatched.get_y(), hatched.get_width(), hatched.get_height()) == (1, 3, 1)


@pytest.mark.parametrize("shape", [(8, 8), (64,)])
def test_retina_shows_counts_where_they_are(ax, shape):
    counts = np.arange(64).reshape(shape)
    plots.draw_retina(ax, counts)
    found = cells(ax)
    assert len(found) == len(ax.texts) == 64
    assert found[0, 0].get_facecolor()[3] == 0 and found[7, 7].get_facecolor() == plots.BLUES(1.0)
    assert found[3, 5].get_facecolor() == plots.BLUES(29 / 63)
    for text in ax.texts:
        column, row = (int(at) for at in text.get_position())
        assert text.get_text() == str(8 * row + column)
        face = found[row, column].get_facecolor()
        paper = to_rgba("white") if face[3] == 0 else face
        assert contrast(text.get_color(), paper[:3]) >= 4.5, text.get_text()


def test_retina_limit_and_numbers_are_options(ax):
    plots.draw_retina(ax, np.full((2, 2), 5), limit=10, numbers=False)
    assert not ax.texts and {patch.get_facecolor() for patch in ax.patches} == {plots.BLUES(0.5)}


def test_dots_one_row_per_group(ax):
    plots.draw_dots(ax, {"OBD": [1, 3], "random": [5, 6, 10]}, {"OBD": "method", "random": "control"})
    dots, mean, others, other_mean = ax.lines
    assert dots.get_xdata().tolist() == [1, 3] and set(dots.get_ydata()) == {0}
    assert list(mean.get_xdata()) == [2, 2] and list(other_mean.get_xdata()) == [7, 7]
    assert others.get_color() == ROLES["control"].color and set(others.get_ydata()) == {1}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["OBD", "random"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda ax: plots.draw_arms(ax, [1], [[1]], "hero", "OBD"), ("role", "'hero'", "'method'", "spelling")),
        (
            lambda ax: plots.draw_arms(ax, [1, 2], [[1]], "method", "OBD"),
            ("values", "(1, 1)", "(seeds, 2)", "one row per seed"),
        ),
        (lambda ax: plots.draw_arms(ax, [1, 2], [1, 2], "method", "OBD"), ("values", "(2,)", "(seeds, 2)")),
        (lambda ax: plots.level(ax, 1, "dense", role="hero"), ("role", "'hero'", "'method'", "spelling")),
        (lambda ax: plots.draw_mask(ax, MASK, WEIGHT.T), ("weight.shape", "(3, 2)", "(2, 3)")),
        (lambda ax: plots.draw_mask(ax, MASK[0]), ("mask.shape", "(3,)")),
        (lambda ax: plots.draw_retina(ax, np.ones(60)), ("counts", "60", "square", "pixel")),
        (lambda ax: plots.live_axis(ax, []), ("percents", "[]")),
        (lambda ax: plots.live_axis(ax, [100, 0]), ("percents", "0")),
    ],
    ids=case_name,
)
def test_errors(call, words, ax):
    assert_one_line_error(lambda: call(ax), *words)
