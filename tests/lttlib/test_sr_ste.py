"""SR-STE: masks by hand and against masks.nm_mask, training against a loop by hand, resumed runs, errors."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from toys import ADAM, DATA, net, same

from lttlib.data import digits
from lttlib.masks import nm_mask
from lttlib.models import mlp
from lttlib.sr_ste import short_nm_mask, train_sr_ste
from lttlib.training import SGD, BatchOrder

quick = partial(train_sr_ste, data=DATA, n=1, m=3, steps=30, seed=3, batch_size=16, progress=False)


def test_masks_by_hand():
    """Five inputs in groups of three and two; ties go to the lowest index."""
    weight = torch.tensor([[1.0, -3, 2, 0, -0.5], [4, 4, 4, 0, 0]])
    assert short_nm_mask(weight, 1, 3).int().tolist() == [[0, 1, 0, 0, 1], [1, 0, 0, 1, 0]]
    assert short_nm_mask(weight, 2, 3).int().tolist() == [[0, 1, 1, 1, 1], [1, 1, 0, 1, 1]]
    assert short_nm_mask(weight, 3, 32).int().tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]
    assert not short_nm_mask(weight, 0, 3).any() and short_nm_mask(weight, 3, 3).all()


@given(
    st.sampled_from([(2, 4), (1, 4), (3, 32), (0, 2), (5, 5)]), st.integers(1, 3), st.booleans(), st.integers(0, 999)
)
def test_masks_are_those_of_nm_mask_where_m_divides(pattern, groups, conv, seed):
    n, m = pattern
    shape = (3, groups * m, 2, 2) if conv else (3, groups * m)
    weight = torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).float()
    assert short_nm_mask(weight, n, m).equal(nm_mask(weight, n, m))


@pytest.mark.parametrize("decay", [0, 2e-4, 0.5])
def test_against_a_loop_by_hand(decay):
    """Gradients by autograd at the masked weights as leaves, momentum by hand."""
    model, other = net(), net()
    run = quick(model, decay=decay)
    values = {name: p.detach().clone() for name, p in other.named_parameters()}
    speed = {name: torch.zeros_like(value) for name, value in values.items()}
    order = BatchOrder(70, 16, 3)

    def masked():
        found = {
            name: nm_mask(F.pad(v, (0, -v.shape[1] % 3)), 1, 3)[:, : v.shape[1]]
            for name, v in values.items()
            if v.ndim > 1
        }
        return found, {name: value * found.get(name, 1) for name, value in values.items()}

    for step in range(30):
        masks, used = masked()
        used = {name: value.requires_grad_() for name, value in used.items()}
        logits = torch.func.functional_call(other, used, (DATA.x_train[order[step]],))
        F.cross_entropy(logits, DATA.y_train[order[step]]).backward()
        for name, value in values.items():
            grad = used[name].grad + (decay * ~masks[name] * value if name in masks else 0)
            speed[name] = 0.9 * speed[name] + grad
            values[name] = value - 0.1 * speed[name]
    masks, used = masked()
    assert all(run.masks[name].equal(masks[name]) for name in masks) and run.masks.keys() == masks.keys()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), used[name], atol=1e-12, rtol=1e-9)


def test_recorded_accuracy_is_that_of_the_masked_network():
    model = net()
    run = quick(model, steps=7)
    with torch.no_grad():
        found = (model(DATA.x_test).argmax(1) == DATA.y_test).double().mean().item()
    assert run.history.steps == [7] and run.history.test_accuracy == [pytest.approx(found)]


@pytest.mark.parametrize("pattern", [(2, 4), (1, 4), (3, 32)])
def test_digits_are_learned(pattern):
    n, m = pattern
    data = digits()
    model = mlp((64, 100, 10), generator=torch.Generator().manual_seed(0))
    run = train_sr_ste(model, data, n=n, m=m, steps=200, seed=0, progress=False)
    assert run.history.test_accuracy[-1] > 0.9
    live = run.masks["0.weight"].view(100, -1, m).sum(2)
    assert (live == n).all() and int((model[0].weight != 0).sum()) <= n * 6400 // m


def test_convolutions_and_running_statistics():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 6, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
                          nn.Linear(12, 3)).double()  # fmt: skip
    before = model[2].running_mean.clone()
    run = quick(model)
    assert run.masks["1.weight"].all() and run.masks["5.weight"].view(3, 4, 3).sum(2).eq(1).all()
    assert not model[2].running_mean.equal(before)


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_resumed_equals_straight(tmp_path, optimizer):
    straight, resumed = net(), net(5)
    expected = quick(straight, eval_every=10, optimizer=optimizer)

    class Stop(optimizer.func):
        taken = 0

        def step(self, closure=None):
            self.taken += 1
            if self.taken == 24:
                raise KeyboardInterrupt
            return super().step(closure)

    options = {"eval_every": 10, "checkpoint": tmp_path / "run.pt"}
    with pytest.raises(KeyboardInterrupt):
        quick(net(), optimizer=partial(Stop, **optimizer.keywords), **options)
    found = quick(resumed, optimizer=optimizer, **options)
    assert same(straight, resumed) and found.history == expected.history
    assert_one_line_error(partial(quick, net(), n=2, optimizer=optimizer, **options), "checkpoint", "'n:m': [1, 3]")


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: quick(net(), n=4), ("n", "4", "0 to m = 3")),
        (lambda: quick(net(), m=0), ("m", "0", "1 or more")),
        (lambda: quick(net(), decay=-1), ("decay", "-1", "0 or more")),
        (lambda: short_nm_mask(torch.ones(3), 1, 2), ("weight.shape", "(3,)", "(out, in)")),
        (lambda: short_nm_mask(torch.full((1, 2), torch.inf), 1, 2), ("weight", "2 NaN")),
    ],
    ids=case_name,
)
def test_value_errors(call, words):
    assert_one_line_error(call, *words)
