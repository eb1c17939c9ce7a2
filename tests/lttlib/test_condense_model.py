"""Condensed networks for inference: equal to the dense ones, neurons folded, saved without pickle, sizes, errors."""

from functools import partial

import numpy as np
import pytest
import torch
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lttlib.condensed_mlp import CondensedMLP
from lttlib.condensed_model import condense_model, load_condensed, save_condensed
from lttlib.models import mlp
from lttlib.srigl import constant_fan_in_masks


def pruned(sizes, seed, fan_in=None):
    """A network with random biases and random zeros, whole neurons among them; fan_in: the same in every live row."""
    draw = torch.Generator().manual_seed(seed)
    model = mlp(sizes, generator=draw)
    masks = {}
    with torch.no_grad():
        for i, layer in list(enumerate(model))[::2]:
            layer.bias.normal_(generator=draw)
            mask = torch.rand(layer.weight.shape, generator=draw) < 0.4
            if fan_in:
                shapes = {"w": tuple(layer.weight.shape)}
                mask = constant_fan_in_masks(shapes, {"w": fan_in / layer.in_features}, draw)["w"]
            mask[torch.rand(len(mask), generator=draw) < 0.3] = False
            masks[f"{i}.weight"] = mask
            layer.weight.masked_fill_(~mask, 0)
    return model, masks


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=5),
    st.sampled_from([0, 1, 2, 9, 64, 130, 200]),
    st.integers(0, 999),
)
def test_answers_are_those_of_the_dense_network(sizes, batch, seed):
    model, _ = pruned(sizes, seed)
    x = torch.randn(batch, sizes[0], generator=torch.Generator().manual_seed(seed))
    expected = model.double()(x.double()).float()
    found = condense_model(model.float())(x)
    assert not found.requires_grad and found.shape == expected.shape
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 10, 40])
def test_not_a_number_reaches_whatever_reads_it(batch):
    model, _ = pruned((30, 20, 5), 2)
    x = torch.randn(batch, 30)
    x[0, 7] = float("nan")
    read = model[0].weight[:, 7].any()
    answers = condense_model(model)(x)
    assert answers[0].isnan().any() == read and not answers[1:].isnan().any()


def test_ablated_neurons_are_folded_by_hand():
    """Neuron 1 is always max(0, 3) = 3 and neuron 2 max(0, -1) = 0; so neuron 0 of layer 2 is 5 + 2 * 3, and goes, too."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0], [0, 0], [0, 0]]))
        model[0].bias.copy_(torch.tensor([0.0, 3, -1]))
        model[2].weight.copy_(torch.tensor([[0.0, 2, 7], [4, -1, 0]]))
        model[2].bias.copy_(torch.tensor([5.0, 10]))
        model[4].weight.copy_(torch.tensor([[1.0, 0], [3, 1]]))
        model[4].bias.copy_(torch.tensor([0.0, 1]))
    condensed = condense_model(model)
    assert condensed.shapes == [(1, 2), (1, 1), (2, 1)]
    state = {name: part.tolist() for name, part in condensed.state_dict().items()}
    assert [state[f"{i}_values"] for i in range(3)] == [[[1.0]], [[4.0]], [[1.0]]]
    assert [state[f"{i}_bias"] for i in range(3)] == [[0.0], [7.0], [11.0, 34.0]]
    assert state["2_rows"] == [1]  # output 0 reads nothing any more, and stays
    assert condensed(torch.tensor([[2.0, 9]])).tolist() == [[11.0, 34 + 15]]


def test_live_weights_that_cancel_are_not_ablated():
    model = nn.Sequential(nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -1]]))
        model[0].bias.zero_()
    assert condense_model(model)(torch.tensor([[5.0, 2]])).tolist() == [[3.0]]


def test_condensed_and_dense_give_the_same_model():
    model, masks = pruned((30, 20, 20, 10), 3, fan_in=4)
    moving = CondensedMLP.from_model(model, masks)
    before = {name: part.clone() for name, part in model.state_dict().items()}
    first, second = condense_model(model).state_dict(), condense_model(moving).state_dict()
    assert all(part.equal(before[name]) for name, part in model.state_dict().items())
    assert first.keys() == second.keys() and all(part.equal(second[name]) for name, part in first.items())


def test_saved_and_loaded(tmp_path):
    condensed = condense_model(pruned((300, 50, 10), 1)[0])
    save_condensed(condensed, tmp_path / "net.safetensors")
    loaded = load_condensed(tmp_path / "net.safetensors")
    x = torch.randn(70, 300)
    assert loaded(x).equal(condensed(x)) and loaded.shapes == condensed.shapes
    assert condensed.bytes == sum(part.numpy().nbytes for part in condensed.state_dict().values())
    assert 0 <= (tmp_path / "net.safetensors").stat().st_size - condensed.bytes < 2000
    assert condensed.state_dict()["0_indices"].numpy().dtype == np.uint16


def test_sizes_of_a_constant_fan_in():
    """100 x 64 with 7 inputs each: 700 values of 4 bytes and indices of 1, 100 rows of 4, 100 biases of 4; then the output."""
    draw = torch.Generator().manual_seed(0)
    model = mlp((64, 100, 10), generator=draw)
    mask = constant_fan_in_masks({"w": (100, 64)}, {"w": 7 / 64}, draw)["w"]
    with torch.no_grad():
        model[0].weight.masked_fill_(~mask, 0)
    assert condense_model(model).bytes == 700 * 5 + 800 + 1000 * 5 + 80


def broken(tmp_path, content):
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    return partial(load_condensed, path)


def test_damaged_files(tmp_path):
    save_condensed(condense_model(pruned((30, 10), 1)[0]), tmp_path / "good")
    whole = (tmp_path / "good").read_bytes()
    for content in (b"", b"nothing", whole[:-5], whole.replace(b"shapes", b"shaves")):
        assert_one_line_error(broken(tmp_path, content), "path", "net.safetensors", "save_condensed")


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: condense_model(nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2))), ("model", "Tanh", "ReLU")),
        (lambda: condense_model(nn.Sequential(nn.Linear(3, 2), nn.ReLU())), ("model", "2", "in turns")),
        (lambda: condense_model(mlp((3, 2), generator=torch.Generator()))(torch.ones(2, 4)), ("x.shape", "(2, 4)")),
    ],
    ids=case_name,
)
def test_value_errors(call, words):
    assert_one_line_error(call, *words)


def test_type_error():
    model = condense_model(mlp((3, 2), generator=torch.Generator()))
    assert_one_line_error(partial(model, torch.ones(2, 3).double()), "x.dtype", "float64", error=TypeError)
