"""A layer of many small networks of which each token uses a few, y = sum over its experts e of gate_e * expert_e(x).

Shazeer et al. 2017, arXiv:1701.06538; dropless, sorted by expert: Gale et al. 2022, arXiv:2211.15841.
Book: "Mixture of experts".
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lttlib.arguments import require, require_choice
from lttlib.moe.losses import CONVENTIONS, balance_of, z_loss
from lttlib.moe.routing import PRIORITIES, Dispatch, ExpertChoice, expert_capacity


class Experts(nn.Module):
    """E perceptrons with one hidden layer each, stacked: expert e is activation(x w1[e] + b1[e]) w2[e] + b2[e].

    w1: (E, features, hidden), b1: (E, hidden), w2: (E, hidden, outputs), b2: (E, outputs); outputs = features if None.
    Weights are drawn from N(0, 2 / inputs) as in models.initialize, biases are 0.
    """

    def __init__(
        self, experts: int, features: int, hidden: int, outputs: int | None = None, *, generator: torch.Generator,
        activation: Callable[[Tensor], Tensor] = F.relu,
    ):  # fmt: skip
        super().__init__()
        outputs = features if outputs is None else outputs
        sizes = {"experts": experts, "features": features, "hidden": hidden, "outputs": outputs}
        for name, size in sizes.items():
            require(size >= 1, name, size, "1 or more", "an expert without weights answers nothing")

        def weights(inputs, units):
            drawn = torch.randn(experts, inputs, units, generator=generator, device=generator.device)
            return drawn * math.sqrt(2 / inputs)

        self.w1, self.w2 = nn.Parameter(weights(features, hidden)), nn.Parameter(weights(hidden, outputs))
        self.b1 = nn.Parameter(torch.zeros_like(self.w1[:, 0]))
        self.b2 = nn.Parameter(torch.zeros_like(self.w2[:, 0]))
        self.activation = activation

    def __len__(self) -> int:
        return len(self.w1)

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        """x: (P, features), rows sorted by expert; counts: (E,) rows of each expert. Returns (P, outputs).

        Two matrix products for each expert; one without rows costs next to nothing, and its gradient is 0.
        """
        answers = []
        layers = zip(self.w1.unbind(), self.b1.unbind(), self.w2.unbind(), self.b2.unbind(), strict=True)
        for rows, (w1, b1, w2, b2) in zip(x.split(counts.tolist()), layers, strict=True):
            answers.append(torch.addmm(b2, self.activation(torch.addmm(b1, rows, w1)), w2))
        return torch.cat(answers)

    def extra_repr(self) -> str:
        """What print shows."""
        experts, features, hidden = self.w1.shape
        return f"experts={experts}, features={features}, hidden={hidden}, outputs={self.w2.shape[2]}"


def mix_by_loop(x: Tensor, routing: Dispatch | ExpertChoice, experts: Experts) -> Tensor:
    """Sum over the kept experts of each token of gate * answer: x (T, features) to (T, outputs).

    Sort by expert, one call of experts for all pairs, add up. A token that no expert computes gets exactly 0. It is the
    reference: faster kernels have the same signature and go into MoELayer(mix=...).
    """
    tokens, gates, counts = routing.pairs()
    answers = experts(x.index_select(0, tokens), counts)
    return answers.new_zeros(len(x), answers.shape[1]).index_add(0, tokens, gates[:, None] * answers)


class Auxiliary(NamedTuple):
    """What a MoELayer returns beside its output. Unweighted; whoever trains decides what to add to the loss.

    balance: scalar, see losses.load_balance_loss; 0 where there is nothing to balance: a hash has no gradient, expert
    choice is balanced. z: scalar, 0 for a hash. routing: who went where, a Dispatch or an ExpertChoice.
    """

    balance: Tensor
    z: Tensor
    routing: Dispatch | ExpertChoice


class MoELayer(nn.Module):
    """A mixture of experts: a router, experts, and what to do when an expert is full.

    router: see lttlib.moe.routers. experts: Experts, or a module that maps (rows sorted by expert, counts) to rows and
    has a length. capacity_factor: None computes every pair (dropless); a number gives each expert
    ceil(capacity_factor * k * T / E) places, and what finds none is dropped, in the order that priority says (see
    routing.dispatch); drop_in_eval=False keeps everything in evaluation. Expert choice needs the number always, and
    drop_in_eval does not concern it. convention: of the balance loss; average: see losses.balance_of. mix: how the pairs
    are computed; see mix_by_loop.
    """

    def __init__(
        self,
        router: nn.Module,
        experts: nn.Module,
        *,
        capacity_factor: float | None = None,
        priority: str = "slot",
        drop_in_eval: bool = True,
        convention: str = "switch",
        mix: Callable[[Tensor, Dispatch | ExpertChoice, nn.Module], Tensor] = mix_by_loop,
        average: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        require(router.experts == len(experts), "experts", len(experts), f"{router.experts}, those the router knows",
                "make both of one size")  # fmt: skip
        require_choice(priority, PRIORITIES, "priority")
        require_choice(convention, CONVENTIONS, "convention")
        if capacity_factor is not None:
            expert_capacity(1, 1, 1, capacity_factor)
        self.router, self.experts, self.mix, self.average = router, experts, mix, average
        self.capacity_factor, self.priority = capacity_factor, priority
        self.drop_in_eval, self.convention = drop_in_eval, convention

    def forward(self, x: Tensor, ids: Tensor | None = None) -> tuple[Tensor, Auxiliary]:
        """(y, Auxiliary). x: (..., features), such as (tokens, d) or (batch, tokens, d); y: (..., outputs).

        All tokens of all sequences share the places of the experts. ids: (...) int64, token numbers for a HashRouter.
        """
        flat = x.reshape(-1, x.shape[-1])
        require(len(flat) > 0, "x.shape", tuple(x.shape), "one token at least", "leave empty batches out")
        ids = None if ids is None else ids.reshape(-1)
        routing, logits = self.router(flat, ids, capacity_factor=self._factor(), priority=self.priority)
        y = self.mix(flat, routing, self.experts)
        return y.reshape(*x.shape[:-1], -1), self._auxiliary(routing, logits, y.new_zeros(()))

    def _factor(self) -> float | None:
        # Only routers by token choice have a k: expert choice without a capacity would take every token.
        dropless = not self.training and not self.drop_in_eval and hasattr(self.router, "k")
        return None if dropless else self.capacity_factor

    def _auxiliary(self, routing: Dispatch | ExpertChoice, logits: Tensor | None, zero: Tensor) -> Auxiliary:
        if logits is None:
            return Auxiliary(zero, zero, routing)
        if isinstance(routing, ExpertChoice):
            return Auxiliary(zero, z_loss(logits), routing)
        balance = balance_of(routing.chosen, logits, convention=self.convention, average=self.average)
        return Auxiliary(balance, z_loss(logits), routing)
