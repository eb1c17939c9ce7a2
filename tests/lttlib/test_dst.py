"""Single steps of dynamic sparse training: by hand, against sorting in numpy, exact counts, errors."""

import math
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st

from lttlib.dst import (
    exploration_rate,
    gradual_count,
    layer_densities,
    magnitude_step,
    rigl_step,
    set_step,
    update_steps,
)
from lttlib.masks import random_masks

W = torch.tensor([0.9, -0.1, 0.5, -0.7, 0, 0, 0, 0])
G = torch.tensor([0.2, 0.9, 0.1, 0.3, 0.6, 0.05, 0.8, 0.4])
FIRST_FOUR = torch.arange(8) < 4


def live(mask: torch.Tensor) -> list[int]:
    return mask.flatten().nonzero().flatten().tolist()


@pytest.mark.parametrize(
    "fraction, expected",
    [
        (0, [0, 1, 2, 3]),
        (0.24, [0, 1, 2, 3]),  # 0.96 weights: none
        (0.25, [0, 1, 2, 3]),  # weight 1 goes, and comes back at once: its gradient is the largest
        (0.5, [0, 1, 3, 6]),
        (0.75, [0, 1, 4, 6]),
        (1, [1, 4, 6, 7]),
    ],
)
def test_rigl_by_hand(fraction, expected):
    for sign in (1, -1):
        assert live(rigl_step(W, sign * G, FIRST_FOUR, fraction)) == expected


def test_ties_go_to_the_lowest_index():
    equal, mask = torch.ones(2, 3), torch.tensor([[True, False, True], [False, True, True]])
    assert live(rigl_step(equal, equal, mask, 0.5)) == [0, 1, 2, 3]
    assert live(rigl_step(equal, torch.zeros(2, 3), mask, 0.25)) == [0, 1, 2, 4]
    assert live(magnitude_step(-equal, mask, 3)) == [0, 2, 4]


def test_live_zeros_are_dropped_before_others_and_dead_weights_are_no_candidates():
    weight = torch.tensor([0.0, 9.0, 0.1, math.nan])  # the dead ones hold what they like
    mask = torch.tensor([True, False, True, False])
    assert live(rigl_step(weight, torch.tensor([0.0, 0, 0, 1]), mask, 0.5)) == [2, 3]
    assert live(magnitude_step(weight, mask, 1)) == [2]


def by_sorting(weight, mask, fraction):
    """(kept as a set of places, how many to grow): Python's own sort, exact fractions."""
    places = [i for i in range(weight.size) if mask.flat[i]]
    k = int(Fraction(str(fraction)) * len(places))
    weakest_first = sorted(places, key=lambda i: (abs(weight.flat[i]), -i))
    return set(weakest_first[k:]), k


shares = st.integers(0, 100).map(lambda percent: percent / 100)
cases = st.tuples(st.sampled_from([(1,), (7,), (5, 9), (13, 31), (4, 3, 3, 2)]), shares, shares, st.integers(0, 10**6))


def drawn(shape, share, seed):
    """Weights with many ties, gradients with many ties, a mask of about that share."""
    draw = np.random.default_rng(seed)
    return draw.integers(-3, 4, shape) / 4, draw.integers(-2, 3, shape) / 2, draw.random(shape) < share


@given(cases)
def test_rigl_against_sorting(case):
    shape, share, fraction, seed = case
    weight, grad, mask = drawn(shape, share, seed)
    kept, k = by_sorting(weight, mask, fraction)
    steepest = sorted((i for i in range(weight.size) if i not in kept), key=lambda i: (-abs(grad.flat[i]), i))
    found = rigl_step(*map(torch.from_numpy, (weight, grad, mask)), fraction)
    assert found.shape == shape and found.dtype == torch.bool
    assert set(live(found)) == kept | set(steepest[:k])
    assert len(live(found)) == mask.sum()


@given(cases)
def test_set_keeps_the_largest_and_the_count(case):
    shape, share, fraction, seed = case
    weight, _, mask = drawn(shape, share, seed)
    kept, _ = by_sorting(weight, mask, fraction)
    tensors = torch.from_numpy(weight), torch.from_numpy(mask)
    before = [tensor.clone() for tensor in tensors]
    found = set_step(*tensors, fraction, torch.Generator().manual_seed(seed))
    assert found.shape == shape and kept <= set(live(found)) and len(live(found)) == mask.sum()
    assert all(a.equal(b) for a, b in zip(before, tensors, strict=True))
    assert found.equal(set_step(*tensors, fraction, torch.Generator().manual_seed(seed)))


def test_set_grows_everywhere_alike():
    """Of the six places outside the kept {0, 3} two are drawn: each should come up in a third of the draws."""
    generator = torch.Generator().manual_seed(0)
    state = torch.random.get_rng_state()
    counts = sum(set_step(W, FIRST_FOUR, 0.5, generator).int() for _ in range(3000))
    assert torch.random.get_rng_state().equal(state)
    assert counts[[0, 3]].tolist() == [3000, 3000]
    spread = math.sqrt(3000 * (1 / 3) * (2 / 3))
    assert all(abs(counts[i] - 1000) < 4 * spread for i in (1, 2, 4, 5, 6, 7))


@pytest.mark.parametrize("live_weights, percent", [(100, 29), (50, 58), (1000, 7)])
def test_number_dropped_survives_floating_point(live_weights, percent):
    """0.29 * 100 is 28.999...: 29 must go."""
    weight, mask = torch.arange(1.0, 2 * live_weights + 1), torch.arange(2 * live_weights) < live_weights
    moved = rigl_step(weight, (~mask).float(), mask, percent / 100)
    assert int((moved & ~mask).sum()) == live_weights * percent // 100


def test_exploration_by_hand():
    masks = [torch.zeros(6, dtype=torch.bool).index_fill_(0, torch.tensor(i), True) for i in ([0, 1], [0, 2], [2, 3])]
    assert exploration_rate(masks) == pytest.approx(2 / 3)
    assert exploration_rate(iter(masks[:1])) == pytest.approx(1 / 3)
    dense = torch.ones(2, 3) > 0
    assert exploration_rate([{"a": mask, "b": dense} for mask in masks]) == pytest.approx(10 / 12)
    assert live(masks[0]) == [0, 1]  # left as they were


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_exploration_against_sets(seed, rounds):
    draw = np.random.default_rng(seed)
    seen = [{"a": draw.random((3, 5)) < 0.3, "b": draw.random(7) < 0.5} for _ in range(rounds)]
    ever = {(name, i) for masks in seen for name, mask in masks.items() for i in np.flatnonzero(mask)}
    found = exploration_rate([{name: torch.from_numpy(mask) for name, mask in masks.items()} for masks in seen])
    assert found == pytest.approx(len(ever) / 22)


SHAPES = {"conv": (20, 10, 5, 5), "first": (300, 784), "last": (10, 100)}


def test_layer_densities_by_hand():
    """Fully connected 100 x 300 and 10 x 100 at 10 %: 400 c + 110 c = 3,100 live weights in all."""
    shapes = {"a": (100, 300), "b": (10, 100)}
    c = 3100 / 510
    for kind in ("er", "erk"):
        assert layer_densities(shapes, 0.1, kind) == pytest.approx({"a": 400 * c / 30000, "b": 110 * c / 1000})
    assert layer_densities(shapes, 0.1, "uniform") == {"a": 0.1, "b": 0.1}


@pytest.mark.parametrize("kind", ["uniform", "er", "erk"])
def test_layer_densities_add_up(kind, generator):
    found = layer_densities(SHAPES, 0.05, kind)
    masks = random_masks(SHAPES, found, generator)
    total = sum(math.prod(shape) for shape in SHAPES.values())
    assert abs(sum(int(mask.sum()) for mask in masks.values()) - 0.05 * total) <= len(SHAPES)
    sums = {"er": {"conv": 30, "first": 1084}, "erk": {"conv": 40, "first": 1084}}.get(kind)
    areas = {"er": {"conv": 200, "first": 235200}, "erk": {"conv": 5000, "first": 235200}}.get(kind)
    if sums:
        expected = sums["conv"] / areas["conv"] / (sums["first"] / areas["first"])
        assert found["conv"] / found["first"] == pytest.approx(expected) or found["conv"] == 1


def test_update_steps_by_hand():
    assert list(update_steps(100, 400)) == [100, 200, 300]
    assert list(update_steps(100, 401)) == [100, 200, 300, 400]
    assert [list(update_steps(1, 3)), list(update_steps(5, 5)), list(update_steps(5, 0))] == [[1, 2], [], []]


def test_gradual_counts_by_hand():
    """Down to 10 % at steps 100, 200, 300, the cubes of 2/3, 1/3 and 0 on the way: 36.7, 13.3 and 10 %."""
    updates = range(100, 400, 100)
    expected = {0: 1000, 99: 1000, 100: 367, 199: 367, 200: 134, 300: 100, 9999: 100}
    assert {step: gradual_count(1000, 0.1, step, updates) for step in expected} == expected
    assert gradual_count(7, 1.0, 300, updates) == 7


TWO = torch.ones(2) > 0
rigl, set_ = partial(rigl_step, W, G, FIRST_FOUR), partial(set_step, W, FIRST_FOUR)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: rigl(1.2), ("fraction", "1.2", "[0, 1]", "share")),
        (lambda: rigl(-0.1), ("fraction", "-0.1", "[0, 1]")),
        (lambda: set_(math.nan, torch.Generator()), ("fraction", "nan", "[0, 1]")),
        (lambda: set_(0.5, None), ("generator", "None", "manual_seed(0)")),
        (lambda: rigl_step(W, None, FIRST_FOUR, 0.5), ("grad.shape", "None", "(8,)", "backward()")),
        (lambda: rigl_step(W, G[:7], FIRST_FOUR, 0.5), ("grad.shape", "(7,)", "(8,)")),
        (lambda: rigl_step(W, G / 0, FIRST_FOUR, 0.5), ("grad", "8 NaN", "finite", "learning rate")),
        (lambda: rigl_step(W / 0, G, FIRST_FOUR, 0.5), ("live weights", "4 NaN", "finite")),
        (lambda: rigl_step(W, G[:2], TWO, 0.5), ("mask.shape", "(2,)", "(8,)")),
        (lambda: magnitude_step(W, TWO, 1), ("mask.shape", "(2,)", "(8,)")),
        (lambda: magnitude_step(W, FIRST_FOUR, 5), ("live", "5", "0 to 4", "never grows")),
        (lambda: magnitude_step(W * math.inf, FIRST_FOUR, 2), ("live weights", "4 NaN")),
        (lambda: exploration_rate([]), ("masks_seen", "nothing", "at least one")),
        (lambda: exploration_rate([FIRST_FOUR, TWO]), ("masks_seen", "(2,)", "(8,)")),
        (lambda: layer_densities({}, 0.1, "uniform"), ("shapes", "{}", "at least one")),
        (lambda: layer_densities(SHAPES, 0, "uniform"), ("density", "0", "(0, 1]")),
        (lambda: layer_densities(SHAPES, 1.5, "erk"), ("density", "1.5", "(0, 1]")),
        (lambda: layer_densities(SHAPES, 0.1, "ERK"), ("distribution", "'ERK'", "'erk'", "spelling")),
        (lambda: update_steps(0, 9), ("interval", "0", "1 or more")),
        (lambda: update_steps(3, -1), ("end", "-1", "0 or more")),
    ],
    ids=case_name,
)  # fmt: skip
def test_value_errors(call, words):
    assert_one_line_error(call, *words)


def test_type_and_key_errors():
    assert_one_line_error(lambda: rigl_step(W, G, FIRST_FOUR.int(), 0.5), "mask.dtype", "torch.int32", error=TypeError)
    assert_one_line_error(lambda: exploration_rate([W]), "dtype", "torch.float32", error=TypeError)
    masks = [{"a": TWO}, {"b": TWO}]
    assert_one_line_error(lambda: exploration_rate(masks), "masks_seen", "['b']", "differ", error=KeyError)
