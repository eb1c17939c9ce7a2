"""Bad input to lttlib.masks: one line that names the argument, its value and the remedy."""

import math

import pytest
import torch
from errors import assert_one_line_error, case_name
from torch import nn

from lttlib import masks

W = torch.arange(6.0).view(2, 3)
NAN = torch.tensor([[1.0, math.nan, 2.0]])
LIVE = torch.ones(2, 3, dtype=torch.bool)


@pytest.mark.parametrize("sparsity", [1.2, 1, -0.1, math.nan, "0.9", None])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_sparsity_outside_its_range(sparsity, scope):
    words = ("sparsity", str(sparsity), "[0, 1)", "90% sparse is 0.9")
    assert_one_line_error(lambda: masks.magnitude_masks({"w": W}, sparsity, scope=scope), *words)
    assert_one_line_error(lambda: masks.keep_count(10, sparsity), *words)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: masks.keep_count(-1, 0.5), ("n", "-1", "0 or more", "numel")),
        (lambda: masks.topk_mask(W, 7), ("k", "7", "0 to 6", "keep_count")),
        (lambda: masks.topk_mask(W, -1), ("k", "-1", "0 to 6", "keep_count")),
        (lambda: masks.topk_mask(NAN, 1), ("scores", "1 NaN", "loss diverge")),
        (lambda: masks.magnitude_masks({"fc": NAN}, 0.5, scope="layer"), ("weights['fc']", "1 NaN", "learning rate")),
        (lambda: masks.magnitude_masks({"fc": NAN / 0}, 0.5, scope="layer"), ("weights['fc']", "3 NaN or inf")),
        (lambda: masks.magnitude_masks({"w": W}, 0.5, scope="local"), ("scope", "'local'", "'global'", "'layer'")),
        (lambda: masks.mask_by_scores({}, 0.5, scope="global"), ("scores", "{}")),
        (lambda: masks.erk_densities({"a": (2, 2)}, 1.2), ("density", "1.2", "(0, 1]", "1 - sparsity")),
        (lambda: masks.erk_densities({"a": (2, 2)}, 0), ("density", "0", "(0, 1]", "1 - sparsity")),
        (lambda: masks.erk_densities({"a": (2, 2)}, math.nan), ("density", "nan", "(0, 1]", "1 - sparsity")),
        (lambda: masks.erk_densities({}, 0.5), ("shapes", "{}", "at least one", "weight.shape")),
        (lambda: masks.random_masks({"a": (2, 2)}, {"a": 1.5}, torch.Generator()), ("densities['a']", "1.5", "(0, 1]")),
        (lambda: masks.random_masks({"a": (2, 2)}, {"a": 0.0}, torch.Generator()), ("densities['a']", "0.0", "(0, 1]")),
        (lambda: masks.nm_mask(W, 2, 4), ("m", "4", "divisor of the 3 inputs", "pad")),
        (lambda: masks.nm_mask(W, 4, 3), ("n", "4", "0 to m = 3", "2:4")),
        (lambda: masks.nm_mask(W, -1, 3), ("n", "-1", "0 to m = 3", "2:4")),
        (lambda: masks.nm_mask(W, 0, 0), ("m", "0")),
        (lambda: masks.nm_mask(W[0], 1, 3), ("weight.shape", "(3,)", "(out, in)", "reshape")),
        (lambda: masks.nm_mask(NAN, 1, 3), ("weight", "1 NaN", "finite")),
        (lambda: masks.constant_fan_in_mask(W, 4), ("k", "4", "0 to 3", "fan-in")),
        (lambda: masks.constant_fan_in_mask(W, -1), ("k", "-1", "0 to 3", "fan-in")),
        (lambda: masks.constant_fan_in_mask(NAN, 1), ("weight", "1 NaN", "finite")),
        (lambda: masks.constant_fan_in_mask(W[0], 1), ("weight.shape", "(3,)", "(out, in)")),
        (lambda: masks.unit_masks({"1": W, "2": W.T}, {"1": torch.ones(3)}, 0.5), ("scores['1'].shape", "(3,)", "(2,)")),
        (lambda: masks.unit_masks({"1": W, "2": W.T}, {"1": torch.ones(2)}, 1.2), ("sparsity", "1.2", "[0, 1)")),
        (lambda: masks.density({}), ("masks", "{}")),
    ],
    ids=case_name,
)  # fmt: skip
def test_value_errors(call, words):
    assert_one_line_error(call, *words)


@pytest.mark.parametrize(
    "call, words",
    [
        (
            lambda: masks.random_masks({"a": (2, 2)}, {"b": 0.5}, torch.Generator()),
            ("densities", "['b']", "['a', 'b']"),
        ),
        (lambda: masks.unit_masks({"1": W, "2": W.T}, {"2": torch.ones(3)}, 0.5), ("scores", "['2']", "['1', '2']")),
        (lambda: masks.mask_by_scores({"a": W}, 0.5, scope="layer", masks={"b": LIVE}), ("masks", "['b']", "scores")),
        (lambda: masks.apply_masks(nn.Linear(3, 2), {"wieght": LIVE}), ("masks", "'wieght'", "['bias', 'weight']")),
    ],
    ids=case_name,
)
def test_unknown_names(call, words):
    assert_one_line_error(call, *words, error=KeyError)


@pytest.mark.parametrize(
    "call",
    [
        lambda mask: masks.apply_masks(nn.Linear(3, 2), {"weight": mask}),
        lambda mask: masks.mask_by_scores({"weight": W}, 0.5, scope="layer", masks={"weight": mask}),
    ],
)
def test_masks_of_another_kind(call):
    assert_one_line_error(
        lambda: call(LIVE.float()), "masks['weight'].dtype", "float32", "torch.bool", "mask != 0", error=TypeError
    )
    assert_one_line_error(lambda: call(LIVE.T), "masks['weight'].shape", "(3, 2)", "(2, 3)", "shape of its weight")
    assert_one_line_error(lambda: call(LIVE[0]), "masks['weight'].shape", "(3,)", "(2, 3)")  # would broadcast


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_masks_never_grow(scope):
    earlier = {"w": torch.tensor([True, False, False, False])}
    assert_one_line_error(
        lambda: masks.mask_by_scores({"w": torch.ones(4)}, 0.5, scope=scope, masks=earlier),
        "sparsity", "0.5", "at least 0.75", "only 1 of 4", "never grow",
    )  # fmt: skip


def test_missing_generator():
    assert_one_line_error(
        lambda: masks.random_masks({"a": (2, 2)}, {"a": 0.5}, None), "generator", "None", error=Exception
    )
