"""make pdf: every chapter on paper, its boxes open and its math drawn."""

import os
import subprocess
import sys
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from find_chromium import find_chromium
from print_pdf import printable
from pypdf import PdfReader

TOOL = Path(__file__).parents[2] / "tools" / "print_pdf.py"


def run(*arguments, **environment):
    """The tool as make pdf calls it; in a process of its own, for the tests have a browser open in this one."""
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


@pytest.fixture(scope="module")
def printed(book, tmp_path_factory):
    if find_chromium() is None and not os.environ.get("LTT_REQUIRE_BROWSER"):
        pytest.skip("no Chromium")
    output = tmp_path_factory.mktemp("pdf")
    ran = run("--html", book, "--output", output)
    assert ran.returncode == 0, ran.stderr
    return output


def words(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())  # "ﬁ" is one letter on paper


def is_printed(run: str, pages: list[str]) -> bool:
    """On one page, or begun on one and ended on the next."""
    spaces = [place for place, letter in enumerate(run) if letter == " "]
    return any(run in page for page in pages) or any(
        run[:cut] in page and run[cut + 1 :] in following for page, following in pairwise(pages) for cut in spaces
    )


def test_words_may_cross_to_the_next_page_and_no_farther():
    pages = ["one two three", "four five", "six"]
    assert is_printed("two three", pages) and is_printed("three four five", pages)
    assert not is_printed("five four", pages) and not is_printed("one six", pages) and not is_printed("seven", pages)


def font_names(page) -> list[str]:
    fonts = [font.get_object() for font in page["/Resources"]["/Font"].values()]
    return [font["/FontDescriptor"].get_object()["/FontName"] for font in fonts if "/FontDescriptor" in font]


@pytest.mark.parametrize("chapter", [name for name in printable() if name != "bibliography"])
def test_a_chapter_on_paper(printed, book, chapter):
    pdf = PdfReader(printed / f"{chapter}.pdf")
    pages = [words(page.extract_text()) for page in pdf.pages]
    html = BeautifulSoup((book / f"{printable()[chapter]}.html").read_text(encoding="utf-8"), "html.parser")
    title = html.h1.find(string=True)
    assert len(pdf.pages) > 1
    assert pages[0][: len(words(title))] == words(title)
    assert pdf.metadata.title.startswith(title)
    for box in html.select("article details"):  # the longest run of words without math in it
        parts = [part for part in box.find_all(string=True) if not part.find_parent(class_="math")]
        longest = max(map(words, parts), key=len)
        assert is_printed(longest, pages)
    assert any("MathJax" in name for page in pdf.pages for name in font_names(page))
    links = [note.get_object().get("/A", {}).get("/URI", "") for page in pdf.pages for note in page.get("/Annots", [])]
    assert not [link for link in links if link.startswith("file:")]  # they would lead nowhere on another machine


def test_the_bibliography_comes_along(printed):
    pages = PdfReader(printed / "bibliography.pdf").pages
    assert "arXiv" in pages[0].extract_text()


@pytest.mark.parametrize("arguments, environment, said", [
    (["nothing"], {}, "no chapter named nothing; there are: why_sparsity"),
    (["--html", "/nowhere"], {}, "run make book first"),
    ([], {"PATH": ""}, "no Chromium found: install it with apt-get install chromium"),
])  # fmt: skip
def test_what_is_missing_is_named(arguments, environment, said, book, tmp_path):
    if environment and (find_chromium() or "").startswith(("/Applications", "C:")):
        pytest.skip("the browser lies outside the PATH")
    ran = run("--html", book, "--output", tmp_path, *arguments, **environment)
    assert ran.returncode == 1
    assert ran.stderr.startswith("make pdf: ") and said in ran.stderr
