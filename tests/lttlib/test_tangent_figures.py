"""What the drawings of the chapter on tangent kernels hold: medians, rules, limits and the courses of training."""

import numpy as np
import pytest
import torch
from errors import assert_one_line_error

from lttlib.tangent_figures import (
    draw_constant,
    draw_course,
    draw_error,
    draw_gap,
    draw_kernels,
    draw_methods,
    draw_ratio,
    draw_variants,
)


def rows(layers=2):
    return [{"hidden_layers": layers, "width": width, "keep": keep, "ratio": [keep**2, 2 * keep**2, 4 * keep**2],
             "error": [1 / width / keep, 2 / width / keep, 3 / width / keep]}
            for width in (4, 16) for keep in (1.0, 0.5)]  # fmt: skip


def named(fig) -> dict[str, list]:
    return {line.get_label(): list(line.get_ydata()) for line in fig.axes[0].lines if line.get_label()[0] != "_"}


def test_kernels_share_a_scale_and_state_the_error():
    limit = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    fig = draw_kernels(limit * 1.5, limit, "width 8")
    assert fig._suptitle.get_text() == "width 8: off by 50%"
    assert [ax.get_xlabel() for ax in fig.axes] == ["one network", "infinite width"]
    assert len({ax.images[0].get_clim() for ax in fig.axes}) == 1


def test_ratio_shows_medians_and_a_rule_at_the_limit():
    fig = draw_ratio(rows(), 2)
    assert named(fig) == {"κ = 1": pytest.approx([2, 2]), "κ = 0.5": pytest.approx([0.5, 0.5])}
    rules = {line.get_ydata()[0] for line in fig.axes[0].lines if list(line.get_xdata()) == [0, 1]}
    assert rules == {1.0, 0.25}
    assert_one_line_error(lambda: draw_ratio(rows(), 3), "hidden_layers", "3", "[2]", "rows")


def test_error_shows_medians_and_slope_minus_one_half():
    fig = draw_error(rows(), 2)
    assert named(fig)["κ = 0.5"] == pytest.approx([1, 0.25])
    guides = [list(line.get_ydata()) for line in fig.axes[0].lines if line.get_linestyle() == ":"]
    assert guides[0] == pytest.approx([0.25, 0.125])


def test_constant_is_the_squared_error_times_the_largest_width():
    fig = draw_constant(rows() + rows(3), (2, 3))
    (means, *_), _ = fig.axes[0].containers
    found = dict(zip(means.get_xdata(), means.get_ydata(), strict=True))
    assert found == pytest.approx({1.0: 16 * 14 / 3 / 256, 2.0: 16 * 4 * 14 / 3 / 256})


def test_variants_stand_beside_their_limits():
    found = [
        {"keep": 0.5, "variant": name, "first": [0.2, 0.4], "rest": [0.5, 0.7]} for name in ("survivors", "rescaled")
    ]
    fig = draw_variants(found, 0.5, {"survivors": (0.25, 0.3), "rescaled": (1, 1)}, "rest")
    assert [line.get_xdata()[0] for line in fig.axes[0].lines if line.get_marker() == "o"] == pytest.approx([0.6, 0.6])
    assert [line.get_xdata()[0] for line in fig.axes[0].lines if line.get_marker() == "D"] == [0.3, 1]
    assert_one_line_error(lambda: draw_variants(found, 0.1, {}, "rest"), "keep", "0.1", "0.5", "rows")


def test_course_and_gap_draw_what_they_get():
    fig = draw_course([0, 1], {"network": [1, 0.5], "infinite width": [1, 0.4]}, "width 8")
    assert named(fig) == {"network": [1, 0.5], "infinite width": [1, 0.4]}
    trained = [{"width": width, "keep": 0.5, "accuracy": 0.9 + seed / 10, "accuracy of kernel": 0.95, "diverged": False}
               for width in (4, 16) for seed in (0, 1)]  # fmt: skip
    found = named(draw_gap([*trained, {"width": 4, "keep": 0.5, "diverged": True}], "accuracy", "accuracy"))
    assert found["κ = 0.5"] == pytest.approx([0.95, 0.95])
    assert np.allclose(found["infinite width"], 0.95)


def test_methods_show_the_recorded_costs_of_one_thread():
    def row(name, density, seconds, threads=1):
        return {"implementation": name, "density": density, "threads": threads, "median_s": seconds, "peak_bytes": 3e6}

    found = [row("masked_ntk, rows", 0.5, 0.004), row("masked_ntk, rows", 0.1, 0.001),
             row("masked_ntk, rows", 0.1, 7, threads=2), row("torch.func.jacrev, J @ J.T", 0.1, 2)]  # fmt: skip
    shown = named(draw_methods(found, "median_s"))
    assert shown["rows"] == pytest.approx([1, 4]) and shown["torch.func.jacrev"] == pytest.approx([2000])
    assert named(draw_methods(found, "peak_bytes"))["rows"] == pytest.approx([3, 3])
    assert_one_line_error(lambda: draw_methods(found, "seconds"), "field", "seconds", "median_s")
