"""Mixtures of experts on images: does routing pay, who takes whom, and what balancing does.

Images in four disguises have a structure that four experts may find, or not. Each arm sees the same images in the same
order. "same active": the dense network of one expert's size; "same total": of all experts together. "told": a router that
is told the disguise, an upper bound. Test accuracy after the last step; nothing is tuned per arm.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from lttlib.arguments import require_choice
from lttlib.data import DISGUISES, Data, digits, disguised_digits
from lttlib.experiments.lottery_tickets import generator
from lttlib.models import mlp
from lttlib.moe import (
    CosineRouter,
    ExpertChoiceRouter,
    Experts,
    HashRouter,
    MoELayer,
    RandomRouter,
    TopKRouter,
    effective_experts,
    mixture_mlp,
    train_mixture,
)
from lttlib.schedules import cosine
from lttlib.training import SGD, train

DATA: Mapping[str, Callable[[], Data]] = {"digits": digits, "disguised digits": disguised_digits}
EXPERTS, HIDDEN, STEPS, WATCHED_EVERY = 4, 8, 1500, 25
BALANCES = (0.0, 0.01, 0.1, 1.0)
BALANCED = {f"top-1, b = {balance:g}": balance for balance in BALANCES}
DENSE = {"dense, same active": HIDDEN, "dense, same total": EXPERTS * HIDDEN}
ROUTERS: Mapping[str, Callable[[int, torch.Generator], nn.Module]] = {  # arms beside top-1 with its balance weights
    "frozen random": lambda features, draw: RandomRouter(features, EXPERTS, 1, generator=draw),
    "noisy": lambda features, draw: TopKRouter(features, EXPERTS, 1, noisy=True, generator=draw),
    "cosine": lambda features, draw: CosineRouter(features, EXPERTS, 1, generator=draw),
    "two of four": lambda features, draw: TopKRouter(features, EXPERTS, 2, generator=draw),
    "expert choice": lambda features, draw: ExpertChoiceRouter(features, EXPERTS, generator=draw),
}
ROUTER_BALANCE = 0.1  # of the arms in ROUTERS that can be balanced
TOLD = "told the disguise"


def arms(data: str) -> list[str]:
    """The arms on one data set. Only of disguised images can a router be told the disguise."""
    require_choice(data, DATA, "data")
    everywhere = [*DENSE, *BALANCED, *ROUTERS]
    return everywhere + ([TOLD] if data == "disguised digits" else [])


def cells(data: str, seeds: int) -> list[dict]:
    """The grid, one seed after the other."""
    return [{"data": data, "arm": arm, "seed": seed} for seed in range(seeds) for arm in arms(data)]


def run(data: str, arm: str, seed: int) -> list[dict]:
    """The row of one cell: test accuracy, and of a mixture who took whom, and the shares of the experts over time."""
    require_choice(arm, arms(data), "arm")
    torch.set_flush_denormal(True)  # see lottery_tickets.run
    try:
        found = _row(DATA[data](), arm, seed)
    finally:
        torch.set_flush_denormal(False)
    return [{"arm": arm, "seed": seed} | found]


def _row(data: Data, arm: str, seed: int) -> dict:
    shared = {"steps": STEPS, "seed": seed, "optimizer": SGD, "schedule": partial(cosine, end=STEPS), "progress": False}
    if arm in DENSE:
        model = mlp((data.features, DENSE[arm], data.classes), generator=generator(seed))
        history = train(model, data, **shared)
        return {"accuracy": history.test_accuracy[-1]}
    model, balance = mixture(data, arm, seed)
    data = with_disguise(data) if arm == TOLD else data
    river = []

    def watch(step: int, found: list) -> None:
        if step % WATCHED_EVERY == 0:
            river.append([round(share, 4) for share in found[0].routing.load.tolist()])

    history = train_mixture(model, data, balance=balance, watch=watch, **shared)
    who = who_takes_whom(model, data.x_test)
    return {"accuracy": history.test_accuracy[-1], "river": river, "who": [[round(share, 4) for share in row] for row in who.tolist()],
            "effective experts": effective_experts(who.mean(0)), "served": served(model, data.x_test)}  # fmt: skip


def mixture(data: Data, arm: str, seed: int) -> tuple[nn.Module, float]:
    """A fresh mixture and the weight of its balance loss. Experts are drawn alike in all arms of a seed."""
    draw = generator(seed)
    if arm == TOLD:
        return ToldMixture(data.features, data.classes, seed), 0.0
    if arm in BALANCED:
        router, balance = TopKRouter(data.features, EXPERTS, 1, generator=draw), BALANCED[arm]
    else:
        router = ROUTERS[arm](data.features, draw)
        balance = 0.0 if arm in ("frozen random", "expert choice") else ROUTER_BALANCE
    options = {"capacity_factor": 1.0} if arm == "expert choice" else {}
    hidden = HIDDEN // router.k if hasattr(router, "k") else HIDDEN  # two of four: half as large, the same active size
    draw_experts = generator(seed + 1000)
    return mixture_mlp(data.features, hidden, data.classes, router, generator=draw_experts, **options), balance


class ToldMixture(nn.Module):
    """A mixture whose router reads the disguise off the last column, which the experts do not see."""

    def __init__(self, features: int, classes: int, seed: int):
        super().__init__()
        router = HashRouter(torch.arange(EXPERTS)[:, None], EXPERTS)
        self.layer = MoELayer(router, Experts(EXPERTS, features, HIDDEN, classes, generator=generator(seed + 1000)))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, features + 1) to logits (batch, classes)."""
        return self.layer(x[:, :-1], ids=x[:, -1].long())[0]


def with_disguise(data: Data) -> Data:
    """Disguised digits with the number of the disguise as a last column."""
    x_train, x_test = (torch.cat([x, disguises(len(x))[:, None].float()], 1) for x in (data.x_train, data.x_test))
    return Data(data.name, x_train, data.y_train, x_test, data.y_test)


def disguises(rows: int) -> Tensor:
    """The number of the disguise of every row, (rows,): they are grouped, see data.disguised_digits."""
    return torch.arange(len(DISGUISES)).repeat_interleave(rows // len(DISGUISES))


@torch.no_grad()
def routing_of(model: nn.Module, x: Tensor):
    """Who goes where in evaluation: a Dispatch or an ExpertChoice."""
    model.eval()
    if isinstance(model, ToldMixture):
        return model.layer(x[:, :-1], ids=x[:, -1].long())[1].routing
    return model.layer(x)[1].routing


def who_takes_whom(model: nn.Module, x: Tensor) -> Tensor:
    """Share of each expert in the pairs of each quarter of the rows, that is of each disguise: (4, E); rows sum to 1."""
    pairs = routing_of(model, x).pairs()
    expert = torch.repeat_interleave(torch.arange(len(pairs.counts)), pairs.counts)
    quarter = pairs.tokens * len(DISGUISES) // len(x)
    table = torch.zeros(len(DISGUISES), len(pairs.counts)).index_put(
        (quarter, expert), torch.ones(len(expert)), accumulate=True
    )
    return table / table.sum(1, keepdim=True).clamp(min=1)


def served(model: nn.Module, x: Tensor) -> float:
    """Share of the rows that at least one expert computes."""
    return float(routing_of(model, x).served.float().mean())
