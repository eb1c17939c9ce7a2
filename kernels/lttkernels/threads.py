"""How many threads the CPU kernels use."""

import numba

# Numba starts a loop in about 2 us on OpenMP and in about 140 us on its own workqueue.
numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]

_threads = 1  # numba.get_num_threads would answer the same and takes longer than a small layer


def set_threads(count: int) -> None:
    """Let the kernels use `count` threads, at most as many as Numba has (by default one for each core)."""
    global _threads
    wanted = max(1, min(count, numba.config.NUMBA_NUM_THREADS))
    if wanted == _threads:
        return  # a training step asks twice, and telling Numba takes longer than a small layer
    _threads = wanted
    if _threads > 1:
        numba.set_num_threads(_threads)


def get_threads() -> int:
    """The number of threads in use; 1 until set_threads was called."""
    return _threads
