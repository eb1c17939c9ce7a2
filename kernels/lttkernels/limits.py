"""What this machine can do at best, measured: the rulers that every benchmark row is held against.

Roofline model: Williams, Waterman and Patterson 2009, doi:10.1145/1498765.1498785. No loop runs faster than its bytes
over the bandwidth, its arithmetic over the multiply-add rate, or its gathers over the gather rate.
"""

import time
from dataclasses import asdict, dataclass

import numba
import numpy as np

from lttkernels.memory import aligned_empty
from lttkernels.simd import fma, gather, load, load_indices, lookup, pointer, shifted, splat, store, zeros

KILOBYTE = 1024


@dataclass(frozen=True)
class Limits:
    """Of one core. bytes/s for ram, l2 and l1 (reading); flop/s, a multiply-add counts 2; entries/s for the last two."""

    ram_bandwidth: float
    copy_bandwidth: float
    l2_bandwidth: float
    l1_bandwidth: float
    flop_rate: float
    gather_rate: float
    lookup_rate: float

    def as_dict(self) -> dict[str, float]:
        """For a record."""
        return asdict(self)


def measure(seconds: float = 0.1) -> Limits:
    """Measure all limits of one core, `seconds` each; the best of many short runs, since a limit is a maximum."""
    out = aligned_empty(192)
    ram, l2, l1 = (aligned_empty(size * KILOBYTE // 4) for size in (64 * KILOBYTE, 512, 24))
    for array in (ram, l2, l1):
        array[:] = 1
    half = ram.size // 2
    draw = np.random.default_rng(0)
    indices = draw.integers(0, 1024, 8192).astype(np.uint16)
    words = draw.integers(0, 2**30, 2048, dtype=np.uint32)
    return Limits(
        ram_bandwidth=ram.nbytes / _best(lambda: _read(ram, 1, out), seconds),
        copy_bandwidth=ram.nbytes / _best(lambda: np.copyto(ram[:half], ram[half:]), seconds),
        l2_bandwidth=l2.nbytes * 4 / _best(lambda: _read(l2, 4, out), seconds),
        l1_bandwidth=l1.nbytes * 64 / _best(lambda: _read(l1, 64, out), seconds),
        flop_rate=2 * 16 * 12 * 20_000 / _best(lambda: _multiply_add(20_000, out), seconds),
        gather_rate=64 * indices.size / _best(lambda: _gather(indices, 64, l1, out), seconds),
        lookup_rate=64 * 4 * words.size / _best(lambda: _lookup(words, 64, l1, out), seconds),
    )


def _best(call, seconds: float) -> float:
    call()
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


# An addition waits four cycles for the one before it, and two can start in each cycle: eight sums or more take turns.


@numba.njit(nogil=True, cache=True)
def _read(x, times, out):
    x_at, one = pointer(x), splat(np.float32(1), 16)
    a = b = c = d = e = f = g = h = zeros(16)
    for _ in range(times):
        for i in range(0, x.size, 128):
            a, b = fma(one, load(x_at, i, 16), a), fma(one, load(x_at, i + 16, 16), b)
            c, d = fma(one, load(x_at, i + 32, 16), c), fma(one, load(x_at, i + 48, 16), d)
            e, f = fma(one, load(x_at, i + 64, 16), e), fma(one, load(x_at, i + 80, 16), f)
            g, h = fma(one, load(x_at, i + 96, 16), g), fma(one, load(x_at, i + 112, 16), h)
    _keep(out, a, b, c, d)
    _keep(out[64:], e, f, g, h)


@numba.njit(nogil=True, cache=True)
def _multiply_add(times, out):
    one = splat(out[0] * np.float32(0) + np.float32(1), 16)
    a = b = c = d = e = f = g = h = i = j = k = m = zeros(16)
    for _ in range(times):
        a, b, c, d = fma(one, a, one), fma(one, b, one), fma(one, c, one), fma(one, d, one)
        e, f, g, h = fma(one, e, one), fma(one, f, one), fma(one, g, one), fma(one, h, one)
        i, j, k, m = fma(one, i, one), fma(one, j, one), fma(one, k, one), fma(one, m, one)
    _keep(out, a, b, c, d)
    _keep(out[64:], e, f, g, h)
    _keep(out[128:], i, j, k, m)


@numba.njit(nogil=True, cache=True)
def _gather(indices, times, x, out):
    x_at, indices_at, one = pointer(x), pointer(indices), splat(np.float32(1), 16)
    a, b, c, d = zeros(16), zeros(16), zeros(16), zeros(16)
    for _ in range(times):
        for i in range(0, indices.size, 64):
            a = fma(one, gather(x_at, load_indices(indices_at, i, 16)), a)
            b = fma(one, gather(x_at, load_indices(indices_at, i + 16, 16)), b)
            c = fma(one, gather(x_at, load_indices(indices_at, i + 32, 16)), c)
            d = fma(one, gather(x_at, load_indices(indices_at, i + 48, 16)), d)
    _keep(out, a, b, c, d)


@numba.njit(nogil=True, cache=True)
def _lookup(words, times, x, out):
    """Four offsets from each word, as lttkernels.lookup takes them."""
    x_at, words_at, one = pointer(x), pointer(words), splat(np.float32(1), 16)
    a = b = c = d = e = f = g = h = zeros(16)
    low, high = load(x_at, 0, 16), load(x_at, 16, 16)
    for _ in range(times):
        for i in range(0, words.size, 32):
            near, far = load_indices(words_at, i, 16), load_indices(words_at, i + 16, 16)
            a, b = fma(one, lookup(low, high, near), a), fma(one, lookup(low, high, shifted(near, 5)), b)
            c, d = fma(one, lookup(low, high, shifted(near, 10)), c), fma(one, lookup(low, high, shifted(near, 15)), d)
            e, f = fma(one, lookup(low, high, far), e), fma(one, lookup(low, high, shifted(far, 5)), f)
            g, h = fma(one, lookup(low, high, shifted(far, 10)), g), fma(one, lookup(low, high, shifted(far, 15)), h)
    _keep(out, a, b, c, d)
    _keep(out[64:], e, f, g, h)


@numba.njit(inline="always")
def _keep(out, a, b, c, d):
    """Results must go somewhere, or the compiler drops the loop."""
    out_at = pointer(out)
    store(out_at, 0, a)
    store(out_at, 16, b)
    store(out_at, 32, c)
    store(out_at, 48, d)
