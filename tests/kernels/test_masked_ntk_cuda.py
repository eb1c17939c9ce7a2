"""masked_ntk on a GPU: on one where there is one, else in Numba's simulator; and compiled for real without one.

Whole numbers, so that sums are exact in any order. A simulated thread takes about a millisecond: few rows, and just more
samples than a tile has.
"""

import re

import numpy as np
import pytest
from compiled import TARGETS, compiles, passed_in_the_simulator, registers_and_spills, shared_bytes
from drawn_layers import assert_one_line_error
from lttkernels import masked_ntk_cuda
from lttkernels.masked_ntk import masked_ntk, reference_masked_ntk
from numba import cuda, types
from numba.core import config

if config.ENABLE_CUDASIM:
    from cuda_in_turns import take_turns

    take_turns()

runs = pytest.mark.skipif(not config.ENABLE_CUDASIM and not cuda.is_available(),
                          reason="no GPU here; test_in_the_simulator runs these in a simulator")  # fmt: skip
KINDS = pytest.mark.parametrize("kind", [np.float32, np.float64])
COUNT, NAMES, DOUBLES, NONE = types.int64, types.uint32[::1], types.float64[::1], types.none
SIGNATURES = {"live_kernel": [(types.boolean[::1], COUNT, NAMES, NAMES)]}  # what runs on a GPU is what is compiled
for bits, floats in (("32", types.float32[::1]), ("64", DOUBLES)):
    SIGNATURES[f"sums_kernel_{bits}"] = [
        (floats, floats, NAMES, NAMES, COUNT, COUNT, COUNT, DOUBLES),
        (floats, NONE, NONE, NONE, COUNT, COUNT, COUNT, DOUBLES),
    ]
for name, ends in (("turn_kernel", (COUNT, COUNT)), ("add_kernel", None)):
    for floats in (types.float32[::1], DOUBLES):
        several = [(floats, *ends, floats)] if ends else [(DOUBLES, kind, COUNT, floats) for kind in (NONE, DOUBLES)]
        SIGNATURES.setdefault(name, []).extend(several)
KERNELS = [(name, index) for name, signatures in SIGNATURES.items() for index in range(len(signatures))]
STATIC_SHARED_MEMORY = 48 * 1024  # bytes that every GPU gives a block without being asked


def drawn(rng, n: int, inputs: int, outputs: int, kind=np.float32) -> tuple:
    """Whole numbers, and a mask whose rows keep from none to all."""
    a, d = rng.integers(-3, 4, (n, inputs)).astype(kind), rng.integers(-2, 3, (n, outputs)).astype(kind)
    shares = rng.permutation(np.resize([0.4, 1, 0], outputs))
    return a, d, rng.random((outputs, inputs)) < shares[:, None]


def there(a, d, mask) -> np.ndarray:
    """masked_ntk on the GPU, brought back; on the way it must stay there."""
    found = masked_ntk(*(None if array is None else cuda.to_device(array) for array in (a, d, mask)))
    assert not isinstance(found, np.ndarray)
    return found.copy_to_host()


@runs
@pytest.mark.parametrize("n, inputs, outputs, kind", [(1, 1, 1, np.float32), (5, 40, 3, np.float64), (33, 9, 2, np.float32),
                                                      (70, 33, 1, np.float64), (2, 300, 3, np.float32)])  # fmt: skip
def test_answers_are_the_references(rng, n, inputs, outputs, kind):
    """A tile has 32 samples and 32 inputs, a block 256 threads."""
    a, d, mask = drawn(rng, n, inputs, outputs, kind)
    for some in (mask, None):
        found = there(a, d, some)
        assert found.dtype == kind
        np.testing.assert_array_equal(found, reference_masked_ntk(a, d, some))


@runs
def test_more_rows_than_shares(rng, monkeypatch):
    monkeypatch.setattr(masked_ntk_cuda, "SHARES", 2)
    a, d, mask = drawn(rng, 3, 20, 7)
    np.testing.assert_array_equal(there(a, d, mask), reference_masked_ntk(a, d, mask))
    a, d, _ = drawn(rng, 3, 600, 2)  # in rows of 256 features
    np.testing.assert_array_equal(there(a, d, None), reference_masked_ntk(a, d))


@runs
@pytest.mark.parametrize("n, outputs, blocks", [(3, 7, 7), (3, 70, 64), (33, 2, 6), (3, 0, 1)])
def test_rows_are_shared_by_many_blocks(monkeypatch, n, outputs, blocks):
    """Tiles of 32 samples times shares of the rows, 64 at most; nothing is run."""

    class Spy:
        def __getitem__(self, launched):
            grids.append(launched)
            return lambda *what: None

    grids = []
    monkeypatch.setattr(masked_ntk_cuda, "sums_kernel_32", Spy())
    arrays = np.ones((n, 1), np.float32), np.ones((n, outputs), np.float32), np.ones((outputs, 1), bool)
    masked_ntk(*(cuda.to_device(array) for array in arrays))
    assert grids == [(blocks, masked_ntk_cuda.THREADS)]


@runs
def test_long_sums_go_to_double_precision():
    """600 terms that float32 cannot add to the first: there, 2^25 + 1 is 2^25."""
    a, d = np.ones((1, 901), np.float32), np.ones((1, 1), np.float32)
    a[0, 0] = 2.0**13
    assert there(a, d, np.ones((1, 901), bool)) == np.float32(2.0**26 + 900 - 255)


@runs
@pytest.mark.parametrize("n, inputs, outputs", [(0, 3, 2), (3, 0, 2), (3, 2, 0)])
def test_nothing_to_add(n, inputs, outputs):
    a, d = np.ones((n, inputs), np.float32), np.ones((n, outputs), np.float32)
    for mask in (np.ones((outputs, inputs), bool), None):
        found = there(a, d, mask)
        assert found.shape == (n, n) and not found.any()


@runs
def test_wrong_arguments_are_named(rng):
    host = drawn(rng, 4, 6, 3)
    a, d, mask = (cuda.to_device(array) for array in host)
    for call, words in (
        (lambda: masked_ntk(a, host[1], mask), ("deltas = ndarray", "on the GPU", "move")),
        (lambda: masked_ntk(a, d, host[2]), ("mask = ndarray", "on the GPU", "move")),
        (lambda: masked_ntk(a, cuda.to_device(host[1].astype(float)), mask), ("deltas.dtype = float64", "float32")),
        (lambda: masked_ntk(cuda.to_device(host[0].astype(int)), d, mask), ("activations.dtype = int64", "float64")),
        (lambda: masked_ntk(a, d, a), ("mask.dtype = float32", "bool")),
    ):
        assert_one_line_error(call, *words, error=TypeError)
    assert_one_line_error(lambda: masked_ntk(a, d, mask, method="pairs"), "method = 'pairs'", "'rows'", "torch")
    assert_one_line_error(lambda: masked_ntk(a, cuda.to_device(host[1][:3]), mask), "deltas.shape = (3, 3)", "(4, any)")
    turned = cuda.to_device(np.ascontiguousarray(host[2].T))
    assert_one_line_error(lambda: masked_ntk(a, d, turned), "mask.shape = (6, 3)", "(3, 6)")


@pytest.mark.skipif(config.ENABLE_CUDASIM or cuda.is_available(), reason="this is the simulator, or a GPU")
def test_in_the_simulator():
    assert passed_in_the_simulator(__file__) == 15


@pytest.fixture(scope="module", params=TARGETS.values(), ids=TARGETS)
def target(request) -> tuple[int, int]:
    """The kind of GPU."""
    return request.param


@pytest.fixture(scope="module", params=KERNELS, ids=str)
def ptx(request, target) -> tuple[str, str]:
    """One kernel's name, and the text that NVIDIA's driver takes."""
    name, index = request.param
    kernel = getattr(masked_ntk_cuda, name)
    return name, cuda.compile_ptx(kernel.py_func, types.void(*SIGNATURES[name][index]), cc=target)[0]


@compiles
def test_compiles_for_the_target(ptx, target):
    name, text = ptx
    assert re.search(rf"^\.target sm_{target[0]}{target[1]}$", text, re.MULTILINE)
    assert shared_bytes(text) <= STATIC_SHARED_MEMORY
    assert (shared_bytes(text) > 0) == ("bar.sync" in text) == ("sums" in name or "live" in name)


@compiles
def test_multiplies_in_the_given_precision_and_adds_by_one_thread(ptx):
    name, text = ptx
    assert not re.search(r"\b(atom|red)\.", text)
    if "sums" in name:
        assert ("fma.rn.f32" in text) == ("32" in name) and ("fma.rn.f64" in text) == ("64" in name)


@compiles
def test_knows_which_memory_it_reads(ptx):
    _, text = ptx
    kinds = set(re.findall(r"\bld(?:\.volatile)?\.(\w+)", text))
    assert kinds <= {"param", "global", "shared"} and "global" in kinds
    assert ".local" not in text and not re.search(r"\bcall\b", text)


@compiles
def test_fits_the_registers(ptx, target):
    registers, spills = registers_and_spills(ptx[1], target)
    assert registers * masked_ntk_cuda.THREADS * 2 <= 65536  # two blocks at a time
    assert spills == 0


@pytest.mark.skipif(config.ENABLE_CUDASIM or not cuda.is_available(), reason="no GPU here")
@KINDS
def test_torch_tensors_in_and_out_at_real_size(rng, kind):
    torch = pytest.importorskip("torch")
    for n, inputs, outputs in ((64, 2048, 2048), (333, 784, 300)):
        a, d = rng.standard_normal((n, inputs)).astype(kind), rng.standard_normal((n, outputs)).astype(kind)
        mask = rng.random((outputs, inputs)) < 0.1
        for some in (mask, None):
            given = [None if array is None else torch.from_numpy(array).cuda() for array in (a, d, some)]
            found = masked_ntk(*given)
            assert type(found) is torch.Tensor and found.is_cuda and torch.equal(found, masked_ntk(*given))
            size = (np.abs(d) @ np.abs(d).T) * (np.abs(a) @ np.abs(a).T)
            off = np.abs(found.cpu().numpy() - reference_masked_ntk(a, d, some))
            assert (off <= (2e-6 if kind is np.float32 else 2e-14) * size).all()
    for name, signatures in SIGNATURES.items():
        assert set(getattr(masked_ntk_cuda, name).overloads) <= set(signatures)
