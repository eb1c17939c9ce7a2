"""What a reader does in a browser: open pages, read math, search, change to dark, move a slider by keyboard."""

import pytest
import yaml
from book_pages import LABS, PAGES, ROOT


def test_pages_are_found():
    assert yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["root"] in PAGES
    assert LABS


@pytest.mark.parametrize("name", PAGES)
def test_page_is_quiet_and_draws_its_math(visit, name):
    page = visit(name)
    drawn = page.locator("mjx-container").count()
    assert drawn >= page.locator(".math").count()
    sizes = page.eval_on_selector_all("mjx-container", "all => all.map(m => m.getBoundingClientRect().width)")
    hidden = page.locator(
        "details:not([open]) mjx-container, .toggle-hidden mjx-container, .toggle mjx-container"
    ).count()
    assert sum(size == 0 for size in sizes) <= hidden
    assert page.locator("mjx-merror, .MathJax_Error").count() == 0
    assert page.complaints == []


def test_some_page_has_math(visit):
    assert visit("book/notation").locator("mjx-container").first.bounding_box()["width"] > 0


@pytest.mark.parametrize("name", PAGES)
def test_sliders_move_by_keyboard(visit, name):
    page = visit(name)
    figures = page.locator("figure.explore").all()
    assert figures or name not in LABS
    for figure in figures:
        picture = figure.locator("img")
        for slider in figure.locator("input[type=range]").all():
            row = slider.locator("xpath=..")

            def state(picture=picture, slider=slider, row=row):
                shown = [picture.get_attribute("src"), picture.get_attribute("alt")]
                return [*shown, row.locator("output").inner_text(), slider.get_attribute("aria-valuetext")]

            slider.focus()
            before = state()
            page.keyboard.press("ArrowRight")
            assert all(old != new for old, new in zip(before, state(), strict=True))
            page.keyboard.press("ArrowLeft")
            assert state() == before
            # A finger needs 44 px, a keyboard a visible focus.
            assert slider.bounding_box()["height"] >= 44
            assert slider.evaluate("s => getComputedStyle(s).outlineStyle") == "solid"
    assert page.complaints == []


def test_search_finds_a_term(visit):
    page = visit("book/index")
    page.keyboard.press("Control+k")
    page.keyboard.type("saliency")
    page.keyboard.press("Enter")
    page.get_by_text("Search finished, found").wait_for()
    results = page.locator("#search-results li a")
    assert "optimal_brain_damage" in " ".join(link.get_attribute("href") for link in results.all())
    results.first.click()
    page.wait_for_load_state()
    assert "saliency" in page.locator("article").inner_text().lower()
    assert page.complaints == []


def test_dark_mode(visit):
    page = visit(LABS[0])
    colors = []
    for _ in range(3):  # the button goes round through auto, light and dark
        page.locator("button.theme-switch-button:visible").first.click()
        theme = page.locator("html").get_attribute("data-theme")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shown = page.locator("figure.explore img").first.evaluate("i => getComputedStyle(i).filter")
        colors.append((theme, background, shown))
    assert ("dark", "rgb(18, 18, 18)", "invert(0.93) hue-rotate(180deg)") in colors
    assert {theme for theme, _, _ in colors} == {"light", "dark"}
    assert {shown for theme, _, shown in colors if theme == "light"} == {"none"}
    assert page.complaints == []


def test_the_blockade_notices(visit):
    """The net under the tests above: a request and an error must show up as complaints."""
    page = visit("search")
    page.evaluate("() => { fetch('https://example.invalid/x').catch(() => 0); console.error('seen') }")
    page.evaluate("() => { setTimeout(() => { throw new Error('thrown') }, 0) }")
    page.wait_for_timeout(200)
    assert {"asked for https://example.invalid/x", "seen", "thrown"} <= set(page.complaints)
