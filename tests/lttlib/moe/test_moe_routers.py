"""Routers: each against its formula token by token, noise, temperature, what is frozen, growing k, hash by id."""

import copy
import math

import pytest
import torch
from errors import assert_one_line_error, case_name

from lttlib.moe import (
    CosineRouter,
    ExpertChoiceRouter,
    HashRouter,
    RandomRouter,
    TopKRouter,
    dispatch,
    expert_choice,
    growing_k,
    random_table,
)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


X = torch.randn(12, 5, generator=draw(9))
LINEAR = [
    lambda: TopKRouter(5, 4, 2, generator=draw()),
    lambda: RandomRouter(5, 4, 2, generator=draw()),
    lambda: ExpertChoiceRouter(5, 4, generator=draw()),
]


@pytest.mark.parametrize("make", LINEAR)
def test_linear_logits(make):
    router = make()
    _, logits = router(X, capacity_factor=1)
    by_hand = [[sum(a * b for a, b in zip(x, w, strict=True)) for w in router.weight.tolist()] for x in X.tolist()]
    assert logits.allclose(torch.tensor(by_hand), atol=1e-5)
    assert router.weight.equal(make().weight)


def test_scale_of_the_first_logits():
    """For inputs of variance 1 logits have variance 1, whatever the width."""
    for features in (10, 1000):
        router = TopKRouter(features, 8, 1, generator=draw())
        x = torch.randn(500, features, generator=draw(1))
        assert router(x)[1].std().item() == pytest.approx(1, rel=0.25)


@pytest.mark.parametrize("softmax", ["before", "after"])
@pytest.mark.parametrize("priority", ["slot", "token", "batch"])
def test_options_reach_dispatch(softmax, priority):
    routers = [kind(5, 4, 2, softmax=softmax, generator=draw(3)) for kind in (TopKRouter, RandomRouter, CosineRouter)]
    for router in routers:
        found, logits = router(X, capacity_factor=0.5, priority=priority)
        expected = dispatch(logits, 2, capacity_factor=0.5, priority=priority, softmax=softmax)
        assert found.gates.equal(expected.gates) and found.positions.equal(expected.positions)
        assert router(X)[0].kept.all()


def test_expert_choice_router():
    router = ExpertChoiceRouter(5, 4, generator=draw())
    found, logits = router(X, capacity_factor=1.5)
    assert found.tokens.equal(expert_choice(logits, capacity_factor=1.5).tokens) and found.tokens.shape == (4, 5)
    assert_one_line_error(lambda: router(X), "capacity_factor", "None", "a number")


def test_noise_is_drawn_while_training_only():
    quiet, noisy = (TopKRouter(5, 4, 2, noisy=n, generator=draw()) for n in (False, True))
    clean = quiet(X)[1]
    first, second = noisy(X)[1], noisy(X)[1]
    assert not first.equal(second) and not first.equal(clean)
    noisy.eval()
    assert noisy(X)[1].equal(clean) and noisy(X)[1].equal(clean)
    assert quiet(X)[1].equal(clean) and quiet.noise_weight is None


def test_noise_follows_its_generator_and_chooses():
    one, other = (TopKRouter(5, 4, 2, noisy=True, generator=draw()) for _ in range(2))
    torch.manual_seed(0)
    first = one(X)
    torch.manual_seed(1)
    again = other(X)
    assert first[1].equal(again[1])
    assert first[0].chosen.equal(first[1].topk(2).indices)  # the logits returned are those that chose


def test_size_of_the_noise():
    """Standard deviation softplus(0) = log 2 at first; with a noise weight, softplus(x w) for each token and expert."""
    router = TopKRouter(2, 3, 1, noisy=True, generator=draw())
    x = torch.tensor([[1.0, 0.0]]).expand(20_000, 2)
    noise = router(x)[1] - x @ router.weight.T
    assert noise.std(0).tolist() == pytest.approx([math.log(2)] * 3, rel=0.03) and noise.mean(0).abs().max() < 0.03
    with torch.no_grad():
        router.noise_weight[:] = torch.tensor([[-20.0, 0], [0, 7], [2, 0]])
    noise = router(x)[1] - x @ router.weight.T
    assert noise.std(0).tolist() == pytest.approx([0, math.log(2), math.log(1 + math.e**2)], rel=0.03, abs=1e-6)
    router(x)[1].square().sum().backward()
    assert router.noise_weight.grad[:, 0].abs().min() > 0 and not router.noise_weight.grad[:, 1].any()


def test_a_router_can_be_copied():
    router = TopKRouter(5, 4, 2, noisy=True, generator=draw())
    twin = copy.deepcopy(router)
    assert router(X)[1].equal(twin(X)[1])


def test_cosine_by_hand():
    """x = (3, 4), projection the identity: length 5; centers (1, 0) and (0, -2): cosines .6 and -.8, times 1 / .5."""
    router = CosineRouter(2, 2, 1, dim=2, temperature=0.5, generator=draw())
    with torch.no_grad():
        router.projection[:] = torch.eye(2)
        router.centers[:] = torch.tensor([[1.0, 0.0], [0.0, -2.0]])
    logits = router(torch.tensor([[3.0, 4.0], [30.0, 40.0]]))[1]
    assert logits.allclose(torch.tensor([[1.2, -1.6]] * 2), atol=1e-6)


def test_cosine_against_angles():
    router = CosineRouter(5, 6, 2, temperature=0.25, generator=draw())
    assert router.projection.shape == (3, 5) and CosineRouter(5, 2, 1, generator=draw()).projection.shape == (2, 5)
    for x, row in zip(X.double(), router(X)[1].tolist(), strict=True):
        low = router.projection.detach().double() @ x
        for center, logit in zip(router.centers.detach().double(), row, strict=True):
            cosine = torch.dot(low, center) / (low.norm() * center.norm())
            assert logit == pytest.approx(4 * cosine.item(), abs=1e-5)


def test_the_scale_is_learned_up_to_100():
    router = CosineRouter(5, 4, 1, generator=draw())
    assert router.log_scale.exp().item() == pytest.approx(10)
    router(X)[1].sum().backward()
    assert router.log_scale.grad.abs() > 0 and router.centers.grad.any() and router.projection.grad.any()
    cosines = router(X)[1] / 10
    with torch.no_grad():
        router.log_scale.fill_(50.0)
    assert router(X)[1].allclose(100 * cosines, rtol=1e-4)


def test_a_random_router_is_not_learned():
    router = RandomRouter(5, 4, 1, generator=draw())
    assert not list(router.parameters()) and "weight" in router.state_dict()
    router.k = 3
    assert router(X)[0].chosen.shape == (12, 3)


def test_growing_k_by_hand():
    """Ten steps for 1, 2, 3, 4: 4 * step // 10 is 0 for steps 0 to 2, 1 for 3 and 4, 2 for 5 to 7, 3 for 8 and 9."""
    assert [growing_k(step, 10, first=1, last=4) for step in range(10)] == [1, 1, 1, 2, 2, 3, 3, 3, 4, 4]
    assert [growing_k(step, 4, first=2, last=3) for step in range(4)] == [2, 2, 3, 3]
    assert [growing_k(step, 3, first=2, last=2) for step in range(3)] == [2, 2, 2]
    assert growing_k(0, 1, first=1, last=1) == 1


def test_hash_looks_at_ids_alone():
    """The same word goes to the same experts at every place of every batch."""
    table = torch.tensor([[2, 0], [1, 2], [0, 1]])
    router = HashRouter(table, 3)
    ids = torch.tensor([1, 1, 0, 2, 1])
    found, logits = router(X[:5], ids)
    assert logits is None and found.chosen.tolist() == [[1, 2], [1, 2], [2, 0], [0, 1], [1, 2]]
    assert found.gates.tolist() == [[0.5, 0.5]] * 5 and found.gates.dtype == X.dtype
    order = torch.tensor([4, 2, 0, 3, 1])
    moved, _ = router(torch.zeros(5, 5), ids[order])
    assert moved.chosen.equal(found.chosen[order])
    tight, _ = router(X[:5], ids, capacity_factor=0.3, priority="token")  # C = ceil(.3 * 2 * 5 / 3) = 1
    assert tight.kept.tolist() == [[True, True], [False, False], [False, True], [False, False], [False, False]]
    assert not list(router.parameters()) and torch.equal(router.state_dict()["table"], table)
    table.zero_()
    assert router(X[:5], ids)[0].chosen.equal(found.chosen)  # it has its own


def test_random_tables():
    table = random_table(3000, 5, 2, generator=draw())
    assert table.shape == (3000, 2) and (table[:, 0] != table[:, 1]).all()
    for slot in range(2):
        counts = torch.bincount(table[:, slot], minlength=5)
        assert (counts - 600).abs().max() < 4 * (3000 * 0.2 * 0.8) ** 0.5
    assert table.equal(random_table(3000, 5, 2, generator=draw())) and HashRouter(table, 5).k == 2


TABLE = torch.tensor([[0], [1]])


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: TopKRouter(5, 4, 5, generator=draw()), ("k", "5", "1 to 4")),
        (lambda: TopKRouter(5, 4, 0, generator=draw()), ("k", "0", "1 to 4")),
        (lambda: TopKRouter(5, 4, 1, softmax="never", generator=draw()), ("softmax", "'never'", "'before', 'after'")),
        (lambda: CosineRouter(5, 4, 1, temperature=0, generator=draw()), ("temperature", "0", "0.01 or more")),
        (lambda: HashRouter(TABLE.float(), 2), ("table", "torch.float32 (2, 1)", "random_table")),
        (lambda: HashRouter(TABLE[:, 0], 2), ("table", "(2,)", "(vocabulary, k)")),
        (lambda: HashRouter(TABLE, 1), ("table", "experts 0 to 1", "0 to 0")),
        (lambda: HashRouter(TABLE - 1, 2), ("table", "experts -1 to 0", "0 to 1")),
        (lambda: HashRouter(torch.tensor([[0, 1], [1, 1]]), 2), ("table", "1 ids with one expert twice", "different")),
        (lambda: HashRouter(TABLE, 2)(X), ("ids", "None", "pass ids=")),
        (lambda: HashRouter(TABLE, 2)(X, torch.zeros(3).long()), ("ids.shape", "(3,)", "(12,)")),
        (lambda: HashRouter(TABLE, 2)(X, torch.full((12,), 2)), ("ids", "2 to 2", "0 to 1", "vocabulary")),
        (lambda: HashRouter(TABLE, 2)(X, torch.full((12,), -1)), ("ids", "-1 to -1", "0 to 1")),
        (lambda: random_table(3, 2, 3, generator=draw()), ("k", "3", "1 to 2")),
        (lambda: growing_k(10, 10, first=1, last=4), ("step", "10", "0 to 9")),
        (lambda: growing_k(0, 10, first=3, last=2), ("first", "3", "1 to last = 2")),
    ],
    ids=case_name,
)
def test_value_errors(call, words):
    assert_one_line_error(call, *words)


def test_type_errors():
    call = lambda: HashRouter(TABLE, 2)(X, torch.zeros(12))  # noqa: E731
    assert_one_line_error(call, "ids.dtype", "torch.float32", "ids.long()", error=TypeError)
