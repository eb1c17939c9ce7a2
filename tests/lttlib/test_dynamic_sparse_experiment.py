"""The experiment on masks that move, at toy size: its grid, counts by hand and by bisection, arms that start alike."""

import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from errors import assert_one_line_error

from lttlib.data import Data
from lttlib.experiments import dynamic_sparse as experiment
from lttlib.experiments.dynamic_sparse import ARMS, CONVOLUTION_ARMS, DENSE, LONG, SETTINGS
from lttlib.masks import prunable

CLASSES = torch.rand(10, 784, generator=torch.Generator().manual_seed(0))
X = CLASSES.repeat(6, 1) - 0.5 + 0.3 * torch.rand(60, 784, generator=torch.Generator().manual_seed(1))
DATA = Data("toy", X[:40], torch.arange(40) % 10, X[40:], torch.arange(20) % 10)
TINY = replace(
    SETTINGS["digits"], load=lambda: DATA, hidden=(12, 4), batch_size=4, steps=104, interval=10, densities=(0.1,),
    long_densities=(0.1,), intervals=(5, 26), interval_densities=(0.2,), widths=(1, 6, 24), width_densities=(0.3,),
    convolution_density=0.05,
)  # fmt: skip
HIDDEN = {1: (1, 1), 6: (6, 2), 24: (24, 8)}  # of the part widths
UPDATES = {  # below three quarters of 104 steps, that is below 78; of ITOP below 104, every 104 // 52 or 104 // 19 steps
    "static": 0, "SET": 7, "RigL": 7, "RigL, 5 times as long": 38, "gradual pruning": 7, "static, RigL's last mask": 0,
    "SET, ITOP's settings": 51, "RigL, ITOP's settings": 20, "set, 5": 15, "rigl, 26": 2,
}  # fmt: skip


class Calls(list):
    """Every training of a cell: what the network was before, the arguments, what came out."""

    def watch(self, train):
        def watched(model, data, **options):
            begun = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
            denormal = float((torch.full((16,), 1e-40) * 1).sum())
            found = train(model, data, **options)
            self.append({"begun": begun, "data": data, "denormal": denormal, "found": found} | options)
            return found

        return watched


@pytest.fixture(scope="module")
def recorded():
    """(row, calls) of every cell of seed 1, by (part, arm, value)."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(experiment.SETTINGS, "digits", TINY)
        calls = Calls()
        patch.setattr(experiment, "train", calls.watch(experiment.train))
        patch.setattr(experiment, "train_sparse", calls.watch(experiment.train_sparse))
        for cell in experiment.cells("digits", 2)[len(experiment.cells("digits", 1)) :]:
            calls.clear()
            (row,) = experiment.run(**cell)
            found[cell["part"], cell["arm"], cell["value"]] = row, list(calls)
    return found


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(experiment.SETTINGS, "digits", TINY)


@pytest.mark.parametrize("data", SETTINGS)
def test_every_arm_once_per_density_and_seed(data):
    setting, seeds = SETTINGS[data], range(5)
    expected = Counter((s, "densities", arm, 1.0) for s in seeds for arm in DENSE)
    expected += Counter((s, "densities", arm, d) for s in seeds for arm in ARMS if arm != LONG
                        for d in setting.densities)  # fmt: skip
    expected += Counter((s, "densities", LONG, d) for s in seeds for d in setting.long_densities)
    expected += Counter((s, "intervals", f"{method}, {interval}", d) for s in seeds for method in ("rigl", "set")
                        for d in setting.interval_densities for interval in setting.intervals)  # fmt: skip
    for width in setting.widths:
        expected += Counter((s, "widths", "dense", width) for s in seeds)
        expected += Counter((s, "widths", f"static, {d}", width) for s in seeds for d in setting.width_densities)
    if data == "mnist":
        expected += Counter((s, "convolutions", arm, 0.05) for s in (0, 1, 2) for arm in ("dense", *CONVOLUTION_ARMS))
    cells = experiment.cells(data, len(seeds))
    assert Counter((cell["seed"], cell["part"], cell["arm"], cell["value"]) for cell in cells) == expected
    assert max(expected.values()) == 1 and all(cell["data"] == data for cell in cells)
    assert [cell["seed"] for cell in cells] == sorted(cell["seed"] for cell in cells)
    assert set(setting.long_densities) <= set(setting.densities) and set(CONVOLUTION_ARMS) <= set(ARMS)


def test_unknown_names():
    assert_one_line_error(lambda: experiment.cells("cifar", 2), "data", "'cifar'", "'digits'", "spelling")
    assert_one_line_error(lambda: experiment.run("digits", "depths", "SET", 0.1, 0), "part", "'depths'", "'densities'")


def layers(part: str, value) -> tuple[list[tuple[int, ...]], list[int]]:
    """(shapes of the weights, how often an example uses each of them), by hand."""
    if part == "convolutions":
        return [(20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500)], [24 * 24, 8 * 8, 1, 1]
    first, second = HIDDEN[value] if part == "widths" else TINY.hidden
    return [(first, 784), (second, first), (10, second)], [1, 1, 1]


def counts(shapes: list[tuple[int, ...]], density: float, distribution: str) -> list[int]:
    """Live weights of each layer. ERK: min(1, c * sum(shape) / prod(shape)), with the c that fits, by bisection."""
    sizes = [math.prod(shape) for shape in shapes]
    shares = [density] * len(shapes)
    if distribution == "erk":
        low, high = 0.0, max(sizes)
        for _ in range(200):
            middle = (low + high) / 2
            shares = [min(1.0, middle * sum(shape) / math.prod(shape)) for shape in shapes]
            total = sum(share * size for share, size in zip(shares, sizes, strict=True))
            low, high = (middle, high) if total < density * sum(sizes) else (low, middle)
    return [size - math.floor((1 - share) * size + 1e-9) for share, size in zip(shares, sizes, strict=True)]


def distribution(part: str, arm: str) -> str:
    return ARMS[arm].distribution if arm in ARMS else "erk"


def sparse(recorded):
    return {key: found for key, found in recorded.items() if "dense" != key[1] and key[1] not in DENSE}


def test_steps_and_what_a_row_is(recorded):
    for (part, arm, value), (row, calls) in recorded.items():
        times = 0.5 if part == "convolutions" else 5 if "5 times" in arm else 1
        assert row["steps"] == calls[-1]["steps"] == 104 * times, arm
        assert json.loads(json.dumps(row)) == row
        assert [row[name] for name in ("part", "arm", "value", "seed")] == [part, arm, value, 1]
        assert row["accuracy"] == getattr(calls[-1]["found"], "history", calls[-1]["found"]).test_accuracy[-1]
    assert recorded["convolutions", "dense", 0.05][0]["accuracy"] > 0.5  # it learns


def test_counts_are_exact(recorded):
    for (part, arm, value), (row, _) in sparse(recorded).items():
        density = float(arm.split(", ")[1]) if part == "widths" else value
        expected = counts(layers(part, value)[0], density, distribution(part, arm))
        if part == "densities" and ARMS[arm].hindsight:  # as many as the search had
            assert row["layers"] == recorded["densities", "RigL", value][0]["layers"]
        assert list(row["layers"].values()) == expected, (part, arm, value)
        assert row["live"] == sum(expected)
    for key in recorded.keys() - sparse(recorded).keys():
        assert recorded[key][0]["live"] == sum(math.prod(shape) for shape in layers(key[0], key[2])[0])


def test_what_moved(recorded):
    for (part, arm, _), (row, calls) in sparse(recorded).items():
        masks, ever = calls[-1]["found"].masks, calls[-1]["found"].ever_live
        assert row["dead rows"] == {n: sum(not any(r) for r in m.flatten(1).tolist()) for n, m in masks.items()}
        size = sum(mask.numel() for mask in masks.values())
        assert row["explored"] == pytest.approx(sum(int(mask.sum()) for mask in ever.values()) / size)
        if part in ("densities", "intervals") and arm in UPDATES:
            assert row["updates"] == UPDATES[arm], arm
        if calls[-1]["method"] == "static":
            assert row["updates"] == 0 and row["explored"] == pytest.approx(row["live"] / size)
        elif calls[-1]["method"] == "gmp":
            assert row["explored"] == 1
        else:
            assert row["live"] / size < row["explored"] < 1
    assert max(sum(row["dead rows"].values()) for row, _ in sparse(recorded).values()) > 0


def test_operations(recorded):
    for (part, arm, value), (row, calls) in recorded.items():
        shapes, uses = layers(part, value)
        dense = 2 * sum(use * math.prod(shape) for use, shape in zip(uses, shapes, strict=True))
        live = row.get("layers", {"all": None}).values()
        mine = dense if None in live else 2 * sum(use * n for use, n in zip(uses, live, strict=True))
        assert row["inference flops"] == mine
        method, steps = calls[-1].get("method", "dense"), row["steps"]
        if method == "gmp":
            assert 3 * mine * steps * 4 < row["training flops"] < 3 * dense * steps * 4
        else:
            updates = row["updates"] if method == "rigl" else 0
            assert row["training flops"] == 4 * (3 * mine * (steps - updates) + (2 * mine + dense) * updates), arm


def test_arms_start_from_the_same_network(recorded):
    """Dense or rescaled, whatever the arm: N(0, 2 / fan-in) of one seed, a row with k of n inputs times sqrt(n / k)."""
    for (part, arm, value), (_, calls) in recorded.items():
        hidden = HIDDEN.get(value) if part == "widths" else None
        base = TINY.convolutional(1) if part == "convolutions" else TINY.network(DATA, 1, hidden)
        stretched = part in ("intervals", "widths") or (arm in ARMS and ARMS[arm].rescaled)
        for call in calls:
            assert call["data"] is DATA and call["seed"] == 1 and call["batch_size"] == 4
            assert call["begun"].keys() == dict(base.named_parameters()).keys()
            for name, parameter in base.named_parameters():
                expected = parameter.detach().clone()
                if stretched and name in call.get("masks", {}):
                    for row, mask in zip(expected, call["masks"][name], strict=True):
                        live = int(mask.sum())
                        row *= math.sqrt(mask.numel() / live) if live else 1
                torch.testing.assert_close(call["begun"][name], expected, msg=f"{part}, {arm}, {name}")


def test_arms_start_with_the_same_masks(recorded):
    for value in TINY.densities:
        for kind in ("uniform", "erk"):
            arms = [arm for arm in ARMS if ARMS[arm].distribution == kind and ARMS[arm].method != "gmp"]
            begun = [recorded["densities", arm, value][1][0]["masks"] for arm in arms
                     if arm != LONG or value in TINY.long_densities]  # fmt: skip
            assert len(begun) > 1 and all(same(masks, begun[0]) for masks in begun)


def same(masks: dict, others: dict) -> bool:
    return masks.keys() == others.keys() and all(torch.equal(masks[name], others[name]) for name in masks)


def test_hindsight_keeps_the_mask_of_a_whole_search(recorded):
    hindsight = [arm for arm in ARMS if ARMS[arm].hindsight]
    assert hindsight
    for value in TINY.densities:
        search, still = recorded["densities", hindsight[0], value][1]
        (alone,) = recorded["densities", "RigL", value][1]
        assert (search["method"], still["method"]) == ("rigl", "static")
        assert same(still["masks"], search["found"].masks) and same(search["found"].masks, alone["found"].masks)
        assert not same(still["masks"], search["masks"])


def test_settings_of_the_training(recorded):
    for (part, arm, _), (row, calls) in recorded.items():
        rates = [calls[-1]["schedule"](step) for step in (0, row["steps"] // 2, row["steps"])]
        assert rates == pytest.approx([1, 0.5, 0]), arm
        optimizer = calls[-1]["optimizer"]([torch.nn.Parameter(torch.ones(1))])
        assert isinstance(optimizer, torch.optim.Adam if part == "convolutions" else torch.optim.SGD)
        if "ITOP" in arm:
            assert [calls[-1]["drop"](step) for step in (0, 104)] == pytest.approx([0.5, 0.005])
        assert calls[-1]["denormal"] == 0  # numbers too small to matter are 0 and cost no time


def test_a_run_repeats_itself_and_seeds_differ(tiny, recorded):
    cell = {"data": "digits", "part": "densities", "arm": "RigL", "value": 0.1}
    again, other = experiment.run(**cell, seed=1), experiment.run(**cell, seed=2)
    assert again == [recorded["densities", "RigL", 0.1][0]] and again[0] | {"seed": 2} != other[0]
    for draw in (TINY.convolutional, lambda seed: TINY.network(DATA, seed)):
        one, alike, another = (draw(seed)[-1].weight for seed in (1, 1, 2))
        assert torch.equal(one, alike) and not torch.equal(one, another)
    assert float((torch.full((16,), 1e-40) * 1).sum()) > 0  # the switch is back where it was


def test_networks_have_the_sizes_of_their_part(recorded):
    for (part, arm, value), (_, calls) in recorded.items():
        shapes = [tuple(shape) for shape in layers(part, value)[0]]
        assert [tuple(w.shape) for n, w in calls[-1]["begun"].items() if "weight" in n] == shapes, (part, arm)
    assert len(prunable(TINY.convolutional(0))) == 4
