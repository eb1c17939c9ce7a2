"""Right and wrong answers to the exercise on ablated neurons that go for good."""

import numpy as np
import torch
from proof import Answer, solutions

from lttlib.checks.fold_ablated import check_fold_ablated

fold_ablated = solutions("structured_rigl").fold_ablated


def by_loops(weight, bias, next_weight, next_bias):
    """Lists; one neuron after the other."""
    kept, after = [], next_bias.tolist()
    for j, row in enumerate(weight.tolist()):
        if any(row):
            kept.append(j)
        elif bias[j] > 0:
            after = [b + w[j] * bias[j] for b, w in zip(after, next_weight, strict=True)]
    first = np.array([weight[j] for j in kept]).reshape(len(kept), weight.shape[1])
    return [first, [bias[j] for j in kept], np.array([[w[j] for j in kept] for w in next_weight]), after]


def by_the_answer_to_0(weight, bias, next_weight, next_bias):
    """The new bias is what the old network answers to 0, less what the neurons that stay do; in reverse order."""
    alive = np.flatnonzero(np.abs(weight).max(axis=1) > 0)[::-1]
    old = next_weight @ np.maximum(bias, 0) + next_bias
    weight, bias, next_weight = weight[alive], bias[alive], next_weight[:, alive]
    return weight, bias, next_weight, old - next_weight @ np.maximum(bias, 0)


def by_torch(*arrays):
    """Single precision."""
    weight, bias, next_weight, next_bias = (torch.tensor(array).float() for array in arrays)
    dead = (weight != 0).sum(1) == 0
    return (
        weight[~dead],
        bias[~dead],
        next_weight[:, ~dead],
        torch.nn.functional.linear(torch.where(dead, bias, 0).relu(), next_weight, next_bias),
    )


def by_delete(weight, bias, next_weight, next_bias):
    dead = [j for j in range(len(weight)) if not weight[j].any()]
    more = sum((next_weight[:, j] * bias[j] for j in dead if bias[j] > 0), np.zeros(len(next_bias)))
    return np.delete(weight, dead, 0), np.delete(bias, dead), np.delete(next_weight, dead, 1), next_bias + more


def fold(dead=lambda w: ~w.any(1), answer=lambda b: b.clip(0), more=lambda w, c: w @ c, end=lambda new, old: new):
    """An answer with a part replaced. end(the four arrays, those of the case)."""

    def folded(weight, bias, next_weight, next_bias):
        gone = dead(weight)
        after = next_bias + more(next_weight[:, gone], answer(bias[gone]))
        new = weight[~gone], bias[~gone], next_weight[:, ~gone], after
        return end(new, (weight, bias, next_weight, next_bias))

    return folded


def sums_to_0(weight):
    return np.isclose(weight.sum(1), 0)


def gone(case):
    return ~case[0].any(1)


def in_place(weight, bias, next_weight, next_bias):
    next_bias += next_weight[:, ~weight.any(1)] @ bias[~weight.any(1)].clip(0)
    return fold(answer=np.zeros_like)(weight, bias, next_weight, next_bias)


def one_too_few(new, old):
    return (new[0][1:], new[1][1:], new[2][:, 1:], new[3])


def only_first(weight):
    """The first of the ablated."""
    dead = ~weight.any(1)
    return dead & (dead.cumsum() == 1)


def out_of_bounds(weight, bias, next_weight, next_bias):
    return weight[len(weight)]


def rows_of_next(weight, bias, next_weight, next_bias):
    alive = weight.any(1)
    return weight[alive], bias[alive], next_weight[alive], next_bias


def unread(weight, bias, next_weight, next_bias):
    return fold(dead=lambda w: ~w.any(1) | ~next_weight.any(0))(weight, bias, next_weight, next_bias)


FOLD = [
    *(
        Answer(check_fold_ablated, name, function)
        for name, function in [
            ("solution", fold_ablated),
            ("loops and lists", by_loops),
            ("the answer to 0, in reverse", by_the_answer_to_0),
            ("torch, float32", by_torch),
            ("deleted", by_delete),
            ("replaceable", fold()),
        ]
    ),
    Answer(check_fold_ablated, "in place", in_place, "error", "writes into one of its arguments"),
    Answer(check_fold_ablated, "wrong axis", fold(dead=lambda w: ~w.any(0)), "error", "A bool index meets an axis"),
    Answer(check_fold_ablated, "out of bounds", out_of_bounds, "error", "It happened for the arguments"),
    Answer(check_fold_ablated, "rows of the next layer", rows_of_next, "error", "A bool index meets an axis"),
    *(
        Answer(check_fold_ablated, name, function, "wrong", says)
        for name, function, says in [
            ("no ReLU", fold(answer=lambda b: b), "What comes between the two layers?"),
            ("size of the bias", fold(answer=np.abs), "You add the size of the bias"),
            ("bias lost", fold(answer=np.zeros_like), "biases of the ablated neurons are lost"),
            ("minus", fold(more=lambda w, c: -w @ c), "You subtract what"),
            ("negative part", fold(answer=lambda b: b.clip(max=0)), "Which part does a ReLU let through"),
            ("row sums", fold(dead=sums_to_0), "whose weights add up to 0"),
            ("row sums, no ReLU", fold(dead=sums_to_0, answer=lambda b: b), "whose weights add up to 0"),
            ("row sums, bias lost", fold(dead=sums_to_0, answer=np.zeros_like), "whose weights add up to 0"),
            ("any dead weight", fold(dead=lambda w: (w == 0).any(1)), "Neurons with a dead weight are removed"),
            ("columns left", fold(end=lambda n, o: (n[0], n[1], o[2], n[3])), "still has a column for each"),
            ("columns and bias left", fold(end=lambda n, o: (n[0], n[1], o[2], o[3])), "still has a column for each"),
            ("nothing removed", fold(end=lambda n, o: (*o[:3], n[3])), "How often does it arrive?"),
            ("cut off", fold(end=lambda n, o: (*o[:2], np.where(gone(o), 0, o[2]), n[3])), "are still there, cut off"),
            ("biases at 0", fold(end=lambda n, o: (o[0], np.where(gone(o), 0, o[1]), o[2], n[3])), "The function is the same, but neurons without"),
            ("unchanged", lambda *case: case, "Nothing has changed"),
            ("all biases", fold(end=lambda n, o: (*n[:3], o[3] + o[2] @ o[1].clip(0))), "those of the living, too"),
            ("biases of the living", fold(end=lambda n, o: (*n[:3], o[3] + n[2] @ n[1].clip(0))), "what living neurons answer to x = 0"),
            ("no next weight", fold(more=lambda w, c: c.sum()), "With which weight does it read"),
            ("ReLU after", fold(answer=lambda b: b, more=lambda w, c: (w @ c).clip(0)), "Your ReLU comes after"),
            ("unread ones, too", unread, "Neurons that nobody reads are removed"),
            ("biases swapped", fold(end=lambda n, o: (n[0], n[1], n[3], n[2])), "The last two are swapped"),
            ("weights first", fold(end=lambda n, o: (n[0], n[2], n[1], n[3])), "Weights come first here"),
            ("first ablated only", fold(dead=only_first), "The function is the same, but neurons without"),
            ("none, folded twice", fold(end=lambda n, o: (*o[:3], 2 * n[3])), "your hidden layer: 1 of 3"),
            ("one too few", fold(end=one_too_few), "By what do you tell that a neuron is ablated"),
            ("a layer's shape", fold(end=lambda n, o: (n[0], o[1], n[2], n[3])), "Do these fit together"),
            ("three", fold(end=lambda n, o: n[:3]), "You return 3 things"),
            ("the mean of the ablated", fold(more=lambda w, c: w @ c / max(len(c), 1)), "each neuron that is gone add to it"),
            ("shifted", fold(more=lambda w, c: w @ np.roll(c, 1)), "each neuron that is gone add to it"),
            ("last output off", fold(end=lambda n, o: (*n[:3], n[3] + (np.arange(len(n[3])) == 1))), "with the bias -0.07 is"),
            ("NaN", fold(more=lambda w, c: w @ c * np.nan), "each neuron that is gone add to it"),
        ]
    ),
]  # fmt: skip
