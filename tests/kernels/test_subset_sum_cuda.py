"""best_subsets on a GPU: on one where there is one, else in Numba's simulator; and compiled for real without one.

A simulated thread takes about a millisecond: few targets, and just more subsets than a block has threads.
"""

import re

import numpy as np
import pytest
from compiled import TARGETS, compiles, passed_in_the_simulator, registers_and_spills, shared_bytes
from drawn_layers import assert_one_line_error
from lttkernels import subset_sum_cuda
from lttkernels.subset_sum import Subsets, best_subsets, reference_best_subset, subset_sums
from numba import cuda, types
from numba.core import config

if config.ENABLE_CUDASIM:
    from cuda_in_turns import take_turns

    take_turns()

runs = pytest.mark.skipif(not config.ENABLE_CUDASIM and not cuda.is_available(),
                          reason="no GPU here; test_in_the_simulator runs these in a simulator")  # fmt: skip
DOUBLES = types.float64[::1]
OUT = (types.boolean[::1], DOUBLES, DOUBLES)
SIGNATURES = {  # what runs on a GPU is what is compiled without one
    "small_kernel": (DOUBLES, types.int64, types.int64, DOUBLES, *OUT),
    "large_kernel": (DOUBLES, types.int64, types.int64, DOUBLES, *OUT, DOUBLES),
}
STATIC_SHARED_MEMORY = 48 * 1024  # bytes that every GPU gives a block without being asked


def drawn(rng, n: int, shared: bool, whole: bool, targets: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """values and targets; small whole numbers have many ties."""
    shape = (n,) if shared else (targets, n)
    if whole:
        return rng.integers(-3, 4, shape).astype(float), rng.integers(-9, 9, targets) / 2.0
    return rng.uniform(-1, 1, shape), rng.uniform(-1, 1, targets)


def there(values: np.ndarray, targets: np.ndarray) -> Subsets:
    """best_subsets on the GPU, brought back; on the way it must stay there."""
    found = best_subsets(cuda.to_device(values), cuda.to_device(targets))
    arrays = (found.masks, found.sums, found.errors)
    assert not any(isinstance(array, np.ndarray) for array in arrays)
    return Subsets(*(array.copy_to_host() for array in arrays))


def assert_same(found: Subsets, wanted: Subsets) -> None:
    """To the last bit."""
    assert found.masks.dtype == bool and found.sums.dtype == found.errors.dtype == np.float64
    np.testing.assert_array_equal(found.masks, wanted.masks)
    np.testing.assert_array_equal(found.sums, wanted.sums)
    np.testing.assert_array_equal(found.errors, wanted.errors)


@runs
@pytest.mark.parametrize("whole", [False, True], ids=["real", "ties"])
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("n", [1, 2, 5, 11])
def test_answers_are_those_of_brute_force(rng, n, shared, whole):
    values, targets = drawn(rng, n, shared, whole)
    found = there(values, targets)
    rows = values if values.ndim == 2 else [values] * len(targets)
    wanted = [reference_best_subset(row, target) for row, target in zip(rows, targets, strict=True)]
    assert_same(found, Subsets(*(np.array(part) for part in zip(*wanted, strict=True))))


@runs
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("n", [9, 16])
def test_more_subsets_than_threads_and_targets_than_blocks(rng, monkeypatch, n, shared):
    """n = 16: a half has 256 subsets, a block 128 threads. Both kernels answer as the CPU does."""
    monkeypatch.setattr(subset_sum_cuda, "BLOCKS", 2)
    values, targets = drawn(rng, n, shared, n == 9)
    wanted = best_subsets(values, targets)
    assert_same(there(values, targets), wanted)
    monkeypatch.setattr(subset_sum_cuda, "SMALL", 3)
    assert_same(there(values, targets), wanted)


@runs
def test_each_block_has_memory_of_its_own(rng):
    """The simulator runs one block after the other, and would not notice."""
    values = rng.uniform(-1, 1, (3, 6))
    out = (np.zeros(18, bool), np.zeros(3), np.zeros(3))
    scratch = cuda.to_device(np.full(3 * 16, np.nan))
    arrays = [cuda.to_device(array) for array in (values.reshape(-1), np.zeros(3), *out)]
    subset_sum_cuda.large_kernel[3, subset_sum_cuda.THREADS](arrays[0], 3, 6, *arrays[1:], scratch)
    for row, lists in zip(values, scratch.copy_to_host().reshape(3, 2, 8), strict=True):
        sums = subset_sums(np.tile(row, (8, 1)), (np.arange(8)[:, None] >> np.arange(6) & 1).astype(bool))
        np.testing.assert_array_equal(lists[1], np.sort(sums))  # three values: the second list is the last


@runs
@pytest.mark.parametrize("shape", [(0, 4), (4,)])
def test_no_targets(shape):
    found = there(np.ones(shape), np.ones(0))
    assert found.masks.shape == (0, 4) and found.sums.shape == found.errors.shape == (0,)


@runs
def test_wrong_arguments_are_named(rng):
    values, targets = (cuda.to_device(array) for array in drawn(rng, 4, False, False))
    for call, words in (
        (lambda: best_subsets(values, np.zeros(3)), ("targets = ndarray", "on the GPU", "move")),
        (lambda: best_subsets(cuda.to_device(np.ones((3, 4), np.float32)), targets), ("values.dtype = float32", "float64")),
    ):  # fmt: skip
        assert_one_line_error(call, *words, error=TypeError)
    for call, words in (
        (lambda: best_subsets(cuda.to_device(np.ones((2, 4))), targets), ("values.shape = (2, 4)", "(3, any)")),
        (lambda: best_subsets(values, values), ("targets.shape = (3, 4)", "(any)")),
        (lambda: best_subsets(cuda.to_device(np.ones(41)), targets), ("n = 41", "1 to 40")),
        (lambda: best_subsets(cuda.to_device(np.ones((3, 0))), targets), ("n = 0", "1 to 40")),
    ):
        assert_one_line_error(call, *words)


@pytest.mark.skipif(config.ENABLE_CUDASIM or cuda.is_available(), reason="this is the simulator, or a GPU")
def test_in_the_simulator():
    assert passed_in_the_simulator(__file__) == 24


@pytest.fixture(scope="module", params=TARGETS.values(), ids=TARGETS)
def target(request) -> tuple[int, int]:
    """The kind of GPU."""
    return request.param


@pytest.fixture(scope="module", params=SIGNATURES)
def ptx(request, target) -> str:
    """One kernel as the text that NVIDIA's driver takes."""
    kernel = getattr(subset_sum_cuda, request.param)
    return cuda.compile_ptx(kernel.py_func, types.void(*SIGNATURES[request.param]), cc=target)[0]


@compiles
def test_compiles_for_the_target(ptx, target):
    assert re.search(rf"^\.target sm_{target[0]}{target[1]}$", ptx, re.MULTILINE)
    assert 0 < shared_bytes(ptx) <= STATIC_SHARED_MEMORY


@compiles
def test_the_same_arithmetic_as_on_the_cpu(ptx):
    """Sums in float64, nothing fused, nothing added by two threads."""
    assert "add.rn.f64" in ptx or "add.f64" in ptx
    assert not re.search(r"\b(fma|mad|mul)\S*\.f(32|64)|\b(atom|red)\.", ptx)
    assert ".f32" not in ptx


@compiles
def test_knows_which_memory_it_reads(ptx):
    kinds = set(re.findall(r"\bld(?:\.volatile)?\.(\w+)", ptx))
    assert kinds <= {"param", "global", "shared"} and {"global", "shared"} <= kinds
    assert ".local" not in ptx and not re.search(r"\bcall\b", ptx)


@compiles
def test_fits_the_registers(ptx, target):
    registers, spills = registers_and_spills(ptx, target)
    assert registers * subset_sum_cuda.THREADS * 3 <= 65536  # three blocks at a time
    assert spills == 0


@pytest.mark.skipif(config.ENABLE_CUDASIM or not cuda.is_available(), reason="no GPU here")
def test_torch_tensors_in_and_out_at_real_size(rng):
    torch = pytest.importorskip("torch")
    for n in (21, 26):
        values, targets = drawn(rng, n, False, False, targets=3000)
        found = best_subsets(torch.from_numpy(values).cuda(), torch.from_numpy(targets).cuda())
        parts = (found.masks, found.sums, found.errors)
        assert all(type(part) is torch.Tensor and part.is_cuda for part in parts) and found.masks.dtype == torch.bool
        assert_same(Subsets(*(part.cpu().numpy() for part in parts)), best_subsets(values, targets))
    for name, signature in SIGNATURES.items():
        assert set(getattr(subset_sum_cuda, name).overloads) == {signature}
