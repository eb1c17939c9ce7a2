"""What the drawings of the chapter "Mixture of experts" hold: seats, bands, cells, strips, lines, bars, and errors."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from lttlib.mixture_figures import (
    ARMS,
    TEXT_ARMS,
    TEXT_MEASURES,
    draw_arms_of_routing,
    draw_collapse,
    draw_experts,
    draw_queue,
    draw_rates,
    draw_river,
    draw_spending_on_answers,
    draw_takers,
    draw_text,
)
from lttlib.moe import dispatch
from lttlib.plots import BLUES, ROLES

LOGITS = torch.tensor([[0.6, 0.3, 0.1], [0.7, 0.2, 0.1], [0.5, 0.4, 0.1]]).log()


@pytest.fixture(autouse=True)
def closed():
    """No figure stays open."""
    yield
    plt.close("all")


def texts(ax) -> dict[str, list[tuple[float, float]]]:
    found = {}
    for text in ax.texts:
        found.setdefault(text.get_text(), []).append(tuple(round(float(at), 3) for at in text.get_position()))
    return found


def cells(ax) -> list[tuple[float, float, str]]:
    """Corner and color of each cell, "none" where it is not filled."""
    return [(round(p.get_x() - 0.05, 3), round(p.get_y() - 0.08, 3), to_hex(p.get_facecolor(), True) if p.get_facecolor()[3] else "none")
            for p in ax.patches if isinstance(p, Rectangle)]  # fmt: skip


def named(fig) -> dict:
    return {line.get_label(): line for line in fig.axes[0].lines if line.get_label()[0] != "_"}


def title(ax) -> str:
    """Wherever the style in force puts it."""
    return ax.get_title(loc="left") or ax.get_title()


def y_names(ax) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def test_queue_seats_and_crosses_out():
    fig = draw_queue(dispatch(LOGITS, 2, capacity_factor=1.0), "abc", "two places")
    (ax,) = fig.axes
    found = texts(ax)
    assert found["a"] == [(0.5, 0.5), (0.5, 1.5)]  # expert 0, and expert 1
    assert found["b"] == [(1.5, 0.5), (1.5, 1.5)]
    assert found["c"] == [(2.9, 0.5), (2.9, 1.5)]  # dropped twice, to the right of the two places
    dark, light = to_hex(BLUES(0.75), True), to_hex(BLUES(0.0), True)
    assert {(0, 0, dark), (1, 0, dark), (0, 1, light), (1, 1, light), (2.4, 0, "none")} <= set(cells(ax))
    crosses = [line for line in ax.lines if line.get_color() == ROLES["control"].color]
    assert len(crosses) == 2
    assert title(ax) == "two places"


def test_queue_without_drops_has_room_for_all_places():
    (ax,) = draw_queue(dispatch(LOGITS, 1, capacity_factor=3.0), "abc", "").axes
    assert not [line for line in ax.lines if line.get_color() == ROLES["control"].color]
    assert sum(color == "none" for _, _, color in cells(ax)) == 9
    assert ax.get_xlim()[1] > 3


def test_river_stacks_shares_to_a_hundred():
    fig = draw_river([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]], 10, "t")
    (ax,) = fig.axes
    bands = [collection.get_paths()[0].vertices for collection in ax.collections]
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["expert 0", "expert 1"]
    first, second = ({(float(x), float(y)) for x, y in band} for band in bands)
    assert {(0, 25), (10, 50), (20, 100)} <= first
    assert {(0, 100), (10, 100), (0, 25), (10, 50)} <= second
    assert ax.get_xlim() == (0, 20)
    assert texts(ax) == {"0": [(19.2, 50)]}  # expert 1 has nothing left to write on


def test_takers_are_matched_and_shaded():
    table = [[0.0, 1.0], [0.9, 0.1]]
    fig = draw_takers([table, np.eye(2)], ("as is", "inverted"), "whose")
    assert [title(ax) for ax in fig.axes] == ["seed 0: 95%", "seed 1: 100%"]
    assert set(cells(fig.axes[0])) == {(0, 0, to_hex(BLUES(1.0), True)), (1, 0, "none"), (0, 1, to_hex(BLUES(0.1), True)),
                                       (1, 1, to_hex(BLUES(0.9), True))}  # fmt: skip
    assert y_names(fig.axes[0]) == ["as is", "inverted"]


def test_takers_of_five_seeds_stand_in_two_rows():
    fig = draw_takers([np.eye(4)] * 5, tuple("abcd"), "")
    assert [ax.axison for ax in fig.axes] == [True] * 5 + [False]
    assert [y_names(ax)[0] for ax in fig.axes[:5]] == ["a", "", "", "a", ""]


def image_rows() -> list[dict]:
    return [{"arm": arm, "seed": seed, "accuracy": 0.5 + place / 100 + seed / 10}
            for place, arm in enumerate(ARMS) for seed in (1, 0)]  # fmt: skip


def test_arms_are_strips_with_their_means():
    (ax,) = draw_arms_of_routing(image_rows(), "t").axes
    assert y_names(ax) == [label for label, _ in ARMS.values()]
    for place, (arm, (_, role)) in enumerate(ARMS.items()):
        dots, mean = ax.lines[2 * place : 2 * place + 2]
        assert list(dots.get_xdata()) == pytest.approx([0.5 + place / 100, 0.6 + place / 100]), arm
        assert list(np.atleast_1d(mean.get_xdata())) == pytest.approx([0.55 + place / 100])
        assert mean.get_color() == ROLES[role].color


def test_arms_that_are_not_there_are_left_out():
    (ax,) = draw_arms_of_routing([row for row in image_rows() if row["arm"] != "told the disguise"], "t").axes
    assert "told the disguise" not in y_names(ax)


def test_no_rows_are_answered():
    for call in (lambda: draw_arms_of_routing([], ""), lambda: draw_rates([], "")):
        with pytest.raises(ValueError, match="rows = empty"):
            call()


def test_spending_has_three_points_and_a_course():
    points = {"small": ([1, 1], [0.5, 0.7]), "mixture": ([2, 2], [0.8, 0.9]), "large": ([4, 4], [0.9, 0.9])}
    lines = named(draw_spending_on_answers(points, ([1, 3, 5], [0.6, 0.7, 0.9]), "t"))
    at = {name: (float(np.mean(line.get_xdata())), float(np.mean(line.get_ydata()))) for name, line in lines.items()}
    assert at["small"] == pytest.approx((1, 0.6))
    assert at["mixture"] == pytest.approx((2, 0.85))
    assert at["large"] == pytest.approx((4, 0.9))
    course = lines["small one first, large one if unsure"]
    assert list(course.get_xdata()) == [1, 3, 5]
    assert list(course.get_ydata()) == [0.6, 0.7, 0.9]


def text_rows() -> list[dict]:
    found = [("dense", 1), ("dense", 4), ("top-1", 2), ("top-1", 8), *((arm, 8) for arm in list(TEXT_ARMS)[1:])]
    return [{"arm": arm, "value": value, "seed": seed, "loss": 2 - value / 100 + seed / 10, "active flops": 1e6 * value,
             "parameters": 5e5 * value, "dimensions": [3 + seed + value, 7], "share between experts": [0.25 * seed, 0.5],
             "effective experts": value - 0.5 * seed}
            for arm, value in found for seed in (1, 0)]  # fmt: skip


@pytest.mark.parametrize("against, scale", [("active flops", 1.0), ("parameters", 0.5)])
def test_text_draws_dense_and_mixtures(against, scale):
    fig = draw_text(text_rows(), against, "t")
    lines = named(fig)
    assert list(lines["one of E experts"].get_xdata()) == pytest.approx([2 * scale, 8 * scale])
    assert list(lines["one of E experts"].get_ydata()) == pytest.approx([2.03, 1.97])
    assert list(lines["dense, 1, 2, 4 times as wide"].get_ydata()) == pytest.approx([2.04, 2.01])
    assert {"E = 2", "E = 8"} == set(texts(fig.axes[0]))


@pytest.mark.parametrize("measure, first", [("loss", [2.04, 2.03, 1.97]), ("effective experts", [1.75, 7.75])])
def test_experts_draws_every_router(measure, first):
    fig = draw_experts(text_rows(), measure, "t")
    lines = named(fig)
    assert list(lines["one of E, balanced"].get_ydata()) == pytest.approx(first)
    assert list(lines["one of E, balanced"].get_xdata()) == ([1, 2, 8] if measure == "loss" else [2, 8])
    assert {TEXT_ARMS[arm][0] for arm in list(TEXT_ARMS)[1:]} <= set(lines)
    assert len({(line.get_color(), line.get_marker()) for line in lines.values()}) == len(lines)
    assert fig.axes[0].get_ylabel() == TEXT_MEASURES[measure]
    if measure == "loss":
        assert list(lines["dense, 4 times as wide"].get_ydata()) == pytest.approx([2.01, 2.01])


def test_collapse_reads_its_block_and_shows_dense_where_it_can():
    (ax,) = draw_collapse(text_rows(), "dimensions", 0, "t").axes
    assert y_names(ax) == ["dense", *(label for label, _ in TEXT_ARMS.values())]
    means = [float(np.atleast_1d(line.get_xdata())[0]) for line in ax.lines[1::2]]
    assert means == pytest.approx([4.5] + [11.5] * len(TEXT_ARMS))
    (ax,) = draw_collapse(text_rows(), "share between experts", 1, "t").axes
    assert y_names(ax) == [label for label, _ in TEXT_ARMS.values()]
    assert list(np.atleast_1d(ax.lines[1].get_xdata())) == pytest.approx([0.5])


def test_rates_are_bars_from_fast_to_slow():
    rows = [
        {"implementation": "sorted loop", "dense_fraction": 0.8},
        {"implementation": "grouped experts", "dense_fraction": 0.9},
    ]
    (ax,) = draw_rates(rows, "t").axes
    assert y_names(ax) == ["grouped experts", "sorted loop"]
    assert [patch.get_width() for patch in ax.patches] == [0.9, 0.8]
    assert [text.get_text() for text in ax.texts] == ["0.90", "0.80"]
    assert to_hex(ax.patches[0].get_facecolor()) == ROLES["method"].color.lower()
