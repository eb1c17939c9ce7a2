"""N:M sparsity trained from the start: all weights are kept, and n of every m neighboring inputs take part (SR-STE).

    forward    mask * w, where the mask holds the n largest |w| of every m inputs, chosen anew at every step
    backward   the gradient by mask * w goes to all of w, straight through, and decay * (1 - mask) * w on top

The gradient lets a weight grow that takes no part; the decay keeps such weights small, so that the mask settles. Memory and
time are those of dense training, or worse: only the trained network is sparse. Zhou et al. 2021, arXiv:2102.04010.
Book: "Structured RigL".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from lttlib.arguments import require, require_finite
from lttlib.data import Data
from lttlib.masks import apply_masks, prunable
from lttlib.networks import OneNetwork
from lttlib.srigl import row_topk_mask
from lttlib.training import SGD, History, Optimizer, Schedule, Validation, run_loop


@dataclass(frozen=True)
class NMRun:
    """What train_sr_ste leaves: the history, and the final masks."""

    history: History
    masks: dict[str, Tensor]


def train_sr_ste(
    model: nn.Module,
    data: Data,
    *,
    n: int,
    m: int,
    steps: int,
    seed: int,
    decay: float = 2e-4,
    optimizer: Optimizer = SGD,
    batch_size: int = 64,
    eval_every: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    schedule: Schedule | None = None,
    validation: Validation | None = None,
) -> NMRun:
    """Train model in place with n:m sparsity in all its prunable weights; masked weights are exactly 0 at the end.

    decay: added to the gradient of a weight that takes no part, times that weight; 2e-4 is the authors', 0 is the plain
    straight-through estimator. Accuracies on the way are those of the masked network. The others: see training.train.
    """
    require(decay >= 0, "decay", decay, "0 or more", "2e-4 is usual")
    masked = _Masked(model, n, m, decay)
    masked.masks()  # refuses a bad n or m before training
    history = run_loop(
        OneNetwork(masked, {}), data, [seed], steps=steps, optimizer=optimizer, batch_size=batch_size,
        eval_every=eval_every, checkpoint=checkpoint, progress=progress, start=0, schedule=schedule,
        validation=validation, settings={"n:m": [n, m], "decay": decay},
    )[0]  # fmt: skip
    masks = masked.masks()
    apply_masks(model, masks)
    return NMRun(history, masks)


def short_nm_mask(weight: Tensor, n: int, m: int) -> Tensor:
    """As masks.nm_mask, but m need not divide the inputs: the last, shorter group holds n weights, too, or all it has.

    weight: (out, in) or (out, in, kh, kw), groups along the inputs. So is the format of lttkernels.nm.
    """
    require(weight.ndim in (2, 4), "weight.shape", tuple(weight.shape), "(out, in) or (out, in, kh, kw)", "reshape it")
    require(m >= 1, "m", m, "1 or more", "2:4 is n=2, m=4")
    require(0 <= n <= m, "n", n, f"0 to m = {m}", "2:4 is n=2, m=4")
    require_finite(weight, "weight")
    inputs_last = weight.detach().abs().movedim(1, -1)  # (out, [kh, kw,] in)
    width = inputs_last.shape[-1]
    groups = F.pad(inputs_last, (0, -width % m), value=-1.0).reshape(-1, m)  # what is padded ranks below 0
    counts = groups.new_full((len(groups),), n, dtype=torch.int64)
    mask = row_topk_mask(groups, counts).view(*inputs_last.shape[:-1], -1)[..., :width]
    return mask.movedim(-1, 1).contiguous()


class _Masked(nn.Module):
    """The model, computed with masked weights; its parameters are the dense ones."""

    def __init__(self, model: nn.Module, n: int, m: int, decay: float):
        super().__init__()
        self.model, self.n, self.m, self.decay = model, n, m, decay

    def masks(self) -> dict[str, Tensor]:
        return {name: short_nm_mask(weight, self.n, self.m) for name, weight in prunable(self.model).items()}

    def forward(self, x: Tensor) -> Tensor:
        weights: Mapping[str, Tensor] = prunable(self.model)
        used = {name: _StraightThrough.apply(weights[name], mask, self.decay) for name, mask in self.masks().items()}
        return functional_call(self.model, used, (x,))


class _StraightThrough(torch.autograd.Function):
    """mask * weight; its gradient reaches every weight, and those that take no part are pulled towards 0."""

    @staticmethod
    def forward(ctx, weight, mask, decay):
        ctx.save_for_backward(weight, mask)
        ctx.decay = decay
        return weight.masked_fill(~mask, 0)

    @staticmethod
    def backward(ctx, grad):
        weight, mask = ctx.saved_tensors
        return grad + ctx.decay * weight.masked_fill(mask, 0), None, None
