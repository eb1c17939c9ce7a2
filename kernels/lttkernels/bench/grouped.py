"""The feed-forward of a mixture of experts against a dense one of the same active size, and against other ways to write it.

Each row has dense_fraction: its rate of useful operations, those of the pairs it kept, over the rate of the faster of
the dense networks d -> k f -> d. All answer for the same tokens, gates and experts; what a capacity drops is dropped.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from lttkernels.activations import activate
from lttkernels.bench.timing import interleaved, quartiles
from lttkernels.threads import set_threads
from lttlib.grouped_experts import grouped_experts
from lttlib.moe.routing import Dispatch, queue

LOADS = ("balanced", "half on one expert")
CAPACITY = 1.25  # of the padded and the one-hot form, times an equal share
DENSE = ("dense", "dense, torch's GELU")


@dataclass(frozen=True)
class Sizes:
    """tokens, features and hidden units of an expert, experts, choices of a token."""

    tokens: int = 1024
    features: int = 256
    hidden: int = 1024
    experts: int = 8
    k: int = 2


class Mixture:
    """Tokens x (T, d), chosen and gates (T, k), experts w1 (E, d, f), b1, w2 (E, f, d), b2; and a dense network of k f units."""

    def __init__(self, load: str, sizes: Sizes):
        t, d, f, e, k = asdict(sizes).values()
        draw = torch.Generator().manual_seed(0)
        self.sizes, self.chosen = sizes, chosen_by(load, sizes)
        self.gates = torch.rand(t, k, generator=draw)
        shapes = ((t, d), (e, d, f), (e, f), (e, f, d), (e, d), (d, k * f), (k * f,), (k * f, d), (d,))
        found = [torch.randn(shape, generator=draw) / max(shape[-2:][0], 1) ** 0.5 for shape in shapes]
        self.x, self.w1, self.b1, self.w2, self.b2, *self.dense = found

    @property
    def experts(self) -> tuple[torch.Tensor, ...]:
        """w1, b1, w2, b2."""
        return self.w1, self.b1, self.w2, self.b2

    def within_capacity(self) -> Dispatch:
        """Who finds a place where experts have CAPACITY times an equal share, in the order of tokens and slots."""
        return queue(self.chosen, self.gates, self.sizes.experts, capacity_factor=CAPACITY, priority="token")

    def expected(self, gates: torch.Tensor) -> torch.Tensor:
        """The answer (T, d) in float64, every expert asked about every token. gates: (T, k), 0 for what is dropped."""
        answer = torch.zeros(self.x.shape, dtype=torch.float64)
        for expert, (w1, b1, w2, b2) in enumerate(zip(*(part.double() for part in self.experts), strict=True)):
            gate = (gates * (self.chosen == expert)).sum(1, dtype=torch.float64)
            answer += gate[:, None] * (F.gelu(self.x.double() @ w1 + b1) @ w2 + b2)
        return answer


def chosen_by(load: str, sizes: Sizes) -> torch.Tensor:
    """(T, k) int64, no expert twice. "balanced": as many tokens for each; "half on one expert": all have expert 0 first."""
    draw, (t, e, k) = np.random.default_rng(0), (sizes.tokens, sizes.experts, sizes.k)
    if load == "balanced":
        return torch.from_numpy((draw.permutation(t)[:, None] + np.arange(k)) % e)
    others = 1 + (draw.permutation(t)[:, None] + np.arange(k - 1)) % (e - 1)
    return torch.from_numpy(np.concatenate([np.zeros((t, 1), np.int64), others], 1))


def grouped_rows(load: str, threads: int, *, sizes: Sizes | None = None, rounds: int = 15) -> list[dict]:
    """Validate and time all forms, forward, and forward and backward; a row for each."""
    torch.set_num_threads(threads)
    set_threads(threads)
    mixture, rows = Mixture(load, sizes or Sizes()), []
    within = float(mixture.within_capacity().kept.double().mean())
    for way, calls in (("forward", forward_calls(mixture)), ("forward and backward", training_calls(mixture))):
        if way == "forward":
            validate(calls, mixture)
        seconds = interleaved(calls, threads=threads, rounds=rounds)
        dense = min(np.median(seconds[name]) for name in DENSE if name in seconds)
        for name, taken in seconds.items():
            spread = quartiles(taken)
            fraction = (within if "capacity" in name else 1.0) * dense / spread["median_s"]
            rows.append({"implementation": name, "load": load, "pass": way, **asdict(mixture.sizes), "threads": threads,
                         "device": "cpu", **spread, "dense_fraction": float(fraction)})  # fmt: skip
    return rows


def validate(calls: dict[str, Callable], mixture: Mixture) -> None:
    """Every mixture against float64, and the dense ones against each other; raises AssertionError naming who disagrees."""
    every, within = mixture.expected(mixture.gates), mixture.expected(mixture.within_capacity().gates)
    dense = calls[DENSE[1]]().clone()
    for name, call in calls.items():
        expected = dense if name in DENSE else within if "capacity" in name else every
        error = float((call() - expected).abs().max())
        assert error < 1e-4 * float(expected.abs().max()), f"{name}: off by {error:.2g}"


def forward_calls(mixture: Mixture) -> dict[str, Callable]:
    """By name, without gradients. The dense networks write to the same memory each time."""
    found = {"dense": _dense(mixture, True), "dense, torch's GELU": _dense(mixture, False),
             "grouped experts": partial(grouped_experts, mixture.x, mixture.chosen, mixture.gates, *mixture.experts),
             "sorted loop": partial(sorted_loop, mixture.x, mixture.chosen, mixture.gates, *mixture.experts),
             "padded bmm, capacity 1.25": partial(padded_bmm, mixture),
             "one-hot einsum, capacity 1.25": partial(one_hot_einsum, mixture)}  # fmt: skip
    if hasattr(torch, "_grouped_mm"):
        found["torch._grouped_mm"] = partial(grouped_mm, mixture)
    return {name: torch.no_grad()(call) for name, call in found.items()}


def _dense(mixture: Mixture, ours: bool) -> Callable:
    w1, b1, w2, b2 = mixture.dense
    hidden, active, out = (
        mixture.x.new_empty(len(mixture.x), len(b1)),
        mixture.x.new_empty(len(mixture.x), len(b1)),
        torch.empty_like(mixture.x),
    )

    def call():
        if ours:
            torch.mm(mixture.x, w1, out=hidden)
            activate(hidden.numpy(), b1.numpy())
            return torch.addmm(b2, hidden, w2, out=out)
        torch.addmm(b1, mixture.x, w1, out=hidden)
        torch.ops.aten.gelu.out(hidden, out=active)
        return torch.addmm(b2, active, w2, out=out)

    return call


def sorted_loop(x, chosen, gates, w1, b1, w2, b2) -> torch.Tensor:
    """What one writes in torch: sort, a loop over experts, index_add."""
    flat, k = chosen.flatten(), chosen.shape[1]
    order = flat.argsort(stable=True)
    rows = x[order // k].split(flat.bincount(minlength=len(w1)).tolist())
    answers = [torch.addmm(b2[e], F.gelu(torch.addmm(b1[e], part, w1[e])), w2[e]) for e, part in enumerate(rows)]
    y = torch.cat(answers) * gates.flatten()[order, None]
    return torch.zeros(len(x), w2.shape[2]).index_add(0, order // k, y)


def _places(mixture: Mixture) -> tuple[torch.Tensor, int]:
    """(T, k) place e * C + position of each pair, E * C for what is dropped, and C."""
    found = mixture.within_capacity()
    at = found.chosen * found.capacity + found.positions
    return at.masked_fill(~found.kept, found.experts * found.capacity), found.capacity


def padded_bmm(mixture: Mixture) -> torch.Tensor:
    """Every expert has the same number of rows, empty ones too: one batched product."""
    at, places = _places(mixture)
    experts, rows = mixture.sizes.experts, mixture.x.new_zeros(mixture.sizes.experts * places + 1, mixture.x.shape[1])
    rows[at.flatten()] = mixture.x.repeat_interleave(mixture.sizes.k, 0)
    hidden = torch.baddbmm(mixture.b1[:, None], rows[:-1].view(experts, places, -1), mixture.w1)
    y = torch.baddbmm(mixture.b2[:, None], F.gelu(hidden), mixture.w2).flatten(0, 1)
    y = torch.cat([y, y.new_zeros(1, y.shape[1])])
    return (y[at] * mixture.gates[..., None]).sum(1)


def one_hot_einsum(mixture: Mixture) -> torch.Tensor:
    """GShard's form, arXiv:2006.16668: who goes where is a tensor (T, E, C) of zeros and ones, and a product applies it."""
    at, places = _places(mixture)
    t, experts = len(at), mixture.sizes.experts
    combine = (
        mixture.x.new_zeros(t, experts * places + 1).scatter_(1, at, mixture.gates)[:, :-1].view(t, experts, places)
    )
    rows = torch.einsum("tec,td->ecd", (combine != 0).float(), mixture.x)
    y = torch.baddbmm(mixture.b2[:, None], F.gelu(torch.baddbmm(mixture.b1[:, None], rows, mixture.w1)), mixture.w2)
    return torch.einsum("tec,ecd->td", combine, y)


def grouped_mm(mixture: Mixture) -> torch.Tensor:
    """The sorted loop with torch's own grouped product in place of the loop."""
    flat, k = mixture.chosen.flatten(), mixture.sizes.k
    order = flat.argsort(stable=True)
    ends, expert = flat.bincount(minlength=mixture.sizes.experts).cumsum(0).int(), flat[order]
    hidden = torch._grouped_mm(mixture.x[order // k], mixture.w1, offs=ends).add_(mixture.b1[expert])
    y = torch._grouped_mm(F.gelu(hidden), mixture.w2, offs=ends).add_(mixture.b2[expert])
    y *= mixture.gates.flatten()[order, None]
    return torch.zeros_like(mixture.x).index_add_(0, order // k, y)


def training_calls(mixture: Mixture) -> dict[str, Callable]:
    """Forward, and the gradients by tokens, gates and all weights."""
    start = torch.randn(mixture.x.shape, generator=torch.Generator().manual_seed(1))
    leaves = [part.clone().requires_grad_() for part in (mixture.x, mixture.gates, *mixture.experts)]
    dense = [part.clone().requires_grad_() for part in (mixture.x, *mixture.dense)]

    def mixed(form):
        return lambda: torch.autograd.grad(form(leaves[0], mixture.chosen, *leaves[1:]), leaves, start)

    def plain():
        x, w1, b1, w2, b2 = dense
        return torch.autograd.grad(torch.addmm(b2, F.gelu(torch.addmm(b1, x, w1)), w2), dense, start)

    return {"dense, torch's GELU": plain, "grouped experts": mixed(grouped_experts), "sorted loop": mixed(sorted_loop)}
