"""What of a lab comes into its deck, seen without a browser."""

from pathlib import Path

import nbformat
import pytest
from build_slides import SlidesError, build, copy_assets, deck
from html_checks import external_in_css, external_resources, images_without_alt, parse
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

LABS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
DRAWING = {"data": {"image/png": "aGk=", "text/plain": "<Figure>"}}
ALT = {"mystnb": {"image": {"alt": "A line going up."}}}


def text(source: str, kind: str, **metadata):
    return new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}, **metadata})


def code(source: str, kind: str, output, **metadata):
    return new_code_cell(source, outputs=[output], metadata={"slideshow": {"slide_type": kind}, **metadata})


@pytest.fixture
def slides(tmp_path) -> list:
    """The sections of a small deck with one cell of each kind."""
    printed = new_output("stream", name="stdout", text="42 < 43\n")
    both = new_output("display_data", data={"text/html": "<b>html</b>", "text/plain": "plain"})
    cells = [
        text("# Lab: A title\n\nSee [the page](../book/page.md), [a paper](https://example.org/).", "slide"),
        text("hidden text", "skip"),
        text("## Second\n\n$x < y$", "slide"),
        text("asked first", "fragment"),
        text("said by the lecturer", "notes", tags=["remove-cell"]),
        code("hidden_code()", "fragment", printed, tags=["slide-output"]),
        code("shown_code()", "subslide", both),
        code("draw()", "-", new_output("display_data", **DRAWING), **ALT),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "lab.ipynb")
    page = parse(deck(tmp_path / "lab.ipynb"))
    assert page.title.string == "Lab: A title"
    return page.select("section")


def test_each_kind_of_cell_has_its_place(slides):
    assert len(slides) == 3
    assert "hidden" not in "".join(slide.get_text() for slide in slides)
    assert [part.get_text().strip() for part in slides[1].select(".fragment")] == ["asked first", "42 < 43"]
    [note] = slides[1].select("aside.notes")
    assert note.get_text().strip() == "said by the lecturer" and not note.find_parent(class_="fragment")
    assert "shown_code" in slides[2].select_one(".code").get_text()
    assert slides[2].select_one(".output b").get_text() == "html" and "plain" not in slides[2].get_text()
    assert slides[2].select_one("img.figure")["alt"] == "A line going up."
    assert "$x < y$" in slides[1].get_text()


def test_links_into_the_book_become_text(slides):
    assert "See the page, a paper." in slides[0].get_text()
    assert [link["href"] for link in slides[0].select("a")] == ["https://example.org/"]


def test_a_lab_without_slides_says_so(tmp_path):
    nbformat.write(new_notebook(cells=[text("# Lab", "-")]), tmp_path / "lab.ipynb")
    with pytest.raises(SlidesError, match=r"lab\.ipynb has no cell"):
        deck(tmp_path / "lab.ipynb")


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.stem)
def test_a_deck_asks_no_network_and_describes_its_pictures(lab, tmp_path):
    [page] = build([lab], tmp_path)
    html = page.read_text(encoding="utf-8")
    assert external_resources(html) == []
    assert images_without_alt(html) == []
    assert "## Exercises" not in html and ">Exercises<" not in html
    loaded = [tag.get("src") or tag.get("href") for tag in parse(html).select("script[src], link[href]")]
    assert loaded and all((tmp_path / file).is_file() for file in loaded)


def test_the_styles_fetch_nothing(tmp_path):
    copy_assets(tmp_path / "assets")
    sheets = list(tmp_path.rglob("*.css"))
    assert len(sheets) == 4
    assert [found for sheet in sheets for found in external_in_css(sheet.read_text(encoding="utf-8"))] == []
