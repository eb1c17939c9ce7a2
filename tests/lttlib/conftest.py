"""Settings of the unit tests: few and repeatable examples, one thread, no window."""

import matplotlib
import pytest
import torch
from hypothesis import settings

matplotlib.use("Agg")
torch.set_num_threads(1)
settings.register_profile("lttlib", max_examples=25, derandomize=True, deadline=None, database=None)
settings.load_profile("lttlib")


@pytest.fixture(autouse=True)
def global_generator():
    """Who draws without a generator of its own draws the same each time."""
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    """A fresh generator, always the same."""
    return torch.Generator().manual_seed(0)
