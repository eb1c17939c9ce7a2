"""The kernels for GPUs, compiled for real on a machine without one, for the oldest and a recent kind of GPU.

Needs the extra [cuda]. LTT_REQUIRE_CUDA_COMPILER=1 makes its absence a failure.
"""

import os
import re
from importlib.util import find_spec

import pytest
from compiled import TARGETS, registers_and_spills, shared_bytes
from cuda_signatures import SIGNATURES
from lttkernels import tiles_cuda
from numba import cuda, types

if find_spec("numba_cuda") is None and os.environ.get("LTT_REQUIRE_CUDA_COMPILER") != "1":
    pytest.skip("numba-cuda is not installed: .venv/bin/python -m pip install -e '.[cuda]'", allow_module_level=True)

STATIC_SHARED_MEMORY = 48 * 1024  # bytes that every GPU gives a block without being asked
KERNELS = [(name, index) for name, signatures in SIGNATURES.items() for index in range(len(signatures))]


@pytest.fixture(scope="module", params=TARGETS.values(), ids=TARGETS)
def target(request) -> tuple[int, int]:
    """The kind of GPU."""
    return request.param


@pytest.fixture(scope="module", params=KERNELS, ids=str)
def ptx(request, target) -> str:
    """One kernel as the text that NVIDIA's driver takes."""
    name, index = request.param
    kernel, signature = getattr(tiles_cuda, name), types.void(*SIGNATURES[name][index])
    bounds = kernel.targetoptions.get("launch_bounds")
    return cuda.compile_ptx(kernel.py_func, signature, cc=target, launch_bounds=bounds)[0]


def test_is_for_the_target(ptx, target):
    assert re.search(rf"^\.target sm_{target[0]}{target[1]}$", ptx, re.MULTILINE)


def test_shared_memory_fits_every_gpu(ptx):
    assert shared_bytes(ptx) <= STATIC_SHARED_MEMORY
    assert (shared_bytes(ptx) > 0) == ("bar.sync" in ptx)


def test_computes_in_single_precision(ptx):
    """A double slips in with a literal or where Numba mixes signed and unsigned; GPUs compute it 2 to 64 times slower."""
    assert ".f64" not in ptx
    assert "fma.rn.f32" in ptx or "permute_kernel" in ptx


def test_knows_which_memory_it_reads(ptx):
    """No loads from unknown memory, no arrays in local memory, no calls: all is inlined."""
    kinds = set(re.findall(r"\bld(?:\.volatile)?\.(\w+)", ptx))
    assert kinds <= {"param", "global", "shared"} and "global" in kinds
    assert ("shared" in kinds) == ("bar.sync" in ptx)
    assert ".local" not in ptx and not re.search(r"\bcall\b", ptx)


def test_no_atomics(ptx):
    """Sums in any order would differ from run to run."""
    assert not re.search(r"\b(atom|red)\.", ptx)


def test_fits_the_registers(ptx, target):
    """Machine code for the target: a block that asks for more than 65,536 registers would not start at all."""
    registers, spills = registers_and_spills(ptx, target)
    blocks = 2 if ".minnctapersm 2" in ptx else 1
    assert registers * tiles_cuda.THREADS * blocks <= 65536
    assert spills <= 16
