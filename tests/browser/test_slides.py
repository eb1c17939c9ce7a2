"""Every deck in a browser, as a lecturer shows it: 1280 x 720, over file://, without a network."""

from pathlib import Path

import nbformat
import pytest
from build_slides import build
from nbformat.v4 import new_markdown_cell, new_notebook
from pypdf import PdfReader

LABS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
WIDTH, HEIGHT = 1280, 720
SLIDES = range(10, 26)  # a lecture of one hour to an hour and a half
# Boxes that leave the slide now on show, and lines of code that are cut off. The hidden twins of formulas, for screen
# readers, have no box of their own.
OVERFLOWING = """([width, height]) => {
  const hidden = "aside.notes, aside.notes *, mjx-assistive-mml, mjx-assistive-mml *, script";
  const shown = [...Reveal.getCurrentSlide().querySelectorAll("*")].filter(element => !element.matches(hidden));
  return shown.filter(element => {
    const box = element.getBoundingClientRect();
    const outside = box.left < 0 || box.top < 0 || box.right > width + 0.5 || box.bottom > height + 0.5;
    const cut = element.matches("pre") && element.scrollWidth > element.clientWidth + 1;
    return (outside || cut) && (box.width > 0 || box.height > 0);
  }).map(element => `${element.tagName} ${element.innerText?.slice(0, 60)}`);
}"""
WIDTHS = "all => all.map(formula => formula.getBoundingClientRect().width)"
FRAGMENTS_SHOWN = "Reveal.getCurrentSlide().querySelectorAll('.fragment:not(.visible)').length == 0"


@pytest.fixture(scope="module", params=LABS, ids=lambda lab: lab.stem)
def built(request, tmp_path_factory) -> Path:
    return build([request.param], tmp_path_factory.mktemp("slides"))[0]


def start(page, file: Path):
    """Open a deck and wait until it has started."""
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.goto(file.as_uri())
    page.wait_for_function("window.Reveal?.isReady()")
    return page


@pytest.fixture
def deck(built, watched):
    return start(watched, built)


def slides(deck) -> int:
    return deck.evaluate("Reveal.getTotalSlides()")


def test_it_is_quiet_and_draws_its_math(deck):
    assert slides(deck) in SLIDES
    assert deck.locator("mjx-container").count() > 0
    assert deck.locator("mjx-merror").count() == 0
    text = deck.evaluate("[...document.querySelectorAll('.text')].map(t => t.innerText || t.textContent).join('\\n')")
    assert [line for line in text.splitlines() if "$" in line] == []
    assert deck.complaints == []


def test_every_slide_fits(deck):
    full = []
    for number in range(slides(deck)):
        assert deck.evaluate("Reveal.getSlidePastCount()") == number
        while not deck.evaluate(FRAGMENTS_SHOWN):
            deck.keyboard.press("ArrowRight")
        deck.eval_on_selector_all("section.present details", "all => all.forEach(box => { box.open = true; })")
        full += [f"slide {number + 1}: {found}" for found in deck.evaluate(OVERFLOWING, [WIDTH, HEIGHT])]
        sizes = deck.eval_on_selector_all("section.present mjx-container", WIDTHS)
        assert all(sizes), f"slide {number + 1}: a formula without width"
        deck.keyboard.press("ArrowRight")
    assert full == []
    assert deck.evaluate("Reveal.isLastSlide()")
    assert deck.complaints == []


@pytest.mark.parametrize("style", ["width: 2000px; height: 9px", "width: 9px; height: 800px", "margin-left: -200px"])
def test_the_measure_notices_what_does_not_fit(deck, style):
    deck.evaluate(
        f"Reveal.getCurrentSlide().firstChild.insertAdjacentHTML('beforeend', '<pre style=\"{style}\">x</pre>')"
    )
    assert deck.evaluate(OVERFLOWING, [WIDTH, HEIGHT])


@pytest.mark.parametrize("lines, shrinks, fits", [(8, False, True), (12, True, True), (40, True, False)])
def test_a_full_slide_shrinks_until_it_fits(watched, tmp_path, lines, shrinks, fits):
    text = "# Lab\n\n" + "\n\n".join(["A line of text."] * lines)
    cell = new_markdown_cell(text, metadata={"slideshow": {"slide_type": "slide"}})
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "lab.ipynb")
    start(watched, build([tmp_path / "lab.ipynb"], tmp_path / "slides")[0])
    size = float(watched.locator(".fit").get_attribute("data-size"))
    assert (size < 1) == shrinks and size >= 0.7
    assert (watched.evaluate(OVERFLOWING, [WIDTH, HEIGHT]) == []) == fits


def test_a_slider_moves_and_a_clicker_still_turns_pages(deck):
    number = deck.evaluate("Reveal.getSlides().findIndex(slide => slide.querySelector('figure.explore'))")
    assert number >= 0
    deck.evaluate(f"Reveal.slide({number})")
    picture, slider = (deck.locator(f"section.present figure.explore {part}").first for part in ("img", "input"))
    before = picture.get_attribute("src"), picture.get_attribute("alt")
    slider.focus()
    deck.keyboard.press("ArrowRight")
    after = picture.get_attribute("src"), picture.get_attribute("alt")
    assert all(old != new for old, new in zip(before, after, strict=True))
    assert deck.evaluate("Reveal.getSlidePastCount()") == number
    at = deck.evaluate("Reveal.getIndices()")
    deck.keyboard.press("PageDown")
    assert deck.evaluate("Reveal.getIndices()") != at
    assert deck.complaints == []


def test_s_opens_the_speaker_notes(deck):
    assert deck.locator("aside.notes").count() > 0
    assert all(note.is_hidden() for note in deck.locator("aside.notes").all())
    number, inside = deck.evaluate(
        "[Reveal.getSlides().findIndex(slide => slide.querySelector('aside.notes')), "
        "document.querySelector('aside.notes').textContent.trim().slice(0, 30)]"
    )
    deck.evaluate(f"Reveal.slide({number})")
    with deck.context.expect_page() as opened:
        deck.keyboard.press("s")
    opened.value.locator(".speaker-controls-notes", has_text=inside).wait_for()
    assert deck.complaints == []


def test_it_prints_one_page_a_slide(deck, tmp_path):
    count = slides(deck)
    deck.goto(deck.url.split("#")[0] + "?print-pdf")
    deck.locator(".pdf-page").nth(count - 1).wait_for()
    deck.pdf(path=tmp_path / "deck.pdf", prefer_css_page_size=True, print_background=True)
    pages = PdfReader(tmp_path / "deck.pdf").pages
    assert len(pages) == count
    assert {round(page.mediabox.width / page.mediabox.height, 2) for page in pages} == {round(16 / 9, 2)}
    assert all(page.extract_text().strip() for page in pages)
