"""The experiment on structured masks, at toy size: its grid, counts by loops and by bisection, arms that start alike."""

import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from errors import assert_one_line_error

from lttlib.data import Data
from lttlib.experiments import structured_sparse as experiment
from lttlib.experiments.structured_sparse import GAMMAS, SETTINGS

INPUTS, SHAPES = 70, [(40, 70), (12, 40), (10, 12)]  # 70 and 40 inputs are no multiple of 32, and 12 are fewer
NAMES = ["0.weight", "2.weight", "4.weight"]
CLASSES = torch.rand(10, INPUTS, generator=torch.Generator().manual_seed(0))
X = CLASSES.repeat(6, 1) - 0.5 + 0.3 * torch.rand(60, INPUTS, generator=torch.Generator().manual_seed(1))
DATA = Data("toy", X[:40], torch.arange(40) % 10, X[40:], torch.arange(20) % 10)
TINY = replace(SETTINGS["digits"], load=lambda: DATA, hidden=(40, 12), batch_size=4, steps=84, interval=5)
SPARSITIES, GAMMA_SPARSITY = (0.6, 0.85), 0.7


class Calls(list):
    """Every training of a cell: what the network was before, the arguments, the masks on the way, what came out."""

    def watch(self, train, masked=False):
        def watched(model, data, **options):
            begun = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
            denormal, seen = float((torch.full((16,), 1e-40) * 1).sum()), []
            found = train(model, data, **options, **({"watch": lambda _, m: seen.append(m)} if masked else {}))
            self.append({"begun": begun, "data": data, "denormal": denormal, "seen": seen, "found": found,
                         "trainer": train.__name__, "model": model} | options)  # fmt: skip
            return found

        return watched


@pytest.fixture(scope="module")
def patched():
    """(cells of seed 1, what was called), all small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(experiment.SETTINGS, "digits", TINY)
        patch.setitem(experiment.SPARSITIES, "digits", SPARSITIES)
        patch.setitem(experiment.GAMMA_SPARSITY, "digits", GAMMA_SPARSITY)
        calls = Calls()
        for name in ("train", "train_sparse", "train_sr_ste"):
            patch.setattr(experiment, name, calls.watch(getattr(experiment, name), name == "train_sparse"))
        yield experiment.cells("digits", 2)[len(experiment.cells("digits", 1)) :], calls


@pytest.fixture(scope="module")
def recorded(patched):
    """(row, call) of every cell of seed 1, by (part, arm, value)."""
    cells, calls = patched
    found = {}
    for cell in cells:
        calls.clear()
        (row,) = experiment.run(**cell)
        found[cell["part"], cell["arm"], cell["value"]] = row, *calls
    return found


@pytest.mark.parametrize("data", SETTINGS)
def test_every_arm_once_per_value_and_seed(data):
    expected = Counter((s, "sparsities", "dense", 0.0) for s in range(3))
    expected += Counter((s, "sparsities", arm, value) for s in range(3) for value in experiment.SPARSITIES[data]
                        for arm in ("RigL", "SRigL", "SRigL, no ablation", "constant fan-in, static"))  # fmt: skip
    expected += Counter((s, "gammas", "SRigL", gamma) for s in range(3) for gamma in GAMMAS)
    expected += Counter((s, "patterns", arm, 29 / 32) for s in range(3)
                        for arm in ("RigL", "SRigL", "SRigL, no ablation", "SR-STE"))  # fmt: skip
    cells = experiment.cells(data, 3)
    assert Counter((cell["seed"], cell["part"], cell["arm"], cell["value"]) for cell in cells) == expected
    assert max(expected.values()) == 1 and all(cell["data"] == data for cell in cells)
    assert [cell["seed"] for cell in cells] == sorted(cell["seed"] for cell in cells)
    assert experiment.GAMMA_SPARSITY[data] in experiment.SPARSITIES[data]


def test_unknown_names():
    assert_one_line_error(lambda: experiment.cells("cifar", 2), "data", "'cifar'", "'digits'", "spelling")
    assert_one_line_error(lambda: experiment.run("digits", "depths", "RigL", 0.9, 0), "part", "'depths'", "'patterns'")


def budgets(density: float, distribution: str) -> list[int]:
    """Of each layer. ERK: min(1, c * sum(shape) / prod(shape)), with the c that fits, by bisection."""
    sizes, shares = [math.prod(shape) for shape in SHAPES], [density] * len(SHAPES)
    low, high = 0.0, max(sizes)
    for _ in range(200 if distribution == "erk" else 0):
        middle = (low + high) / 2
        shares = [min(1.0, middle * sum(shape) / math.prod(shape)) for shape in SHAPES]
        total = sum(share * size for share, size in zip(shares, sizes, strict=True))
        low, high = (middle, high) if total < density * sum(sizes) else (low, middle)
    return [size - math.floor((1 - share) * size + 1e-9) for share, size in zip(shares, sizes, strict=True)]


def budgets_of(part: str, value: float) -> list[int]:
    return budgets({"gammas": 1 - GAMMA_SPARSITY, "patterns": 3 / 32}.get(part, 1 - value),
                   "uniform" if part == "patterns" else "erk")  # fmt: skip


def fan_ins(masks: dict) -> dict[str, list[int]]:
    """Live inputs of every neuron, counted one by one."""
    assert list(masks) == NAMES and all(mask.dtype == torch.bool for mask in masks.values())
    return {name: [row.count(True) for row in mask.tolist()] for name, mask in masks.items()}


def sparse(recorded):
    return {key: found for key, found in recorded.items() if key[1] != "dense"}


def test_what_a_row_is(recorded):
    assert len(recorded) == 1 + 2 * 4 + 5 + 4
    for (part, arm, value), (row, call) in recorded.items():
        assert json.loads(json.dumps(row)) == row
        assert [row[name] for name in ("part", "arm", "value", "seed")] == [part, arm, value, 1]
        history = getattr(call["found"], "history", call["found"])
        assert row["accuracy"] == history.test_accuracy[-1] and history.steps[-1] == 84
    assert recorded["sparsities", "dense", 0.0][0]["accuracy"] > 0.8  # it learns
    assert recorded["sparsities", "dense", 0.0][0]["live"] == 40 * 70 + 12 * 40 + 10 * 12


def test_counts_of_a_row_against_the_masks(recorded):
    for key, (row, call) in sparse(recorded).items():
        counted = fan_ins(call["found"].masks)
        assert row["layers"] == {name: sum(counts) for name, counts in counted.items()}, key
        assert row["live"] == sum(map(sum, counted.values()))
        assert row["neurons"] == {name: len([n for n in counts if n]) for name, counts in counted.items()}
        assert row["largest fan-in"] == {name: max(counts) for name, counts in counted.items()}
        assert row["smallest fan-in"] == {name: min(n for n in counts if n) for name, counts in counted.items()}
        for name, mask in call["found"].masks.items():
            assert not call["model"].get_parameter(name).detach()[~mask].any()


def test_counts_are_those_of_the_method(recorded):
    """RigL has its budget exactly; constant fan-in floors it to a share for each neuron that is left."""
    for (part, arm, value), (row, _) in sparse(recorded).items():
        if arm == "SR-STE":
            continue
        budget = dict(zip(NAMES, budgets_of(part, value), strict=True))
        if arm == "RigL":
            assert row["layers"] == budget, (part, value)
            continue
        assert row["largest fan-in"] == row["smallest fan-in"]
        assert row["largest fan-in"] == {name: budget[name] // row["neurons"][name] for name in NAMES}, (part, arm)
        if arm != "SRigL":
            assert list(row["neurons"].values()) == [40, 12, 10]
    assert all(
        recorded[key][0]["smallest fan-in"] != recorded[key][0]["largest fan-in"]
        for key in recorded
        if key[1] == "RigL"
    )


def test_three_of_every_32_inputs(recorded):
    row, call = recorded["patterns", "SR-STE", 29 / 32]
    assert (call["n"], call["m"]) == (3, 32)
    for mask in call["found"].masks.values():
        for group in mask.split(32, dim=1):
            assert (group.sum(1) == 3).all()
    assert list(row["largest fan-in"].values()) == [9, 6, 3] == list(row["smallest fan-in"].values())
    assert row["live"] == 40 * 9 + 12 * 6 + 10 * 3


def test_gamma_and_sparsity_reach_the_training(recorded):
    for (part, arm, value), (_, call) in recorded.items():
        trainer = {"dense": "train", "SR-STE": "train_sr_ste"}.get(arm, "train_sparse")
        assert call["trainer"] == trainer, arm
        if trainer != "train_sparse":
            continue
        assert call["method"] == {"RigL": "rigl", "constant fan-in, static": "static"}.get(arm, "srigl")
        assert call["interval"] == 5
        if call["method"] == "srigl":
            assert call["gamma"] == (value if part == "gammas" else {"SRigL": 0.3, "SRigL, no ablation": 0}[arm])
            assert call["density"] == pytest.approx(0.3 if part == "gammas" else 1 - value)
            assert call["distribution"] == ("uniform" if part == "patterns" else "erk")
            assert call["found"].history.updates == list(range(5, 63, 5))
    left = [recorded["gammas", "SRigL", gamma][0]["neurons"] for gamma in GAMMAS]
    assert left[0]["0.weight"] > left[-1]["0.weight"] and all(neurons["4.weight"] == 10 for neurons in left)


def test_arms_start_from_the_same_network(recorded):
    """N(0, 2 / fan-in) of one seed; with a mask, a row with k live ones of n inputs times sqrt(n / k)."""
    base = TINY.network(DATA, 1)
    assert [tuple(base.get_parameter(name).shape) for name in NAMES] == SHAPES
    for key, (_, call) in recorded.items():
        assert call["data"] is DATA and call["seed"] == 1 and call["batch_size"] == 4 and call["steps"] == 84
        assert call["begun"].keys() == dict(base.named_parameters()).keys()
        for name, parameter in base.named_parameters():
            expected = parameter.detach().clone()
            if call["seen"] and name in NAMES:
                for row, mask in zip(expected, call["seen"][0][name].tolist(), strict=True):
                    live = mask.count(True)
                    row *= math.sqrt(len(mask) / live) if live else 1
            torch.testing.assert_close(call["begun"][name], expected, msg=f"{key}, {name}")


def test_arms_start_with_the_same_masks(recorded):
    """Those with constant fan-in share a draw; RigL's is its own, with all of the budget."""
    for part, value in (("sparsities", 0.6), ("sparsities", 0.85), ("patterns", 29 / 32)):
        found = {arm: call["seen"][0] for (p, arm, v), (_, call) in recorded.items() if (p, v) == (part, value)
                 and call["seen"]}  # fmt: skip
        free, structured = found.pop("RigL"), found.pop("SRigL")
        assert [int(mask.sum()) for mask in free.values()] == budgets_of(part, value)
        assert len(found) == (2 if part == "sparsities" else 1)
        assert all(torch.equal(masks[name], structured[name]) for masks in found.values() for name in NAMES)
        assert not torch.equal(free["0.weight"], structured["0.weight"])
    gammas = [call["seen"][0] for (part, _, _), (_, call) in recorded.items() if part == "gammas"]
    assert len(gammas) == 5 and all(torch.equal(masks[name], gammas[0][name]) for masks in gammas for name in NAMES)


def test_settings_of_the_training(recorded):
    for key, (_, call) in recorded.items():
        assert [call["schedule"](step) for step in (0, 42, 84)] == pytest.approx([1, 0.5, 0]), key
        assert call["optimizer"] is TINY.optimizer and not call["progress"]
        assert call["denormal"] == 0  # numbers too small to matter are 0 and cost no time


def test_a_run_repeats_itself_and_seeds_differ(patched, recorded):
    cell = {"data": "digits", "part": "gammas", "arm": "SRigL", "value": 0.9}
    again, patched[1][:] = experiment.run(**cell, seed=1), []
    assert again == [recorded["gammas", "SRigL", 0.9][0]]
    experiment.run(**cell, seed=2)
    other, mine = patched[1][-1], recorded["gammas", "SRigL", 0.9][1]
    assert not torch.equal(other["begun"]["0.weight"], mine["begun"]["0.weight"]) and other["seed"] == 2
    assert not torch.equal(other["seen"][0]["0.weight"], mine["seen"][0]["0.weight"])
    assert float((torch.full((16,), 1e-40) * 1).sum()) > 0  # the switch is back where it was
