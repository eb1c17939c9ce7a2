"""What a layer costs: bytes on disk, floating-point operations, and the energy of a training run. Book: "Why sparsity".

A layer with n_out rows, n_in columns and `live` nonzero weights; v bytes per value, i per index, p per row pointer:

    dense      n_out n_in v                        every cell, zeros included
    CSR        live (v + i) + (n_out + 1) p        values, column indices, row pointers; one more closes the last row
    bitmap     live v + ceil(n_out n_in / 8)       values, one bit per cell
    condensed  n_out k (v + i)                     k live inputs in every row, so no pointers

1 MB is 10^6 bytes here. Energy: Strubell et al. 2019, arXiv:1906.02243, equations (1) and (2).
"""

import math
import operator
from typing import NamedTuple

from lttlib.arguments import require

PUE = 1.58  # power usage effectiveness: watts drawn by the data center per watt of compute, world average of 2018
POUNDS_PER_KWH = 0.954  # CO2 equivalent, average of the United States (EPA 2018)


def dense_bytes(rows: int, columns: int, *, value_bytes: int = 4) -> int:
    """Bytes of the full rows x columns array."""
    return _cells(rows, columns) * _count("value_bytes", value_bytes)


def csr_bytes(
    rows: int, columns: int, live: int, *, value_bytes: int = 4, index_bytes: int = 4, pointer_bytes: int = 4
) -> int:
    """Bytes of compressed sparse rows: live values, live column indices, rows + 1 row pointers.

    Pointers count up to `live` and so are often wider than column indices: 16 bits hold 65,535.
    """
    live = _live(rows, columns, live)
    _require_room("index_bytes", index_bytes, columns - 1)
    _require_room("pointer_bytes", pointer_bytes, live)
    return live * (_count("value_bytes", value_bytes) + int(index_bytes)) + (int(rows) + 1) * int(pointer_bytes)


def bitmap_bytes(rows: int, columns: int, live: int, *, value_bytes: int = 4) -> int:
    """Bytes of the live values and one bit per cell, the last byte filled up."""
    live = _live(rows, columns, live)
    return live * _count("value_bytes", value_bytes) + math.ceil(_cells(rows, columns) / 8)


def condensed_bytes(rows: int, columns: int, fan_in: int, *, value_bytes: int = 4, index_bytes: int = 4) -> int:
    """Bytes of a layer with fan_in live inputs in every row: rows x fan_in values and as many column indices."""
    cells = _cells(rows, columns)
    fan_in = _count("fan_in", fan_in, least=0)
    require(fan_in <= columns, "fan_in", fan_in, f"at most {columns}, the columns", "count live inputs of one row")
    _require_room("index_bytes", index_bytes, columns - 1)
    return cells // int(columns) * fan_in * (_count("value_bytes", value_bytes) + int(index_bytes))


def break_even_density(
    value_bytes: int, index_bytes: int, *, rows: int = 1000, columns: int = 1000, pointer_bytes: int = 4
) -> float:
    """Density at which CSR takes as many bytes as dense storage; below it CSR is smaller.

    Solves d n (v + i) + (rows + 1) p = n v for d, with n = rows * columns. Close to v / (v + i) where rows are long;
    0 where the pointers alone weigh more than the dense layer.
    """
    n = _cells(rows, columns)
    v, i = _count("value_bytes", value_bytes), _count("index_bytes", index_bytes)
    pointers = (int(rows) + 1) * _count("pointer_bytes", pointer_bytes)
    return max(0.0, (n * v - pointers) / (n * (v + i)))


def flops(live: int, *, batch: int = 1) -> int:
    """Floating-point operations of W x for a batch: one multiply and one add per live weight and example."""
    return 2 * _count("live", live, least=0) * _count("batch", batch)


def strubell_energy(watts: float, hours: float) -> tuple[float, float]:
    """(kWh, pounds of CO2 equivalent) of a run that draws `watts` for `hours`, data center overhead included."""
    for name, value in (("watts", watts), ("hours", hours)):
        known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
        require(known, name, repr(value), "a finite number, 0 or more", "pass the average over the whole run")
    kwh = PUE * watts * hours / 1000
    return kwh, POUNDS_PER_KWH * kwh


class TrainingRun(NamedTuple):
    """One row of Strubell et al. 2019, Table 3, as printed; None where the paper prints a dash."""

    model: str
    hardware: str
    watts: float | None
    hours: float
    kwh: int | None  # the column "kWh PUE": overhead included
    co2_pounds: int | None


STRUBELL = (
    TrainingRun("Transformer base", "8 P100", 1415.78, 12, 27, 26),
    TrainingRun("Transformer big", "8 P100", 1515.43, 84, 201, 192),
    TrainingRun("ELMo", "3 P100", 517.66, 336, 275, 262),
    TrainingRun("BERT base", "64 V100", 12041.51, 79, 1507, 1438),
    TrainingRun("BERT base", "16 TPUv2", None, 96, None, None),
    TrainingRun("NAS", "8 P100", 1515.43, 274_120, 656_347, 626_155),
    TrainingRun("NAS", "1 TPUv2", None, 32_623, None, None),
    TrainingRun("GPT-2", "32 TPUv3", None, 168, None, None),
)

# Section 2.1 of the same paper: "3.3 days (79.2 hours)"; the table rounds to 79.
BERT_HOURS_IN_TEXT = 79.2


def _count(name: str, value, least: int = 1) -> int:
    """value as int, if it is a whole number >= least. numpy and torch integers pass, floats and booleans do not."""
    try:
        whole = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        whole = None
    require(whole is not None and whole >= least, name, repr(value), f"a whole number, {least} or more",
            "counts and bytes are integers; for a share multiply by the number of weights")  # fmt: skip
    return whole


def _cells(rows: int, columns: int) -> int:
    return _count("rows", rows) * _count("columns", columns)


def _live(rows: int, columns: int, live: int) -> int:
    cells = _cells(rows, columns)
    live = _count("live", live, least=0)
    require(live <= cells, "live", live, f"at most {cells} = rows * columns", "count the nonzero weights of this layer")
    return live


def _require_room(name: str, width: int, largest: int) -> None:
    """An unsigned integer of `width` bytes must hold `largest`."""
    room = 256 ** _count(name, width) - 1
    require(largest <= room, name, width, f"enough bytes to count to {largest}", "use a wider integer: 2, 4 or 8 bytes")
