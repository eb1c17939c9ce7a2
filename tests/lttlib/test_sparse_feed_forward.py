"""Truly sparse feed-forwards: outputs and gradients of the dense ones, training step by step as with masks, what is kept."""

from functools import partial

import pytest
import torch
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lttlib.condensed_layers import MovingLinear
from lttlib.condensed_mlp import CondensedMLP
from lttlib.condensed_training import last_layer, move, sparse_layers, train_condensed
from lttlib.data import digits
from lttlib.masks import prunable
from lttlib.models import mlp
from lttlib.sparse_feed_forward import CondensedFeedForward, feed_forward_masks, with_condensed_feed_forwards
from lttlib.sparse_training import train_sparse
from lttlib.srigl import constant_fan_in_masks, initialize_live
from lttlib.training import SGD
from lttlib.transformers import VisionTransformer, dense_feed_forward

DATA = digits()
SLOW_SGD = partial(torch.optim.SGD, lr=0.03, momentum=0.9)
ADAM = partial(
    torch.optim.Adam, lr=1e-3, eps=1e-4
)  # a small eps would make the rounding of tiny gradients a whole step
FAST = {"steps": 30, "interval": 4, "alpha": 0.5, "seed": 3, "progress": False, "eval_every": 15}


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vision(feed_forward, seed=0) -> VisionTransformer:
    """Small: rounding alone, in float32, lets one of 150,000 hidden activations change its sign in some ten steps."""
    return VisionTransformer(
        (8, 8), patch=4, width=16, heads=2, depth=2, classes=10, feed_forward=feed_forward, generator=draw(seed)
    )


def masked(density=0.25, seed=0):
    """A transformer with masks in its feed-forwards, initialized for them."""
    generator = draw(seed)
    model = vision(lambda block: dense_feed_forward(16, 24, generator=generator), seed)
    masks = feed_forward_masks(model, density, generator=generator)
    sparse = {name: mask for name, mask in masks.items() if not mask.all()}
    return initialize_live(model, sparse, generator), masks


def dense_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters by the names that they have in the dense model; sparse weights with their zeros."""
    found = {name: value.detach().clone() for name, value in model.named_parameters()}
    for name, layer in sparse_layers(model).items():
        del found[f"{name}.values"]
        found[f"{name}.weight"] = layer.dense_weight()
    return found


def sparse_masks(model: nn.Module) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": layer.mask() for name, layer in sparse_layers(model).items()}


@pytest.mark.parametrize("optimizer", [SLOW_SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("gamma, batch_size", [(0, 64), (0.7, 35)])
def test_training_equals_masks_on_dense_feed_forwards(optimizer, gamma, batch_size):
    """35 images of 4 tokens do not fill the last panel."""
    model, masks = masked()
    condensed, expected, found = with_condensed_feed_forwards(model, masks), [], []
    assert len(sparse_layers(condensed)) == 4
    options = FAST | {"gamma": gamma, "optimizer": optimizer, "batch_size": batch_size}
    run = train_sparse(model, DATA, method="srigl", masks=masks, **options,
                       watch=lambda step, now: expected.append((step, now, dense_state(model))))  # fmt: skip
    history = train_condensed(condensed, DATA, **options,
                              watch=lambda step, now: found.append((step, sparse_masks(now), dense_state(now))))  # fmt: skip
    expected.append((30, run.masks, dense_state(model)))
    found.append((30, sparse_masks(condensed), dense_state(condensed)))
    assert [step for step, _, _ in expected] == [step for step, _, _ in found] == [0, 4, 8, 12, 16, 20, 30]
    for (_, now, weights), (_, moved, others) in zip(expected, found, strict=True):
        assert all(moved[name].equal(now[name]) for name in moved)
        assert all(mask.all() for name, mask in now.items() if name not in moved)  # the others were never touched
        assert weights.keys() == others.keys()
        for name, weight in weights.items():
            torch.testing.assert_close(others[name], weight, rtol=0, atol=1e-5, msg=name)
    assert not any(mask.equal(found[1][1][name]) for name, mask in found[0][1].items())
    ablated = sum(layer.out_features - layer.neurons for layer in sparse_layers(condensed).values())
    assert (ablated > 0) == (gamma > 0)
    assert history.updates == run.history.updates
    assert history.train_loss == pytest.approx(run.history.train_loss, abs=1e-5)
    assert history.test_accuracy == pytest.approx(run.history.test_accuracy, abs=1e-6)


@given(
    st.integers(1, 3), st.integers(1, 70), st.integers(1, 20), st.integers(1, 30), st.floats(0.1, 1), st.integers(0, 99)
)
def test_outputs_and_gradients_of_the_dense_block(batch, tokens, width, hidden, share, seed):
    """The dense computation is in double precision; the kernels know float32 alone."""
    generator = draw(seed)
    dense = dense_feed_forward(width, hidden, generator=generator)
    with torch.no_grad():
        for layer in (dense[0], dense[2]):
            layer.bias.normal_(generator=generator)
    shapes = {"0.weight": (hidden, width), "2.weight": (width, hidden)}
    shares = {name: max(share, 1 / shape[1]) for name, shape in shapes.items()}
    masks = constant_fan_in_masks(shapes, shares, generator)
    sparse = CondensedFeedForward.from_model(dense, masks)
    x = torch.randn(batch, tokens, width, generator=generator, requires_grad=True)
    weights = [p.detach().double().requires_grad_() for p in dense.parameters()]
    same = x.detach().double().requires_grad_()
    first, second = weights[0] * masks["0.weight"], weights[2] * masks["2.weight"]
    expected = torch.einsum("oh,bth->bto", second, (torch.einsum("hw,btw->bth", first, same) + weights[1]).relu())
    expected = expected + weights[3]
    answers = sparse(x)
    grad = torch.randn(answers.shape, generator=generator)
    answers.backward(grad)
    expected.backward(grad.double())
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4, check_dtype=False)
    close(answers, expected)
    close(x.grad, same.grad)
    for place, weight, bias in ((0, *weights[:2]), (2, *weights[2:])):
        layer, mask = sparse[place], masks[f"{place}.weight"]
        values = layer.values.grad if isinstance(layer, MovingLinear) else layer.weight.grad[mask]
        close(values, weight.grad[mask])
        close(layer.bias.grad, bias.grad)


def test_drawn_sparse_and_nothing_dense_is_kept_or_made():
    largest = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            for tensor in made if isinstance(made, tuple | list) else [made]:
                if isinstance(tensor, torch.Tensor):
                    largest.append(tensor.numel())
            return made

    with Watch():
        block = CondensedFeedForward(400, 800, density=0.05, generator=draw())
        for layer in sparse_layers(block).values():
            layer.listening = True
        block(torch.randn(2, 30, 400, generator=draw(1))).backward(torch.randn(2, 30, 400, generator=draw(2)))
        for layer in sparse_layers(block).values():
            move(layer, 0.3, gamma=0.3, moments=[])
    assert max(largest) < 0.4 * 400 * 800
    first, last = block[0], block[2]
    assert (first.fan_in, last.fan_in) == (20, 40) and len(first.values) == len(last.values) == 16_000
    assert sum(value.numel() for value in block.state_dict().values()) == 4 * 16_000 + 2 * (400 + 800)
    values = first.in_use(CondensedFeedForward(400, 800, density=0.05, generator=draw())[0].values)
    assert values.std().item() == pytest.approx((2 / 20) ** 0.5, rel=0.03)
    dense = CondensedFeedForward(8, 9, density=1, generator=draw())
    assert not sparse_layers(dense) and dense(torch.ones(2, 3, 8)).shape == (2, 3, 8)


def test_masks_of_the_feed_forwards_alone():
    generator = draw()
    model = vision(lambda block: dense_feed_forward(16, 24, generator=generator))
    masks, again = (feed_forward_masks(model, 0.25, generator=draw(4)) for _ in range(2))
    assert list(masks) == list(prunable(model)) and all(masks[name].equal(again[name]) for name in masks)
    for name, mask in masks.items():
        shape = prunable(model)[name].shape
        fan_in = shape[1] // 4 if ".feed_forward." in name else shape[1]
        assert mask.shape == shape and mask.dtype == torch.bool and mask.sum(1).tolist() == [fan_in] * shape[0]
    assert sum(".feed_forward." in name for name in masks) == 4


def test_conversion_leaves_the_model_alone():
    model, masks = masked()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    condensed = with_condensed_feed_forwards(model, masks)
    x = DATA.x_test[:5]
    torch.testing.assert_close(condensed(x), model(x), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for parameter in condensed.parameters():
            parameter += 1
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_layers_of_any_module():
    network = CondensedMLP((64, 50, 10), density=0.2, distribution="uniform", generator=draw())
    assert sparse_layers(network) == network.sparse_layers() and last_layer(network) == "2"
    mixed = CondensedMLP((64, 100, 10), density=0.35, distribution="erk", generator=draw())
    assert sparse_layers(mixed) == {"0": mixed[0]} and last_layer(mixed) == "2"
    convolution = nn.Conv1d(1, 1, 1)
    assert last_layer(nn.ModuleDict({"sparse": network, "dense": convolution})) == "dense"
    inside = nn.ModuleDict({"dense": convolution, "sparse": network})
    assert last_layer(inside) == "sparse.2" and list(sparse_layers(inside)) == ["sparse.0", "sparse.2"]
    assert sparse_layers(network[2]) == {"": network[2]} and last_layer(network[2]) == ""
    assert last_layer(masked()[0]) == "readout"
    inner = with_condensed_feed_forwards(*masked())
    assert list(sparse_layers(inner)) == [f"transformer.blocks.{i}.feed_forward.{j}" for i in (0, 1) for j in (0, 2)]
    assert last_layer(inner) == "readout"


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_sparse_last_layer_loses_no_neuron(wrapped):
    """gamma = 1 ablates in the hidden layers; the same masks as where train_sparse decides."""
    model = mlp((64, 40, 30, 10), generator=draw())
    masks = constant_fan_in_masks({name: tuple(w.shape) for name, w in prunable(model).items()},
                                  dict.fromkeys(prunable(model), 0.2), draw(1))  # fmt: skip
    initialize_live(model, masks, draw(2))
    condensed = CondensedMLP.from_model(model, masks)
    network = nn.Sequential(condensed, nn.Identity()) if wrapped else condensed
    run = train_sparse(model, DATA, method="srigl", masks=masks, gamma=1, optimizer=SGD, **FAST)
    train_condensed(network, DATA, gamma=1, optimizer=SGD, **FAST)
    assert all(mask.equal(run.masks[name]) for name, mask in condensed.masks().items())
    assert condensed[4].neurons == 10 and condensed[0].neurons < 40


def test_it_learns():
    """Far above chance, 0.1, after few steps."""
    generator = draw()
    model = vision(lambda block: CondensedFeedForward(16, 24, density=0.25, generator=generator))
    history = train_condensed(model, DATA, optimizer=partial(torch.optim.Adam, lr=3e-3), **FAST | {"steps": 90})
    assert history.test_accuracy[-1] > 0.7


GOOD = masked()
BLOCK = CondensedFeedForward(16, 20, density=0.5, generator=draw())
ODD = {name: ~mask if name == "embedding.weight" else mask for name, mask in GOOD[1].items()}


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: BLOCK(torch.zeros(2, 3, 15)), ("x.shape", "(2, 3, 15)", "(batch, tokens, 16)")),
        (lambda: BLOCK(torch.zeros(3, 16)), ("x.shape", "(3, 16)", "(batch, tokens, 16)")),
        (lambda: CondensedFeedForward(16, 20, density=0.02, generator=draw()), ("densities['0']", "20 neurons")),
        (lambda: feed_forward_masks(nn.Linear(2, 2), 0.5, generator=draw()), ("model", "Linear", "dense_feed_forward")),
        (lambda: feed_forward_masks(GOOD[0], 0, generator=draw()), ("densities", "0", "(0, 1]")),
        (lambda: with_condensed_feed_forwards(GOOD[0], ODD), ("masks", "embedding.weight", "feed_forward_masks")),
    ],
    ids=case_name,
)  # fmt: skip
def test_value_errors(call, words):
    assert_one_line_error(call, *words)


def test_other_errors():
    assert_one_line_error(lambda: BLOCK(torch.zeros(2, 3, 16).double()), "x.dtype", "float32", error=TypeError)
    some = {name: mask for name, mask in GOOD[1].items() if ".feed_forward." in name}
    call = partial(with_condensed_feed_forwards, GOOD[0], some)
    assert_one_line_error(call, "masks", "embedding.weight", "prunable(model)", error=KeyError)
