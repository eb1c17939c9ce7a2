"""What the training loop trains: one network, or many of one architecture stacked into one batched net.

Both offer the loop the same few things: losses, accuracies, and dead weights set to exactly 0.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from lttlib.arguments import require
from lttlib.masks import apply_masks

Masks = Mapping[str, Tensor]
BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # integers by size in bytes


class OneNetwork:
    """One model, trained in place; any module, with or without buffers."""

    names = ("",)

    def __init__(self, model: nn.Module, masks: Masks):
        apply_masks(model, masks)
        self.model = model
        self.state = model.state_dict(keep_vars=True)
        parameters = dict(model.named_parameters())
        self._dead = [DeadWeights(parameters[name], ~mask) for name, mask in masks.items()]

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of one batch as (1,). x: (1, batch, features), y: (1, batch)."""
        return F.cross_entropy(self.model(x[0]), y[0])[None]

    @torch.no_grad()
    def clear_dead(self) -> None:
        """Set masked weights to exactly 0."""
        for dead in self._dead:
            dead.clear()

    @torch.no_grad()
    def evaluate(self, x: Tensor, y: Tensor, only: Sequence[int] = (0,)) -> list[tuple[float, float]]:
        """(mean cross-entropy in nats, accuracy) on the same rows, in evaluation mode."""
        was = self.model.training
        self.model.eval()
        logits = self.model(x)
        self.model.train(was)
        return [_loss_and_accuracy(logits, y) for _ in only]

    def rewire(self, step: int, engine: torch.optim.Optimizer) -> bool:
        """Whether masks move at this step, in place of the optimizer's step. Here never; see sparse_training."""
        return False

    def finish(self) -> None:
        """Nothing to write back: the model itself was trained."""


class StackedNetworks:
    """Models of one architecture without buffers: parameters stacked, one forward pass for all."""

    def __init__(self, models: Sequence[nn.Module], masks: Sequence[Masks]):
        _require_one_architecture(models)
        for model, mask in zip(models, masks, strict=True):
            apply_masks(model, mask)
        self.models = models
        self.names = tuple(f" of model {i}" for i in range(len(models)))
        self.state = {
            name: torch.stack([dict(model.named_parameters())[name].detach() for model in models]).requires_grad_(
                parameter.requires_grad
            )
            for name, parameter in models[0].named_parameters()
        }
        self._dead = [DeadWeights(self.state[n], dead) for n, dead in _stacked_dead(self.state, masks).items()]
        self._skeleton = copy.deepcopy(models[0]).to("meta")

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of each model on its own batch, (models,). x: (models, batch, features), y: (models, batch)."""
        return vmap(F.cross_entropy)(vmap(self._forward)(self.state, x), y)

    @torch.no_grad()
    def clear_dead(self) -> None:
        """Set masked weights of every model to exactly 0."""
        for dead in self._dead:
            dead.clear()

    @torch.no_grad()
    def evaluate(self, x: Tensor, y: Tensor, only: Sequence[int] | None = None) -> list[tuple[float, float]]:
        """(mean cross-entropy in nats, accuracy) of the models `only` (positions; None: all) on the same rows."""
        state = self.state if only is None else {name: stack[list(only)] for name, stack in self.state.items()}
        logits = vmap(self._forward, in_dims=(0, None))(state, x)
        return [_loss_and_accuracy(logit, y) for logit in logits]

    def rewire(self, step: int, engine: torch.optim.Optimizer) -> bool:
        """Masks of stacked networks never move."""
        return False

    @torch.no_grad()
    def finish(self) -> None:
        """Write the trained parameters back into the models."""
        for i, model in enumerate(self.models):
            for name, parameter in model.named_parameters():
                parameter.copy_(self.state[name][i])

    def _forward(self, parameters, x: Tensor) -> Tensor:
        return functional_call(self._skeleton, parameters, (x,))


class DeadWeights:
    """Sets the dead entries of one tensor to exactly +0, in place, by clearing their bits.

    A product would keep NaN and the sign of zero; masked_fill_ does the same as we do here and took 20 times as long
    on a processor, a third of a training step of LeNet-300-100.
    """

    def __init__(self, tensor: Tensor, dead: Tensor):
        """tensor: floating point, contiguous, must stay where it is in memory. dead: bool, the same shape."""
        self.bits = tensor.detach().view(BITS[tensor.element_size()])
        self.keep = dead.to(self.bits.dtype) - 1  # dead: 0, no bit stays; live: -1, all bits stay

    def clear(self) -> None:
        """Set the dead entries to +0."""
        self.bits.bitwise_and_(self.keep)

    @property
    def live(self) -> Tensor:
        """The mask: bool, True = live."""
        return self.keep != 0

    def move(self, live: Tensor) -> None:
        """From now on these entries live (bool, the same shape); `keep` stays where it is in memory."""
        self.keep.copy_((~live).to(self.bits.dtype) - 1)


def _loss_and_accuracy(logits: Tensor, y: Tensor) -> tuple[float, float]:
    return F.cross_entropy(logits, y).item(), (logits.argmax(-1) == y).float().mean().item()


def _require_one_architecture(models: Sequence[nn.Module]) -> None:
    require(len(models) > 0, "models", "[]", "at least one model", "pass a list of models")
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


def _stacked_dead(stacked: Mapping[str, Tensor], masks: Sequence[Masks]) -> dict[str, Tensor]:
    """Where each stacked parameter must stay 0, for the parameters that any of the masks names."""
    named = {name for mask in masks for name in mask}
    return {
        name: torch.stack(
            [~mask[name] if name in mask else torch.zeros(stacked[name].shape[1:], dtype=torch.bool) for mask in masks]
        )
        for name in named
    }
