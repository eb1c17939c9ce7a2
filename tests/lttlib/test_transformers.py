"""Transformers: against numpy and loops, what a token sees, gradients, initialization, stacked training, learning, errors."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lttlib.data import Data
from lttlib.masks import prunable
from lttlib.models import mlp
from lttlib.training import train, train_together
from lttlib.transformers import (
    Attention,
    Block,
    CharacterTransformer,
    Transformer,
    VisionTransformer,
    dense_feed_forward,
    feed_forwards,
)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dense(width=8, hidden=12, seed=5):
    generator = draw(seed)
    return lambda block: dense_feed_forward(width, hidden, generator=generator)


def vision(image=(4, 6), *, patch=2, heads=2, depth=2, seed=0, feed_forward=None):
    return VisionTransformer(image, patch=patch, width=8, heads=heads, depth=depth, classes=3,
                             feed_forward=feed_forward or dense(), generator=draw(seed))  # fmt: skip


def language(characters=5, *, context=7, heads=2, depth=2, seed=0):
    return CharacterTransformer(characters, context=context, width=8, heads=heads, depth=depth, feed_forward=dense(),
                                generator=draw(seed))  # fmt: skip


def shaken(model: nn.Module) -> nn.Module:
    """In double precision, with every parameter somewhere else than at the start: biases and norms count, too."""
    generator = draw(9)
    with torch.no_grad():
        for parameter in model.double().parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def norm_by_hand(x, weights, name):
    middle = x - x.mean(-1, keepdims=True)
    return (
        middle / np.sqrt((middle**2).mean(-1, keepdims=True) + 1e-5) * weights[f"{name}.weight"]
        + weights[f"{name}.bias"]
    )


def linear_by_hand(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def attention_by_hand(x, weights, name, heads, causal):
    """x: (tokens, width). Head after head, token after token."""
    tokens, width = x.shape
    parts = linear_by_hand(x, weights, f"{name}.queries_keys_values")
    queries, keys, values = parts[:, :width], parts[:, width : 2 * width], parts[:, 2 * width :]
    answers, size = np.zeros_like(x), width // heads
    for head in range(heads):
        mine = slice(head * size, (head + 1) * size)
        for token in range(tokens):
            seen = range(token + 1 if causal else tokens)
            powers = np.array([np.exp(queries[token, mine] @ keys[other, mine] / size**0.5) for other in seen])
            answers[token, mine] = sum(
                p * values[other, mine] for p, other in zip(powers / powers.sum(), seen, strict=True)
            )
    return linear_by_hand(answers, weights, f"{name}.output")


def transformer_by_hand(x, weights, depth, heads, causal):
    for i in range(depth):
        block = f"transformer.blocks.{i}"
        read = norm_by_hand(x, weights, f"{block}.attention_norm")
        x = x + attention_by_hand(read, weights, f"{block}.attention", heads, causal)
        read = norm_by_hand(x, weights, f"{block}.feed_forward_norm")
        hidden = np.maximum(linear_by_hand(read, weights, f"{block}.feed_forward.0"), 0)
        x = x + linear_by_hand(hidden, weights, f"{block}.feed_forward.2")
    return norm_by_hand(x, weights, "transformer.norm")


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 2, 4]), st.integers(1, 3))
def test_vision_by_hand(rows, columns, patch, heads, depth):
    """Not square; tokens cut out one by one."""
    image = (rows * patch, columns * patch)
    model = shaken(vision(image, patch=patch, heads=heads, depth=depth))
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    x = torch.randn(2, image[0] * image[1], generator=draw(1), dtype=torch.float64)
    expected = []
    for picture in x.numpy().reshape(2, *image):
        cut = [picture[i : i + patch, j : j + patch].ravel() for i in range(0, image[0], patch)
               for j in range(0, image[1], patch)]  # fmt: skip
        tokens = linear_by_hand(np.array(cut), weights, "embedding") + weights["positions"]
        tokens = transformer_by_hand(tokens, weights, depth, heads, causal=False)
        expected.append(linear_by_hand(tokens.sum(0) / len(tokens), weights, "readout"))
    np.testing.assert_allclose(model(x).detach().numpy(), expected, rtol=1e-9, atol=1e-9)


@given(st.integers(1, 6), st.integers(1, 7), st.sampled_from([1, 2, 4]), st.integers(1, 3))
def test_characters_by_hand(characters, tokens, heads, depth):
    model = shaken(language(characters, heads=heads, depth=depth))
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    x = torch.randint(characters, (2, tokens), generator=draw(1))
    logits = model(x)
    assert logits.shape == (2, tokens, characters)
    for text, found in zip(x.tolist(), logits.detach().numpy(), strict=True):
        known = np.array([weights["embedding"][number] + weights["positions"][t] for t, number in enumerate(text)])
        read = transformer_by_hand(known, weights, depth, heads, causal=True)
        np.testing.assert_allclose(found, linear_by_hand(read, weights, "readout"), rtol=1e-9, atol=1e-9)


def test_a_later_character_changes_no_earlier_logit():
    model = shaken(language())
    x = torch.tensor([[0, 1, 2, 3, 4, 0, 1]])
    before = model(x)
    for place in range(7):
        other = x.clone()
        other[0, place] = (other[0, place] + 1) % 5
        changed = (model(other) - before)[0].abs().amax(1)
        assert not (changed[:place] > 1e-12).any()
        assert (changed[place:] > 1e-6).all()
    torch.testing.assert_close(model(x[:, :4]), before[:, :4])
    assert not torch.allclose(model(x[:, [1, 0, 2, 3, 4, 0, 1]])[0, -1], before[0, -1])  # places count


def test_without_causal_every_token_sees_every_other():
    x = torch.randn(1, 5, 8, generator=draw(1), dtype=torch.float64, requires_grad=True)
    for causal in (False, True):
        model = Transformer(width=8, heads=2, depth=1, feed_forward=dense(), causal=causal, generator=draw())
        (by_x,) = torch.autograd.grad((shaken(model)(x)[0, 0] ** 2).sum(), x)
        assert by_x[0].abs().amax(1).gt(0).tolist() == [True] + [not causal] * 4


@pytest.mark.parametrize(
    "model", [vision((2, 4), depth=1), language(3, context=3, depth=1)], ids=["vision", "language"]
)
def test_gradients(model):
    model = shaken(model)
    names, values = zip(*model.named_parameters(), strict=True)
    vectors = isinstance(model, VisionTransformer)
    x = torch.randn(2, 8, generator=draw(1), dtype=torch.float64) if vectors else torch.tensor([[0, 2, 1], [1, 1, 0]])
    inputs = tuple(value.detach().clone().requires_grad_() for value in values)

    def logits(*parameters):
        return torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(logits, inputs, fast_mode=True)
    if vectors:
        assert torch.autograd.gradcheck(model, x.requires_grad_(), fast_mode=True)


def test_feed_forward_of_each_block_is_what_the_factory_makes():
    made = []

    def factory(block):
        made.append((block, nn.Identity()))
        return made[-1][1]

    model = vision(depth=3, feed_forward=factory)
    assert [block for block, _ in made] == [0, 1, 2]
    assert list(feed_forwards(model).values()) == [module for _, module in made]
    assert list(feed_forwards(model)) == [f"transformer.blocks.{i}.feed_forward" for i in range(3)]
    assert all(model.get_submodule(name) is module for name, module in feed_forwards(model).items())
    block = model.transformer.blocks[1]
    assert feed_forwards(block) == {"feed_forward": made[1][1]} and feed_forwards(nn.Linear(2, 2)) == {}


@pytest.mark.parametrize("make", [vision, language])
def test_generator_alone_decides(make):
    torch.manual_seed(3)
    expected = torch.get_rng_state()
    first, again, other = (make(seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.get_rng_state().equal(expected)
    assert all(first[name].equal(again[name]) for name in first)
    drawn = [name for name, value in first.items() if value.std() > 0 and "feed_forward." not in name]
    assert len(drawn) == (2 + 2 * 2 + 1) and not any(first[name].equal(other[name]) for name in drawn)


def test_sizes_at_the_start():
    """Weights by both fans, positions 0.3, characters 1, biases 0, norms the identity."""
    model = CharacterTransformer(
        400, context=100, width=64, heads=4, depth=2, feed_forward=dense(64, 256), generator=draw()
    )
    for name, weight in prunable(model).items():
        out, inputs = weight.shape
        expected = 2 / inputs if "feed_forward" in name else 2 / (inputs + out)
        assert float(weight.detach().var()) == pytest.approx(expected, rel=0.1), name
    assert float(model.positions.detach().std()) == pytest.approx(0.3, rel=0.05)
    assert float(model.embedding.detach().std()) == pytest.approx(1, rel=0.05)
    rest = {name: value for name, value in model.named_parameters() if value.ndim == 1}
    assert all((value == (1 if "norm.weight" in name else 0)).all() for name, value in rest.items())
    assert list(prunable(model))[-1] == "readout.weight"
    generator, same = draw(2), draw(2)
    pair = zip(
        dense_feed_forward(6, 9, generator=generator).parameters(),
        mlp((6, 9, 6), generator=same).parameters(),
        strict=True,
    )
    assert all(p.equal(q) for p, q in pair)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch runs attention network by network
def test_together_equals_one_by_one():
    x = torch.randn(60, 24, generator=draw(1), dtype=torch.float64)
    data = Data("toy", x[:40], x[:40, :3].argmax(1), x[40:], x[40:, :3].argmax(1), classes=3)
    models, alone = ([vision(seed=seed).double() for seed in (0, 1)] for _ in range(2))
    options = {"steps": 12, "batch_size": 10, "optimizer": partial(torch.optim.Adam, lr=1e-3), "progress": False}
    train_together(models, data, seeds=[3, 4], **options)
    for model, other, seed in zip(models, alone, (3, 4), strict=True):
        train(other, data, seed=seed, **options)
        for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(p, q, atol=1e-9, rtol=1e-7, msg=name)


def test_language_model_learns_to_look_three_back():
    """Every character but the first three is that of three places before."""
    generator = draw(1)
    model = CharacterTransformer(
        4, context=12, width=16, heads=2, depth=2, feed_forward=dense(16, 32), generator=generator
    )
    engine = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        x = torch.randint(4, (32, 3), generator=generator).repeat(1, 4)
        loss = F.cross_entropy(model(x)[:, 2:-1].flatten(0, 1), x[:, 3:].flatten())
        engine.zero_grad()
        loss.backward()
        engine.step()
    assert loss.item() < 0.1  # log 4 = 1.39 without a look back


WRONG = {"image": (4, 6), "patch": 2, "width": 8, "heads": 2, "depth": 1, "classes": 3, "feed_forward": dense(), "generator": draw()}  # fmt: skip
LONG = torch.zeros(1, 8, dtype=torch.int64)


def wrong_block(module) -> Block:
    return Block(Attention(8, 2, causal=False, generator=draw()), module, 8)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: VisionTransformer(**WRONG | {"patch": 4}), ("patch", "4", "image = (4, 6)", "pad")),
        (lambda: VisionTransformer(**WRONG | {"patch": 3}), ("patch", "3", "image = (4, 6)", "pad")),
        (lambda: VisionTransformer(**WRONG | {"patch": 0}), ("patch", "0", "divisor")),
        (lambda: VisionTransformer(**WRONG | {"heads": 3}), ("heads", "3", "width = 8")),
        (lambda: VisionTransformer(**WRONG | {"heads": 0}), ("heads", "0", "width = 8")),
        (lambda: VisionTransformer(**WRONG | {"depth": 0}), ("depth", "0", "1 or more")),
        (lambda: vision()(torch.zeros(2, 25)), ("x.shape", "(2, 25)", "(batch, 24)", "4 x 6")),
        (lambda: vision()(torch.zeros(2, 24, 1)), ("x.shape", "(2, 24, 1)", "(batch, 24)")),
        (lambda: language(context=0), ("context", "0", "1 or more")),
        (lambda: language()(LONG), ("x.shape", "(1, 8)", "1 to 7", "context")),
        (lambda: language()(LONG[0]), ("x.shape", "(8,)", "batch")),
        (lambda: wrong_block(nn.Linear(8, 1))(torch.zeros(2, 3, 8)), ("what feed_forward returns", "(2, 3, 1)", "(2, 3, 8)")),
        (lambda: wrong_block(nn.LSTM(8, 8))(torch.zeros(2, 3, 8)), ("what feed_forward returns", "tuple", "one tensor")),
    ],
    ids=case_name,
)  # fmt: skip
def test_value_errors(call, words):
    assert_one_line_error(call, *words)


def test_characters_must_be_numbers_of_the_model():
    model = language()
    assert_one_line_error(lambda: model(LONG[:, :3].float()), "x.dtype", "float32", "int64", error=TypeError)
    assert_one_line_error(lambda: model(LONG[:, :3] + 5), "x", "from 5 to 5", "0 to 4", error=IndexError)
    assert_one_line_error(lambda: model(LONG[:, :3] - 1), "x", "from -1 to -1", "0 to 4", error=IndexError)
