"""masked_ntk: against whole Jacobians in whole numbers, at every border of its loops, and against autograd.

Run as `python test_masked_ntk.py`: the kernels between forbidden pages of memory, which end the process.
"""

import subprocess
import sys
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from drawn_layers import assert_one_line_error, few
from guarded import guarded
from hypothesis import given
from hypothesis import strategies as st
from lttkernels import masked_ntk as module
from lttkernels import masked_ntk_pairs, masked_ntk_rows
from lttkernels.masked_ntk import METHODS, masked_ntk, reference_masked_ntk
from lttkernels.threads import set_threads

KINDS = pytest.mark.parametrize("kind", [np.float32, np.float64])
FORCED = pytest.mark.parametrize("method", ["rows", "pairs"])


def exact(activations, deltas, mask=None) -> np.ndarray:
    """The kernel of whole numbers, (n, n) int64: the Jacobian by all weights times itself."""
    a, d = activations.astype(np.int64), deltas.astype(np.int64)
    jacobian = d[:, :, None] * a[:, None, :]
    live = jacobian.reshape(len(a), -1) if mask is None else jacobian[:, mask]
    return live @ live.T


def drawn(rng, n: int, inputs: int, outputs: int, kind=np.float32, off: float = 0.5):
    """Whole numbers, deltas 0 for a share `off` of samples, and a mask whose rows keep from none to all."""
    a = rng.integers(-3, 4, (n, inputs)).astype(kind)
    d = (rng.choice([-2, -1, 1, 2], (n, outputs)) * (rng.random((n, outputs)) >= off)).astype(kind)
    mask = rng.random((outputs, inputs)) < rng.choice([0, 0.05, 0.3, 0.5, 0.8, 1], (outputs, 1))
    return a, d, mask


def assert_exact(found, wanted, kind) -> None:
    assert found.dtype == kind and found.flags.c_contiguous
    np.testing.assert_array_equal(found, wanted)


@st.composite
def cases(draw) -> tuple:
    """Sizes on both sides of registers (8, 16), blocks of samples (128), chunks of inputs (128, 512), parts (16)."""
    n = draw(st.integers(1, 40) | st.sampled_from([47, 48, 49, 64, 65, 128, 129, 257]))
    inputs = draw(st.integers(1, 40) | st.sampled_from([127, 128, 129, 300, 512, 513, 1100]))
    outputs = draw(st.integers(1, 40) | st.sampled_from([1, 15, 16, 17, 130]))
    outputs = min(outputs, max(1, 2_000_000 // (n * inputs)))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    kind = draw(st.sampled_from([np.float32, np.float64]))
    return *drawn(rng, n, inputs, outputs, kind, draw(st.sampled_from([0, 0.5, 0.9]))), kind


@few
@given(cases())
def test_every_method_answers_as_the_whole_jacobian(case):
    a, d, mask, kind = case
    wanted = exact(a, d, mask)
    for method in METHODS:
        assert_exact(masked_ntk(a, d, mask, method=method), wanted, kind)
    assert_exact(masked_ntk(a, d), exact(a, d), kind)
    np.testing.assert_array_equal(reference_masked_ntk(a, d, mask), wanted)


@pytest.mark.parametrize("mask, wanted", [((0, 0), 0), ((1, 0), 2), ((0, 1), 5), ((1, 1), 7)])
def test_by_hand(mask, wanted):
    """f = a_1 relu(x_1 - x_2) - a_2 relu(2 x_1 + x_2) at x = (1, 0), a = (1, 1), of which `mask` survives."""
    live = np.array(mask, np.float32)
    hidden = masked_ntk(np.float32([[1, 0]]), live[None] * np.float32([[1, -1]]))
    last = masked_ntk(np.float32([[1, 2]]), np.float32([[1]]), np.array([mask], bool))
    assert hidden + last == wanted


@FORCED
@KINDS
@pytest.mark.parametrize("sizes", [(2, 3, 2100), (3, 1300, 20), (300, 5, 1), (5, 1, 40), (1, 1, 1), (129, 20, 1100)])
def test_long_sums_and_many_rows(rng, sizes, kind, method):
    """More rows than are added in one go (64 a part, or 128), more inputs than are packed at a time."""
    a, d, mask = drawn(rng, *sizes, kind)
    assert_exact(masked_ntk(a, d, mask, method=method), exact(a, d, mask), kind)


@FORCED
@pytest.mark.parametrize("active", [0, 1, 4, 5, 8, 12, 16, 17, 24, 32, 33, 48, 49, 64, 80, 81, 96, 97, 112, 128])
def test_any_number_of_samples_may_be_off(rng, active, method):
    """All shapes of tiles: 1 to 8 registers wide, with 4 or 8 rows at the end; other samples in each row."""
    a, d, mask = drawn(rng, 150, 40, 6, off=0)
    for i in range(6):
        d[rng.permutation(150)[active:], i] = 0
    assert_exact(masked_ntk(a, d, mask, method=method), exact(a, d, mask), np.float32)


@FORCED
@pytest.mark.parametrize("live", [0, 1, 63, 64, 65, 127, 128])
def test_rows_with_any_number_of_survivors(rng, live, method):
    """64 of 128: where what is not read is counted instead."""
    a, d, _ = drawn(rng, 20, 128, 5)
    mask = rng.random((5, 128)).argsort(1) < live
    assert_exact(masked_ntk(a, d, mask, method=method), exact(a, d, mask), np.float32)


@FORCED
@KINDS
@pytest.mark.parametrize("density", [0.02, 0.4, 0.6, 0.98, None])
def test_accuracy_is_what_the_docstring_says(rng, density, kind, method):
    a, d = rng.standard_normal((70, 1500)).astype(kind), rng.standard_normal((70, 300)).astype(kind)
    a[:, :700] *= 30  # what cancels is larger than what is left
    mask = None if density is None else rng.random((300, 1500)) < density
    size = (np.abs(d) @ np.abs(d).T) * (np.abs(a) @ np.abs(a).T)
    off = np.abs(masked_ntk(a, d, mask, method=method) - reference_masked_ntk(a, d, mask))
    assert (off <= (2e-6 if kind is np.float32 else 2e-14) * size).all()


@FORCED
def test_rounding_does_not_grow_with_the_number_of_rows(rng, method):
    """16,000 outputs whose terms are all alike: added one by one in float32 they would be off by 1e-5 and more."""
    a, d = np.full((3, 40), 0.7, np.float32), np.full((3, 16_000), 0.3, np.float32)
    mask = np.tile(np.arange(40) < 13, (16_000, 1))
    wanted = 16_000 * 13 * float(np.float32(0.3)) ** 2 * float(np.float32(0.7)) ** 2
    np.testing.assert_allclose(masked_ntk(a, d, mask, method=method), wanted, rtol=2e-6)


@FORCED
@KINDS
@pytest.mark.parametrize("n", [5, 130])
def test_the_number_of_threads_changes_no_bit(rng, kind, n, method):
    a, d = rng.standard_normal((n, 300)).astype(kind), rng.standard_normal((n, 33)).astype(kind)
    mask = rng.random((33, 300)) < rng.random((33, 1))
    for some in (mask, None):
        set_threads(1)
        alone = masked_ntk(a, d, some, method=method)
        set_threads(2)
        np.testing.assert_array_equal(masked_ntk(a, d, some, method=method), alone)
        np.testing.assert_array_equal(alone, alone.T)


def test_threads_share_the_work(rng, monkeypatch):
    """Both kernels that run on several threads are called with as many as were asked for."""
    asked = []

    def spy(name):
        kernel = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda threads, *what: asked.append((name, threads)) or kernel(threads, *what)
        )

    for name in ("rows_parallel", "pairs_parallel", "gram_parallel"):
        spy(name)
    a, d, mask = drawn(rng, 4, 30, 20)
    set_threads(2)
    for method in ("rows", "pairs"):
        masked_ntk(a, d, mask, method=method)
    masked_ntk(a, d)
    assert {("rows_parallel", 2), ("pairs_parallel", 2), ("gram_parallel", 2)} == set(asked)


@pytest.mark.parametrize("costs", [np.ones(1600), np.arange(1.0, 1601), np.ones(5)])
def test_parts_cost_about_the_same(costs):
    borders = module._shares(costs)
    assert borders[0] == 0 and borders[-1] == len(costs) and len(borders) == min(16, len(costs)) + 1
    parts = [costs[first:last].sum() for first, last in pairwise(borders)]
    assert max(parts) <= costs.sum() / len(parts) + costs.max()


@pytest.mark.parametrize("n, density, method", [(64, 0.1, "rows"), (64, 0.5, "rows"), (64, 1, "rows"), (4, 0.5, "pairs"),
                                                (4, 0.02, "rows"), (4, 0.98, "rows")])  # fmt: skip
def test_auto_takes_what_is_faster(rng, monkeypatch, n, density, method):
    """Rows, unless pairs are few and rows have many survivors and many dead weights."""
    a, d, _ = drawn(rng, n, 500, 300, off=0)
    mask, chosen = rng.random((300, 500)) < density, []
    for name in ("rows", "pairs"):
        kernel = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *what, k=kernel, name=name: chosen.append(name) or k(*what))
    masked_ntk(a, d, mask)
    assert chosen == [method]


def test_torch_memory_is_read_in_place_and_agrees_with_autograd(rng):
    torch = pytest.importorskip("torch")
    first, second, x = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((7, 5), (1, 7), (6, 5)))
    mask = torch.from_numpy(rng.random((7, 5)) < 0.5)
    masked = (first * mask).requires_grad_()
    rows = [torch.autograd.grad((second @ (masked @ one).relu()).sum(), masked)[0][mask] for one in x]
    wanted = torch.stack(rows) @ torch.stack(rows).T
    deltas = second * (x @ masked.detach().T > 0)
    found = masked_ntk(x.numpy(), deltas.numpy(), mask.numpy())
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-12, atol=1e-12)


def test_memory_does_not_grow_with_the_layer(rng):
    """A Jacobian would take 1 GB in float32."""
    a, d = rng.standard_normal((150, 1300)).astype(np.float32), rng.standard_normal((150, 1300)).astype(np.float32)
    mask = rng.random((1300, 1300)) < 0.2
    for method in ("rows", "pairs"):
        masked_ntk(a[:2].copy(), d[:2].copy(), mask, method=method)
        tracemalloc.start()
        masked_ntk(a, d, mask, method=method)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak <= 1.2 * (a.nbytes + d.nbytes) + 8e6


@pytest.mark.parametrize("n, inputs, outputs", [(0, 3, 2), (3, 0, 2), (3, 2, 0)])
def test_nothing_to_add(n, inputs, outputs):
    a, d, mask = np.ones((n, inputs), np.float32), np.ones((n, outputs), np.float32), np.ones((outputs, inputs), bool)
    for some in (mask, None):
        found = masked_ntk(a, d, some)
        assert found.shape == (n, n) and found.dtype == np.float32 and not found.any()


def test_wrong_arguments_are_named():
    a, d, mask = np.ones((4, 3)), np.ones((4, 2)), np.ones((2, 3), bool)
    for call, words in (
        (lambda: masked_ntk(a, d, mask, method="fast"), ("method = 'fast'", "'auto', 'rows', 'pairs'")),
        (lambda: masked_ntk(a, d[:3], mask), ("deltas.shape = (3, 2)", "(4, any)", "one row for each sample")),
        (lambda: masked_ntk(a[0], d, mask), ("activations.shape = (3,)", "(any, any)")),
        (lambda: masked_ntk(a, d, mask.T.copy()), ("mask.shape = (3, 2)", "(2, 3)", "(out, in)")),
        (lambda: masked_ntk(np.ones((3, 4)).T, d, mask), ("activations.strides", "ascontiguousarray(activations)")),
        (lambda: masked_ntk(a, np.ones((2, 4)).T, mask), ("deltas.strides", "ascontiguousarray(deltas)")),
        (lambda: masked_ntk(a, d, np.ones((3, 2), bool).T), ("mask.strides", "ascontiguousarray(mask)")),
    ):
        assert_one_line_error(call, *words)
    for call, words in (
        (lambda: masked_ntk(a.tolist(), d, mask), ("activations = list", "np.asarray")),
        (lambda: masked_ntk(a.astype(int), d, mask), ("activations.dtype = int64", "float32 or float64")),
        (lambda: masked_ntk(a, d.astype(np.float32), mask), ("deltas.dtype = float32", "float64")),
        (lambda: masked_ntk(a, d, mask.astype(int)), ("mask.dtype = int64", "bool")),
    ):
        assert_one_line_error(call, *words, error=TypeError)


@pytest.mark.skipif(sys.platform == "win32", reason="guards memory with mprotect")
def test_no_step_out_of_bounds():
    """test_bounds.py shows that the guard sees one."""
    command = [sys.executable, "-X", "faulthandler", __file__]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0 and ended.stdout == "80 cases, twice\n", ended.stderr[-3000:]


def between_guards(side: str) -> None:
    """80 random cases whose arrays, scratch memory included, all stand beside forbidden memory."""
    rng = np.random.default_rng(0)
    for case in range(80):
        kind = (np.float32, np.float64)[case % 2]
        lanes, same = 64 // np.dtype(kind).itemsize, case % 4 < 2
        inputs, outputs = int(rng.choice([1, 5, 16, 33, 130, 140])), int(rng.choice([1, 7, 8, 20, 70]))
        p, q = (int(rng.choice([1, 3, 16, 17, 40, 64])) for _ in range(2))
        a, d, mask = drawn(rng, p if same else p + q, inputs, outputs, kind, rng.choice([0, 0.5]))
        wanted = exact(a, d, mask)[:p, :p] if same else exact(a, d, mask)[:p, p:]
        turned = [module._turned(x) for x in ((a, d) if same else (a[:p], d[:p], a[p:], d[p:]))]
        arrays = [guarded(x, side) for x in turned] * (2 if same else 1)
        a_p, d_p, a_q, d_q = arrays
        live, counting = mask.sum(1), np.arange(inputs, dtype=np.int32)
        shape, bounds = (2, a_p.shape[1], a_q.shape[1]), np.array([0, outputs // 2, outputs])
        mask, live, counting, bounds = (guarded(x, side) for x in (mask, live, counting, bounds))

        def run(kernel, room_for, *what, p=p, q=q, same=same, bounds=bounds, kind=kind, lanes=lanes, shape=shape):
            room = guarded(np.full(-(-room_for(max(shape), lanes) // lanes) * lanes, np.nan, kind), side)
            out = guarded(np.zeros(shape), side)
            kernel(0, 2, bounds, room, out, lanes, same, *what)
            total = out.sum(0)[:p, : p if same else q]
            return np.tril(total) + np.tril(total, -1).T if same else total

        rows = run(masked_ntk_rows.rows, masked_ntk_rows.rows_room, mask, live, counting, a_p, d_p, a_q, d_q)
        mostly = 2 * live > inputs
        every = exact(a, d[:, mostly])
        np.testing.assert_array_equal(rows + (every[:p, :p] if same else every[:p, p:]), wanted)
        pairs = run(masked_ntk_pairs.pairs, masked_ntk_pairs.pairs_room, p, mask, a_p, d_p, a_q, d_q)
        np.testing.assert_array_equal(pairs, wanted)
        gram = run(masked_ntk_rows.gram, masked_ntk_rows.rows_room, d_p, d_q)
        whole = d.astype(int) @ d.astype(int).T
        np.testing.assert_array_equal(gram, whole[:p, :p] if same else whole[:p, p:])


if __name__ == "__main__":
    for side in ("end", "start"):
        between_guards(side)
    print("80 cases, twice", flush=True)
