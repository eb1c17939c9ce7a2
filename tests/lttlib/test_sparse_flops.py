"""Operations of sparse training: by hand, against torch's own counter, step by step, against a real run."""

from functools import partial

import pytest
import torch
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from toys import DATA, net

from lttlib.dst import layer_densities
from lttlib.masks import prunable
from lttlib.models import lenet5, lenet_300_100
from lttlib.sparse_flops import METHODS, forward_flops, live_counts, training_flops, weight_uses
from lttlib.sparse_training import train_sparse


def sizes_of(model):
    return {name: weight.numel() for name, weight in prunable(model).items()}


def test_uses_by_hand(generator):
    """LeNet-5: 24 x 24 and 8 x 8 positions."""
    found = weight_uses(lenet5(generator=generator), torch.zeros(3, 784))
    assert list(found.values()) == [576, 64, 1, 1]
    assert forward_flops(found, sizes_of(lenet5(generator=generator))) == 2 * (500 * 576 + 25_000 * 64 + 400_000 + 5000)


def odd() -> nn.Sequential:
    """Strides, padding, groups, dilation, one dimension, a layer used at several positions, batch norm."""
    return nn.Sequential(
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=1, groups=2),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 5, 3, dilation=2),
        nn.Flatten(2),
        nn.Conv1d(5, 7, 3, stride=3),
        nn.Linear(5, 11),
        nn.Flatten(),
        nn.Linear(77, 2, bias=False),
    )


@pytest.mark.parametrize("which", ["lenet5", "lenet_300_100", "odd"])
def test_forward_and_backward_against_torch(which, generator):
    """Independent: torch counts the products as they run; a backward pass to the inputs, too, is twice a forward one."""
    models = {
        "lenet5": lambda: lenet5(generator=generator),
        "lenet_300_100": lambda: lenet_300_100(generator=generator),
    }
    model, shape = (odd(), (5, 4, 13, 8)) if which == "odd" else (models[which](), (5, 784))
    x = torch.randn(shape, generator=generator)
    buffers = [buffer.clone() for buffer in model.buffers()]
    uses = weight_uses(model, x)
    assert all(a.equal(b) for a, b in zip(buffers, model.buffers(), strict=True)) and model.training
    assert not any(module._forward_hooks for module in model.modules())
    x.requires_grad_()
    with FlopCounterMode(display=False) as counter:
        loss = model(x).sum()
        forward = counter.get_total_flops()
        loss.backward()
    assert forward == 5 * forward_flops(uses, sizes_of(model))
    if which != "odd":  # torch's counter forgets the groups of a convolution on the way back
        assert counter.get_total_flops() == training_flops("dense", uses, sizes_of(model), steps=1, batch_size=5)


def test_training_by_hand():
    """One layer of 100 at 10 %: f_D = 200, f_S = 20; ten steps, updates at 3 and 6 (end 7), two examples."""
    count = partial(training_flops, uses={"a": 1}, sizes={"a": 100}, densities={"a": 0.1}, steps=10, batch_size=2)
    found = {method: count(method, interval=3) for method in METHODS}
    assert found["dense"] == 2 * 10 * 600
    assert found["static"] == found["set"] == 2 * 10 * 60
    assert found["rigl"] == found["srigl"] == 2 * (8 * 60 + 2 * (40 + 200))
    # gmp: dense in steps 0 to 3; 1 - 0.9 * 7/8 = 0.2125 in 4 to 6, 22 live; then 10
    assert found["gmp"] == 2 * 3 * (4 * 200 + 3 * 44 + 3 * 20)
    assert count("dense", steps=50) == 5 * found["dense"]


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 500))
def test_rigl_has_the_mean_of_the_paper(interval, cycles, live):
    """(3 f_S Delta T + 2 f_S + f_D) / (Delta T + 1): Delta T steps and then one update."""
    sparse, dense = 2 * live, 1000
    mean = (3 * sparse * interval + 2 * sparse + dense) / (interval + 1)
    steps = (cycles + 1) * (interval + 1)
    found = training_flops("rigl", {"a": 1}, {"a": 500}, {"a": live / 500}, steps=steps, batch_size=1,
                           interval=interval + 1, end=steps)  # fmt: skip
    assert found == pytest.approx(cycles * (interval + 1) * mean + (interval + 1) * 3 * sparse)


def test_a_layer_used_twice_counts_twice():
    layer = nn.Linear(4, 4)
    assert weight_uses(nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(4, 3)), torch.zeros(2, 4)) == {
        "0.weight": 2,
        "3.weight": 1,
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("distribution, interval", [("uniform", 1), ("erk", 4)])
def test_against_a_real_run(method, distribution, interval):
    """Independent: sum over the steps of a run, with the masks it really had."""
    model, steps, masks_at = net(), 20, {}
    start = {name: torch.ones_like(weight) > 0 for name, weight in prunable(model).items()}
    if method != "dense":
        run = train_sparse(model, DATA, method=method, density=0.2, distribution=distribution, steps=steps, interval=interval, seed=0,
                           gamma=0, batch_size=16, progress=False, watch=lambda t, m: masks_at.update({t: m}))  # fmt: skip
        assert live_counts(run.masks) == {name: int(mask.sum()) for name, mask in run.masks.items()}
    total, dense = 0, 2 * (48 + 24)
    now = masks_at.pop(0, start)
    for step in range(steps):
        sparse = 2 * sum(int(mask.sum()) for mask in now.values())
        total += 2 * sparse + (dense if method in ("rigl", "srigl") and step in masks_at else sparse)
        now = masks_at.get(step, now)
    densities = layer_densities({name: mask.shape for name, mask in start.items()}, 0.2, distribution)
    if method == "srigl":  # what constant fan-in leaves of the budget; without ablation it stays so
        densities = {name: float(mask.double().mean()) for name, mask in run.masks.items()}
    uses = weight_uses(model, DATA.x_train)
    found = training_flops(method, uses, sizes_of(model), densities, steps=steps, batch_size=16, interval=interval)
    assert found == 16 * total and uses == {"0.weight": 1, "2.weight": 1}


@pytest.mark.parametrize("gamma", [0, 0.5, 1])
def test_srigl_leaves_less_than_a_weight_per_neuron_unused(gamma):
    """Independent: the masks of a run in which neurons leave; never more than what is counted."""
    model, steps, masks_at = net(), 20, {}
    train_sparse(model, DATA, method="srigl", density=0.4, distribution="erk", steps=steps, interval=3, seed=0, gamma=gamma,
                 batch_size=16, progress=False, watch=lambda t, m: masks_at.update({t: m}))  # fmt: skip
    real, dense, now = 0, 2 * (48 + 24), masks_at.pop(0)
    for step in range(steps):
        sparse = 2 * sum(int(mask.sum()) for mask in now.values())
        real += 2 * sparse + (dense if step in masks_at else sparse)
        now = masks_at.get(step, now)
    assert len(masks_at) == 4 and (gamma < 1 or any(not mask.any(1).all() for mask in now.values()))
    densities = layer_densities({"0.weight": (8, 6), "2.weight": (3, 8)}, 0.4, "erk")
    uses = {"0.weight": 1, "2.weight": 1}
    found = training_flops("srigl", uses, sizes_of(model), densities, steps=steps, batch_size=16, interval=3)
    assert 16 * real <= found < 16 * (real + 3 * 2 * (8 + 3) * steps)


one = partial(training_flops, "rigl", {"a": 1}, {"a": 9}, {"a": 0.5}, steps=9, batch_size=1)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: training_flops("snfs", {}, {}, {}, steps=1, batch_size=1), ("method", "'snfs'", "'rigl'")),
        (lambda: training_flops("set", {"a": 1}, {"a": 9}, steps=1, batch_size=1), ("densities", "None", "layer_densities")),
        (lambda: one(steps=-1), ("steps", "-1", "0 or more")),
        (lambda: one(batch_size=0), ("batch_size", "0", "1 or more")),
        (lambda: one(end=10), ("end", "10", "steps = 9")),
        (lambda: training_flops("gmp", {"a": 1}, {"a": 9}, {"a": 0.5}, steps=9, batch_size=1), ("interval", "100", "end = 6")),
    ],
    ids=case_name,
)  # fmt: skip
def test_value_errors(call, words):
    assert_one_line_error(call, *words)


def test_layers_must_match():
    assert_one_line_error(lambda: forward_flops({"a": 1}, {"b": 1}), "live", "['b']", "uses", error=KeyError)
    call = partial(training_flops, "set", {"a": 1}, {"b": 1}, {"a": 1}, steps=1, batch_size=1)
    assert_one_line_error(call, "sizes", "['b']", error=KeyError)
    call = partial(training_flops, "set", {"a": 1}, {"a": 1}, {"b": 1}, steps=1, batch_size=1)
    assert_one_line_error(call, "densities", "['b']", error=KeyError)
