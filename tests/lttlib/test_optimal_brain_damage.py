"""The experiment of the chapter at toy size: what is compared is what it says, and the same seed gives the same rows."""

import dataclasses
import itertools
import json

import pytest
import torch
import torch.nn.functional as F
from errors import assert_one_line_error

from lttlib.data import digits
from lttlib.experiments import optimal_brain_damage as obd
from lttlib.masks import keep_count
from lttlib.training import accuracy

DATA = digits()
TINY = obd.Setting(lambda: DATA, (7, 5), 0.1, 30, 10, 100)
N = 64 * 7 + 7 * 5 + 5 * 10
SPARSITIES = (0.3, 0.9)


@pytest.fixture
def model(monkeypatch):
    """A small trained network; the settings of digits are small, too."""
    monkeypatch.setitem(obd.SETTINGS, "digits", TINY)
    monkeypatch.setattr(obd, "HUTCHINSON_DRAWS", 3)
    return obd.trained_models(DATA, [0])[0]


def frozen(model) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def test_grid_is_one_run_per_seed():
    assert obd.cells("mnist", 2) == [{"data": "mnist", "seed": 0}, {"data": "mnist", "seed": 1}]
    assert_one_line_error(lambda: obd.cells("cifar", 2), "data", "'cifar'", "'digits'", "spelling")


def test_settings_fit_their_data():
    for name in ("digits", "disguised digits"):
        setting = obd.SETTINGS[name]
        data = setting.load()
        assert data.name == name and setting.curvature_rows <= len(data.x_train)
    with pytest.raises(dataclasses.FrozenInstanceError):
        obd.SETTINGS["digits"].steps = 1


def test_a_whole_run_is_flat_json_and_repeats_itself(model):
    rows = obd.run("digits", 0)
    assert json.loads(json.dumps(rows)) == rows == obd.run("digits", 0)
    parts = {part: [row for row in rows if row["part"] == part] for part in ("criteria", "rescaling", "damage")}
    assert len(parts["criteria"]) == len(obd.CRITERIA) * len(obd.SPARSITIES)
    assert len(parts["rescaling"]) == len(obd.RATIOS) * 2 * 3 and len(parts["damage"]) == len(obd.SPARSITIES)
    assert sum(map(len, parts.values())) == len(rows) and all(row["seed"] == 0 for row in rows)
    shares = [row[key] for row in parts["criteria"] for key in ("dense", "one_shot", "retrained")]
    assert all(0 <= share <= 1 for share in shares)
    assert {row["dense"] for row in parts["criteria"]} == {accuracy(model, DATA.x_test, DATA.y_test)}


def test_seeds_train_different_networks(model):
    first, other, again = obd.trained_models(DATA, [0, 1, 0])
    assert first[0].weight.equal(again[0].weight) and not first[0].weight.equal(other[0].weight)
    torch.testing.assert_close(first[0].weight, model[0].weight)


def test_calibration_rows_are_random_training_rows(model):
    rows, other = obd.calibration_rows(DATA, 0), obd.calibration_rows(DATA, 1)
    assert len(set(rows.tolist())) == 100 and 0 <= rows.min() and rows.max() < 1200
    assert rows.equal(obd.calibration_rows(DATA, 0)) and not rows.equal(other)
    assert rows.max() > 1000  # not the first hundred


def test_masks_of_all_criteria_have_the_same_count(model):
    found = obd.criteria_masks(model, DATA, obd.CRITERIA, SPARSITIES, 0)
    assert list(found) == list(obd.CRITERIA)
    for masks in found.values():
        assert [sum(int(m.sum()) for m in mask.values()) for mask in masks] == [keep_count(N, s) for s in SPARSITIES]


def test_criteria_are_different_things(model):
    scored = [criterion for criterion in obd.CRITERIA if criterion != "shuffled"]
    scores = {criterion: obd.weight_scores(model, DATA, criterion, 0)["0.weight"] for criterion in scored}
    assert len(scores) == 4
    for one, other in itertools.combinations(scores, 2):
        assert not torch.allclose(scores[one], scores[other], rtol=0.01), (one, other)


def test_shuffled_control_keeps_the_layer_counts_of_obd(model):
    alone = obd.criteria_masks(model, DATA, ["shuffled"], SPARSITIES, 0)["shuffled"]
    both = obd.criteria_masks(model, DATA, ["obd", "shuffled"], SPARSITIES, 0)
    for control, shuffled, masks in zip(alone, both["shuffled"], both["obd"], strict=True):
        assert all(control[name].equal(shuffled[name]) for name in masks)
        assert all(shuffled[name].sum() == masks[name].sum() for name in masks)
        assert not all(shuffled[name].equal(masks[name]) for name in masks)


def test_saliency_predicts_the_loss_of_one_deletion(model):
    """Independent: the last layer's OBD saliency against the loss itself, at a minimum along that weight."""
    rows = obd.calibration_rows(DATA, 0)
    x, y = DATA.x_train[rows], DATA.y_train[rows]
    scores = obd.weight_scores(model, DATA, "obd", 0)["4.weight"]
    loss = F.cross_entropy(model(x), y)
    (gradient,) = torch.autograd.grad(loss, model[4].weight)
    small = 1e-2 * model[4].weight.detach()
    with torch.no_grad():
        for k in range(5):
            i, j = divmod(7 * k, 5)
            changed = model[4].weight.clone()
            changed[i, j] -= small[i, j]
            rise = F.cross_entropy(model[:4](x).double() @ changed.double().T + model[4].bias.double(), y)
            rise -= F.cross_entropy(model[:4](x).double() @ model[4].weight.double().T + model[4].bias.double(), y)
            predicted = -gradient[i, j] * small[i, j] + 1e-4 * scores[i, j]
            assert float(rise) == pytest.approx(float(predicted), rel=0.02, abs=1e-8)


def test_arms_of_a_seed_share_network_and_data_order(model):
    before = frozen(model)
    rows = obd.compare_criteria([model], [0], DATA, ["magnitude", "obd"], SPARSITIES)
    assert [(row["criterion"], row["sparsity"]) for row in rows] == [
        (c, s) for c in ("magnitude", "obd") for s in SPARSITIES
    ]
    assert all(p.equal(old) for p, old in zip(model.parameters(), before, strict=True))
    masks = obd.criteria_masks(model, DATA, ["magnitude"], SPARSITIES, 0)["magnitude"]
    assert rows[1]["one_shot"] == accuracy(obd.pruned(model, masks[1]), DATA.x_test, DATA.y_test)
    twice = obd.compare_criteria([model, model], [0, 0], DATA, ["magnitude"], SPARSITIES)
    assert twice[:2] == twice[2:] and [row["retrained"] for row in twice[:2]] == [row["retrained"] for row in rows[:2]]


def test_rescaling_changes_magnitude_and_not_obd(model):
    rows = obd.compare_rescaled(model, 0, DATA, [0.5])
    found = {(row["criterion"], row["ratio"]): row["one_shot"] for row in rows}
    assert set(found) == {(c, r) for c in ("obd", "magnitude") for r in (1, 2, 4, 8)}
    assert {found["obd", ratio] for ratio in obd.RATIOS} == {found["obd", 1]}
    assert len({found["magnitude", ratio] for ratio in obd.RATIOS}) > 1
    unscaled = obd.compare_criteria([model], [0], DATA, ["obd", "magnitude"], [0.5])
    assert [found["obd", 1], found["magnitude", 1]] == [row["one_shot"] for row in unscaled]


def test_damage_by_hand(model):
    """Sum of 1/2 h w^2 over the deleted, and the loss before and after, all on the calibration rows."""
    (row,) = obd.compare_damage(model, 0, DATA, [0.9])
    rows = obd.calibration_rows(DATA, 0)
    x, y = DATA.x_train[rows], DATA.y_train[rows]
    scores = torch.cat([s.flatten() for s in obd.weight_scores(model, DATA, "obd", 0).values()]).double()
    assert row["predicted"] == pytest.approx(float(scores.sort().values[: N - keep_count(N, 0.9)].sum()))
    (masks,) = obd.criteria_masks(model, DATA, ["obd"], [0.9], 0)["obd"]
    small = obd.pruned(model, masks)
    assert row["true"] == pytest.approx((F.cross_entropy(small(x), y) - F.cross_entropy(model(x), y)).item(), abs=1e-6)
    assert row["true"] > 0


def test_unknown_criterion(model):
    assert_one_line_error(
        lambda: obd.compare_criteria([model], [0], DATA, ["entropy"], SPARSITIES),
        "criterion",
        "'entropy'",
        "'obd'",
        "spelling",
    )
