"""The bench of masked_ntk: what it writes, that it validates before it times, and what its baselines answer."""

import json

import numpy as np
import pytest
from lttkernels.bench import masked_ntk as bench
from lttkernels.bench.__main__ import main
from lttkernels.bench.masked_ntk import Network, implementations, peak_of, validate
from lttkernels.masked_ntk import reference_masked_ntk

FIELDS = {"implementation", "n", "density", "threads", "median_s", "q25_s", "q75_s", "peak_bytes"}
SMALL = (30, 50, 40, 1)


def test_the_record_has_its_fields(tmp_path, capsys, monkeypatch):
    file, rows_of = tmp_path / "record.json", bench.masked_ntk_rows
    monkeypatch.setattr("lttkernels.bench.__main__.masked_ntk_rows",
                        lambda *what, **more: rows_of(*what, **more, widths=SMALL))  # fmt: skip
    monkeypatch.setattr(bench, "peak_of", lambda *what: 7)
    what = ["--n", "3", "4", "--density", ".1", "1", "--threads", "1", "2", "--rounds", "1", "--json", str(file)]
    main(["masked_ntk", *what])
    rows = json.loads(file.read_text())["rows"]
    assert all(set(row) == FIELDS and 0 < row["q25_s"] <= row["median_s"] <= row["q75_s"] for row in rows)
    names = set(implementations(Network(2, 0.5, SMALL)))
    assert len(names) == 5
    found = [(row["implementation"], row["n"], row["density"], row["threads"]) for row in rows]
    cells = [
        (name, n, density, threads) for name in names for n in (3, 4) for density in (0.1, 1) for threads in (1, 2)
    ]
    assert sorted(found) == sorted(cells)
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


def test_a_wrong_kernel_is_not_timed():
    network = Network(6, 0.4, SMALL)
    found = implementations(network)
    validate(found, network.layers())
    right = found["masked_ntk, rows"]
    found["wrong"] = lambda: right() * np.float32(1.0001)
    with pytest.raises(AssertionError, match=r"wrong: off by 0\.0001"):
        validate(found, network.layers())


def test_the_layers_give_the_gradients_of_the_network():
    """The kernel by finite differences of the output, every live weight on its own, in float64."""
    network = Network(4, 0.5, (5, 6, 1))
    network.weights, network.x = [weight.double() for weight in network.weights], network.x.double()
    columns = []
    for weight, mask in zip(network.weights, network.masks, strict=True):
        for place in mask.nonzero().tolist():
            outputs = []
            for step in (1e-6, -1e-6):
                weight[tuple(place)] += step
                outputs.append(network.output(network.weights, network.x).numpy().copy())
                weight[tuple(place)] -= step
            columns.append((outputs[0] - outputs[1]) / 2e-6)
    jacobian = np.stack(columns, 1)
    found = sum(reference_masked_ntk(*layer) for layer in network.layers())
    np.testing.assert_allclose(found, jacobian @ jacobian.T, rtol=1e-6)


def test_dead_weights_count_for_nothing():
    for name, call in implementations(Network(3, 0.0, SMALL)).items():
        assert not call().any(), name


def test_the_peak_is_that_of_the_call():
    """The Jacobian of 20 samples and 90,300 weights takes 7.2 MB, and its copies as much again; masked_ntk does without."""
    widths = (300, 300, 1)
    jacobian, ours = (peak_of(name, 20, 0.1, 1, widths) for name in ("torch.func.jacrev, J @ J.T", "masked_ntk, rows"))
    assert 2 * 7.2e6 < jacobian < 12 * 7.2e6 and ours < 7.2e6
