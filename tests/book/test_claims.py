"""The ledger: its file is sound, its page is fresh, and every number in it is measured anew."""

import copy
import re
from pathlib import Path

import pytest
from write_ledger import page

from lttlib.claims import ledger
from lttlib.intervals import Interval

BOOK = Path(__file__).parents[2] / "book"
CLAIMS = ledger.read(BOOK / "claims.yml")


@pytest.mark.parametrize("claim", CLAIMS, ids=[claim["id"] for claim in CLAIMS])
def test_a_fresh_measurement_agrees(claim):
    assert ledger.differences(claim) == []


@pytest.mark.parametrize("field, change", [("mean", 1.0), ("low", -1.0), ("high", 1.0)])
def test_a_perturbed_number_is_noticed(field, change):
    claim = next(c for c in CLAIMS if c["id"] == "relu-diagonal-is-gauss-newton")
    perturbed = copy.deepcopy(claim)
    perturbed["measured"][0][field] += change
    assert any(f": {field} is" in line for line in ledger.differences(perturbed))


def test_a_perturbed_record_is_noticed():
    claim = next(c for c in CLAIMS if c["id"] == "obd-beats-magnitude")
    recorded = copy.deepcopy(claim)
    recorded["measured"] = [one for one in recorded["measured"] if one["kind"] == "recorded"]
    recorded["measured"][0]["mean"] += 1e-4
    assert any("mean is" in line for line in ledger.differences(recorded))


def test_a_wrong_verdict_is_noticed():
    claim = copy.deepcopy(next(c for c in CLAIMS if c["id"] == "relu-diagonal-is-gauss-newton"))
    claim["verdict"] = "not"
    assert ledger.differences(claim) == ["relu-diagonal-is-gauss-newton: reproduced, written is not"]


def test_every_source_is_in_the_bibliography():
    keys = set(re.findall(r"^@\w+\{([^,]+),", (BOOK / "references.bib").read_text(), re.M))
    assert {claim["source"] for claim in CLAIMS} <= keys | {"this book"}


def test_every_chapter_with_a_lab_has_three_claims():
    for lab in (BOOK.parent / "notebooks").glob("*.ipynb"):
        assert sum(claim["chapter"] == lab.stem for claim in CLAIMS) >= 3, lab.stem


def test_the_ledger_page_is_what_the_claims_give():
    assert (BOOK / "ledger.md").read_text() == page(CLAIMS), "run make claims"


@pytest.mark.parametrize(
    "interval, expect, verdict",
    [  # by hand: mean, low, high
        ((0.5, 0.1, 0.9), {"above": 0}, "reproduced"),
        ((0.5, -0.1, 1.1), {"above": 0}, "partly"),
        ((-0.5, -0.9, -0.1), {"above": 0}, "not"),
        ((-0.5, -0.9, -0.1), {"below": 0}, "reproduced"),
        ((0.0, -0.2, 0.2), {"between": [-0.1, 0.1]}, "partly"),
        ((0.0, -0.05, 0.05), {"between": [-0.1, 0.1]}, "reproduced"),
        ((0.3, 0.2, 0.4), {"between": [-0.1, 0.1]}, "not"),
    ],
)
def test_judged_by_hand(interval, expect, verdict):
    assert ledger.judged(Interval(*interval), expect) == verdict


@pytest.mark.parametrize(
    "verdicts, verdict",
    [
        (["reproduced", "reproduced"], "reproduced"),
        (["reproduced", "not"], "partly"),
        (["partly"], "partly"),
        (["not", "partly"], "partly"),
        (["not", "not"], "not"),
    ],
)
def test_overall_by_hand(verdicts, verdict):
    assert ledger.overall(verdicts) == verdict


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda c: c.pop("how"), "fields"),
        (lambda c: c.update(verdict="maybe"), "verdict"),
        (lambda c: c.update(verdict="not", why=""), "reason"),
        (lambda c: c.update(measured=[]), "at least one"),
    ],
)
def test_a_bad_entry_is_refused(tmp_path, change, says):
    claim = copy.deepcopy(CLAIMS[0])
    change(claim)
    ledger.write(tmp_path / "claims.yml", [claim])
    with pytest.raises(ValueError, match=says) as error:
        ledger.read(tmp_path / "claims.yml")
    assert "\n" not in str(error.value)
