"""Arrays beside memory that may not be touched: one step too far ends the process, and a test sees it."""

import ctypes
import mmap
import sys

import numpy as np

_libc = ctypes.CDLL(None, use_errno=True)
PROT_NONE = 0


BORDER = 2**16  # borders are multiples of this: an array in tiles of a power of two bytes begins at a multiple of them


def guarded(array: np.ndarray, side: str) -> np.ndarray:
    """A copy of array that ends right before a forbidden page (side "end") or begins right after one ("start")."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * BORDER + array.nbytes + page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    border = -(-(address + (array.nbytes if side == "end" else page)) // BORDER) * BORDER
    forbidden = ctypes.c_void_p(border if side == "end" else border - page)
    if _libc.mprotect(forbidden, ctypes.c_size_t(page), PROT_NONE):
        raise OSError(ctypes.get_errno(), "mprotect")
    start = border - array.nbytes if side == "end" else border
    copy = np.ndarray(array.shape, array.dtype, memory, start - address)
    copy[...] = array
    return copy


def step_too_far(side: str) -> None:
    """Read one number beyond a guarded array, in a kernel as the package writes them."""
    import numba
    from lttkernels.simd import element, pointer

    @numba.njit
    def read(array, position):
        return element(pointer(array), position)

    array = guarded(np.arange(5, dtype=np.float32), side)
    assert [read(array, i) for i in range(5)] == [0, 1, 2, 3, 4]
    print("within is fine", flush=True)
    read(array, 5 if side == "end" else -1)


if __name__ == "__main__":
    step_too_far(sys.argv[1])
