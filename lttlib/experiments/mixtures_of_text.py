"""Mixtures of experts in a language model: loss against active operations, by experts and routers, balanced or not.

A small character transformer on the text of this book's pages. Every feed-forward block is a mixture of `value` experts
of which one takes part (of "two of E" two of half the size), so all mixtures have the active operations of the smallest
dense model but for the router. Loss on held-out pages, in nats per character.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from lttlib.arguments import require_choice
from lttlib.characters import Text, book_text
from lttlib.experiments.lottery_tickets import generator
from lttlib.moe import (
    CosineRouter,
    HashRouter,
    RandomRouter,
    TopKRouter,
    collect_auxiliary,
    effective_experts,
    mixture_feed_forward,
    random_table,
    weighted,
)
from lttlib.moe.collapse import effective_dimensions, share_between_experts
from lttlib.schedules import cosine
from lttlib.transformers import CharacterTransformer, dense_feed_forward, feed_forwards

BALANCE = 0.01
DENSE_SIZES = (1, 2, 4)  # hidden units of the dense models, in those of one expert
EXPERTS = (2, 4, 8, 16, 32)
COMPARED = 8  # experts of the arms that differ in something else
ROUTED = ("top-1, unbalanced", "two of E", "cosine", "hash", "frozen random")


@dataclass(frozen=True)
class Setting:
    """Sizes of one recording. hidden: units of one expert."""

    load: Callable[[], Text] = book_text
    width: int = 64
    heads: int = 4
    depth: int = 2
    hidden: int = 128
    context: int = 64
    batch_size: int = 16
    steps: int = 1500
    judged: int = 32  # batches of held-out text


SETTINGS = {"book": Setting()}


def cells(data: str, seeds: int) -> list[dict]:
    """The grid, one seed after the other."""
    require_choice(data, SETTINGS, "data")
    arms = [("dense", size) for size in DENSE_SIZES] + [("top-1", experts) for experts in EXPERTS]
    arms += [(arm, COMPARED) for arm in ROUTED] + [("top-1, unbalanced", EXPERTS[-1])]
    return [{"data": data, "arm": arm, "value": value, "seed": seed} for seed in range(seeds) for arm, value in arms]


def run(data: str, arm: str, value: int, seed: int) -> list[dict]:
    """The row of one cell."""
    require_choice(data, SETTINGS, "data")
    require_choice(arm, ("dense", "top-1", *ROUTED), "arm")
    setting = SETTINGS[data]
    text = setting.load()
    model = language_model(setting, len(text.vocabulary), arm, value, seed)
    start = time.thread_time()
    losses = train_text(model, setting, text, seed, balance=0.0 if arm == "top-1, unbalanced" else BALANCE)
    seconds = time.thread_time() - start
    judged = judge(model, setting, text)
    tokens = setting.steps * setting.batch_size * setting.context
    return [
        {"arm": arm, "value": value, "seed": seed, "course": losses, "tokens_per_s": tokens / seconds,
         "active flops": active_flops(setting, len(text.vocabulary), arm, value),
         "parameters": sum(p.numel() for p in model.parameters())} | judged
    ]  # fmt: skip


def language_model(setting: Setting, characters: int, arm: str, value: int, seed: int) -> CharacterTransformer:
    """A fresh model. Attention and embeddings are drawn alike in all arms of a seed."""

    def feed_forward(block: int) -> nn.Module:
        draw = generator(1000 * (block + 1) + seed)
        if arm == "dense":
            return dense_feed_forward(setting.width, value * setting.hidden, generator=draw)
        k = 2 if arm == "two of E" else 1
        routers = {
            "hash": lambda: HashRouter(random_table(characters, value, 1, generator=draw), value),
            "frozen random": lambda: RandomRouter(setting.width, value, 1, generator=draw),
            "cosine": lambda: CosineRouter(setting.width, value, 1, generator=draw),
        }
        router = routers.get(arm, lambda: TopKRouter(setting.width, value, k, generator=draw))()
        return mixture_feed_forward(setting.width, setting.hidden // k, router, generator=draw)

    return CharacterTransformer(
        characters, context=setting.context, width=setting.width, heads=setting.heads, depth=setting.depth,
        feed_forward=feed_forward, generator=generator(seed),
    )  # fmt: skip


def train_text(model: nn.Module, setting: Setting, text: Text, seed: int, *, balance: float) -> list[float]:
    """Train in place with Adam; the mean training loss of every hundredth part, without the balance loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(cosine, end=setting.steps))
    losses = []
    for step in range(setting.steps):
        x, y = text.batch(step, seed, setting.batch_size, setting.context)
        with collect_auxiliary(model, ids=x) as found:
            loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"the training loss is {losses[-1]} at step {step}; lower the learning rate")
        optimizer.zero_grad()
        (loss + weighted(found, balance=balance) if found else loss).backward()
        optimizer.step()
        rates.step()
    part = max(1, setting.steps // 100)
    return [round(sum(losses[i : i + part]) / len(losses[i : i + part]), 4) for i in range(0, setting.steps, part)]


@torch.no_grad()
def judge(model: nn.Module, setting: Setting, text: Text) -> dict:
    """Loss on held-out text, the same passages for all; and block by block what its feed-forward reads, see moe.collapse.

    Of a mixture also the effective experts, averaged over blocks.
    """
    model.eval()
    losses, loads, takers, read = [], [], [], [[] for _ in range(setting.depth)]
    hooks = [block.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].flatten(0, 1)))
             for block, seen in zip(feed_forwards(model).values(), read, strict=True)]  # fmt: skip
    for step in range(setting.judged):
        x, y = text.batch(step, 0, setting.batch_size, setting.context, part="validation")
        with collect_auxiliary(model, ids=x) as found:
            losses.append(F.cross_entropy(model(x).flatten(0, 1), y.flatten()).item())
        loads.append([one.routing.load for one in found])
        takers.append([one.routing.chosen[:, 0] for one in found])
    for hook in hooks:
        hook.remove()
    tokens = [torch.cat(seen) for seen in read]
    judged = {"loss": sum(losses) / len(losses), "dimensions": [effective_dimensions(seen) for seen in tokens]}
    if not takers[0]:
        return judged
    used = [effective_experts(torch.stack(block).mean(0)) for block in zip(*loads, strict=True)]
    experts = [torch.cat(block) for block in zip(*takers, strict=True)]
    shares = [share_between_experts(seen, expert) for seen, expert in zip(tokens, experts, strict=True)]
    return judged | {"effective experts": sum(used) / len(used), "share between experts": shares}


def active_flops(setting: Setting, characters: int, arm: str, value: int) -> int:
    """Operations of a forward pass for one token, 2 for each multiplication and addition: products with weights and attention."""
    width, hidden = setting.width, setting.hidden
    feed_forward = 4 * width * hidden * (value if arm == "dense" else 1)
    dim = max(2, value // 2)  # of a cosine router's projection
    routers = {"dense": 0, "hash": 0, "cosine": 2 * width * dim + 2 * dim * value}
    router = routers.get(arm, 2 * width * value)
    attention = 8 * width * width + 4 * width * setting.context
    return setting.depth * (attention + feed_forward + router) + 2 * width * characters
