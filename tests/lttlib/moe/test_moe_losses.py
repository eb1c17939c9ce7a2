"""Balance loss in four conventions and z-loss: tables by hand, against loops, gradients, errors."""

import math

import moe_by_loops
import pytest
import torch
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st

from lttlib.moe import at_balance, effective_experts, load_balance_loss, z_loss
from lttlib.moe.losses import CONVENTIONS, balance_of

SIX = torch.tensor(
    [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]],
    dtype=torch.float64,
).log()


@pytest.mark.parametrize(
    "k, switch, total, mean, square",
    [(1, 1.275, 1.275, 1.275, 1.275), (2, 1.275, 59 / 24, 59 / 48, 59 / 96), (3, 1.275, 3, 1, 1 / 3)],
)
def test_balance_by_hand(k, switch, total, mean, square):
    """Columns of the six tokens sum to 3.1, 2, .9, so 6 P = (3.1, 2, .9).

    First choices: experts 0 0 0 0 1 2, counts (4, 1, 1): 3 (4 * 3.1 + 2 + .9) / 36 = 15.3 / 12 = 1.275.
    Second choices: 1 1 1, then .1 and .1, a tie that expert 1 wins, 0, then .3 and .3, which 0 wins: both counts
    (6, 5, 1), and 3 (18.6 + 10 + .9) / 36 = 29.5 / 12 = 59 / 24, its half and its quarter.
    All three: counts (6, 6, 6): 3 * sum of P = 3.
    """
    found = [load_balance_loss(SIX, k, convention=name).item() for name in ("switch", "sum", "mean", "square")]
    assert found == pytest.approx([switch, total, mean, square], abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_values_at_balance(k):
    """Four tokens, each the one before it shifted by one expert: f and P are the same for all."""
    row = torch.tensor([2.0, 0.5, -1.0, 0.25], dtype=torch.float64)
    logits = torch.stack([row.roll(i) for i in range(4)])
    expected = {"switch": 1, "sum": k, "mean": 1, "square": 1 / k}
    for name, value in expected.items():
        assert load_balance_loss(logits, k, convention=name).item() == pytest.approx(value, abs=1e-12)
        assert at_balance(k, convention=name) == value
        flat = torch.zeros(5, 4)  # P alone is even: all tokens choose the first experts
        assert load_balance_loss(flat, k, convention=name).item() == pytest.approx(value, abs=1e-6)


def test_the_value_at_balance_is_no_bound():
    """f = (1/2, 1/2, 0), P = (.255, .255, .49): 3 * .255 = .765, below 1, with an expert that nobody asks."""
    logits = torch.tensor([[math.log(0.51), -60, math.log(0.49)], [-60, math.log(0.51), math.log(0.49)]])
    assert load_balance_loss(logits, 1, convention="switch").item() == pytest.approx(0.765, abs=1e-6)


@st.composite
def drawn_logits(draw):
    """Whole and half numbers, so that there are ties."""
    tokens, experts = draw(st.integers(1, 8)), draw(st.integers(1, 5))
    numbers = draw(st.lists(st.integers(-6, 6), min_size=tokens * experts, max_size=tokens * experts))
    return torch.tensor(numbers, dtype=torch.float64).view(tokens, experts) / 2, draw(st.integers(1, experts))


@given(drawn_logits(), st.sampled_from(CONVENTIONS))
def test_balance_against_loops(case, convention):
    logits, k = case
    found = load_balance_loss(logits, k, convention=convention)
    assert found.shape == () and found.item() == pytest.approx(
        moe_by_loops.balance(logits.tolist(), k, convention), abs=1e-12
    )


def test_the_gradient_goes_through_the_probabilities_alone():
    """dL / dlogit_tj = E / T * p_tj (f_j - sum_e f_e p_te), with f as a constant."""
    logits = SIX.clone().requires_grad_()
    load_balance_loss(logits, 2, convention="sum").backward()
    p, f = SIX.softmax(1), torch.tensor([6.0, 5, 1], dtype=torch.float64) / 6
    assert logits.grad.allclose(3 / 6 * p * (f - (p @ f)[:, None]), atol=1e-14)
    chosen = torch.tensor([[0, 1]] * 6)
    assert torch.autograd.gradcheck(lambda x: balance_of(chosen, x, convention="square"), logits)


def test_expert_order_plays_no_part(generator):
    logits, order = torch.randn(20, 5, generator=generator, dtype=torch.float64), [3, 0, 4, 2, 1]
    for convention in CONVENTIONS:
        first, second = (load_balance_loss(x, 2, convention=convention) for x in (logits, logits[:, order]))
        assert first.item() == pytest.approx(second.item(), abs=1e-12)


def test_imbalances_of_layers_cancel_when_pooled():
    """One layer sends all to expert 0, the other all to expert 1: each scores nearly 2, pooled they score 1."""
    one, other = torch.tensor([[9.0, 0.0]] * 4), torch.tensor([[0.0, 9.0]] * 4)
    losses = [load_balance_loss(x, 1, convention="switch").item() for x in (one, other, torch.cat([one, other]))]
    assert losses == pytest.approx([2, 2, 1], abs=1e-3)


def test_z_loss_by_hand():
    """logsumexp of (0, 0) is log 2, of (0, log 3) log 4 = 2 log 2: the mean of the squares is 2.5 log(2)^2."""
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]], dtype=torch.float64, requires_grad=True)
    assert z_loss(logits).shape == () and z_loss(logits).item() == pytest.approx(2.5 * math.log(2) ** 2, abs=1e-14)
    assert z_loss(torch.tensor([[7.0], [-3.0]])).item() == pytest.approx((49 + 9) / 2)
    assert torch.autograd.gradcheck(z_loss, logits)


def test_z_loss_wants_logits_not_probabilities(generator):
    """Of probabilities logsumexp stays between log(E) + 1 / E and log(E - 1 + e), whatever the logits are."""
    logits = 30 * torch.randn(50, 4, generator=generator)
    wrong = z_loss(logits.softmax(1)).item()
    assert z_loss(logits).item() > 500 and (math.log(4) + 1 / 4) ** 2 <= wrong <= math.log(3 + math.e) ** 2


@pytest.mark.parametrize(
    "load, expected", [([1.0, 0, 0], 1), ([0.5, 0.5, 0], 2), ([0.25] * 4, 4), ([0.5, 0.25, 0.25], 2 * 2**0.5)]
)
def test_effective_experts_by_hand(load, expected):
    """Shares 1/2, 1/4, 1/4: entropy 1/2 + 2/4 + 2/4 = 1.5 bits, and 2^1.5 = 2 sqrt(2)."""
    assert effective_experts(torch.tensor(load)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: load_balance_loss(SIX, 1, convention="gshard"), ("convention", "'gshard'", "'switch'", "'square'")),
        (lambda: load_balance_loss(SIX, 0, convention="sum"), ("k", "0", "from 1 to 3")),
        (lambda: load_balance_loss(SIX, 4, convention="sum"), ("k", "4", "from 1 to 3")),
        (lambda: load_balance_loss(SIX, 1.5, convention="sum"), ("k", "1.5", "an integer")),
        (lambda: load_balance_loss(SIX, True, convention="sum"), ("k", "True", "an integer")),
        (lambda: load_balance_loss(SIX[0], 1, convention="sum"), ("logits.shape", "(3,)", "(tokens, experts)")),
        (lambda: load_balance_loss(SIX[:0], 1, convention="sum"), ("logits.shape", "(0, 3)", "1 or more")),
        (lambda: load_balance_loss(SIX / 0, 1, convention="sum"), ("logits", "18 NaN", "finite")),
        (lambda: z_loss(SIX[None]), ("logits.shape", "(1, 6, 3)", "flatten")),
        (lambda: z_loss(SIX * math.nan), ("logits", "18 NaN")),
        (lambda: at_balance(2, convention="none"), ("convention", "'none'")),
        (lambda: effective_experts(torch.tensor([0.5, 0.7])), ("load", "0.5", "one whole")),
        (lambda: effective_experts(torch.tensor([1.5, -0.5])), ("load", "-0.5", "one whole")),
    ],
    ids=case_name,
)
def test_value_errors(call, words):
    assert_one_line_error(call, *words)


def test_whole_numbers_are_no_logits():
    assert_one_line_error(lambda: z_loss(torch.ones(2, 3).long()), "logits.dtype", "torch.int64", error=TypeError)
