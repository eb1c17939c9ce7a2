"""Values of every odd kind, handed to every check: the answer is in words, never a traceback."""

import numpy as np
import pytest
import torch
from every_check import CHECKS


class Hostile:
    """A value of a reader's own class that fails whenever it is looked at."""

    def __repr__(self):
        raise RuntimeError("no")

    __len__ = __array__ = __float__ = __iter__ = __eq__ = __repr__
    __hash__ = None


WEIRD = [
    float("nan"),
    float("inf"),
    -1,
    True,
    "text",
    b"bytes",
    (),
    [],
    {},
    {"0.weight": None},
    {"0.weight": "text"},
    {1: 2},
    1 + 2j,
    torch.tensor(1 + 2j),
    object(),
    Hostile(),
    len,
    iter([1]),
    torch.zeros(0),
    torch.zeros(7, 7, 7),
    torch.full((2,), torch.nan),
    torch.zeros(2, dtype=torch.bool),
    torch.zeros(2, dtype=torch.int64, requires_grad=False),
    torch.zeros(2, requires_grad=True),
    torch.zeros(2, 2).to_sparse(),
    torch.zeros(2, device="meta"),
    np.zeros(3),
    np.array("text"),
    np.array([None]),
    np.float32(0.5),
    [[1, 2], [3]],
    [torch.zeros(1), torch.zeros(2)],
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("number", range(len(WEIRD)))
def test_a_weird_value_is_told_so_in_words(check, number):
    verdict = check(lambda *arguments: WEIRD[number])
    assert verdict.status == "wrong"
    assert verdict.text.endswith("?")
    assert "0x" not in verdict.text and len(verdict.text) < 600
