"""Routers: from tokens to experts. Top-k (also noisy), cosine, random and frozen, hash by token id, expert choice.

All map x (T, features) to (routing, logits): a Dispatch or an ExpertChoice, and the logits (T, E) that it was made
from, for the auxiliary losses; a hash has none. ids are the tokens' numbers (T,), which only the hash reads.
Papers stand at each class. Book: "Mixture of experts".
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lttlib.arguments import require, require_choice
from lttlib.moe.routing import SOFTMAX, Dispatch, ExpertChoice, dispatch, expert_choice, queue, require_count

LARGEST_SCALE = 100.0


class _TokenChoice(nn.Module):
    """What routers by top-k share; a subclass has logits(x)."""

    def __init__(self, experts: int, k: int, softmax: str):
        super().__init__()
        require_count(k, experts)
        require_choice(softmax, SOFTMAX, "softmax")
        self.experts, self.k, self.softmax = experts, k, softmax

    def forward(
        self, x: Tensor, ids: Tensor | None = None, *, capacity_factor: float | None = None, priority: str = "slot"
    ) -> tuple[Dispatch, Tensor]:
        """(Dispatch, logits) of x, (T, features). See routing.dispatch."""
        logits = self.logits(x)
        options = {"capacity_factor": capacity_factor, "priority": priority, "softmax": self.softmax}
        return dispatch(logits, self.k, **options), logits

    def extra_repr(self) -> str:
        """What print shows."""
        return f"experts={self.experts}, k={self.k}, softmax={self.softmax!r}"


class TopKRouter(_TokenChoice):
    """Logits x weight^T, the k largest win. weight: (experts, features), drawn from N(0, 1 / features).

    softmax: see routing.choose. noisy=True adds N(0, 1) * softplus(x noise_weight^T) to the logits while training,
    never in evaluation (Shazeer et al. 2017, arXiv:1701.06538); the noise is drawn from generator, too, noise_weight
    starts at 0. The logits returned are the noisy ones: what was chosen, and the loss of it, agree.
    """

    def __init__(
        self, features: int, experts: int, k: int, *, softmax: str = "before", noisy: bool = False,
        generator: torch.Generator,
    ):  # fmt: skip
        super().__init__(experts, k, softmax)
        self.weight = nn.Parameter(_drawn(experts, features, generator))
        self.noise_weight = nn.Parameter(torch.zeros_like(self.weight)) if noisy else None
        self.generator = generator

    def logits(self, x: Tensor) -> Tensor:
        """(T, features) to (T, experts)."""
        logits = x @ self.weight.T
        if self.noise_weight is None or not self.training:
            return logits
        noise = torch.randn(logits.shape, generator=self.generator, device=self.generator.device)
        return logits + noise.to(logits) * F.softplus(x @ self.noise_weight.T)


class CosineRouter(_TokenChoice):
    """Logits scale * cosine(projection x, center of the expert): length of x plays no part.

    Chi et al. 2022, arXiv:2204.09179, against representations that collapse onto the experts. projection: (dim,
    features), by default dim = max(2, experts // 2); centers: (experts, dim). scale = exp(log_scale) is learned, starts
    at 1 / temperature and is never more than 100.
    """

    def __init__(
        self, features: int, experts: int, k: int, *, dim: int | None = None, temperature: float = 0.1,
        softmax: str = "before", generator: torch.Generator,
    ):  # fmt: skip
        super().__init__(experts, k, softmax)
        lowest = 1 / LARGEST_SCALE
        require(
            temperature >= lowest, "temperature", temperature, f"{lowest:g} or more", "logits reach 1 / temperature"
        )
        dim = max(2, experts // 2) if dim is None else dim
        self.projection = nn.Parameter(_drawn(dim, features, generator))
        self.centers = nn.Parameter(_drawn(experts, dim, generator))
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def logits(self, x: Tensor) -> Tensor:
        """(T, features) to (T, experts), from -scale to scale."""
        scale = self.log_scale.clamp(max=math.log(LARGEST_SCALE)).exp()
        return scale * F.normalize(x @ self.projection.T, dim=1) @ F.normalize(self.centers, dim=1).T


class RandomRouter(_TokenChoice):
    """Logits x weight^T with a weight (experts, features) that is drawn once and never learned: a buffer.

    Chen et al. 2023, arXiv:2303.01610, where k grows while training: set the attribute k by growing_k.
    """

    def __init__(self, features: int, experts: int, k: int, *, softmax: str = "before", generator: torch.Generator):
        super().__init__(experts, k, softmax)
        self.register_buffer("weight", _drawn(experts, features, generator))

    def logits(self, x: Tensor) -> Tensor:
        """(T, features) to (T, experts)."""
        return x @ self.weight.T


def growing_k(step: int, steps: int, *, first: int, last: int) -> int:
    """k at a step from 0 to steps - 1, linear from first to last: each value lasts for the same share of the steps."""
    require(0 <= step < steps, "step", step, f"0 to {steps - 1}, the last step", "the first step is 0")
    require(1 <= first <= last, "first", first, f"1 to last = {last}", "k grows, it never shrinks")
    return first + (last - first + 1) * step // steps


class HashRouter(nn.Module):
    """The experts of a token are looked up by its id: the same word, the same expert, whatever stands around it.

    Roller et al. 2021, arXiv:2106.04426. table: (vocabulary, k) int64, the experts of each id, as random_table draws
    them; all gates are 1 / k. No parameters, no logits. A table of one's own makes an oracle.
    """

    def __init__(self, table: Tensor, experts: int):
        super().__init__()
        fits = table.ndim == 2 and table.dtype == torch.int64 and table.numel() > 0
        require(fits, "table", f"{table.dtype} {tuple(table.shape)}", "torch.int64 (vocabulary, k)", "see random_table")
        inside = 0 <= int(table.min()) and int(table.max()) < experts
        require(inside, "table", f"experts {int(table.min())} to {int(table.max())}", f"0 to {experts - 1}",
                "number the experts from 0")  # fmt: skip
        twice = int((table.sort(1).values.diff(dim=1) == 0).any(1).sum())
        require(twice == 0, "table", f"{twice} ids with one expert twice", "k different experts for each id",
                "see random_table")  # fmt: skip
        self.experts, self.k = experts, table.shape[1]
        self.register_buffer("table", table.clone())

    def forward(
        self, x: Tensor, ids: Tensor | None = None, *, capacity_factor: float | None = None, priority: str = "slot"
    ) -> tuple[Dispatch, None]:
        """(Dispatch, None) of the ids (T,) int64. x: (T, features) gives the gates' type only."""
        require(ids is not None, "ids", None, "the tokens' numbers (T,)", "a hash looks at ids, not at x: pass ids=")
        require(len(x) > 0, "x.shape", tuple(x.shape), "(T, features), one token at least", "leave empty batches out")
        require(ids.shape == x.shape[:1], "ids.shape", tuple(ids.shape), f"({len(x)},)", "one id for each token")
        require(
            ids.dtype in (torch.int32, torch.int64), "ids.dtype", ids.dtype, "torch.int64", "use ids.long()", TypeError
        )
        inside = 0 <= int(ids.min()) and int(ids.max()) < len(self.table)
        require(inside, "ids", f"{int(ids.min())} to {int(ids.max())}", f"0 to {len(self.table) - 1}",
                "make the table as long as the vocabulary")  # fmt: skip
        chosen = self.table[ids]
        gates = x.new_full(chosen.shape, 1 / self.k)
        return queue(chosen, gates, self.experts, capacity_factor=capacity_factor, priority=priority), None

    def extra_repr(self) -> str:
        """What print shows."""
        return f"vocabulary={len(self.table)}, experts={self.experts}, k={self.k}"


def random_table(vocabulary: int, experts: int, k: int, *, generator: torch.Generator) -> Tensor:
    """k different experts for each id, drawn evenly: (vocabulary, k) int64."""
    require_count(k, experts)
    return torch.rand(vocabulary, experts, generator=generator, device=generator.device).argsort(1)[:, :k]


class ExpertChoiceRouter(nn.Module):
    """Logits x weight^T, and each expert takes its best tokens. weight: as in TopKRouter.

    Zhou et al. 2022, arXiv:2202.09368; see routing.expert_choice. Needs a capacity factor: how many experts a token
    gets on average. There is no queue, so priority has no effect.
    """

    def __init__(self, features: int, experts: int, *, generator: torch.Generator):
        super().__init__()
        self.experts = experts
        self.weight = nn.Parameter(_drawn(experts, features, generator))

    def forward(
        self, x: Tensor, ids: Tensor | None = None, *, capacity_factor: float | None = None, priority: str = "slot"
    ) -> tuple[ExpertChoice, Tensor]:
        """(ExpertChoice, logits) of x, (T, features)."""
        logits = x @ self.weight.T
        return expert_choice(logits, capacity_factor=capacity_factor), logits

    def extra_repr(self) -> str:
        """What print shows."""
        return f"experts={self.experts}"


def _drawn(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    return torch.randn(rows, columns, generator=generator, device=generator.device) / math.sqrt(columns)
