"""The training loop: against a loop by hand, one by one against together, masks, interruptions, errors."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from toys import ADAM, DATA, DECAY, SEEDS, half_masks, net, quick, quick_together, same, toy

from lttlib.training import SGD, BatchOrder, accuracy, mean_loss


def test_against_momentum_by_hand():
    """Independent: v <- 0.9 v + g; w <- w - 0.1 v; dead weights back to 0."""
    model, other, masks = net(), net(), half_masks()
    history = quick(model, steps=13, masks=masks, eval_every=5)
    speed = [torch.zeros_like(p) for p in other.parameters()]
    order, losses = BatchOrder(70, 16, 3), []
    for name, p in other.named_parameters():
        p.data *= masks.get(name, torch.ones_like(p))
    for step in range(13):
        loss = F.cross_entropy(other(DATA.x_train[order[step]]), DATA.y_train[order[step]])
        losses.append(loss.item())
        grads = torch.autograd.grad(loss, list(other.parameters()))
        for (name, p), v, g in zip(other.named_parameters(), speed, grads, strict=True):
            v.mul_(0.9).add_(g)
            p.data = (p.data - 0.1 * v) * masks.get(name, torch.ones_like(p))
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    assert history.steps == [5, 10, 13]
    assert history.train_loss == pytest.approx([sum(losses[:5]) / 5, sum(losses[5:10]) / 5, sum(losses[10:]) / 3])
    assert history.test_accuracy[-1] == accuracy(other, DATA.x_test, DATA.y_test)


def test_it_learns():
    model = net()
    history = quick(model, steps=100, eval_every=20)
    assert history.train_loss[-1] < history.train_loss[0] / 2 and history.test_accuracy[-1] > 0.7


@pytest.mark.parametrize("optimizer", [SGD, DECAY, ADAM])
@pytest.mark.parametrize("dtype, atol", [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_together_equals_one_by_one(optimizer, dtype, atol):
    data, masks = toy(dtype), [half_masks(), {}, {"2.weight": half_masks()["2.weight"]}]
    together, alone = ([net(seed).to(dtype) for seed in (0, 0, 1)] for _ in range(2))
    options = {"steps": 25, "optimizer": optimizer, "eval_every": 10}
    found = quick_together(together, data=data, masks=masks, **options)
    expected = [quick(m, data=data, seed=s, masks=k, **options) for m, s, k in zip(alone, SEEDS, masks, strict=True)]
    for a, b in zip(together, alone, strict=True):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            torch.testing.assert_close(p, q, atol=atol, rtol=0)
    for a, b in zip(found, expected, strict=True):
        assert a.steps == b.steps and a.train_loss == pytest.approx(b.train_loss, abs=10 * atol)
        if dtype == torch.float64:
            assert a.test_accuracy == pytest.approx(b.test_accuracy, abs=1e-6)  # a share, kept in float32
    assert not same(together[0], together[1])


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("several", [False, True])
def test_dead_weights_are_zero_before_every_step(kind, several):
    seen = []

    class Watched(kind):
        def step(self, closure=None):
            seen.extend([p.detach().clone() for p in self.param_groups[0]["params"]])
            return super().step(closure)

    momentum = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer, masks = partial(Watched, lr=0.05, weight_decay=0.1, **momentum), half_masks()
    models = [net(), net(1), net(2)]
    if several:
        quick_together(models, steps=12, optimizer=optimizer, masks=[masks] * 3)
    else:
        quick(models[0], steps=12, optimizer=optimizer, masks=masks)
    shape = (3, 8, 6) if several else (8, 6)
    first_layer = [p for p in seen if p.shape == shape]
    assert len(first_layer) == 12
    dead, live = ~masks["0.weight"].expand(shape), masks["0.weight"].expand(shape)
    assert not any(p[dead].any() or p[dead].signbit().any() for p in first_layer)
    assert all((p[live] != 0).all() for p in first_layer)
    for model in models if several else models[:1]:
        for name, mask in masks.items():
            weight = dict(model.named_parameters())[name]
            assert not weight[~mask].any() and weight[mask].all()


def test_same_seed_is_bit_identical_and_another_is_not():
    first, again, other = net(), net(), net()
    histories = [quick(first, steps=20), quick(again, steps=20), quick(other, steps=20, seed=5)]
    assert same(first, again) and histories[0] == histories[1]
    assert not same(first, other)


def test_global_generator_is_neither_used_nor_changed():
    first, again = net(), net()
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    quick(first, steps=8)
    assert torch.random.get_rng_state().equal(state)
    torch.manual_seed(9)
    quick(again, steps=8)
    assert same(first, again)


def test_batch_order_by_epochs():
    order = BatchOrder(70, 16, seed=3)  # 4 whole batches per epoch, 6 rows left out
    epochs = [torch.cat([order[step] for step in range(4 * e, 4 * e + 4)]).tolist() for e in range(3)]
    assert all(len(set(rows)) == 64 and 0 <= min(rows) and max(rows) < 70 for rows in epochs)
    assert len({tuple(rows) for rows in epochs}) == 3 and len({frozenset(rows) for rows in epochs}) == 3
    backwards = BatchOrder(70, 16, seed=3)
    assert [backwards[step].tolist() for step in (11, 5, 0)] == [order[step].tolist() for step in (11, 5, 0)]
    assert order[0].tolist() != BatchOrder(70, 16, seed=4)[0].tolist()
    assert sorted(BatchOrder(5, 5, seed=0)[7].tolist()) == [0, 1, 2, 3, 4]


def test_progress_bar_is_shown_or_not(capsys):
    quick(net(), steps=2)
    assert capsys.readouterr().err == ""
    quick(net(), steps=2, progress=True)
    assert "training" in capsys.readouterr().err


def test_accuracy_and_loss_by_hand():
    model = nn.Identity()
    logits = torch.tensor([[1.0, 0], [0, 1], [0, 1], [2, 0]])
    labels = torch.tensor([0, 1, 0, 0])
    assert accuracy(model, logits, labels) == 0.75
    p = [1 / (1 + 2.718281828**-d) for d in (1, 1, -1, 2)]
    assert mean_loss(model, logits, labels) == pytest.approx(-sum(torch.tensor(p).log().tolist()) / 4)


@pytest.mark.parametrize("several", [False, True])
def test_no_steps_change_nothing_but_dead_weights(several):
    model, masks = net(), half_masks()
    if several:
        quick_together([model], steps=0, seeds=[0], masks=[masks])
    else:
        quick(model, steps=0, masks=masks)
    for (name, p), q in zip(model.named_parameters(), net().parameters(), strict=True):
        assert p.equal(q * masks.get(name, torch.ones_like(q)))
