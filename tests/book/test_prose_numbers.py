"""No number of a measurement is typed into a page."""

from pathlib import Path

import pytest
from prose_numbers import typed_numbers

BOOK = Path(__file__).parents[2] / "book"
GENERATED = {"ledger.md"}  # written from claims.yml, which test_claims.py measures
PAGES = sorted(page for page in BOOK.glob("*.md") if page.name not in GENERATED)


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_no_number_is_typed(page):
    assert typed_numbers(page.read_text()) == [], "glue it in the lab, or measure it as a claim"


@pytest.mark.parametrize(
    "text, count",
    [
        ("OBD reaches .948 here.", 1),
        ("OBD reaches 0.948 ± 0.014, magnitude 0.922.", 3),
        ("It is 12% faster.", 1),
        ("```{exercise} A\nIt is 12% faster.\n```", 1),
        (":::{dropdown} Answer\nabout 0.5\n:::", 1),
        ("```\nx = 0.948\n```\nThen 0.5 follows.", 1),
        ("$$\nx = 0.948\n$$\nand 0.5", 1),
        ("At 10% live, 95% confidence, with 90% sparse layers.", 0),
        ("Python 3.11, 3.12 or 3.13 and torch", 0),
        ("$0.948$ and `0.948` and {glue:text}`a.ipynb::b_0.5:s` and [x](a_0.5.md)", 0),
        ("```{literalinclude} a.py\n0.948\n```", 0),
        ("In 2019, 5 seeds, chapter 3.", 0),
    ],
)
def test_typed_numbers_by_hand(text, count):
    assert len(typed_numbers(text)) == count
