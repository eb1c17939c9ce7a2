"""A bias and an activation on the rows of a matrix in one pass, and the way back: what stands between two matrix products.

    out = activation(h + bias),        gradient by h = activation'(h + bias) * gradient by out

GELU is x * Phi(x), Phi the normal distribution function: Hendrycks and Gimpel 2016, arXiv:1606.08415, not their tanh
formula. Phi - 1/2 and GELU' - 1/2 are odd functions; x times one polynomial of degree 5 in x^2 over another is within
4e-9 and 1.1e-7 of them, so that no exponential is needed and everything stays in registers. The coefficients are a
fit of the largest error made for this file; beyond its ends the answers are x or 0. Chapter "Mixture of experts".
"""

import numba
import numpy as np

from lttkernels.arguments import FLOAT, require, require_array
from lttkernels.threads import get_threads

ACTIVATIONS = ("gelu", "relu")
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
PHI_END, SLOPE_END = np.float32(5.3), np.float32(5.6)
P0, P1, P2, P3, P4, P5 = np.array(
    [0.398942262, 0.0329358093, 0.00462799612, 0.000160334937, 6.37907669e-06, 2.40503439e-08], np.float32
)
Q1, Q2, Q3, Q4, Q5 = np.array(
    [0.249224067, 0.0281388424, 0.00183657394, 7.13525296e-05, 1.23717075e-06], np.float32
)  # fmt: skip
R0, R1, R2, R3, R4, R5 = np.array(
    [0.797885358, -0.0309751965, 0.0142260566, 1.97544668e-05, 3.58992329e-05, 1.92166269e-07], np.float32
)
S1, S2, S3, S4, S5 = np.array(
    [0.294519782, 0.0409837961, 0.00352264289, 0.000192052699, 8.9281375e-06], np.float32
)  # fmt: skip
fast = {"nogil": True, "cache": True, "fastmath": {"contract"}, "error_model": "numpy"}  # or no division is vectorized


def activate(h: np.ndarray, bias: np.ndarray, activation: str = "gelu", *, out: np.ndarray | None = None) -> np.ndarray:
    """Write activation(h + bias) to out, or to h itself if out is None, and return what was written.

    h, out: (rows, units), bias: (units,), float32, C-contiguous. activation: "gelu" or "relu". Raises TypeError or
    ValueError for another dtype, layout or shape.
    """
    target = _require(h, bias, activation, h if out is None else out)
    write_activated(h, bias, h, activation == "gelu", False, out is None, target)
    return target


def activate_gradient(
    h: np.ndarray, bias: np.ndarray, grad: np.ndarray, activation: str = "gelu", *, out: np.ndarray | None = None
) -> np.ndarray:
    """Write activation'(h + bias) * grad, the gradient by h, to out, or to grad itself if out is None. See activate.

    grad: (rows, units). The slope of the ReLU at 0 is 0.
    """
    target = _require(h, bias, activation, grad if out is None else out)
    require_array(grad, "grad", dtype=FLOAT, shape=h.shape)
    write_activated(h, bias, grad, activation == "gelu", True, out is None, target)
    return target


def _require(h, bias, activation, target) -> np.ndarray:
    require(activation in ACTIVATIONS, "activation", activation, " or ".join(ACTIVATIONS), "check the spelling")
    require_array(h, "h", dtype=FLOAT, shape=(None, None))
    require_array(bias, "bias", dtype=FLOAT, shape=h.shape[1:], remedy="one for each unit")
    require_array(target, "out", dtype=FLOAT, shape=h.shape)
    require(target.flags.writeable, "out", "a read-only array", "one to write to", "copy it")
    return target


def write_activated(h, bias, grad, gelu: bool, back: bool, in_place: bool, out) -> None:
    """Both of the above on as many threads as are in use, for callers whose arrays are checked: nothing is here.

    grad: only read on the way back. in_place: out is h, or on the way back grad.
    """
    threads = min(get_threads(), len(h))
    if threads > 1:
        _rows_parallel(threads, len(h), h, bias, grad, gelu, back, in_place, out)
    else:
        _rows(0, len(h), h, bias, grad, gelu, back, in_place, out)


@numba.njit(inline="always", **fast)
def _gelu(x):
    c = PHI_END if x > PHI_END else (-PHI_END if x < -PHI_END else x)
    t = c * c
    above = c * (P0 + t * (P1 + t * (P2 + t * (P3 + t * (P4 + t * P5)))))
    odd = above / (ONE + t * (Q1 + t * (Q2 + t * (Q3 + t * (Q4 + t * Q5)))))
    return x * (HALF + (HALF if x > PHI_END else (-HALF if x < -PHI_END else odd)))


@numba.njit(inline="always", **fast)
def _gelu_slope(x):
    c = SLOPE_END if x > SLOPE_END else (-SLOPE_END if x < -SLOPE_END else x)
    t = c * c
    above = c * (R0 + t * (R1 + t * (R2 + t * (R3 + t * (R4 + t * R5)))))
    odd = above / (ONE + t * (S1 + t * (S2 + t * (S3 + t * (S4 + t * S5)))))
    return HALF + (HALF if x > SLOPE_END else (-HALF if x < -SLOPE_END else odd))


@numba.njit(inline="always", **fast)
def _row(h, bias, grad, gelu, back, out):
    if gelu and back:
        for unit in range(bias.size):
            out[unit] = _gelu_slope(h[unit] + bias[unit]) * grad[unit]
    elif gelu:
        for unit in range(bias.size):
            out[unit] = _gelu(h[unit] + bias[unit])
    elif back:
        for unit in range(bias.size):
            out[unit] = ZERO if h[unit] + bias[unit] <= ZERO else grad[unit]
    else:
        for unit in range(bias.size):
            x = h[unit] + bias[unit]
            out[unit] = ZERO if x <= ZERO else x


@numba.njit(**fast)
def _rows(first, last, h, bias, grad, gelu, back, in_place, out):
    """Rows first to last of out. in_place: out is what is read, h or on the way back grad.

    It is then called by one name only: under two the compiler fears that a row overlaps itself, and uses no registers.
    """
    for row in range(first, last):
        if not in_place:
            _row(h[row], bias, grad[row], gelu, back, out[row])
        elif back:
            target = out[row]
            _row(h[row], bias, target, gelu, back, target)
        else:
            target = out[row]
            _row(target, bias, target, gelu, back, target)


@numba.njit(parallel=True, **fast)
def _rows_parallel(threads, rows, h, bias, grad, gelu, back, in_place, out):
    for thread in numba.prange(threads):
        _rows(rows * thread // threads, rows * (thread + 1) // threads, h, bias, grad, gelu, back, in_place, out)
