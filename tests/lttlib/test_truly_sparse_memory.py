"""Memory of dense, masked and truly sparse training: bytes by hand, and the highest level of a process really seen."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from errors import assert_one_line_error
from torch import nn

from lttlib.condensed_mlp import CondensedMLP
from lttlib.data import digits
from lttlib.experiments import truly_sparse as experiment
from lttlib.experiments.truly_sparse import OPTIMIZERS, WAYS, Setting, state_bytes

TINY = Setting(digits, (64, 40, 24, 10), 64, 120, 20)
WEIGHTS, BIASES = 40 * 64 + 24 * 40 + 10 * 24, 40 + 24 + 10
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def by(optimizer, model):
    """The optimizer after one step of this model, for 6 inputs."""
    engine = optimizer(model.parameters())
    model(torch.ones(3, 6)).sum().backward()
    engine.step()
    return engine


def test_bytes_of_a_dense_network_by_hand():
    """6 * 2 + 2 numbers of 4 bytes. Adam remembers two of each, and a step number for each tensor."""
    model = nn.Sequential(nn.Linear(6, 2))
    assert state_bytes(model, OPTIMIZERS["SGD"](model.parameters())) == 56
    assert state_bytes(model, by(OPTIMIZERS["SGD"], model)) == 3 * 56
    assert state_bytes(model, by(OPTIMIZERS["Adam"], model)) == 4 * 56 + 2 * 4
    assert state_bytes(nn.BatchNorm1d(5), OPTIMIZERS["SGD"](model.parameters())) == 2 * 20 + 2 * 20 + 8


@pytest.mark.parametrize("name, copies, beside", [("SGD", 3, 0), ("Adam", 4, 4 * 4)])
def test_bytes_of_a_truly_sparse_network_by_hand(name, copies, beside):
    """Budgets of 10 for 4 neurons with 2 of 6 inputs, and of 8 for 5 with 1 of 4: 2 and 3 of them are not in use."""
    model = CondensedMLP((6, 4, 5), density=0.4, distribution="uniform", generator=torch.Generator().manual_seed(0))
    first, second = model[0], model[2]
    assert [len(first.values), len(second.values), first.fan_in, second.fan_in] == [10, 8, 2, 1]
    numbers = 4 * (10 + 4) + 4 * (8 + 5)  # values and biases
    buffers = 10 + 4 + 8 + 5  # an index and whether a neuron is alive take a byte each
    pattern = 4 * 4 + 8 * 5 + (4 + 4) * 6  # rows, where each begins, and two arrays over the inputs
    other = 4 * 5 + 8 * 6 + (4 + 4) * 4
    transposed = 8 * 5 + (1 + 4) * 5  # of the second: starts; reader and place of each live weight
    engine = by(OPTIMIZERS[name], model)
    assert state_bytes(model, engine) == copies * numbers + beside + buffers + pattern + other + transposed


def test_memory_rows(monkeypatch):
    """Counted: weights, gradients, momentum or two moments; and masks of one or four bytes per weight."""
    asked = []
    monkeypatch.setitem(experiment.SETTINGS, "digits", TINY)

    class Pool:
        def __init__(self, processes):
            assert processes == 1

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def apply(self, function, arguments):
            asked.append((function, *arguments))
            return 77

    contexts = {"spawn": SimpleNamespace(Pool=Pool)}
    monkeypatch.setattr(experiment.multiprocessing, "get_context", contexts.get)
    found = {way: experiment.run("digits", "memory", way, 0.9, 0) for way in WAYS}
    assert asked == [(experiment._peak, TINY, way) for way in WAYS]
    for way, entry in (("dense", 0), ("masked", 1), ("mask in the forward", 4)):
        sgd, adam = found[way]
        assert [sgd["optimizer"], adam["optimizer"]] == ["SGD", "Adam"]
        assert sgd["state_bytes"] == 3 * 4 * (WEIGHTS + BIASES) + entry * WEIGHTS
        assert adam["state_bytes"] == 4 * 4 * (WEIGHTS + BIASES) + 6 * 4 + entry * WEIGHTS
        assert sgd["peak_bytes"] == 77 and "peak_bytes" not in adam
    sgd, adam = found["truly sparse"]
    live = experiment._never_dense(TINY)
    budget = sum(len(layer.values) for layer in live.sparse_layers().values())
    assert budget == pytest.approx(0.1 * WEIGHTS, abs=3)
    assert adam["state_bytes"] - sgd["state_bytes"] == 4 * (budget + BIASES) + 6 * 4
    assert 3 * 4 * (budget + BIASES) + budget < sgd["state_bytes"] < found["dense"][0]["state_bytes"] / 2


@linux
def test_resident_memory_is_seen():
    before = experiment._resident("VmRSS")
    block = np.ones(50 * 2**17)  # 50 MB, touched
    assert experiment._resident("VmRSS") - before > 49 * 2**20
    high = experiment._resident("VmHWM")
    del block
    assert experiment._resident("VmHWM") >= high - 2**20 > before + 48 * 2**20


@linux
def test_the_highest_level_is_that_of_the_run_alone(monkeypatch):
    """Not of what warms up, nor of what was there before; and what the run has given back counts."""
    kept, asked = np.ones(30 * 2**17), []

    def fake(way, setting, optimizer, steps=None):
        asked.append((way, setting, optimizer, steps))
        return lambda: np.ones((60 if steps else 120) * 2**17).sum()

    monkeypatch.setattr(experiment, "step_call", fake)
    found = experiment._peak(TINY, "masked") / 2**20
    assert 58 < found < 80 and kept.all()
    assert [call[0] for call in asked] == ["masked", "masked"]
    assert asked[1] == ("masked", TINY, OPTIMIZERS["SGD"], 22)


@linux
def test_a_process_of_its_own_holds_what_it_must():
    """Weights, gradients and momentum of 1.5 million weights, and the masks that are 0 or 1."""
    wide = replace(TINY, sizes=(64, 1200, 1200, 10))
    (row, _) = experiment._memory(wide, "masked", 0.9, 0)
    assert 3 * 4 * (64 * 1200 + 1200 * 1200 + 12_000) < row["state_bytes"] < row["peak_bytes"] < 150 * 2**20


def test_elsewhere_the_highest_level_is_an_error(monkeypatch):
    monkeypatch.setattr(experiment.sys, "platform", "darwin")
    assert_one_line_error(lambda: experiment._peak(TINY, "dense"), "sys.platform", "darwin", "linux")
