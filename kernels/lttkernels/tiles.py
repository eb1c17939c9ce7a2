"""A sparse matrix cut into tiles, times a batch: the loop behind every batched kernel of this package.

    out[r, :] = sum over the entries of row r of value * x[column, :]

x comes in panels: 8, 16 or 32 columns of the batch side by side, so that one entry multiplies one or two registers.
What limits the loop is reading x. Four decisions keep it fast:

- A tile of x of 32 KB, for example 256 inputs x 32 columns x 4 bytes, stays in the first-level cache while rows pass over
  it. Very sparse rows get wider tiles: entering a tile for two entries would cost more than it saves.
- Rows come in blocks of 128 whose sums stay in cache too; blocks and panels are what threads share out.
- A block meets all panels that fit in the second-level cache together before the next block's entries are read.
- In each tile a block's rows are visited in the order of their number of entries there, so that the processor
  guesses the end of the inner loop right.
"""

from dataclasses import dataclass

import numba
import numpy as np

from lttkernels.memory import scratch
from lttkernels.panels import pack, panels_of, write_columns, write_rows
from lttkernels.simd import element, fma, gather, load, load_four, load_indices, nth, pointer, put, splat, store, zeros
from lttkernels.threads import get_threads

TILE_BYTES = 32 * 1024
ENTRIES_PER_TILE = 16
BLOCK_ROWS = 128
PANELS_BYTES = 2**20


@dataclass(frozen=True)
class Tiles:
    """Where the entries of a sparse matrix stand, block by block, tile by tile, row by row. Values are kept apart.

    width: columns of a tile. order: (blocks, tiles, BLOCK_ROWS) uint32, rows by number of entries. start: (places + 1,)
    uint64, the first entry of each place in `order`. column: (entries,) uint16, within the tile. source: (entries,)
    uint32, position in the caller's values.
    """

    width: int
    order: np.ndarray
    start: np.ndarray
    column: np.ndarray
    source: np.ndarray


class TiledPattern:
    """The pattern of a sparse matrix (rows, columns) whose row r has its entries at indices[indptr[r]:indptr[r + 1]].

    source: position in the caller's values of each entry, if these have another order. Tiles are cut when first needed.
    """

    def __init__(
        self, indptr: np.ndarray, indices: np.ndarray, shape: tuple[int, int], source: np.ndarray | None = None
    ):
        self.indptr, self.indices, self.shape = indptr.astype(np.int64), indices, shape
        self.source = np.arange(indices.size, dtype=np.uint32) if source is None else source
        self._cut = {}

    def tiles(self, panel: int) -> Tiles:
        """Tiles for panels of `panel` samples."""
        width = self._width(panel)
        if width not in self._cut:
            order, start, column, source = _cut(self.indptr, self.indices, *self.shape, width)
            self._cut[width] = Tiles(width, order, start, column, self.source[source])
        return self._cut[width]

    def _width(self, panel: int) -> int:
        """What fits in the cache, or more where rows have few entries."""
        rows, columns = self.shape
        sensible = max(1, self.indices.size // max(rows, 1) // ENTRIES_PER_TILE)
        return min(max(TILE_BYTES // (4 * panel), -(-columns // sensible)), 2**16)


class TiledMatrix:
    """A pattern with values, (entries,) float32 in the caller's order; they are put in the tiles' order when needed."""

    def __init__(self, pattern: TiledPattern, values: np.ndarray):
        self.pattern, self.values = pattern, values
        self._ordered = {}

    def ordered_values(self, tiles: Tiles) -> np.ndarray:
        """The values in the order of the tiles."""
        if tiles.width not in self._ordered:
            self._ordered[tiles.width] = _ordered(self.values, tiles.source)
        return self._ordered[tiles.width]


@numba.njit(nogil=True, cache=True)
def _ordered(values, source):
    found = np.empty(source.size, np.float32)
    values_at, source_at, found_at = pointer(values), pointer(source), pointer(found)
    whole = source.size // 16 * 16
    for i in range(0, whole, 16):
        store(found_at, i, gather(values_at, load_indices(source_at, i, 16)))
    for i in range(whole, source.size):
        put(found_at, i, element(values_at, element(source_at, i)))
    return found


@numba.njit(cache=True)
def _cut(indptr, indices, rows, columns, width):
    blocks = -(-rows // BLOCK_ROWS)
    tiles = -(-columns // width)
    counts = np.zeros((blocks, tiles, BLOCK_ROWS), np.int64)
    for row in range(rows):
        for entry in range(indptr[row], indptr[row + 1]):
            counts[row // BLOCK_ROWS, indices[entry] // width, row % BLOCK_ROWS] += 1
    order = np.zeros(counts.shape, np.uint32)
    start = np.zeros(counts.size + 1, np.uint64)
    following = np.zeros(counts.shape, np.int64)
    place = 0
    for block in range(blocks):
        height = min(BLOCK_ROWS, rows - block * BLOCK_ROWS)
        for tile in range(tiles):
            ranked = np.argsort(counts[block, tile, :height], kind="mergesort")
            for i in range(BLOCK_ROWS):
                count = 0
                if i < height:
                    order[block, tile, i] = ranked[i]
                    count = counts[block, tile, ranked[i]]
                    following[block, tile, ranked[i]] = np.int64(start[place])
                start[place + 1] = start[place] + np.uint64(count)
                place += 1
    column = np.empty(indices.size, np.uint16)
    source = np.empty(indices.size, np.uint32)
    for row in range(rows):
        for entry in range(indptr[row], indptr[row + 1]):
            tile = indices[entry] // width
            there = following[row // BLOCK_ROWS, tile, row % BLOCK_ROWS]
            following[row // BLOCK_ROWS, tile, row % BLOCK_ROWS] += 1
            column[there] = indices[entry] % width
            source[there] = entry
    return order, start, column, source


def _one_register(lanes):
    """sums[row] += the row's entries times x, one register wide; four sums hide the latency of each other."""

    @numba.njit(inline="always")
    def add_four(values, column, entry, x, x_at, a, b, c, d):
        four = load_four(column, entry)
        a = fma(splat(element(values, entry), lanes), load(x, x_at + nth(four, 0) * lanes, lanes), a)
        b = fma(splat(element(values, entry + 1), lanes), load(x, x_at + nth(four, 1) * lanes, lanes), b)
        c = fma(splat(element(values, entry + 2), lanes), load(x, x_at + nth(four, 2) * lanes, lanes), c)
        d = fma(splat(element(values, entry + 3), lanes), load(x, x_at + nth(four, 3) * lanes, lanes), d)
        return a, b, c, d

    @numba.njit(inline="always")
    def add_row(values, column, first, last, x, x_at, sums, at):
        a, b, c, d = load(sums, at, lanes), zeros(lanes), zeros(lanes), zeros(lanes)
        entry, one = first, splat(np.float32(1), lanes)
        while entry + 7 < last:
            a, b, c, d = add_four(values, column, entry, x, x_at, a, b, c, d)
            a, b, c, d = add_four(values, column, entry + 4, x, x_at, a, b, c, d)
            entry += 8
        if entry + 3 < last:
            a, b, c, d = add_four(values, column, entry, x, x_at, a, b, c, d)
            entry += 4
        while entry < last:
            a, b = (
                b,
                fma(splat(element(values, entry), lanes), load(x, x_at + element(column, entry) * lanes, lanes), a),
            )
            entry += 1
        store(sums, at, fma(fma(a, one, b), one, fma(c, one, d)))

    return add_row


@numba.njit(inline="always")
def _add_32(values, column, first, last, x, x_at, sums, at):
    """Two registers wide: two pairs of sums."""
    a, b, c, d = load(sums, at, 16), load(sums, at + 16, 16), zeros(16), zeros(16)
    entry, one = first, splat(np.float32(1), 16)
    while entry + 3 < last:
        four = load_four(column, entry)
        value, near = splat(element(values, entry), 16), x_at + nth(four, 0) * 32
        a, b = fma(value, load(x, near, 16), a), fma(value, load(x, near + 16, 16), b)
        value, near = splat(element(values, entry + 1), 16), x_at + nth(four, 1) * 32
        c, d = fma(value, load(x, near, 16), c), fma(value, load(x, near + 16, 16), d)
        value, near = splat(element(values, entry + 2), 16), x_at + nth(four, 2) * 32
        a, b = fma(value, load(x, near, 16), a), fma(value, load(x, near + 16, 16), b)
        value, near = splat(element(values, entry + 3), 16), x_at + nth(four, 3) * 32
        c, d = fma(value, load(x, near, 16), c), fma(value, load(x, near + 16, 16), d)
        entry += 4
    while entry < last:
        value, near = splat(element(values, entry), 16), x_at + element(column, entry) * 32
        a, b = fma(value, load(x, near, 16), a), fma(value, load(x, near + 16, 16), b)
        entry += 1
    store(sums, at, fma(a, one, c))
    store(sums, at + 16, fma(b, one, d))


_add_8, _add_16 = _one_register(8), _one_register(16)


@numba.njit(nogil=True, cache=True)
def _serial(
    first,
    last,
    panels,
    width,
    order,
    start,
    column,
    values,
    x,
    columns,
    tile_width,
    sums,
    out,
    rows,
    bias,
    batch,
    column0,
    by_row,
):
    """All tasks from first to last; a task is a block of rows and a panel of `width`.

    No factory makes this loop for each width: Numba's cache on disk never finds a function that holds another in a closure.
    """
    blocks, tiles, _ = order.shape
    features = out.size // batch
    order_at, start_at, column_at = pointer(order), pointer(start), pointer(column)
    values_at, x_pointer, sums_at = pointer(values), pointer(x), pointer(sums)
    rows_at, bias_at, out_at = pointer(rows), pointer(bias), pointer(out)
    together = max(1, PANELS_BYTES // (4 * width * max(1, columns)))
    for task in range(first, last):
        panel0 = task // (blocks * together) * together
        here = min(together, panels - panel0)
        block, panel = (task - panel0 * blocks) // here, panel0 + (task - panel0 * blocks) % here
        height = min(BLOCK_ROWS, rows.size - block * BLOCK_ROWS)
        sums[: height * width] = 0
        for tile in range(tiles):
            x_at = (panel * columns + tile * tile_width) * width
            place = (block * tiles + tile) * BLOCK_ROWS
            for i in range(height):
                at = np.int64(element(order_at, place + i)) * width
                entry, end = element(start_at, place + i), element(start_at, place + i + 1)
                if width == 32:
                    _add_32(values_at, column_at, entry, end, x_pointer, x_at, sums_at, at)
                elif width == 16:
                    _add_16(values_at, column_at, entry, end, x_pointer, x_at, sums_at, at)
                else:
                    _add_8(values_at, column_at, entry, end, x_pointer, x_at, sums_at, at)
        here = column0 + panel * width
        shape = (block * BLOCK_ROWS, height, width, min(width, batch - here))
        if by_row:
            write_rows(sums_at, rows_at, bias_at, shape, out_at, here, batch)
        else:
            write_columns(sums_at, rows_at, bias_at, shape, out_at, here * features, features)


@numba.njit(nogil=True, cache=True, parallel=True)
def _parallel(
    threads,
    tasks,
    panels,
    width,
    order,
    start,
    column,
    values,
    x,
    columns,
    tile_width,
    sums,
    out,
    rows,
    bias,
    batch,
    column0,
    by_row,
):
    for thread in numba.prange(threads):
        first, last = tasks * thread // threads, tasks * (thread + 1) // threads
        _serial(first, last, panels, width, order, start, column, values, x, columns, tile_width, sums[thread], out, rows,
                bias, batch, column0, by_row)  # fmt: skip


def multiply(matrix: TiledMatrix, x, rows, bias, out, *, by_row: bool) -> None:
    """Write row r of the product to feature rows[r] of out, and add bias there.

    x: (columns, batch) and out: (features, batch) if by_row, else both transposed; float32, C-contiguous.
    rows: (rows,) uint32. bias: (features,) float32.
    """
    columns = matrix.pattern.shape[1]
    batch, threads = out.size // max(bias.size, 1), get_threads()
    for cut in panels_of(batch):
        column0, panels, width = cut
        packed = pack(x, columns, cut, by_row)
        tiles = matrix.pattern.tiles(width)
        tasks = panels * tiles.order.shape[0]
        workers = max(1, min(threads, tasks))
        sums = scratch("sums", workers * BLOCK_ROWS * width).reshape(workers, -1)
        rest = (out.reshape(-1), rows, bias, batch, column0, by_row)
        what = (tiles.order, tiles.start, tiles.column, matrix.ordered_values(tiles), packed, columns, tiles.width)
        if workers > 1:
            _parallel(workers, tasks, panels, width, *what, sums, *rest)
        elif tasks:
            _serial(0, tasks, panels, width, *what, sums[0], *rest)
