"""The feed-forward of a mixture of experts: by hand, against a loop over tokens in float64, its gradients, its errors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from errors import assert_one_line_error
from hypothesis import given
from hypothesis import strategies as st

from lttlib import grouped_experts as module
from lttlib.grouped_experts import chunks, grouped_experts, mix_grouped
from lttlib.moe import ExpertChoiceRouter, Experts, MoELayer, TopKRouter

ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu}
THREADS = pytest.mark.parametrize("threads", [1, 2, 3])


@pytest.fixture(autouse=True)
def one_thread():
    """As the other tests expect it."""
    yield
    torch.set_num_threads(1)


def by_tokens(x, chosen, gates, w1, b1, w2, b2, activation):
    """The equation, one pair after the other."""
    answers = []
    for t in range(len(x)):
        answer = x.new_zeros(w2.shape[2]) + 0 * x[t].sum()  # in the graph even where all is dropped
        for s in range(chosen.shape[1]):
            e = int(chosen[t, s])
            if e >= 0:
                answer = answer + gates[t, s] * (ACTIVATIONS[activation](x[t] @ w1[e] + b1[e]) @ w2[e] + b2[e])
        answers.append(answer)
    return torch.stack(answers) if answers else x.new_zeros(0, w2.shape[2]) + 0 * x.sum()


def drawn(seed: int, tokens: int, k: int, experts: int, features=5, hidden=7, outputs=4) -> list[torch.Tensor]:
    """x, gates, w1, b1, w2, b2, of normal numbers."""
    draw = torch.Generator().manual_seed(seed)
    shapes = ((tokens, features), (tokens, k), (experts, features, hidden), (experts, hidden),
              (experts, hidden, outputs), (experts, outputs))  # fmt: skip
    return [torch.randn(shape, generator=draw) for shape in shapes]


def compare(given_tensors, chosen, activation) -> None:
    """Answer and all gradients, against float64; and without gradients the same."""
    ours = [tensor.clone().requires_grad_() for tensor in given_tensors]
    exact = [tensor.double().requires_grad_() for tensor in given_tensors]
    y = grouped_experts(ours[0], chosen, *ours[1:], activation)
    wanted = by_tokens(exact[0], chosen, *exact[1:], activation)
    start = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    found = [y, *torch.autograd.grad(y, ours, start)]
    expected = [wanted, *torch.autograd.grad(wanted, exact, start.double(), allow_unused=True, materialize_grads=True)]
    for mine, other in zip(found, expected, strict=True):
        assert mine.dtype == torch.float32
        scale = float(other.detach().abs().max()) if other.numel() else 0
        torch.testing.assert_close(mine.double(), other, rtol=0, atol=2e-5 * max(scale, 1))
    assert grouped_experts(given_tensors[0], chosen, *given_tensors[1:], activation).equal(y)


def test_by_hand():
    """Two experts of one unit each: relu(2x + 1) * 3 - 1 and relu(-x) * 2 + 5; x = 1 gives 8 and 5, x = -2 gives -1 and 9."""
    w1, b1 = torch.tensor([[[2.0]], [[-1]]]), torch.tensor([[1.0], [0]])
    w2, b2 = torch.tensor([[[3.0]], [[2]]]), torch.tensor([[-1.0], [5]])
    x, chosen = torch.tensor([[1.0], [-2], [1]]), torch.tensor([[0, 1], [1, 0], [-1, -1]])
    gates = torch.tensor([[0.5, 0.25], [1, 10], [3, 4]])
    assert grouped_experts(x, chosen, gates, w1, b1, w2, b2, "relu").tolist() == [[5.25], [-1], [0]]
    half = grouped_experts(x, torch.tensor([[0, -1], [-1, 0], [1, -1]]), gates, w1, b1, w2, b2, "relu")
    assert half.tolist() == [[4], [-10], [15]]


@given(st.integers(0, 999), st.sampled_from([1, 2, 7, 23]), st.sampled_from([1, 2, 5]), st.integers(1, 3) | st.none(),
       st.sampled_from(["any", "distinct", "one expert", "none"]), st.sampled_from([1, 2, 3]), st.sampled_from([3, 192]),
       st.sampled_from(["gelu", "relu"]), st.booleans())  # fmt: skip
def test_against_a_loop_over_tokens(seed, tokens, experts, k, kind, threads, rows, activation, narrow):
    """T = 1, E = 1, k = E, experts without tokens, everything on one, pairs dropped; few rows at a time."""
    k, draw = k or experts, np.random.default_rng(seed)
    chosen = draw.integers(-1, experts, (tokens, k))
    if kind == "distinct" and k <= experts:
        chosen = draw.random((tokens, experts)).argsort(1)[:, :k]
    elif kind in ("one expert", "none"):
        chosen[...] = experts - 1 if kind == "one expert" else -1
    chosen = torch.from_numpy(chosen).int() if narrow else torch.from_numpy(chosen)
    torch.set_num_threads(threads)
    before, module.ROWS = module.ROWS, rows
    try:
        compare(drawn(seed, tokens, k, experts), chosen, activation)
    finally:
        module.ROWS = before


@THREADS
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_of_a_size_that_takes_several_chunks(generator, threads, activation):
    torch.set_num_threads(threads)
    chosen = torch.randint(-1, 3, (700, 2), generator=generator)
    chosen[:400, 0] = 1
    compare(drawn(0, 700, 2, 3, features=33, hidden=40, outputs=33), chosen, activation)


@THREADS
def test_no_tokens(threads):
    torch.set_num_threads(threads)
    compare(drawn(0, 0, 2, 3), torch.zeros(0, 2, dtype=torch.int64), "gelu")


@THREADS
def test_a_dropped_pair_adds_exactly_nothing(generator, threads):
    """Not even where its gate or its token is no number; and it has no gradient."""
    torch.set_num_threads(threads)
    given_tensors = drawn(0, 6, 2, 3)
    chosen = torch.randint(0, 3, (6, 2), generator=generator)
    chosen[2], chosen[4, 0] = -1, -1
    plain = grouped_experts(given_tensors[0], chosen, *given_tensors[1:])
    given_tensors[0][2] = torch.nan
    given_tensors[1][2], given_tensors[1][4, 0] = torch.inf, torch.nan
    ours = [tensor.clone().requires_grad_() for tensor in given_tensors]
    y = grouped_experts(ours[0], chosen, *ours[1:])
    assert y.equal(plain) and not y[2].any()
    grads = torch.autograd.grad(y.sum(), ours)
    assert all(bool(grad.isfinite().all()) for grad in grads)
    assert not grads[0][2].any() and not grads[1][2].any() and grads[1][4, 0] == 0


def test_the_order_of_the_experts_does_not_matter(generator):
    x, gates, *experts = drawn(0, 30, 2, 5)
    chosen = torch.randint(-1, 5, (30, 2), generator=generator)
    moved = torch.tensor([3, 0, 4, 1, 2])  # expert e is now called moved.argsort()[e]
    names = torch.cat([moved.argsort(), torch.tensor([-1])])
    again = grouped_experts(x, names[chosen], gates, *(part[moved] for part in experts))
    torch.testing.assert_close(again, grouped_experts(x, chosen, gates, *experts))


@pytest.mark.parametrize("wanted", range(6))
def test_each_gradient_alone_is_what_it_is_among_all(generator, wanted):
    given_tensors, chosen = drawn(0, 9, 2, 3), torch.randint(-1, 3, (9, 2), generator=generator)
    leaves = [tensor.clone().requires_grad_() for tensor in given_tensors]
    every = torch.autograd.grad(grouped_experts(leaves[0], chosen, *leaves[1:]).square().sum(), leaves)
    alone = [tensor.clone().requires_grad_(i == wanted) for i, tensor in enumerate(given_tensors)]
    grouped_experts(alone[0], chosen, *alone[1:]).square().sum().backward()
    assert [tensor.grad is not None for tensor in alone] == [i == wanted for i in range(6)]
    assert alone[wanted].grad.equal(every[wanted])


def test_layouts_other_than_contiguous(generator):
    """Transposed weights, a slice of the tokens, gates and chosen out of a larger tensor."""
    x, gates, w1, b1, w2, b2 = drawn(0, 8, 2, 3)
    chosen = torch.randint(0, 3, (8, 2), generator=generator)
    plain = grouped_experts(x, chosen, gates, w1, b1, w2, b2)
    odd = [tensor.transpose(0, -1).contiguous().transpose(0, -1) for tensor in (x, chosen, gates, w1, b1, w2, b2)]
    assert not any(tensor.is_contiguous() for tensor in odd)
    torch.testing.assert_close(grouped_experts(*odd), plain)
    leaves = [tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in odd]
    compare([leaf.detach() for i, leaf in enumerate(leaves) if i != 1], odd[1], "gelu")


def test_forgotten_memory_is_not_seen_again(generator):
    """Without gradients what is between is written to the same memory at each call; answers already given stay."""
    x, gates, *experts = drawn(0, 30, 2, 3)
    chosen = torch.randint(0, 3, (30, 2), generator=generator)
    first = grouped_experts(x, chosen, gates, *experts)
    kept = first.clone()
    second = grouped_experts(-x, chosen, gates, *experts)
    assert first.equal(kept) and not second.equal(kept)
    x = x.requires_grad_()
    y = grouped_experts(x, chosen, gates, *experts)
    grouped_experts(-x, chosen, gates, *experts).sum().backward()
    of_other, x.grad = x.grad, None
    y.sum().backward()
    assert not of_other.equal(x.grad)
    again = x.detach().clone().requires_grad_()
    grouped_experts(again, chosen, gates, *experts).sum().backward()
    assert again.grad.equal(x.grad)


@pytest.mark.parametrize("recording", [True, False])
def test_without_gradients_only_a_chunk_of_hidden_units_is_kept(recording, monkeypatch):
    """Parameters that want gradients change nothing about that under torch.no_grad()."""
    asked, room = {}, module._room

    def listening(name, rows, columns):
        asked[name] = rows
        return room(name, rows, columns)

    monkeypatch.setattr(module, "_room", listening)
    x, gates, *experts = (tensor.requires_grad_() for tensor in drawn(0, 500, 1, 2))
    with torch.set_grad_enabled(recording):
        y = grouped_experts(x, torch.zeros(500, 1, dtype=torch.int64), gates, *experts)
    assert y.requires_grad == recording
    assert set(asked) == ({"active"} if recording else {"x", "y", "hidden"})
    assert asked.get("hidden", 0) < 200


def test_a_change_between_forward_and_backward_is_noticed(generator):
    x, gates, w1, *rest = drawn(0, 4, 1, 2)
    w1.requires_grad_()
    y = grouped_experts(x, torch.zeros(4, 1, dtype=torch.int64), gates, w1, *rest)
    with torch.no_grad():
        w1 += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_only_once_differentiable():
    tensors = [tensor.requires_grad_() for tensor in drawn(0, 4, 1, 2)]
    y = grouped_experts(tensors[0], torch.zeros(4, 1, dtype=torch.int64), *tensors[1:])
    (grad,) = torch.autograd.grad(y.square().sum(), tensors[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_chunks_by_hand():
    """Experts of 5, 0, 2 and 7 rows, 3 at most: pieces of about the same size."""
    found = list(chunks(np.array([0, 5, 5, 7, 14]), 3))
    assert found == [(0, 0, 2), (0, 2, 5), (2, 5, 7), (3, 7, 9), (3, 9, 11), (3, 11, 14)]


X, GATES, W1, B1, W2, B2 = drawn(0, 4, 2, 3)
CHOSEN = torch.zeros(4, 2, dtype=torch.int64)


@pytest.mark.parametrize("changed, words, error", [
    ({"x": X.double()}, ("x.dtype = torch.float64", "torch.float32"), TypeError),
    ({"w2": W2.half()}, ("w2.dtype = torch.float16", "torch.float32"), TypeError),
    ({"chosen": GATES}, ("chosen.dtype = torch.float32", "torch.int64 or torch.int32"), TypeError),
    ({"x": X[None]}, ("x.shape = (1, 4, 5)", "(tokens, features)", "flatten"), ValueError),
    ({"chosen": CHOSEN[:3]}, ("chosen.shape = (3, 2)", "(4, k)"), ValueError),
    ({"chosen": CHOSEN[:, 0]}, ("chosen.shape = (4,)", "(4, k)"), ValueError),
    ({"chosen": CHOSEN[:, :0], "gates": GATES[:, :0]}, ("chosen.shape = (4, 0)", "(4, k)"), ValueError),
    ({"chosen": CHOSEN + 3}, ("chosen = an array with the entry 3", "-1 to 2"), ValueError),
    ({"chosen": CHOSEN - 2}, ("chosen = an array with the entry -2", "-1 to 2"), ValueError),
    ({"gates": GATES[:, :1]}, ("gates.shape = (4, 1)", "(4, 2)"), ValueError),
    ({"w1": W1[:, :4]}, ("w1.shape = (3, 4, 7)", "(3, 5, 7)"), ValueError),
    ({"w1": W1[0]}, ("w1.shape = (5, 7)", "(experts, features, hidden)"), ValueError),
    ({"w1": W1[:0]}, ("w1.shape = (0, 5, 7)", "experts"), ValueError),
    ({"b1": B1[:2]}, ("b1.shape = (2, 7)", "(3, 7)"), ValueError),
    ({"w2": W2[:, :6]}, ("w2.shape = (3, 6, 4)", "(3, 7, 4)"), ValueError),
    ({"w2": W2[0]}, ("w2.shape = (7, 4)", "(experts, hidden, outputs)"), ValueError),
    ({"b2": B2[:, :3]}, ("b2.shape = (3, 3)", "(3, 4)"), ValueError),
    ({"activation": "tanh"}, ("activation = 'tanh'", "'gelu', 'relu'"), ValueError),
])  # fmt: skip
def test_wrong_arguments_are_named(changed, words, error):
    right = {"x": X, "chosen": CHOSEN, "gates": GATES, "w1": W1, "b1": B1, "w2": W2, "b2": B2}
    assert_one_line_error(lambda: grouped_experts(**(right | changed)), *words, error=error)


@pytest.mark.parametrize("k, factor", [(1, None), (2, None), (2, 0.75), (3, 0.0)])
@pytest.mark.parametrize("activation", [F.relu, F.gelu])
def test_a_layer_by_kernels_is_the_layer_by_a_loop(k, factor, activation):
    agree(lambda draw: TopKRouter(6, 4, k, generator=draw), factor, activation)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 2.0, 4.0])
def test_so_is_one_by_expert_choice(factor):
    agree(lambda draw: ExpertChoiceRouter(6, 4, generator=draw), factor, F.relu)


def agree(router, factor, activation) -> None:
    """Answers and gradients by tokens and all parameters, of 11 tokens: kernels against moe.layer.mix_by_loop."""
    found = []
    for options in ({}, {"mix": mix_grouped}):
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(11, 6, generator=draw, requires_grad=True)
        experts = Experts(4, 6, 5, 3, generator=draw, activation=activation)
        torch.nn.init.normal_(experts.b2, generator=draw)
        layer = MoELayer(router(draw), experts, capacity_factor=factor, **options)
        y = layer(x)[0]
        parts = [x, *layer.parameters()]
        found.append([y, *torch.autograd.grad(y.square().sum(), parts, allow_unused=True, materialize_grads=True)])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_a_layer_that_kernels_cannot_compute_is_answered():
    draw = torch.Generator().manual_seed(0)
    experts = Experts(2, 6, 5, generator=draw, activation=torch.tanh)
    layer = MoELayer(TopKRouter(6, 2, 1, generator=draw), experts, mix=mix_grouped)
    assert_one_line_error(lambda: layer(torch.ones(3, 6)), "experts.activation", "F.relu or F.gelu", "mix_by_loop")


def test_what_is_dropped_is_not_computed():
    draw = torch.Generator().manual_seed(0)
    layer = MoELayer(
        TopKRouter(6, 2, 1, generator=draw), Experts(2, 6, 5, generator=draw), capacity_factor=0, mix=mix_grouped
    )
    torch.nn.init.constant_(layer.experts.w1, float("nan"))
    assert layer(torch.ones(3, 6))[0].equal(torch.zeros(3, 6))
