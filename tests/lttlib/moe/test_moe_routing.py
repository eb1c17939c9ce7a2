"""Dispatch and expert choice: tables by hand, against queues filled one by one, gates, gradients, errors."""

import math
from functools import partial

import moe_by_loops
import pytest
import torch
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st

from lttlib.moe import dispatch, expert_choice
from lttlib.moe.routing import PRIORITIES, choose, expert_capacity, queue

FOUR = torch.tensor([[0.5, 0.4, 0.1], [0.28, 0.6, 0.12], [0.1, 0.7, 0.2], [0.15, 0.8, 0.05]], dtype=torch.float64).log()
SIX = torch.tensor(
    [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]]
).log()


@pytest.mark.parametrize(
    "priority, positions, kept, gates",
    [
        (
            "slot",
            [[0, 3], [0, 1], [1, 0], [2, 2]],
            [[1, 0], [1, 1], [1, 1], [0, 0]],
            [[0.5, 0], [0.6, 0.28], [0.7, 0.2], [0, 0]],
        ),
        (
            "token",
            [[0, 0], [1, 1], [2, 0], [3, 2]],
            [[1, 1], [1, 1], [0, 1], [0, 0]],
            [[0.5, 0.4], [0.6, 0.28], [0, 0.2], [0, 0]],
        ),
        (
            "batch",
            [[0, 3], [2, 2], [1, 0], [0, 1]],
            [[1, 0], [0, 0], [1, 1], [1, 1]],
            [[0.5, 0], [0, 0], [0.7, 0.2], [0.8, 0.15]],
        ),
    ],
)
def test_dispatch_by_hand(priority, positions, kept, gates):
    """Tokens 0 to 3 choose 0 1, 1 0, 1 2, 1 0; C = .75 * 2 * 4 / 3 = 2.

    slot: 0 serves tokens 0, 1 and drops 3; 1 serves 1, 2 and drops 3, then 0; 2 serves 2.
    token: 0 serves 0, 1 and drops 3; 1 serves 0, 1 and drops 2, 3; 2 serves 2.
    batch: largest probabilities .5 .6 .7 .8, so 3, 2, 1, 0: 1 serves 3, 2, drops 1, then 0; 0 serves 0, 3, drops 1.
    """
    found = dispatch(FOUR, 2, capacity_factor=0.75, priority=priority)
    assert found.capacity == 2 and found.experts == 3
    assert found.chosen.tolist() == [[0, 1], [1, 0], [1, 2], [1, 0]]
    assert found.positions.tolist() == positions and found.kept.int().tolist() == kept
    assert found.gates.allclose(torch.tensor(gates, dtype=torch.float64), atol=1e-12)
    assert found.load.tolist() == pytest.approx([3 / 8, 4 / 8, 1 / 8])
    assert found.served.tolist() == [any(row) for row in kept]


def test_slot_is_the_default():
    assert dispatch(FOUR, 2, capacity_factor=0.75).positions.tolist() == [[0, 3], [0, 1], [1, 0], [2, 2]]


def test_softmax_after_selection_by_hand():
    """.5 .4 become 5/9 4/9; .6 .28: 15/22 7/22; .7 .2: 7/9 2/9; .8 .15: 16/19 3/19; dropped gates are lost."""
    gates = torch.tensor([[5 / 9, 4 / 9], [15 / 22, 7 / 22], [7 / 9, 2 / 9], [16 / 19, 3 / 19]], dtype=torch.float64)
    found = dispatch(FOUR, 2, capacity_factor=None, softmax="after")
    assert found.gates.allclose(gates, atol=1e-12) and found.kept.all()
    tight = dispatch(FOUR, 2, capacity_factor=0.75, softmax="after")
    assert tight.gates.equal(found.gates * tight.kept) and not tight.gates[3].any()
    assert dispatch(FOUR, 1, capacity_factor=None, softmax="after").gates.tolist() == [[1.0]] * 4


@pytest.mark.parametrize(
    "factor, priority, dropped",
    [(1, "slot", [2, 3]), (1, "token", [2, 3]), (1, "batch", [1, 2]), (1.5, "slot", [3]), (1.5, "batch", [2]),
     (2, "slot", [])],
)  # fmt: skip
def test_six_tokens_by_hand(factor, priority, dropped):
    """Tokens 0 to 3 ask expert 0, which has 2, 3 or 4 places; by certainty they are 3, 0, 1, 2."""
    found = dispatch(SIX, 1, capacity_factor=factor, priority=priority)
    assert found.capacity == 2 * factor and (~found.kept[:, 0]).nonzero().flatten().tolist() == dropped


@pytest.mark.parametrize(
    "tokens, k, experts, factor, expected",
    [(4, 2, 3, 0.75, 2), (1024, 2, 8, 1.25, 320), (5, 1, 4, 1, 2), (4, 1, 4, 1, 1), (100, 1, 10, 1.1, 11),
     (1, 1, 64, 1, 1), (7, 3, 2, 0, 0), (7, 3, 2, 1e-3, 1), (1000, 1, 1000, 0.3, 1)],
)  # fmt: skip
def test_capacity_by_hand(tokens, k, experts, factor, expected):
    """Always up: 1.25 becomes 2, 1 / 64 becomes 1; but 1.1 * 100 / 10 = 11.000000000000002 stays 11."""
    assert expert_capacity(tokens, k, experts, factor) == expected


@st.composite
def drawn_cases(draw):
    """Logits with ties, but for "batch", whose order would hang on the last bit of two equal probabilities."""
    tokens, experts, priority = draw(st.integers(1, 9)), draw(st.integers(1, 5)), draw(st.sampled_from(PRIORITIES))
    if priority == "batch":
        generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
        logits = torch.randn(tokens, experts, generator=generator, dtype=torch.float64)
    else:
        numbers = draw(st.lists(st.integers(-2, 2), min_size=tokens * experts, max_size=tokens * experts))
        logits = torch.tensor(numbers, dtype=torch.float64).view(tokens, experts)
    factor = draw(st.sampled_from([None, 0, 0.3, 0.5, 1, 1.25, 2.0, 100]))
    return logits, draw(st.integers(1, experts)), factor, priority, draw(st.sampled_from(["before", "after"]))


@given(drawn_cases())
def test_dispatch_against_queues(case):
    logits, k, factor, priority, softmax = case
    found = dispatch(logits, k, capacity_factor=factor, priority=priority, softmax=softmax)
    (tokens, experts), lists = logits.shape, logits.tolist()
    chosen, gates = moe_by_loops.choices(lists, k, softmax)
    scores = [max(moe_by_loops.probabilities(row)) for row in lists]
    places = moe_by_loops.places(chosen, experts, priority, scores)
    capacity = tokens if factor is None else math.ceil(round(factor * k * tokens / experts, 6))
    assert found.capacity == capacity and found.chosen.tolist() == chosen and found.positions.tolist() == places
    assert found.kept.tolist() == [[place < capacity for place in row] for row in places]
    expected = torch.tensor(gates, dtype=torch.float64) * found.kept
    assert found.gates.allclose(expected, atol=1e-12) and not found.gates[~found.kept].any()


@given(drawn_cases())
def test_pairs_are_the_kept_choices_expert_by_expert(case):
    logits, k, factor, priority, softmax = case
    found = dispatch(logits, k, capacity_factor=factor, priority=priority, softmax=softmax)
    rows = zip(found.chosen.tolist(), found.gates.tolist(), found.kept.tolist(), strict=True)
    wanted = sorted((e, t, gate) for t, row in enumerate(rows) for e, gate, kept in zip(*row, strict=True) if kept)
    pairs = found.pairs()
    assert pairs.counts.tolist() == [sum(e == i for e, _, _ in wanted) for i in range(logits.shape[1])]
    assert pairs.tokens.tolist() == [t for _, t, _ in wanted]
    assert pairs.gates.tolist() == [gate for _, _, gate in wanted]


@given(drawn_cases())
def test_all_priorities_drop_the_same_numbers(case):
    logits, k, factor, _, _ = case
    found = [dispatch(logits, k, capacity_factor=factor, priority=priority) for priority in PRIORITIES]
    counts = [one.pairs().counts.tolist() for one in found]
    asked = torch.bincount(found[0].chosen.flatten(), minlength=logits.shape[1]).tolist()
    assert counts == [[min(number, found[0].capacity) for number in asked]] * 3


@given(drawn_cases())
def test_sums_of_gates(case):
    logits, k, _, _, softmax = case
    gates = dispatch(logits, k, capacity_factor=None, softmax=softmax).gates
    total = gates.sum(1)
    assert (gates.diff(dim=1) <= 1e-12).all() and (total <= 1 + 1e-12).all()
    if softmax == "after" or k == logits.shape[1]:
        assert total.allclose(torch.ones_like(total), atol=1e-12)


def test_both_softmaxes_agree_once_divided_by_the_sum(generator):
    logits = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    before, after = (choose(logits, 3, softmax=when)[1] for when in ("before", "after"))
    assert (before / before.sum(1, keepdim=True)).allclose(after, atol=1e-14) and (before.sum(1) < 0.99).any()


@pytest.mark.parametrize("softmax", ["before", "after"])
def test_gradients_of_gates(softmax, generator):
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    run = partial(dispatch, k=2, capacity_factor=0.75, softmax=softmax)
    kept = run(logits).kept
    assert 0 < kept.sum() < kept.numel()
    assert torch.autograd.gradcheck(lambda x: run(x).gates, logits)
    (run(logits).gates * ~kept).sum().backward()
    assert not logits.grad.any()


def test_expert_choice_by_hand():
    """Columns (.5 .28 .1 .15), (.4 .6 .7 .8), (.1 .12 .2 .05), C = ceil(4 / 3) = 2; C = 1 leaves token 1 out."""
    found = expert_choice(FOUR, capacity_factor=1)
    assert found.tokens.tolist() == [[0, 1], [3, 2], [2, 1]] and found.capacity == 2
    gates = torch.tensor([[0.5, 0.28], [0.8, 0.7], [0.2, 0.12]], dtype=torch.float64)
    assert found.gates.allclose(gates, atol=1e-12) and found.served.all()
    pairs = found.pairs()
    assert pairs.tokens.tolist() == [0, 1, 2, 3, 1, 2] and pairs.counts.tolist() == [2, 2, 2]
    assert pairs.gates.tolist() == pytest.approx([0.5, 0.28, 0.7, 0.8, 0.12, 0.2])
    few = expert_choice(FOUR, capacity_factor=0.5)
    assert few.tokens.tolist() == [[0], [3], [2]] and few.served.tolist() == [True, False, True, True]
    assert found.load.tolist() == pytest.approx([1 / 3] * 3)


@given(drawn_cases(), st.integers(-50, 50))
def test_expert_choice_against_loops(case, shift):
    """Tokens compete by probability: a shift of all logits of one token changes nothing."""
    logits, _, factor, _, _ = case
    logits = logits + torch.randn(logits.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = expert_choice(logits, capacity_factor=factor or 0)
    (tokens, experts), rows = logits.shape, [moe_by_loops.probabilities(row) for row in logits.tolist()]
    capacity = min(tokens, math.ceil(round((factor or 0) * tokens / experts, 6)))
    best = [sorted(range(tokens), key=lambda t: -rows[t][e])[:capacity] for e in range(experts)]
    if experts > 1:
        assert found.tokens.tolist() == best
    gates = [[rows[t][e] for t in best[e]] for e in range(experts)]
    assert found.gates.allclose(torch.tensor(gates, dtype=torch.float64).view(experts, capacity), atol=1e-12)
    assert found.served.tolist() == [any(t in row for row in found.tokens.tolist()) for t in range(tokens)]
    moved = logits.clone()
    moved[0] += shift
    if experts > 1:
        assert expert_choice(moved, capacity_factor=factor or 0).tokens.equal(found.tokens)


def test_gradients_of_expert_choice(generator):
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: expert_choice(x, capacity_factor=1.5).gates, logits)


def test_edges():
    """One token, one expert, all experts chosen, all tokens to one expert, no places, ties."""
    one = dispatch(torch.tensor([[3.0]]), 1, capacity_factor=1)
    assert one.gates.tolist() == [[1.0]] and one.kept.all() and one.capacity == 1
    every = dispatch(torch.zeros(2, 3), 3, capacity_factor=1)
    assert every.kept.all() and every.chosen.tolist() == [[0, 1, 2]] * 2 and every.gates.allclose(torch.tensor(1 / 3))
    crowd = dispatch(torch.tensor([[5.0, 0, 0]] * 7), 1, capacity_factor=1)
    assert crowd.capacity == 3 and crowd.kept[:, 0].tolist() == [True] * 3 + [False] * 4
    none = dispatch(FOUR, 2, capacity_factor=0)
    assert none.capacity == 0 and not none.kept.any() and not none.gates.any() and none.pairs().tokens.numel() == 0
    nobody = expert_choice(FOUR, capacity_factor=0)
    assert nobody.tokens.shape == (3, 0) and not nobody.served.any() and nobody.pairs().counts.tolist() == [0, 0, 0]
    all_of_them = expert_choice(torch.zeros(3, 2), capacity_factor=9)
    assert all_of_them.tokens.tolist() == [[0, 1, 2]] * 2 and all_of_them.capacity == 3


def test_what_waits_for_later_tokens():
    """Only the last token changes its mind, from expert 1 to expert 0: may anything change for the tokens before it?

    Two tokens, C = 1. Token 0 asks 1, then 0. By slot, its second choice waits for the first choice of token 1.
    """
    before = torch.tensor([[0.3, 0.6, 0.1], [0.1, 0.2, 0.7]]).log()
    after = torch.tensor([[0.3, 0.6, 0.1], [0.9, 0.06, 0.04]]).log()
    changed = {}
    for priority in PRIORITIES:
        kept = [dispatch(x, 2, capacity_factor=0.75, priority=priority).kept[0].tolist() for x in (before, after)]
        changed[priority] = kept[0] != kept[1]
    assert changed == {"slot": True, "token": False, "batch": True}
    surer = torch.tensor([[0.6, 0.3, 0.1], [0.9, 0.06, 0.04]]).log()
    first = {p: dispatch(surer, 1, capacity_factor=1.5, priority=p).kept[0].item() for p in PRIORITIES}
    assert first == {"slot": True, "token": True, "batch": False}


@given(drawn_cases())
def test_token_priority_never_looks_ahead(case):
    logits, k, _, _, _ = case
    full = dispatch(logits, k, capacity_factor=None, priority="token")
    for t in range(1, len(logits)):
        part = dispatch(logits[:t], k, capacity_factor=None, priority="token")
        assert part.positions.equal(full.positions[:t])


@given(drawn_cases())
def test_names_of_experts_play_no_part(case):
    logits, k, factor, priority, _ = case
    logits = torch.randn(logits.shape, generator=torch.Generator().manual_seed(len(logits)))
    order = torch.randperm(logits.shape[1], generator=torch.Generator().manual_seed(k))
    one, other = (dispatch(x, k, capacity_factor=factor, priority=priority) for x in (logits, logits[:, order]))
    assert order[other.chosen].equal(one.chosen) and other.kept.equal(one.kept)
    assert other.gates.allclose(one.gates) and other.positions.equal(one.positions)


def test_scores_say_who_is_first():
    chosen, gates = torch.tensor([[0], [0], [0]]), torch.tensor([[0.2], [0.9], [0.5]])
    by_gate = queue(chosen, gates, 1, capacity_factor=1, priority="batch")
    by_score = queue(chosen, gates, 1, capacity_factor=1, priority="batch", scores=torch.tensor([2.0, 1, 2]))
    assert by_gate.positions.flatten().tolist() == [2, 0, 1] and by_score.positions.flatten().tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: dispatch(FOUR, 4, capacity_factor=1), ("k", "4", "from 1 to 3")),
        (lambda: dispatch(FOUR, 0, capacity_factor=1), ("k", "0", "from 1 to 3")),
        (lambda: dispatch(FOUR, 1, capacity_factor=-1), ("capacity_factor", "-1", "0 or more", "drops nothing")),
        (lambda: dispatch(FOUR, 1, capacity_factor=math.inf), ("capacity_factor", "inf", "None")),
        (lambda: dispatch(FOUR, 1, capacity_factor=math.nan), ("capacity_factor", "nan")),
        (lambda: dispatch(FOUR, 1, capacity_factor=True), ("capacity_factor", "True", "a number")),
        (lambda: dispatch(FOUR, 1, capacity_factor="1"), ("capacity_factor", "1", "a number")),
        (lambda: dispatch(FOUR, 1, capacity_factor=1, priority="first"), ("priority", "'first'", "'slot', 'token'")),
        (lambda: dispatch(FOUR, 1, capacity_factor=1, softmax="none"), ("softmax", "'none'", "'before', 'after'")),
        (lambda: dispatch(FOUR[None], 1, capacity_factor=1), ("logits.shape", "(1, 4, 3)", "flatten")),
        (lambda: dispatch(FOUR[:, :0], 1, capacity_factor=1), ("logits.shape", "(4, 0)", "1 or more")),
        (lambda: dispatch(FOUR * math.nan, 1, capacity_factor=1), ("logits", "12 NaN", "diverge")),
        (lambda: expert_choice(FOUR, capacity_factor=None), ("capacity_factor", "None", "a number")),
        (lambda: expert_choice(FOUR[0], capacity_factor=1), ("logits.shape", "(3,)", "flatten")),
    ],
    ids=case_name,
)
def test_value_errors(call, words):
    assert_one_line_error(call, *words)


def test_type_errors():
    assert_one_line_error(lambda: dispatch(FOUR.long(), 1, capacity_factor=1), "logits.dtype", "int64", error=TypeError)
