"""Training that stops: checkpoints, interruptions, divergence, bad input."""

import math
from functools import partial

import pytest
import torch
from errors import assert_one_line_error, case_name
from torch import nn
from toys import ADAM, DECAY, half_masks, net, quick, quick_together, same

from lttlib.training import SGD


class Interrupted(torch.optim.SGD):
    """SGD that is stopped by Ctrl-C in its 27th step."""

    taken = 0

    def step(self, closure=None):
        self.taken += 1
        if self.taken == 27:
            raise KeyboardInterrupt
        return super().step(closure)


@pytest.mark.parametrize("optimizer", [SGD, DECAY, ADAM])
def test_resumed_equals_straight(tmp_path, optimizer):
    options = {"optimizer": optimizer, "masks": half_masks(), "eval_every": 10}
    straight, halves, rest = net(), net(), net(7)  # other initial weights: the checkpoint replaces them
    expected = quick(straight, steps=40, **options)
    quick(halves, steps=20, checkpoint=tmp_path / "run.pt", **options)
    found = quick(rest, steps=40, checkpoint=tmp_path / "run.pt", **options)
    assert same(straight, rest) and found == expected and not same(halves, rest)


@pytest.mark.parametrize("optimizer", [SGD, DECAY, ADAM])
def test_resumed_together_equals_straight(tmp_path, optimizer):
    options = {"optimizer": optimizer, "masks": [half_masks(), {}, {}], "eval_every": 10}
    straight, resumed = ([net(seed) for seed in range(3)] for _ in range(2))
    expected = quick_together(straight, steps=40, **options)
    quick_together([net(seed) for seed in range(3)], steps=20, checkpoint=tmp_path / "run.pt", **options)
    found = quick_together(resumed, steps=40, checkpoint=tmp_path / "run.pt", **options)
    assert all(map(same, straight, resumed)) and found == expected


def test_interrupted_goes_on_from_its_last_record(tmp_path):
    stopped = partial(Interrupted, lr=0.1, momentum=0.9)
    options = {"steps": 40, "eval_every": 10, "masks": half_masks()}
    straight, resumed = net(), net()
    expected = quick(straight, **options)
    with pytest.raises(KeyboardInterrupt):
        quick(resumed, optimizer=stopped, checkpoint=tmp_path / "a.pt", **options)
    assert quick(resumed, checkpoint=tmp_path / "a.pt", **options) == expected and same(straight, resumed)
    options |= {"masks": [half_masks()] * 3}
    straight, resumed = ([net(seed) for seed in range(3)] for _ in range(2))
    expected = quick_together(straight, **options)
    with pytest.raises(KeyboardInterrupt):
        quick_together(resumed, optimizer=stopped, checkpoint=tmp_path / "b.pt", **options)
    assert quick_together(resumed, checkpoint=tmp_path / "b.pt", **options) == expected
    assert all(map(same, straight, resumed))


@pytest.mark.parametrize(
    "other", [{"seed": 9}, {"batch_size": 8}, {"optimizer": partial(torch.optim.SGD, lr=0.2, momentum=0.9)}]
)
def test_checkpoint_of_another_run_is_refused(tmp_path, other):
    quick(net(), steps=20, checkpoint=tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"checkpoint = .*expected one with .*delete it") as error:
        quick(net(), steps=40, checkpoint=tmp_path / "run.pt", **other)
    assert "\n" not in str(error.value)


def test_resumed_with_other_masks_leaves_no_dead_weight(tmp_path):
    quick(net(), steps=20, checkpoint=tmp_path / "run.pt")
    model, masks = net(), half_masks()
    quick(model, steps=20, checkpoint=tmp_path / "run.pt", masks=masks)
    assert all((dict(model.named_parameters())[name][~mask] == 0).all() for name, mask in masks.items())


def test_finished_run_is_not_trained_again(tmp_path):
    model, again = net(), net(5)
    history = quick(model, steps=20, checkpoint=tmp_path / "new" / "run.pt")
    assert quick(again, steps=20, checkpoint=tmp_path / "new" / "run.pt") == history and same(model, again)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["run.pt"]


def test_a_crash_while_saving_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    quick(net(), steps=20, checkpoint=path)
    before = path.read_bytes()

    def half(content, file):
        file.write_bytes(before[:100])
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(torch, "save", half)
        with pytest.raises(OSError):
            quick(net(), steps=40, checkpoint=path)
    assert path.read_bytes() == before


def test_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "run.pt"
    quick(net(), steps=5, checkpoint=path)
    path.write_bytes(path.read_bytes()[:200])
    assert_one_line_error(lambda: quick(net(), steps=9, checkpoint=path), "run.pt", "delete it", error=Exception)


def test_checkpoint_of_another_network_is_refused(tmp_path):
    path = tmp_path / "run.pt"
    quick(nn.Sequential(nn.Linear(6, 3)).double(), steps=5, checkpoint=path)
    assert_one_line_error(lambda: quick(net(), steps=9, checkpoint=path), "run.pt", error=Exception)


def test_divergence_names_step_and_model():
    wild = partial(torch.optim.SGD, lr=1e200)
    assert_one_line_error(
        lambda: quick(net(), steps=40, optimizer=wild, eval_every=7),
        "step 7",
        "learning rate",
        error=FloatingPointError,
    )
    models = [net(), net(1), net(2)]
    models[1][2].bias.data[0] = math.nan
    words = ("model 1", "step 3", "learning rate")
    assert_one_line_error(lambda: quick_together(models, steps=3), *words, error=FloatingPointError)


class Exploding(torch.optim.SGD):
    """SGD whose 15th step ruins the weights."""

    taken = 0

    def step(self, closure=None):
        self.taken += 1
        if self.taken == 15:
            self.param_groups[0]["params"][0].data.fill_(math.inf)
        return super().step(closure)


def test_divergence_keeps_the_last_good_checkpoint(tmp_path):
    path, good = tmp_path / "run.pt", tmp_path / "good.pt"
    with pytest.raises(FloatingPointError):
        quick(net(), steps=40, eval_every=10, checkpoint=path, optimizer=partial(Exploding, lr=0.1))
    quick(net(), steps=10, checkpoint=good, optimizer=partial(torch.optim.SGD, lr=0.1))
    stored, expected = (torch.load(file, weights_only=True)["state"] for file in (path, good))
    assert all(stored[name].equal(expected[name]) for name in expected)


def batch_norm() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)).double()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: quick(net(), steps=1, batch_size=0), ("batch_size", "0", "1 to 70", "smaller batch")),
        (lambda: quick(net(), steps=1, batch_size=71), ("batch_size", "71", "1 to 70", "smaller batch")),
        (lambda: quick(net(), steps=-1), ("steps", "-1", "0 or more")),
        (lambda: quick_together([net()], steps=-1, seeds=[0]), ("steps", "-1", "0 or more")),
        (lambda: quick_together([], steps=1, seeds=[]), ("models", "[]", "at least one")),
        (lambda: quick_together([net()], steps=1), ("seeds", "[3, 4, 4]", "1 seeds", "repeat a seed")),
        (lambda: quick_together([net()], steps=1, seeds=[0], masks=[]), ("masks", "0 dicts", "1, one per model", "{}")),
        (lambda: quick_together([batch_norm()], steps=1, seeds=[0]), ("models", "batch norm", "train on each")),
        (lambda: quick_together([net(), nn.Sequential(nn.Linear(6, 3))], steps=1, seeds=[0, 1]), ("models", "one architecture")),
        (lambda: quick(net(), steps=1, masks={"0.weight": torch.ones(8, 5) > 0}), ("masks['0.weight'].shape", "(8, 5)")),
        (lambda: quick_together([net()], steps=1, seeds=[0], masks=[{"0.weight": torch.ones(6) > 0}]),
         ("masks['0.weight'].shape", "(6,)", "(8, 6)")),
    ],
    ids=case_name,
)  # fmt: skip
def test_value_errors(call, words):
    assert_one_line_error(call, *words)


@pytest.mark.parametrize("several", [False, True])
def test_mask_of_no_parameter(several):
    masks = {"0.wieght": torch.ones(8, 6) > 0}
    call = (
        partial(quick_together, [net()], steps=1, seeds=[0], masks=[masks])
        if several
        else partial(quick, net(), steps=1, masks=masks)
    )
    assert_one_line_error(call, "masks", "'0.wieght'", "'0.weight'", error=KeyError)


def normed() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).double()


def test_running_statistics_are_saved_and_resumed(tmp_path):
    straight, resumed = normed(), normed()
    quick(straight, steps=20, eval_every=10)
    quick(normed(), steps=10, eval_every=10, checkpoint=tmp_path / "run.pt")
    quick(resumed, steps=20, eval_every=10, checkpoint=tmp_path / "run.pt")
    assert same(straight, resumed) and straight[1].running_var.equal(resumed[1].running_var)


def test_looking_at_the_test_set_changes_nothing():
    often, once = normed(), normed()
    quick(often, steps=12, eval_every=1)
    quick(once, steps=12)
    assert same(often, once) and often[1].running_var.equal(once[1].running_var)
