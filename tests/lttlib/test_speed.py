"""Costs against bytes counted by hand and in real arrays, the roofline at its corner, and ratios of recorded rows."""

import numpy as np
import pytest
from lttkernels.condensed import condense

from lttlib.speed import CONDENSED, CSR, DENSE, fastest, layer_cost, recorded, roofline, select, time_ratio


def test_gemv_by_hand():
    # 3 x 6 weights, 6 inputs, 3 outputs, four bytes each; 18 multiply-adds
    cost = layer_cost("dense", 3, 6, density=1 / 3, batch=1)
    assert cost == (36, 4 * (18 + 6 + 3))
    assert layer_cost("condensed", 3, 6, density=1 / 3, batch=1) == (12, 6 * (4 + 2) + 4 * (6 + 3))
    assert layer_cost("CSR", 3, 6, density=1 / 3, batch=1) == (12, 6 * (4 + 4) + 4 * 4 + 4 * (6 + 3))


def test_storyboard_intensities():
    assert layer_cost("dense", 10**4, 10**4, density=1, batch=1).intensity == pytest.approx(0.5, rel=1e-3)
    assert layer_cost("condensed", 10**4, 10**4, density=0.1, batch=1, index_bytes=4).intensity == pytest.approx(
        0.25, rel=3e-3
    )


@pytest.mark.parametrize("batch", [1, 7])
def test_bytes_are_those_of_the_arrays(batch):
    draw = np.random.default_rng(0)
    mask = np.zeros((40, 300), bool)
    mask[:, draw.permutation(300)[:30]] = True
    held = condense(draw.normal(size=mask.shape).astype(np.float32), mask)
    activations = np.empty((batch, 300 + 40), np.float32)
    cost = layer_cost("condensed", 40, 300, density=0.1, batch=batch)
    assert cost.bytes == held.values.nbytes + held.indices.nbytes + activations.nbytes
    assert cost.flops == 2 * held.values.size * batch


def test_an_unknown_format_is_an_error():
    with pytest.raises(ValueError, match="kind = 'csr'"):
        layer_cost("csr", 3, 6, density=0.5, batch=1)


@pytest.mark.parametrize("intensity, rate", [(1, 10), (9, 90), (10, 100), (11, 100)])
def test_roofline_has_its_corner_at_peak_over_bandwidth(intensity, rate):
    assert roofline(intensity, peak=100, bandwidth=10) == rate


def row(name, low, middle, high):
    return {"implementation": name, "batch": 1, "q25_s": low, "median_s": middle, "q75_s": high}


def test_fastest_and_ratio_by_hand():
    rows = [
        row("torch dense", 7, 8, 9),
        row("torch dense, transposed", 5, 6, 7),
        row("condensed", 1, 2, 3),
        row("x", 0, 1, 1),
    ]
    best = fastest(rows, DENSE)
    assert best["implementation"] == "torch dense, transposed"
    assert time_ratio(best, fastest(rows, CONDENSED)) == (3.0, False)
    assert time_ratio(row("a", 1, 2, 3), row("b", 2.5, 4, 5)) == (0.5, True)
    assert time_ratio(row("a", 1, 2, 2.4), row("b", 2.5, 4, 5)) == (0.5, False)


def test_a_cell_that_was_not_timed_is_an_error():
    with pytest.raises(ValueError, match=r"fields that were timed: {'batch': "):
        select([row("x", 1, 2, 3)], batch=3)


@pytest.mark.parametrize("name", ["condensed", "formats", "training"])
def test_records_are_whole(name):
    record = recorded(name)
    assert record["bench"] == name and record["provenance"]["machine"]["cores"] >= 1
    for row in record["rows"]:
        assert 0 < row["q25_s"] <= row["median_s"] <= row["q75_s"]
        assert row["limit_fraction"] > 0 and row["threads"] in (1, 2)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sparsity", [0.8, 0.9, 0.95, 0.99])
def test_condensed_never_loses_where_the_page_says_so(threads, sparsity):
    """From 80% on, at every recorded batch, the condensed layer beats dense on the recorded machine."""
    rows = recorded("condensed")["rows"]
    for inputs, outputs in ((768, 3072), (3072, 768)):
        for batch in sorted({row["batch"] for row in rows}):
            cell = select(
                rows, **{"in": inputs, "out": outputs, "batch": batch, "threads": threads, "sparsity": sparsity}
            )
            assert time_ratio(fastest(cell, DENSE), fastest(cell, CONDENSED)).times > 1, (inputs, batch)


def test_condensed_leads_csr_where_the_page_says_so():
    """From batch 32 on and from 80% sparsity on, in every recorded cell."""
    rows = [row for row in recorded("condensed")["rows"] if row["batch"] >= 32 and row["sparsity"] >= 0.8]
    cells = {tuple(row[key] for key in ("in", "threads", "batch", "sparsity")) for row in rows}
    assert len(cells) == 2 * 2 * 4 * 4
    for inputs, threads, batch, sparsity in cells:
        cell = select(rows, **{"in": inputs, "threads": threads, "batch": batch, "sparsity": sparsity})
        assert time_ratio(fastest(cell, CSR), fastest(cell, CONDENSED)).times > 1, (inputs, threads, batch, sparsity)
