"""A language model of characters with experts split over processes, trained on the words of this book.

    torchrun --nproc_per_node=2 -m lttlib.moe.train_parallel --steps 50 --out two.json
    python -m lttlib.moe.train_parallel --steps 50 --out one.json

Both give the same losses up to rounding. Numbers are of double precision: in single precision a token between two
experts may go the other way for a rounding error, and the curves part there. Book: "Mixture of experts".
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lttlib.arguments import require
from lttlib.characters import Text, book_text
from lttlib.data import DataError
from lttlib.moe.collecting import collect_auxiliary, weighted
from lttlib.moe.models import mixture_feed_forward
from lttlib.moe.parallel import average_gradients, parallelize
from lttlib.moe.ranks import TIMEOUT, RankError, Ranks, joined
from lttlib.moe.routers import TopKRouter
from lttlib.records import provenance, write_json
from lttlib.training import SGD, Optimizer
from lttlib.transformers import CharacterTransformer

TYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class Batches:
    """Which passages each step sees. Of the batch_size passages of a step every rank takes the same number."""

    text: Text
    seed: int
    batch_size: int
    context: int

    def of(self, step: int, ranks: Ranks | None) -> tuple[Tensor, Tensor]:
        """(x, y) for this rank, or for one process: both int64 (passages, context)."""
        x, y = self.text.batch(step, self.seed, self.batch_size, self.context)
        if ranks is None:
            return x, y
        require(self.batch_size % ranks.size == 0, "batch_size", self.batch_size,
                f"a multiple of {ranks.size}, the ranks, which take equally many", "change one of them")  # fmt: skip
        return x.chunk(ranks.size)[ranks.rank], y.chunk(ranks.size)[ranks.rank]


def train_over_ranks(
    model: nn.Module,
    batches: Batches,
    *,
    ranks: Ranks | None,
    steps: int,
    balance: float = 0.01,
    z: float = 0.0,
    optimizer: Optimizer = SGD,
    watch: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train a language model in place; returns the loss of the whole batch at each step, before its update.

    ranks: what joined gave, with a model that went through parallelize; None for one process. optimizer: one that acts
    on each number alone, such as SGD or Adam. The loss is cross-entropy + balance * balance loss + z * z-loss; routers
    get the characters as ids. watch(step, loss): called at each step, from 0.
    """
    require(steps >= 1, "steps", steps, "1 or more", "50 show a falling loss")
    engine = optimizer(model.parameters())
    device = next(model.parameters()).device
    losses = []
    for step in range(steps):
        x, y = (part.to(device) for part in batches.of(step, ranks))
        with collect_auxiliary(model, ids=x) as found:
            loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss = loss + weighted(found, balance=balance, z=z)
        engine.zero_grad()
        loss.backward()
        total = loss.detach()
        if ranks is not None:
            average_gradients(model, ranks)
            total = ranks.mean(total)
        losses.append(total.item())
        if not torch.isfinite(total):
            raise FloatingPointError(f"the training loss is NaN or infinite at step {step}; lower the learning rate")
        engine.step()
        if watch is not None:
            watch(step, losses[-1])
    return losses


def language_model(
    characters: int, *, context: int, experts: int, k: int, width: int, hidden: int, depth: int, seed: int
) -> CharacterTransformer:
    """A transformer whose feed-forward blocks are mixtures, dropless: the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)

    def feed_forward(_block: int) -> nn.Module:
        return mixture_feed_forward(
            width, hidden, TopKRouter(width, experts, k, generator=generator), generator=generator
        )

    return CharacterTransformer(
        characters, context=context, width=width, heads=4, depth=depth, feed_forward=feed_forward, generator=generator
    )


def _run(options: argparse.Namespace, ranks: Ranks | None) -> dict:
    """Train as the command line says; returns the record. Rank 0 prints some of the losses."""
    text = book_text(options.text)
    sizes = {"experts": options.experts, "k": options.k, "width": options.width, "hidden": options.hidden}
    model = language_model(
        len(text.vocabulary), context=options.context, depth=options.depth, seed=options.seed, **sizes
    ).to(torch.device(options.device) if ranks is None else ranks.device, TYPES[options.dtype])
    if ranks is not None:
        parallelize(model, ranks)
    every = max(1, options.steps // 10)

    def watch(step: int, loss: float) -> None:
        if _speaks(ranks) and (step % every == 0 or step + 1 == options.steps):
            print(f"step {step:5d}  loss {loss:.4f}", flush=True)

    batches = Batches(text, options.seed, options.batch_size, options.context)
    start = time.perf_counter()
    losses = train_over_ranks(
        model, batches, ranks=ranks, steps=options.steps, balance=options.balance,
        optimizer=partial(SGD, lr=options.lr), watch=watch,
    )  # fmt: skip
    return {
        "settings": {name: value for name, value in vars(options).items() if name not in ("out", "text", "timeout")},
        "processes": 1 if ranks is None else ranks.size,
        "weights_per_process": sum(parameter.numel() for parameter in model.parameters()),
        "losses": losses,
        "seconds": round(time.perf_counter() - start, 2),
        **provenance(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Train, print some losses, write all; returns the exit status. Errors are one line, no traceback."""
    options = _parser().parse_args(arguments)
    try:
        with joined(options.device, timeout=options.timeout) as ranks:
            record = _run(options, ranks)
            if options.out and _speaks(ranks):
                write_json(options.out, record)
                print(f"{options.out}: {record['processes']} processes, {record['seconds']} s")
    except (ValueError, OSError, FloatingPointError, DataError, RankError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


def _speaks(ranks: Ranks | None) -> bool:
    return ranks is None or ranks.rank == 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lttlib.moe.train_parallel", description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and of the batches")
    parser.add_argument("--experts", type=int, default=8, help="in each layer; a multiple of the processes")
    parser.add_argument("--k", type=int, default=1, help="experts of each token")
    parser.add_argument("--out", help="JSON file for the losses and where they come from")
    parser.add_argument("--text", help="file in ASCII; default: the words of this book")
    parser.add_argument("--batch-size", type=int, default=16, help="passages of a step, of all processes together")
    parser.add_argument("--context", type=int, default=64, help="characters of a passage")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=128, help="units of an expert")
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--lr", type=float, default=0.1, help="of SGD with momentum .9")
    parser.add_argument("--balance", type=float, default=0.01, help="weight of the balance loss")
    parser.add_argument("--dtype", choices=TYPES, default="float64")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="cuda: one GPU for each process, by NCCL"
    )
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="seconds to wait for another process")
    return parser


if __name__ == "__main__":
    sys.exit(main())
