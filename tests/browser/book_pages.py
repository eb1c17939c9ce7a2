"""The pages of the book, as the tests of this folder name them, and how to bring one into the shape a reader sees."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LISTED = re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [*LISTED, "search"]
MADE_BY_SPHINX = ["prf-prf", "py-modindex"]  # indices: no page of ours, yet a reader can get there
LABS = [page for page in LISTED if page.startswith("notebooks/")]
CHAPTERS = [f"book/{Path(lab).name}" for lab in LABS]
SETTLED = 400  # ms; the theme waits 300 ms after a resize before it looks at what scrolls


def show(page, theme: str | None = None, width: int | None = None) -> None:
    """Change to "light" or "dark" as the reader's system would, and to a window of another width."""
    if theme:
        page.emulate_media(color_scheme=theme)
        page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
    if width:
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(SETTLED)
    still(page)


def still(page) -> None:
    """End every fade and slide at once: a half faded word has less contrast than the word."""
    page.evaluate("document.getAnimations().forEach(one => one.finish())")


def tab_to(page, wanted: str, limit: int = 300) -> None:
    """Press Tab until an element that fits the CSS selector has the focus."""
    for _ in range(limit):
        page.keyboard.press("Tab")
        if page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
            return
    raise AssertionError(f"{limit} times Tab do not reach {wanted}")
