"""Trainings on which several processes and one must agree. Started by torchrun it writes what each rank found into a folder."""

import sys
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from lttlib.characters import text_of
from lttlib.moe import (
    HashRouter,
    RandomRouter,
    TopKRouter,
    mixture_feed_forward,
    mixture_mlp,
    random_table,
)
from lttlib.moe.parallel import parallelize, whole_parameters
from lttlib.moe.ranks import Ranks, joined
from lttlib.moe.train_parallel import Batches, train_over_ranks
from lttlib.training import SGD
from lttlib.transformers import CharacterTransformer

EXPERTS, STEPS, WIDTH = 4, 4, 8
TEXT = text_of("the quick brown fox jumps over the lazy dog, and so on; " * 40)


class Biased(TopKRouter):
    """A router by top-k that likes some experts much more, or much less, than the others."""

    def __init__(self, likes, **options):
        super().__init__(WIDTH, EXPERTS, 2, **options)
        self.register_buffer("likes", torch.tensor(likes, dtype=torch.float32))

    def logits(self, x):
        return super().logits(x) + self.likes


class MixtureFirst(nn.Module):
    """A mixture that reads the data themselves: nothing before it is learned, and no gradient goes back beyond it."""

    def __init__(self, mixture, dtype):
        super().__init__()
        self.mixture, self.dtype = mixture, dtype

    def forward(self, x):
        return self.mixture(F.one_hot(x, len(TEXT.vocabulary)).to(self.dtype))


def language_model(generator, router=None, **options) -> nn.Module:
    """Two blocks; router: called with the generator."""
    make = router or partial(TopKRouter, WIDTH, EXPERTS, 2)

    def feed_forward(_block):
        return mixture_feed_forward(WIDTH, 6, make(generator=generator), generator=generator, **options)

    return CharacterTransformer(
        len(TEXT.vocabulary), context=8, width=WIDTH, heads=2, depth=2, feed_forward=feed_forward, generator=generator
    )


def mixture_first(generator) -> nn.Module:
    """A perceptron as mixture, of single characters."""
    characters = len(TEXT.vocabulary)
    router = TopKRouter(characters, EXPERTS, 1, generator=generator)
    return MixtureFirst(mixture_mlp(characters, 6, characters, router, generator=generator), torch.float64)


def by_hash(generator) -> HashRouter:
    return HashRouter(random_table(len(TEXT.vocabulary), EXPERTS, 1, generator=generator), EXPERTS)


MODELS = {
    "plain": language_model,
    "all choices counted": partial(language_model, convention="mean"),
    "an idle expert": partial(language_model, router=partial(Biased, [0, 0, 0, -40])),
    "all tokens to rank 0": partial(language_model, router=partial(Biased, [40, 40, 0, 0])),
    "all tokens to rank 1": partial(language_model, router=partial(Biased, [0, 0, 40, 40])),
    "nothing learned before": mixture_first,
    "by hash": partial(language_model, router=by_hash),
    "frozen router": partial(language_model, router=partial(RandomRouter, WIDTH, EXPERTS, 2)),
    "single precision": language_model,
    "other first weights on rank 1": language_model,
    "Adam": language_model,
}


def fresh(name: str, rank: int = 0) -> nn.Module:
    """The model of one case, as it is before training."""
    generator = torch.Generator().manual_seed(3 + rank * (name == "other first weights on rank 1"))
    model = MODELS[name](generator)
    return model.to(torch.float32 if name == "single precision" else torch.float64)


def trained(name: str, ranks: Ranks | None) -> dict:
    """One case: its losses, all parameters afterwards, and how many numbers this process holds."""
    model = fresh(name, 0 if ranks is None else ranks.rank)
    if ranks is not None:
        parallelize(model, ranks)
    optimizer = partial(torch.optim.Adam, lr=0.01) if name == "Adam" else SGD
    batches = Batches(TEXT, 5, 4, 8)
    losses = train_over_ranks(
        model, batches, ranks=ranks, steps=STEPS, balance=0.5, z=0.01 * ("rank" not in name), optimizer=optimizer
    )
    parameters = {n: p.detach().clone() for n, p in model.named_parameters()}
    return {
        "losses": losses,
        "parameters": parameters if ranks is None else whole_parameters(model, ranks),
        "held": sum(p.numel() for p in parameters.values()),
    }


if __name__ == "__main__":
    with joined() as ranks:
        torch.save({name: trained(name, ranks) for name in MODELS}, Path(sys.argv[1]) / f"rank_{ranks.rank}.pt")
