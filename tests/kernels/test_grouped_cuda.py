"""grouped on a GPU: on one where there is one, else in Numba's simulator; and compiled for real without one.

Whole numbers, so that sums are exact in any order. A simulated thread takes about a millisecond: few rows, and just more
columns than a block has threads.
"""

import re

import numpy as np
import pytest
from compiled import TARGETS, compiles, passed_in_the_simulator, registers_and_spills, shared_bytes
from drawn_layers import assert_one_line_error, whole_numbers
from lttkernels import grouped, grouped_cuda
from lttkernels.grouped import gate_gradients, permute, sort_by_expert, unpermute
from numba import cuda, types
from numba.core import config

if config.ENABLE_CUDASIM:
    from cuda_in_turns import take_turns

    take_turns()

runs = pytest.mark.skipif(not config.ENABLE_CUDASIM and not cuda.is_available(),
                          reason="no GPU here; test_in_the_simulator runs these in a simulator")  # fmt: skip
KINDS = pytest.mark.parametrize("kind", [np.int64, np.int32])
COUNT, FLOATS, COUNTS, NONE = types.int64, types.float32[::1], types.int64[::1], types.none
SIGNATURES = {}  # what runs on a GPU is what is compiled
for places in (types.int64[::1], types.int32[::1]):
    for name, what in (
        ("count_kernel", [(places, COUNTS)]),
        ("place_kernel", [(places, COUNTS, places, places, places)]),
        ("permute_kernel", [(FLOATS, places, gates, COUNT, COUNT, FLOATS) for gates in (FLOATS, NONE)]),
        ("unpermute_kernel", [(FLOATS, places, gates, COUNT, COUNT, FLOATS) for gates in (FLOATS, NONE)]),
        ("dots_kernel", [(FLOATS, FLOATS, places, COUNT, COUNT, FLOATS)]),
    ):
        SIGNATURES.setdefault(name, []).extend(what)
KERNELS = [(name, index) for name, signatures in SIGNATURES.items() for index in range(len(signatures))]
SHARED = {"place_kernel": 8 * grouped_cuda.THREADS, "dots_kernel": 4 * grouped_cuda.WARP}  # bytes


def there(array):
    """To the GPU."""
    return None if array is None else cuda.to_device(array)


def here(array) -> np.ndarray:
    """From the GPU, where the answer must be already."""
    assert not isinstance(array, np.ndarray)
    return array.copy_to_host()


@runs
@KINDS
@pytest.mark.parametrize("tokens, k, experts", [(5, 2, 3), (1, 1, 1), (0, 2, 2), (150, 2, 4), (3, 4, 4)])
def test_sorting(rng, kind, tokens, k, experts):
    """300 pairs are more than a block has threads; expert 1 gets none where there are more."""
    chosen = rng.integers(-1, experts, (tokens, k)).astype(kind)
    if experts > 1:
        chosen[chosen == 1] = 0
    order, offsets, inverse = (here(part) for part in sort_by_expert(there(chosen), experts))
    wanted = grouped.reference_sort(chosen, experts)
    assert order.dtype == offsets.dtype == inverse.dtype == kind
    kept = len(wanted.order)
    np.testing.assert_array_equal(order[:kept], wanted.order)
    assert len(order) == chosen.size and (order[kept:] == -1).all()
    np.testing.assert_array_equal(offsets, wanted.offsets)
    np.testing.assert_array_equal(inverse, wanted.inverse)


@runs
def test_what_is_out_of_range_is_dropped():
    chosen = np.array([[0, 2], [-5, 1]])
    order, offsets, inverse = (here(part) for part in sort_by_expert(there(chosen), 2))
    assert order.tolist() == [0, 3, -1, -1] and offsets.tolist() == [0, 1, 2]
    assert inverse.tolist() == [[0, -1], [-1, 1]]


@runs
@KINDS
@pytest.mark.parametrize("tokens, k, width", [(5, 2, 3), (3, 1, 130), (2, 3, 1), (0, 2, 4), (3, 2, 0)])
def test_there_and_back(rng, kind, tokens, k, width):
    """A block has 128 columns, a warp 32."""
    chosen = rng.integers(-1, 3, (tokens, k)).astype(kind)
    wanted, (order, _, inverse) = grouped.reference_sort(chosen, 3), sort_by_expert(there(chosen), 3)
    x, grad, gates = (whole_numbers(rng, shape) for shape in ((tokens, width), (tokens, width), (tokens, k)))
    y, kept = whole_numbers(rng, (chosen.size, width)), len(wanted.order)
    for weights in (None, gates):
        rows = here(permute(there(x), order, k, there(weights)))
        np.testing.assert_array_equal(rows[:kept], grouped.reference_permute(x, wanted.order, k, weights))
        assert len(rows) == chosen.size and not rows[kept:].any()
        out = there(np.full((tokens, width), np.nan, np.float32))
        assert unpermute(there(y), inverse, there(weights), out=out) is out
        np.testing.assert_array_equal(here(out), grouped.reference_unpermute(y, wanted.inverse, weights))
    found = here(gate_gradients(there(grad), there(y), inverse))
    np.testing.assert_array_equal(found, grouped.reference_gate_gradients(grad, y, wanted.inverse))


@runs
def test_a_dropped_pair_counts_for_nothing_whatever_its_gate():
    chosen, y = np.array([[0, -1]]), np.ones((1, 3), np.float32)
    order, _, inverse = sort_by_expert(there(chosen), 1)
    gates = there(np.array([[2, np.nan]], np.float32))
    assert here(unpermute(there(y), inverse, gates)).tolist() == [[2, 2, 2]]
    assert here(permute(there(y), order, 2, gates)).tolist() == [[2, 2, 2], [0, 0, 0]]


@runs
def test_wrong_arguments_are_named(rng):
    chosen = rng.integers(0, 3, (4, 2))
    order, _, inverse = sort_by_expert(there(chosen), 3)
    x, gates = whole_numbers(rng, (4, 6)), whole_numbers(rng, (4, 2))
    y = there(whole_numbers(rng, (8, 6)))
    for call, words in (
        (lambda: permute(there(x), here(order), 2), ("order = ndarray", "on the GPU", "move")),
        (lambda: permute(there(x), order, 2, gates), ("gates = ndarray", "on the GPU")),
        (lambda: permute(there(x.astype(float)), order, 2), ("x.dtype = float64", "float32")),
        (lambda: unpermute(y, there(chosen.astype(float))), ("inverse.dtype = float64", "int64 or int32")),
        (lambda: gate_gradients(there(x), here(y), inverse), ("y_sorted = ndarray", "on the GPU")),
        (lambda: sort_by_expert(there(gates), 3), ("chosen.dtype = float32", "int64 or int32")),
    ):
        assert_one_line_error(call, *words, error=TypeError)
    for call, words in (
        (lambda: permute(there(x), order, 2, there(gates[:3])), ("gates.shape = (3, 2)", "(4, 2)")),
        (lambda: unpermute(y, inverse, there(gates[:3])), ("gates.shape = (3, 2)", "(4, 2)")),
        (lambda: unpermute(y, inverse, out=y), ("out.shape = (8, 6)", "(4, 6)")),
        (lambda: gate_gradients(y, y, inverse), ("grad.shape = (8, 6)", "(4, 6)")),
        (lambda: permute(there(x), order, 0), ("k = 0", "1 or more")),
        (lambda: sort_by_expert(there(chosen[0]), 3), ("chosen.shape = (2,)", "(any, any)")),
    ):
        assert_one_line_error(call, *words)


@pytest.mark.skipif(config.ENABLE_CUDASIM or cuda.is_available(), reason="this is the simulator, or a GPU")
def test_in_the_simulator():
    assert passed_in_the_simulator(__file__) == 23


@pytest.fixture(scope="module", params=TARGETS.values(), ids=TARGETS)
def target(request) -> tuple[int, int]:
    """The kind of GPU."""
    return request.param


@pytest.fixture(scope="module", params=KERNELS, ids=str)
def ptx(request, target) -> tuple[str, str, bool]:
    """One kernel's name, the text that NVIDIA's driver takes, and whether it is given gates, where it can be."""
    name, index = request.param
    kernel, signature = getattr(grouped_cuda, name), SIGNATURES[name][index]
    return name, cuda.compile_ptx(kernel.py_func, types.void(*signature), cc=target)[0], NONE not in signature


@compiles
def test_compiles_for_the_target(ptx, target):
    name, text, _ = ptx
    assert re.search(rf"^\.target sm_{target[0]}{target[1]}$", text, re.MULTILINE)
    assert shared_bytes(text) == SHARED.get(name, 0)
    assert (name in SHARED) == ("bar.sync" in text)


@compiles
def test_single_precision_and_no_atomics(ptx):
    name, text, weighted = ptx
    assert ".f64" not in text and not re.search(r"\b(atom|red)\.", text)
    assert ("fma.rn.f32" in text) == (name == "dots_kernel" or (name == "unpermute_kernel" and weighted))


@compiles
def test_knows_which_memory_it_reads(ptx):
    name, text, _ = ptx
    kinds = set(re.findall(r"\bld(?:\.volatile)?\.(\w+)", text))
    assert kinds <= {"param", "global", "shared"} and "global" in kinds
    assert ("shared" in kinds) == (name in SHARED)
    assert ".local" not in text and not re.search(r"\bcall\b", text)


@compiles
def test_fits_the_registers(ptx, target):
    registers, spills = registers_and_spills(ptx[1], target)
    assert registers * grouped_cuda.THREADS * 4 <= 65536  # four blocks at a time
    assert spills == 0


@pytest.mark.skipif(config.ENABLE_CUDASIM or not cuda.is_available(), reason="no GPU here")
def test_torch_tensors_in_and_out_at_real_size(rng):
    torch = pytest.importorskip("torch")
    chosen = rng.random((1024, 8)).argsort(1)[:, :2]
    chosen[rng.random((1024, 2)) < 0.1] = -1
    wanted, found = grouped.reference_sort(chosen, 8), sort_by_expert(torch.from_numpy(chosen).cuda(), 8)
    assert all(type(part) is torch.Tensor and part.is_cuda for part in found)
    np.testing.assert_array_equal(found.order.cpu().numpy()[: len(wanted.order)], wanted.order)
    np.testing.assert_array_equal(found.inverse.cpu().numpy(), wanted.inverse)
    x, gates = (torch.from_numpy(whole_numbers(rng, shape)).cuda() for shape in ((1024, 256), (1024, 2)))
    rows = permute(x, found.order, 2, gates)
    np.testing.assert_array_equal(rows.cpu().numpy()[: len(wanted.order)],
                                  grouped.reference_permute(x.cpu().numpy(), wanted.order, 2, gates.cpu().numpy()))  # fmt: skip
    back = unpermute(rows, found.inverse)
    assert type(back) is torch.Tensor and torch.equal(back, unpermute(rows, found.inverse))
    for name, signatures in SIGNATURES.items():
        assert set(getattr(grouped_cuda, name).overloads) <= set(signatures)
