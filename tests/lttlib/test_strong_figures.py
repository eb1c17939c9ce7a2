"""What the drawings of the chapter on strong tickets hold: every sum, the rows' quantiles, shares and counts."""

import itertools

import numpy as np
import pytest
from errors import assert_one_line_error

from lttlib.strong_figures import (
    draw_accuracies,
    draw_arch,
    draw_counts,
    draw_coverage,
    draw_errors,
    draw_relu_diamond,
    draw_search_cost,
    draw_sums,
    largest_hole,
    subset_sums,
)

VALUES = [0.62, -0.35, 0.18, -0.81, 0.44]


def title_of(fig) -> str:
    return fig.axes[0].get_title() or fig.axes[0].get_title(loc="left")


def named(fig) -> dict[str, list]:
    return {line.get_label(): list(line.get_ydata()) for line in fig.axes[0].lines if line.get_label()[0] != "_"}


def test_subset_sums_against_all_subsets():
    chosen = [sum(part) for size in range(6) for part in itertools.combinations(VALUES, size)]
    assert subset_sums(VALUES) == pytest.approx(sorted(chosen))


def test_the_largest_hole_is_bordered_by_sums_or_ends():
    assert largest_hole(np.array([0.0])) == (-1, 0)
    assert largest_hole(np.array([-0.5, 0.0, 0.9])) == (0, 0.9)
    assert largest_hole(np.array([-2.0, -0.9, 0.0, 0.5, 3.0])) == (-0.9, 0)


def test_every_sum_inside_is_a_tick():
    fig = draw_sums(VALUES)
    ticks = sorted(segment[0][0] for segment in fig.axes[0].collections[0].get_segments())
    assert ticks == pytest.approx([s for s in subset_sums(VALUES) if abs(s) <= 1])
    assert title_of(fig) == "5 weights, 32 subsets"


def test_errors_show_the_median_of_every_size():
    sizes = ("single", "at most 2", "at most 3", "any")
    rows = [{"distribution": "uniform", "target": 0.5, "size": size, "n": [2, 3], "10%": [0.1, 0.01],
             "50%": [0.2 + i, 0.02], "90%": [0.3 + i, 0.03]} for i, size in enumerate(sizes)]  # fmt: skip
    found = named(draw_errors(rows, "uniform", 0.5))
    assert [found[size][0] for size in sizes] == pytest.approx([0.2, 1.2, 2.2, 3.2])
    assert found["2⁻ⁿ"] == pytest.approx([0.25, 0.125])
    assert_one_line_error(lambda: draw_errors(rows, "uniform", 0.9), "target", "0.9", "'0.5'", "rows")


def test_coverage_is_the_share_of_draws():
    rows = [{"distribution": "uniform", "epsilon": 0.01, "most": 6, "needed": [5, 6, None, 4]}]
    assert named(draw_coverage(rows, "uniform"))["ε = 0.01"] == [0.25, 0.5, 0.75]
    assert_one_line_error(lambda: draw_coverage(rows, "normal"), "distribution", "normal", "'uniform'", "rows")


def test_accuracies_of_the_diamonds_and_their_target():
    rows = [{"arm": "target", "accuracy": 0.9}] + [
        {"arm": arm, "distribution": kind, "samples": n, "accuracy": n / 10, "shuffled": 0.1}
        for arm, kind in (("linear", "uniform"), ("linear", "product"), ("relu", "product"))
        for n in (3, 5)
    ]
    found = named(draw_accuracies(rows))
    assert found["linear, uniform"] == found["ReLU, products"] == [0.3, 0.5]
    assert found["masks shuffled"] == [0.1, 0.1] and found["trained target"] == [0.9, 0.9]


def test_counts_are_written_at_their_bars():
    fig = draw_counts({"target": 100, "needed": 700, "kept": 950, "drawn": 2100}, "Title")
    assert [text.get_text() for text in fig.axes[0].texts] == [
        "100 (1.0×)", "700 (7.0×)", "950 (9.5×)", "2,100 (21.0×)",
    ]  # fmt: skip
    assert [bar.get_width() for bar in fig.axes[0].patches] == [100, 700, 950, 2100]


def test_the_arch_of_one_width():
    rows = [{"width": w, "keep": k, "accuracy": w * k} for w in (1, 2) for k in (0.1, 0.5)]
    fig = draw_arch(rows, 2, trained=0.97)
    assert named(fig)["2 units"] == [0.2, 1.0]
    rules = [line.get_ydata()[0] for line in fig.axes[0].lines if list(line.get_xdata()) == [0, 1]]
    assert rules == [0.97, 0.1]


def test_search_cost_shows_the_recorded_medians_and_the_slope():
    def row(name, n, seconds, threads=1, shared=False):
        return {"implementation": name, "n": n, "threads": threads, "shared": shared, "median_s": seconds}

    rows = [row("best_subsets", 10, 3e-6), row("best_subsets", 14, 8e-6), row("numpy, brute force", 10, 2e-4),
            row("best_subsets", 10, 1e-6, threads=2), row("best_subsets", 10, 5e-7, shared=True)]  # fmt: skip
    found = named(draw_search_cost(rows, shared=False))
    assert found["best_subsets"] == pytest.approx([3, 8]) and found["numpy, brute force"] == pytest.approx([200])
    assert found["best_subsets, 2 threads"] == pytest.approx([1])
    assert found["$2^{n/2}$"] == pytest.approx([2, 8])
    assert named(draw_search_cost(rows, shared=True))["best_subsets"] == pytest.approx([0.5])
    assert_one_line_error(lambda: draw_search_cost(rows[:1], shared=True), "shared", "True", "False", "rows")


def test_a_relu_diamond_is_off_by_its_worse_side():
    inner, outer = np.array([0.5, -1.0, 0.8, -0.2]), np.array([0.6, -0.2, 0.5, 0.5])
    fig = draw_relu_diamond(0.3, inner, outer, np.array([True, True, False, False]))
    assert title_of(fig) == "w = 0.3, 4 hidden units: off by 0.1"
    texts = [text.get_text() for text in fig.axes[0].texts]
    assert {"circles answer to x > 0: sum +0.300", "squares answer to x < 0: sum +0.200"} <= set(texts)
    kept = [line for line in fig.axes[0].lines if len(line.get_xdata()) == 3 and line.get_linewidth() > 1]
    assert len(kept) == 2
