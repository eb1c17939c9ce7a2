"""Checks of arguments: they pass what is right, and say in one line what is wrong."""

import math

import numpy as np
import pytest
import torch
from errors import assert_one_line_error, case_name

from lttlib.arguments import (
    require,
    require_choice,
    require_finite,
    require_mask,
    require_same_keys,
    require_sparsity,
)


def test_message_by_hand():
    with pytest.raises(ValueError, match=r"^steps = 0: expected 1 or more; ask for one step$"):
        require(False, "steps", 0, "1 or more", "ask for one step")


def test_error_type_is_an_argument():
    with pytest.raises(KeyError):
        require(False, "masks", "x", "y", "z", KeyError)


def test_right_values_pass():
    for sparsity in (0, 0.0, 0.5, 0.999, np.float64(0.3)):
        require_sparsity(sparsity)
    require(True, "a", 1, "b", "c")
    require_choice("layer", ("global", "layer"), "scope")
    require_finite(torch.tensor([0.0, -0.0, 1e38]), "weight")
    require_finite(torch.empty(0), "weight")
    require_mask(torch.ones(2, 3) > 0, torch.Size([2, 3]))
    require_same_keys({"b": 1, "a": 2}, {"a": 3, "b": 4}, "masks", "weights")


@pytest.mark.parametrize("sparsity", [1, 1.0, 1.2, -0.1, math.nan, math.inf, True, "0.5", None, [0.5]])
def test_sparsity_is_a_number_from_0_to_below_1(sparsity):
    assert_one_line_error(lambda: require_sparsity(sparsity, "target"), "target", str(sparsity), "[0, 1)", "0.9")


FOUR = torch.zeros(2, 2)


@pytest.mark.parametrize(
    "call, words, error",
    [
        (lambda: require_choice("locally", ("global", "layer"), "scope"),
         ("scope", "'locally'", "'global'", "'layer'", "spelling"), ValueError),
        (lambda: require_choice(None, ("global",), "scope"), ("scope", "None", "'global'"), ValueError),
        (lambda: require_finite(torch.tensor([1.0, math.nan, -math.inf]), "weight"),
         ("weight", "2 NaN or infinite", "finite numbers", "learning rate"), ValueError),
        (lambda: require_mask(FOUR, FOUR.shape, "masks['a']"),
         ("masks['a'].dtype", "torch.float32", "torch.bool", "mask != 0"), TypeError),
        (lambda: require_mask(FOUR.bool(), torch.Size([4])), ("mask.shape", "(2, 2)", "(4,)", "weight"), ValueError),
        (lambda: require_same_keys({"a": 1, "c": 1}, {"a": 1, "b": 1}, "masks", "weights"),
         ("masks", "['a', 'c']", "weights", "['b', 'c']"), KeyError),
    ],
    ids=case_name,
)  # fmt: skip
def test_wrong_values_are_named(call, words, error):
    assert_one_line_error(call, *words, error=error)
