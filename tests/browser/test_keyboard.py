"""The whole book without a mouse: menu, search, dropdowns and sliders, reached with Tab and worked with the keys."""

import pytest
from book_pages import CHAPTERS, LABS, tab_to

# What a keyboard must reach inside the article, wherever it is shown.
CONTROLS = "article :is(summary, input, select, button.toggle-button)"
NEXT = """seen => {
  const all = [...document.querySelectorAll(seen)].filter(one => one.checkVisibility());
  return all.indexOf(document.activeElement);
}"""


def focus_shows(page) -> bool:
    """The focused element, or something in it, looks different from how it looks without the focus."""
    return page.evaluate("""() => {
        const one = document.activeElement;
        const look = () => [one, ...one.querySelectorAll("*")].map(getComputedStyle)
            .map(style => [style.outlineStyle, style.outlineColor, style.boxShadow]).join();
        const focused = look();
        one.blur();
        const plain = look();
        one.focus();
        return focused !== plain;
    }""")


def open_by_key(page, key: str) -> None:
    """The focused summary opens with the key and closes with the same key."""
    is_open = "document.activeElement.parentElement.open"
    assert not page.evaluate(is_open)
    page.keyboard.press(key)
    assert page.evaluate(is_open), f"{key} does not open"
    page.keyboard.press(key)
    assert not page.evaluate(is_open), f"{key} does not close"


def test_menu(visit):
    page = visit("book/index")
    tab_to(page, "#pst-primary-sidebar a[href$='glossary.html']")
    assert focus_shows(page)
    page.keyboard.press("Enter")
    page.wait_for_url("**/glossary.html")
    assert page.complaints == []


def test_menu_unfolds_a_chapter(visit):
    page = visit("book/index")
    tab_to(page, "#pst-primary-sidebar summary")
    assert focus_shows(page)
    assert page.evaluate("document.activeElement.ariaLabel") == "Pages of Why sparsity"
    lab = page.locator("#pst-primary-sidebar a[href$='notebooks/why_sparsity.html']")
    assert not lab.is_visible()
    page.keyboard.press("Enter")
    assert lab.is_visible()
    tab_to(page, "#pst-primary-sidebar a[href$='notebooks/why_sparsity.html']", limit=2)
    page.keyboard.press("Enter")
    page.wait_for_url("**/notebooks/why_sparsity.html")


@pytest.mark.parametrize("kind, target", [("primary", "notation.html"), ("secondary", "#two-words")])
def test_menu_and_contents_on_a_phone(visit, kind, target):
    page = visit("book/why_sparsity", width=390)
    drawer = page.locator(f"#pst-{kind}-sidebar-modal")
    assert not drawer.is_visible()
    tab_to(page, f"button.{kind}-toggle")
    assert focus_shows(page)
    page.keyboard.press("Enter")
    assert drawer.is_visible()
    page.keyboard.press("Escape")
    assert not drawer.is_visible()
    page.keyboard.press("Enter")  # the focus is back on the button
    tab_to(page, f"#pst-{kind}-sidebar-modal a[href$='{target}']")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{target}")
    assert page.complaints == []


def test_menu_folds_away_on_a_desk(visit):
    page = visit("book/index")
    tab_to(page, "button.primary-toggle")
    page.keyboard.press("Enter")
    page.locator("#pst-primary-sidebar").wait_for(state="hidden")
    page.keyboard.press("Enter")
    page.locator("#pst-primary-sidebar").wait_for(state="visible")


def test_every_stop_of_the_menu_shows_the_focus(visit):
    page = visit("search")
    blind, first = [], None
    while True:
        page.keyboard.press("Tab")
        here = page.evaluate("document.activeElement.outerHTML.slice(0, 160)")
        if here == first or here.startswith("<body"):
            break
        first = first or here
        blind += [] if focus_shows(page) else [here]
    assert first and blind == []


@pytest.mark.parametrize("width", [1200, 390])
def test_search(visit, width):
    page = visit("book/index", width=width)
    tab_to(page, "button.search-button__button")
    assert focus_shows(page)
    page.keyboard.press("Enter")
    page.keyboard.type("saliency")
    page.keyboard.press("Enter")
    page.get_by_text("Search finished, found").wait_for()
    tab_to(page, "#search-results a")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda address: "search.html" not in address)
    assert "saliency" in page.locator("article").inner_text().lower()
    assert page.complaints == []


@pytest.mark.parametrize("name", [*CHAPTERS, *LABS])
def test_tab_meets_every_control_in_order(visit, name):
    """No control is skipped, none traps the focus, each shows it, and every dropdown and slider answers to its keys."""
    page = visit(name)
    count = page.evaluate(
        "seen => [...document.querySelectorAll(seen)].filter(one => one.checkVisibility()).length", CONTROLS
    )
    assert count
    for expected in range(count):
        tab_to(page, CONTROLS)
        assert page.evaluate(NEXT, CONTROLS) == expected
        assert focus_shows(page)
        tag = page.evaluate("document.activeElement.tagName")
        if tag == "SUMMARY":
            open_by_key(page, ("Enter", "Space")[expected % 2])
        elif tag == "INPUT":
            before = page.evaluate("document.activeElement.value")
            page.keyboard.press("End")
            page.keyboard.press("ArrowLeft")
            page.keyboard.press("ArrowRight")
            assert page.evaluate("[document.activeElement.value, document.activeElement.max]") != [before, before]
            assert page.evaluate("document.activeElement.value === document.activeElement.max")
    assert page.complaints == []


def test_hint_within_hints(visit):
    """A dropdown inside a dropdown: the second hint is reached only after the first opens."""
    page = visit("book/optimal_brain_damage")
    hints = page.locator("article details:has(details)").first
    inner = hints.locator("details").first
    hints.locator("summary").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert inner.locator("summary").evaluate("one => one === document.activeElement")
    page.keyboard.press("Space")
    assert inner.locator("p").first.is_visible()


def test_ledger_filter(visit):
    page = visit("book/ledger")
    shown = page.locator(".claim:visible")
    everything = shown.count()
    tab_to(page, "#ledger-verdict")
    page.keyboard.type("not")
    failed = shown.count()
    assert 0 < failed < everything
    assert page.locator("#ledger-count").inner_text() == f"{failed} of {everything} claims"
    page.keyboard.press("Tab")
    page.keyboard.type("no such words")
    assert shown.count() == 0


BREAK = {
    "skipped": "document.querySelector('article summary').tabIndex = -1",
    "no focus shown": "document.head.insertAdjacentHTML('beforeend', '<style>* {outline: none !important; box-shadow: none !important}</style>')",
    "does not open": "document.querySelector('article summary').addEventListener('click', event => event.preventDefault())",
}


@pytest.mark.parametrize("damage", BREAK)
def test_damage_would_be_noticed(visit, damage):
    def damaged(name):
        page = visit(name)
        page.evaluate(f"() => {{ {BREAK[damage]} }}")
        return page

    with pytest.raises(AssertionError):
        test_tab_meets_every_control_in_order(damaged, CHAPTERS[0])
