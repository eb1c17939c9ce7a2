"""Scratch memory that kernels reuse from call to call, aligned to cache lines.

A read of 64 bytes that crosses the border of two cache lines costs two reads: numpy aligns to 16 bytes only.
"""

import threading

import numpy as np

_kept = threading.local()


def aligned_empty(count: int, align: int = 64) -> np.ndarray:
    """An uninitialized array (count,) of float32 that starts at a multiple of `align` bytes."""
    raw = np.empty(count + align // 4, np.float32)
    first = -raw.ctypes.data % align // 4
    return raw[first : first + count]


def scratch(name: str, count: int, align: int = 64) -> np.ndarray:
    """(count,) float32, uninitialized, aligned; the same memory at the next call of this thread with this name.

    Fresh memory costs a page fault every 4 KB, more than some of the loops that write to it.
    """
    held = getattr(_kept, name, None)
    if held is None or held.size < count:
        held = aligned_empty(count, align)
        setattr(_kept, name, held)
    return held[:count]
