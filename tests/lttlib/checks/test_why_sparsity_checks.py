"""Right and wrong answers to the exercises of "Why sparsity", and what each is told."""

import math

import numpy as np
import pytest
import torch
from global_mask_answers import MASKS
from proof import Answer, enough, prove, solutions, unproven
from scipy import sparse

from lttlib import budgets
from lttlib.checks.global_mask import check_global_mask
from lttlib.checks.why_sparsity import check_break_even_density, check_csr_bytes

SOLVED = solutions("why_sparsity")
RIGHT = {
    "csr_bytes": SOLVED.csr_bytes,
    "global_mask": SOLVED.global_mask,
    "break_even_density": SOLVED.break_even_density,
}

# 1 csr_bytes


def csr_by_arrays(rows, columns, live, value_bytes, index_bytes):
    sizes = {"values": (live, value_bytes), "columns": (live, index_bytes), "pointers": (rows + 1, 4)}
    return float(sum(count * width for count, width in sizes.values()))


def csr_by_scipy(rows, columns, live, value_bytes, index_bytes):
    filled = sparse.csr_matrix(np.arange(rows * columns).reshape(rows, columns) < live)
    return filled.nnz * value_bytes + filled.indices.size * index_bytes + filled.indptr.size * 4


def csr_from_density(rows, columns, live, value_bytes, index_bytes):
    return round(rows * columns * 0.1) * (value_bytes + index_bytes) + (rows + 1) * 4


CSR = [
    Answer(check_csr_bytes, "solution", SOLVED.csr_bytes),
    Answer(check_csr_bytes, "by arrays, as float", csr_by_arrays),
    Answer(check_csr_bytes, "counted in scipy's arrays", csr_by_scipy),
    Answer(check_csr_bytes, "as a tensor", lambda r, c, n, v, i: torch.tensor(n * (v + i) + 4 + 4 * r)),
    *(
        Answer(check_csr_bytes, name, function, "wrong", says)
        for name, function, says in [
            ("no pointers", lambda r, c, n, v, i: n * (v + i), "row pointers are missing"),
            ("n_rows pointers", lambda r, c, n, v, i: n * (v + i) + 4 * r, "One more closes the last row"),
            (
                "pointers of columns",
                lambda r, c, n, v, i: n * (v + i) + 4 * (c + 1),
                "Which of the two does CSR compress",
            ),
            ("int64 pointers", lambda r, c, n, v, i: n * (v + i) + 8 * (r + 1), "row pointers have eight bytes"),
            ("index-wide pointers", lambda r, c, n, v, i: n * (v + i) + i * (r + 1), "as wide as the column indices"),
            ("int64 indices", lambda r, c, n, v, i: n * (v + 8) + 4 * (r + 1), "column indices have eight bytes"),
            ("int64 both", lambda r, c, n, v, i: n * (v + 8) + 8 * (r + 1), "All indices and pointers have eight"),
            ("values only", lambda r, c, n, v, i: n * v, "values only"),
            ("no indices", lambda r, c, n, v, i: n * v + 4 * (r + 1), "column indices are missing"),
            ("no values", lambda r, c, n, v, i: n * i + 4 * (r + 1), "values themselves are missing"),
            ("coordinates", lambda r, c, n, v, i: n * v + 2 * n * i, "coordinate format"),
            ("dense", lambda r, c, n, v, i: r * c * v, "dense storage"),
            ("MB", lambda r, c, n, v, i: SOLVED.csr_bytes(r, c, n, v, i) / 1e6, "This is in MB"),
            ("MiB", lambda r, c, n, v, i: SOLVED.csr_bytes(r, c, n, v, i) / 2**20, "10^6"),
            ("bits", lambda r, c, n, v, i: 8 * SOLVED.csr_bytes(r, c, n, v, i), "These are bits"),
            ("fixed widths", lambda r, c, n, v, i: n * 8 + 4 * (r + 1), "How many entries has each?"),
            ("a tenth live", csr_from_density, "How many entries has each?"),
            ("value-wide pointers", lambda r, c, n, v, i: n * (v + i) + v * (r + 1), "How many entries has each?"),
            ("one pointer too many", lambda r, c, n, v, i: n * (v + i) + 4 * (r + 2), "How many entries has each?"),
            ("text", lambda r, c, n, v, i: f"{n * (v + i) + 4 * (r + 1)} bytes", "of type str"),
            ("a pair", lambda r, c, n, v, i: (n * (v + i), 4 * (r + 1)), "How many entries has each?"),
        ]
    ),
]

# 3 break_even_density


def by_bisection(value_bytes, index_bytes, rows, columns):
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        csr = middle * rows * columns * (value_bytes + index_bytes) + 4 * (rows + 1)
        low, high = (middle, high) if csr < rows * columns * value_bytes else (low, middle)
    return high


def by_library_density(value_bytes, index_bytes, rows, columns):
    return np.float64(budgets.break_even_density(value_bytes, index_bytes, rows=rows, columns=columns))


def solved(then=lambda d: d, *, pointers=lambda r, c: 4 * (r + 1)):
    return lambda v, i, r, c: then(max(0.0, (r * c * v - pointers(r, c)) / (r * c * (v + i))))


BREAK_EVEN = [
    Answer(check_break_even_density, "solution", SOLVED.break_even_density),
    Answer(check_break_even_density, "by bisection", by_bisection),
    Answer(check_break_even_density, "the library, as numpy", by_library_density),
    Answer(
        check_break_even_density,
        "term by term",
        lambda v, i, r, c: max(v / (v + i) - 4 * (1 + 1 / r) / (c * (v + i)), 0),
    ),
    *(
        Answer(check_break_even_density, name, function, "wrong", says)
        for name, function, says in [
            ("sparsity", solved(lambda d: 1 - d), "This is the sparsity"),
            ("sparsity, no pointers", lambda v, i, r, c: i / (v + i), "This is the sparsity"),
            ("flipped", solved(lambda d: 1 / d if d else math.inf), "ratio is flipped"),
            ("flipped, no pointers", lambda v, i, r, c: (v + i) / v, "ratio is flipped"),
            ("no pointers", lambda v, i, r, c: v / (v + i), "forgets the row pointers"),
            ("n_rows pointers", solved(pointers=lambda r, c: 4 * r), "One row pointer short"),
            ("pointers of columns", solved(pointers=lambda r, c: 4 * (c + 1)), "Which of the two does CSR compress"),
            ("int64 pointers", solved(pointers=lambda r, c: 8 * (r + 1)), "eight bytes"),
            (
                "index-wide pointers",
                lambda v, i, r, c: max(0, (r * c * v - i * (r + 1)) / (r * c * (v + i))),
                "as wide as",
            ),
            ("integer division", lambda v, i, r, c: (r * c * v - 4 * r - 4) // (r * c * (v + i)), "What does `//` do"),
            ("negative", lambda v, i, r, c: (r * c * v - 4 * r - 4) / (r * c * (v + i)), "a negative one"),
            ("free indices", lambda v, i, r, c: max(0, 1 - 4 * (r + 1) / (r * c * v)), "indices cost nothing"),
            ("a count", lambda v, i, r, c: max(0, (r * c * v - 4 * r - 4) / (v + i)), "number of weights"),
            ("percent", solved(lambda d: 100 * d), "in percent"),
            ("one byte a cell", lambda v, i, r, c: 1 - 1 / v, "one byte for every cell"),
            ("bitmap", lambda v, i, r, c: 1 - 1 / 8 / v, "bitmap"),
            ("two indices", solved(lambda d: d / 2), "Which terms of the equation"),
            (
                "pointers added",
                lambda v, i, r, c: (r * c * v + 4 * (r + 1)) / (r * c * (v + i)),
                "Which terms of the equation",
            ),
            ("NaN", lambda v, i, r, c: math.nan, "Which terms of the equation"),
            ("text", lambda v, i, r, c: "half", "of type str"),
        ]
    ),
]

ANSWERS = CSR + MASKS + BREAK_EVEN


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_answer(answer, told):
    told.append((answer, prove(answer, RIGHT[answer.exercise.name])))


def test_two_right_and_five_wrong_answers_for_each():
    assert enough(ANSWERS) == {}


def test_every_classic_mistake_is_made_by_an_answer():
    assert unproven(ANSWERS) == []


def test_floating_point_floors_alike_with_and_without_slack():  # n - floor(s n), as the task writes it, must pass
    for weights, sparsity in check_global_mask.draw_cases():
        n = sum(w.numel() for name, w in weights.items() if not name.endswith(".bias"))
        assert math.floor(sparsity * n) == math.floor(sparsity * n + 1e-9)
