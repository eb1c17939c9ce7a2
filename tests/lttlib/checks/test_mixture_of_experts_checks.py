"""Right and wrong answers to the exercises of "Mixture of experts", and what each is told."""

import copy
import math

import numpy as np
import pytest
import torch
from balance_loss_answers import BALANCE
from mixture_answers import MIXTURE, NOTE
from proof import enough, fails_as_unforeseen, prove, solutions, unproven
from router_gradient_answers import ROUTER
from who_fits_answers import WHO_FITS

from lttlib.checks.mixture_of_experts import check_balance_loss, check_mixture, check_router_gradient, check_who_fits
from lttlib.moe import Experts, MoELayer, TopKRouter, dispatch, load_balance_loss
from lttlib.moe.routing import choose, expert_capacity

SOLVED = solutions("mixture_of_experts")
RIGHT = {name: getattr(SOLVED, name) for name in ("balance_loss", "who_fits", "mixture", "router_gradient")}

ANSWERS = BALANCE + WHO_FITS + MIXTURE + ROUTER
CHECKED = {answer.exercise.name: answer.exercise for answer in ANSWERS}.values()

SIX = np.array([[7, 2, 1], [6, 3, 1], [5, 4, 1], [8, 1, 1], [2, 7, 1], [3, 3, 4]]) / 10


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_answer(answer, told):
    told.append((answer, prove(answer, RIGHT[answer.exercise.name])))


def test_two_right_and_five_wrong_answers_for_each():
    assert len(CHECKED) == 4
    assert enough(ANSWERS) == {}


def test_every_classic_mistake_is_made_by_an_answer():
    assert unproven(ANSWERS) == []


def stub(*_):
    raise NotImplementedError


@pytest.mark.parametrize("exercise", CHECKED, ids=lambda exercise: exercise.name)
def test_a_stub_is_not_attempted_yet(exercise):
    assert exercise(stub).status == "not attempted yet"


@pytest.mark.parametrize("exercise", CHECKED, ids=lambda exercise: exercise.name)
def test_an_unforeseen_error_is_not_taken_for_a_classic_mistake(exercise):
    fails_as_unforeseen(exercise, RIGHT[exercise.name])


def test_only_answers_that_compute_too_much_are_told_so():
    for answer in MIXTURE:
        if answer.status == "right":
            assert (NOTE in check_mixture(answer.function).text) == (answer.says == NOTE), answer.name


def test_an_answer_that_fails_when_it_is_counted_is_right_all_the_same():
    """The check calls it once more after the cases."""
    calls = iter(range(100))

    def once_for_each_case(*case):
        if next(calls) >= len(check_mixture.draw_cases()):
            raise RuntimeError("enough")
        return SOLVED.mixture(*case)

    assert check_mixture(once_for_each_case).status == "right"


def test_an_answer_may_put_other_experts_in_their_places():
    def wraps(x, chosen, gates, kept, experts):
        for e, expert in enumerate(experts):
            experts[e] = lambda rows, expert=expert: expert(rows)
        return SOLVED.mixture(x, chosen, gates, kept, experts)

    assert check_mixture(wraps).status == "right"


def test_a_copied_expert_has_computed_nothing():
    expert = check_mixture.draw_cases()[0][-1][0]
    expert(np.zeros((3, 2)))
    expert(np.zeros(2))
    assert (expert.computed, copy.deepcopy(expert).computed) == (4, 0)


def test_experts_are_not_linear():
    """Else a gate could go inside, up to the bias."""
    for *_, experts in check_mixture.draw_cases():
        x = np.ones(len(experts[0].into))
        none, once, twice = (experts[0](times * x) for times in range(3))
        assert np.abs(none - 2 * once + twice).max() > 0.01


def test_six_tokens_by_hand():
    """f = (4, 1, 1) / 6 and P = (3.1, 2, .9) / 6: 3 * (12.4 + 2 + .9) / 36 = 1.275."""
    assert SOLVED.balance_loss(SIX) == pytest.approx(1.275)


def test_an_idle_expert_by_hand():
    """f = (1, 1, 0) / 2 and P = (.255, .255, .49): 3 * .255."""
    assert SOLVED.balance_loss(np.array([[0.51, 0, 0.49], [0, 0.51, 0.49]])) == pytest.approx(0.765)


@pytest.mark.parametrize(
    "chosen, factor, experts, expected",
    [
        # four tokens ask expert 0, one each the others: 2 places, then 3
        ([[0], [0], [0], [0], [1], [2]], 1.0, 3, [[1], [1], [0], [0], [1], [1]]),
        ([[0], [0], [0], [0], [1], [2]], 1.5, 3, [[1], [1], [1], [0], [1], [1]]),
        # 8 pairs, 3 experts, factor .75: 2 places. Expert 0: tokens 0 and 1. Expert 1: token 2, then token 0
        ([[0, 1], [0, 1], [1, 0], [0, 2]], 0.75, 3, [[1, 1], [1, 0], [1, 0], [0, 1]]),
        ([[0, 1], [1, 0]], 0.0, 2, [[0, 0], [0, 0]]),
    ],
)
def test_places_by_hand(chosen, factor, experts, expected):
    assert SOLVED.who_fits(np.array(chosen), factor, experts).astype(int).tolist() == expected


def test_a_mixture_by_hand():
    """Experts x + 10 and -x: .5 * 11 - .2 * 1 = 5.3; .6 * -2; nothing."""
    x, chosen = np.array([[1.0], [2.0], [3.0]]), np.array([[0, 1], [1, 0], [0, 1]])
    gates, kept = np.array([[0.5, 0.2], [0.6, 0.3], [0.4, 0.1]]), np.array([[1, 1], [1, 0], [0, 0]], dtype=bool)
    y = SOLVED.mixture(x, chosen, gates, kept, [lambda rows: rows + 10, lambda rows: -rows])
    assert y == pytest.approx(np.array([[5.3], [-1.2], [0.0]]))


@pytest.mark.parametrize(
    "k, softmax, expected",
    [
        (2, "before", [0.65, -0.51, -0.14]),  # .5 * 2 - .3 = .7: .5 * 1.3, .3 * -1.7, .2 * -.7
        (2, "after", [0.703125, -0.703125, 0]),  # 5/8 and 3/8; 10/8 - 3/8 = 7/8: 5/8 * 9/8, 3/8 * -15/8
        (1, "before", [0.5, -0.3, -0.2]),  # .5 * 2 = 1
        (1, "after", [0, 0, 0]),
    ],
)
def test_gradients_by_hand(k, softmax, expected):
    logits, slopes = np.log([0.5, 0.3, 0.2]), np.array([2.0, -1.0, 4.0])
    assert SOLVED.router_gradient(logits, slopes, k, softmax) == pytest.approx(np.array(expected), abs=1e-12)


def test_the_parts_make_up_the_layer_of_the_library():
    """Choices, places, the sum and the gradient of the router's weight, put together for a MoELayer."""
    generator = torch.Generator().manual_seed(0)
    for softmax in ("before", "after"):
        router = TopKRouter(3, 4, 2, softmax=softmax, generator=generator)
        stack = Experts(4, 3, 5, generator=generator)
        layer = MoELayer(router, stack, capacity_factor=1.0).double()
        with torch.no_grad():
            stack.b2.normal_(generator=generator)
        x = torch.randn(11, 3, generator=generator, dtype=torch.float64)
        y, aux = layer(x)
        upstream = torch.randn(y.shape, generator=generator, dtype=torch.float64)
        (y * upstream).sum().backward()

        logits = (x @ router.weight.T).detach()
        chosen, gates = (part.numpy() for part in choose(logits, 2, softmax=softmax))
        kept = SOLVED.who_fits(chosen, 1.0, 4)
        assert kept.tolist() == aux.routing.kept.tolist() and not kept.all()

        def expert(e, stack=stack):
            parts = [part.detach()[e].numpy() for part in (stack.w1, stack.b1, stack.w2, stack.b2)]
            return lambda rows: np.maximum(rows @ parts[0] + parts[1], 0) @ parts[2] + parts[3]

        experts = [expert(e) for e in range(4)]
        found = SOLVED.mixture(x.numpy(), chosen, gates, kept, experts)
        np.testing.assert_allclose(found, y.detach().numpy(), atol=1e-12)

        by_weight = np.zeros((4, 3))
        for t in range(11):
            slopes = np.array([upstream[t].numpy() @ one(x[t].numpy()) for one in experts])
            slopes[chosen[t][~kept[t]]] = 0  # a dropped expert has no answer, and its gate no effect
            by_weight += np.outer(SOLVED.router_gradient(logits[t].numpy(), slopes, 2, softmax), x[t].numpy())
        np.testing.assert_allclose(by_weight, router.weight.grad.numpy(), atol=1e-12)


def test_losses_are_those_of_the_library():
    for (p,) in check_balance_loss.draw_cases():
        logits = torch.tensor(np.array(p)).clamp(min=1e-300).log()
        assert SOLVED.balance_loss(np.array(p)) == pytest.approx(
            load_balance_loss(logits, 1, convention="switch").item()
        )


def test_places_are_those_of_the_library():
    """From logits that make these choices."""
    for chosen, factor, experts in check_who_fits.draw_cases():
        tokens, k = chosen.shape
        logits = torch.zeros(tokens, experts)
        logits.scatter_(1, torch.tensor(np.array(chosen)), torch.arange(k, 0, -1.0).expand(tokens, k))
        found = dispatch(logits, k, capacity_factor=factor)
        assert found.chosen.tolist() == chosen.tolist()
        assert SOLVED.who_fits(np.array(chosen), factor, experts).tolist() == found.kept.tolist()


def test_rounding_and_ties_never_decide():
    for (p,) in check_balance_loss.draw_cases():
        top = np.sort(np.array(p), axis=1)
        assert p.shape[1] == 1 or (top[:, -1] - top[:, -2]).min() > 1e-4
        assert np.array(p).sum(1) == pytest.approx(1)
        assert (np.abs(np.array(p) * p.shape[1] - 1) > 1e-4).all() or p.shape[1] == 1
    for chosen, factor, experts in check_who_fits.draw_cases():
        rest = factor * chosen.size / experts % 1
        assert rest == 0 or 0.02 < rest < 0.98
        (tokens, k), room = chosen.shape, expert_capacity(*chosen.shape, experts, factor)
        orders = factor * (k * tokens / experts), factor * k * (tokens / experts), factor / experts * k * tokens
        assert {math.ceil(factor * chosen.size / experts), *map(math.ceil, orders)} == {room}
        assert all(len(set(row)) == len(row) for row in chosen.tolist())
        assert 0 <= chosen.min() and chosen.max() < experts
    for x, chosen, gates, kept, experts in check_mixture.draw_cases():
        assert gates.shape == chosen.shape == kept.shape and len(x) == len(chosen)
        assert all(len(set(row)) == len(row) for row in chosen.tolist()) and chosen.max() < len(experts)
        assert (np.diff(gates, axis=1) < 0).all() and (gates.sum(1) < 1 + 1e-9).all()
    for logits, slopes, k, _ in check_router_gradient.draw_cases():
        assert len(np.unique(logits)) == len(logits) == len(slopes) and 1 <= k <= len(logits)
        assert logits.max() < 10 or (logits.astype(np.float32) == logits).all()


def test_cases_cover_what_they_say():
    losses = [SOLVED.balance_loss(np.array(p)) for (p,) in check_balance_loss.draw_cases()]
    assert min(losses) == pytest.approx(0.765) and max(losses) > 4
    dropped = [~SOLVED.who_fits(np.array(chosen), factor, e) for chosen, factor, e in check_who_fits.draw_cases()]
    assert sum(part.any() and not part.all() for part in dropped) >= 7
    assert any(part.all() for part in dropped) and any(not part.any() for part in dropped)
    assert sum(len(np.unique(chosen)) < e for chosen, _, e in check_who_fits.draw_cases()) >= 1
    kept = [np.array(case[3]) for case in check_mixture.draw_cases()]
    assert sum((~part.any(1)).any() and part.any() for part in kept) >= 3  # whole tokens dropped
    assert sum((part.any(1) & ~part.all(1)).any() for part in kept) >= 3  # single choices dropped
    assert any(part.all() for part in kept) and any(not part.any() for part in kept)
    many = [case for case in check_mixture.draw_cases() if len(case[0]) > 5]
    assert any(set(range(len(experts))) - set(chosen[kept].tolist()) for _, chosen, _, kept, experts in many)  # idle
    softmaxes = {(k == len(logits), k == 1, softmax) for logits, _, k, softmax in check_router_gradient.draw_cases()}
    assert len(softmaxes) == 6
