"""What the page says of the recorded runs and no claim covers: SET explores what the exercise computes."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest

from lttlib.claims.moving_masks import record
from lttlib.dst import layer_densities
from lttlib.experiments.dynamic_sparse import SETTINGS
from lttlib.experiments.runner import by_seed, rows
from lttlib.masks import keep_count

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def solutions():
    path = ROOT / "book" / "solutions" / "moving_masks.py"
    spec = importlib.util.spec_from_file_location("moving_masks_solutions", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("interval", SETTINGS["digits"].intervals)
def test_set_explores_what_chance_says(solutions, interval):
    setting, density = SETTINGS["digits"], 0.03
    sizes = (64, *setting.hidden, 10)
    shapes = {str(i): (out, into) for i, (into, out) in enumerate(itertools.pairwise(sizes))}
    places = {name: out * into for name, (out, into) in shapes.items()}
    shares = layer_densities(shapes, density, "erk")
    ever = sum(places[name] * solutions.explored_by_chance(places[name], keep_count(places[name], 1 - shares[name]), 0.3,
                                                           interval, 3 * setting.steps // 4)
               for name in shapes)  # fmt: skip
    found = rows(record("digits"), part="intervals", value=density, arm=f"set, {interval}")
    seen = by_seed(found, "explored")
    assert len(seen) == 5
    assert np.mean(seen) == pytest.approx(ever / sum(places.values()), abs=0.01)
