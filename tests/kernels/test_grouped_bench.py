"""The bench of the mixture of experts: what it writes, that it validates before it times, and who is compared."""

import json

import pytest
import torch
from lttkernels.bench import grouped as bench
from lttkernels.bench.__main__ import main
from lttkernels.bench.grouped import LOADS, Mixture, Sizes, chosen_by, forward_calls, validate

FIELDS = {"implementation", "load", "pass", "tokens", "features", "hidden", "experts", "k", "threads", "device", "median_s",
          "q25_s", "q75_s", "dense_fraction"}  # fmt: skip
SMALL = Sizes(tokens=40, features=16, hidden=32, experts=4, k=2)


@pytest.fixture(autouse=True)
def one_thread():
    yield
    torch.set_num_threads(1)


def test_the_record_has_its_fields(tmp_path, capsys, monkeypatch):
    file, rows_of = tmp_path / "record.json", bench.grouped_rows
    monkeypatch.setattr("lttkernels.bench.__main__.grouped_rows",
                        lambda *what, **more: rows_of(*what, **more, sizes=SMALL))  # fmt: skip
    main(["grouped", "--threads", "1", "2", "--rounds", "1", "--json", str(file)])
    rows = json.loads(file.read_text())["rows"]
    assert all(set(row) == FIELDS and 0 < row["q25_s"] <= row["median_s"] <= row["q75_s"] for row in rows)
    names = set(forward_calls(Mixture("balanced", SMALL)))
    found = [(row["implementation"], row["load"], row["threads"]) for row in rows if row["pass"] == "forward"]
    assert sorted(found) == sorted((name, load, threads) for name in names for load in LOADS for threads in (1, 2))
    both = {row["implementation"] for row in rows if row["pass"] != "forward"}
    assert both == {"dense, torch's GELU", "grouped experts", "sorted loop"}
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


def test_fractions_are_of_the_faster_dense_network(monkeypatch):
    """By hand: 1, 2 and 4 s take 1, 1/2 and 1/4; of the half that a capacity keeps, half of that."""
    seconds = {"dense": 2.0, "dense, torch's GELU": 1.0, "grouped experts": 2.0, "padded bmm, capacity 1.25": 4.0}

    def timed(calls, **how):
        return {name: torch.tensor([seconds.get(name, 1.0)]).numpy() for name in calls}

    monkeypatch.setattr(bench, "interleaved", timed)
    sizes = Sizes(tokens=40, features=8, hidden=8, experts=8, k=1)
    rows = bench.grouped_rows("half on one expert", 1, sizes=sizes, rounds=1)
    fractions = {row["implementation"]: row["dense_fraction"] for row in rows if row["pass"] == "forward"}
    assert fractions["dense"] == 0.5 and fractions["dense, torch's GELU"] == 1 and fractions["grouped experts"] == 0.5
    assert fractions["padded bmm, capacity 1.25"] == pytest.approx(7 / 40 / 4)  # 7 places for 40 tokens on one expert


@pytest.mark.parametrize("load", LOADS)
def test_a_wrong_form_is_not_timed(load):
    mixture = Mixture(load, SMALL)
    found = forward_calls(mixture)
    validate(found, mixture)
    right = found["grouped experts"]
    found["wrong"] = lambda: right() * 1.001
    with pytest.raises(AssertionError, match="wrong: off by"):
        validate(found, mixture)


def test_loads_by_counting():
    sizes = Sizes()
    for load in LOADS:
        chosen = chosen_by(load, sizes)
        assert chosen.shape == (1024, 2) and bool((chosen[:, 0] != chosen[:, 1]).all())
        counts = chosen.flatten().bincount(minlength=8).tolist()
        assert counts == [256] * 8 if load == "balanced" else counts[0] == 1024 and max(counts[1:]) <= 147


def test_what_finds_its_expert_full_is_dropped():
    """40 tokens, k = 2, E = 4: 25 places; of 40 first choices of expert 0 the last 15 are dropped, nothing else."""
    mixture = Mixture("half on one expert", SMALL)
    kept = mixture.within_capacity().kept
    assert kept[:25, 0].all() and not kept[25:, 0].any() and kept[:, 1].all()
