"""Every page, light and dark, on a desk and on a phone: nothing sticks out sideways, and axe finds nothing serious."""

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from book_pages import MADE_BY_SPHINX, PAGES, show, still

# What the theme brings along on every page, rule by rule; everything else is ours to mend.
THEME = {
    "label-content-name-mismatch": {
        "button.search-button-field": "it shows 'Search Ctrl+K' and is called 'Search'",
        "button.theme-switch-button": "its three icons count as words",
    },
    "region": {"p.logo__title": "the name of the book stands above the menu, in no landmark"},
}
OPTIONS = {"resultTypes": ["violations"], "rules": {"label-content-name-mismatch": {"enabled": True}}}
COLORS = {"resultTypes": ["violations"], "runOnly": ["color-contrast", "link-in-text-block"]}
SERIOUS = ("moderate", "serious", "critical")

# Opens what is folded, and turns the insides of formulas and repeated tokens of code into plain text of the same color:
# axe takes its time over each element, and two thirds of a chapter are these.
UNFOLD = """() => {
  document.querySelectorAll("article details").forEach(one => one.open = true);
  document.querySelectorAll("mjx-container:not([display])").forEach(formula => formula.replaceChildren("x"));
  const seen = new Set();
  document.querySelectorAll("pre span, dt.sig span, dt.sig em").forEach(token => {
    const kind = [token.className, token.parentElement.className, token.closest(".output, .admonition")?.className].join();
    seen.has(kind) ? token.replaceWith(token.textContent) : seen.add(kind);
  });
}"""
# The findings, without those of THEME; and the entries of THEME that were met.
RUN = """async ([options, theme, serious]) => {
  const found = [], met = [];
  for (const {id, impact, nodes} of (await axe.run(options)).violations) {
    for (const {target, html, failureSummary} of serious.includes(impact) ? nodes : []) {
      const allowed = Object.keys(theme[id] ?? {}).find(one => document.querySelector(target[0]).matches(one));
      allowed ? met.push(allowed) : found.push([id, target.join(" "), html.slice(0, 200), failureSummary].join(" | "));
    }
  }
  return {found, met};
}"""


def axe(page, options: dict = OPTIONS) -> dict[str, list[str]]:
    """{"found": findings beyond the theme's, "met": the theme's}."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    return page.evaluate(RUN, [options, THEME, SERIOUS])


def overhang(page) -> int:
    """By how many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth") - page.viewport_size["width"]


def test_every_built_page_is_looked_at(book):
    pages = [page.relative_to(book).with_suffix("").as_posix() for page in book.rglob("*.html")]
    listed = [*PAGES, *MADE_BY_SPHINX, "index"]  # index.html only sends the reader on
    assert sorted(page for page in pages if not page.startswith("_")) == sorted(listed)


@pytest.mark.parametrize("name", [*PAGES, *MADE_BY_SPHINX])
def test_page_is_accessible(visit, name):
    page = visit(name)
    sideways = {}
    for theme, width in (("light", None), ("dark", None), (None, 390), ("light", None)):
        show(page, theme, width)
        sideways[page.viewport_size["width"], theme or "dark"] = overhang(page)
    assert {where: by for where, by in sideways.items() if by > 0} == {}
    page.evaluate(UNFOLD)
    still(page)
    assert overhang(page) <= 0, "sideways scroll once the dropdowns are open"
    assert axe(page)["found"] == [], "on a phone"
    show(page, width=1200)
    assert axe(page)["found"] == [], "light"
    show(page, "dark")
    assert axe(page, COLORS)["found"] == [], "dark"  # only the colors differ


def test_the_list_of_what_the_theme_brings_is_not_too_long(visit):
    page = visit("search")
    met = axe(page)["met"]
    show(page, width=390)
    assert {*met, *axe(page)["met"]} == {node for nodes in THEME.values() for node in nodes}


BREAK = {
    "image-alt": "article.append(new Image())",
    "summary-name": "document.querySelector('#pst-primary-sidebar summary').removeAttribute('aria-label')",
    "label": "document.querySelector('figure.explore label').remove()",
    "scrollable-region-focusable": "article.querySelectorAll('mjx-container[display]').forEach(one => one.tabIndex = -1)",
    "color-contrast": "article.querySelector('p').style.color = '#999'",
    "aria-required-children": "article.querySelector('p').setAttribute('role', 'list')",
}


@pytest.mark.parametrize("rule", BREAK)
def test_axe_would_notice(visit, rule):
    """Every kind of finding that we once mended shows up again when the page is broken on purpose."""
    page = visit("book/optimal_brain_damage", width=390 if rule.startswith("scrollable") else 1200)
    page.evaluate(f"() => {{ const article = document.querySelector('article'); {BREAK[rule]} }}")
    found = axe(page, {"runOnly": [rule], "resultTypes": ["violations"]})["found"]
    assert {finding.split(" | ")[0] for finding in found} == {rule}


def test_sideways_scroll_would_be_noticed(visit):
    page = visit("book/index", width=390)
    assert overhang(page) == 0
    page.evaluate("document.querySelector('article').innerHTML += '<div style=\"width: 391px\">wide</div>'")
    assert overhang(page) > 0
