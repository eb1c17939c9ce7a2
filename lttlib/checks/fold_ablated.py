"""Check of the exercise on ablated neurons that go for good: what they answer is a constant, which the next layer absorbs.

    W2 relu(W1 x + b1) + b2 = W2[:, alive] relu(W1[alive] x + b1[alive]) + (b2 + W2[:, dead] relu(b1[dead]))

dead: rows of W1 without a live weight. The answer is judged by the function that it computes, so in any order of neurons.
"""

import numpy as np

from lttlib.checks.answers import Exercise, Mistake, numbers, returns, same
from lttlib.checks.read_only import WRITTEN, read_only

NAMES = "weight", "bias", "next_weight", "next_bias"


def _fold_cases(rng):
    """(weight, bias, next_weight, next_bias): some neurons ablated, none, all; rows that add up to 0, single live weights.

    Half of the ablated have a bias above 0, half below, one exactly 0. A live neuron has a bias of 0, and one is not read.
    """

    def drawn(inputs, hidden, out, ablated, fan_in):
        sizes = rng.uniform(0.1, 2, size=(hidden, inputs)) * rng.choice([-1, 1], size=(hidden, inputs))
        weight = np.where(rng.permuted(np.tile(np.arange(inputs) < fan_in, (hidden, 1)), axis=1), sizes, 0)
        bias, next_weight = rng.normal(size=hidden), rng.normal(size=(out, hidden))
        dead, alive = np.split(rng.permutation(hidden), [ablated])
        weight[dead] = 0
        bias[dead] = np.abs(bias[dead]) * np.resize([1, -1], ablated)
        if fan_in % 2 == 0 and len(alive):
            weight[alive[0], np.flatnonzero(weight[alive[0]])] = np.resize([0.75, -0.75], fan_in)
        if ablated > 3:
            bias[dead[3]] = 0
        if len(alive) > 2:
            bias[alive[1]] = 0
            next_weight[:, alive[2]] = 0
        arrays = weight, bias, next_weight, rng.normal(size=out)
        return tuple(read_only(array.round(2)) for array in arrays)

    sizes = [
        (2, 3, 2, 1, 2),
        (3, 4, 2, 2, 2),
        (4, 5, 3, 0, 2),
        (3, 6, 2, 2, 1),
        (5, 8, 3, 4, 4),
        (4, 6, 3, 6, 2),
        (30, 40, 10, 13, 4),
    ]
    return [drawn(*shape) for shape in sizes]


def _run(layers, x):
    """The two layers for x (samples, in)."""
    weight, bias, next_weight, next_bias = layers
    return np.maximum(x @ weight.T + bias, 0) @ next_weight.T + next_bias


def _inputs(weight):
    """Samples that tell two networks apart."""
    return np.random.default_rng(0).normal(size=(20, weight.shape[1])).round(2)


def _alive(weight):
    return weight.any(1)


def _folded(
    weight,
    bias,
    next_weight,
    next_bias,
    *,
    gone=lambda weight: ~_alive(weight),
    constant=lambda bias: np.maximum(bias, 0),
):
    """The four arrays. gone(weight): neurons that are removed; constant(their biases): what they are taken to answer."""
    dead = gone(weight)
    return weight[~dead], bias[~dead], next_weight[:, ~dead], next_bias + next_weight[:, dead] @ constant(bias[dead])


def _answer(change=lambda folded, case: folded, **wrong):
    """change(the folded arrays, the case)."""
    return lambda *case: change(_folded(*case, **wrong), case)


def _judge(case, value):
    if len(value) != 4:
        return f"You return {len(value)} things. Which four arrays does the task ask for?"
    layers = [np.asarray(part).astype(np.float64, casting="same_kind") for part in value]
    shapes = [part.shape for part in layers]
    hidden = layers[1].size
    if shapes != [(hidden, case[0].shape[1]), (hidden,), (len(case[3]), hidden), case[3].shape]:
        named = ", ".join(f"{name} {shape}" for name, shape in zip(NAMES, shapes, strict=True))
        return f"You return {named}. Do these fit together to two layers with the inputs and outputs of the old ones?"
    return _judge_neurons(case, layers) or _judge_function(case, layers)


def _judge_neurons(case, layers):
    """Which neurons are still there."""
    weight = layers[0]
    idle = int((~_alive(weight)).sum())
    if idle:
        equal = same(_run(layers, _inputs(case[0])), _run(case, _inputs(case[0])))
        return (
            f"{'The function is the same, but neurons' if equal else 'Neurons'} without a live weight are still in your hidden layer: "
            f"{idle} of {len(weight)}. What do they answer, and who can do without them?"
        )
    if len(weight) < _alive(case[0]).sum():
        return (
            f"From the layer with the weights {numbers(case[0])} neurons with live weights have gone, too; your hidden layer has "
            f"{len(weight)}. By what do you tell that a neuron is ablated?"
        )
    return None


def _judge_function(case, layers):
    x = _inputs(case[0])
    found, expected = _run(layers, x), _run(case, x)
    if same(found, expected):
        return None
    off = np.abs(found - expected)  # NaN is furthest off
    sample, output = np.unravel_index(off.argmax(), off.shape)
    return (
        f"For weight = {numbers(case[0])} and bias = {numbers(case[1])} the network answers something else than before: at the input "
        f"x = {numbers(x[sample].tolist())} the output with the bias {numbers(float(case[3][output]))} is {numbers(float(found[sample, output]))}. What did "
        "each neuron that is gone add to it, through the ReLU?"
    )


_BY_SUM = "A neuron whose weights add up to 0 is taken for ablated. Is it, if its weights are 0.75 and −0.75?"
_COLUMNS = "The rows are gone, but next_weight still has a column for each of them. Which of its columns belong to which neurons?"

check_fold_ablated = Exercise(
    "fold_ablated",
    _fold_cases,
    _judge,
    "three hidden neurons to forty, none ablated, some and all, with biases above 0 and below, live weights that add up to 0",
    (
        WRITTEN,
        Mistake(
            "A bool index meets an axis of another length. Which axis of weight, and which of next_weight, belongs to the hidden "
            "neurons?",
            lambda tried: isinstance(tried[-1][1], IndexError) and "boolean index did not match" in str(tried[-1][1]),
        ),
        returns(
            _answer(constant=lambda bias: bias),
            "Negative biases of ablated neurons arrive in the next layer. What comes between the two layers?",
        ),
        returns(
            _answer(constant=np.abs),
            "You add the size of the bias. What does a neuron answer whose bias is −2?",
        ),
        returns(
            _answer(constant=lambda bias: 0 * bias),
            "The biases of the ablated neurons are lost. What does a neuron answer whose weights are all 0?",
        ),
        returns(
            _answer(constant=lambda bias: -np.maximum(bias, 0)),
            "You subtract what the ablated neurons added. Which sign has it in the equation?",
        ),
        returns(
            _answer(constant=lambda bias: np.minimum(bias, 0)),
            "You keep the negative part of the biases. Which part does a ReLU let through?",
        ),
        *(
            returns(_answer(gone=lambda weight: np.abs(weight.sum(1)) < 1e-9, constant=constant), _BY_SUM)
            for constant in (lambda bias: np.maximum(bias, 0), lambda bias: bias, lambda bias: 0 * bias)
        ),
        returns(
            _answer(gone=lambda weight: ~weight.all(1)),
            "Neurons with a dead weight are removed here, and not only those without a live one. Which ones are ablated?",
        ),
        *(
            returns(_answer(lambda folded, case, after=after: (*folded[:2], case[2], after(folded, case))), _COLUMNS)
            for after in (lambda folded, case: folded[3], lambda folded, case: case[3])
        ),
        returns(
            _answer(lambda folded, case: (*case[:3], folded[3])),
            "The bias of the next layer has what the ablated neurons add, and they are still there to add it. How often does it arrive?",
        ),
        returns(
            _answer(lambda folded, case: (*case[:2], case[2] * _alive(case[0]), folded[3])),
            "The function is the same, but the ablated neurons are still there, cut off. Which rows and columns can go?",
        ),
        returns(lambda *case: case, "Nothing has changed. Which neurons are ablated?"),
        returns(
            _answer(lambda folded, case: (*folded[:3], case[3] + case[2] @ np.maximum(case[1], 0))),
            "All neurons' biases are in the next bias, those of the living, too. Whose answers are constant?",
        ),
        returns(
            _answer(lambda folded, case: (*folded[:3], case[3] + folded[2] @ np.maximum(folded[1], 0))),
            "The next bias gets what living neurons answer to x = 0. Whose answers are constant?",
        ),
        returns(
            _answer(
                lambda folded, case: (*folded[:3], case[3] + np.maximum(case[1], 0)[~_alive(case[0])].sum()),
            ),
            "Each output gets the sum of the ablated neurons' answers. With which weight does it read each of them?",
        ),
        returns(
            _answer(
                lambda folded, case: (
                    *folded[:3],
                    case[3] + np.maximum(case[2][:, ~_alive(case[0])] @ case[1][~_alive(case[0])], 0),
                )
            ),
            "Your ReLU comes after next_weight. Where does it stand between the two layers?",
        ),
        returns(
            lambda *case: _folded(*case, gone=lambda weight: ~_alive(weight) | ~np.asarray(case[2]).any(0)),
            "Neurons that nobody reads are removed, too. They can be spared, but are they ablated?",
        ),
        returns(
            _answer(lambda folded, case: (folded[0], folded[1], folded[3], folded[2])),
            "The last two are swapped. In which order does the task want them?",
        ),
        returns(
            _answer(lambda folded, case: (folded[0], folded[2], folded[1], folded[3])),
            "Weights come first here, then biases. In which order does the task want them?",
        ),
    ),
)
