"""The experiment on mixtures for images, few steps: its grid, counts by hand, who takes whom by loops, training by loops."""

import copy
import json
import math
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from errors import assert_one_line_error, case_name
from torch.utils.flop_counter import FlopCounterMode

from lttlib.data import digits, disguised_digits
from lttlib.experiments import mixtures as experiment
from lttlib.training import SGD, BatchOrder

STEPS, SEED, PIXELS = 60, 1, 64
SMALL, LARGE = ("dense, same active", "dense, same total")
TOP_1 = [f"top-1, b = {b}" for b in ("0", "0.01", "0.1", "1")]
MIXTURES = [*TOP_1, "frozen random", "noisy", "cosine", "two of four", "expert choice"]
TOLD = "told the disguise"
DATA = disguised_digits()


def watched(train, calls: list):
    """train, which also leaves in calls what the network was before, the arguments, and what came out."""

    def call(model, data, **options):
        begun, denormal = copy.deepcopy(model), float((torch.full((16,), 1e-40) * 1).sum())
        history = train(model, data, **options)
        calls.append({"trainer": train.__name__, "begun": begun, "model": model, "data": data, "history": history,
                      "denormal": denormal} | options)  # fmt: skip
        return history

    return call


@pytest.fixture(scope="module")
def patched():
    """What was called, in trainings of few steps."""
    with pytest.MonkeyPatch.context() as patch:
        calls = []
        patch.setattr(experiment, "STEPS", STEPS)
        for name in ("train", "train_mixture"):
            patch.setattr(experiment, name, watched(getattr(experiment, name), calls))
        yield calls


@pytest.fixture(scope="module")
def recorded(patched):
    """(row, call) of every cell of one seed on disguised digits, by arm."""
    found = {}
    for cell in experiment.cells("disguised digits", SEED + 1)[-12:]:
        patched.clear()
        (row,) = experiment.run(**cell)
        found[cell["arm"]] = row, *patched
    return found


@pytest.mark.parametrize("data, expected", [("digits", []), ("disguised digits", [TOLD])])
def test_every_arm_once_per_seed(data, expected):
    cells = experiment.cells(data, 3)
    grid = Counter((data, arm, seed) for seed in range(3) for arm in [SMALL, LARGE, *MIXTURES, *expected])
    assert Counter((cell["data"], cell["arm"], cell["seed"]) for cell in cells) == grid
    assert [cell["seed"] for cell in cells] == sorted(cell["seed"] for cell in cells)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: experiment.cells("mnist", 2), ("data", "'mnist'", "'disguised digits'", "spelling")),
        (lambda: experiment.run("mnist", SMALL, 0), ("data", "'mnist'", "'digits'")),
        (lambda: experiment.run("digits", "top-1", 0), ("arm", "'top-1'", "'top-1, b = 0.01'", "spelling")),
        (lambda: experiment.run("digits", "top-1, b = 2", 0), ("arm", "'top-1, b = 2'", "'cosine'")),
        (lambda: experiment.run("digits", TOLD, 0), ("arm", f"'{TOLD}'", "'noisy'")),
    ],
    ids=case_name,
)
def test_unknown_names(call, words):
    assert_one_line_error(call, *words)


def test_what_a_row_is(recorded):
    assert list(recorded) == [SMALL, LARGE, *MIXTURES, TOLD]
    for arm, (row, call) in recorded.items():
        assert json.loads(json.dumps(row, allow_nan=False)) == row
        mixed = {"river", "who", "effective experts", "served"} if arm not in (SMALL, LARGE) else set()
        assert row.keys() == {"arm", "seed", "accuracy"} | mixed and (row["arm"], row["seed"]) == (arm, SEED)
        assert call["history"].steps == [STEPS] and row["accuracy"] == call["history"].test_accuracy[-1]
        right = call["model"].eval()(call["data"].x_test).argmax(1) == DATA.y_test
        assert row["accuracy"] == pytest.approx(right.double().mean().item(), abs=1e-6)
    assert recorded[LARGE][0]["accuracy"] > 0.5 and recorded[TOLD][0]["accuracy"] > 0.3  # they learn; chance is 0.1


def test_shares_are_shares(recorded):
    for arm in [*MIXTURES, TOLD]:
        row = recorded[arm][0]
        assert len(row["river"]) == 3 and len(row["who"]) == 4  # steps 0, 25, 50; four disguises
        for shares in row["river"] + row["who"]:
            assert len(shares) == 4 and min(shares) >= 0 and sum(shares) == pytest.approx(1, abs=2e-4), arm
        means = [sum(column) / 4 for column in zip(*row["who"], strict=True)]
        entropy = -sum(p * math.log(p) for p in means if p > 0)
        assert row["effective experts"] == pytest.approx(math.exp(entropy), abs=2e-3), arm
        assert arm == "expert choice" or row["served"] == 1
    assert 0.5 < recorded["expert choice"][0]["served"] < 1
    assert recorded[TOLD][0]["who"] == np.eye(4).tolist()


def weight_of(router) -> np.ndarray:
    return router.weight.detach().double().numpy()


def choices_of(router, x: torch.Tensor) -> list[tuple[int, int]]:
    """(row, expert) of every pair, image by image; of expert choice, whose softmax compares images, expert by expert."""
    logits = x.double().numpy() @ weight_of(router).T
    if hasattr(router, "k"):
        return [(i, e) for i, row in enumerate(logits) for e in np.argsort(-row)[: router.k]]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return [(i, e) for e in range(4) for i in np.argsort(-probabilities[:, e])[: math.ceil(len(x) / 4)]]


@pytest.mark.parametrize("arm", [TOP_1[0], TOP_1[3], "frozen random", "noisy", "two of four", "expert choice"])
def test_who_takes_whom_image_by_image(recorded, arm):
    row, call = recorded[arm]
    pairs = choices_of(call["model"].layer.router, DATA.x_test)
    counts = np.zeros((4, 4))
    for i, expert in pairs:
        counts[i // 597, expert] += 1  # 597 images in each disguise
    np.testing.assert_allclose(row["who"], counts / counts.sum(1, keepdims=True), atol=1.1e-4)
    assert row["served"] == pytest.approx(len({i for i, _ in pairs}) / 2388)


@pytest.mark.parametrize("arm", [*TOP_1, "frozen random", "two of four", "expert choice"])
def test_the_river_starts_with_the_first_batch(recorded, arm):
    row, call = recorded[arm]
    first = DATA.x_train[BatchOrder(4800, 64, SEED)[0]]
    pairs = choices_of(call["begun"].layer.router, first)
    counted = Counter(expert for _, expert in pairs)
    assert row["river"][0] == pytest.approx([counted[e] / len(pairs) for e in range(4)], abs=1e-4)
    assert row["river"][2] != row["river"][0] or arm == "expert choice"


def test_the_rows_of_a_table_by_hand():
    """Two images a disguise; one expert has no row, and a disguise that nobody takes no share."""
    router = experiment.TopKRouter(1, 3, 1, generator=torch.Generator())
    with torch.no_grad():
        router.weight[:] = torch.tensor([[1.0], [-1.0], [0.0]])
    model = experiment.mixture_mlp(1, 2, 2, router, generator=torch.Generator())
    x = torch.tensor([[1.0], [1], [1], [-1], [-1], [-1], [-1], [1]])
    assert experiment.who_takes_whom(model, x).tolist() == [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0.5, 0.5, 0]]
    chooser = experiment.ExpertChoiceRouter(1, 2, generator=torch.Generator())
    with torch.no_grad():
        chooser.weight[:] = torch.tensor([[1.0], [-1.0]])
    few = experiment.mixture_mlp(1, 2, 2, chooser, generator=torch.Generator(), capacity_factor=0.5)
    x = torch.tensor([[0.1], [3], [2], [0.1], [0.1], [0.1], [-2], [-3]])  # of 8 images each expert takes two
    assert experiment.who_takes_whom(few, x).tolist() == [[1, 0], [1, 0], [0, 0], [0, 1]]
    assert experiment.served(few, x) == 0.5


def numbers(parameters) -> int:
    return sum(math.prod(p.shape) for p in parameters)


def test_dense_networks_are_as_large_as_they_say(recorded):
    """One expert has 64 * 8 + 8 + 8 * 10 + 10 = 610 weights; four have 30 more than 32 hidden units: three biases out."""
    experts = {arm: recorded[arm][1]["begun"].layer.experts for arm in [*MIXTURES, TOLD]}
    assert numbers(recorded[SMALL][1]["begun"].parameters()) == 610
    assert numbers(recorded[LARGE][1]["begun"].parameters()) == 64 * 32 + 32 + 32 * 10 + 10 == 4 * 610 - 30
    for arm, stack in experts.items():
        hidden = 4 if arm == "two of four" else 8
        assert len(stack) == 4 and numbers(stack.parameters()) == 4 * (64 * hidden + hidden + hidden * 10 + 10), arm


def flops(model, x) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return counter.get_total_flops()


def test_active_operations_are_those_of_the_small_network(recorded):
    """Matrix products as torch counts them, but for the router: 4 logits of 64 features; of cosine by way of two."""
    for arm, (_, call) in recorded.items():
        router = {SMALL: 0, LARGE: 0, TOLD: 0, "cosine": 64 * 2 + 2 * 4}.get(arm, 64 * 4)
        size = 32 if arm == LARGE else 8
        counted = flops(call["model"].eval(), call["data"].x_test[:64])
        assert counted == 2 * 64 * (64 * size + size * 10 + router), arm


def test_arms_start_alike(recorded):
    """All routers with a weight draw the same one, all experts of one size are the same; another seed draws others."""
    mixed = {arm: recorded[arm][1]["begun"].layer for arm in [*MIXTURES, TOLD]}
    for arm, layer in mixed.items():
        if arm != "two of four":
            for name, part in mixed[TOP_1[0]].experts.named_parameters():
                assert layer.experts.get_parameter(name).equal(part), (arm, name)
        if arm not in ("cosine", TOLD):
            assert layer.router.weight.equal(mixed[TOP_1[0]].router.weight), arm
    for arm, hidden in ((SMALL, 8), (LARGE, 32)):  # N(0, 2 / inputs) of the seed
        first = torch.randn(hidden, PIXELS, generator=torch.Generator().manual_seed(SEED)) * (2 / PIXELS) ** 0.5
        assert recorded[arm][1]["begun"][0].weight.allclose(first, atol=1e-6), arm
    other, _ = experiment.mixture(DATA, TOP_1[0], SEED + 1)
    assert not other.layer.experts.w1.equal(mixed[TOP_1[0]].experts.w1)
    assert not other.layer.router.weight.equal(mixed[TOP_1[0]].router.weight)


def test_routers_are_what_they_are_called(recorded):
    routers = {arm: recorded[arm][1]["begun"].layer.router for arm in [*MIXTURES, TOLD]}
    kinds = {
        "frozen random": "RandomRouter",
        "cosine": "CosineRouter",
        "expert choice": "ExpertChoiceRouter",
        TOLD: "HashRouter",
    }
    assert all(type(router).__name__ == kinds.get(arm, "TopKRouter") for arm, router in routers.items())
    for arm, router in routers.items():
        assert getattr(router, "k", 1) == (2 if arm == "two of four" else 1)
        assert (getattr(router, "noise_weight", None) is not None) == (arm == "noisy")
        assert recorded[arm][1]["model"].layer.capacity_factor == (1 if arm == "expert choice" else None)
    frozen = recorded["frozen random"][1]["model"].layer.router
    assert weight_of(frozen).tolist() == weight_of(routers[TOP_1[0]]).tolist()


def test_settings_of_the_training(recorded):
    balances = dict.fromkeys(["noisy", "cosine", "two of four"], 0.1) | dict(zip(TOP_1, (0, 0.01, 0.1, 1), strict=True))
    for arm, (_, call) in recorded.items():
        assert call["trainer"] == ("train" if arm in (SMALL, LARGE) else "train_mixture")
        assert (call["seed"], call["steps"], call["optimizer"], call["progress"]) == (SEED, STEPS, SGD, False)
        assert [call["schedule"](step) for step in (0, 30, 60)] == pytest.approx([1, 0.5, 0])
        assert call.get("balance", 0) == balances.get(arm, 0), arm
        assert call["denormal"] == 0  # numbers too small to matter are 0 and cost no time
        for name in ("x_train", "y_train", "x_test", "y_test"):
            given = getattr(call["data"], name)
            assert (given[:, :-1] if arm == TOLD and name[0] == "x" else given).equal(getattr(DATA, name)), (arm, name)
    assert float((torch.full((16,), 1e-40) * 1).sum()) > 0  # the switch is back where it was


def by_loops(begun, weight: float, steps: int):
    """SGD with momentum on cross-entropy + weight * E * sum of f P, written out; returns the network."""
    model, velocity, order = copy.deepcopy(begun), {}, BatchOrder(4800, 64, SEED)
    for step in range(steps):
        x, y = DATA.x_train[order[step]], DATA.y_train[order[step]]
        logits = x @ model.layer.router.weight.T
        f = torch.tensor([float((logits.argmax(1) == e).sum()) / 64 for e in range(4)])
        loss = F.nll_loss(F.log_softmax(model(x), 1), y) + weight * 4 * (f * torch.softmax(logits, 1).mean(0)).sum()
        model.zero_grad()
        loss.backward()
        rate = 0.1 * (1 + math.cos(math.pi * step / steps)) / 2
        with torch.no_grad():
            for name, value in model.named_parameters():
                velocity[name] = 0.9 * velocity.get(name, 0) + value.grad
                value -= rate * velocity[name]
    return model


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0])
def test_the_weight_of_the_balance_loss(patched, monkeypatch, weight):
    """With b = 0 the training has no balance term at all; with b = 1 it ends elsewhere."""
    monkeypatch.setattr(experiment, "STEPS", 6)
    patched.clear()
    experiment.run("disguised digits", f"top-1, b = {weight:g}", SEED)
    (call,) = patched
    expected, without = (by_loops(call["begun"], b, 6) for b in (weight, 0.0))
    for (name, found), one in zip(call["model"].named_parameters(), expected.parameters(), strict=True):
        assert found.allclose(one, atol=2e-5), name
    assert call["model"].layer.router.weight.allclose(without.layer.router.weight, atol=2e-5) == (weight == 0)


def test_the_disguise_stands_in_the_last_column():
    """An inverted image is the negative one, and in the second quarter; experts do not see the column."""
    told = experiment.with_disguise(DATA)
    for plain, x, quarter in ((DATA.x_train, told.x_train, 1200), (DATA.x_test, told.x_test, 597)):
        assert x[:, :-1].equal(plain) and x[:, -1].tolist() == [i // quarter for i in range(4 * quarter)]
        assert plain[quarter : 2 * quarter].allclose(-plain[:quarter])
        assert not plain[2 * quarter :].equal(plain[: 2 * quarter])
    model, _ = experiment.mixture(DATA, TOLD, SEED)
    x, expert = told.x_test[600:601], model.layer.experts
    by_hand = torch.relu(x[:, :-1] @ expert.w1[1] + expert.b1[1]) @ expert.w2[1] + expert.b2[1]
    assert model(x).allclose(by_hand, atol=1e-5)


def test_plain_digits(patched):
    patched.clear()
    (row,) = experiment.run("digits", "two of four", 0)
    assert patched[0]["data"].x_train.equal(digits().x_train)
    assert [sum(shares) for shares in row["who"]] == pytest.approx([1] * 4, abs=2e-4) and row["served"] == 1


@pytest.mark.parametrize("arm", ["noisy", LARGE])
def test_a_run_repeats_itself_and_seeds_differ(recorded, arm):
    """Also where noise is drawn."""
    assert experiment.run("disguised digits", arm, SEED) == [recorded[arm][0]]
    (other,) = experiment.run("disguised digits", arm, SEED + 1)
    assert other["seed"] == SEED + 1 and other["accuracy"] != recorded[arm][0]["accuracy"]


@pytest.mark.parametrize(
    "arm, error, words",
    [(SMALL, FloatingPointError, "lower the learning rate"), (TOP_1[0], ValueError, "did the loss diverge")],
)
def test_a_run_that_diverges_is_an_error(monkeypatch, arm, error, words):
    monkeypatch.setattr(experiment, "STEPS", 6)
    monkeypatch.setattr(experiment, "SGD", partial(torch.optim.SGD, lr=1e30))
    with pytest.raises(error, match=words):
        experiment.run("disguised digits", arm, 0)
    assert float((torch.full((16,), 1e-40) * 1).sum()) > 0
