"""references.bib and the pages agree: no citation dangles, no entry is unused, every entry can be found."""

import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[2]
FINDABLE = ("doi", "eprint", "url", "isbn")


def cited_keys(text: str) -> set[str]:
    roles = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
    return {key.strip() for role in roles for key in role.split(",")}


def entries(bib: str) -> list[tuple[str, str]]:
    """(key, body) of every entry."""
    pieces = re.split(r"^@(\w+)\s*\{\s*([^,\s]+)\s*,", bib, flags=re.MULTILINE)[1:]
    triples = zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True)
    return [(key, body) for kind, key, body in triples if kind.lower() not in ("comment", "string", "preamble")]


def not_findable(bib: str) -> list[str]:
    return [key for key, body in entries(bib) if not re.search(rf"^\s*({'|'.join(FINDABLE)})\s*=", body, re.M | re.I)]


def prose() -> str:
    pages = [page.read_text(encoding="utf-8") for page in ROOT.glob("book/**/*.md")]
    labs = [nbformat.read(lab, as_version=4) for lab in ROOT.glob("notebooks/*.ipynb")]
    return "\n".join(pages + [cell.source for lab in labs for cell in lab.cells if cell.cell_type == "markdown"])


def bibliography() -> str:
    return (ROOT / "book" / "references.bib").read_text(encoding="utf-8")


def test_no_citation_dangles_and_no_entry_is_unused():
    keys = [key for key, _ in entries(bibliography())]
    assert len(keys) == len(set(keys))
    assert {"dangling": cited_keys(prose()) - set(keys), "unused": set(keys) - cited_keys(prose())} == {
        "dangling": set(),
        "unused": set(),
    }


def test_every_entry_has_an_identifier_or_address():
    assert not_findable(bibliography()) == []


def test_cited_keys_by_hand():
    assert cited_keys("{cite}`a2020` and {cite:t}`b2021, c2022`; `{cite}` alone") == {"a2020", "b2021", "c2022"}


def test_entries_by_hand():
    bib = (
        "@comment{x, y}\n@article{a2020,\n  title = {A, b},\n  DOI = {10.1/2},\n}\n@inproceedings{b2021, year = 2021}\n"
    )
    assert [key for key, _ in entries(bib)] == ["a2020", "b2021"]
    assert not_findable(bib) == ["b2021"]
