"""Training without dense weights equals training with masks, step by step; nothing dense is made; resumed runs; errors."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lttlib.condensed_layers import MovingLinear
from lttlib.condensed_mlp import CondensedMLP
from lttlib.condensed_training import candidates, dense_gradient, grown, move, train_condensed
from lttlib.data import digits
from lttlib.masks import topk_mask
from lttlib.models import mlp
from lttlib.sparse_training import train_sparse
from lttlib.srigl import constant_fan_in_masks, initialize_live, row_topk_mask, srigl_step
from lttlib.training import SGD

DATA = digits()
ADAM = partial(
    torch.optim.Adam, lr=1e-3, eps=1e-4
)  # a small eps would make the rounding of tiny gradients a whole step
DECAY = partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=1e-3)
FAST = {"steps": 45, "interval": 6, "alpha": 0.5, "seed": 3, "progress": False, "eval_every": 15}


def masked(sizes=(64, 50, 30, 10), density=0.15, seed=0):
    """A network under masks with constant fan-in, initialized for them; the last layer dense."""
    model = mlp(sizes, generator=torch.Generator().manual_seed(seed))
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if p.ndim == 2}
    shares = {name: 1.0 if shape[0] == 10 else density for name, shape in shapes.items()}
    masks = constant_fan_in_masks(shapes, shares, torch.Generator().manual_seed(seed + 1))
    return initialize_live(model, masks, torch.Generator().manual_seed(seed + 2)), masks


@pytest.mark.parametrize("optimizer", [SGD, DECAY, ADAM], ids=["sgd", "decay", "adam"])
@pytest.mark.parametrize("gamma, batch_size", [(0, 64), (0.6, 50), (1, 130)])
def test_equals_training_with_masks(optimizer, gamma, batch_size):
    model, masks = masked()
    condensed, seen, found = CondensedMLP.from_model(model, masks), [], []
    options = FAST | {"gamma": gamma, "optimizer": optimizer, "batch_size": batch_size}
    run = train_sparse(model, DATA, method="srigl", masks=masks, watch=lambda t, m: seen.append((t, m)), **options)
    history = train_condensed(condensed, DATA, watch=lambda t, m: found.append((t, m.masks())), **options)
    assert [t for t, _ in seen] == [t for t, _ in found] == [0, 6, 12, 18, 24, 30]
    for (_, expected), (_, moved) in zip(seen, found, strict=True):
        assert moved.keys() == {"0.weight", "2.weight"} and all(moved[name].equal(expected[name]) for name in moved)
    assert not found[0][1]["0.weight"].equal(found[1][1]["0.weight"])
    ablated = sum(layer.out_features - layer.neurons for layer in condensed.sparse_layers().values())
    assert (ablated > 0) == (gamma > 0)
    for place, layer in condensed.linear_layers().items():
        weight = layer.dense_weight() if isinstance(layer, MovingLinear) else layer.weight.detach()
        torch.testing.assert_close(weight, model[int(place)].weight.detach(), rtol=0, atol=1e-5)
        torch.testing.assert_close(layer.bias.detach(), model[int(place)].bias.detach(), rtol=0, atol=1e-5)
    assert history.updates == run.history.updates and history.steps == run.history.steps
    assert history.train_loss == pytest.approx(run.history.train_loss, abs=1e-5)


@given(st.integers(1, 12), st.integers(1, 20), st.floats(0, 1), st.sampled_from([0, 0.4, 1]), st.integers(0, 999))
def test_one_move_is_one_step(rows, columns, fraction, gamma, seed):
    """Whole numbers, so that gradients are exact and have ties and zeros; several moves in a row."""
    draw = torch.Generator().manual_seed(seed)
    fan_in = int(torch.randint(1, columns + 1, (), generator=draw))
    mask = constant_fan_in_masks({"w": (rows, columns)}, {"w": fan_in / columns}, draw)["w"]
    budget = int(mask.sum())
    weight = torch.randint(-3, 4, mask.shape, generator=draw).float() * mask
    moment = torch.randint(-3, 4, mask.shape, generator=draw).float() * mask
    layer = MovingLinear(columns, rows, budget)
    layer.copy_from(weight, mask, None)
    flat = moment[mask].clone()
    for _ in range(3):
        x = torch.randint(-2, 3, (2, columns, 64), generator=draw).float()
        grad = torch.randint(-2, 3, (2, rows, 64), generator=draw).float()
        layer.heard = (x, grad)
        whole = torch.einsum("prb,pcb->rc", grad, x)
        move(layer, fraction, gamma=gamma, moments=[flat])
        moved = srigl_step(weight, whole, mask, fraction, sparsity=1 - budget / mask.numel(), gamma=gamma)
        weight, moment = weight * (mask & moved), moment * (mask & moved)
        mask = moved
        assert layer.mask().equal(mask) and layer.dense_weight().equal(weight)
        assert flat[: int(mask.sum())].equal(moment[mask]) and not flat[int(mask.sum()) :].any()
        assert not layer.values[int(mask.sum()) :].any()


@given(st.integers(1, 300), st.integers(1, 30), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_candidates_hold_the_largest_gradients_of_the_dense_weight(rows, columns, share, row_share, seed):
    """More than one block of rows, many ties."""
    per_row = max(1, int(row_share * columns))
    draw = torch.Generator().manual_seed(seed)
    layer = MovingLinear(columns, rows, rows)
    layer.heard = tuple(torch.randint(-1, 2, (2, n, 64), generator=draw).float() for n in (columns, rows))
    whole = torch.einsum("prb,pcb->rc", layer.heard[1], layer.heard[0]).abs()
    assert torch.cat([block for _, block in dense_gradient(layer)]).equal(whole)
    count = int(share * whole.numel())
    expected = topk_mask(whole, count).flatten().nonzero().squeeze(1)
    found = candidates(layer, count, per_row)
    assert found.largest(count).tolist() == expected.tolist()
    kept = torch.rand(whole.shape, generator=draw) < 0.2
    wanted = torch.randint(0, columns + 1, (rows,), generator=draw).minimum(columns - kept.sum(1))
    largest = row_topk_mask(whole.masked_fill(kept, -1), wanted).flatten().nonzero().squeeze(1)
    assert grown(layer, found, wanted.numpy(), kept.flatten().nonzero().squeeze(1).numpy()).tolist() == largest.tolist()


def test_drawn_without_a_dense_weight():
    draw = torch.Generator().manual_seed(0)
    model = CondensedMLP((400, 300, 10), density=0.05, distribution="uniform", generator=draw)
    first, last = model.linear_layers().values()
    assert (first.fan_in, first.neurons, len(first.values)) == (20, 300, 6000) and last.fan_in == 15
    assert first.in_use(first.values).std().item() == pytest.approx((2 / 20) ** 0.5, rel=0.03)
    assert first.mask().sum(1).tolist() == [20] * 300 and not first.bias.any()
    expected = constant_fan_in_masks({"w": (300, 400)}, {"w": 0.05}, torch.Generator().manual_seed(0))["w"]
    assert first.mask().equal(expected)
    mixed = CondensedMLP((64, 100, 10), density=0.35, distribution="erk", generator=draw)
    assert isinstance(mixed[2], nn.Linear) and list(mixed.sparse_layers()) == ["0"]


def test_no_tensor_as_large_as_a_dense_weight_is_made():
    """Every tensor that torch makes in training, updates included, is watched."""
    largest = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            for tensor in made if isinstance(made, tuple | list) else [made]:
                if isinstance(tensor, torch.Tensor):
                    largest.append(tensor.numel() * tensor.element_size())
            return made

    with Watch():
        draw = torch.Generator().manual_seed(0)
        model = CondensedMLP((64, 1500, 1500, 10), density=0.05, distribution="uniform", generator=draw)
        train_condensed(model, DATA, **FAST | {"steps": 8, "interval": 3, "end": 8, "eval_every": None}, batch_size=64)
    assert max(largest) < 0.5 * 4 * 1500 * 1500


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("stop", [17, 30])
def test_resumed_equals_straight(tmp_path, optimizer, stop):
    straight, resumed = (CondensedMLP.from_model(*masked(seed=s)) for s in (0, 7))
    expected = train_condensed(straight, DATA, gamma=1, optimizer=optimizer, **FAST)

    class Stop(optimizer.func):
        taken = 0

        def step(self, closure=None):
            self.taken += 1
            if self.taken == stop:
                raise KeyboardInterrupt
            return super().step(closure)

    options = FAST | {"checkpoint": tmp_path / "run.pt", "gamma": 1}
    with pytest.raises(KeyboardInterrupt):
        train_condensed(
            CondensedMLP.from_model(*masked()), DATA, optimizer=partial(Stop, **optimizer.keywords), **options
        )
    found = train_condensed(resumed, DATA, optimizer=optimizer, **options)
    assert found == expected
    for name, part in straight.state_dict().items():
        assert part.equal(resumed.state_dict()[name]), name
    call = partial(train_condensed, resumed, DATA, optimizer=optimizer, **options | {"gamma": 0})
    assert_one_line_error(call, "checkpoint", "'gamma': 1", "delete it")


def test_gradients_of_a_layer_alone():
    """Without the network around it, a layer is an ordinary differentiable function."""
    model, masks = masked()
    layer = CondensedMLP.from_model(model, masks)[0]
    x = torch.randn(2, 64, 64, requires_grad=True)
    other = x.detach().clone().requires_grad_()
    grad = torch.randn(2, 50, 64)
    layer(x).backward(grad)
    (model[0].weight @ other + model[0].bias[:, None]).backward(grad)
    torch.testing.assert_close(x.grad, other.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.values.grad, model[0].weight.grad[masks["0.weight"]], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.bias.grad, model[0].bias.grad, rtol=1e-4, atol=1e-4)
    assert layer.heard is None


@pytest.mark.parametrize("batch", [1, 64, 100, 150])
def test_gradients_of_the_network(batch):
    """By the logits and by the loss in panels, whose padding must not count; by the inputs, too."""
    model, masks = masked()
    condensed = CondensedMLP.from_model(model, masks)
    draw = torch.Generator().manual_seed(batch)
    x, y = torch.randn(batch, 64, generator=draw), torch.randint(10, (batch,), generator=draw)
    inputs = [x.clone().requires_grad_() for _ in range(3)]
    losses = [
        F.cross_entropy(model(inputs[0]), y),
        F.cross_entropy(condensed(inputs[1]), y),
        condensed.loss(inputs[2], y),
    ]
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-6)
    losses[0].backward()
    for loss, found in zip(losses[1:], inputs[1:], strict=True):
        condensed.zero_grad()
        loss.backward()
        close(loss, losses[0])
        close(found.grad, inputs[0].grad)
        for place, layer in condensed.linear_layers().items():
            dense = model[int(place)]
            close(layer.bias.grad, dense.bias.grad)
            close(layer.values.grad.view(-1), dense.weight.grad[masks[f"{place}.weight"]])


def test_a_change_between_forward_and_backward_is_refused():
    condensed = CondensedMLP.from_model(*masked())
    loss = condensed.loss(torch.randn(3, 64), torch.tensor([1, 2, 3]))
    with torch.no_grad():
        condensed[0].values.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


GOOD = masked()
draw = torch.Generator()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: CondensedMLP((64, 50, 10), density=0.001, generator=draw), ("densities['0']", "one for each", "erk")),
        (lambda: CondensedMLP((64,), density=0.1, generator=draw), ("sizes", "(64,)", "inputs and outputs")),
        (lambda: CondensedMLP.from_model(nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)), {}), ("model", "Tanh")),
        (lambda: CondensedMLP.from_model(GOOD[0], GOOD[1] | {"0.weight": torch.ones(50, 64).tril() > 0}), ("mask", "uneven")),
        (lambda: CondensedMLP.from_model(*GOOD)(torch.ones(2, 3)), ("x.shape", "(2, 3)", "(batch, 64)")),
        (lambda: MovingLinear(5, 4, 3), ("budget", "3", "4 or more")),
        (lambda: move(MovingLinear(5, 4, 8), 0.1, gamma=0, moments=[]), ("layer.heard", "None", "listening")),
        (lambda: train_condensed(CondensedMLP.from_model(*GOOD), DATA, **FAST | {"end": 99}), ("end", "99", "steps = 45")),
        (lambda: train_condensed(CondensedMLP.from_model(*GOOD), DATA, gamma=2, **FAST), ("gamma", "2", "[0, 1]")),
    ],
    ids=case_name,
)  # fmt: skip
def test_value_errors(call, words):
    assert_one_line_error(call, *words)
