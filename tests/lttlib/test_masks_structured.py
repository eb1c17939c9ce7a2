"""Structured masks: N:M, constant fan-in, whole units."""

import itertools
import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lttlib.masks import apply_masks, constant_fan_in_mask, nm_mask, prunable, unit_masks


def test_nm_by_hand():
    weight = torch.tensor([[1.0, -3, 2, 0], [4, 4, -4, 4]])
    assert nm_mask(weight, 2, 4).int().tolist() == [[0, 1, 1, 0], [1, 1, 0, 0]]
    assert nm_mask(weight, 1, 2).int().tolist() == [[0, 1, 1, 0], [1, 0, 1, 0]]


def largest(values: list[float], k: int) -> list[int]:
    """Independent choice: indices of the k largest |values|, the lowest index of ties."""
    return sorted(sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))[:k])


@given(st.sampled_from([(5, 8), (1, 4), (3, 12, 2, 3), (2, 4, 1, 1)]), st.integers(0, 4), st.integers(0, 1000))
def test_nm_runs_along_the_inputs(shape, n, seed):
    weight = torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).float()
    mask = nm_mask(weight, n, 4)
    assert mask.shape == weight.shape
    for out, *place in itertools.product(range(shape[0]), *(range(size) for size in shape[2:])):
        for start in range(0, shape[1], 4):
            cells = (out, slice(start, start + 4), *place)
            assert mask[cells].nonzero().flatten().tolist() == largest(weight[cells].tolist(), n)


@given(st.sampled_from([(5, 8), (4, 1), (3, 2, 2, 3)]), st.integers(0, 1000), st.data())
def test_constant_fan_in_keeps_k_per_output(shape, seed, data):
    k = data.draw(st.integers(0, math.prod(shape[1:])))
    weight = torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).float()
    mask = constant_fan_in_mask(weight, k)
    assert mask.shape == weight.shape
    for row, live in zip(weight.flatten(1), mask.flatten(1), strict=True):
        assert live.nonzero().flatten().tolist() == largest(row.tolist(), k)


def test_long_rows_of_ties_keep_the_lowest_indices():
    weight = torch.ones(2, 200)
    assert constant_fan_in_mask(weight, 7).equal(torch.arange(200).expand(2, 200) < 7)
    assert nm_mask(weight, 7, 100).equal(torch.arange(200).expand(2, 200) % 100 < 7)


def test_unit_masks_by_hand():
    weights = {"1": torch.ones(3, 2), "2": torch.ones(2, 3)}
    masks = unit_masks(weights, {"1": torch.tensor([0.2, 0.1, 0.3])}, 0.4)  # 1 of 3 units goes
    assert masks["1"].int().tolist() == [[1, 1], [0, 0], [1, 1]]
    assert masks["2"].int().tolist() == [[1, 0, 1], [1, 0, 1]]


def test_unit_masks_equal_a_smaller_network(generator):
    net = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    scores = {name: torch.rand(n, generator=generator) for name, n in (("0.weight", 6), ("2.weight", 5))}
    keep = (
        [torch.arange(3)]
        + [s.topk(k).indices for s, k in zip(scores.values(), (3, 3), strict=True)]
        + [torch.arange(2)]
    )
    x = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    small = x
    for i, layer in enumerate([net[0], net[2], net[4]]):
        small = nn.functional.linear(small, layer.weight[keep[i + 1]][:, keep[i]], layer.bias[keep[i + 1]])
        small = small.relu() if i < 2 else small
    apply_masks(net, unit_masks(prunable(net), scores, 0.5))
    torch.testing.assert_close(net(x), small)
