"""One plain training loop, for one network or for many small ones at once.

Many seeds and arms of a small net are trained as one batched net: parameters are stacked, one forward pass serves
all, and the result equals training them one by one. Runs can be interrupted and resumed from a checkpoint.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from lttlib.arguments import require
from lttlib.checkpoints import Checkpoint
from lttlib.data import Data
from lttlib.networks import Masks, OneNetwork, StackedNetworks

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
Optimizer = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Validation:
    """Rows kept out of training, and after every how many steps the loss on them is looked at. See hold_out."""

    x: Tensor
    y: Tensor
    every: int


@dataclass
class History:
    """What was recorded while training: batch loss averaged since the last record (nats), test accuracy in [0, 1].

    With a Validation also its loss (nats), and where training would have stopped early: the step with the lowest
    validation loss so far (the first of equals), and the test accuracy there.
    """

    steps: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    validation_steps: list[int] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    early_stop_step: int | None = None
    early_stop_accuracy: float | None = None


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
    start: int = 0,
    schedule: Schedule | None = None,
    validation: Validation | None = None,
) -> History:
    """Train model in place with cross-entropy; returns its History.

    seed: order of the data, nothing else. optimizer: parameters to optimizer, such as partial(torch.optim.Adam,
    lr=1e-3). masks: name to bool mask; masked weights are exactly 0 before the first step and after each one.
    checkpoint: file to continue from if it exists; written at every record, so a killed run loses little. It is refused
    for another seed, batch size, optimizer or network. start: steps that count as taken, for a rewound network: data
    order and schedule go on from there, the optimizer starts afresh. schedule: step to a factor on the learning rate.
    validation: rows whose loss says where to stop early; training itself goes on to the end.
    """
    return run_loop(
        OneNetwork(model, masks or {}), data, [seed], steps=steps, optimizer=optimizer, batch_size=batch_size,
        eval_every=eval_every, checkpoint=checkpoint, progress=progress, start=start, schedule=schedule,
        validation=validation,
    )[0]  # fmt: skip


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
    start: int = 0,
    schedule: Schedule | None = None,
    validation: Validation | None = None,
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
    return run_loop(
        StackedNetworks(models, masks), data, seeds, steps=steps, optimizer=optimizer, batch_size=batch_size,
        eval_every=eval_every, checkpoint=checkpoint, progress=progress, start=start, schedule=schedule,
        validation=validation,
    )  # fmt: skip


def hold_out(data: Data, rows: int, *, every: int, generator: torch.Generator) -> tuple[Data, Validation]:
    """`rows` random training rows kept out for validation: (data without them, the Validation). The test set stays."""
    n = len(data.x_train)
    require(1 <= rows < n, "rows", rows, f"1 to {n - 1}, fewer than the training rows", "5000 of MNIST are usual")
    require(every >= 1, "every", every, "1 or more", "100 steps are usual")
    order = torch.randperm(n, generator=generator)
    held, left = order[:rows].sort().values, order[rows:].sort().values
    rest = replace(data, x_train=data.x_train[left], y_train=data.y_train[left])
    return rest, Validation(data.x_train[held], data.y_train[held], every)


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


def run_loop(
    networks, data: Data, seeds: Sequence[int], *, steps, optimizer, batch_size, eval_every, checkpoint, progress, start,
    schedule, validation, settings: dict | None = None, histories: list[History] | None = None,
) -> list[History]:  # fmt: skip
    """The loop itself. There is one loss per network; their sum is minimized, which trains each alone.

    settings: what else must be the same to go on from a checkpoint. histories: where to record, else fresh ones.
    """
    engine = optimizer([tensor for tensor in networks.state.values() if tensor.requires_grad])
    rates = [group["lr"] for group in engine.param_groups]
    require(steps >= 0, "steps", steps, "0 or more", "pass the total number of steps")
    require(0 <= start <= steps, "start", start, f"0 to steps = {steps}", "steps counts those before start, too")
    histories = histories or [History() for _ in seeds]
    orders = [BatchOrder(len(data.x_train), batch_size, seed) for seed in seeds]
    same = {"seeds": list(seeds), "batch_size": batch_size, "start": start} | (settings or {})
    saved = Checkpoint(checkpoint, same)
    first = max(start, saved.load(networks.state, engine, histories))
    networks.clear_dead()
    since_record: list[Tensor] = []
    for step in tqdm(
        range(first, steps), initial=first, total=steps, desc="training", disable=not progress, leave=False
    ):
        if schedule is not None:
            for group, rate in zip(engine.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(step)
        rows = torch.stack([order[step] for order in orders])
        loss = networks.losses(data.x_train[rows], data.y_train[rows])
        engine.zero_grad()
        loss.sum().backward()
        if not networks.rewire(step, engine):
            engine.step()
        networks.clear_dead()
        since_record.append(loss.detach())
        last = step + 1 == steps
        if validation is not None and (last or (step + 1) % validation.every == 0):
            _validate(networks, data, validation, step + 1, histories)
        if last or (eval_every and (step + 1) % eval_every == 0):
            _record(networks, data, torch.stack(since_record).mean(0), step + 1, histories)
            since_record = []
            saved.save(networks.state, engine, histories)
    networks.finish()
    return histories


def _record(networks, data: Data, losses: Tensor, step: int, histories: Sequence[History]) -> None:
    """Append training loss and test accuracy; a loss that is no number ends the run."""
    for name, loss in zip(networks.names, losses, strict=True):
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the training loss{name} is NaN or infinite at step {step}; lower the learning rate"
            )
    found = networks.evaluate(data.x_test, data.y_test)
    for history, loss, (_, correct) in zip(histories, losses.tolist(), found, strict=True):
        history.steps.append(step)
        history.train_loss.append(loss)
        history.test_accuracy.append(correct)


def _validate(networks, data: Data, validation: Validation, step: int, histories: Sequence[History]) -> None:
    """Append the validation loss; the test set is looked at only for networks that have just become better."""
    better = []
    for i, (loss, _) in enumerate(networks.evaluate(validation.x, validation.y)):
        if all(loss < earlier for earlier in histories[i].validation_loss):
            better.append(i)
        histories[i].validation_steps.append(step)
        histories[i].validation_loss.append(loss)
    if better:
        for i, (_, correct) in zip(better, networks.evaluate(data.x_test, data.y_test, better), strict=True):
            histories[i].early_stop_step, histories[i].early_stop_accuracy = step, correct
