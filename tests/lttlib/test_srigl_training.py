"""Training with SRigL: against a loop by hand, constant fan-in and budgets at every update, given masks, convolutions."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from errors import assert_one_line_error
from hypothesis import given, settings
from hypothesis import strategies as st
from srigl_by_loops import by_loops
from torch import nn
from toys import ADAM, DATA, half_masks, net

from lttlib.dst import layer_densities
from lttlib.masks import keep_count, prunable
from lttlib.models import mlp
from lttlib.schedules import rigl_drop_fraction
from lttlib.sparse_training import train_sparse
from lttlib.srigl import constant_fan_in_masks
from lttlib.training import SGD, BatchOrder

quick = partial(train_sparse, data=DATA, method="srigl", seed=3, batch_size=16, progress=False, steps=20, interval=3,
                alpha=0.6)  # fmt: skip
drawn = partial(quick, density=0.4, distribution="uniform")


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 9), max_size=2),
    st.sampled_from(["uniform", "er", "erk"]),
    st.floats(0.35, 1),
    st.sampled_from([0, 0.3, 0.9]),
    st.sampled_from([SGD, ADAM]),
    st.integers(0, 99),
)
def test_masks_at_every_update(hidden, kind, density, gamma, optimizer, seed):
    model = mlp((6, *hidden, 3), generator=torch.Generator().manual_seed(seed)).double()
    weights = prunable(model)
    shares = layer_densities({name: weight.shape for name, weight in weights.items()}, density, kind)
    seen = []

    def watch(step, masks):
        seen.append(step)
        for name, mask in masks.items():
            live, budget = mask.sum(1), keep_count(mask.numel(), 1 - shares[name])
            active = int((live > 0).sum())
            assert set(live.tolist()) <= {0, budget // active}
            assert active == len(mask) or (gamma > 0 and step > 0 and name != list(weights)[-1])
            assert not weights[name].detach()[~mask].any()

    try:
        run = quick(model, density=density, distribution=kind, gamma=gamma, optimizer=optimizer, seed=seed, watch=watch)
    except ValueError as error:  # a layer too sparse for its number of neurons is refused before training
        assert "one for each of" in str(error) and not seen
        return
    assert seen == [0, 3, 6, 9, 12] and run.history.updates == [3, 6, 9, 12]
    assert all(not weights[name].detach()[~mask].any() for name, mask in run.masks.items())


@pytest.mark.parametrize("gamma", [0, 0.5, 1])
def test_against_a_loop_by_hand(gamma):
    """Independent: masks in the forward pass, momentum by hand, every update by plain loops."""
    model, other = net(), net()
    run = drawn(model, gamma=gamma)
    masks = quick(net(), density=0.4, distribution="uniform", steps=0).masks
    values = {name: p.detach() * masks.get(name, 1) for name, p in other.named_parameters()}
    speed = {name: torch.zeros_like(value) for name, value in values.items()}
    order = BatchOrder(70, 16, 3)
    for step in range(20):
        used = {name: (v * masks.get(name, 1)).requires_grad_() for name, v in values.items()}
        logits = torch.func.functional_call(other, used, (DATA.x_train[order[step]],))
        F.cross_entropy(logits, DATA.y_train[order[step]]).backward()
        if step in (3, 6, 9, 12):
            share = rigl_drop_fraction(step, alpha=0.6, end=15)
            for name, mask in masks.items():
                lists = (tensor.tolist() for tensor in (values[name], used[name].grad, mask))
                moved = torch.tensor(by_loops(*lists, share, 0.6, gamma, last_layer=name == "2.weight"))
                for memory in (values, speed):
                    memory[name] *= moved
                masks[name] = moved
            continue
        for name in values:
            speed[name] = 0.9 * speed[name] + used[name].grad * masks.get(name, 1)
            values[name] = values[name] - 0.1 * speed[name]
    assert all(run.masks[name].equal(masks[name]) for name in masks)
    assert gamma < 1 or not run.masks["0.weight"].any(1).all()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), values[name], atol=1e-12, rtol=1e-9)


def test_given_masks_are_the_budget():
    """Unstructured masks become structured at the first update; their counts are the budget."""
    masks, seen = half_masks(), []
    quick(net(), masks=masks, gamma=0, watch=lambda step, now: seen.append(now))
    for name, mask in masks.items():
        fan_in = int(mask.sum()) // len(mask)
        assert seen[0][name].equal(mask) and all((now[name].sum(1) == fan_in).all() for now in seen[1:])


def test_convolutions_are_rows_of_filters():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    ).double()
    run = drawn(model, gamma=0.9, density=0.5)
    live = run.masks["1.weight"].flatten(1).sum(1)
    assert run.masks["1.weight"].shape == (4, 1, 2, 2) and set(live.tolist()) <= {0, 8 // int((live > 0).sum())}
    assert (run.masks["4.weight"].sum(1) == 4).all()


def test_gamma_is_part_of_the_run(tmp_path):
    drawn(net(), checkpoint=tmp_path / "run.pt")
    call = partial(drawn, net(), gamma=0, checkpoint=tmp_path / "run.pt")
    assert_one_line_error(call, "checkpoint", "'gamma': 0.3", "'gamma': 0", "delete it")


def test_initial_masks_depend_on_the_seed_alone():
    shapes = {"0.weight": (8, 6), "2.weight": (3, 8)}
    first, other = (quick(net(), density=0.4, distribution="uniform", steps=0, seed=s).masks for s in (3, 4))
    again = drawn(net(5), steps=0).masks
    assert all(first[n].equal(again[n]) for n in shapes) and not first["0.weight"].equal(other["0.weight"])
    found = constant_fan_in_masks(shapes, dict.fromkeys(shapes, 0.4), torch.Generator().manual_seed(0))
    assert all(found[n].sum(1).equal(first[n].sum(1)) for n in shapes)


def test_too_sparse_is_an_error_before_training():
    assert_one_line_error(partial(drawn, net(), density=0.1), "densities['0.weight']", "5 live", "8 neurons", "erk")
    assert_one_line_error(partial(drawn, net(), gamma=2), "gamma", "2", "[0, 1]")
