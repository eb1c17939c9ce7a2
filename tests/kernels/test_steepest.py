"""What may grow: candidates and choices against full sorts, rows of all kinds; the walks over increasing lists."""

import numpy as np
import pytest
from drawn_layers import few
from hypothesis import given
from hypothesis import strategies as st
from lttkernels.steepest import carry, merged, set_aside, steepest_in_rows, where_before
from lttkernels.threads import set_threads


def rows_of_all_kinds(draw, rows, columns):
    """Even rows, rows with a long tail, rows with few entries, rows of zeros, rows of ties."""
    block = np.abs(draw.standard_normal((rows, columns))).astype(np.float32)
    kind = draw.integers(0, 5, rows)
    block[kind == 1] **= 8
    block[kind == 2] *= draw.random((int((kind == 2).sum()), columns)) < 0.05
    block[kind == 3] = 0
    block[kind == 4] = draw.integers(0, 3, (int((kind == 4).sum()), columns))
    return block


def aside(block, per_row, least):
    rows = len(block)
    sizes, places, starts = (
        np.empty(block.size, np.float32),
        np.empty(block.size, np.int64),
        np.empty(rows + 1, np.int64),
    )
    filled, _ = set_aside(block, per_row, np.float32(least), np.float32(2), 0, sizes, places, starts, 0)
    starts[-1] = filled
    return sizes[:filled], places[:filled], starts


@few
@given(st.integers(1, 40), st.integers(1, 60), st.floats(0, 1), st.floats(0, 4), st.integers(0, 999))
def test_candidates_are_the_largest_of_each_row_and_all_above_the_threshold(rows, columns, share, least, seed):
    draw = np.random.default_rng(seed)
    block, per_row = rows_of_all_kinds(draw, rows, columns), max(1, int(share * columns))
    sizes, places, starts = aside(block, per_row, least)
    assert (np.diff(places) > 0).all() and (block.reshape(-1)[places] == sizes).all()
    assert (block > least).sum() == (sizes > least).sum()
    for r in range(rows):
        found = places[starts[r] : starts[r + 1]] - r * columns
        order = np.argsort(-block[r], kind="stable")  # ties: the lowest place
        assert len(found) >= per_row and set(order[:per_row]) <= set(found)


def test_rows_that_are_alike_get_few_candidates():
    draw = np.random.default_rng(0)
    block = np.abs(draw.standard_normal((400, 1000))).astype(np.float32)
    block[::5] = 0  # neurons that no sample reaches must not spoil the guess for the others
    assert len(aside(block, 30, np.inf)[0]) < 400 * 30 * 1.5


@few
@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 2), st.integers(0, 999))
def test_steepest_outside_what_stays(rows, columns, threads, seed):
    draw = np.random.default_rng(seed)
    block = rows_of_all_kinds(draw, rows, columns)
    sizes, places, starts = aside(block, int(draw.integers(1, columns + 1)), draw.random() * 3)
    stays = draw.random(block.shape) < 0.3
    wanted = draw.integers(0, columns - stays.sum(1) + 1)
    slots, short = np.cumsum(wanted) - wanted, np.zeros(rows, bool)
    found = np.full(wanted.sum(), -1)
    set_threads(threads)
    steepest_in_rows(sizes, places, starts, wanted, slots, np.flatnonzero(stays), found, short)
    set_threads(1)
    for r in range(rows):
        mine, left = (
            found[slots[r] : slots[r] + wanted[r]],
            np.setdiff1d(places[starts[r] : starts[r + 1]], np.flatnonzero(stays)),
        )
        assert short[r] == (len(left) < wanted[r])
        order = np.argsort(-np.where(stays[r], -1, block[r]), kind="stable")[: wanted[r]]
        assert (mine == -1).all() if short[r] else mine.tolist() == (np.sort(order) + r * columns).tolist()


@few
@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_walks_over_increasing_lists(first, second):
    second_only = np.array(sorted(second - first), np.int64)
    a, b = np.array(sorted(first), np.int64), np.array(sorted(second), np.int64)
    assert merged(a, second_only).tolist() == merged(second_only, a).tolist() == sorted(first | second)
    assert where_before(a, b).tolist() == [a.tolist().index(entry) if entry in first else -1 for entry in b]


@pytest.mark.parametrize(
    "source, expected", [([2, -1, 0], [30, 0, 10, 0]), ([], [0, 0, 0, 0]), ([3, 2, 1, 0], [40, 30, 20, 10])]
)
def test_carry_by_hand(source, expected):
    flat = np.array([10, 20, 30, 40], np.float32)
    carry(flat, np.array(source, np.int64))
    assert flat.tolist() == expected
