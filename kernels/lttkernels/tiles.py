"""A sparse matrix cut into tiles, times a batch: the loop behind every batched kernel of this package.

    out[r, :] = sum over the entries of row r of value * x[column, :]

x comes in panels: 8, 16, 32 or 64 columns of the batch side by side, so that one entry multiplies one to four registers.
What limits the loop is reading x. Four decisions keep it fast:

- A tile of x of 32 KB, for example 256 inputs x 32 columns x 4 bytes, stays in the first-level cache while rows pass over
  it. Very sparse rows get tiles of 64 KB: entering a tile for two entries would cost more than it saves.
- Rows come in blocks of 128 whose sums stay in cache too; blocks and panels are what threads share out.
- A block meets all panels that fit in the second-level cache together before the next block's entries are read.
- In each tile a block's rows are visited in the order of their number of entries there, so that the processor
  guesses the end of the inner loop right.
"""

from dataclasses import dataclass

import numba
import numpy as np

from lttkernels.memory import scratch
from lttkernels.panels import pack_into, panels_of, write_columns, write_rows
from lttkernels.reorder import reorder
from lttkernels.simd import element, moved, pointer
from lttkernels.threads import get_threads
from lttkernels.tile_rows import add_8, add_16, add_32, add_64

TILE_BYTES = 2**15
WIDEST_TILE_BYTES = 2**16  # offsets have 16 bits
ENTRIES_PER_TILE = 8
BLOCK_ROWS = 128
PANELS_BYTES = 2**20


@dataclass(frozen=True)
class Tiles:
    """Where the entries of a sparse matrix stand, block by block, tile by tile, row by row. Values are kept apart.

    width: columns of a tile, a power of two. order: (blocks, tiles, BLOCK_ROWS) uint32, rows by number of entries.
    start: (places + 1,) uint64, the first entry of each place in `order`. offset: (entries,) uint16, where the entry's
    column begins in its tile, in bytes. source: (entries,) uint32, position in the caller's values.
    """

    width: int
    order: np.ndarray
    start: np.ndarray
    offset: np.ndarray
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
        if panel not in self._cut:
            width = self._width(panel)
            order, start, offset, source = _cut(self.indptr, self.indices, *self.shape, width, 4 * panel)
            self._cut[panel] = Tiles(width, order, start, offset, self.source[source])
        return self._cut[panel]

    def _width(self, panel: int) -> int:
        """What fits in the cache, or twice that where rows have few entries, but no more than there are columns."""
        rows, columns = self.shape
        width = TILE_BYTES // (4 * panel)
        if self.indices.size * width < ENTRIES_PER_TILE * rows * columns:
            width = WIDEST_TILE_BYTES // (4 * panel)
        return min(width, 1 << max(columns - 1, 0).bit_length())


class TiledMatrix:
    """A pattern with values, (entries,) float32 in the caller's order; they are put in the tiles' order when needed."""

    def __init__(self, pattern: TiledPattern, values: np.ndarray):
        self.pattern, self.values = pattern, values
        self._ordered = {}

    def ordered_values(self, panel: int) -> np.ndarray:
        """The values in the order of the tiles for panels of `panel` samples."""
        if panel not in self._ordered:
            self._ordered[panel] = np.empty(self.values.size, np.float32)
            reorder(self.values, self.pattern.tiles(panel).source, self._ordered[panel])
        return self._ordered[panel]


@numba.njit(cache=True)
def _cut(indptr, indices, rows, columns, width, line):
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
    offset = np.empty(indices.size, np.uint16)
    source = np.empty(indices.size, np.uint32)
    for row in range(rows):
        for entry in range(indptr[row], indptr[row + 1]):
            tile = indices[entry] // width
            there = following[row // BLOCK_ROWS, tile, row % BLOCK_ROWS]
            following[row // BLOCK_ROWS, tile, row % BLOCK_ROWS] += 1
            offset[there] = indices[entry] % width * line
            source[there] = entry
    return order, start, offset, source


@numba.njit(nogil=True, cache=True)
def _serial(
    first,
    last,
    panels,
    width,
    order,
    start,
    offset,
    values,
    x,
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
    order_at, start_at, offset_at = pointer(order), pointer(start), pointer(offset)
    values_at, x_pointer, sums_at = pointer(values), pointer(x), pointer(sums)
    rows_at, bias_at, out_at = pointer(rows), pointer(bias), pointer(out)
    together = max(1, PANELS_BYTES // (4 * width * tile_width * max(1, tiles)))
    for task in range(first, last):
        panel0 = task // (blocks * together) * together
        here = min(together, panels - panel0)
        block, panel = (task - panel0 * blocks) // here, panel0 + (task - panel0 * blocks) % here
        height = min(BLOCK_ROWS, rows.size - block * BLOCK_ROWS)
        sums[: height * width] = 0
        for tile in range(tiles):
            x_at = moved(x_pointer, (panel * tiles + tile) * tile_width * width)
            place = (block * tiles + tile) * BLOCK_ROWS
            for i in range(height):
                at = np.int64(element(order_at, place + i)) * width
                entry, end = element(start_at, place + i), element(start_at, place + i + 1)
                if width == 64:
                    add_64(values_at, offset_at, entry, end, x_at, sums_at, at)
                elif width == 32:
                    add_32(values_at, offset_at, entry, end, x_at, sums_at, at)
                elif width == 16:
                    add_16(values_at, offset_at, entry, end, x_at, sums_at, at)
                else:
                    add_8(values_at, offset_at, entry, end, x_at, sums_at, at)
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
    offset,
    values,
    x,
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
        _serial(first, last, panels, width, order, start, offset, values, x, tile_width, sums[thread], out, rows, bias,
                batch, column0, by_row)  # fmt: skip


def multiply(matrix: TiledMatrix, x, rows, bias, out, *, by_row: bool) -> None:
    """Write row r of the product to feature rows[r] of out, and add bias there.

    x: (columns, batch) and out: (features, batch) if by_row, else both transposed; float32, C-contiguous.
    rows: (rows,) uint32. bias: (features,) float32.
    """
    columns = matrix.pattern.shape[1]
    batch, threads = out.size // max(bias.size, 1), get_threads()
    for cut in panels_of(batch):
        column0, panels, width = cut
        tiles = matrix.pattern.tiles(width)
        room = tiles.order.shape[1] * tiles.width
        packed = scratch("tiled panels", panels * room * width, WIDEST_TILE_BYTES)
        pack_into(packed, x, columns, cut, by_row, room)
        tasks = panels * tiles.order.shape[0]
        workers = max(1, min(threads, tasks))
        sums = scratch("sums", workers * BLOCK_ROWS * width).reshape(workers, -1)
        rest = (out.reshape(-1), rows, bias, batch, column0, by_row)
        what = (tiles.order, tiles.start, tiles.offset, matrix.ordered_values(width), packed, tiles.width)
        if workers > 1:
            _parallel(workers, tasks, panels, width, *what, sums, *rest)
        elif tasks:
            _serial(0, tasks, panels, width, *what, sums[0], *rest)
