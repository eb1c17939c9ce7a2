"""Right and wrong answers to the exercise on the share of weights that were ever live."""

import itertools
from fractions import Fraction

import numpy as np
import torch
from proof import Answer, solutions

from lttlib.checks.explored_share import check_explored_share
from lttlib.dst import exploration_rate

explored_share = solutions("moving_masks").explored_share


def flat(masks):
    """(moments, all weights)."""
    return np.stack([np.concatenate([mask.ravel() for mask in moment.values()]) for moment in masks])


def by_places(masks):
    """A set of (layer, index) that grows."""
    seen = {
        (name, place)
        for moment in masks
        for name, mask in moment.items()
        for place in zip(*mask.nonzero(), strict=True)
    }
    return Fraction(len(seen), sum(mask.size for mask in masks[0].values()))


def by_library(masks):
    return exploration_rate([{name: torch.tensor(mask) for name, mask in moment.items()} for moment in masks])


def by_first_birth(masks):
    """Weights by the moment at which they first lived."""
    ever = np.zeros(flat(masks).shape[1], dtype=bool)
    found = 0
    for moment in flat(masks):
        found += np.count_nonzero(moment & ~ever)
        ever |= moment
    return np.float32(found / len(ever))


def of_flat(finish):
    return lambda masks: finish(flat(masks))


def births(table):
    return (table[1:] & ~table[:-1]).sum()


def layers(masks):
    return {name: np.logical_or.reduce([moment[name] for moment in masks]).mean() for name in masks[0]}


def no_dense(masks):
    names = [name for name in masks[0] if masks[0][name].mean() < 1]
    return flat([{name: moment[name] for name in names} for moment in masks]).any(0).mean()


def overwrites(masks):
    ever = masks[0]
    for moment in masks[1:]:
        for name in ever:
            ever[name] = ever[name] | moment[name]
    return flat([ever])[0].mean()


def into_the_first(masks):
    ever = masks[0]
    for moment in masks[1:]:
        for name in ever:
            ever[name] |= moment[name]
    return flat([ever])[0].mean()


def pops(masks):
    masks.pop(0)
    return flat(masks).any(0).mean() if masks else 0.0


EXPLORED = [
    Answer(check_explored_share, "solution", explored_share),
    Answer(check_explored_share, "places, a fraction", by_places),
    Answer(check_explored_share, "library", by_library),
    Answer(check_explored_share, "first births, float32", by_first_birth),
    Answer(check_explored_share, "flat", of_flat(lambda table: table.any(0).mean())),
    Answer(check_explored_share, "tensor", of_flat(lambda table: torch.tensor(table).any(0).double().mean())),
    Answer(check_explored_share, "writes", into_the_first, "error", "writes into one of its arguments"),
    *(
        Answer(check_explored_share, name, function, "wrong", says)
        for name, function, says in [
            ("intersection", of_flat(lambda table: table.all(0).mean()), "live all the time"),
            ("average density", of_flat(np.mean), "This is the average density"),
            ("last", of_flat(lambda table: table[-1].mean()), "density of the last masks"),
            ("ends", of_flat(lambda table: (table[0] | table[-1]).mean()), "the first and the last masks"),
            ("no start", of_flat(lambda table: table[1:].any(0).mean()), "Which moment do you leave out"),
            ("no end", of_flat(lambda table: table[:-1].any(0).mean()), "live at the end alone"),
            ("mean of layers", lambda masks: np.mean(list(layers(masks).values())), "average the shares of the layers"),
            ("births", of_flat(lambda table: (table[0].sum() + births(table)) / table.shape[1]), "events or places?"),
            ("births alone", of_flat(lambda table: births(table) / table.shape[1]), "how often a weight grows"),
            ("new ones", of_flat(lambda table: (table.any(0) & ~table[0]).mean()), "do not count here. Were they live"),
            ("sum", of_flat(lambda table: table.sum() / table.shape[1]), "add up the densities"),
            ("sparse layers", no_dense, "dense from the start do not count"),
            ("of live", of_flat(lambda table: table.any(0).sum() / table[0].sum()), "divide by the live weights"),
            ("never", of_flat(lambda table: 1 - table.any(0).mean()), "were never live"),
            ("number", of_flat(lambda table: int(table.any(0).sum())), "a number or a share"),
            ("percent", of_flat(lambda table: 100 * table.any(0).mean()), "This is in percent"),
            ("each layer", layers, "a share for each layer"),
            ("changes", of_flat(lambda table: (table[1:] != table[:-1]).any(0).mean() if len(table) > 1 else 0.0),
             "lives at the last moment alone"),
            ("more than all", of_flat(lambda table: 2.0), "below 0 or above 1"),
            ("half", of_flat(lambda table: (1 + table.any(0).mean()) / 2), "out of how many?"),
            ("row", of_flat(lambda table: table.any(0).mean(keepdims=True)), "You return shape (1,)"),
            ("overwrites", overwrites, "in place"),
            ("pops", pops, "in place"),
            ("pops the last", lambda masks: flat([masks.pop(), *masks]).any(0).mean(), "in place"),
        ]
    ),
]  # fmt: skip


def pairs(masks):
    """Looks at neighbors in time, and keeps the best pair."""
    table = flat(masks)
    return max([(a | b).mean() for a, b in itertools.pairwise(table)] or [table[0].mean()])


EXPLORED.append(Answer(check_explored_share, "pairs", pairs, "wrong", "out of how many?"))
