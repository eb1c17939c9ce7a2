"""Right and wrong answers to the exercises of "What makes sparsity fast", and what each is told."""

import math

import numpy as np
import pytest
import torch
from condensed_forward_answers import FORWARD
from crossover_density_answers import CROSSOVER
from lttkernels.lookup import make_lookup
from lttkernels.lookup_loops import BLOCK
from proof import Answer, enough, fails_as_unforeseen, prove, solutions, unproven
from slots_and_rest_answers import SLOTS

from lttlib.checks.crossover_density import check_crossover_density
from lttlib.checks.what_makes_sparsity_fast import check_arithmetic_intensity, check_roofline_time

SOLVED = solutions("what_makes_sparsity_fast")
NAMES = ("arithmetic_intensity", "roofline_time", "condensed_forward", "crossover_density", "slots_and_rest")
RIGHT = {name: getattr(SOLVED, name) for name in NAMES}

# 1 arithmetic_intensity


def by_arrays(rows, columns, fan_in, batch, value_bytes, index_bytes):
    value, index = f"V{value_bytes}", f"V{max(index_bytes, 1)}"
    arrays = [np.empty((rows, fan_in), value), np.empty((columns, batch), value), np.empty((rows, batch), value)]
    indices = np.empty((rows, fan_in), index).nbytes if index_bytes else 0
    return np.float64(2 * rows * fan_in * batch) / (sum(array.nbytes for array in arrays) + indices)


def by_the_weight(rows, columns, fan_in, batch, v, i):
    """Bytes and operations per live weight."""
    return 2 / ((v + i) / batch + v * (1 / fan_in + columns / (rows * fan_in)))


def with_bytes(moved, *, operations=2):
    return lambda r, c, k, b, v, i: operations * r * k * b / moved(r, c, k, b, v, i)


INTENSITY = [
    Answer(check_arithmetic_intensity, "solution", SOLVED.arithmetic_intensity),
    Answer(check_arithmetic_intensity, "numpy's own bytes", by_arrays),
    Answer(check_arithmetic_intensity, "by the weight", by_the_weight),
    Answer(check_arithmetic_intensity, "as a tensor", lambda *c: torch.tensor(SOLVED.arithmetic_intensity(*c))),
    *(
        Answer(check_arithmetic_intensity, name, function, "wrong", says)
        for name, function, says in [
            (
                "multiply-adds",
                with_bytes(lambda r, c, k, b, v, i: r * k * (v + i) + (r + c) * b * v, operations=1),
                "are one operation here",
            ),
            ("no indices", with_bytes(lambda r, c, k, b, v, i: r * k * v + (r + c) * b * v), "indices are missing"),
            (
                "int64 indices",
                with_bytes(lambda r, c, k, b, v, i: r * k * (v + 8) + (r + c) * b * v),
                "indices have eight",
            ),
            (
                "float64",
                with_bytes(lambda r, c, k, b, v, i: r * k * (8 + i) + (r + c) * b * 8),
                "values have eight bytes",
            ),
            ("no x", with_bytes(lambda r, c, k, b, v, i: r * k * (v + i) + r * b * v), "x is missing"),
            ("no y", with_bytes(lambda r, c, k, b, v, i: r * k * (v + i) + c * b * v), "y is missing"),
            ("weights only", with_bytes(lambda r, c, k, b, v, i: r * k * (v + i)), "Only the weights move"),
            ("inverted", lambda *case: 1 / SOLVED.arithmetic_intensity(*case), "ratio is inverted"),
            ("operations of one sample", lambda *c: SOLVED.arithmetic_intensity(*c) / c[3], "How often is each weight"),
            (
                "one x and y",
                with_bytes(lambda r, c, k, b, v, i: r * k * (v + i) + (r + c) * v),
                "x and y are those of one",
            ),
            ("sample by sample", lambda r, c, k, b, v, i: SOLVED.arithmetic_intensity(r, c, k, 1, v, i), "read again"),
            (
                "zeros counted",
                lambda r, c, k, *rest: SOLVED.arithmetic_intensity(r, c, k, *rest) * c / k,
                "by zero",
            ),
            (
                "x for each weight",
                with_bytes(lambda r, c, k, b, v, i: r * k * (v + i) + (r * k + r) * b * v),
                "x is counted once for each live weight",
            ),
            ("per bit", lambda *case: SOLVED.arithmetic_intensity(*case) / 8, "per bit"),
            ("always dense", lambda r, c, k, b, v, i: SOLVED.arithmetic_intensity(r, c, c, b, v, 0), "Four things"),
            ("bytes", lambda r, c, k, b, v, i: r * k * (v + i) + (r + c) * b * v, "Four things"),
            ("integer division", lambda *case: int(SOLVED.arithmetic_intensity(*case)), "Four things"),
            ("text", lambda *case: "high", "of type str"),
        ]
    ),
]

# 2 roofline_time


def by_the_roof(flops, moved_bytes, peak, bandwidth):
    return flops / (1e9 * np.minimum(peak, bandwidth * flops / moved_bytes))


def by_the_ridge(flops, moved_bytes, peak, bandwidth):
    if flops / moved_bytes < peak / bandwidth:
        return moved_bytes / bandwidth * 1e-9
    return flops / peak * 1e-9


ROOFLINE = [
    Answer(check_roofline_time, "solution", SOLVED.roofline_time),
    Answer(check_roofline_time, "by the roof", by_the_roof),
    Answer(check_roofline_time, "by the ridge", by_the_ridge),
    *(
        Answer(check_roofline_time, name, function, "wrong", says)
        for name, function, says in [
            ("sum", lambda f, m, p, w: (f / p + m / w) / 1e9, "This is the sum"),
            ("shorter", lambda f, m, p, w: min(f / p, m / w) / 1e9, "the shorter of two times"),
            ("computing", lambda f, m, p, w: f / p / 1e9, "Only the computing is timed"),
            ("moving", lambda f, m, p, w: m / w / 1e9, "Only the moving is timed"),
            ("giga forgotten", lambda f, m, p, w: max(f / p, m / w), "but for a power of ten"),
            ("milliseconds", lambda f, m, p, w: max(f / p, m / w) / 1e6, "but for a power of ten"),
            ("microseconds", lambda f, m, p, w: max(f / p, m / w) / 1e3, "but for a power of ten"),
            ("giga of the peak", lambda f, m, p, w: max(f / p / 1e9, m / w), "bytes over GB/s seconds"),
            ("giga of the bandwidth", lambda f, m, p, w: max(f / p, m / w / 1e9), "FLOP over GFLOP/s seconds"),
            ("GiB", lambda f, m, p, w: max(f / p / 1e9, m / w / 2**30), "A GB is 2^30 bytes here"),
            ("giga of 2^30", lambda f, m, p, w: max(f / p, m / w) / 2**30, "Giga is 2^30 here"),
            ("bits", lambda f, m, p, w: max(f / p, 8 * m / w) / 1e9, "turned to bits"),
            ("the roof in GFLOP/s", lambda f, m, p, w: min(p, f / m * w), "a rate in GFLOP/s"),
            ("the roof in FLOP/s", lambda f, m, p, w: min(p, f / m * w) * 1e9, "a rate in FLOP/s"),
            ("flipped", lambda f, m, p, w: max(p * 1e9 / f, w * 1e9 / m), "quotients are flipped"),
            ("more operations than bytes", lambda f, m, p, w: (f / p if f > m else m / w) / 1e9, "run side by side"),
            ("mean", lambda f, m, p, w: (f / p + m / w) / 2e9, "run side by side"),
            ("Euclidean", lambda f, m, p, w: math.hypot(f / p, m / w) / 1e9, "run side by side"),
            ("limits swapped", lambda f, m, p, w: max(f / w, m / p) / 1e9, "run side by side"),
            ("zero", lambda f, m, p, w: 0.0, "run side by side"),
            ("both times", lambda f, m, p, w: (f / p / 1e9, m / w / 1e9), "run side by side"),
        ]
    ),
]

ANSWERS = INTENSITY + ROOFLINE + FORWARD + CROSSOVER + SLOTS


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_answer(answer, told):
    told.append((answer, prove(answer, RIGHT[answer.exercise.name])))


def test_two_right_and_five_wrong_answers_for_each():
    assert enough(ANSWERS) == {}


def test_every_classic_mistake_is_made_by_an_answer():
    assert unproven(ANSWERS) == []


def binding(rows, columns, batch, index_bytes, peak, bandwidth, gathers):
    """What the dense layer waits for, and what the condensed one at the crossing."""
    cells, vectors = rows * columns, 4 * (rows + columns) * batch
    live = SOLVED.crossover_density(rows, columns, batch, index_bytes, peak, bandwidth, gathers) * cells
    dense = {"compute": 2 * cells * batch / peak, "move": (4 * cells + vectors) / bandwidth}
    moved = live * (4 + index_bytes) + vectors
    taken = {"compute": 2 * live * batch / peak, "move": moved / bandwidth, "gather": live * batch / gathers}
    return max(dense, key=dense.get), max(taken, key=taken.get)


def test_the_crossings_lie_in_all_regimes():  # or leaving a limit out would pass
    found = {binding(*case) for case in check_crossover_density.draw_cases()}
    assert found == {
        *(("move", limit) for limit in ("move", "gather")),
        *(("compute", limit) for limit in ("compute", "move", "gather")),
    }


@pytest.mark.parametrize("exercise", {a.exercise.name: a.exercise for a in ANSWERS}.values(), ids=lambda e: e.name)
def test_an_unforeseen_error_is_not_taken_for_a_classic_mistake(exercise):
    fails_as_unforeseen(exercise, RIGHT[exercise.name])


THREE_BY_SIX = (
    torch.arange(1.0, 7)[None],
    torch.tensor([[2.0, -1], [3, 1], [4, 5]]),
    torch.tensor([[1, 4], [0, 3], [2, 5]], dtype=torch.uint16),
    torch.arange(3),
    3,
    torch.zeros(3),
)
FIVE_OF_EIGHT = torch.tensor([[1, 1, 1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0, 1]]).bool()


@pytest.mark.parametrize(
    "name, case, expected",
    [
        ("arithmetic_intensity", (3, 6, 6, 1, 4, 0), 36 / (72 + 24 + 12)),
        ("arithmetic_intensity", (3, 6, 2, 1, 4, 2), 12 / (36 + 24 + 12)),
        ("arithmetic_intensity", (1024, 1024, 1024, 64, 4, 0), 28.44),  # 2 · 64 · 2^20 over 4 · 2^20 + 2^19
        ("roofline_time", (4e9, 1e9, 200.0, 20.0), 0.05),  # .02 s of computing
        ("condensed_forward", THREE_BY_SIX, [-1, 7, 42]),
        ("crossover_density", (1024, 1024, 1, 2, 200.0, 28.0, 100.0), 4 / 6),  # x and y cancel
        ("crossover_density", (1024, 1024, 1000, 2, 200.0, 28.0, 50.0), 2 * 50 / 200),
        ("slots_and_rest", (FIVE_OF_EIGHT, 2, 4), [4, 1]),
    ],
)
def test_solutions_by_hand(name, case, expected):
    assert np.allclose(RIGHT[name](*case), expected, rtol=2e-4)


@pytest.mark.parametrize("columns, slots", [(100, 3), (96, 1), (20, 4), (70, 0)])
def test_the_kernel_places_as_many_and_gathers_the_rest(columns, slots):
    mask = np.random.default_rng(0).random((40, columns)) < 0.2
    rows, inputs = np.nonzero(mask)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(mask)))])
    packed = make_lookup(indptr, inputs.astype(np.uint16), np.ones(len(inputs), np.float32), mask.shape, slots=slots)
    placed, rest = SOLVED.slots_and_rest(torch.tensor(mask), slots, BLOCK)
    assert (int(packed.values.sum()), int(packed.rest_values.sum())) == (placed, rest)
    assert placed + rest == mask.sum()


def test_three_slots_cost_least_for_a_tenth():  # the page says so
    mask = torch.tensor(np.random.default_rng(0).random((500, 1024)) < 0.1)
    places = mask.shape[0] * mask.shape[1] // 32
    costs = [places * slots + 2 * int(SOLVED.slots_and_rest(mask, slots, 32)[1]) for slots in range(8)]
    assert np.argmin(costs) == 3 == mask.view(-1, 32).sum(1).median()
