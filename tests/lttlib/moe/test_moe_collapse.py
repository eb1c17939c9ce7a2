"""How alike tokens are, and who takes whom: by hand, by sums over pairs, by eigenvalues, by trying all; bad input."""

from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lttlib.moe.collapse import effective_dimensions, matching, share_between_experts


@pytest.mark.parametrize(
    "x, expert, expected",  # by hand
    [
        ([[0.0], [0.0], [4.0], [4.0]], [0, 0, 1, 1], 1.0),  # a point for each expert
        ([[0.0], [4.0], [0.0], [4.0]], [0, 0, 1, 1], 0.0),  # the same tokens for both
        ([[0.0], [2.0], [2.0], [4.0]], [0, 0, 1, 1], 0.5),  # means 1 and 3 around 2: 4 of 8
        ([[0.0], [2.0], [4.0], [6.0]], [3, 3, 3, 0], 12 / 20),  # means 2 and 6 around 3: 3 + 9 of 20; two idle experts
        ([[1.0], [1.0], [1.0]], [0, 1, 2], 0.0),  # no variance at all
    ],
)
def test_share_by_hand(x, expert, expected):
    assert share_between_experts(torch.tensor(x), torch.tensor(expert)) == pytest.approx(expected)


@given(st.integers(0, 1000), st.integers(2, 12), st.integers(1, 4), st.integers(1, 5))
def test_share_by_pairs_of_tokens(seed, tokens, features, experts):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, features, generator=draw)
    expert = torch.randint(experts, (tokens,), generator=draw)
    apart = torch.cdist(x.double(), x.double()).square()
    same = expert[:, None] == expert
    within = sum(apart[expert == e][:, expert == e].sum() / (2 * (expert == e).sum()) for e in expert.unique())
    whole = apart.sum() / (2 * tokens)
    assert same.any()
    assert share_between_experts(x, expert) == pytest.approx(float(1 - within / whole), abs=1e-9)


def test_dimensions_by_hand():
    cross = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    assert effective_dimensions(cross) == pytest.approx(2)
    assert effective_dimensions(cross * torch.tensor([3.0, 0, 0])) == pytest.approx(1)
    assert effective_dimensions(cross * torch.tensor([2.0, 1, 1])) == pytest.approx(25 / 17)  # variances 4 to 1
    assert effective_dimensions(torch.ones(5, 3)) == 0


@given(st.integers(0, 1000), st.integers(3, 20), st.integers(1, 6))
def test_dimensions_by_singular_values(seed, tokens, features):
    x = torch.randn(tokens, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    variances = torch.linalg.svdvals(x - x.mean(0)).square()
    expected = variances.sum() ** 2 / variances.square().sum()
    assert effective_dimensions(x + 7) == pytest.approx(float(expected))


def test_matching_by_hand():
    assert matching(torch.tensor([[0.1, 0.9], [1.0, 0.0]])) == ([1, 0], pytest.approx(0.95))
    assert matching(torch.tensor([[1.0, 0, 0], [1.0, 0, 0]]))[1] == pytest.approx(0.5)  # one expert for all
    assert matching(torch.full((4, 4), 0.25))[1] == pytest.approx(0.25)


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(0, 2))
def test_matching_by_trying_all(seed, kinds, more):
    who = torch.rand(kinds, kinds + more, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    best = max(sum(who[row, column].item() for row, column in enumerate(order)) / kinds
               for order in permutations(range(kinds + more), kinds))  # fmt: skip
    experts, share = matching(who)
    assert len(set(experts)) == kinds
    assert share == pytest.approx(best)
    assert share == pytest.approx(sum(who[row, column].item() for row, column in enumerate(experts)) / kinds)


def test_bad_input_is_answered():
    for x in (torch.zeros(3), torch.zeros(1, 4), torch.zeros(3, 0)):
        with pytest.raises(ValueError, match=r"x\.shape"):
            effective_dimensions(x)
    with pytest.raises(ValueError, match="finite"):
        effective_dimensions(torch.tensor([[0.0], [float("nan")]]))
    with pytest.raises(ValueError, match=r"expert\.shape"):
        share_between_experts(torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"who\.shape"):
        matching(torch.zeros(3, 2))
