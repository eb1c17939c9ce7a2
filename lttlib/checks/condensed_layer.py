"""Check of the exercise on a condensed layer with ablated neurons: what the masked dense layer answers, from live weights alone.

    y[b, rows[i]] = bias[rows[i]] + sum over j of values[i, j] x[b, indices[i, j]];  elsewhere y = bias

A right answer that builds the dense weight on its way is right, and is told what that costs.
"""

import copy
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lttlib.checks.answers import Exercise, Verdict, numbers, returns
from lttlib.checks.arrays import array_equals
from lttlib.checks.read_only import WRITTEN, read_only

LARGE = 2000  # inputs and outputs: one byte for each weight of the dense layer is 4 MB, a sample 16 kB


def _layer(rng, batch, inputs, out, survivors, fan_in):
    """(values, indices, rows, bias, x, out_features). The second neuron's values add up to 0, the indices have no order."""
    values = np.round(1024 * rng.normal(size=(survivors, fan_in))) / 1024  # so that sums are exact
    values[1:2, -1:] -= values[1:2].sum(1, keepdims=True)
    indices = rng.permuted(np.tile(np.arange(inputs), (survivors, 1)), axis=1)[:, :fan_in]
    rows = np.sort(rng.permutation(out)[:survivors])
    return (*map(read_only, (values, indices, rows, rng.normal(size=out), rng.normal(size=(batch, inputs)))), out)


def _layer_cases(rng):
    sizes = [
        (1, 2, 2, 1, 1),
        (3, 5, 4, 2, 2),
        (2, 6, 3, 3, 2),
        (4, 7, 6, 4, 3),
        (5, 4, 5, 2, 4),
        (2, 5, 4, 0, 2),
        (3, 300, 30, 17, 9),
    ]
    first, *rest = [_layer(rng, *shape) for shape in sizes]
    return [(*first[:1], read_only([[0]]), read_only([1]), *first[3:]), *rest]


def _reference(values, indices, rows, bias, x, out_features):
    """By way of the dense matrix, so by another road than most readers."""
    dense = np.zeros((out_features, x.shape[1]))
    dense[rows[:, None], indices] = values
    return x @ dense.T + bias


def _relation(case, found, place):
    values, indices, rows, bias, x, _ = case
    sample, output = place
    asked = f"For the sample x = {numbers(x[sample])} the neuron with the bias {numbers(float(bias[output]))} answers {numbers(float(found[place]))} for you. "
    at = np.flatnonzero(rows == output)
    if not len(at):
        return f"{asked}`rows` does not name it. What does a neuron answer that has no live weight?"
    return (
        f"{asked}Its values are {numbers(values[at[0]])}, its inputs {numbers(indices[at[0]])}, both in the place where `rows` names "
        "it. Which entries of x belong to which value?"
    )


def _sums(values, indices, x):
    return np.einsum("bnk,nk->bn", x[:, indices], values)


def _written(then, start=lambda bias: bias, sums=_sums):
    """An answer that starts from start(bias) for each sample; then(y, sums, rows, bias, values) writes the sums into it."""

    def wrong(values, indices, rows, bias, x, out_features):
        y = np.tile(start(bias), (len(x), 1))
        then(y, sums(values, indices, x), rows, bias, values)
        return y

    return wrong


def _set(place, value):
    """A step that assigns: y[:, place(rows)] = value(sums, rows, bias)."""

    def step(y, sums, rows, bias, values):
        y[:, place(rows)] = value(sums, rows, bias)

    return step


def _add(y, sums, rows, bias, values):
    y[:, rows] += sums


def _add_at_front(y, sums, rows, bias, values):
    y[:, : len(rows)] += sums


def _add_with_bias(y, sums, rows, bias, values):
    y[:, rows] += sums + bias[rows]


def _add_where_sum(y, sums, rows, bias, values):
    """Judges by the sum of its values whether a neuron is alive."""
    alive = np.abs(values.sum(1)) > 1e-9
    y[:, rows[alive]] += sums[:, alive]


def _front(rows):
    return slice(0, len(rows))


def _transposed(lose):
    """Reads where it should write. lose: of several products for one output only the last arrives, as with `+=`."""

    def wrong(values, indices, rows, bias, x, out_features):
        y = np.tile(bias, (len(x), 1))
        places, products = indices.ravel(), (x[:, rows, None] * values).reshape(len(x), -1)
        if lose:
            y[:, places] += products
        else:
            np.add.at(y, (slice(None), places), products)
        return y

    return wrong


def _samples_gathered(values, indices, rows, bias, x, out_features):
    y = np.tile(bias, (x.shape[1], 1))
    y[:, rows] += np.einsum("nkb,nk->bn", x[indices], values)
    return y


_NO_COLUMNS = "There is one column for each surviving neuron{}. Where are the ablated ones?"
_LAST_ONLY = "Each neuron gets one product only, its last. What does y[:, places] += products do where a place comes more than once?"
_TRANSPOSED = "This is the transposed layer: it reads x at `rows` and writes at `indices`. Which of the two names inputs, which outputs?"
_FRONT = "The first sums go to the first outputs, as if no neuron had been ablated. What is `rows` for?"


@dataclass(frozen=True)
class CondensedExercise(Exercise):
    """An exercise whose right answers are told if they build the dense weight."""

    def _examine(self, answer: Callable) -> Verdict:
        verdict = super()._examine(answer)
        if verdict.status != "right" or not _builds_dense(answer):
            return verdict
        return Verdict(
            "right",
            f"{verdict.text} On its way your function holds as many numbers as the dense weight has. That is right all the same: but "
            "what is left of the memory that the condensed layer saves?",
        )


def _builds_dense(answer: Callable) -> bool:
    """Whether a call for a large layer with few live weights takes a byte or more for each weight of the dense one."""
    given = copy.deepcopy(_layer(np.random.default_rng(0), 1, LARGE, LARGE, 4, 3))
    if tracemalloc.is_tracing():
        return False
    tracemalloc.start()
    try:
        answer(*given)
        return tracemalloc.get_traced_memory()[1] >= LARGE**2
    except MemoryError:
        return True
    except Exception:  # right for all the cases: not what is asked here
        return False
    finally:
        tracemalloc.stop()


check_condensed_forward = CondensedExercise(
    "condensed_forward",
    _layer_cases,
    array_equals(_reference, _relation),
    "batches of 1 to 5, every neuron alive, some ablated and all, values that add up to 0, unsorted indices",
    (
        WRITTEN,
        returns(lambda *case: _reference(*case).T, "This is (out, batch). Which axis comes first in the task?"),
        returns(
            _samples_gathered,
            "The indices pick samples here. Along which axis of x (batch, in) are the inputs?",
        ),
        returns(_transposed(lose=False), _TRANSPOSED),
        returns(_transposed(lose=True), _TRANSPOSED),
        returns(
            _written(_add, sums=lambda values, indices, x: np.einsum("bnk,nk->bk", x[:, indices], values)),
            "The sum runs over the neurons. Which axis of `values` (n, k) belongs to one neuron?",
        ),
        returns(
            _written(_set(lambda rows: rows, lambda sums, rows, bias: sums + bias[rows]), start=np.zeros_like),
            "Ablated neurons answer 0 here: their bias is lost. What is left of a neuron's equation if no weight is live?",
        ),
        returns(
            _written(_set(lambda rows: rows, lambda sums, rows, bias: sums)),
            "Only ablated neurons have their bias here. Which line writes over the others'?",
        ),
        returns(_written(_add, start=np.zeros_like), "The bias is nowhere. Where does it enter the equation?"),
        returns(_written(_add_with_bias), "Surviving neurons get their bias twice. Which two lines add it?"),
        *(
            returns(
                _written(_set(lambda rows: rows, lambda sums, rows, bias: sums + bias[: len(rows)]), start=start),
                "The first surviving neuron gets the first bias here, whatever its place in the layer. Which bias is its own?",
            )
            for start in (lambda bias: bias, np.zeros_like)
        ),
        returns(_written(_add_at_front), _FRONT),
        *(
            returns(
                _written(_set(_front, lambda sums, rows, bias, own=own: sums + own(bias, rows)), start=start), _FRONT
            )
            for start in (lambda bias: bias, np.zeros_like)
            for own in (lambda bias, rows: bias[rows], lambda bias, rows: bias[: len(rows)])
        ),
        returns(
            _written(_add_where_sum),
            "A neuron whose values add up to 0 counts as ablated here. Is it, if its values are 1 and −1?",
        ),
        returns(_written(_add, sums=lambda values, indices, x: x[:, indices[:, -1]] * values[:, -1]), _LAST_ONLY),
        returns(
            _written(_add, sums=lambda values, indices, x: _sums(values, np.sort(indices), x)),
            "You sort the indices of a neuron, and not its values. Which value belongs to which input then?",
        ),
        returns(
            _written(_add, sums=lambda values, indices, x: x[:, : values.shape[1]] @ values.T),
            "Every neuron reads the first inputs here. What are `indices` for?",
        ),
        returns(
            lambda *case: np.maximum(_reference(*case), 0),
            "Nothing below 0 comes out. Does the task ask for a ReLU?",
        ),
        returns(
            lambda values, indices, rows, bias, x, out_features: _sums(values, indices, x) + bias[rows],
            _NO_COLUMNS.format(""),
        ),
        returns(
            lambda values, indices, rows, bias, x, out_features: _sums(values, indices, x),
            _NO_COLUMNS.format(", and no bias"),
        ),
    ),
)
