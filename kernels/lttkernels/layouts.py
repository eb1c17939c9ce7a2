"""What every sparse layer's forward pass takes: x in one of two layouts, a bias or none, a place to write or none."""

from functools import cache

import numpy as np

from lttkernels.arguments import FLOAT, require, require_array


def linear_arguments(x, shape: tuple[int, int], bias, transposed: bool, out) -> tuple[int, np.ndarray, np.ndarray]:
    """(batch, bias, out) of a layer of shape (out, in), checked; zeros and a new array where None was given.

    x: (batch, in), or (in, batch) if transposed, and out likewise, in other memory than x. bias: (out,). All float32,
    C-contiguous.
    """
    features, inputs = shape
    require_array(x, "x", dtype=FLOAT, shape=(inputs, None) if transposed else (None, inputs),
                  remedy="transposed=True is for (in, batch)")  # fmt: skip
    batch = x.shape[1] if transposed else x.shape[0]
    wanted = (features, batch) if transposed else (batch, features)
    if bias is None:
        bias = _no_bias(features)
    else:
        require_array(bias, "bias", dtype=FLOAT, shape=(features,))
    if out is None:
        out = np.empty(wanted, np.float32)
    else:
        require_array(out, "out", dtype=FLOAT, shape=wanted)
        require(out.flags.writeable, "out", "a read-only array", "one to write to", "leave it away, or copy it")
    return batch, bias, out


@cache
def _no_bias(features: int) -> np.ndarray:
    """Zeros; making them anew would take a tenth of the time of a layer at batch 1."""
    return np.zeros(features, np.float32)


def require_matrix_and_mask(weight, mask) -> None:
    """weight (out, in) float32 and a mask of the same shape: bool, True = live."""
    require_array(weight, "weight", dtype=FLOAT, shape=(None, None))
    require_array(mask, "mask", dtype=np.dtype(bool), shape=weight.shape, remedy="a mask has the shape of its weight")


def reference_bias(bias) -> np.ndarray | float:
    """bias in float64, 0 for None."""
    return 0.0 if bias is None else bias.astype(np.float64)
