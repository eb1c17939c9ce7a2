"""Training with auxiliary losses, by the loop of lttlib.training. Book: "Mixture of experts"."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from lttlib.data import Data
from lttlib.moe.collecting import collect_auxiliary, weighted
from lttlib.moe.layer import Auxiliary
from lttlib.networks import OneNetwork
from lttlib.training import SGD, History, Optimizer, Schedule, run_loop

Watch = Callable[[int, list[Auxiliary]], None]


def train_mixture(
    model: nn.Module,
    data: Data,
    *,
    balance: float,
    z: float = 0.0,
    steps: int,
    seed: int,
    optimizer: Optimizer = SGD,
    batch_size: int = 64,
    eval_every: int | None = None,
    progress: bool = True,
    schedule: Schedule | None = None,
    watch: Watch | None = None,
) -> History:
    """Train model in place with cross-entropy + balance * balance loss + z * z-loss; returns its History.

    model: holds one MoELayer at least; losses are averaged over layers. The training loss recorded is the whole sum.
    watch(step, found): called at each step, from 0, with what the layers returned. The others: see training.train.
    """
    network = MixtureNetwork(model, balance, z, watch)
    return run_loop(
        network, data, [seed], steps=steps, optimizer=optimizer, batch_size=batch_size, eval_every=eval_every,
        checkpoint=None, progress=progress, start=0, schedule=schedule, validation=None,
    )[0]  # fmt: skip


class MixtureNetwork(OneNetwork):
    """A model whose loss has auxiliary terms, as the loop takes it."""

    def __init__(self, model: nn.Module, balance: float, z: float, watch: Watch | None):
        super().__init__(model, {})
        self._weights, self._watch, self._step = {"balance": balance, "z": z}, watch, 0

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy and weighted auxiliary losses of one batch as (1,). x: (1, batch, features), y: (1, batch)."""
        with collect_auxiliary(self.model) as found:
            loss = F.cross_entropy(self.model(x[0]), y[0])
        if self._watch is not None:
            self._watch(self._step, found)
        self._step += 1
        return (loss + weighted(found, **self._weights))[None]
