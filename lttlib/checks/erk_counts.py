"""Check of the exercise on live weights per layer after Erdős–Rényi-Kernel.

A layer of n weights gets the density d = c * (sum of its sides) / (product of its sides), c solved so that all layers
together have the density asked for. A layer that would pass 1 is dense, and c is solved again for the others, until none
passes 1. It keeps n - floor((1 - d) n) weights. Evci et al. 2020, arXiv:1911.11134.
"""

import math

import numpy as np

from lttlib.checks.answers import Exercise, Mistake, Tried, numbers, returns


def _erk_cases(rng):
    """(shapes, density): c solved once, twice, three and four times; perceptrons, convolutions, a large network.

    No d * n is near a whole number and no d near 1, so that no way of computing them decides a verdict.
    """
    three = {"first": (64, 64), "second": (128, 64), "third": (64, 128), "output": (10, 64)}
    steep = {"first": (300, 200), "second": (11, 300), "third": (3, 11), "output": (2, 3)}
    chain = {"first": (60, 4), "second": (6, 60), "third": (8, 6), "fourth": (24, 8), "output": (40, 24)}
    small = {"conv1": (16, 3, 3, 3), "conv2": (32, 16, 3, 3), "wide": (64, 32, 1, 1), "output": (10, 64)}
    fully = {"first": (120, 400), "second": (84, 120), "output": (10, 84)}
    lenet = {"conv1": (6, 1, 5, 5), "conv2": (16, 6, 5, 5), **fully}
    large = {"conv": (64, 3, 3, 3), "first": (4099, 25_087), "second": (4095, 4099), "output": (1001, 4095)}
    drawn = {f"layer{k}": tuple(int(side) for side in rng.integers(20, 90, size=2)) for k in range(5)}
    return [
        ({"hidden": (6, 8), "output": (3, 6)}, 0.4),
        ({"only": (7, 9)}, 0.35),
        (steep, 0.2),
        (chain, 0.699),
        (three, 0.03),
        (small, 0.5),
        (lenet, 0.05),
        (lenet, 0.35),
        (drawn, 0.21),
        (large, 0.35),
    ]


def _raw(shape):
    return sum(shape) / math.prod(shape)


def _densities(shapes, density, *, raw=_raw, size=math.prod, budget=math.fsum, rounds=99, charge=True, clip=True):
    """The densities with a part replaced.

    size: how much a layer weighs in the total. budget: of the layers' parts of it. rounds: how often c is solved again. charge: do dense layers use up a part
    of the budget? clip: is 1 the most, at the end?
    """
    total = budget([density * size(shape) for shape in shapes.values()])
    dense: set[str] = set()
    for remaining in range(rounds, -1, -1):
        sparse = [name for name in shapes if name not in dense]
        if not sparse:
            break
        left = total - charge * sum(size(shapes[name]) for name in dense)
        c = left / sum(raw(shapes[name]) * size(shapes[name]) for name in sparse)
        over = {name for name in sparse if c * raw(shapes[name]) > 1}
        if not over or not remaining:
            break
        dense |= over
    found = {name: 1.0 if name in dense else c * raw(shape) for name, shape in shapes.items()}
    return {name: min(d, 1.0) for name, d in found.items()} if clip else found


def _keep(n, d):
    return n - math.floor((1 - d) * n + 1e-9)


def _counts(count=_keep, **wrong):
    """Live weights per layer, with a part replaced."""

    def answer(shapes, density):
        found = _densities(shapes, density, **wrong)
        return {name: count(math.prod(shape), found[name]) for name, shape in shapes.items()}

    return answer


_reference = _counts()


def _numbers(value):
    """The values of a dict as floats; text, say, is an error, put in words."""
    return {name: float(np.asarray(count).astype(np.float64, casting="same_kind")) for name, count in value.items()}


def _judge(case, value):
    shapes, density = case
    asked = f"For shapes = {shapes} and density = {density} you return "
    if not isinstance(value, dict) or value.keys() != shapes.keys():
        what = (
            f"the names {', '.join(map(str, value))}"
            if isinstance(value, dict) and value
            else f"a {type(value).__name__}"
        )
        return f"{asked}{what}. The task asks for a dict with a number for every layer: which number belongs to which?"
    found = _numbers(value)
    if found == _reference(*case):
        return None
    counts = f"{asked}{numbers(found)}. "
    size = {name: math.prod(shape) for name, shape in shapes.items()}
    for name, count in found.items():
        if not 0 <= count <= size[name] or count != math.floor(count):
            return f"{counts}How many of the {size[name]} weights of layer {name!r} can live, in whole numbers?"
    short = density * sum(size.values()) - sum(found.values())
    if not -len(shapes) <= short <= 0:
        return (
            f"{counts}Together that is {numbers(sum(found.values()) / sum(size.values()))} of all weights. If a layer cannot hold its part of the "
            "budget, or rounding leaves a rest, where does it go?"
        )
    return (
        f"{counts}The sum is near density times all weights, but not every layer has its own part. How does its density depend on all "
        "of its sides, and how does the task round?"
    )


def _nearly(tried: Tried) -> bool:
    return all(
        abs(_numbers(value)[name] - right) <= 1e-5 * right
        for case, value in tried
        for name, right in _reference(*case).items()
    )


def _all_of(says, *wrongs):
    """One message for several ways to the same mistake."""
    return tuple(returns(wrong, says, tolerance=1e-9) for wrong in wrongs)


def _one(shape):
    return 1


check_erk_counts = Exercise(
    "erk_counts",
    _erk_cases,
    _judge,
    "one layer to five, perceptrons and convolutions, c solved once to four times, up to 124 million weights",
    (
        *_all_of(
            "The kernel's sides play no part in your density: this is Erdős–Rényi without Kernel. Which sides enter the sum and the product?",
            _counts(raw=lambda shape: _raw(shape[:2])),
            _counts(raw=lambda shape: _raw(shape[:2]), rounds=0),
            lambda shapes, density: _reference({name: shape[:2] for name, shape in shapes.items()}, density),
        ),
        *_all_of(
            "The kernel's sides are in one half of your fraction alone. In which halves does the task have them?",
            *(
                _counts(raw=raw, rounds=rounds)
                for raw in (
                    lambda shape: sum(shape[:2]) / math.prod(shape),
                    lambda shape: sum(shape) / math.prod(shape[:2]),
                )
                for rounds in (99, 0)
            ),
        ),
        *_all_of(
            "Some layers hold more weights than they have: their density passes 1. What becomes of such a layer, and of what it cannot hold?",
            _counts(rounds=0, clip=False),
            _counts(rounds=1, clip=False),
        ),
        *_all_of(
            "Layers that would pass 1 are cut off at 1, and what they cannot hold is lost. Who gets it?",
            _counts(rounds=0),
        ),
        *_all_of(
            "You solve for c once more, and then another layer passes 1 and is cut off. When is it safe to stop?",
            _counts(rounds=1),
        ),
        *_all_of(
            "c is solved again as if the dense layers cost nothing. What is left of the budget once they are paid?",
            _counts(charge=False),
            _counts(charge=False, rounds=1),
            _counts(charge=False, rounds=1, clip=False),
        ),
        *_all_of(
            "Your densities average to the density asked for, whatever the sizes of the layers. Which sum must come out right, that of densities or of weights?",
            _counts(size=_one),
            _counts(size=_one, rounds=0),
            _counts(size=_one, rounds=0, clip=False),
            lambda shapes, density: {
                name: _keep(math.prod(shape), min(1.0, density * _raw(shape) / np.mean([*map(_raw, shapes.values())])))
                for name, shape in shapes.items()
            },
        ),
        *_all_of(
            "Large layers are the densest here: the fraction is upside down. Which of the two, sum or product, grows faster with the sides?",
            _counts(raw=lambda shape: 1 / _raw(shape)),
            _counts(raw=lambda shape: 1 / _raw(shape), rounds=0),
            _counts(raw=lambda shape: 1 / _raw(shape), rounds=0, clip=False),
            _counts(raw=math.prod),
            _counts(raw=math.prod, rounds=0),
        ),
        *_all_of(
            "Your density grows with the sum of the sides. What stands below the fraction line?",
            _counts(raw=sum),
            _counts(raw=sum, rounds=0),
        ),
        *_all_of(
            "Every layer gets about the same number of weights here, whatever the sum of its sides. What stands above the fraction line?",
            _counts(raw=lambda shape: 1 / math.prod(shape)),
            _counts(raw=lambda shape: 1 / math.prod(shape), rounds=0),
        ),
        *_all_of(
            "Your density goes with 1 − sum/product. RigL's paper writes that for a layer's *sparsity*: what is it for the density?",
            _counts(raw=lambda shape: 1 - _raw(shape)),
            _counts(raw=lambda shape: 1 - _raw(shape), rounds=0),
        ),
        *_all_of("All layers have the same density here. Which layers should be the densest?", _counts(raw=_one)),
        *_all_of(
            "You round down what lives. Which number does the task round down?",
            _counts(lambda n, d: math.floor(d * n + 1e-9)),
        ),
        *_all_of(
            "You round to the nearest whole number. Which number does the task round, and which way?",
            _counts(lambda n, d: round(d * n)),
        ),
        *_all_of(
            "You do not round. Can a part of a weight live?",
            _counts(lambda n, d: d * n),
        ),
        *_all_of(
            "The budget is rounded before c is solved, as a whole or in every layer, as in RigL's own code. What is it that the task rounds, and when?",
            _counts(budget=lambda parts: sum(map(math.ceil, parts))),
            _counts(budget=lambda parts: math.floor(sum(parts))),
            _counts(budget=lambda parts: math.ceil(sum(parts))),
            _counts(budget=lambda parts: round(sum(parts))),
        ),
        *_all_of("These are densities. Does the task ask for shares or for counts?", _densities),
        *_all_of("These are the dead weights. Which ones does the task count?", _counts(lambda n, d: n - _keep(n, d))),
        *_all_of(
            "You take density for the share that goes. Which of the two is it?",
            lambda shapes, density: _reference(shapes, 1 - density),
        ),
        Mistake(
            "Right to five digits, but not in the large layers. In which dtype do you count: which whole numbers does float32 have above 16 million?",
            _nearly,
        ),
    ),
)
