"""Checks of the exercises of the chapter "Why sparsity"."""

from lttlib import budgets
from lttlib.checks.answers import Exercise, Mistake, equals, numbers, returns, same
from lttlib.checks.global_mask import check_global_mask  # noqa: F401 - the chapter's second exercise

POINTER_BYTES = 4

# 1 Warm-up: bytes of compressed sparse rows


def _csr_cases(rng):
    """(rows, columns, live, value_bytes, index_bytes): never square, some with nothing live."""
    cases = [(1, 2, 1, 4, 2), (2, 5, 3, 4, 4), (5, 2, 0, 2, 4), (3, 7, 11, 1, 2)]
    for value_bytes, index_bytes in ((4, 4), (2, 4), (8, 2)):
        rows, columns = int(rng.integers(20, 300)), int(rng.integers(301, 900))
        cases.append((rows, columns, int(rng.integers(rows * columns)), value_bytes, index_bytes))
    return cases


def _csr_reference(rows, columns, live, value_bytes, index_bytes):
    return budgets.csr_bytes(rows, columns, live, value_bytes=value_bytes, index_bytes=index_bytes)


def _csr_relation(case, value):
    rows, columns, live, value_bytes, index_bytes = case
    return (
        f"For {rows} × {columns} cells, {live} live, values of {value_bytes} and indices of {index_bytes} bytes you return "
        f"{numbers(value)}. The bytes are those of three arrays: values, column indices, row pointers. How many entries has each?"
    )


def _csr_like(*, value=True, index=None, pointers=None, pointer_bytes=POINTER_BYTES):
    """A count in which one of the three arrays is wrong. index: bytes per live weight, pointers: their number."""

    def wrong(rows, columns, live, value_bytes, index_bytes):
        per_live = (value_bytes if value else 0) + (index_bytes if index is None else index)
        count = rows + 1 if pointers is None else pointers(rows, columns)
        return live * per_live + count * (index_bytes if pointer_bytes is None else pointer_bytes)

    return wrong


def _csr_times(factor):
    return lambda *case: _csr_reference(*case) * factor


check_csr_bytes = Exercise(
    "csr_bytes",
    _csr_cases,
    equals(_csr_reference, _csr_relation, tolerance=0),
    "layers from one row to hundreds, none of them square, one with nothing live, values of 1 to 8 bytes, indices of 2 and 4",
    (
        returns(
            _csr_like(pointers=lambda r, c: 0),
            "The row pointers are missing: these are only values and column indices. What says where a row begins, and how many such numbers are there?",
        ),
        returns(
            _csr_like(pointers=lambda r, c: r),
            "One pointer per row says where each row begins. One more closes the last row: what does it point to?",
        ),
        returns(
            _csr_like(pointers=lambda r, c: c + 1),
            "The pointers follow the columns, as in compressed sparse columns. Which of the two does CSR compress?",
        ),
        returns(
            _csr_like(pointer_bytes=8),
            "The row pointers have eight bytes here, as int64. How wide are they in this exercise?",
        ),
        returns(
            _csr_like(pointer_bytes=None),
            "The row pointers are as wide as the column indices here. They count live weights, not columns: how wide are they in this exercise?",
        ),
        returns(
            _csr_like(index=8),
            "The column indices have eight bytes here, as int64. Which argument says how wide they are?",
        ),
        returns(
            _csr_like(index=8, pointer_bytes=8),
            "All indices and pointers have eight bytes here, as int64. Which argument says how wide an index is, and how wide is a pointer?",
        ),
        returns(
            _csr_like(index=0, pointers=lambda r, c: 0),
            "These are the values only. How does one find the column of a value?",
        ),
        returns(_csr_like(index=0), "The column indices are missing. How does one find the column of a value?"),
        returns(_csr_like(value=False), "The values themselves are missing. What is stored besides addresses?"),
        returns(
            lambda r, c, live, v, i: live * (v + 2 * i),
            "Two indices for every value: this is the coordinate format. What does CSR store instead of a row index for each value?",
        ),
        returns(
            lambda r, c, live, v, i: r * c * v,
            "This is dense storage: every cell, zeros included. Which cells does CSR store?",
        ),
        returns(_csr_times(1e-6), "This is in MB. The exercise asks for bytes: what did you divide by?"),
        returns(
            _csr_times(2**-20),
            "This is divided by 2^20. The book counts a MB as 10^6 bytes, and the exercise asks for bytes: what did you divide by?",
        ),
        returns(_csr_times(8), "These are bits. How many bits has a byte?"),
    ),
)

# 3 Hard: the density at which CSR and dense storage take the same bytes


def _break_even_cases(rng):
    """(value_bytes, index_bytes, rows, columns): never square; in the last the pointers outweigh the dense layer."""
    cases = [(4, 4, 1, 8), (2, 4, 3, 5), (4, 2, 7, 4)]
    for value_bytes, index_bytes in ((4, 4), (1, 2), (8, 4), (2, 2)):
        rows, columns = int(rng.integers(5, 60)), int(rng.integers(61, 200))
        cases.append((value_bytes, index_bytes, rows, columns))
    return [*cases, (1, 4, 6, 3)]


def _break_even_reference(value_bytes, index_bytes, rows, columns):
    return budgets.break_even_density(value_bytes, index_bytes, rows=rows, columns=columns)


def _break_even_relation(case, value):
    value_bytes, index_bytes, rows, columns = case
    asked = f"For {rows} × {columns} cells, values of {value_bytes} and indices of {index_bytes} bytes you return {numbers(value)}. "
    if float(value) < 0:
        return (
            asked
            + "A density is a share. What does a negative one say about CSR here, and what does the task ask for then?"
        )
    dense = rows * columns * value_bytes
    live = float(value) * rows * columns
    csr = live * (value_bytes + index_bytes) + (rows + 1) * POINTER_BYTES
    return (
        asked + f"Put your density back: CSR takes {csr:.6g} bytes, pointers included, and dense storage {dense}. "
        "Which terms of the equation does your density leave out?"
    )


def _solved(*, pointers=lambda r, c: r + 1, pointer_bytes=POINTER_BYTES, then=lambda d: d):
    """The break-even with other pointers, and then something done to it."""

    def wrong(v, i, rows, columns):
        spent = pointers(rows, columns) * (i if pointer_bytes is None else pointer_bytes)
        return then((rows * columns * v - spent) / (rows * columns * (v + i)))

    return wrong


def _solves(wrong, says):
    """The mistake of returning wrong(*case), clamped at 0 or not, wherever CSR can win."""

    def spotted(tried):
        return all(
            same(value, wrong(*case), 1e-6) or same(value, max(0.0, wrong(*case)), 1e-6)
            for case, value in tried
            if _break_even_reference(*case) > 0
        )

    return Mistake(says, spotted)


def _whole_numbers(tried):
    return all(float(value) in (-1, 0) for _, value in tried)


check_break_even_density = Exercise(
    "break_even_density",
    _break_even_cases,
    equals(_break_even_reference, _break_even_relation, tolerance=1e-6),
    "layers from one row to dozens, none of them square, values of 1 to 8 bytes, indices of 2 and 4, one layer too small for CSR",
    (
        Mistake(
            "You return whole numbers for a share between 0 and 1. What does `//` do with the fraction?", _whole_numbers
        ),
        _solves(
            lambda v, i, r, c: v / (v + i),
            "This forgets the row pointers. It is what long rows come close to; what do the pointers cost on short ones?",
        ),
        _solves(
            _solved(then=lambda d: 1 - d),
            "This is the sparsity, the share that is gone. Which share is the density?",
        ),
        _solves(
            lambda v, i, r, c: i / (v + i),
            "This is the sparsity, the share that is gone, and without row pointers. Which share is the density?",
        ),
        _solves(
            _solved(then=lambda d: 1 / d),
            "The ratio is flipped. Which is larger, the bytes of a bare value or those of a value with its index?",
        ),
        _solves(
            lambda v, i, r, c: (v + i) / v,
            "The ratio is flipped, and the row pointers are missing. Can a share of the weights be larger than 1?",
        ),
        _solves(
            _solved(pointers=lambda r, c: r),
            "One row pointer short: one more closes the last row. How many are there?",
        ),
        _solves(
            _solved(pointers=lambda r, c: c + 1),
            "The pointers follow the columns. Which of the two does CSR compress?",
        ),
        _solves(
            _solved(pointer_bytes=8),
            "The row pointers have eight bytes here. How wide are they in this exercise?",
        ),
        _solves(
            _solved(pointer_bytes=None),
            "The row pointers are as wide as the column indices here. How wide are they in this exercise?",
        ),
        _solves(
            lambda v, i, r, c: 1 - (r + 1) * POINTER_BYTES / (r * c * v),
            "The indices cost nothing here. How many bytes does one live weight take in CSR?",
        ),
        _solves(
            lambda v, i, r, c: _solved()(v, i, r, c) * r * c,
            "This is a number of weights. What turns it into a share?",
        ),
        _solves(_solved(then=lambda d: 100 * d), "This is in percent. What is the density as a share of 1?"),
        _solves(
            lambda v, i, r, c: 1 - 1 / v,
            "This solves for a map with one byte for every cell. What does CSR store instead of a map?",
        ),
        _solves(
            lambda v, i, r, c: 1 - 1 / (8 * v),
            "This is the break-even of a bitmap, one bit for every cell. What does CSR store instead of a map?",
        ),
    ),
)
