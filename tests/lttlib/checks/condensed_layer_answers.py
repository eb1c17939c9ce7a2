"""Right and wrong answers to the exercise on a condensed layer with ablated neurons."""

import numpy as np
import torch
from lttkernels.condensed import Condensed, reference_linear
from proof import Answer, solutions

from lttlib.checks.condensed_layer import check_condensed_forward

condensed_forward = solutions("structured_rigl").condensed_forward
NOTE = "On its way your function holds as many numbers as the dense weight"


def by_loops(values, indices, rows, bias, x, out_features):
    answers = []
    for sample in x.tolist():
        answer = bias.tolist()
        for row, row_values, row_indices in zip(rows.tolist(), values.tolist(), indices.tolist(), strict=True):
            answer[row] += sum(v * sample[i] for v, i in zip(row_values, row_indices, strict=True))
        answers.append(answer)
    return answers


def by_the_kernels_reference(values, indices, rows, bias, x, out_features):
    weights = Condensed(
        values.astype(np.float32), indices.astype(np.uint16), rows.astype(np.uint32), (out_features, x.shape[1])
    )
    return reference_linear(x, weights, bias)


def slot_by_slot(values, indices, rows, bias, x, out_features):
    """In single precision, from the last slot to the first, in torch."""
    sums = np.zeros((len(x), len(rows)), dtype=np.float32)
    for s in reversed(range(values.shape[1])):
        sums += x.astype(np.float32)[:, indices[:, s]] * values.astype(np.float32)[:, s]
    y = torch.tensor(bias).float().repeat(len(x), 1)
    return y.index_add(1, torch.tensor(rows), torch.tensor(sums))


def surviving_rows(values, indices, rows, bias, x, out_features):
    """A dense weight of the surviving rows alone: (n, in), which is little where few survive."""
    weight = np.zeros((len(rows), x.shape[1]))
    np.put_along_axis(weight, indices, values, axis=1)
    y = np.repeat(bias[None], len(x), axis=0)
    y[:, rows] += x @ weight.T
    return y


def one_at_a_time(values, indices, rows, bias, x, out_features):
    """Every product at its place: np.add.at adds up where a place comes more than once."""
    y = np.repeat(bias[None], len(x), axis=0)
    places = np.repeat(rows, values.shape[1])
    np.add.at(y.T, places, values.ravel()[:, None] * x.T[indices.ravel()])
    return y


def dense_weight(dtype):
    def answer(values, indices, rows, bias, x, out_features):
        weight = np.zeros((out_features, x.shape[1]), dtype=dtype)
        for row, row_values, row_indices in zip(rows, values, indices, strict=True):
            weight[row, row_indices] = row_values
        return x @ weight.T + bias

    return answer


def one_hot(values, indices, rows, bias, x, out_features):
    y = np.repeat(bias[None], len(x), axis=0)
    y[:, rows] += x @ np.einsum("nk,nki->in", values, np.eye(x.shape[1])[indices])
    return y


def bool_mask(values, indices, rows, bias, x, out_features):
    mask = np.zeros((out_features, x.shape[1]), dtype=bool)
    mask[rows[:, None], indices] = True
    assert mask.sum() == values.size
    return condensed_forward(values, indices, rows, bias, x, out_features)


def no_room(values, indices, rows, bias, x, out_features):
    if out_features > 100:
        raise MemoryError
    return dense_weight(float)(values, indices, rows, bias, x, out_features)


def bytes_as_indices(values, indices, rows, bias, x, out_features):
    """Fails for the large layer, whose answer nobody asks for."""
    if x.shape[1] > 1000:
        raise ValueError("too large")
    return condensed_forward(values, indices, rows, bias, x, out_features)


def sums(values, indices, x):
    return (x[:, indices] * values).sum(2)


def adding(what, start=lambda bias: bias):
    """start(bias) for each sample, and what(values, indices, rows, bias, x) added at rows."""

    def forward(values, indices, rows, bias, x, out_features):
        y = np.repeat(start(bias)[None], len(x), axis=0)
        y[:, rows] += what(values, indices, rows, bias, x)
        return y

    return forward


def assigning(what, start=lambda bias: bias, at=lambda rows: rows):
    def forward(values, indices, rows, bias, x, out_features):
        y = np.repeat(start(bias)[None], len(x), axis=0)
        y[:, at(rows)] = what(values, indices, rows, bias, x)
        return y

    return forward


def front(rows):
    return np.arange(len(rows))


def in_front(values, indices, rows, bias, x, out_features):
    y = np.repeat(bias[None], len(x), axis=0)
    y[:, : len(rows)] += sums(values, indices, x)
    return y


def by_row_sum(values, indices, rows, bias, x, out_features):
    alive = values.sum(1) != 0
    return condensed_forward(values[alive], indices[alive], rows[alive], bias, x, out_features)


def last_product(values, indices, rows, bias, x, out_features):
    y = np.repeat(bias[None], len(x), axis=0)
    places = np.repeat(rows, values.shape[1])
    y[:, places] += x[:, indices.ravel()] * values.ravel()
    return y


def transposed_layer(values, indices, rows, bias, x, out_features):
    y = np.repeat(bias[None], len(x), axis=0)
    for i, row in enumerate(rows):
        for s, index in enumerate(indices[i]):
            y[:, index] += values[i, s] * x[:, row]
    return y


def transposed_layer_at_once(values, indices, rows, bias, x, out_features):
    y = np.repeat(bias[None], len(x), axis=0)
    y[:, indices] += x[:, rows][:, :, None] * values
    return y


def samples_picked(values, indices, rows, bias, x, out_features):
    y = np.repeat(bias[None], x.shape[1], axis=0)
    y[:, rows] += (x[indices] * values[..., None]).sum(1).T
    return y


def into_the_bias(values, indices, rows, bias, x, out_features):
    bias[rows] += sums(values, indices, x)[0]
    return np.repeat(bias[None], len(x), axis=0)


def one_by_one(values, indices, rows, bias, x, out_features):
    """Refuses to run where no neuron survives."""
    y = np.repeat(bias[None], len(x), axis=0)
    y[:, rows] += np.stack([x[:, i] @ v for i, v in zip(indices, values, strict=True)], axis=1)
    return y


CONDENSED = [
    *(
        Answer(check_condensed_forward, name, function)
        for name, function in [
            ("solution", condensed_forward),
            ("by loops, as lists", by_loops),
            ("the kernels' reference", by_the_kernels_reference),
            ("slot by slot, float32, torch", slot_by_slot),
            ("surviving rows", surviving_rows),
            ("one product at a time", one_at_a_time),
            ("fails where nothing is asked", bytes_as_indices),
        ]
    ),
    *(
        Answer(check_condensed_forward, name, function, "right", NOTE)
        for name, function in [
            ("by the dense weight", dense_weight(float)),
            ("by the dense weight, float32", dense_weight(np.float32)),
            ("one-hot", one_hot),
            ("by a mask", bool_mask),
            ("no room", no_room),
        ]
    ),
    *(
        Answer(check_condensed_forward, name, function, "wrong", says)
        for name, function, says in [
            ("(out, batch)", lambda *case: condensed_forward(*case).T, "This is (out, batch)"),
            ("no bias", adding(lambda v, i, r, b, x: sums(v, i, x), np.zeros_like), "The bias is nowhere"),
            ("no bias of the ablated", adding(lambda v, i, r, b, x: sums(v, i, x) + b[r], np.zeros_like), "their bias is lost"),
            ("bias twice", adding(lambda v, i, r, b, x: sums(v, i, x) + b[r]), "their bias twice"),
            ("bias overwritten", assigning(lambda v, i, r, b, x: sums(v, i, x)), "Only ablated neurons have their bias"),
            ("first biases", assigning(lambda v, i, r, b, x: sums(v, i, x) + b[: len(r)]), "Which bias is its own"),
            ("first biases, others 0", assigning(lambda v, i, r, b, x: sums(v, i, x) + b[: len(r)], np.zeros_like), "Which bias is its own"),
            ("rows ignored", in_front, "What is `rows` for"),
            ("rows ignored, biases right", assigning(lambda v, i, r, b, x: sums(v, i, x) + b[r], at=front), "What is `rows` for"),
            ("rows ignored, others 0", assigning(lambda v, i, r, b, x: sums(v, i, x) + b[: len(r)], np.zeros_like, front), "What is `rows` for"),
            ("survivors only", lambda v, i, r, b, x, out: sums(v, i, x) + b[r], "one column for each surviving neuron. "),
            ("sums only", lambda v, i, r, b, x, out: sums(v, i, x), "surviving neuron, and no bias"),
            ("by row sum", by_row_sum, "whose values add up to 0 counts as ablated"),
            ("last product", last_product, "Each neuron gets one product only"),
            ("sorted indices", adding(lambda v, i, r, b, x: sums(v, np.sort(i), x)), "You sort the indices of a neuron"),
            ("first inputs", adding(lambda v, i, r, b, x: x[:, : v.shape[1]] @ v.T), "What are `indices` for"),
            ("ReLU", lambda *case: condensed_forward(*case).clip(0), "Does the task ask for a ReLU"),
            ("a mean", adding(lambda v, i, r, b, x: sums(v, i, x) / v.shape[1]), "Which entries of x belong to which value"),
            ("bytes", adding(lambda v, i, r, b, x: sums(v, i.astype(np.uint8), x)), "Which entries of x belong"),
            ("one sample for all", adding(lambda v, i, r, b, x: sums(v, i, x)[:1]), "Which entries of x belong"),
            ("sorted values", adding(lambda v, i, r, b, x: sums(np.sort(v), i, x)), "Which entries of x belong"),
            ("NaN", lambda *case: condensed_forward(*case) * np.nan, "that has no live weight?"),
            ("values alone", lambda v, i, r, b, x, out: v, "adds, removes or swaps axes"),
            ("bias doubled where ablated", lambda *case: condensed_forward(*case) + np.isin(np.arange(case[5]), case[2], invert=True), "What does a neuron answer that has no live weight?"),
        ]
    ),
    Answer(check_condensed_forward, "into the bias", into_the_bias, "error", "writes into one of its arguments"),
    Answer(check_condensed_forward, "the transposed layer", transposed_layer, "error", "names inputs, which outputs"),
    Answer(check_condensed_forward, "the transposed layer at once", transposed_layer_at_once, "error", "names inputs, which outputs"),
    Answer(check_condensed_forward, "samples picked", samples_picked, "error", "Along which axis of x"),
    Answer(check_condensed_forward, "sum over neurons", adding(lambda v, i, r, b, x: np.einsum("bnk,nk->bk", x[:, i], v)), "error", "The sum runs over the neurons"),
    Answer(check_condensed_forward, "stack of no rows", one_by_one, "error", "need at least one array to stack"),
]  # fmt: skip
