"""Expert parallelism: each of n processes holds E / n experts and has its part of the batch; tokens travel to their experts.

    counts      how many rows each rank sends to each expert, told first: the sizes of the messages that follow
    there       rows to the rank that holds their expert (all to all, parts of uneven size)
    back        answers to the rank whose tokens they are
    gradients   the same two ways, in reverse

A step is what one process does with the whole batch, up to rounding, where all ranks have parts of one size:

    what all ranks hold (attention, router)    mean over ranks of the gradients
    experts                                    gradients of all ranks' tokens have come already; divide by n
    balance loss                               a product of two means over the batch, so each is averaged first

Lepikhin et al. 2020, arXiv:2006.16668. Book: "Mixture of experts".
"""

import copy

import torch
from torch import Tensor, nn

from lttlib.arguments import require
from lttlib.moe.layer import Experts, MoELayer
from lttlib.moe.ranks import Ranks


class ParallelExperts(nn.Module):
    """Stands for Experts in a MoELayer; this rank holds and computes only its part of them, `mine`.

    experts: all of them, the same on every rank. Rank r keeps E / n from number r E / n on; E must be a multiple of n.
    """

    def __init__(self, experts: Experts, ranks: Ranks):
        super().__init__()
        total, size = len(experts), ranks.size
        _require_even(total, size)
        self.total, self.ranks = total, ranks
        self.mine = copy.deepcopy(experts)
        for name, whole in experts.named_parameters():
            part = whole.detach().chunk(size)[ranks.rank].clone()
            setattr(self.mine, name, nn.Parameter(part, requires_grad=whole.requires_grad))

    def __len__(self) -> int:
        return self.total

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        """x: (P, features), this rank's rows sorted by expert; counts: (E,) rows of each. Returns (P, outputs).

        A rank without rows, or whose experts get none, takes part all the same: the others wait for it.
        """
        size, here = self.ranks.size, self.total // self.ranks.size
        going = counts.view(size, here)
        coming = self.ranks.exchange(counts, [here] * size, [here] * size).view(size, here)  # (from rank, my expert)
        send, receive = going.sum(1).tolist(), coming.sum(1).tolist()
        rows = self.ranks.exchange(x, send, receive)
        experts = torch.arange(here, device=x.device).repeat(size).repeat_interleave(coming.flatten())
        order = experts.argsort(stable=True)  # they came rank by rank; within an expert that order stays
        answers = self.mine(rows.index_select(0, order), coming.sum(0))
        return self.ranks.exchange(answers.index_select(0, order.argsort()), receive, send)

    def extra_repr(self) -> str:
        """What print shows."""
        return f"experts={self.total}, rank={self.ranks.rank} of {self.ranks.size}"


def parallelize(model: nn.Module, ranks: Ranks) -> None:
    """Split the experts of every MoELayer of model over the ranks, in place; what is left becomes equal to rank 0's.

    Dropless and without noise only: what a rank drops or draws for its own part is not what one process would for all.
    What a layer's Auxiliary says of the routing is about this rank's tokens; its balance loss is that of the whole batch.
    """
    layers = [module for module in model.modules() if isinstance(module, MoELayer)]
    require(len(layers) > 0, "model", type(model).__name__, "one MoELayer at least", "else use one process")
    for layer in layers:
        require(layer.capacity_factor is None, "capacity_factor", layer.capacity_factor, "None, dropless",
                "who is dropped would depend on the number of ranks")  # fmt: skip
        _require_even(len(layer.experts), ranks.size)
        noisy = getattr(layer.router, "noise_weight", None) is not None
        require(not noisy, "noisy", True, "False", "the noise would depend on the number of ranks")
    for tensor in model.state_dict().values():
        ranks.share(tensor)
    for layer in layers:
        layer.experts, layer.average = ParallelExperts(layer.experts, ranks), ranks.mean


@torch.no_grad()
def average_gradients(model: nn.Module, ranks: Ranks) -> None:
    """After backward of the mean loss over this rank's part: the gradients of the mean over the whole batch, in place.

    Experts: theirs are sums over the ranks already. All else is averaged in one message.
    """
    split = _split_parameters(model)
    shared = [p.grad for name, p in model.named_parameters() if p.grad is not None and name not in split]
    if shared:
        averages = ranks.mean(torch.cat([gradient.flatten() for gradient in shared]))
        for gradient, average in zip(shared, averages.split([g.numel() for g in shared]), strict=True):
            gradient.copy_(average.view_as(gradient))
    for parameter in split.values():
        if parameter.grad is not None:
            parameter.grad /= ranks.size


def whole_parameters(model: nn.Module, ranks: Ranks) -> dict[str, Tensor]:
    """All parameters by the names and in the shapes they have in one process, experts gathered from all ranks."""
    split = _split_parameters(model)
    return {
        name.replace(".mine.", ".") if name in split else name: ranks.gather(p) if name in split else p.detach().clone()
        for name, p in model.named_parameters()
    }


def _require_even(experts: int, size: int) -> None:
    require(experts % size == 0, "experts", experts, f"a multiple of {size}, the ranks, which hold equally many",
            "make more experts, or start another number of processes")  # fmt: skip


def _split_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of which each rank holds a part, by name."""
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, ParallelExperts)]
    return {f"{at}.{name}".lstrip("."): p for at, layer in layers for name, p in layer.named_parameters()}
