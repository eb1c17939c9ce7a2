"""Panels: a batch cut into pieces of 8, 16, 32 or 64 samples that stand side by side, as registers want them."""

import numba
import numpy as np

from lttkernels.memory import scratch
from lttkernels.simd import element, fma, load, pointer, put, splat, store
from lttkernels.threads import get_threads

WIDTHS = (8, 16, 32, 64)


def panels_of(batch: int) -> list[tuple[int, int, int]]:
    """How a batch is cut: (first column, panels, width), all of width 64 and then one that holds the rest."""
    whole, rest = divmod(batch, WIDTHS[-1])
    cut = [(0, whole, WIDTHS[-1])] if whole else []
    return cut + ([(batch - rest, 1, min(w for w in WIDTHS if w >= rest))] if rest else [])


def pack(x: np.ndarray, features: int, cut: tuple[int, int, int], by_row: bool, name: str = "panels") -> np.ndarray:
    """x, (features, batch) if by_row else (batch, features), as panels (panels, features, width), flat and aligned."""
    packed = scratch(name, cut[1] * features * cut[2])
    pack_into(packed, x, features, cut, by_row, features)
    return packed


def pack_into(
    packed: np.ndarray, x: np.ndarray, features: int, cut: tuple[int, int, int], by_row: bool, room: int
) -> None:
    """As pack, into memory with `room` features for each panel; what is beyond the features stays as it was."""
    what = (x.reshape(-1), features, x.size // max(features, 1), *cut, by_row, room, packed)
    if get_threads() > 1:
        _pack_parallel(get_threads(), *what)
    else:
        _pack(0, features, *what)


@numba.njit(nogil=True, cache=True)
def _pack(first, last, x, features, batch, column0, panels, width, by_row, room, packed):
    """Features first to last of x to panels (panels, room, width), 0 past the batch."""
    x_at, packed_at = pointer(x), pointer(packed)
    for panel in range(panels):
        here = column0 + panel * width
        wide = min(width, batch - here)
        if wide < width:
            packed[(panel * room + first) * width : (panel * room + last) * width] = 0
        for feature0 in range(first, last, 16):
            feature1 = min(feature0 + 16, last)
            at = (panel * room + feature0) * width
            if not by_row:
                for j in range(wide):
                    for feature in range(feature0, feature1):
                        number = element(x_at, (here + j) * features + feature)
                        put(packed_at, at + (feature - feature0) * width + j, number)
            elif wide % 8 == 0:
                for feature in range(feature0, feature1):
                    near = feature * batch + here
                    for j in range(0, wide, 8):
                        store(packed_at, at + (feature - feature0) * width + j, load(x_at, near + j, 8))
            else:
                for feature in range(feature0, feature1):
                    for j in range(wide):
                        put(packed_at, at + (feature - feature0) * width + j, element(x_at, feature * batch + here + j))


@numba.njit(nogil=True, cache=True, parallel=True)
def _pack_parallel(threads, x, features, batch, column0, panels, width, by_row, room, packed):
    for thread in numba.prange(threads):
        first, last = features * thread // threads, features * (thread + 1) // threads
        _pack(first, last, x, features, batch, column0, panels, width, by_row, room, packed)


@numba.njit
def write_rows(sums, rows, bias, shape, out, here, batch):
    """The sums of one block to out (features, batch), from column `here` on."""
    row0, height, width, wide = shape
    for i in range(height):
        row = element(rows, row0 + i)
        at, extra = row * batch + here, element(bias, row)
        if wide % 8 == 0:
            for j in range(0, wide, 8):
                store(out, at + j, fma(splat(extra, 8), splat(np.float32(1), 8), load(sums, i * width + j, 8)))
        else:
            for j in range(wide):
                put(out, at + j, element(sums, i * width + j) + extra)


@numba.njit
def write_columns(sums, rows, bias, shape, out, here, features):
    """The sums of one block to out (batch, features), from flat position `here` on."""
    row0, height, width, wide = shape
    for j in range(wide):
        for i in range(height):
            row = element(rows, row0 + i)
            put(out, here + j * features + row, element(sums, i * width + j) + element(bias, row))
