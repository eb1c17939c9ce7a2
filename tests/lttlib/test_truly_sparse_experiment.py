"""The experiment on truly sparse training, tiny: its grid, equal starts, rows of all parts but memory; no time is asserted."""

import json
import math
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from errors import assert_one_line_error
from torch import nn

from lttlib.condensed_mlp import CondensedMLP
from lttlib.data import digits
from lttlib.experiments import truly_sparse as experiment
from lttlib.experiments.truly_sparse import OPTIMIZERS, SETTINGS, WAYS, Setting, ratio, step_call

TINY = Setting(digits, (64, 40, 24, 10), 64, 120, 20)
SIZES = {"0.weight": (40, 64), "2.weight": (24, 40), "4.weight": (10, 24)}
WEIGHTS, BIASES = 40 * 64 + 24 * 40 + 10 * 24, 40 + 24 + 10
RECORDED = dict(SETTINGS)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Small networks; threads as they were."""
    threads = torch.get_num_threads()
    monkeypatch.setitem(experiment.SETTINGS, "digits", TINY)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def trained(monkeypatch):
    """What every training but those to warm up began with, its arguments, and the network after it."""
    found = []

    def watch(train):
        def watched(model, data, **options):
            begun = dense_weights(model, options.get("masks"))
            history = train(model, data, **options)
            if data.name == "digits":
                found.append({"begun": begun, "model": model, "denormal": denormal()} | options)
            return history

        return watched

    for name in ("train", "train_sparse", "train_condensed"):
        monkeypatch.setattr(experiment, name, watch(getattr(experiment, name)))
    return found


def denormal() -> float:
    return float((torch.full((16,), 1e-40) * 1).sum())


def dense_weights(model, masks=None) -> dict[str, torch.Tensor]:
    """Weights by their names in a dense network, 0 where they are dead, as copies."""
    layers = {f"{i}.weight": layer for i, layer in enumerate(model) if not isinstance(layer, nn.ReLU)}
    weights = {name: layer.dense_weight() if hasattr(layer, "dense_weight") else layer.weight.detach().clone()
               for name, layer in layers.items()}  # fmt: skip
    return {name: weight * masks[name] if masks else weight for name, weight in weights.items()}


def nonzeros(weights: dict[str, torch.Tensor]) -> int:
    return sum(value != 0 for weight in weights.values() for row in weight.tolist() for value in row)


@pytest.mark.parametrize("data", SETTINGS)
def test_accuracy_for_every_seed_and_the_rest_once(data):
    expected = Counter((part, arm, 0.9, seed) for part in ("accuracy", "vision transformer")
                       for arm in ("dense", "masked", "truly sparse") for seed in range(3))  # fmt: skip
    expected += Counter(("memory", way, 0.9, 0) for way in ("dense", "masked", "mask in the forward", "truly sparse"))
    expected += Counter(("inference", "truly sparse", s, 0) for s in (0.8, 0.9, 0.95, 0.98, 0.99))
    expected += Counter(("cost", name, threads, 0) for name in ("SGD", "Adam") for threads in (1, 2))
    cells = experiment.cells(data, 3)
    assert Counter((cell["part"], cell["arm"], cell["value"], cell["seed"]) for cell in cells) == expected
    assert all(cell["data"] == data for cell in cells)


def test_unknown_names():
    assert_one_line_error(lambda: experiment.cells("cifar", 1), "data", "'cifar'", "'mnist'", "spelling")
    assert_one_line_error(lambda: experiment.run("digits", "speed", "SGD", 1, 0), "part", "'speed'", "'inference'")


def test_accuracy_rows(trained):
    """Twice the same; the two sparse ways differ by rounding alone, so at most in a few of the 597 answers."""
    arms = ("dense", "masked", "truly sparse", "masked", "truly sparse", "dense")
    rows = [experiment.run("digits", "accuracy", arm, 0.9, 1)[0] for arm in arms]
    assert json.loads(json.dumps(rows)) == rows
    for arm, row, call in zip(arms, rows, trained, strict=True):
        assert [row[name] for name in ("part", "arm", "value", "seed")] == ["accuracy", arm, 0.9, 1]
        assert row["live"] == nonzeros(dense_weights(call["model"])) and row["cpu_seconds"] > 0
        x, y = digits().x_test, digits().y_test
        assert row["accuracy"] == pytest.approx(
            sum(map(int.__eq__, call["model"](x).argmax(1).tolist(), y.tolist())) / 597
        )
    by_arm = dict(zip(arms, rows, strict=True))
    assert [row["accuracy"] for row in rows] == [by_arm[arm]["accuracy"] for arm in arms]
    assert by_arm["masked"]["accuracy"] == pytest.approx(by_arm["truly sparse"]["accuracy"], abs=0.01)
    assert by_arm["masked"]["live"] == pytest.approx(by_arm["truly sparse"]["live"], rel=0.02)
    assert 300 < by_arm["masked"]["live"] <= 40 * 4 + 24 * 5 + 10 * 6  # what reads a pixel that is always 0 stays 0
    assert by_arm["dense"]["live"] == WEIGHTS and min(row["accuracy"] for row in rows) > 0.5
    other = experiment.run("digits", "accuracy", "truly sparse", 0.9, 2)[0]
    assert other["accuracy"] != by_arm["truly sparse"]["accuracy"]
    assert denormal() > 0  # the switch is back where it was


def test_live_weights_of_a_layer_that_stays_dense(trained):
    """At half the weights ERK leaves the last layer dense, and it counts, too."""
    rows = [experiment.run("digits", "accuracy", arm, 0.5, 0)[0] for arm in ("masked", "truly sparse")]
    assert trained[0]["masks"]["4.weight"].all() and len(trained[1]["model"].sparse_layers()) == 2
    assert rows[0]["live"] == pytest.approx(rows[1]["live"], rel=0.02) and rows[0]["live"] > 0.45 * WEIGHTS


def test_the_transformer_learns_alike_with_masks_and_without(monkeypatch):
    monkeypatch.setitem(experiment.SETTINGS, "digits", replace(TINY, steps=60))
    dense, masked, truly = (experiment.run("digits", "vision transformer", arm, 0.9, 1)[0]["accuracy"]
                            for arm in ("dense", "masked", "truly sparse"))  # fmt: skip
    assert truly == pytest.approx(masked, abs=0.01) and dense != masked


def test_equal_starts(trained):
    """One draw of N(0, 2 / fan-in) for all arms; a row with k live ones of n inputs times sqrt(n / k)."""
    for arm in ("dense", "masked", "truly sparse"):
        experiment.run("digits", "accuracy", arm, 0.9, 3)
    dense, masked, truly = trained
    for name, shape in SIZES.items():
        assert dense["begun"][name].shape == shape and dense["begun"][name].all()
        assert dense["begun"][name].std().item() == pytest.approx(math.sqrt(2 / shape[1]), rel=0.15)
        assert truly["begun"][name].equal(masked["begun"][name])
        for start, base, mask in zip(masked["begun"][name], dense["begun"][name], masked["masks"][name], strict=True):
            live = mask.tolist().count(True)
            assert live == masked["masks"][name][0].sum() > 0 and (start != 0).equal(mask)
            torch.testing.assert_close(start, base * mask * math.sqrt(len(mask) / live))
    assert nonzeros(masked["begun"]) == 40 * 4 + 24 * 5 + 10 * 6  # ERK at 0.1, floored
    for call in trained:
        assert [call["seed"], call["steps"], call["batch_size"], call["progress"]] == [3, 120, 64, False]
        assert [call["schedule"](step) for step in (0, 60, 120)] == pytest.approx([1, 0.5, 0])
        assert call["optimizer"] is dense["optimizer"] and call["denormal"] == 0
    assert masked["interval"] == truly["interval"] == 20 and masked["method"] == "srigl"


def test_loading_and_compiling_is_no_part_of_the_seconds(monkeypatch):
    """A warm-up goes before the clock: the same way, indices of the same type, and an update."""
    order = []
    fake = partial(lambda way, setting, optimizer: lambda: order.append((way, setting)))
    monkeypatch.setattr(experiment, "step_call", fake)
    monkeypatch.setattr(experiment.time, "thread_time", lambda: order.append("clock") or 0)
    setting = replace(TINY, sizes=(64, 400, 256, 10), steps=1)
    monkeypatch.setitem(experiment.SETTINGS, "digits", setting)
    experiment.run("digits", "accuracy", "truly sparse", 0.9, 0)
    (way, small), *clock = order
    assert way == "truly sparse" and clock == ["clock", "clock"]
    assert [units > 256 for units in small.sizes] == [False, True, False, False] and max(small.sizes) <= 300
    assert small.interval == 1  # step_call takes two intervals and a step


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_way_trains_and_updates_twice(optimizer):
    for way in WAYS:
        found = step_call(way, TINY, OPTIMIZERS[optimizer])()
        history = getattr(found, "history", found)
        assert history.steps == [41] and getattr(history, "updates", None) == {
            "masked": [20, 40], "truly sparse": [20, 40]}.get(way)  # fmt: skip
    assert step_call("masked", TINY, OPTIMIZERS["SGD"], steps=22)().history.updates == [20]


def test_masks_in_the_forward_and_no_dense_weight(monkeypatch):
    used = step_call("mask in the forward", TINY, OPTIMIZERS["SGD"]).args[0]
    model, masks = experiment.started(TINY, 0.9, 0)
    assert all(used[int(name[0])].weight.equal(model.get_parameter(name) * mask) for name, mask in masks.items())
    monkeypatch.setattr(experiment, "started", None)  # it makes dense weights
    step_call("truly sparse", TINY, OPTIMIZERS["SGD"])


@pytest.mark.parametrize("optimizer, moments", [("SGD", 1), ("Adam", 2)])
def test_growth_moves_all_patterns_with_their_moments(optimizer, moments, monkeypatch):
    moved, move = [], experiment.move

    def watch(layer, fraction, *, gamma, moments):
        before = layer.mask()
        move(layer, fraction, gamma=gamma, moments=moments)
        same = int((before & layer.mask()).sum())
        moved.append((layer.out_features, gamma, len(moments), same / int(before.sum())))

    monkeypatch.setattr(experiment, "move", watch)
    experiment.growth_call(TINY, OPTIMIZERS[optimizer])()
    assert [(units, gamma, count) for units, gamma, count, _ in moved] == [
        (40, 0.3, moments), (24, 0.3, moments), (10, 0, moments)]  # fmt: skip
    assert all(0.5 < same < 1 for *_, same in moved)


def test_cost_rows(monkeypatch):
    """Seconds of a step, over those of the truly sparse run of the same round; and of a move by itself."""
    seen = []

    def fake(calls, rounds):
        seen.append((list(calls), rounds, torch.get_num_threads(), [call.keywords.get("optimizer") for call in calls.values()
                                                                   if isinstance(call, partial)]))  # fmt: skip
        return {name: 41.0 * (i + 1) * np.array([1, 2, 4.0, 8, 16][:rounds]) for i, name in enumerate(calls)}

    monkeypatch.setattr(experiment, "in_turn", fake)
    found = experiment.run("digits", "cost", "Adam", 2, 0)
    assert json.loads(json.dumps(found)) == found
    rows = {row["way"]: row for row in found}
    assert list(rows) == [*WAYS, "growth"] and len(found) == 5
    for i, way in enumerate(WAYS):
        assert rows[way]["over_sparse"] == pytest.approx([(i + 1) / 4] * 3)
        assert [rows[way][name] for name in ("q25_s", "median_s", "q75_s")] == pytest.approx(
            [1.5 * (i + 1), 2 * (i + 1), 3 * (i + 1)])  # fmt: skip
        assert (rows[way]["arm"], rows[way]["value"]) == ("Adam", 2)
    assert rows["growth"]["median_s"] == 41 * 4 and rows["growth"]["interval"] == 20
    assert [(names, rounds, threads) for names, rounds, threads, _ in seen] == [(list(WAYS), 3, 2), (["growth"], 5, 2)]
    assert seen[0][3] == [OPTIMIZERS["Adam"]] * 4


def test_inference_rows(trained, monkeypatch):
    timed, files, save = [], [], experiment.save_condensed

    def fake(calls, *, threads):
        timed.append((threads, torch.get_num_threads(), {name: tuple(call().shape) for name, call in calls.items()}))
        return {name: np.array([i + 1.0, i + 2, i + 3]) for i, name in enumerate(calls)}

    def saved(condensed, path):
        save(condensed, path)
        files.append((condensed, path, path.read_bytes()))

    monkeypatch.setattr(experiment, "interleaved", fake)
    monkeypatch.setattr(experiment, "save_condensed", saved)
    rows = experiment.run("digits", "inference", "truly sparse", 0.8, 0)
    assert json.loads(json.dumps(rows)) == rows
    assert [(row["threads"], row["batch"], row["network"]) for row in rows] == [
        (threads, batch, name) for threads in (1, 2) for batch in (1, 16, 256) for name in ("dense", "condensed")]  # fmt: skip
    assert timed == [(threads, threads, {"dense": (batch, 10), "condensed": (batch, 10)})
                     for threads in (1, 2) for batch in (1, 16, 256)]  # fmt: skip
    ((condensed, path, file),), (call,) = files, trained
    x, row = digits().x_test, rows[1]
    assert row["accuracy"] == row["condensed_accuracy"] > 0.5
    assert (condensed(x).argmax(1) == digits().y_test).float().mean().item() == pytest.approx(row["accuracy"])
    weights = dense_weights(call["model"])
    live = [[n for n in (weight != 0).sum(1).tolist() if n] for weight in weights.values()]
    assert row["neurons"] == list(map(len, live)) and row["fan_in"] == list(map(max, live))
    assert row["dense_bytes"] == 4 * (WEIGHTS + BIASES) and not path.exists()
    header = 8 + int.from_bytes(file[:8], "little")
    tensors = sum(part.nbytes for part in condensed.state_dict().values())
    assert row["file_bytes"] == len(file) == header + tensors
    assert 5 * sum(map(sum, live)) * 0.9 < tensors < row["dense_bytes"] / 2  # a value and a byte for its index
    assert [row["median_s"] for row in rows[:2]] == [2, 3] and [row["q25_s"] for row in rows[:2]] == [1.5, 2.5]


def test_ratio_of_two_rows():
    found = [{"way": "a", "threads": 1, "median_s": 6.0}, {"way": "b", "threads": 1, "median_s": 2.0},
             {"way": "a", "threads": 2, "median_s": 5.0}]  # fmt: skip
    assert ratio(found, {"way": "a", "threads": 1}, {"way": "b"}) == 3
    for wanted in ({"way": "a"}, {"way": "c"}):  # two rows, and none
        with pytest.raises(ValueError, match="unpack"):
            ratio(found, wanted, {"way": "b"})


@pytest.mark.parametrize("data", RECORDED)
@pytest.mark.parametrize("sparsity", experiment.SPARSITIES)
def test_networks_of_a_recording_have_a_weight_for_each_neuron(data, sparsity):
    model = CondensedMLP(RECORDED[data].sizes, density=1 - sparsity, generator=torch.Generator())
    assert all(layer.fan_in >= 1 for layer in model.sparse_layers().values())
