"""Sparsity as a function of the round or the step: tables by hand, rounds replayed, errors."""

import itertools
import math

import pytest
import torch
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from lttlib.schedules import cubic_sparsity, geometric_sparsities, itop_drop_fraction, rigl_drop_fraction


@pytest.mark.parametrize(
    "sparsity, rounds, expected",
    [(0.75, 2, [0.5, 0.75]), (0.9, 1, [0.9]), (0.488, 3, [0.2, 0.36, 0.488]), (0, 2, [0, 0])],
)
def test_geometric_by_hand(sparsity, rounds, expected):
    assert geometric_sparsities(sparsity, rounds) == pytest.approx(expected, abs=1e-12)


@given(st.floats(0, 0.999), st.integers(1, 30))
def test_every_round_removes_the_same_share_of_the_rest(sparsity, rounds):
    found = geometric_sparsities(sparsity, rounds)
    live = [1, *(1 - s for s in found)]
    shares = [after / before for before, after in itertools.pairwise(live)]
    assert len(found) == rounds and found[-1] == pytest.approx(sparsity)
    assert shares == pytest.approx([shares[0]] * rounds)


@pytest.mark.parametrize(
    "step, expected", [(0, 0), (10, 0), (15, 0.8 * (1 - 1 / 8)), (12, 0.8 * (1 - 0.512)), (20, 0.8), (99, 0.8)]
)
def test_cubic_by_hand(step, expected):
    assert cubic_sparsity(step, start=10, end=20, final=0.8) == pytest.approx(expected)


@given(st.integers(-5, 60), st.floats(0, 0.99), st.floats(0, 0.99))
def test_cubic_adds_up_its_pruning_rate(step, initial, final):
    """Independent: the rate falls as 3 (1 - progress)^2, and sparsity is its integral."""
    progress = min(max(step / 50, 0), 1)
    pruned, _ = integrate.quad(lambda p: 3 * (1 - p) ** 2, 0, progress)
    found = cubic_sparsity(step, start=0, end=50, final=final, initial=initial)
    assert found == pytest.approx(initial + (final - initial) * pruned, abs=1e-9)


@pytest.mark.parametrize(
    "step, expected", [(0, 0.3), (250, 0.256), (500, 0.15), (750, 0.044), (1000, 0), (1001, 0), (9999, 0), (-3, 0.3)]
)
def test_rigl_by_hand(step, expected):
    assert rigl_drop_fraction(step, end=1000) == pytest.approx(expected, abs=5e-4)
    assert rigl_drop_fraction(step, alpha=0.6, end=1000) == pytest.approx(2 * expected, abs=1e-3)


@given(st.integers(-5, 60), st.floats(0, 1), st.floats(0, 1))
def test_cosine_adds_up_its_slope(step, initial, final):
    """Independent: the fraction falls as a half wave of the sine, and is its integral."""
    fallen, _ = integrate.quad(lambda t: math.pi / 100 * math.sin(math.pi * t / 50), 0, min(max(step, 0), 50))
    assert rigl_drop_fraction(step, alpha=initial, end=50) == pytest.approx(initial * (1 - fallen), abs=1e-9)
    found = itop_drop_fraction(step, initial=initial, final=final, end=50)
    assert found == pytest.approx(initial + (final - initial) * fallen, abs=1e-9)
    assert 0 <= found <= 1


def test_itop_against_torch():
    """Independent: torch's cosine annealing of a learning rate, as in the code of the paper."""
    engine = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(engine, T_max=40, eta_min=0.005)
    for step in range(41):
        assert itop_drop_fraction(step, end=40) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-9)
        engine.step()
        scheduler.step()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: geometric_sparsities(1.2, 3), ("sparsity", "1.2", "[0, 1)", "0.9")),
        (lambda: geometric_sparsities(-0.1, 3), ("sparsity", "-0.1", "[0, 1)")),
        (lambda: geometric_sparsities(0.5, 0), ("rounds", "0", "1 or more", "one-shot")),
        (lambda: cubic_sparsity(0, start=5, end=5, final=0.5), ("start", "5", "less than end = 5", "one step")),
        (lambda: cubic_sparsity(0, start=0, end=5, final=1), ("final", "1", "[0, 1)")),
        (lambda: cubic_sparsity(0, start=0, end=5, final=0.5, initial=math.nan), ("initial", "nan", "[0, 1)")),
        (lambda: rigl_drop_fraction(3, alpha=1.3, end=9), ("alpha", "1.3", "[0, 1]", "share")),
        (lambda: rigl_drop_fraction(3, end=0), ("end", "0", "1 or more")),
        (lambda: itop_drop_fraction(3, initial=-0.1, end=9), ("initial", "-0.1", "[0, 1]")),
        (lambda: itop_drop_fraction(3, final=math.nan, end=9), ("final", "nan", "[0, 1]")),
    ],
    ids=case_name,
)
def test_errors(call, words):
    assert_one_line_error(call, *words)
