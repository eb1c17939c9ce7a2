"""The layer against single tokens and single experts in plain Python; what is dropped; gradients; edges."""

import copy
from functools import partial

import moe_by_loops
import pytest
import torch
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st

from lttlib.moe import (
    CosineRouter,
    ExpertChoiceRouter,
    Experts,
    HashRouter,
    MoELayer,
    RandomRouter,
    TopKRouter,
    load_balance_loss,
    z_loss,
)
from lttlib.moe.layer import mix_by_loop


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(tokens=7, features=3, experts=4, k=2, hidden=5, outputs=2, seed=0, router=None, **options):
    """(layer, x) in double precision, with biases that are not 0."""
    generator = draw(seed)
    router = TopKRouter(features, experts, k, generator=generator) if router is None else router
    stack = Experts(experts, features, hidden, outputs, generator=generator)
    with torch.no_grad():
        stack.b1.normal_(generator=generator)
        stack.b2.normal_(generator=generator)
    layer = MoELayer(router, stack, **options).double()
    return layer, torch.randn(tokens, features, generator=generator, dtype=torch.float64)


def lists(experts):
    return list(zip(*(part.tolist() for part in (experts.w1, experts.b1, experts.w2, experts.b2)), strict=True))


def test_by_hand():
    """x = 2 goes to expert 1 with gate 1: relu(2 * 3 - 1) = 5 and relu(2 * -1) = 0, so 5 * .5 + 0 * 7 + .25 = 2.75."""
    layer = MoELayer(TopKRouter(1, 2, 1, softmax="after", generator=draw()), Experts(2, 1, 2, generator=draw()))
    with torch.no_grad():
        layer.router.weight[:] = torch.tensor([[0.0], [1.0]])
        layer.experts.w1[1], layer.experts.b1[1] = torch.tensor([[3.0, -1.0]]), torch.tensor([-1.0, 0.0])
        layer.experts.w2[1], layer.experts.b2[1] = torch.tensor([[0.5], [7.0]]), torch.tensor([0.25])
    y, aux = layer(torch.tensor([[2.0]]))
    assert y.tolist() == [[2.75]] and aux.routing.chosen.tolist() == [[1]]


@st.composite
def drawn_layers(draw):
    experts = draw(st.integers(1, 5))
    sizes = {name: draw(st.integers(1, 4)) for name in ("features", "hidden", "outputs")}
    options = {
        "capacity_factor": draw(st.sampled_from([None, 0, 0.4, 1, 1.25])),
        "priority": draw(st.sampled_from(["slot", "token", "batch"])),
    }
    k, tokens, seed = draw(st.integers(1, experts)), draw(st.integers(1, 9)), draw(st.integers(0, 999))
    return made(tokens, experts=experts, k=k, seed=seed, **sizes, **options)


@given(drawn_layers())
def test_against_single_tokens(case):
    layer, x = case
    y, _ = layer(x)
    logits = (x @ layer.router.weight.T).tolist()
    k, experts = layer.router.k, len(layer.experts)
    chosen, gates = moe_by_loops.choices(logits, k)
    scores = [max(moe_by_loops.probabilities(row)) for row in logits]
    places = moe_by_loops.places(chosen, experts, layer.priority, scores)
    factor = layer.capacity_factor
    room = len(x) if factor is None else -(-round(factor * k * len(x) * 1e6) // (experts * 10**6))
    triples = [(t, chosen[t][s], gates[t][s]) for t in range(len(x)) for s in range(k) if places[t][s] < room]
    expected = moe_by_loops.mixture(x.tolist(), triples, lists(layer.experts), y.shape[1])
    assert y.allclose(torch.tensor(expected, dtype=torch.float64), atol=1e-12)
    unserved = sorted(set(range(len(x))) - {t for t, _, _ in triples})
    assert not y[unserved].any()


def test_expert_choice_against_single_tokens():
    layer, x = made(router=ExpertChoiceRouter(3, 4, generator=draw(5)), capacity_factor=1)  # C = ceil(7 / 4) = 2
    y, aux = layer(x)
    rows = [moe_by_loops.probabilities(row) for row in (x @ layer.router.weight.T).tolist()]
    best = [sorted(range(7), key=lambda t: -rows[t][e])[:2] for e in range(4)]
    triples = [(t, e, rows[t][e]) for e in range(4) for t in best[e]]
    assert y.tolist() == [
        pytest.approx(row, abs=1e-12) for row in moe_by_loops.mixture(x.tolist(), triples, lists(layer.experts), 2)
    ]
    missed = sorted(set(range(7)) - {t for t, _, _ in triples})
    assert missed and not y[missed].any() and (~aux.routing.served).nonzero().flatten().tolist() == missed
    assert aux.balance == 0 and aux.z.allclose(z_loss(x @ layer.router.weight.T))


def test_what_is_dropped_adds_exactly_zero():
    """Three tokens with the same x ask for one place; the second and third are as if they were not there."""
    layer, x = made(tokens=3, k=1, capacity_factor=0.5)
    x = x[:1].expand(3, 3).clone().requires_grad_()
    y, aux = layer(x)
    assert aux.routing.kept[:, 0].tolist() == [True, False, False] and y[0].all() and y[1:].eq(0).all()
    y.sum().backward()
    assert x.grad[0].all() and x.grad[1:].eq(0).all()
    alone, lonely = copy.deepcopy(layer), x[:1].detach()
    alone.zero_grad()
    alone(lonely)[0].sum().backward()
    for one, other in zip(layer.parameters(), alone.parameters(), strict=True):
        assert one.grad.allclose(other.grad, atol=1e-12)


def test_one_expert_is_a_perceptron():
    layer, x = made(experts=1, k=1)
    with torch.no_grad():
        plain = torch.relu(x @ layer.experts.w1[0] + layer.experts.b1[0]) @ layer.experts.w2[0] + layer.experts.b2[0]
    assert layer(x)[0].allclose(plain, atol=1e-13)


def test_all_experts_chosen_is_a_full_mixture():
    layer, x = made(k=4)
    e = layer.experts
    hidden = torch.relu(torch.einsum("td,edf->tef", x, e.w1) + e.b1)
    answers = torch.einsum("tef,efo->teo", hidden, e.w2) + e.b2
    probabilities = (x @ layer.router.weight.T).softmax(1)
    assert layer(x)[0].allclose(torch.einsum("te,teo->to", probabilities, answers), atol=1e-13)


def test_edges():
    for options in ({"tokens": 1}, {"experts": 1, "k": 1}, {"k": 4}, {"tokens": 1, "experts": 1, "k": 1}):
        layer, x = made(**options, capacity_factor=1)
        assert layer(x)[0].shape == (len(x), 2) and layer(x)[0].isfinite().all()
    layer, x = made(capacity_factor=0)
    y, aux = layer(x.requires_grad_())
    assert y.shape == (7, 2) and y.eq(0).all() and not aux.routing.served.any()
    (y.sum() + aux.balance + aux.z).backward()
    assert not layer.experts.w1.grad.any() and x.grad.isfinite().all()


def test_an_idle_expert_gets_gradient_zero():
    layer, _ = made(k=1)
    with torch.no_grad():
        layer.router.weight[:] = torch.tensor([[0.0] * 3, [1] * 3, [-1] * 3, [-2] * 3])
    y, aux = layer(torch.rand(9, 3, generator=draw(), dtype=torch.float64) + 0.1)
    y.sum().backward()
    assert aux.routing.load.tolist() == [0, 1, 0, 0]
    for part in (layer.experts.w1, layer.experts.w2, layer.experts.b2):
        assert part.grad[1].any() and not part.grad[[0, 2, 3]].any()


@pytest.mark.parametrize("options", [{}, {"capacity_factor": 0.6}, {"capacity_factor": 0.6, "priority": "batch"}])
@pytest.mark.parametrize("softmax", ["before", "after", "expert choice", "cosine", "random"])
def test_gradients(options, softmax):
    """By everything that is learned, of the output and both losses. f and the choices are constant in small steps."""
    make = {
        "expert choice": partial(ExpertChoiceRouter, 2, 3),
        "cosine": partial(CosineRouter, 2, 3, 2),
        "random": partial(RandomRouter, 2, 3, 2),
    }.get(softmax, partial(TopKRouter, 2, 3, 2, softmax=softmax))
    if softmax == "expert choice" and not options:
        options = {"capacity_factor": 1.5}
    layer, x = made(5, 2, 3, hidden=2, router=make(generator=draw(1)), **options)
    names, values = zip(*layer.named_parameters(), strict=True)

    def run(x, *values):
        y, aux = torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))
        return y, aux.balance, aux.z

    assert torch.autograd.gradcheck(run, (x.requires_grad_(), *values))


@given(drawn_layers())
def test_names_of_experts_play_no_part(case):
    layer, x = case
    order = torch.randperm(len(layer.experts), generator=draw(1))
    renamed = copy.deepcopy(layer)
    with torch.no_grad():
        for part in (renamed.router.weight, *renamed.experts.parameters()):
            part.copy_(part[order])
    (y, aux), (other, its) = layer(x), renamed(x)
    assert y.allclose(other, atol=1e-12) and aux.balance.allclose(its.balance) and aux.z.allclose(its.z)


@pytest.mark.parametrize("convention", ["switch", "sum", "mean", "square"])
def test_auxiliary_losses(convention):
    layer, x = made(convention=convention, capacity_factor=0.5)
    logits = x @ layer.router.weight.T
    _, aux = layer(x)
    assert aux.balance.allclose(load_balance_loss(logits, 2, convention=convention), atol=1e-14)
    assert aux.z.allclose(z_loss(logits)) and not aux.routing.kept.all()
    assert not [name for name, value in vars(layer).items() if isinstance(value, torch.Tensor)]
    assert MoELayer(layer.router, layer.experts).convention == "switch"


def test_f_and_p_are_averaged_before_they_are_multiplied():
    """As processes that share a batch do: here with others whose f and P are 1 and 3, so (f + 1) / 2 and (P + 3) / 2."""
    layer, x = made(k=1, average=lambda both: (both + torch.tensor([[1.0], [3.0]])) / 2)
    logits = x @ layer.router.weight.T
    f = torch.bincount(logits.argmax(1), minlength=4) / 7
    p = torch.tensor([moe_by_loops.probabilities(row) for row in logits.tolist()], dtype=torch.float64).mean(0)
    assert layer(x)[1].balance.item() == pytest.approx(4 * ((f + 1) / 2 * (p + 3) / 2).sum().item(), abs=1e-6)


def test_noisy_losses_are_those_of_what_was_chosen():
    layer, x = made(router=TopKRouter(3, 4, 2, noisy=True, generator=draw()))
    twin = copy.deepcopy(layer.router)
    _, aux = layer(x)
    logits = twin(x)[1]
    assert aux.z.equal(z_loss(logits)) and aux.balance.equal(load_balance_loss(logits, 2, convention="switch"))


def test_a_batch_of_sequences():
    layer, x = made(tokens=12, capacity_factor=0.5, outputs=3)
    y, aux = layer(x)
    folded, its = layer(x.view(3, 4, 3))
    assert folded.shape == (3, 4, 3) and folded.equal(y.view(3, 4, 3)) and its.balance.equal(aux.balance)
    wide, _ = layer(x.view(3, 2, 2, 3).transpose(0, 1).contiguous().transpose(0, 1))
    assert wide.reshape(12, 3).equal(y)


def test_hash_by_ids():
    ids = torch.tensor([[0, 1, 1], [2, 0, 2]])
    layer, _ = made(experts=3, router=HashRouter(torch.tensor([[2], [0], [1]]), 3))
    x = torch.randn(2, 3, 3, generator=draw(), dtype=torch.float64)
    y, aux = layer(x, ids)
    triples = [(t, [2, 0, 1][i], 1.0) for t, i in enumerate(ids.flatten().tolist())]
    expected = moe_by_loops.mixture(x.view(6, 3).tolist(), triples, lists(layer.experts), 2)
    assert y.view(6, 2).allclose(torch.tensor(expected, dtype=torch.float64), atol=1e-12)
    assert aux.balance == 0 and aux.z == 0 and aux.routing.load.tolist() == pytest.approx([1 / 3] * 3)


def test_evaluation_drops_unless_told_otherwise():
    for drops in (True, False):
        layer, x = made(capacity_factor=0.5, drop_in_eval=drops)
        assert not layer(x)[1].routing.kept.all()
        assert layer.eval()(x)[1].routing.kept.all().item() is not drops
    layer, x = made(router=ExpertChoiceRouter(3, 4, generator=draw()), capacity_factor=1, drop_in_eval=False)
    assert layer.eval()(x)[1].routing.tokens.shape == (4, 2)


def test_dropless_is_causal_and_so_is_token_priority():
    """The last ten tokens change; the first ten must not notice. By slot, by batch and by expert choice they do."""
    noticed = {}
    settings = {
        "dropless": {},
        "token": {"capacity_factor": 0.5, "priority": "token"},
        "slot": {"capacity_factor": 0.5, "priority": "slot"},
        "batch": {"capacity_factor": 0.5, "priority": "batch"},
        "expert choice": {"capacity_factor": 1},
    }
    for name, options in settings.items():
        router = ExpertChoiceRouter(3, 4, generator=draw()) if name == "expert choice" else None
        layer, x = made(tokens=20, router=router, **options)
        other = x.clone()
        other[10:] *= -2
        noticed[name] = not layer(x)[0][:10].allclose(layer(other)[0][:10], atol=1e-12)
    assert noticed == {"dropless": False, "token": False, "slot": True, "batch": True, "expert choice": True}


def test_kernels_have_a_place():
    """mix takes the whole computation; experts are called once with rows sorted by expert."""
    seen = []

    def mix(x, routing, experts):
        seen.append((x.shape, routing.chosen.shape, len(experts)))
        return 2 * mix_by_loop(x, routing, experts)

    layer, x = made(mix=mix)
    plain, _ = made()
    assert layer(x)[0].allclose(2 * plain(x)[0]) and seen == [((7, 3), (7, 2), 4)]
    tokens, _, counts = layer(x)[1].routing.pairs()
    answers = plain.experts(x[tokens], counts)
    for row, (t, e) in enumerate(zip(tokens.tolist(), torch.arange(4).repeat_interleave(counts).tolist(), strict=True)):
        expected = moe_by_loops.perceptron(x[t].tolist(), *lists(plain.experts)[e])
        assert answers[row].tolist() == pytest.approx(expected, abs=1e-12)


def test_first_weights_and_other_activations():
    experts = Experts(3, 100, 400, 50, generator=draw(), activation=torch.tanh)
    assert experts.w1.shape == (3, 100, 400) and experts.w2.shape == (3, 400, 50) and len(experts) == 3
    assert (
        experts.b1.shape == (3, 400) and experts.b2.shape == (3, 50) and not experts.b1.any() and not experts.b2.any()
    )
    assert experts.w1.std().item() == pytest.approx((2 / 100) ** 0.5, rel=0.02)
    assert experts.w2.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    x = torch.randn(2, 100, generator=draw(1))
    expected = torch.tanh(x @ experts.w1[1]) @ experts.w2[1]
    assert experts(x, torch.tensor([0, 2, 0])).allclose(expected, atol=1e-4)
    assert Experts(2, 3, 4, generator=draw()).w2.shape == (2, 4, 3)


ROUTER = TopKRouter(3, 4, 2, generator=draw())
EXPERTS = Experts(4, 3, 5, generator=draw())


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: MoELayer(ROUTER, Experts(3, 3, 5, generator=draw())), ("experts", "3", "4, those the router knows")),
        (lambda: MoELayer(ROUTER, EXPERTS, priority="first"), ("priority", "'first'", "'slot'")),
        (lambda: MoELayer(ROUTER, EXPERTS, convention="first"), ("convention", "'first'", "'switch'")),
        (lambda: MoELayer(ROUTER, EXPERTS, capacity_factor=-1), ("capacity_factor", "-1", "0 or more")),
        (lambda: MoELayer(ROUTER, EXPERTS)(torch.zeros(0, 3)), ("x.shape", "(0, 3)", "one token")),
        (lambda: MoELayer(ROUTER, EXPERTS)(torch.zeros(2, 3) / 0), ("logits", "8 NaN", "diverge")),
        (lambda: Experts(0, 3, 5, generator=draw()), ("experts", "0", "1 or more")),
        (lambda: Experts(4, 3, 0, generator=draw()), ("hidden", "0", "1 or more")),
        (lambda: Experts(4, 3, 5, 0, generator=draw()), ("outputs", "0", "1 or more")),
    ],
    ids=case_name,
)
def test_value_errors(call, words):
    assert_one_line_error(call, *words)
