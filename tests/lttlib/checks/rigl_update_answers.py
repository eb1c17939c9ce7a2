"""Right and wrong answers to the exercise on one step of RigL."""

import heapq
import math

import numpy as np
import torch
from proof import Answer, solutions

from lttlib.checks.rigl_update import check_rigl_update
from lttlib.dst import rigl_step

rigl_update = solutions("moving_masks").rigl_update


def by_library(weight, gradient, mask, drop):
    new = rigl_step(torch.tensor(weight), torch.tensor(gradient), torch.tensor(mask), drop)
    return new, torch.tensor(weight) * new


def by_loops(weight, gradient, mask, drop):
    """Lists; a weight that returns is found by its old value."""
    live = [i for i in range(len(mask)) if mask[i]]
    k = math.floor(drop * len(live))
    gone = heapq.nsmallest(k, live, key=lambda i: abs(weight[i]))
    free = [i for i in range(len(mask)) if not mask[i] or i in gone]
    born = heapq.nlargest(k, free, key=lambda i: abs(gradient[i]))
    new = [(bool(mask[i]) and i not in gone) or i in born for i in range(len(mask))]
    return [new, [float(w) if m else 0.0 for w, m in zip(weight, new, strict=True)]]


def by_thresholds(weight, gradient, mask, drop):
    """Ranks of everything: live ones above the dead, kept ones below all in the second ranking."""
    k = int(mask.sum() * drop)
    size = np.where(mask, np.abs(weight), -1)
    kept = size.argsort(kind="stable").argsort() >= len(mask) - (mask.sum() - k)
    slope = np.ma.masked_array(np.abs(gradient), kept).filled(-np.inf)
    born = (-slope).argsort().argsort() < k
    return kept | born, np.where(kept | (born & mask), weight, 0).astype(np.float32)


def step(
    dropped=lambda w, g, m: np.abs(w),
    number=lambda drop, m: int(drop * m.sum()),
    open_to=lambda kept, m: ~kept,
    steep=lambda g, w, m: np.abs(g),
    value=lambda w, g, m, new: w * new,
):
    """One step with thresholds by sorting; the lowest `dropped` go, the highest `steep` grow."""

    def answer(weight, gradient, mask, drop):
        k = min(int(number(drop, mask)), int(mask.sum()))
        order = sorted(np.flatnonzero(mask), key=lambda i: dropped(weight, gradient, mask)[i])
        kept = mask.copy()
        kept[order[:k]] = False
        places = sorted(np.flatnonzero(open_to(kept, mask)), key=lambda i: -steep(gradient, weight, mask)[i])
        new = kept.copy()
        new[places[:k]] = True
        return new, value(weight, gradient, mask, new)

    return answer


def grows_first(weight, gradient, mask, drop):
    """New weights are 0 when the smallest are looked for; of equals the new go first."""
    k = int(drop * mask.sum())
    slope = np.where(mask, -1, np.abs(gradient))
    new = mask.copy()
    new[np.argsort(-slope)[: min(k, (~mask).sum())]] = True
    size = np.where(new, np.abs(weight) + 1e-9 * mask, np.inf)
    new[np.argsort(size)[: new.sum() - mask.sum()]] = False
    return new, weight * new


def grows_first_ties_by_place(weight, gradient, mask, drop):
    """As above, but a live weight of 0 may go in place of a new one."""
    k = min(int(drop * mask.sum()), int((~mask).sum()))
    slope = np.where(mask, -1, np.abs(gradient))
    new = mask.copy()
    new[np.argsort(-slope)[:k]] = True
    new[np.argsort(np.where(new, np.abs(weight), np.inf), kind="stable")[:k]] = False
    return new, weight * new


def dead_before_dropped(weight, gradient, mask, drop):
    """Weights that were just dropped return only where there are too few others."""
    return by_thresholds(weight, np.abs(gradient) + 9.0 * ~mask, mask, drop)


def drops_old_after_growing(weight, gradient, mask, drop):
    k = int(drop * mask.sum())
    slope = np.where(mask, -1, np.abs(gradient))
    new = mask.copy()
    new[np.argsort(slope)[len(mask) - k :]] = True
    live = np.flatnonzero(mask)
    new[live[np.argsort(np.abs(weight[live]))[:k]]] = False
    return new, weight * new


def masked_gradient(weight, gradient, mask, drop):
    return by_thresholds(weight, gradient * mask, mask, drop)


def dead_again(weight, gradient, mask, drop):
    k = int(drop * mask.sum())
    kept = mask.copy()
    kept[np.abs(weight).argsort(kind="stable")[:k]] = False
    slope = np.where(kept, -1, np.abs(gradient))
    kept[np.argsort(slope)[len(mask) - k :]] = True
    return kept, weight * kept


def only_grows(weight, gradient, mask, drop):
    k = int(drop * mask.sum())
    slope = np.where(mask, -1, np.abs(gradient))
    new = mask.copy()
    new[np.argsort(-slope)[:k]] = True
    return new, weight * new


def grows_one_less(weight, gradient, mask, drop):
    new, values = by_thresholds(weight, gradient, mask, drop)
    if drop * mask.sum() >= 1:
        new[np.flatnonzero(new & ~mask)[:1]] = False
    return new, values * new


def with_value(value):
    return step(value=value)


def mask_in_place(weight, gradient, mask, drop):
    live = np.flatnonzero(mask)
    mask[live[np.argsort(np.abs(weight[live]))[: int(drop * len(live))]]] = False
    return mask, weight * mask


def slope_in_place(weight, gradient, mask, drop):
    gradient[mask] = 0
    return by_library(weight, gradient, mask, drop)


RIGL = [
    Answer(check_rigl_update, "solution", rigl_update),
    Answer(check_rigl_update, "library, torch", by_library),
    Answer(check_rigl_update, "loops and lists", by_loops),
    Answer(check_rigl_update, "ranks, float32", by_thresholds),
    Answer(check_rigl_update, "sorted", step()),
    Answer(check_rigl_update, "squares", step(lambda w, g, m: w**2, steep=lambda g, w, m: g**2)),
    Answer(check_rigl_update, "mask in place", mask_in_place, "error", "writes into one of its arguments"),
    Answer(check_rigl_update, "gradient in place", slope_in_place, "error", "writes into one of its arguments"),
    *(
        Answer(check_rigl_update, name, function, "wrong", says)
        for name, function, says in [
            ("swapped", lambda *c: by_loops(*c)[::-1], "The two are swapped"),
            ("masked gradient", masked_gradient, "a masked gradient can never grow anything"),
            ("grows first, new at 0", grows_first, "are dropped as the smallest"),
            ("nothing", lambda w, g, m, drop: (m, w), "Your mask never moves"),
            ("grows first, old ones go", drops_old_after_growing, "as if you grew first"),
            ("never returns", step(open_to=lambda kept, m: ~m), "as if you grew first"),
            ("grows first, ties by place", grows_first_ties_by_place, "are dropped as the smallest"),
            ("dead first", dead_before_dropped, "as if you grew first"),
            ("mask from weights", lambda w, g, m, drop: by_library(w, g, w != 0, drop), "a live weight be 0"),
            ("everywhere", step(open_to=lambda kept, m: m | True), "those that are kept among them"),
            ("never grows", step(open_to=lambda kept, m: m & False), "You drop and never grow"),
            ("signed gradient", step(steep=lambda g, w, m: g), "the signed gradient"),
            ("downhill", step(steep=lambda g, w, m: -g), "the signed gradient"),
            ("flattest", step(steep=lambda g, w, m: -np.abs(g)), "where the gradient is flattest"),
            ("signed weight", step(lambda w, g, m: w), "Is −2 a small weight"),
            ("signs twice", step(lambda w, g, m: w, steep=lambda g, w, m: g), "Signs count in both"),
            ("largest go", step(lambda w, g, m: -np.abs(w)), "You drop the largest"),
            ("drops by gradient", step(lambda w, g, m: np.abs(g)), "You drop by the gradient"),
            ("drops by product", step(lambda w, g, m: np.abs(g * w)), "by |weight · gradient|"),
            ("dead again", dead_again, "among which weights do you look"),
            ("of all", step(number=lambda drop, m: int(drop * m.size)), "is a share of all weights"),
            ("up", step(number=lambda drop, m: math.ceil(drop * m.sum())), "One too many goes"),
            ("keeps floor", step(number=lambda drop, m: m.sum() - int((1 - drop) * m.sum() + 1e-9)), "One too many goes"),
            ("one more", step(number=lambda drop, m: int(drop * m.sum()) + 1), "One too many goes"),
            ("nearest", step(number=lambda drop, m: round(drop * m.sum())), "nearest whole number"),
            ("keeps the share", step(number=lambda drop, m: m.sum() - int(drop * m.sum())), "You keep the share"),
            ("new from gradient", with_value(lambda w, g, m, n: np.where(n & ~m, g, w) * n), "start from their gradient"),
            ("new downhill", with_value(lambda w, g, m, n: (w - g * ~m) * n), "start from their gradient"),
            ("new nearly 0", with_value(lambda w, g, m, n: (w - 1e-9 * g * ~m) * n), "is new, and you return"),
            ("new drawn", with_value(lambda w, g, m, n: np.where(n & ~m, 0.5, w) * n), "is new, and you return"),
            ("old values", with_value(lambda w, g, m, n: w), "dropped weights keep their values"),
            ("step on the way", with_value(lambda w, g, m, n: (w - 0.1 * g) * n), "lives before and after, and you return"),
            ("gradient where dead", with_value(lambda w, g, m, n: np.where(n, w, 1e-3)), "is dead"),
            ("NaN where dropped", with_value(lambda w, g, m, n: np.where(m & ~n, np.nan, w)), "is dead now, and you"),
            ("True is dead", lambda *c: (~by_thresholds(*c)[0], by_thresholds(*c)[1]), "is True live or dead"),
            ("only grows", only_grows, "No live weight is dropped"),
            ("grows one too few", grows_one_less, "How many grow for each that is dropped"),
            ("one less", step(number=lambda drop, m: max(int(drop * m.sum()) - 1, 0)), "lives after your step"),
            ("by position", step(lambda w, g, m: np.arange(len(w))), "How many live weights are to go"),
            ("grows by position", step(steep=lambda g, w, m: np.arange(len(g))), "Among which places do you look"),
            ("mask of ints", lambda *c: (by_thresholds(*c)[0].astype(int), by_thresholds(*c)[1]), "In which dtype is a mask"),
            ("places", lambda *c: tuple(np.flatnonzero(part) for part in by_thresholds(*c)), "Which step of yours changes"),
            ("mask alone", lambda *c: by_thresholds(*c)[0], "Does the task ask for something of this kind"),
        ]
    ),
]  # fmt: skip


def returned_at_0(weight, gradient, mask, drop):
    """A weight that went and came back has lost its value."""
    new, values = by_thresholds(weight, gradient, mask, drop)
    cut = np.sort(np.abs(weight[mask]))[int(drop * mask.sum()) :]
    return new, np.where(np.abs(weight) >= cut.min(initial=np.inf), values, 0)


RIGL.append(Answer(check_rigl_update, "returned at 0", returned_at_0, "wrong", "Was it ever dead?"))
