"""Losses that travel out of a model, ids that travel in, the image model, and training against a loop by hand."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from errors import assert_one_line_error, case_name
from torch import nn

from lttlib.data import digits, disguised_digits
from lttlib.moe import (
    Experts,
    HashRouter,
    RandomRouter,
    TopKRouter,
    collect_auxiliary,
    effective_experts,
    growing_k,
    load_balance_loss,
    mixture_feed_forward,
    mixture_mlp,
    train_mixture,
    weighted,
    z_loss,
)
from lttlib.training import BatchOrder


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Residual(nn.Module):
    """What a transformer does with its feed-forward blocks: it knows nothing of mixtures."""

    def __init__(self, blocks):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x


def stack(router=None):
    blocks = [
        mixture_feed_forward(4, 6, router or TopKRouter(4, 3, 1, generator=draw(i)), generator=draw(i))
        for i in range(3)
    ]
    return Residual([blocks[0], nn.Linear(4, 4), blocks[1], blocks[2]])


X = torch.randn(2, 5, 4, generator=draw(7))


def test_losses_are_collected_in_order():
    model = stack()
    plain = model(X)
    with collect_auxiliary(model) as found:
        inside = model(X)
    assert inside.equal(plain) and len(found) == 3
    x = X
    for block, aux in zip([model.blocks[0], None, *model.blocks[2:]], [found[0], None, *found[1:]], strict=True):
        if block is None:
            x = x + model.blocks[1](x)
            continue
        logits = x.reshape(10, 4) @ block.layer.router.weight.T
        assert aux.z.allclose(z_loss(logits)) and aux.balance.allclose(
            load_balance_loss(logits, 1, convention="switch")
        )
        x = x + block(x)


def test_nothing_stays_behind():
    model = stack()
    with collect_auxiliary(model) as found:
        model(X)
    model(X)
    assert len(found) == 3
    with pytest.raises(RuntimeError, match="stop"), collect_auxiliary(model, ids=torch.zeros(2, 5).long()) as found:
        raise RuntimeError("stop")
    model(X)
    assert not found
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert set(copy.deepcopy(model).state_dict()) == set(stack().state_dict())


def test_two_collections_do_not_mix():
    one, other = stack(), stack()
    with collect_auxiliary(one) as first, collect_auxiliary(other) as second:
        one(X)
        other(X)
        one(X)
    assert len(first) == 6 and len(second) == 3


def test_ids_reach_every_layer():
    ids = torch.tensor([[0, 1, 2, 2, 1], [0, 0, 1, 2, 0]])
    model = stack(HashRouter(torch.tensor([[2], [0], [1]]), 3))
    with collect_auxiliary(model, ids=ids) as found:
        model(X)
    assert [aux.routing.chosen.flatten().tolist() for aux in found] == [[2, 0, 1, 1, 0, 2, 2, 0, 1, 2]] * 3
    assert_one_line_error(lambda: model(X), "ids", "None", "pass ids=")


def test_the_gradient_of_collected_losses():
    model = stack()
    with collect_auxiliary(model) as found:
        model(X)
    weighted(found, balance=1.0, z=1.0).backward()
    assert all(block.layer.router.weight.grad.any() for block in model.blocks if hasattr(block, "layer"))


def test_weighted_by_hand():
    """Means over two layers: balance (1 + 2) / 2, z (10 + 30) / 2; .1 * 1.5 + .01 * 20 = .35."""
    model = Residual([stack().blocks[0]])
    with collect_auxiliary(model) as found:
        model(X)
    two = [found[0]._replace(balance=torch.tensor(b), z=torch.tensor(z)) for b, z in ((1.0, 10.0), (2.0, 30.0))]
    assert weighted(two, balance=0.1, z=0.01).item() == pytest.approx(0.35)
    assert weighted(two, balance=0.1).item() == pytest.approx(0.15)


def test_models_and_their_shapes():
    model = mixture_mlp(64, 8, 10, TopKRouter(64, 4, 2, generator=draw()), generator=draw(), capacity_factor=1.25)
    assert model(torch.rand(7, 64)).shape == (7, 10) and model.layer.capacity_factor == 1.25
    assert model.layer.experts.w1.shape == (4, 64, 8) and model.layer.experts.w2.shape == (4, 8, 10)
    x = torch.rand(7, 64, generator=draw(1))
    assert model(x).equal(model.layer(x)[0])
    drawn = Experts(4, 64, 8, 10, generator=draw(5))
    again = mixture_mlp(64, 8, 10, TopKRouter(64, 4, 2, generator=draw()), generator=draw(5)).layer.experts
    assert again.w1.equal(drawn.w1) and again.w2.equal(drawn.w2) and not again.w1.equal(model.layer.experts.w1)
    block = mixture_feed_forward(6, 9, TopKRouter(6, 4, 2, generator=draw()), generator=draw(), priority="token")
    assert block(torch.rand(2, 3, 6)).shape == (2, 3, 6) and block.layer.priority == "token"


def test_training_against_a_loop_by_hand():
    data, weight, z = digits(), 0.3, 0.02
    model = mixture_mlp(64, 8, 10, TopKRouter(64, 4, 2, generator=draw()), generator=draw(1), convention="mean")
    twin, order = copy.deepcopy(model), BatchOrder(1200, 32, 5)
    seen = []
    options = {"steps": 4, "seed": 5, "batch_size": 32, "eval_every": 2, "progress": False}
    history = train_mixture(
        model, data, balance=weight, z=z, optimizer=partial(torch.optim.SGD, lr=0.2, momentum=0.9),
        schedule=lambda step: 1 / (step + 1), watch=lambda step, found: seen.append((step, len(found))), **options,
    )  # fmt: skip
    losses, momentum = [], {}
    for step in range(4):
        x, y = data.x_train[order[step]], data.y_train[order[step]]
        logits = x @ twin.layer.router.weight.T
        loss = F.cross_entropy(twin(x), y) + z * z_loss(logits)
        loss = loss + weight * load_balance_loss(logits, 2, convention="mean")
        twin.zero_grad()
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for name, value in twin.named_parameters():
                momentum[name] = 0.9 * momentum.get(name, 0) + value.grad
                value -= 0.2 / (step + 1) * momentum[name]
    for (name, one), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert one.allclose(other, atol=1e-5), name
    assert history.train_loss == pytest.approx([sum(losses[:2]) / 2, sum(losses[2:]) / 2], rel=1e-5)
    assert history.steps == [2, 4] and seen == [(0, 1), (1, 1), (2, 1), (3, 1)]


def test_balance_keeps_experts_in_use():
    """A router that starts out sending everything to expert 0 goes on so, unless the loss says otherwise."""
    data, used, accuracies = digits(), [], []
    for weight in (0.0, 1.0):
        model = mixture_mlp(64, 16, 10, TopKRouter(64, 4, 1, generator=draw(2)), generator=draw(2))
        with torch.no_grad():
            model.layer.router.weight[0] += 0.1
        history = train_mixture(model, data, balance=weight, steps=150, seed=0, progress=False)
        with collect_auxiliary(model) as found, torch.no_grad():
            model(data.x_test)
        used.append(effective_experts(found[0].routing.load))
        accuracies.append(history.test_accuracy[-1])
    assert used[0] < 1.5 and used[1] > 2.5 and min(accuracies) > 0.85


def test_k_grows_while_training():
    data, router = disguised_digits(), RandomRouter(64, 4, 1, generator=draw())
    model, before, seen = mixture_mlp(64, 8, 10, router, generator=draw()), router.weight.clone(), []

    def watch(step, found):
        seen.append(found[0].routing.chosen.shape[1])
        router.k = growing_k(min(step + 1, 7), 8, first=1, last=4)

    train_mixture(model, data, balance=0.0, steps=8, seed=0, progress=False, watch=watch)
    assert seen == [1, 1, 2, 2, 3, 3, 4, 4] and router.weight.equal(before)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: weighted([], balance=1.0), ("found", "[]", "collect_auxiliary")),
        (
            lambda: train_mixture(nn.Linear(64, 10), digits(), balance=1, steps=1, seed=0, progress=False),
            ("found", "[]", "MoELayer"),
        ),
    ],
    ids=case_name,
)
def test_value_errors(call, words):
    assert_one_line_error(call, *words)
