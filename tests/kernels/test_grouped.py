"""Sorting tokens by expert, and there and back: by hand, against loops over lists, on any number of threads."""

import numpy as np
import pytest
from drawn_layers import assert_one_line_error, few, whole_numbers
from hypothesis import given
from hypothesis import strategies as st
from lttkernels.grouped import (
    Sorted,
    gate_gradients,
    permute,
    reference_gate_gradients,
    reference_permute,
    reference_sort,
    reference_unpermute,
    sort_by_expert,
    unpermute,
)
from lttkernels.threads import set_threads

CHOSEN = np.array([[2, 0], [0, -1], [-1, -1], [0, 2]])  # expert 1 is chosen by nobody


def test_by_hand():
    """Pairs 1, 2 and 6 go to expert 0, pairs 0 and 7 to expert 2; pairs 3, 4 and 5 were dropped."""
    order, offsets, inverse = sort_by_expert(CHOSEN, 3)
    assert order.tolist() == [1, 2, 6, 0, 7] and offsets.tolist() == [0, 3, 3, 5]
    assert inverse.tolist() == [[3, 0], [1, -1], [-1, -1], [2, 4]]
    x = np.array([[1, 10], [2, 20], [3, 30], [4, 40]], np.float32)
    gates = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.float32)
    assert permute(x, order, 2).tolist() == [[1, 10], [2, 20], [4, 40], [1, 10], [4, 40]]
    assert permute(x, order, 2, gates).tolist() == [[2, 20], [6, 60], [28, 280], [1, 10], [32, 320]]
    y = np.array([[1, 0], [0, 1], [2, 0], [0, 3], [5, 5]], np.float32)
    assert unpermute(y, inverse).tolist() == [[1, 3], [0, 1], [0, 0], [7, 5]]
    assert unpermute(y, inverse, gates).tolist() == [[2, 3], [0, 3], [0, 0], [54, 40]]
    assert gate_gradients(x, y, inverse).tolist() == [[30, 1], [20, 0], [0, 0], [8, 220]]


def by_lists(chosen, experts: int) -> tuple[list, list]:
    """The pairs of each expert, one after the other, and how many each has."""
    found = [
        [(t, s) for t in range(len(chosen)) for s in range(chosen.shape[1]) if chosen[t, s] == e]
        for e in range(experts)
    ]
    return [pair for pairs in found for pair in pairs], [len(pairs) for pairs in found]


@st.composite
def cases(draw) -> dict:
    """Tokens from 0 on, k up to the number of experts and more, whole experts empty, everything on one, much dropped."""
    seed, tokens = draw(st.integers(0, 999)), draw(st.sampled_from([0, 1, 2, 3, 8, 17, 70]))
    experts, width = draw(st.sampled_from([1, 2, 5, 9])), draw(st.sampled_from([0, 1, 15, 16, 33]))
    k = draw(st.sampled_from([1, 2, 3]) | st.just(experts))
    rng = np.random.default_rng(seed)
    kind = draw(st.sampled_from(["any", "distinct", "one expert", "none"]))
    chosen = rng.integers(-1, experts, (tokens, k))
    if kind == "distinct" and k <= experts:
        chosen = rng.random((tokens, experts)).argsort(1)[:, :k]
    elif kind in ("one expert", "none"):
        chosen[...] = experts - 1 if kind == "one expert" else -1
    return {"rng": rng, "chosen": chosen.astype(draw(st.sampled_from([np.int64, np.int32]))), "experts": experts,
            "width": width, "threads": draw(st.sampled_from([1, 2]))}  # fmt: skip


@few
@given(cases())
def test_against_lists_and_the_references(case):
    """Whole numbers: every sum is exact."""
    rng, chosen, experts, width = case["rng"], case["chosen"], case["experts"], case["width"]
    set_threads(case["threads"])
    (tokens, k), (pairs, counts) = chosen.shape, by_lists(chosen, experts)
    found = sort_by_expert(chosen, experts)
    assert [(pair // k, pair % k) for pair in found.order.tolist()] == pairs
    assert np.diff(found.offsets).tolist() == counts and found.offsets[0] == 0
    for mine, other in zip(found, reference_sort(chosen, experts), strict=True):
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)
    x, gates, y = (whole_numbers(rng, shape) for shape in ((tokens, width), (tokens, k), (len(pairs), width)))
    grad = whole_numbers(rng, (tokens, width))
    for weights in (None, gates):
        factor = np.ones((tokens, k)) if weights is None else weights
        wanted = np.zeros((len(pairs), width))
        back, products = np.zeros((tokens, width)), np.zeros((tokens, k))
        for row, (t, s) in enumerate(pairs):
            wanted[row] = factor[t, s] * x[t]
            back[t] += factor[t, s] * y[row]
            products[t, s] = (grad[t] * y[row]).sum()
        rows = permute(x, found.order, k, weights)
        answer = unpermute(y, found.inverse, weights)
        by_gates = gate_gradients(grad, y, found.inverse)
        for mine, loops, reference in (
            (rows, wanted, reference_permute(x, found.order, k, weights)),
            (answer, back, reference_unpermute(y, found.inverse, weights)),
            (by_gates, products, reference_gate_gradients(grad, y, found.inverse)),
        ):
            assert mine.dtype == np.float32
            np.testing.assert_array_equal(mine, loops)
            np.testing.assert_array_equal(reference, loops)


def test_each_is_the_gradient_of_the_other(rng):
    """<permute(x), y> = <x, unpermute(y)>, and both are linear in the gates."""
    chosen = rng.integers(-1, 5, (40, 3))
    order, _, inverse = sort_by_expert(chosen, 5)
    x, y, gates = (whole_numbers(rng, shape).astype(np.float32) for shape in ((40, 8), (len(order), 8), (40, 3)))
    forward, back = permute(x, order, 3, gates), unpermute(y, inverse, gates)
    assert (forward * y).sum() == (x * back).sum() == (gates * gate_gradients(x, y, inverse)).sum()


def test_the_number_of_threads_changes_no_bit(rng):
    chosen = rng.integers(-1, 7, (301, 3))
    order, _, inverse = sort_by_expert(chosen, 7)
    x, y, gates = (rng.standard_normal(shape).astype(np.float32) for shape in ((301, 50), (len(order), 50), (301, 3)))
    answers = []
    for threads in (1, 2):
        set_threads(threads)
        answers.append((permute(x, order, 3, gates), unpermute(y, inverse, gates), gate_gradients(x, y, inverse)))
    for alone, together in zip(*answers, strict=True):
        np.testing.assert_array_equal(alone, together)


def test_a_dropped_pair_counts_for_nothing_whatever_its_gate(rng):
    order, _, inverse = sort_by_expert(CHOSEN, 3)
    gates = np.where(CHOSEN < 0, np.nan, 1).astype(np.float32)
    y = whole_numbers(rng, (5, 20))
    np.testing.assert_array_equal(unpermute(y, inverse, gates), reference_unpermute(y, inverse))
    assert not unpermute(y, inverse, gates)[2].any()
    x = whole_numbers(rng, (4, 20))
    x[2] = np.nan
    assert np.isfinite(permute(x, order, 2, gates)).all()
    assert gate_gradients(x, y, inverse)[2].tolist() == [0, 0]


def test_into_given_memory_and_a_part_of_the_rows(rng):
    order, offsets, inverse = sort_by_expert(CHOSEN, 3)
    x, y = whole_numbers(rng, (4, 6)), whole_numbers(rng, (5, 6))
    out = np.full((2, 6), np.nan, np.float32)
    assert permute(x, order[offsets[2] :], 2, out=out) is out
    np.testing.assert_array_equal(out, x[[0, 3]])
    out, gates = np.full((4, 6), np.nan, np.float32), np.full((4, 2), np.nan, np.float32)
    assert unpermute(y, inverse, out=out) is out and gate_gradients(x, y, inverse, out=gates) is gates
    np.testing.assert_array_equal(out, reference_unpermute(y, inverse))
    np.testing.assert_array_equal(gates, reference_gate_gradients(x, y, inverse))


ORDER, _, INVERSE = sort_by_expert(CHOSEN, 3)
X, Y, GATES = np.ones((4, 6), np.float32), np.ones((5, 6), np.float32), np.ones((4, 2), np.float32)
FROZEN = np.ones((5, 6), np.float32)
FROZEN.flags.writeable = False


@pytest.mark.parametrize("call, words, error", [
    (lambda: sort_by_expert(CHOSEN, 0), ("experts = 0", "1 or more"), ValueError),
    (lambda: sort_by_expert(CHOSEN, 2), ("chosen = an array with the entry 2", "-1 to 1"), ValueError),
    (lambda: sort_by_expert(CHOSEN - 1, 3), ("chosen = an array with the entry -2", "-1 to 2"), ValueError),
    (lambda: sort_by_expert(CHOSEN.astype(float), 3), ("chosen.dtype = float64", "int64 or int32"), TypeError),
    (lambda: sort_by_expert(CHOSEN.tolist(), 3), ("chosen.dtype = None", "int64"), TypeError),
    (lambda: sort_by_expert(CHOSEN[0], 3), ("chosen.shape = (2,)", "(any, any)"), ValueError),
    (lambda: sort_by_expert(CHOSEN.T, 3), ("chosen.strides", "C-contiguous"), ValueError),
    (lambda: permute(X, ORDER, 0), ("k = 0", "1 or more"), ValueError),
    (lambda: permute(X, ORDER, 1), ("order = an array from 0 to 7", "0 to 3"), ValueError),
    (lambda: permute(X, ORDER - 1, 2), ("order = an array from -1 to 6", "0 to 7"), ValueError),
    (lambda: permute(X, ORDER.astype(np.int64), 2), ("order.dtype = int64", "int32"), TypeError),
    (lambda: permute(X.astype(float), ORDER, 2), ("x.dtype = float64", "float32"), TypeError),
    (lambda: permute(X, ORDER, 2, GATES[:3]), ("gates.shape = (3, 2)", "(4, 2)"), ValueError),
    (lambda: permute(X, ORDER, 2, GATES.astype(float)), ("gates.dtype = float64",), TypeError),
    (lambda: permute(X, ORDER, 2, out=X), ("out.shape = (4, 6)", "(5, 6)"), ValueError),
    (lambda: permute(X, ORDER, 2, out=FROZEN), ("out = a read-only array",), ValueError),
    (lambda: unpermute(Y[:4], INVERSE), ("inverse = an array from -1 to 4", "-1 to 3"), ValueError),
    (lambda: unpermute(Y[:4], INVERSE[::-1].copy()), ("inverse = an array from -1 to 4", "-1 to 3"), ValueError),
    (lambda: unpermute(Y, INVERSE - 1), ("inverse = an array from -2 to 3", "-1 to 4"), ValueError),
    (lambda: unpermute(Y, INVERSE, GATES.T.copy()), ("gates.shape = (2, 4)", "(4, 2)"), ValueError),
    (lambda: unpermute(Y, INVERSE.astype(np.int64)), ("inverse.dtype = int64", "int32"), TypeError),
    (lambda: unpermute(Y, INVERSE, out=Y), ("out.shape = (5, 6)", "(4, 6)"), ValueError),
    (lambda: gate_gradients(Y, Y, INVERSE), ("grad.shape = (5, 6)", "(4, 6)"), ValueError),
    (lambda: gate_gradients(X, Y[:2], INVERSE), ("inverse = an array from -1 to 4", "-1 to 1"), ValueError),
    (lambda: gate_gradients(X, Y, INVERSE, out=X), ("out.shape = (4, 6)", "(4, 2)"), ValueError),
])  # fmt: skip
def test_wrong_arguments_are_named(call, words, error):
    assert_one_line_error(call, *words, error=error)


def test_too_many_pairs_for_the_type_of_a_place():
    chosen = np.broadcast_to(np.int32(0), (2**20, 2**11))
    assert_one_line_error(lambda: sort_by_expert(chosen, 1), "chosen.shape = (1048576, 2048)", "fewer than 2**31")


def test_the_answer_has_names():
    assert isinstance(sort_by_expert(CHOSEN, 3), Sorted)
