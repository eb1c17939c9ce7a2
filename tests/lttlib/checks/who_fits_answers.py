"""Right and wrong answers to the exercise on who finds a place."""

import math
from collections import defaultdict

import numpy as np
import torch
from proof import Answer, solutions

from lttlib.checks.who_fits import check_who_fits
from lttlib.moe.routing import queue

who_fits = solutions("mixture_of_experts").who_fits


def by_library(chosen, capacity_factor, experts):
    found = queue(torch.tensor(chosen), torch.ones(chosen.shape), experts, capacity_factor=capacity_factor)
    return found.kept


def by_cumulative_sums(chosen, capacity_factor, experts):
    """The one-hot matrix of all choices in order, added up from the top."""
    line = chosen.T.flatten()
    asked = np.eye(experts, dtype=int)[line]
    place = (asked.cumsum(0) * asked).max(1)
    return (place <= np.ceil(capacity_factor * chosen.size / experts)).reshape(chosen.shape[::-1]).T


def by_sorting(chosen, capacity_factor, experts):
    """A stable sort by expert; the first C of each are in."""
    line = chosen.T.ravel()
    room = -int(-capacity_factor * len(line) // experts)
    kept = np.zeros(len(line), dtype=bool)
    order = line.argsort(kind="stable")
    starts = np.searchsorted(line[order], np.arange(experts))
    for start, end in zip(starts, [*starts[1:], len(line)], strict=True):
        kept[order[start : min(end, start + room)]] = True
    return kept.reshape(-1, len(chosen)).T.tolist()


def places_only_for_the_served(chosen, capacity_factor, experts):
    """Who is dropped leaves the queue: the same result."""
    left = {e: math.ceil(capacity_factor * chosen.size / experts) for e in range(experts)}
    kept = np.full(chosen.shape, False)
    for s, t in np.ndindex(chosen.shape[::-1]):
        if left[chosen[t, s]]:
            left[chosen[t, s]] -= 1
            kept[t, s] = True
    return kept


def room(chosen, factor, experts):
    return math.ceil(factor * chosen.size / experts)


def served(
    places=room,
    turns=lambda tokens, k: [(t, s) for s in range(k) for t in range(tokens)],
    queues=lambda e, s: e,
    after=lambda kept: kept,
):
    """One choice after the other. queues: which queue a choice joins, of its expert and slot."""

    def answer(chosen, factor, experts):
        waiting = defaultdict(int)
        kept = np.zeros(chosen.shape, dtype=bool)
        for t, s in turns(*chosen.shape):
            name = queues(chosen[t, s], s)
            kept[t, s] = waiting[name] < places(chosen, factor, experts)
            waiting[name] += 1
        return after(kept)

    return answer


def own_load(share):
    """Each expert's capacity from how often it is asked."""

    def answer(chosen, factor, experts):
        kept = np.zeros(chosen.shape, dtype=bool)
        for e in range(experts):
            load = int((chosen == e).sum())
            mine = served(lambda *_: math.ceil(share(factor, load, experts)))(chosen, factor, experts)  # noqa: B023
            kept |= mine & (chosen == e)
        return kept

    return answer


def all_or_nothing(chosen, factor, experts):
    left = [room(chosen, factor, experts)] * experts
    kept = np.zeros(chosen.shape, dtype=bool)
    for t, row in enumerate(chosen.tolist()):
        if all(left[e] for e in row):
            kept[t] = True
            for e in row:
                left[e] -= 1
    return kept


def at_random(chosen, factor, experts):
    """The right number for each expert, of whoever."""
    order = np.random.default_rng(3).permutation(chosen.size)
    return served(turns=lambda tokens, k: [divmod(int(i), k) for i in order])(chosen, factor, experts)


def rows(test):
    return lambda kept: np.broadcast_to(test(kept)[:, None], kept.shape)


def until_dropped(kept):
    return np.array([[all(row[: s + 1]) for s in range(len(row))] for row in kept])


def as_a_spare(kept):
    first = kept.argmax(1)
    return kept & (np.arange(kept.shape[1]) == first[:, None])


def sorts_in_place(chosen, factor, experts):
    chosen.sort(axis=1)
    return by_sorting(chosen, factor, experts)


def turns_of(slots, tokens, outer="slot"):
    """Orders of the queue: slots and tokens forward (1) or backward (-1)."""

    def turns(count, k):
        ts, ss = range(count)[::tokens], range(k)[::slots]
        return [(t, s) for s in ss for t in ts] if outer == "slot" else [(t, s) for t in ts for s in ss]

    return turns


WHO_FITS = [
    Answer(check_who_fits, "solution", who_fits),
    Answer(check_who_fits, "library, torch", by_library),
    Answer(check_who_fits, "cumulative sums", by_cumulative_sums),
    Answer(check_who_fits, "sorting, lists", by_sorting),
    Answer(check_who_fits, "dropped ones leave the queue", places_only_for_the_served),
    Answer(check_who_fits, "in place", sorts_in_place, "error", "writes into one of its arguments"),
    *(
        Answer(check_who_fits, name, function, "wrong", says)
        for name, function, says in [
            ("floor", served(lambda c, f, e: int(f * c.size / e)), "not rounded up"),
            ("nearest", served(lambda c, f, e: round(f * c.size / e)), "not rounded up"),
            ("rounded down, then up", served(lambda c, f, e: -(-int(f * c.size) // e)), "not rounded up"),
            ("nearest pair, then up", served(lambda c, f, e: math.ceil(round(f * c.size) / e)), "not rounded up"),
            ("up, times k, up", served(lambda c, f, e: math.ceil(math.ceil(f * len(c)) * c.shape[1] / e)), "Has it so many places"),
            ("never all", served(lambda c, f, e: min(room(c, f, e), len(c) - 1)), "does a place stay empty"),
            ("no k", served(lambda c, f, e: math.ceil(f * len(c) / e)), "How many pairs are there"),
            ("k times the ceiling", served(lambda c, f, e: c.shape[1] * math.ceil(f * len(c) / e)), "round up before you multiply"),
            ("two ceilings", served(lambda c, f, e: math.ceil(f * -(-c.size // e))), "round up before you multiply"),
            ("no factor", served(lambda c, f, e: -(-c.size // e)), "capacity factor plays no part"),
            ("own load", own_load(lambda f, load, e: f * load), "The more an expert is asked"),
            ("own load over E", own_load(lambda f, load, e: f * load / e), "The more an expert is asked"),
            ("experts in use", served(lambda c, f, e: math.ceil(f * c.size / len(set(c.flat)))), "that nobody asks"),
            ("one at least", served(lambda *c: room(*c) or 1), "a few places at least"),
            ("four at least", served(lambda *c: max(room(*c), 4)), "a few places at least"),
            ("one too many", served(lambda *c: room(*c) + 1), "serves one more than it has places"),
            ("one too few", served(lambda *c: room(*c) - 1), "leaves its last place empty"),
            ("all", lambda c, f, e: np.ones(c.shape, dtype=bool), "Nothing is ever dropped"),
            ("token by token", served(turns=turns_of(1, 1, "token")), "token by token"),
            ("a queue for each slot", served(queues=lambda e, s: (e, s)), "Who sits there already"),
            ("one queue for all", served(queues=lambda e, s: 0), "does a place stay empty"),
            ("last choices first", served(turns=turns_of(-1, 1)), "Last choices go before"),
            ("last come", served(turns=turns_of(1, -1)), "Late tokens go before"),
            ("all backwards", served(turns=turns_of(-1, -1)), "in which order their choices"),
            ("last token first", served(turns=turns_of(1, -1, "token")), "in which order their choices"),
            ("both or none", served(after=rows(lambda kept: kept.all(1))), "loses all its choices"),
            ("both or none, in turn", all_or_nothing, "loses all its choices"),
            ("one for all", served(after=rows(lambda kept: kept.any(1))), "keeps all its choices"),
            ("until dropped", served(after=until_dropped), "asks nobody else"),
            ("as a spare", served(after=as_a_spare), "only if the first finds no place"),
            ("first choices", served(after=lambda kept: kept * np.eye(1, kept.shape[1], dtype=bool)), "Only first choices are served"),
            ("dropped", served(after=np.logical_not), "True where a choice is dropped"),
            ("at random", at_random, "every expert serves the right number"),
            ("none", served(after=lambda kept: kept & False), "does a place stay empty"),
            ("twice the places", served(lambda *c: 2 * room(*c)), "Has it so many places"),
            ("ints", served(after=lambda kept: kept.astype(int)), "Which dtype has an array that says yes or no"),
            ("transposed", served(after=lambda kept: kept.T), "Which step of yours changes it"),
        ]
    ),
]  # fmt: skip
