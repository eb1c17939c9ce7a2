"""One step of SRigL: by hand, against plain loops, invariants, and the mistakes of the published code, each told apart."""

import math
from functools import partial

import pytest
import torch
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st
from srigl_by_loops import by_loops

from lttlib.masks import keep_count
from lttlib.models import mlp
from lttlib.srigl import constant_fan_in_masks, initialize_live, row_topk_mask, srigl_step

# Four neurons, six inputs, eight live weights: neuron 0 has .9 and .8, neuron 3 has .1 and .05.
MASK = torch.tensor([[1, 1, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 0, 1]]) > 0
WEIGHT = torch.zeros(4, 6).masked_scatter(MASK, torch.tensor([0.9, -0.8, 0.7, -0.6, 0.5, 0.2, 0.1, -0.05]))
GRAD = torch.zeros(4, 6).index_put((torch.tensor([1, 2]), torch.tensor([5, 0])), torch.tensor([-3.0, 2.0]))
by_hand = partial(srigl_step, WEIGHT, GRAD, MASK, 0.25, sparsity=2 / 3)


def places(mask):
    return [row.nonzero().flatten().tolist() for row in mask]


def test_by_hand():
    """Drop 2: salient counts 2, 3, 3, 0; neuron 3 leaves, fan-in 8 // 3 = 2, two weights of the budget are lost."""
    assert places(by_hand(gamma=0.3)) == [[0, 1], [1, 2], [2, 3], []]


def test_by_hand_without_ablation():
    """.1 and .05 are dropped; neuron 3 must grow two, and its gradients are all 0: the lowest indices."""
    assert places(by_hand(gamma=0)) == [[0, 1], [1, 2], [2, 3], [0, 1]]
    assert by_hand(gamma=0.9, last_layer=True).equal(by_hand(gamma=0))


def test_by_hand_threshold_is_a_share_of_the_fan_in():
    """Fan-in 3, drop 3 of 9, keep 9 to 4; gradients 9 and 8 in row 0 and 7 in row 2: 5, 3 and 1 salient places."""
    weight = torch.tensor([[9.0, 8, 7, 0, 0, 0], [6.0, 5, 4, 0, 0, 0], [3.0, 2, 1, 0, 0, 0]])
    grad = torch.tensor([[0.0, 0, 0, 9, 8, 0], [0.0, 0, 0, 0, 0, 0], [0.0, 0, 0, 0, 0, 7]])
    step = partial(srigl_step, weight, grad, weight > 0, 1 / 3, sparsity=0.5)
    assert places(step(gamma=0.3)) == [[0, 1, 2], [0, 1, 2], [0, 1, 5]]  # max(1, floor(.9)) = 1 of 5, 3, 1 salient
    assert places(step(gamma=2 / 3)) == [[0, 1, 2, 3], [0, 1, 2, 3], []]  # 2: fan-in 9 // 2 = 4
    assert places(step(gamma=1)) == [[0, 1, 2, 3], [0, 1, 2, 3], []]


def test_zeros_are_never_kept_for_their_size():
    """Nothing is to be dropped, but two of the four live weights are 0: two gradients are salient in their place."""
    weight = torch.tensor([[5.0, 0, 0, 0], [4.0, 0, 0, 0]])
    grad = torch.tensor([[0.0, 0, 0, 0], [0.0, 0, 1, 2]])
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0]]) > 0
    assert places(srigl_step(weight, grad, mask, 0.0, sparsity=0.5, gamma=1)) == [[], [0, 1, 2, 3]]


def test_ablated_neurons_come_back_when_their_gradients_are_large():
    mask = by_hand(gamma=0.3)
    grad = torch.zeros(4, 6)
    grad[3, 4] = 5
    assert places(srigl_step(WEIGHT * mask, grad, mask, 0.25, sparsity=2 / 3, gamma=0.3)) == [
        [0, 1],
        [1, 2],
        [0, 2],
        [0, 4],
    ]


@st.composite
def drawn_steps(draw):
    """Whole numbers, so that there are ties and zeros; some masks with constant fan-in, some without."""
    rows, columns = draw(st.integers(1, 7)), draw(st.integers(1, 8))
    numbers = st.lists(st.integers(-4, 4), min_size=rows * columns, max_size=rows * columns)
    weight, grad = (torch.tensor(draw(numbers), dtype=torch.float32).view(rows, columns) for _ in range(2))
    scores = torch.tensor(draw(st.permutations(range(rows * columns)))).view(rows, columns)
    if draw(st.booleans()):
        mask = scores < draw(st.integers(1, rows * columns))
    else:
        fan_in = draw(st.integers(1, columns))
        mask = scores.argsort(1).argsort(1) < fan_in
        mask[torch.tensor(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))] = False
        mask[draw(st.integers(0, rows - 1))] = True
    sparsity = draw(st.floats(0, 1 - 1 / columns))
    return weight, grad, mask, draw(st.floats(0, 1)), sparsity, draw(st.sampled_from([0, 0.3, 0.5, 0.9, 1]))


@given(drawn_steps(), st.booleans())
def test_against_loops(case, last_layer):
    weight, grad, mask, fraction, sparsity, gamma = case
    found = srigl_step(weight, grad, mask, fraction, sparsity=sparsity, gamma=gamma, last_layer=last_layer)
    lists = (tensor.tolist() for tensor in (weight, grad, mask))
    assert found.tolist() == by_loops(*lists, fraction, sparsity, gamma, last_layer)


@given(drawn_steps())
def test_invariants(case):
    weight, grad, mask, fraction, sparsity, gamma = case
    before = [tensor.clone() for tensor in (weight, grad, mask)]
    after = srigl_step(weight, grad, mask, fraction, sparsity=sparsity, gamma=gamma)
    budget, live = keep_count(mask.numel(), sparsity), after.sum(1)
    active = int((live > 0).sum())
    assert after.dtype == torch.bool and set(live.tolist()) <= {0, budget // active}
    assert int(after.sum()) <= budget and (gamma > 0 or active == len(weight))
    assert all(tensor.equal(other) for tensor, other in zip((weight, grad, mask), before, strict=True))
    wide = [tensor.view(tensor.shape[0], -1, 1, 1) for tensor in (weight, grad, mask)]
    assert after.equal(srigl_step(*wide, fraction, sparsity=sparsity, gamma=gamma)[:, :, 0, 0])


def test_mistake_trimming_by_index():
    """The published code sorts the mask, not the weights, to trim a neuron: it keeps 1 and 2 of 1, 2, 9, 9."""
    weight = torch.tensor([[1.0, 2, 9, 9], [3.0, 0, 0, 0]])
    case = (weight, torch.zeros(2, 4), weight > 0, 0.0)
    assert places(srigl_step(*case, sparsity=0.5, gamma=0.5)) == [[2, 3], [0, 1]]
    lists = (tensor.tolist() for tensor in case[:3])
    assert places(torch.tensor(by_loops(*lists, 0.0, 0.5, 0.5, mistakes=("trim",)))) == [[0, 1], [0, 1]]


def test_mistake_keeping_places_that_hold_nothing():
    """Neuron 0 takes two of the kept weights with it; the published code then "keeps" two empty places of neuron 1.

    Four are to be kept: 9 and 8 of neuron 1, 7 and 6 of neuron 0, which has too few salient places and leaves. Neuron 1
    has three weights to keep, may hold six and grows three, those with the largest gradients: 7, 6 and 5, not 3.
    """
    weight = torch.zeros(2, 8)
    weight[0, :3], weight[1, :3] = torch.tensor([7.0, 6, 1]), torch.tensor([9.0, 8, 2])
    grad = torch.zeros(2, 8)
    grad[1] = torch.tensor([0.0, 0, 0, 0, 3, 4, 5, 6])
    step = (weight, grad, weight > 0, 1 / 3)
    assert places(srigl_step(*step, sparsity=5 / 8, gamma=1)) == [[], [0, 1, 2, 5, 6, 7]]
    lists = (tensor.tolist() for tensor in step[:3])
    assert places(torch.tensor(by_loops(*lists, 1 / 3, 5 / 8, 1, mistakes=("keep",)))) == [[], [0, 1, 2, 3, 6, 7]]


def test_mistake_in_the_initial_weights(generator):
    """Standard deviation sqrt(2 / 8) = .5; the published code leaves out the root, .25."""
    model = mlp((200, 500), generator=generator)
    masks = constant_fan_in_masks({"0.weight": (500, 200)}, {"0.weight": 0.04}, generator)
    torch.nn.init.ones_(model[0].bias)
    assert initialize_live(model, masks, generator) is model
    live = model[0].weight.detach()[masks["0.weight"]]
    assert live.std().item() == pytest.approx(0.5, rel=0.05) and live.mean().abs() < 0.03
    assert not model[0].weight.detach()[~masks["0.weight"]].any() and not model[0].bias.any()


def test_initial_weights_know_the_fan_in_of_each_row(generator):
    conv = torch.nn.Conv2d(2, 2, 40, bias=False)
    mask = torch.ones(2, 2, 40, 40, dtype=torch.bool)
    mask[1, 1] = False
    initialize_live(conv, {"weight": mask}, generator)
    one, two = conv.weight.detach()[0].std().item(), conv.weight.detach()[1, 0].std().item()
    assert one == pytest.approx((2 / 3200) ** 0.5, rel=0.06) and two == pytest.approx((2 / 1600) ** 0.5, rel=0.06)


def test_initial_masks(generator):
    """5 x 7 at .5: 18 live weights, 3 in each row; which ones is drawn evenly."""
    shapes = {"a": (5, 7), "conv": (4, 3, 2, 2)}
    masks = constant_fan_in_masks(shapes, {"a": 0.5, "conv": 1.0}, generator)
    assert masks["a"].sum(1).tolist() == [3] * 5 and masks["conv"].all() and masks["conv"].shape == (4, 3, 2, 2)
    wide = constant_fan_in_masks({"a": (4000, 7)}, {"a": 3 / 7}, generator)["a"]
    assert (wide.sum(0) - 4000 * 3 / 7).abs().max() < 4 * (4000 * 12 / 49) ** 0.5
    again = [
        constant_fan_in_masks(shapes, {"a": 0.5, "conv": 0.3}, torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    ]
    assert again[0]["a"].equal(again[1]["a"]) and not again[0]["a"].equal(again[2]["a"])


def test_row_topk_by_hand():
    scores = torch.tensor([[1.0, 3, 3, 3], [2.0, 2, 2, 2], [5.0, 4, -math.inf, 9], [0.0, 1, 2, 3]])
    assert places(row_topk_mask(scores, torch.tensor([2, 3, 3, 0]))) == [[1, 2], [0, 1, 2], [0, 1, 3], []]


TWO = torch.ones(2, 6) > 0
step = partial(srigl_step, WEIGHT, GRAD, MASK)
settled = partial(step, 0.25, sparsity=0.5)
SHAPES = {"a": (5, 7)}


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: settled(gamma=1.2), ("gamma", "1.2", "[0, 1]", "0 ablates")),
        (lambda: settled(gamma=-0.1), ("gamma", "-0.1", "[0, 1]")),
        (lambda: step(1.5, sparsity=0.5, gamma=0), ("fraction", "1.5", "[0, 1]")),
        (lambda: step(0.2, sparsity=1.5, gamma=0), ("sparsity", "1.5", "[0, 1)")),
        (lambda: step(0.2, sparsity=0.9, gamma=0), ("sparsity", "3 live weights", "4 neurons", "smaller")),
        (lambda: srigl_step(WEIGHT, None, MASK, 0.2, sparsity=0.5, gamma=0), ("grad.shape", "None", "backward()")),
        (lambda: srigl_step(WEIGHT, GRAD / 0, MASK, 0.2, sparsity=0.5, gamma=0), ("grad", "NaN", "finite")),
        (lambda: srigl_step(WEIGHT / 0, GRAD, MASK, 0.2, sparsity=0.5, gamma=0), ("live weights", "8 NaN")),
        (lambda: srigl_step(WEIGHT, GRAD, TWO, 0.2, sparsity=0.5, gamma=0), ("mask.shape", "(2, 6)", "(4, 6)")),
        (lambda: srigl_step(WEIGHT, GRAD, MASK & False, 0.2, sparsity=0.5, gamma=0), ("mask", "empty", "live weight")),
        (lambda: constant_fan_in_masks(SHAPES, {"a": 0.1}, torch.Generator()), ("densities['a']", "4 live", "5 neurons")),
        (lambda: constant_fan_in_masks(SHAPES, {"a": 0}, torch.Generator()), ("densities['a']", "0", "(0, 1]")),
        (lambda: constant_fan_in_masks(SHAPES, {"a": 0.5}, None), ("generator", "None", "manual_seed(0)")),
    ],
    ids=case_name,
)  # fmt: skip
def test_value_errors(call, words):
    assert_one_line_error(call, *words)


def test_type_and_key_errors():
    bad = partial(srigl_step, WEIGHT, GRAD, MASK.int(), 0.5, sparsity=0.5, gamma=0)
    assert_one_line_error(bad, "mask.dtype", "torch.int32", error=TypeError)
    keys = partial(constant_fan_in_masks, SHAPES, {"b": 0.5}, torch.Generator())
    assert_one_line_error(keys, "densities", "['b']", "shapes", error=KeyError)
