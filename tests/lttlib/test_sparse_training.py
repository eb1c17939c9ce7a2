"""Training with masks that move: exact at every step, against a loop by hand, moments, repeatability, errors."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from errors import assert_one_line_error, case_name
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import ADAM, DATA, DECAY, half_masks, net, same

from lttlib.dst import exploration_rate, layer_densities, update_steps
from lttlib.masks import prunable
from lttlib.models import mlp
from lttlib.schedules import cubic_sparsity, rigl_drop_fraction
from lttlib.sparse_training import METHODS, draws, first_masks, rescaled, train_sparse
from lttlib.training import SGD, BatchOrder, train

quick = partial(train_sparse, data=DATA, seed=3, batch_size=16, progress=False, density=0.3, distribution="erk")
FREE = tuple(method for method in METHODS if method != "srigl")  # see test_srigl_training
FAST = {"steps": 20, "interval": 3, "alpha": 0.6}
OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "plain": (torch.optim.SGD, {"lr": 0.1}),
    "decay": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05, "nesterov": True}),
    "adam": (torch.optim.Adam, {"lr": 0.01}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True}),
}


def watched(name: str, before_step):
    """An optimizer that calls before_step(itself) at the start of every step."""
    kind, options = OPTIMIZERS[name]

    class Watched(kind):
        def step(self, closure=None):
            before_step(self)
            return super().step(closure)

    return partial(Watched, **options)


def clones(masks):
    return {name: mask.clone() for name, mask in masks.items()}


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


@settings(max_examples=40)
@given(
    st.sampled_from(FREE),
    st.sampled_from(["uniform", "er", "erk"]),
    st.sampled_from(sorted(OPTIMIZERS)),
    st.lists(st.integers(1, 9), max_size=2),
    st.floats(0.02, 1),
    st.integers(1, 7),
    st.integers(8, 16),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_masks_are_exact_at_every_step(method, kind, optimizer, hidden, density, interval, end, alpha, seed):
    """Counts from exact arithmetic; what is dead is +0 before every step; updates are at the right steps and only there."""
    model = mlp((6, *hidden, 3), generator=torch.Generator().manual_seed(seed)).double()
    weights = prunable(model)
    now, seen, taken = {}, [], []
    sizes = {name: weight.numel() for name, weight in weights.items()}
    shares = layer_densities({name: w.shape for name, w in weights.items()}, density, kind)
    updates = [t for t in range(1, 16) if t % interval == 0 and t < end]

    def watch(step, masks):
        now.clear()
        now.update(masks)
        seen.append((step, clones(masks)))
        for name, size in sizes.items():
            share = shares[name]
            if method == "gmp":
                share = 1 - cubic_sparsity(step, start=0, end=updates[-1], final=1 - share)
            assert int(masks[name].sum()) == size - math.floor((1 - share) * size + 1e-9)
            assert not weights[name].detach()[~masks[name]].any()

    def before_step(engine):
        taken.append(1)
        for name, weight in weights.items():
            dead = weight.detach()[~now[name]]
            assert not dead.any() and not dead.signbit().any()

    run = quick(model, method=method, density=density, distribution=kind, optimizer=watched(optimizer, before_step),
                steps=16, interval=interval, end=end, alpha=alpha, seed=seed, watch=watch)  # fmt: skip
    expected = [] if method == "static" else updates
    assert [step for step, _ in seen] == [0, *expected] and run.history.updates == expected
    assert len(taken) == 16 - len(expected)
    before_step(None)
    assert equal(run.masks, now) and run.history.steps == [16]
    assert run.exploration == exploration_rate([masks for _, masks in seen])
    assert run.history.explored == [exploration_rate([m for _, m in seen[: i + 2]]) for i in range(len(expected))]


def moved_by_sorting(method, weight, grad, mask, step, updates, share, final, generator):
    """The next mask of one layer, flat, by numpy's lexsort."""
    weight, grad, mask = weight.ravel(), grad.ravel(), mask.ravel()
    places = np.arange(mask.size)
    strongest = [i for i in places[np.lexsort((places, -abs(weight)))] if mask[i]]
    if method == "gmp":
        zeros = (1 - final) * (1 - (1 - step / updates[-1]) ** 3) * mask.size
        return np.isin(places, strongest[: mask.size - math.floor(zeros + 1e-9)])
    k = math.floor(share * mask.sum() + 1e-9)
    kept = np.isin(places, strongest[: mask.sum() - k])
    free = places[~kept]
    if method == "set":
        grown = free[torch.randperm(len(free), generator=generator).numpy()[:k]]
    else:
        grown = free[np.argsort(-abs(grad.ravel()[free]), kind="stable")[:k]]
    return kept | np.isin(places, grown)


@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize("method", FREE)
def test_against_a_loop_by_hand(method, adam):
    """Independent: masks multiply the weights in the forward pass, so no gradient ever reaches a dead one; own optimizer."""
    model, other = net(), net()
    optimizer = ADAM if adam else SGD
    first = quick(net(), method="static", steps=0).masks
    run = quick(model, method=method, optimizer=optimizer, **FAST)
    layers = dict(other.named_parameters())
    masks = {n: torch.ones_like(m) if method == "gmp" else m.clone() for n, m in first.items()}
    values = {n: p.detach() * masks.get(n, 1) for n, p in layers.items()}
    speed, square = ({n: torch.zeros_like(v) for n, v in values.items()} for _ in range(2))
    order, updates, taken = BatchOrder(70, 16, 3), [3, 6, 9, 12], 0
    final = layer_densities({n: m.shape for n, m in masks.items()}, 0.3, "erk")
    for step in range(20):
        leaves = {n: v.clone().requires_grad_() for n, v in values.items()}
        used = {n: leaf * masks.get(n, 1) for n, leaf in leaves.items()}
        for tensor in used.values():
            tensor.retain_grad()
        logits = torch.func.functional_call(other, used, (DATA.x_train[order[step]],))
        F.cross_entropy(logits, DATA.y_train[order[step]]).backward()
        if method != "static" and step in updates:
            generator, share = draws(3, step), rigl_drop_fraction(step, alpha=0.6, end=15)
            for name in masks:
                arrays = values[name].numpy(), used[name].grad.numpy(), masks[name].numpy()
                flat = moved_by_sorting(method, *arrays, step, updates, share, final[name], generator)
                moved = torch.from_numpy(flat).view(masks[name].shape)
                for memory in (values, speed, square):
                    memory[name] *= moved  # what is dropped is forgotten, so what is born starts at 0
                masks[name] = moved
            continue
        taken += 1
        for name, leaf in leaves.items():
            g = leaf.grad
            if adam:
                speed[name] = 0.9 * speed[name] + 0.1 * g
                square[name] = 0.999 * square[name] + 0.001 * g**2
                scale = (square[name] / (1 - 0.999**taken)).sqrt() + 1e-8
                values[name] = values[name] - 0.01 * speed[name] / (1 - 0.9**taken) / scale
            else:
                speed[name] = 0.9 * speed[name] + g
                values[name] = values[name] - 0.1 * speed[name]
    assert equal(run.masks, masks)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), values[name], atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("method", ["set", "rigl"])
def test_newborn_weights_start_from_nothing_and_returning_ones_go_on(method, optimizer):
    model, first = net(), "0.weight"
    weight = dict(model.named_parameters())[first]
    born, kept, memory, checked = [], [], {}, []

    def watch(step, masks):
        if step:
            born.append(masks[first] & ~memory["mask"])
            kept.append(masks[first] & memory["mask"])
        memory["mask"] = masks[first]

    def moments(engine):
        return [value for value in engine.state[weight].values() if value is not None and value.shape == weight.shape]

    def before_step(engine):
        found = [tensor.detach().clone() for tensor in (weight, *moments(engine))]
        if born:
            new, old = born.pop(), kept.pop()
            assert new.any() and old.any() and len(found) == {"sgd": 2, "adam": 3, "adamw": 4}[optimizer]
            for tensor, earlier in zip(found, memory["after"], strict=True):
                assert not tensor[new].any()
                assert tensor[old].equal(earlier[old]) and tensor[old].any()
            checked.append(1)

    kind = watched(optimizer, before_step)

    class Remembering(kind.func):
        def step(self, closure=None):
            super().step(closure)
            memory["after"] = [tensor.detach().clone() for tensor in (weight, *moments(self))]

    quick(model, method=method, optimizer=partial(Remembering, **kind.keywords), watch=watch,
          drop=lambda step: 0.5, **FAST)  # fmt: skip
    assert len(checked) == 4


def test_the_dense_gradient_is_used_only_at_updates(monkeypatch):
    calls = []

    def counted(weight, grad, mask, fraction):
        calls.append((tuple(mask.shape), fraction, bool((grad[~mask] != 0).any())))
        return mask

    monkeypatch.setattr("lttlib.sparse_training.rigl_step", counted)
    quick(net(), method="rigl", **FAST)
    wanted = [rigl_drop_fraction(t, alpha=0.6, end=15) for t in update_steps(3, 15)]
    assert calls == [(shape, f, True) for f in wanted for shape in ((8, 6), (3, 8))]
    calls.clear()
    for method in ("static", "set", "gmp"):
        quick(net(), method=method, **FAST)
    assert not calls


def test_static_is_training_under_fixed_masks():
    model, other = net(), net()
    run = quick(model, method="static", steps=25, eval_every=10, optimizer=DECAY)
    history = train(other, DATA, steps=25, seed=3, batch_size=16, masks=run.masks, eval_every=10, optimizer=DECAY, progress=False)  # fmt: skip
    assert same(model, other) and run.history.train_loss == history.train_loss
    assert run.history.test_accuracy == history.test_accuracy and run.exploration == pytest.approx(
        23 / 72
    )  # 12.1 and 9.5, rounded up


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_is_bit_identical_and_another_is_not(method):
    first, again, other = net(), net(), net()
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    one = quick(first, method=method, **FAST)
    assert torch.random.get_rng_state().equal(state)
    torch.manual_seed(9)
    two = quick(again, method=method, **FAST)
    third = quick(other, method=method, **FAST | {"seed": 4})
    assert same(first, again) and equal(one.masks, two.masks) and one.history == two.history
    assert not equal(one.masks, third.masks) and not same(first, other)


def test_methods_start_from_the_same_masks_and_other_seeds_from_others():
    start = {}
    for method in ("static", "set", "rigl"):
        quick(net(), method=method, steps=1, watch=lambda step, masks, m=method: start.setdefault(m, clones(masks)))
    assert equal(start["static"], start["set"]) and equal(start["set"], start["rigl"])
    assert not equal(start["set"], quick(net(), method="set", steps=1, seed=4).masks)
    assert quick(net(), method="set", steps=1, seed=-1).masks


def test_given_masks_and_another_drop_fraction():
    masks, seen = half_masks(), []
    before = clones(masks)
    run = train_sparse(net(), DATA, method="rigl", masks=masks, steps=12, interval=2, end=12, seed=3, batch_size=16,
                       drop=lambda step: 0.0 if step < 8 else 1.0, progress=False, watch=lambda t, m: seen.append(m))  # fmt: skip
    assert equal(masks, before) and all(equal(m, before) for m in seen[:4]) and not equal(seen[4], before)
    assert all(run.masks[n].sum() == masks[n].sum() for n in masks) and run.history.updates == [2, 4, 6, 8, 10]


def test_defaults_are_those_of_rigl(monkeypatch):
    seen = []
    monkeypatch.setattr("lttlib.sparse_training.rigl_step", lambda w, g, mask, fraction: seen.append(fraction) or mask)
    run = quick(net(), method="rigl", steps=402)
    assert run.history.updates == [100, 200, 300]  # before 301 = three quarters
    assert seen[::2] == pytest.approx([0.15 * (1 + math.cos(math.pi * t / 301)) for t in (100, 200, 300)])


def test_progress_bar_is_shown_or_not(capsys):
    quick(net(), method="set", steps=2)
    assert capsys.readouterr().err == ""
    quick(net(), method="set", steps=2, progress=True)
    assert "training" in capsys.readouterr().err


static = partial(quick, net(), method="static", steps=9)
bare = partial(static, density=None, distribution=None)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: static(method="RigL"), ("method", "'RigL'", "'rigl'", "spelling")),
        (lambda: static(density=0), ("density", "0", "(0, 1]")),
        (lambda: static(distribution="even"), ("distribution", "'even'", "'uniform'")),
        (lambda: static(distribution=None), ("density, distribution", "(0.3, None)", "both", "masks")),
        (lambda: static(end=10), ("end", "10", "steps = 9")),
        (lambda: static(end=-1), ("end", "-1", "0 or more")),
        (lambda: static(interval=0), ("interval", "0", "1 or more")),
        (lambda: static(method="set", interval=2, alpha=1.5), ("alpha", "1.5", "[0, 1]")),
        (lambda: static(method="gmp"), ("interval, end", "(100, 6)", "an update", "gmp")),
        (lambda: static(masks=half_masks()), ("density, distribution", "(0.3, 'erk')", "None where masks are given")),
        (lambda: bare(method="gmp", masks=half_masks()), ("masks", "given", "'gmp'", "dense")),
        (lambda: bare(masks=half_masks() | {"0.weight": torch.ones(8, 5) > 0}), ("masks['0.weight'].shape", "(8, 5)")),
        (lambda: static(batch_size=0), ("batch_size", "0", "1 to 70")),
    ],
    ids=case_name,
)  # fmt: skip
def test_value_errors(call, words):
    assert_one_line_error(call, *words)


def test_masks_of_some_layers_only():
    masks = {"0.weight": half_masks()["0.weight"]}
    assert_one_line_error(lambda: bare(masks=masks), "masks", "prunable(model)", "2.weight", error=KeyError)


def test_first_masks_are_those_that_training_starts_with():
    seen = []
    quick(net(0), method="static", steps=2, watch=lambda step, masks: seen.append(clones(masks)))
    assert equal(seen[0], first_masks(net(0), 0.3, "erk", 3))
    assert not equal(seen[0], first_masks(net(0), 0.3, "erk", 4))


def test_rescaled_rows_keep_their_variance():
    """sqrt(n / k) by hand: 16 inputs of which 4 live double the weight; a row without inputs stays as it is."""
    model = mlp((16, 3), generator=torch.Generator().manual_seed(0))
    before = model[0].weight.detach().clone()
    mask = torch.zeros(3, 16, dtype=torch.bool)
    mask[0, :4] = mask[1, :] = True
    assert rescaled(model, {"0.weight": mask}) is model
    assert model[0].weight.equal(before * torch.tensor([2.0, 1.0, 1.0])[:, None])
    assert_one_line_error(lambda: rescaled(model, {}), "masks", "0.weight", error=KeyError)
    assert_one_line_error(lambda: rescaled(model, {"0.weight": mask[:2]}), "masks['0.weight']", "(3, 16)")
