"""The smallest and the oddest inputs, through all routers: the right answer by hand, or an error of one line."""

import math
from functools import partial

import pytest
import torch
from errors import assert_one_line_error, case_name

from lttlib.moe import (
    CosineRouter,
    ExpertChoiceRouter,
    Experts,
    HashRouter,
    MoELayer,
    RandomRouter,
    TopKRouter,
    at_balance,
    dispatch,
    expert_choice,
    load_balance_loss,
    random_table,
)

FEATURES = 3


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def by_hash(_features, experts, k, *, generator):
    return HashRouter(random_table(6, experts, k, generator=generator), experts)


TOKEN_CHOICE = {
    "top-k": TopKRouter,
    "noisy": partial(TopKRouter, noisy=True),
    "softmax after": partial(TopKRouter, softmax="after"),
    "cosine": CosineRouter,
    "random": RandomRouter,
    "hash": by_hash,
}
WITH_LOGITS = [name for name in TOKEN_CHOICE if name != "hash"]
FACTORS = [(-0.5, "-0.5"), (math.nan, "nan"), (math.inf, "inf"), (True, "True"), ("1", "1")]


def layer(name: str, experts: int, k: int = 1, **options) -> MoELayer:
    """Experts that answer with 1 + their number, whatever they read."""
    choice = name == "expert choice"
    router = (
        ExpertChoiceRouter(FEATURES, experts, generator=draw())
        if choice
        else TOKEN_CHOICE[name](FEATURES, experts, k, generator=draw())
    )
    stack = Experts(experts, FEATURES, 2, 1, generator=draw())
    with torch.no_grad():
        stack.w2.zero_()
        stack.b2[:] = 1 + torch.arange(experts)[:, None]
    return MoELayer(router, stack, **{"capacity_factor": 1.0 if choice else None} | options)


def called(mixture: MoELayer, tokens: int, ids=None):
    x = torch.randn(1, FEATURES, generator=draw()).expand(tokens, FEATURES)  # all alike: all to the same experts
    return mixture(x, torch.zeros(tokens, dtype=torch.int64) if ids is None else ids)


@pytest.mark.parametrize("name", [*TOKEN_CHOICE, "expert choice"])
def test_one_token_and_one_expert(name):
    """Its gate is 1, its answer 1, and the balance loss 1 where there is one."""
    y, aux = called(layer(name, 1), 1)
    assert y.tolist() == [[pytest.approx(1)]] and aux.routing.served.tolist() == [True]
    assert aux.routing.load.tolist() == [1] and aux.routing.pairs().counts.tolist() == [1]
    assert aux.balance.item() == pytest.approx(0 if name in ("hash", "expert choice") else 1)
    assert called(layer(name, 1), 5)[0].flatten().tolist() == pytest.approx([1] * 5)


@pytest.mark.parametrize("name", TOKEN_CHOICE)
def test_all_experts_chosen(name):
    """Gates sum to 1, so answers are between those of the experts; a hash mixes 1, 2, 3 to their mean."""
    y, aux = called(layer(name, 3, 3), 4)
    assert aux.routing.gates.sum(1).tolist() == pytest.approx([1] * 4)
    assert aux.routing.pairs().counts.tolist() == [4] * 3 and aux.routing.load.tolist() == pytest.approx([1 / 3] * 3)
    expected = (aux.routing.gates * (1 + aux.routing.chosen)).sum(1)
    assert y[:, 0].tolist() == pytest.approx(expected.tolist()) and (name != "hash" or y.allclose(torch.tensor(2.0)))


@pytest.mark.parametrize("name", [name for name in TOKEN_CHOICE if name != "noisy"])
def test_all_tokens_to_one_expert(name):
    """C = ceil(7 / 4) = 2: the first two are computed; dropless, all seven."""
    y, aux = called(layer(name, 4, capacity_factor=1), 7)
    assert aux.routing.kept[:, 0].tolist() == [True] * 2 + [False] * 5
    assert y[:2].all() and not y[2:].any() and sorted(aux.routing.load.tolist()) == [0, 0, 0, 1]
    y, aux = called(layer(name, 4), 7)
    assert aux.routing.kept.all() and (y == y[0]).all() and y.all()


def test_all_tokens_prefer_one_expert():
    """Expert choice: each takes C = 2 all the same, the first of equals. The balance loss: E * 1 * P."""
    logits = torch.tensor([[4.0, 0, 0, 0]]).expand(7, 4)
    assert expert_choice(logits, capacity_factor=1).tokens.tolist() == [[0, 1]] * 4
    many = torch.zeros(100_000, 2)  # so many that a sort which is not stable would mix them
    assert expert_choice(many, capacity_factor=1).tokens.equal(torch.arange(50_000).expand(2, -1))
    p = math.exp(4) / (math.exp(4) + 3)
    assert load_balance_loss(logits, 1, convention="switch").item() == pytest.approx(4 * p)
    assert load_balance_loss(logits[:1], 4, convention="sum").item() == pytest.approx(4)
    assert load_balance_loss(torch.zeros(1, 1), 1, convention="square").item() == 1


@pytest.mark.parametrize("name", [*TOKEN_CHOICE, "expert choice"])
def test_no_places(name):
    y, aux = called(layer(name, 4, capacity_factor=0), 7)
    assert y.shape == (7, 1) and not y.any() and not aux.routing.served.any()
    assert aux.routing.load.sum().item() == pytest.approx(1) and aux.z.isfinite() and aux.balance.isfinite()


@pytest.mark.parametrize("name", [*WITH_LOGITS, "expert choice"])
def test_tokens_that_are_no_numbers(name):
    """A hash looks at ids alone; all others say so before they sort."""
    mixture = layer(name, 4)
    call = lambda: mixture(torch.tensor([[0.0, 1, 2], [0, math.nan, 2]]))  # noqa: E731
    assert_one_line_error(call, "logits", "4 NaN or infinite", "finite numbers", "did the loss diverge?")


@pytest.mark.parametrize("factor, word", FACTORS, ids=str)
@pytest.mark.parametrize("name", [*TOKEN_CHOICE, "expert choice"])
def test_capacity_factors_that_are_none(name, factor, word):
    """In the layer when it is made, and in the router, which can be called alone."""
    words = ("capacity_factor", word, "a number, 0 or more", "None in dispatch drops nothing")
    assert_one_line_error(lambda: layer(name, 4, capacity_factor=factor), *words)
    router, ids = layer(name, 4).router, torch.zeros(2, dtype=torch.int64)
    assert_one_line_error(lambda: router(torch.ones(2, FEATURES), ids, capacity_factor=factor), *words)


@pytest.mark.parametrize("factor, word", FACTORS, ids=str)
def test_capacity_factors_of_functions(factor, word):
    for call in (partial(dispatch, k=1), expert_choice):
        assert_one_line_error(
            lambda call=call: call(torch.zeros(2, 3), capacity_factor=factor), "capacity_factor", word
        )


@pytest.mark.parametrize("k, word", [(0, "0"), (5, "5"), (-1, "-1"), (1.5, "1.5"), (True, "True"), ("2", "2"), (math.nan, "nan")],
                         ids=str)  # fmt: skip
def test_k_out_of_range(k, word):
    """Of four experts: in each router when it is made, and in each function."""
    words = ("k", word, "an integer from 1 to 4", "1 or 2 are usual")
    for make in TOKEN_CHOICE.values():
        assert_one_line_error(lambda make=make: make(FEATURES, 4, k, generator=draw()), *words)
    logits = torch.zeros(2, 4)
    assert_one_line_error(lambda: dispatch(logits, k, capacity_factor=1), *words)
    assert_one_line_error(lambda: load_balance_loss(logits, k, convention="mean"), *words)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: load_balance_loss(torch.full((2, 4), math.nan), 1, convention="mean"), ("logits", "8 NaN", "diverge")),
        (lambda: expert_choice(torch.full((2, 4), math.inf), capacity_factor=1), ("logits", "8 NaN or inf", "diverge")),
        (lambda: at_balance(0, convention="square"), ("k", "0", "1 or more")),
        (lambda: layer("top-k", 4).router(torch.zeros(0, 3)), ("logits.shape", "(0, 4)", "1 or more of both")),
        (lambda: layer("expert choice", 4).router(torch.zeros(0, 3), capacity_factor=1), ("logits.shape", "(0, 4)")),
        (
            lambda: layer("hash", 4).router(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)),
            ("x.shape", "(0, 3)", "one token at least"),
        ),
        (lambda: called(layer("expert choice", 4, capacity_factor=None), 2), ("capacity_factor", "None", "a number")),
    ],
    ids=case_name,
)
def test_value_errors(call, words):
    assert_one_line_error(call, *words)
