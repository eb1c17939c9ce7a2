"""Panels and tiles: how x is packed, where entries come to stand, and the product with uneven rows."""

import numpy as np
import pytest
from drawn_layers import BATCHES, few, layers, rows_of, uneven, whole_numbers
from hypothesis import given
from hypothesis import strategies as st
from lttkernels.memory import scratch
from lttkernels.panels import WIDTHS, pack, pack_into, panels_of
from lttkernels.threads import set_threads
from lttkernels.tiles import BLOCK_ROWS, TiledMatrix, TiledPattern, Tiles, multiply


@pytest.mark.parametrize(
    "batch, cut",
    [
        (0, []),
        (1, [(0, 1, 8)]),
        (8, [(0, 1, 8)]),
        (9, [(0, 1, 16)]),
        (17, [(0, 1, 32)]),
        (32, [(0, 1, 32)]),
        (33, [(0, 1, 64)]),
        (76, [(0, 1, 64), (64, 1, 16)]),
        (128, [(0, 2, 64)]),
    ],
)
def test_panels_by_hand(batch, cut):
    assert panels_of(batch) == cut


def tiled(mask) -> TiledPattern:
    """The pattern of a mask."""
    return TiledPattern(*rows_of(mask), mask.shape)


def decoded(pattern: TiledPattern, tiles: Tiles, panel: int):
    """(row, column, source) of every entry, in the order in which they stand."""
    rows = pattern.shape[0]
    for place, (block, tile, _) in enumerate(np.ndindex(tiles.order.shape)):
        row = block * BLOCK_ROWS + int(tiles.order.flat[place])
        for entry in range(int(tiles.start[place]), int(tiles.start[place + 1])):
            assert row < rows
            column, beside = divmod(int(tiles.offset[entry]), 4 * panel)
            assert beside == 0 and column < tiles.width
            yield row, tile * tiles.width + column, int(tiles.source[entry])


@pytest.mark.parametrize("panel", WIDTHS)
@pytest.mark.parametrize("shape", [(1, 1), (128, 256), (129, 257), (300, 600), (20, 2100), (7, 0), (0, 7)])
def test_every_entry_stands_in_one_place(rng, shape, panel):
    mask = uneven(rng, *shape) if all(shape) else np.zeros(shape, bool)
    pattern = tiled(mask)
    entries = list(decoded(pattern, pattern.tiles(panel), panel))
    rows, columns = np.nonzero(mask)
    assert sorted(source for _, _, source in entries) == list(range(len(rows)))
    assert all((row, column) == (rows[source], columns[source]) for row, column, source in entries)


def test_entries_of_the_caller_may_have_another_order(rng):
    """The transposed matrix from the arrays of the matrix itself."""
    mask = uneven(rng, 30, 300)
    order = np.argsort(np.nonzero(mask)[1], kind="stable").astype(np.uint32)
    indptr, indices = rows_of(mask.T.copy())
    pattern = TiledPattern(indptr, indices, (300, 30), order)
    weight = whole_numbers(rng, (30, 300))
    matrix, x, out = TiledMatrix(pattern, weight[mask]), whole_numbers(rng, (9, 30)), np.empty((9, 300), np.float32)
    multiply(matrix, x, np.arange(300, dtype=np.uint32), np.zeros(300, np.float32), out, by_row=False)
    np.testing.assert_array_equal(out, x @ (weight * mask))


@pytest.mark.parametrize(
    "rows, columns, fan_in, panel, width",
    [
        (10, 4096, 410, 32, 256),  # 32 KB / (32 samples * 4 bytes)
        (10, 4096, 410, 8, 1024),
        (10, 4096, 128, 32, 256),  # 8 entries in each tile, the fewest for 32 KB
        (10, 4096, 127, 32, 512),  # 64 KB, the most: an offset has 16 bits
        (10, 200_000, 1, 64, 256),
        (10, 100, 10, 32, 128),  # no more than there are columns, a power of two
        (10, 128, 128, 32, 128),
        (10, 1, 1, 8, 1),
        (0, 4096, 0, 32, 256),
    ],
)
def test_tiles_are_as_wide_as_cache_and_entries_allow(rows, columns, fan_in, panel, width):
    pattern = TiledPattern(np.arange(rows + 1) * fan_in, np.tile(np.arange(fan_in), rows), (rows, columns))
    tiles = pattern.tiles(panel)
    assert tiles.width == width and pattern.tiles(panel) is tiles
    assert tiles.order.shape == (-(-rows // BLOCK_ROWS), -(-columns // width), BLOCK_ROWS)


def test_rows_of_a_tile_are_in_the_order_of_their_entries(rng):
    tiles = tiled(rng.random((200, 400)) < rng.random((200, 1))).tiles(32)
    counts = np.diff(tiles.start.astype(int)).reshape(tiles.order.shape)
    assert (np.diff(counts[0]) >= 0).all() and (np.diff(counts[1][:, :72]) >= 0).all() and counts.max() > 100
    assert [sorted(order[:72]) for order in tiles.order[1]] == [list(range(72))] * tiles.order.shape[1]


@few
@given(BATCHES.filter(bool), st.integers(1, 40), st.booleans(), st.integers(0, 99))
def test_pack_by_numpy(batch, features, by_row, seed):
    x = whole_numbers(np.random.default_rng(seed), (batch, features))
    for cut in panels_of(batch):
        column0, panels, width = cut
        scratch("panels", panels * width * features)[:] = np.nan  # what an earlier call may have left
        set_threads(1 + seed % 2)
        packed = pack(np.ascontiguousarray(x.T) if by_row else x, features, cut, by_row)
        wanted = np.zeros((panels * width, features))
        part = x[column0 : column0 + panels * width]
        wanted[: len(part)] = part
        wanted = wanted.reshape(panels, width, features).swapaxes(1, 2)
        np.testing.assert_array_equal(packed.reshape(wanted.shape), wanted)
        assert packed.ctypes.data % 64 == 0 and width in WIDTHS


def test_a_panel_may_have_room_to_spare(rng):
    """By hand: two panels of 8 with room for 5 features each, three of which are packed."""
    x, packed = whole_numbers(rng, (16, 3)), np.full(2 * 5 * 8, -77, np.float32)
    pack_into(packed, x, 3, (0, 2, 8), False, 5)
    wanted = np.full((2, 5, 8), -77)
    wanted[0, :3], wanted[1, :3] = x[:8].T, x[8:].T
    np.testing.assert_array_equal(packed.reshape(2, 5, 8), wanted)


@few
@given(layers(uneven), st.integers(0, 9))
def test_product_with_uneven_rows(layer, skipped):
    """Rows go to every other place of out; the rest of out stays as it was."""
    set_threads(layer.threads)
    matrix = TiledMatrix(tiled(layer.mask), layer.weight[layer.mask])
    features, batch = 2 * len(layer.mask) + skipped, len(layer.samples)
    rows = np.arange(len(layer.mask), dtype=np.uint32) * 2 + skipped
    bias = whole_numbers(np.random.default_rng(skipped), features)
    wanted = np.full((batch, features), -77.0)
    layer.bias = bias[rows]
    wanted[:, rows] = layer.answer()
    out = np.full((features, batch) if layer.transposed else (batch, features), -77, np.float32)
    multiply(matrix, layer.x, rows, bias, out, by_row=layer.transposed)
    np.testing.assert_array_equal(out.T if layer.transposed else out, wanted)
