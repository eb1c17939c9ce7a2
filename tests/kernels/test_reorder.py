"""Values in another order, by numpy's indexing."""

import numpy as np
import pytest
from lttkernels.reorder import reorder
from lttkernels.threads import set_threads


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1000])
def test_against_numpy(rng, count, threads):
    set_threads(threads)
    values, order = rng.standard_normal(1200).astype(np.float32), rng.integers(0, 1200, count).astype(np.uint32)
    out = np.full(count + 1, -77, np.float32)
    reorder(values, order, out[:count])
    np.testing.assert_array_equal(out, np.append(values[order], np.float32(-77)))
