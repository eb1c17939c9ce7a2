"""The experiment on mixtures in a language model, at toy size: its grid, counts, arms that start alike, training by loops."""

import copy
import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from errors import assert_one_line_error, case_name
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lttlib.characters import Text, book_text, text_of
from lttlib.experiments import mixtures_of_text as experiment

SEED, STEPS, JUDGED, WIDTH, HIDDEN, CONTEXT, PASSAGES, DEPTH = 1, 20, 3, 8, 12, 6, 4, 2
DRAWN = []  # (step, seed, part) of every batch


class Watched(Text):
    """A text that remembers what was drawn from it."""

    def batch(self, step, seed, batch_size, context, *, part="train"):
        assert (batch_size, context) == (PASSAGES, CONTEXT)
        DRAWN.append((step, seed, part))
        return super().batch(step, seed, batch_size, context, part=part)


SPLIT = text_of("the quick brown fox jumps over the lazy dog, and so on; " * 12)
TEXT = Watched(SPLIT.vocabulary, SPLIT.train, SPLIT.validation)
CHARACTERS = len(TEXT.vocabulary)
TINY = replace(experiment.SETTINGS["book"], load=lambda: TEXT, width=WIDTH, heads=2, depth=DEPTH, hidden=HIDDEN,
               context=CONTEXT, batch_size=PASSAGES, steps=STEPS, judged=JUDGED)  # fmt: skip
DENSE = [("dense", size) for size in (1, 2, 4)]
MIXTURES = [("top-1", experts) for experts in (2, 4, 8, 16, 32)] + [("top-1, unbalanced", 8), ("top-1, unbalanced", 32)]
MIXTURES += [(arm, 8) for arm in ("two of E", "cosine", "hash", "frozen random")]


@pytest.fixture(scope="module")
def patched():
    """The models of the cells, before and after training, in a list."""
    calls, train_text = [], experiment.train_text

    def watched(model, *arguments, **options):
        begun = copy.deepcopy(model)
        found = train_text(model, *arguments, **options)
        calls.append((begun, copy.deepcopy(model), options))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(experiment.SETTINGS, "book", TINY)
        patch.setattr(experiment, "train_text", watched)
        ticks = iter(range(0, 10**6, 3))
        patch.setattr(experiment.time, "thread_time", lambda: next(ticks))  # each training takes 3 s
        yield calls


@pytest.fixture(scope="module")
def recorded(patched):
    """(row, begun, model, options, what was drawn) of every cell of one seed, by (arm, value)."""
    found = {}
    for cell in experiment.cells("book", SEED + 1)[len(DENSE + MIXTURES) :]:
        patched.clear()
        DRAWN.clear()
        (row,) = experiment.run(**cell)
        found[cell["arm"], cell["value"]] = row, *patched[0], list(DRAWN)
    return found


def test_every_arm_once_per_seed():
    cells = experiment.cells("book", 3)
    expected = Counter(("book", arm, value, seed) for seed in range(3) for arm, value in DENSE + MIXTURES)
    assert Counter((cell["data"], cell["arm"], cell["value"], cell["seed"]) for cell in cells) == expected
    assert [cell["seed"] for cell in cells] == sorted(cell["seed"] for cell in cells)
    setting = experiment.Setting()
    assert setting.load is book_text
    assert setting.context * setting.judged * setting.batch_size > len(book_text().validation)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: experiment.cells("digits", 2), ("data", "'digits'", "'book'", "spelling")),
        (lambda: experiment.run("digits", "dense", 1, 0), ("data", "'digits'", "'book'")),
        (lambda: experiment.run("book", "top-2", 8, 0), ("arm", "'top-2'", "'two of E'", "spelling")),
    ],
    ids=case_name,
)
def test_unknown_names(call, words):
    assert_one_line_error(call, *words)


def test_what_a_row_is(recorded):
    always = {"arm", "value", "seed", "loss", "course", "active flops", "parameters", "tokens_per_s", "dimensions"}
    assert set(recorded) == {*DENSE, *MIXTURES}
    for (arm, value), (row, *_) in recorded.items():
        assert json.loads(json.dumps(row, allow_nan=False)) == row
        assert row.keys() == always | (set() if arm == "dense" else {"effective experts", "share between experts"})
        assert (row["arm"], row["value"], row["seed"]) == (arm, value, SEED)
        assert row["tokens_per_s"] == STEPS * PASSAGES * CONTEXT / 3
        assert len(row["course"]) == STEPS and row["course"][-1] < row["course"][0] - 0.2, arm  # it learns
        assert len(row["dimensions"]) == DEPTH and all(1 <= found <= WIDTH for found in row["dimensions"])
        if arm != "dense":
            assert len(row["share between experts"]) == DEPTH and 1 <= row["effective experts"] <= value
            assert all(0 <= share <= 1 for share in row["share between experts"])


def parts_of(arm: str, value: int) -> dict[str, int]:
    """Weights by hand: of one perceptron with biases, of a router, and how many perceptrons there are."""
    hidden = {"dense": value * HIDDEN, "two of E": HIDDEN // 2}.get(arm, HIDDEN)
    router = {
        "dense": 0,
        "hash": 0,
        "frozen random": 0,
        "cosine": 4 * WIDTH + 8 * 4 + 1,
    }  # dim 8 / 2 = 4, and the scale
    return {"perceptron": 2 * WIDTH * hidden + hidden + WIDTH, "number": 1 if arm == "dense" else value,
            "router": router.get(arm, value * WIDTH)}  # fmt: skip


def test_parameters_by_hand(recorded):
    attention = (3 * WIDTH * WIDTH + 3 * WIDTH) + (WIDTH * WIDTH + WIDTH) + 2 * (2 * WIDTH)  # with two norms
    around = CHARACTERS * WIDTH + CONTEXT * WIDTH + 2 * WIDTH + (WIDTH * CHARACTERS + CHARACTERS)
    for (arm, value), (row, *_) in recorded.items():
        parts = parts_of(arm, value)
        feed_forward = parts["perceptron"] * parts["number"] + parts["router"]
        assert row["parameters"] == around + DEPTH * (attention + feed_forward), (arm, value)


def test_same_active_and_same_total_size(recorded):
    """The weights of one expert are those of dense 1; four have those of dense 4, and 3 output biases of width 8 more."""
    sizes = {key: parts_of(*key) for key in recorded}
    for key in MIXTURES:
        if key[0] != "two of E":
            assert sizes[key]["perceptron"] == sizes["dense", 1]["perceptron"]
    for experts in (2, 4):
        many, one = sizes["top-1", experts], sizes["dense", experts]["perceptron"]
        assert many["perceptron"] * many["number"] - one == (experts - 1) * WIDTH
    flops = {key: row["active flops"] for key, (row, *_) in recorded.items()}
    assert (
        flops["hash", 8] == flops["dense", 1] < flops["two of E", 8] == flops["top-1", 8] == flops["frozen random", 8]
    )


def test_active_operations_as_torch_counts_them(recorded):
    """Of one forward pass over all products of matrices, divided by the tokens."""
    x = TEXT.validation[: PASSAGES * CONTEXT].view(PASSAGES, CONTEXT)
    for key, (row, _, model, *_) in recorded.items():
        with (
            torch.no_grad(),
            experiment.collect_auxiliary(model, ids=x),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            model(x)
        assert counter.get_total_flops() == row["active flops"] * x.numel(), key


def test_arms_start_alike(recorded):
    """All but the feed-forwards is the same in all arms, and of one size also experts and routers; blocks differ."""
    begun = {key: dict(begun.named_parameters()) for key, (_, begun, *_) in recorded.items()}
    for key, parameters in begun.items():
        around = {name: p for name, p in parameters.items() if ".feed_forward." not in name}
        assert len(around) == 2 + DEPTH * 8 + 2 + 2
        for name, parameter in around.items():
            assert parameter.equal(begun["dense", 1][name]), (key, name)
        first, second = (p for name, p in parameters.items() if name.endswith(("feed_forward.0.weight", "experts.w1")))
        assert not first.equal(second)
    plain = begun["top-1", 8]
    for name, parameter in begun["top-1, unbalanced", 8].items():
        assert parameter.equal(plain[name]), name
    for name, parameter in begun["frozen random", 8].items():
        assert parameter.equal(plain[name]), name
    weight = "transformer.blocks.0.feed_forward.layer.router.weight"
    assert recorded["frozen random", 8][2].state_dict()[weight].equal(plain[weight])  # still, after training
    assert not recorded["top-1", 8][2].state_dict()[weight].equal(plain[weight])


def test_arms_are_what_they_are_called(recorded):
    kinds = {"cosine": "CosineRouter", "hash": "HashRouter", "frozen random": "RandomRouter"}
    for (arm, value), (_, model, *_) in ((key, found) for key, found in recorded.items() if key[0] != "dense"):
        for block in model.transformer.blocks:
            layer = block.feed_forward.layer
            assert type(layer.router).__name__ == kinds.get(arm, "TopKRouter") and layer.capacity_factor is None
            assert layer.router.k == (2 if arm == "two of E" else 1) and len(layer.experts) == value
    tables = [block.feed_forward.layer.router.table for block in recorded["hash", 8][1].transformer.blocks]
    assert len(tables[0]) == CHARACTERS and not tables[0].equal(tables[1])


def test_all_arms_read_the_same(recorded):
    """Training passages by seed, and the same held-out ones whatever the seed."""
    expected = [(step, SEED, "train") for step in range(STEPS)] + [(step, 0, "validation") for step in range(JUDGED)]
    for key, (*_, drawn) in recorded.items():
        assert drawn == expected, key


def logits_of(model) -> list:
    """A list that fills with the logits (T, E) of each block's router at each forward pass: x times weight."""
    seen = []
    for block in model.transformer.blocks:
        layer = block.feed_forward.layer
        layer.register_forward_pre_hook(
            lambda layer, inputs: seen.append(inputs[0].flatten(0, 1) @ layer.router.weight.T)
        )
    return seen


def cross_entropy(model, x, y) -> torch.Tensor:
    return -torch.log_softmax(model(x), 2).gather(2, y[..., None]).mean()


def by_loops(begun, balance: float, steps: int):
    """Adam written out on cross-entropy + balance * mean over blocks of E sum f P: (network, losses without balance)."""
    model, losses, moments = copy.deepcopy(begun), [], {}
    seen = logits_of(model)
    for step in range(steps):
        seen.clear()
        loss = cross_entropy(model, *SPLIT.batch(step, SEED, PASSAGES, CONTEXT))
        losses.append(loss.item())
        for logits in seen:
            f = torch.bincount(logits.argmax(1), minlength=8) / len(logits)
            loss = loss + balance / len(seen) * 8 * (f * logits.softmax(1).mean(0)).sum()
        model.zero_grad()
        loss.backward()
        rate = 3e-3 * (1 + math.cos(math.pi * step / steps)) / 2
        with torch.no_grad():
            for name, value in model.named_parameters():
                first, second = moments.get(name, (0, 0))
                first, second = 0.9 * first + 0.1 * value.grad, 0.999 * second + 0.001 * value.grad**2
                moments[name] = first, second
                scale = (second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
                value -= rate * first / (1 - 0.9 ** (step + 1)) / scale
    return model, losses


@pytest.mark.parametrize("arm, balance", [("top-1", 0.01), ("top-1, unbalanced", 0.0)])
def test_training_by_loops(recorded, patched, monkeypatch, arm, balance):
    """Unbalanced means no balance term at all. The bias of an attention's keys has gradient 0 but for rounding."""
    assert recorded[arm, 8][3] == {"balance": balance}
    monkeypatch.setitem(experiment.SETTINGS, "book", replace(TINY, steps=5))
    patched.clear()
    (row,) = experiment.run("book", arm, 8, SEED)
    begun, model, _ = patched[0]
    expected, losses = by_loops(begun, balance, 5)
    assert row["course"] == pytest.approx(losses, abs=1e-4)
    other, _ = by_loops(begun, 0.01 - balance, 5)
    weight = "transformer.blocks.1.feed_forward.layer.router.weight"
    for name, found in model.named_parameters():
        if not name.endswith("queries_keys_values.bias"):
            assert found.allclose(expected.get_parameter(name), atol=1e-4), name
    assert not model.get_parameter(weight).allclose(other.get_parameter(weight), atol=1e-4)


def test_only_one_arm_is_unbalanced(recorded):
    for (arm, _), (*_, options, _drawn) in recorded.items():
        assert options == {"balance": 0.0 if arm == "top-1, unbalanced" else 0.01}, arm


def test_the_course_is_cut_into_a_hundred_parts(patched, recorded, monkeypatch):
    """205 steps: parts of 2, the last of 1."""
    monkeypatch.setitem(experiment.SETTINGS, "book", replace(TINY, steps=205))
    losses = []

    def cross_entropy(logits, y):
        losses.append(F.nll_loss(logits.log_softmax(1), y))
        return losses[-1]

    monkeypatch.setattr(experiment.F, "cross_entropy", cross_entropy)
    (row,) = experiment.run("book", "dense", 1, SEED)
    each = [loss.item() for loss in losses[:205]]
    assert row["course"] == pytest.approx([(each[i] + each[min(i + 1, 204)]) / 2 for i in range(0, 205, 2)], abs=1e-4)


@pytest.mark.parametrize("key", [("dense", 2), ("top-1", 8), ("two of E", 8)])
def test_judgement_by_loops(recorded, key):
    """Loss, and exp of the entropy of each block's shares over all held-out passages, averaged over blocks."""
    row, _, trained, *_ = recorded[key]
    model = copy.deepcopy(trained).eval()
    seen = [] if key[0] == "dense" else logits_of(model)
    with torch.no_grad():
        losses = [
            cross_entropy(model, *SPLIT.batch(step, 0, PASSAGES, CONTEXT, part="validation")) for step in range(3)
        ]
    assert row["loss"] == pytest.approx(sum(loss.item() for loss in losses) / 3, abs=1e-5)
    if key[0] == "dense":
        return
    effective = []
    for block in range(DEPTH):
        k = 2 if key[0] == "two of E" else 1
        chosen = [e for logits in seen[block::DEPTH] for token in logits.tolist()
                  for e in sorted(range(8), key=token.__getitem__)[-k:]]  # fmt: skip
        shares = [count / len(chosen) for count in Counter(chosen).values()]
        effective.append(math.exp(-sum(share * math.log(share) for share in shares)))
    assert row["effective experts"] == pytest.approx(sum(effective) / DEPTH, abs=1e-4)


def test_what_the_blocks_read(recorded):
    """Two blocks, from first to last; who takes a token is its first choice."""
    row, _, trained, *_ = recorded["two of E", 8]
    model, read = copy.deepcopy(trained).eval(), [[] for _ in range(DEPTH)]
    for block, seen in zip(model.transformer.blocks, read, strict=True):
        block.feed_forward_norm.register_forward_hook(
            lambda _, inputs, output, seen=seen: seen.append(output.flatten(0, 1))
        )
    with torch.no_grad():
        for step in range(JUDGED):
            model(SPLIT.batch(step, 0, PASSAGES, CONTEXT, part="validation")[0])
    for block, seen in enumerate(read):
        x = torch.cat(seen).double()
        weight = model.transformer.blocks[block].feed_forward.layer.router.weight.double()
        eigenvalues = torch.linalg.eigvalsh((x - x.mean(0)).T @ (x - x.mean(0)))
        assert row["dimensions"][block] == pytest.approx(
            (eigenvalues.sum() ** 2 / (eigenvalues**2).sum()).item(), rel=1e-5
        )
        expert = (x @ weight.T).argmax(1)
        within = sum(((x[expert == e] - x[expert == e].mean(0)) ** 2).sum() for e in expert.unique())
        share = 1 - within / ((x - x.mean(0)) ** 2).sum()
        assert row["share between experts"][block] == pytest.approx(share.item(), abs=1e-6)


@pytest.mark.parametrize("key", [("hash", 8), ("top-1", 4)])
def test_a_run_repeats_itself_and_seeds_differ(patched, recorded, key):
    assert experiment.run("book", *key, SEED) == [recorded[key][0]]  # all: also the clock is the fixture's
    (other,) = experiment.run("book", *key, SEED + 1)
    assert other["seed"] == SEED + 1 and other["loss"] != recorded[key][0]["loss"]


@pytest.mark.parametrize(
    "arm, error, words",
    [("hash", FloatingPointError, r"the training loss is (nan|inf) at step [12]; lower the learning rate"),
     ("top-1", ValueError, "did the loss diverge")],
)  # fmt: skip
def test_a_loss_that_is_no_number_ends_the_run(patched, monkeypatch, arm, error, words):
    monkeypatch.setattr(torch.optim, "Adam", lambda parameters, lr: torch.optim.SGD(parameters, lr=lr * 1e38))
    with pytest.raises(error, match=words):
        experiment.run("book", arm, 8, SEED)
