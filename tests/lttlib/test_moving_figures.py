"""What the drawings of the chapter on moving masks hold: counts and marks, arms, exploration, operations, dead neurons."""

import numpy as np
import pytest
from errors import assert_one_line_error

from lttlib.moving_figures import (
    draw_comparison,
    draw_dead,
    draw_edges,
    draw_explored,
    draw_operations,
    draw_widths,
)

ACCURACY = {"dense": 0.9, "static": 0.5, "SET": 0.6, "RigL": 0.7}


def rows():
    found = [{"arm": "dense", "value": 1.0, "seed": seed, "accuracy": 0.9 + seed / 10, "training flops": 1000}
             for seed in (0, 1)]  # fmt: skip
    found += [{"arm": arm, "value": density, "seed": seed, "accuracy": ACCURACY[arm] + density + seed / 10,
               "training flops": 1000 * density, "dead rows": {"a": 2 + 2 * seed}}
              for arm in ("static", "SET", "RigL") for density in (0.1, 0.02) for seed in (1, 0)]  # fmt: skip
    return found


def named(fig) -> dict[str, tuple[list, list]]:
    lines = [line for line in fig.axes[0].lines if line.get_label()[0] != "_"]
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in lines}


def test_edges_are_counted_and_changes_are_marked():
    before, mask = np.zeros((3, 64), bool), np.zeros((3, 64), bool)
    before[:2, 9] = mask[0, 9] = mask[1, 20] = True
    fig = draw_edges(mask, before, limit=2, title="a")
    texts = [text.get_text() for text in fig.axes[0].texts]
    assert (texts[9], texts[20], texts.count("0")) == ("1", "1", 62)
    marks = {line.get_marker(): (line.get_xdata() // 1, line.get_ydata() // 1) for line in fig.axes[0].lines}
    assert [list(map(float, axis)) for axis in marks["+"]] == [[4], [2]]
    assert [list(map(float, axis)) for axis in marks["x"]] == [[1], [1]]


def test_comparison_draws_means_over_percents_and_the_dense_level():
    lines = named(draw_comparison(rows(), "three policies", "a"))
    assert lines["RigL"] == (pytest.approx([10, 2]), pytest.approx([0.85, 0.77]))
    assert lines["static"][1] == pytest.approx([0.65, 0.57])
    assert lines["dense"][1] == pytest.approx([0.95, 0.95])
    assert_one_line_error(lambda: draw_comparison(rows(), "distribution", "a"), "static, uniform", "densities")


def test_explored_draws_one_point_for_each_interval():
    found = [{"arm": f"{method}, {interval}", "seed": seed, "accuracy": 0.5 + seed / 10, "explored": 4 / interval}
             for method in ("set", "rigl") for interval in (100, 10) for seed in (0, 1)]  # fmt: skip
    fig = draw_explored(found, "a")
    assert named(fig)["SET"] == (pytest.approx([40, 4]), pytest.approx([0.55, 0.55]))
    assert [text.get_text() for text in fig.axes[0].texts] == ["10", "100"] * 2


def test_operations_are_multiples_of_the_dense_ones():
    lines = named(draw_operations(rows(), 0.1, "a"))
    assert lines["dense"] == (pytest.approx([1]), pytest.approx([0.95]))
    assert lines["RigL"] == (pytest.approx([0.1]), pytest.approx([0.85]))
    assert "gradual pruning" not in lines


def test_widths_name_the_live_share():
    found = [{"arm": arm, "value": width, "seed": 0, "accuracy": width / 100}
             for arm in ("dense", "static, 0.05") for width in (10, 20)]  # fmt: skip
    assert named(draw_widths(found, "a"))["5% live, random"] == ([10, 20], pytest.approx([0.1, 0.2]))


def test_dead_neurons_are_a_share_of_the_layer():
    lines = named(draw_dead(rows(), "a", 8, "b"))
    assert lines["SET"] == (pytest.approx([10, 2]), pytest.approx([37.5, 37.5]))
