"""One plain training loop, for one network or for many small ones at once.

Many seeds and arms of a small net are trained as one batched net: parameters are stacked, one forward pass serves
all, and the result equals training them one by one. Runs can be interrupted and resumed from a checkpoint.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from tqdm.auto import tqdm

from lttlib.arguments import require
from lttlib.checkpoints import Checkpoint
from lttlib.data import Data
from lttlib.masks import apply_masks

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
Optimizer = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
Masks = Mapping[str, Tensor]


@dataclass
class History:
    """What was recorded while training: batch loss averaged since the last record (nats), test accuracy in [0, 1]."""

    steps: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)


def train(
    model: nn.Module,
    data: Data,
    *,
    steps: int,
    seed: int,
    optimizer: Optimizer = SGD,
    batch_size: int = 64,
    masks: Masks | None = None,
    eval_every: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> History:
    """Train model in place with cross-entropy; returns its History.

    seed: order of the data, nothing else. optimizer: parameters to optimizer, such as partial(torch.optim.Adam,
    lr=1e-3). masks: name to bool mask; masked weights are exactly 0 before the first step and after each one.
    checkpoint: file to continue from if it exists; written at every record, so a killed run loses little. It is refused
    for another seed, batch size, optimizer or network.
    """
    masks = masks or {}
    apply_masks(model, masks)
    order = BatchOrder(len(data.x_train), batch_size, seed)

    def losses(step: int) -> Tensor:
        rows = order[step]
        return F.cross_entropy(model(data.x_train[rows]), data.y_train[rows])[None]

    def accuracies() -> list[float]:
        was = model.training
        model.eval()
        found = [accuracy(model, data.x_test, data.y_test)]
        model.train(was)
        return found

    state = model.state_dict(keep_vars=True)
    saved = Checkpoint(checkpoint, {"seeds": [seed], "batch_size": batch_size})
    return _loop(state, losses, lambda: apply_masks(model, masks), accuracies, steps, optimizer, eval_every,
                 saved, progress, [""])[0]  # fmt: skip


def train_together(
    models: Sequence[nn.Module],
    data: Data,
    *,
    steps: int,
    seeds: Sequence[int],
    optimizer: Optimizer = SGD,
    batch_size: int = 64,
    masks: Sequence[Masks] | None = None,
    eval_every: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> list[History]:
    """Train models of one architecture in place, all at once; the same as calling train on each.

    seeds and masks: one per model (a mask dict may be empty). The optimizer must act on each number alone, as SGD and
    Adam do. Models with buffers (batch norm) are refused: train them one by one.
    """
    masks = [{} for _ in models] if masks is None else masks
    require(len(models) > 0, "models", "[]", "at least one model", "pass a list of models")
    require(
        len(seeds) == len(models),
        "seeds",
        list(seeds),
        f"{len(models)} seeds, one per model",
        "repeat a seed to share the order",
    )
    require(
        len(masks) == len(models),
        "masks",
        f"{len(masks)} dicts",
        f"{len(models)}, one per model",
        "use {} for a dense model",
    )
    require(
        not any(True for m in models for _ in m.buffers()),
        "models",
        "with buffers",
        "models without batch norm",
        "call train on each",
    )
    shapes = [{n: p.shape for n, p in m.named_parameters()} for m in models]
    require(
        all(s == shapes[0] for s in shapes), "models", "of different shapes", "one architecture", "call train on each"
    )
    for model, mask in zip(models, masks, strict=True):
        apply_masks(model, mask)
    stacked = {
        name: torch.stack([dict(model.named_parameters())[name].detach() for model in models]).requires_grad_()
        for name, _ in models[0].named_parameters()
    }
    dead = _stacked_dead(stacked, masks)
    orders = [BatchOrder(len(data.x_train), batch_size, seed) for seed in seeds]
    skeleton = copy.deepcopy(models[0]).to("meta")

    def forward(parameters, x):
        return functional_call(skeleton, parameters, (x,))

    def losses(step: int) -> Tensor:
        rows = torch.stack([order[step] for order in orders])
        logits = vmap(forward)(stacked, data.x_train[rows])  # (models, batch, classes)
        return vmap(F.cross_entropy)(logits, data.y_train[rows])

    @torch.no_grad()
    def zero_dead() -> None:
        for name, where in dead.items():
            stacked[name].masked_fill_(where, 0)

    @torch.no_grad()
    def accuracies() -> list[float]:
        logits = vmap(forward, in_dims=(0, None))(stacked, data.x_test)
        return (logits.argmax(-1) == data.y_test).float().mean(1).tolist()

    names = [f" of model {i}" for i in range(len(models))]
    saved = Checkpoint(checkpoint, {"seeds": list(seeds), "batch_size": batch_size})
    histories = _loop(stacked, losses, zero_dead, accuracies, steps, optimizer, eval_every, saved, progress, names)
    with torch.no_grad():
        for i, model in enumerate(models):
            for name, parameter in model.named_parameters():
                parameter.copy_(stacked[name][i])
    return histories


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of rows whose largest logit is the label. The model's mode (train or eval) is left as it is."""
    return (model(x).argmax(-1) == y).float().mean().item()


@torch.no_grad()
def mean_loss(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Cross-entropy in nats, averaged over rows."""
    return F.cross_entropy(model(x), y).item()


class BatchOrder:
    """Which rows each step sees: a fresh shuffle per epoch, an incomplete last batch left out.

    Depends on (seed, step) alone, so that arms can share the order and a resumed run sees the same batches.
    """

    def __init__(self, rows: int, batch_size: int, seed: int):
        require(
            1 <= batch_size <= rows, "batch_size", batch_size, f"1 to {rows}, the training rows", "use a smaller batch"
        )
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self._epoch, self._shuffled = -1, torch.empty(0)

    def __getitem__(self, step: int) -> Tensor:
        """Row indices (batch_size,) of the batch of one step."""
        epoch, position = divmod(step, self.rows // self.batch_size)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._epoch, self._shuffled = epoch, torch.randperm(self.rows, generator=generator)
        return self._shuffled[position * self.batch_size : (position + 1) * self.batch_size]


def _stacked_dead(stacked: Mapping[str, Tensor], masks: Sequence[Masks]) -> dict[str, Tensor]:
    """Where each stacked parameter must stay 0, for the parameters that any of the masks names."""
    named = {name for mask in masks for name in mask}
    return {
        name: torch.stack(
            [~mask[name] if name in mask else torch.zeros(stacked[name].shape[1:], dtype=torch.bool) for mask in masks]
        )
        for name in named
    }


def _loop(
    state, losses, after_step, accuracies, steps, optimizer, eval_every, checkpoint, progress, names
) -> list[History]:
    """The loop itself. losses(step) gives one loss per model; their sum is minimized, which trains each alone."""
    engine = optimizer([tensor for tensor in state.values() if tensor.requires_grad])
    require(steps >= 0, "steps", steps, "0 or more", "pass the total number of steps")
    histories = [History() for _ in names]
    start = checkpoint.load(state, engine, histories)
    after_step()
    since_record: list[Tensor] = []
    for step in tqdm(
        range(start, steps), initial=start, total=steps, desc="training", disable=not progress, leave=False
    ):
        loss = losses(step)
        engine.zero_grad()
        loss.sum().backward()
        engine.step()
        after_step()
        since_record.append(loss.detach())
        if step + 1 == steps or (eval_every and (step + 1) % eval_every == 0):
            mean = torch.stack(since_record).mean(0)
            _require_no_divergence(mean, step, names)
            for history, value, correct in zip(histories, mean.tolist(), accuracies(), strict=True):
                history.steps.append(step + 1)
                history.train_loss.append(value)
                history.test_accuracy.append(correct)
            since_record = []
            checkpoint.save(state, engine, histories)
    return histories


def _require_no_divergence(losses: Tensor, step: int, names: Sequence[str]) -> None:
    bad = [name for name, loss in zip(names, losses, strict=True) if not torch.isfinite(loss)]
    if bad:
        raise FloatingPointError(
            f"the training loss{bad[0]} is NaN or infinite at step {step + 1}; lower the learning rate"
        )
