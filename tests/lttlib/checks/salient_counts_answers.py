"""Right and wrong answers to the exercise on salient places."""

import heapq
import math

import numpy as np
import torch
from proof import Answer, solutions

from lttlib.checks.salient_counts import check_salient_counts
from lttlib.masks import topk_mask
from lttlib.srigl import drop_counts

salient_counts = solutions("structured_rigl").salient_counts


def by_library(weight, grad, mask, fraction):
    weight, grad = torch.tensor(weight), torch.tensor(grad)
    keep, drop = drop_counts(int(mask.sum()), int(weight.count_nonzero()), fraction)
    return (topk_mask(weight.abs(), keep) | topk_mask(grad.abs(), drop)).sum(1)


def by_loops(weight, grad, mask, fraction):
    """Sets of places, and a list."""
    rows, columns = weight.shape
    places = [(r, c) for r in range(rows) for c in range(columns)]
    live = [place for place in places if mask[place]]
    filled = [place for place in live if weight[place] != 0]
    keep = min(len(live) - math.floor(fraction * len(live)), len(filled))
    found = set(heapq.nlargest(keep, filled, key=lambda place: abs(weight[place])))
    found |= set(heapq.nlargest(len(live) - keep, places, key=lambda place: grad[place] ** 2))
    return [sum(place[0] == r for place in found) for r in range(rows)]


def by_thresholds(weight, grad, mask, fraction):
    """Single precision; adds up row by row."""
    keep = min(mask.sum() - int(mask.sum() * fraction), (weight != 0).sum())
    drop = mask.sum() - keep
    size, slope = np.sort(np.abs(weight), axis=None)[::-1], np.sort(np.abs(grad), axis=None)[::-1]
    kept = (np.abs(weight) >= size[keep - 1]) if keep else np.zeros(mask.shape, bool)
    steep = (np.abs(grad) >= slope[drop - 1]) if drop else np.zeros(mask.shape, bool)
    return np.count_nonzero(kept + steep, axis=1).astype(np.float32)


def order(scores, count):
    """The flat places of the largest; among equals the last."""
    return set(np.argsort(scores, axis=None)[scores.size - int(count) :].tolist())


def counts(
    size=lambda w, m: np.abs(w),
    slope=lambda g, m, kept: np.abs(g),
    dropped=lambda fraction, m: int(fraction * m.sum()),
    keep=lambda live, drop, filled: min(live - drop, filled),
    drop=lambda live, dropped, keep: live - keep,
    pick=order,
    union=lambda kept, steep: [*(kept | steep)],
    end=lambda found, shape: np.bincount(np.array(found, dtype=int) // shape[1], minlength=shape[0]),
):
    """An answer with a part replaced; the places are sets of flat indices."""

    def answer(weight, grad, mask, fraction):
        gone = dropped(fraction, mask)
        stay = keep(int(mask.sum()), gone, np.count_nonzero(weight))
        kept = pick(size(weight, mask), stay)
        steep = pick(slope(grad, mask, kept), drop(int(mask.sum()), gone, stay))
        return end(union(kept, steep), mask.shape)

    return answer


def outside(g, m, kept):
    steep = np.abs(g)
    steep.flat[list(kept)] = -1
    return steep


def each_row(weight, grad, mask, fraction):
    found = []
    for w, g, m in zip(weight, grad, mask, strict=True):
        drop = int(fraction * m.sum())
        found.append(len(order(np.abs(w), m.sum() - drop) | order(np.abs(g), drop)))
    return np.array(found)


def each_row_alike(weight, grad, mask, fraction):
    drop = int(fraction * mask.sum())
    keep = (mask.sum() - drop) // len(mask)
    return [
        len(order(np.abs(w), keep) | order(np.abs(g), drop // len(mask))) for w, g in zip(weight, grad, strict=True)
    ]


def backwards(scores, count):
    return set(np.argsort(scores, axis=None)[-int(count) :].tolist())


def first_of_equals(scores, count):
    return set(np.argsort(-scores, axis=None, kind="stable")[: int(count)].tolist())


def among_live(weight, grad, mask, fraction):
    """Keeps live weights by size, zeros too, and no dead place."""
    live = np.flatnonzero(mask)
    drop = int(fraction * len(live))
    kept = live[np.argsort(np.abs(weight.flat[live]))[drop:]]
    found = set(kept.tolist()) | order(np.abs(grad), drop)
    return [sum(place // mask.shape[1] == r for place in found) for r in range(len(mask))]


def off_by_one(*case):
    found = salient_counts(*case)
    found[0] += 1
    return found


def in_place(weight, grad, mask, fraction):
    np.abs(weight, out=weight)
    return by_library(weight, grad, mask, fraction)


UNCAPPED = {"keep": lambda live, drop, filled: live - drop}

SALIENT = [
    Answer(check_salient_counts, "solution", salient_counts),
    Answer(check_salient_counts, "library, a tensor", by_library),
    Answer(check_salient_counts, "loops and lists", by_loops),
    Answer(check_salient_counts, "thresholds, float32", by_thresholds),
    Answer(check_salient_counts, "sets", counts()),
    Answer(check_salient_counts, "in place", in_place, "error", "writes into one of its arguments"),
    *(
        Answer(check_salient_counts, name, function, "wrong", says)
        for name, function, says in [
            ("weights only", counts(union=lambda kept, steep: [*kept]), "Only weights count here"),
            ("weights only, zeros", counts(union=lambda kept, steep: [*kept], **UNCAPPED), "Only weights count here"),
            ("gradients only", counts(union=lambda kept, steep: [*steep]), "Only gradients count here"),
            ("live gradients", counts(slope=lambda g, m, kept: np.abs(g * m)), "among live places alone"),
            ("dead gradients", counts(slope=lambda g, m, kept: np.where(m, -1, np.abs(g))), "among dead places alone"),
            ("growth", counts(slope=outside), "only where no weight is kept, as for growing"),
            ("sum", counts(union=lambda kept, steep: [*kept, *steep]), "counts twice here"),
            ("both", counts(union=lambda kept, steep: [*(kept & steep)]), "where both are large"),
            ("either", counts(union=lambda kept, steep: [*(kept ^ steep)]), "does not count at all here"),
            ("each row", each_row, "has places of its own right"),
            ("each row alike", each_row_alike, "has places of its own right"),
            ("signed gradients", counts(slope=lambda g, m, kept: g), "Signs count in your ranking"),
            ("downhill", counts(slope=lambda g, m, kept: -g), "Signs count in your ranking"),
            ("signed weights", counts(size=lambda w, m: w), "Signs count in your ranking"),
            ("signed weights, first", counts(size=lambda w, m: w, pick=first_of_equals), "Signs count in your ranking"),
            ("signed live weights", counts(size=lambda w, m: np.where(m, w, -9)), "Signs count in your ranking"),
            ("signs twice", counts(size=lambda w, m: w, slope=lambda g, m, kept: g), "Signs count in your ranking"),
            ("signs thrice", counts(size=lambda w, m: w, slope=lambda g, m, kept: -g), "Signs count in your ranking"),
            ("swapped", counts(keep=lambda live, drop, filled: drop), "Which number belongs to which?"),
            ("of all", counts(lambda w, m: np.abs(w), dropped=lambda f, m: min(int(f * m.size), m.sum())), "a share of all weights"),
            ("up", counts(dropped=lambda f, m: math.ceil(f * m.sum())), "You round up what is dropped"),
            ("nearest", counts(dropped=lambda f, m: round(f * m.sum())), "to the nearest whole number"),
            ("all kept", counts(keep=lambda live, drop, filled: live, drop=lambda live, d, keep: d), "You drop nothing"),
            ("mask from weights", lambda w, g, m, f: by_library(w, g, w != 0, f), "You read off the weights what lives"),
            ("order[-0:]", counts(pick=backwards), "if k is 0?"),
            ("not refilled", counts(drop=lambda live, dropped, keep: dropped), "take for their gradients in exchange"),
            ("zeros kept", counts(**UNCAPPED), "Are zeros among those"),
            ("first zeros kept", counts(**UNCAPPED, pick=first_of_equals), "Are zeros among those"),
            ("live zeros kept", among_live, "Are zeros among those"),
            ("inputs", counts(end=lambda found, shape: np.bincount(np.array(found, dtype=int) % shape[1], minlength=shape[1])),
             "These are counts of inputs"),
            ("layer", counts(end=lambda found, shape: len(found)), "This counts the whole layer"),
            ("shares", lambda *case: salient_counts(*case) / case[0].shape[1], "These are shares of the inputs"),
            ("off by one", off_by_one, "more salient places than live weights"),
            ("none", lambda w, g, m, f: np.zeros(len(w)), "how many different places are"),
            ("any", lambda *case: salient_counts(*case) > 0, "how many different places are"),
            ("negative", lambda *case: -salient_counts(*case), "fewer than none"),
            ("inputs everywhere", lambda w, g, m, f: np.full(len(w), 99), "more than it has inputs?"),
            ("live ones", lambda w, g, m, f: m.sum(1), "how many different places are"),
            ("column", lambda *case: salient_counts(*case)[:, None], "You return shape (4, 1)"),
        ]
    ),
]  # fmt: skip
