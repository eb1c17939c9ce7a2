"""Toy data and networks for the tests of training."""

from functools import partial

import torch
from torch import nn

from lttlib.data import Data
from lttlib.models import mlp
from lttlib.training import train, train_together

DECAY = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
ADAM = partial(torch.optim.Adam, lr=0.01)
SEEDS = [3, 4, 4]


def toy(dtype=torch.float64) -> Data:
    """70 training and 20 test rows, 6 features, 3 classes that a small network can learn."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(90, 6, generator=draw, dtype=dtype)
    y = (x @ torch.randn(6, 3, generator=draw, dtype=dtype)).argmax(1)
    return Data("toy", x[:70], y[:70], x[70:], y[70:], classes=3)


DATA = toy()


def net(seed: int = 0) -> nn.Sequential:
    return mlp((6, 8, 3), generator=torch.Generator().manual_seed(seed)).double()


def half_masks(seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {"0.weight": torch.rand(8, 6, generator=draw) < 0.5, "2.weight": torch.rand(3, 8, generator=draw) < 0.5}


quick = partial(train, data=DATA, seed=3, batch_size=16, progress=False)
quick_together = partial(train_together, data=DATA, seeds=SEEDS, batch_size=16, progress=False)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(p.equal(q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
