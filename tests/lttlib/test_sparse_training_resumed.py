"""Sparse training that is killed goes on bit for bit, and a checkpoint of another run is refused."""

from functools import partial

import pytest
import torch
from errors import assert_one_line_error, case_name
from torch import nn
from toys import ADAM, DATA, DECAY, net, same

from lttlib.sparse_training import METHODS, train_sparse

quick = partial(train_sparse, data=DATA, seed=3, batch_size=16, progress=False, density=0.3, distribution="erk",
                steps=30, interval=4, alpha=0.6, eval_every=5)  # fmt: skip


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


class Stopped:
    """Ctrl-C before one of the steps."""

    taken, stop_at = 0, None

    def step(self, closure=None):
        if self.taken == self.stop_at:
            raise KeyboardInterrupt
        self.taken += 1
        return super().step(closure)


def stopped(optimizer, stop_at):
    kind = type("Stopping", (Stopped, optimizer.func), {"stop_at": stop_at})
    return partial(kind, **optimizer.keywords)


@pytest.mark.parametrize("stop_at", [3, 6, 11, 19, 24])
@pytest.mark.parametrize("optimizer", [DECAY, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("method", METHODS)
def test_resumed_equals_straight(tmp_path, method, optimizer, stop_at):
    straight, killed, resumed = net(), net(), net(7)  # other initial weights: the checkpoint replaces them
    path = tmp_path / "run.pt"
    expected = quick(straight, method=method, optimizer=optimizer)
    with pytest.raises(KeyboardInterrupt):
        quick(killed, method=method, optimizer=stopped(optimizer, stop_at), checkpoint=path)
    if not path.exists():  # killed before its first record
        assert stop_at == 3
        resumed = net()
    found = quick(resumed, method=method, optimizer=optimizer, checkpoint=path)
    assert same(straight, resumed) and found.history == expected.history
    assert equal(found.masks, expected.masks) and equal(found.ever_live, expected.ever_live)
    again = net(5)
    done = quick(again, method=method, optimizer=optimizer, checkpoint=path)  # a finished run is not trained again
    assert same(again, straight) and done.history == expected.history and equal(done.masks, expected.masks)


def test_running_statistics_are_resumed(tmp_path):
    def normed():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double()

    straight, resumed = normed(), normed()
    quick(straight, method="rigl")
    with pytest.raises(KeyboardInterrupt):
        quick(normed(), method="rigl", optimizer=stopped(DECAY, 17), checkpoint=tmp_path / "other.pt")
    sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    with pytest.raises(KeyboardInterrupt):
        quick(normed(), method="rigl", optimizer=stopped(sgd, 17), checkpoint=tmp_path / "run.pt")
    quick(resumed, method="rigl", checkpoint=tmp_path / "run.pt")
    assert same(straight, resumed) and straight[1].running_var.equal(resumed[1].running_var)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"method": "set"}, ("checkpoint", "'method': 'rigl'", "'method': 'set'", "delete it")),
        ({"density": 0.4}, ("checkpoint", "'live'", "delete it")),
        ({"distribution": "uniform"}, ("checkpoint", "'live'")),
        ({"interval": 3}, ("checkpoint", "'updates': [4, 22]", "'updates': [3, 22]")),
        ({"end": 20}, ("checkpoint", "'updates': [4, 20]")),
        ({"alpha": 0.5}, ("checkpoint", "'fractions'")),
        ({"seed": 4}, ("checkpoint", "'seeds': [4]")),
    ],
    ids=case_name,
)
def test_checkpoint_of_another_run_is_refused(tmp_path, change, words):
    quick(net(), method="rigl", checkpoint=tmp_path / "run.pt")
    assert_one_line_error(lambda: quick(net(), checkpoint=tmp_path / "run.pt", **{"method": "rigl"} | change), *words)


def test_checkpoint_of_another_goal_of_gradual_pruning_is_refused(tmp_path):
    quick(net(), method="gmp", checkpoint=tmp_path / "run.pt")
    call = partial(quick, net(), method="gmp", density=0.4, checkpoint=tmp_path / "run.pt")
    assert_one_line_error(call, "checkpoint", "'final'", "delete it")
