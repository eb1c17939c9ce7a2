"""The kernels for GPUs on a machine without one, in Numba's simulator."""

from pathlib import Path

import pytest
from compiled import passed_in_the_simulator


@pytest.mark.parametrize("name", ["test_cuda_semantics.py", "test_cuda_banks.py"])
def test_in_the_simulator(name):
    assert passed_in_the_simulator(Path(__file__).with_name(name)) > 0
