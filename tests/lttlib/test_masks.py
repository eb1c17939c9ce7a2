"""Masks: exact counts, ties, scopes, Erdős–Rényi densities, random masks. More: test_masks_structured, _errors."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from torch import nn

from lttlib.masks import (
    apply_masks,
    density,
    erk_densities,
    keep_count,
    magnitude_masks,
    mask_by_scores,
    prunable,
    random_masks,
    shuffled_masks,
    topk_mask,
)


@pytest.mark.parametrize(
    "n, sparsity, kept",
    [(1000, 0.9, 100), (10, 0.25, 8), (7, 0.5, 4), (3, 0, 3), (0, 0.5, 0), (1, 0.99, 1), (10, 0.7, 3), (266_200, 0.95, 13_310)],
)  # fmt: skip
def test_keep_count_by_hand(n, sparsity, kept):
    assert keep_count(n, sparsity) == kept


@given(st.integers(0, 2_000_000), st.integers(0, 99_999))
def test_keep_count_is_exact_for_decimals(n, hundred_thousandths):
    exact = n - math.floor(Fraction(hundred_thousandths, 100_000) * n)
    assert keep_count(n, hundred_thousandths / 100_000) == exact


@pytest.mark.parametrize("n", [7, 100, 300, 1000, 12_345])
def test_keep_count_is_exact_for_every_percent(n):  # 0.29 * 100 is 28.999... in floating point
    assert [keep_count(n, percent / 100) for percent in range(100)] == [
        n - percent * n // 100 for percent in range(100)
    ]


scores_with_ties = st.lists(st.sampled_from([-math.inf, -2.0, -0.0, 0.0, 1.0, 1.5, math.inf]), max_size=12)


@given(scores_with_ties, st.data())
def test_topk_keeps_the_largest_and_the_lowest_index_of_ties(scores, data):
    k = data.draw(st.integers(0, len(scores)))
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
    mask = topk_mask(torch.tensor(scores), k)
    assert mask.dtype == torch.bool
    assert mask.nonzero().flatten().tolist() == sorted(expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_topk_is_the_same_for_all_kinds_of_numbers(dtype):
    scores = torch.tensor([[3, -1, 3, 0], [2, 3, -7, 2]]).to(dtype)
    expected = {0: [], 2: [0, 2], 3: [0, 2, 5], 4: [0, 2, 4, 5], 5: [0, 2, 4, 5, 7], 8: list(range(8))}
    assert {k: topk_mask(scores, k).flatten().nonzero().flatten().tolist() for k in expected} == expected


def test_topk_counts_ties_in_flat_order_and_keeps_the_shape():
    assert topk_mask(torch.ones(3, 40), 41).tolist() == [[True] * 40, [True] + [False] * 39, [False] * 40]


HAND = {"a": torch.tensor([[3.0, -1], [0.5, 2]]), "b": torch.tensor([-4.0, 0.1, 0.2])}


@pytest.mark.parametrize(
    "scope, a, b", [("global", [[1, 1], [0, 1]], [1, 0, 0]), ("layer", [[1, 0], [0, 1]], [1, 0, 1])]
)
def test_magnitude_by_hand(scope, a, b):  # 7 weights at 0.5: 3 go. Layer by layer: 2 of 4 and 1 of 3
    masks = magnitude_masks(HAND, 0.5, scope=scope)
    assert {name: mask.int().tolist() for name, mask in masks.items()} == {"a": a, "b": b}


weights_with_ties = st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=6), min_size=1, max_size=3)


@given(weights_with_ties, st.integers(0, 9), st.sampled_from(["global", "layer"]))
def test_magnitude_against_sorting(lists, tenths, scope):
    weights = {str(i): torch.tensor(values, dtype=torch.float32) for i, values in enumerate(lists)}
    places = [[(str(i), j) for j in range(len(values))] for i, values in enumerate(lists)]
    kept = set()
    for group in [list(itertools.chain(*places))] if scope == "global" else places:
        count = len(group) - math.floor(Fraction(tenths, 10) * len(group))
        kept |= set(sorted(group, key=lambda place: -abs(lists[int(place[0])][place[1]]))[:count])
    masks = magnitude_masks(weights, tenths / 10, scope=scope)
    assert {(name, j) for name, mask in masks.items() for j in mask.nonzero().flatten().tolist()} == kept


@given(st.integers(0, 1000), st.sampled_from(["global", "layer"]))
def test_masks_shrink_and_count_from_dense(seed, scope):
    draw = torch.Generator().manual_seed(seed)
    shapes = {"a": (5, 7), "b": (3, 5), "c": (11,)}
    earlier = None
    for sparsity in (0.2, 0.5, 0.9):
        scores = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}  # they change each round
        masks = mask_by_scores(scores, sparsity, scope=scope, masks=earlier)
        if earlier:
            assert not any((masks[name] & ~earlier[name]).any() for name in masks)
        counts = {name: int(mask.sum()) for name, mask in masks.items()}
        if scope == "global":
            assert sum(counts.values()) == keep_count(61, sparsity)
        else:
            assert counts == {name: keep_count(math.prod(shape), sparsity) for name, shape in shapes.items()}
        earlier = masks


def test_removed_stays_removed_where_live_scores_are_minus_infinity():
    scores, earlier = torch.tensor([5.0, -math.inf, 2.0]), torch.tensor([False, True, True])
    masks = mask_by_scores({"w": scores}, 1 / 3, scope="global", masks={"w": earlier})
    assert masks["w"].tolist() == [False, True, True]


SMALL = {"a": (2, 2), "b": (4, 4)}
CONV = {"conv": (4, 2, 3, 3), "fc": (6, 12)}


@pytest.mark.parametrize(
    "shapes, share, kernel, expected",
    [
        (SMALL, 0.5, True, (10 / 12, 5 / 12)),  # c = 0.5 * 20 / (4 + 8)
        (SMALL, 0.8, True, (1, 12 / 16)),  # c = 4/3 would pass 1 in a: a is dense, b shares the other 12
        (SMALL, 1.0, True, (1, 1)),
        (CONV, 0.25, True, (0.2, 0.3)),  # c = 36 / (12 + 18)
        (CONV, 0.25, False, (0.375, 0.125)),  # c = 36 / (0.75 * 72 + 0.25 * 72)
    ],
)
def test_erk_by_hand(shapes, share, kernel, expected):
    assert tuple(erk_densities(shapes, share, kernel=kernel).values()) == pytest.approx(expected)


dims = st.integers(1, 40)
layers = st.lists(
    st.one_of(st.tuples(dims, dims), st.tuples(dims, dims, st.just(3), st.just(3))), min_size=1, max_size=6
)


@given(layers, st.floats(0.01, 1), st.booleans())
def test_erk_solves_the_budget(shape_list, share, kernel):
    """Independent: bisection for the c with sum size * min(1, c * raw) = density * sum size."""
    shapes = {str(i): shape for i, shape in enumerate(shape_list)}
    raw = [sum(used) / math.prod(used) for used in ((s if kernel else s[:2]) for s in shape_list)]
    sizes = [math.prod(shape) for shape in shape_list]

    def surplus(c):
        return sum(n * min(1, c * r) for n, r in zip(sizes, raw, strict=True)) - share * sum(sizes)

    c = optimize.bisect(surplus, 0, 2 / min(raw), xtol=1e-14)
    found = erk_densities(shapes, share, kernel=kernel)
    assert list(found.values()) == pytest.approx([min(1, c * r) for r in raw], abs=1e-6)


@given(layers, st.integers(0, 1000))
def test_random_masks_have_exact_counts(shape_list, seed):
    shapes = {str(i): shape for i, shape in enumerate(shape_list)}
    densities = {name: (1 + i) / 8 for i, name in enumerate(shapes)}
    masks = random_masks(shapes, densities, torch.Generator().manual_seed(seed))
    for i, (name, mask) in enumerate(masks.items()):
        assert mask.shape == shapes[name] and mask.dtype == torch.bool
        assert int(mask.sum()) == mask.numel() - math.floor(Fraction(7 - i, 8) * mask.numel())


def test_random_masks_are_uniform(generator):
    pairs = dict.fromkeys(itertools.combinations(range(6), 2), 0)
    for _ in range(3000):
        mask = random_masks({"w": (2, 3)}, {"w": 1 / 3}, generator)["w"]
        pairs[tuple(mask.flatten().nonzero().flatten().tolist())] += 1
    assert len(pairs) == 15 and stats.chisquare(list(pairs.values())).pvalue > 1e-3


def test_random_masks_follow_the_generator():
    first, again, other = (
        random_masks({"w": (9, 9)}, {"w": 0.5}, torch.Generator().manual_seed(s))["w"] for s in (0, 0, 1)
    )
    assert first.equal(again) and not first.equal(other)


@given(st.lists(st.lists(st.booleans(), max_size=9), max_size=3), st.integers(0, 99))
def test_shuffled_masks_keep_the_layer_counts(lists, seed):
    masks = {str(i): torch.tensor(values, dtype=torch.bool) for i, values in enumerate(lists)}
    shuffled = shuffled_masks(masks, torch.Generator().manual_seed(seed))
    assert {n: (int(m.sum()), m.shape) for n, m in shuffled.items()} == {
        n: (int(m.sum()), m.shape) for n, m in masks.items()
    }


def test_shuffled_masks_are_uniform_and_new_in_each_layer(generator):
    mask = torch.tensor([[True, True, False], [False, False, False]])
    pairs, equal = dict.fromkeys(itertools.combinations(range(6), 2), 0), 0
    for _ in range(3000):
        shuffled = shuffled_masks({"a": mask, "b": mask}, generator)
        pairs[tuple(shuffled["a"].flatten().nonzero().flatten().tolist())] += 1
        equal += shuffled["a"].equal(shuffled["b"])
    assert len(pairs) == 15 and stats.chisquare(list(pairs.values())).pvalue > 1e-3
    assert abs(equal - 200) < 70 and mask.sum() == 2


def test_masked_weights_become_plus_zero():
    layer = nn.Linear(5, 1)
    layer.weight.data = torch.tensor([[math.nan, -1.0, math.inf, -0.0, 2.0]])
    apply_masks(layer, {"weight": torch.tensor([[False, False, False, False, True]])})
    assert layer.weight.tolist() == [[0, 0, 0, 0, 2]] and not layer.weight.signbit().any()


def test_prunable_are_weights_of_linear_and_convolution():
    inner = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Embedding(2, 2))
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), inner, nn.Conv1d(1, 1, 1))
    assert list(prunable(net)) == ["0.weight", "2.0.weight", "3.weight"]
    assert all(weight is dict(net.named_parameters())[name] for name, weight in prunable(net).items())
    assert list(prunable(nn.Linear(2, 2))) == ["weight"]


def test_density_counts_entries_not_layers():
    assert density({"a": torch.tensor([True, False]), "b": torch.ones(6) > 0}) == 7 / 8
