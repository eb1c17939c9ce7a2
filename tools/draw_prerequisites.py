"""Draw book/assets/prerequisites.svg: which chapter needs which, from book/prerequisites.csv and _toc.yml.

A row of the file: chapter, "needs" or "helps", earlier chapter, what it is used for. The page for lecturers shows the rows.
"""

import csv
import sys
from collections.abc import Iterable
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "book" / "assets" / "prerequisites.svg"
KINDS = ("needs", "helps")
PLACES = {  # (row, column); an arrow over more than one row takes the gap between two columns
    "Why sparsity": (0, 1),
    "What makes sparsity fast": (1, 0),
    "Lottery tickets": (1, 1),
    "Optimal Brain Damage": (1, 2),
    "Mixture of experts": (2, 0),
    "Masks that move": (2, 1),
    "Why tickets win": (2, 2),
    "The tangent kernel of a pruned network": (3, 0),
    "Structured RigL": (3, 1),
    "Strong lottery tickets": (3, 2),
}
WIDTH, HEIGHT = 390, 404  # CSS pixels, as wide as the other figures
BOX, TALL, EDGE, ACROSS, DOWN = 112, 54, 3, 24, 46  # a box, the margin, and the gaps between boxes
LETTERS = 14  # in a line of a box
BLUE, GREY = "#0072B2", "#555555"  # as in lttlib.plots
TIPS = ((BLUE, "needs"), (GREY, "helps"))


class Arrow(NamedTuple):
    """chapter needs the earlier one, or is helped by it; why: what it uses."""

    chapter: str
    kind: str
    earlier: str
    why: str


def chapters() -> list[str]:
    """Titles of all chapters, in the book's order."""
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    files = [one["file"] for part in parts if part["caption"] == "Chapters" for one in part["chapters"]]
    return [(ROOT / f"{file}.md").read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for file in files]


def arrows() -> list[Arrow]:
    """The rows of book/prerequisites.csv."""
    with (ROOT / "book" / "prerequisites.csv").open(encoding="utf-8", newline="") as file:
        return [Arrow(*row) for row in csv.reader(file)]


def alone(titles: Iterable[str], found: Iterable[Arrow]) -> list[str]:
    """The chapters that need no other."""
    needing = {arrow.chapter for arrow in found if arrow.kind == "needs"}
    return [title for title in titles if title not in needing]


def corner(title: str) -> tuple[int, int]:
    """Upper left corner of a chapter's box."""
    row, column = PLACES[title]
    return EDGE + column * (BOX + ACROSS), EDGE + row * (TALL + DOWN)


def box(title: str, thick: bool) -> str:
    """A chapter's box: a thick blue border, rounded, if it needs no other chapter."""
    x, y = corner(title)
    look = f'stroke="{BLUE}" stroke-width="3" rx="10"' if thick else f'stroke="{GREY}" stroke-width="1"'
    lines = wrap(title, LETTERS)
    first = y + TALL / 2 - 8 * (len(lines) - 1) + 4.5
    text = [f'<text x="{x + BOX / 2:g}" y="{first + 16 * n:g}">{escape(line)}</text>' for n, line in enumerate(lines)]
    return "\n".join([f'<rect x="{x}" y="{y}" width="{BOX}" height="{TALL}" fill="#ffffff" {look}/>', *text])


def path(arrow: Arrow) -> str:
    """The line of an arrow, from the earlier chapter to the one that uses it."""
    (row, column), (below, beside) = PLACES[arrow.earlier], PLACES[arrow.chapter]
    (x, y), (to_x, to_y) = corner(arrow.earlier), corner(arrow.chapter)
    if below == row:  # sideways
        start, end = (x, to_x + BOX + 4) if beside < column else (x + BOX, to_x - 4)
        return f"M{start} {y + TALL / 2:g}L{end} {to_y + TALL / 2:g}"
    aside = 34 * (beside - column)  # leaves towards where it goes, arrives from where it came
    start, end = (x + BOX // 2 + aside, y + TALL), (to_x + BOX // 2 - aside, to_y - 4)
    if below == row + 1:
        return f"M{start[0]} {start[1]}L{end[0]} {end[1]}"
    gap = min(x, to_x) + BOX + ACROSS // 2
    over, under = y + TALL + DOWN, to_y - DOWN
    return (
        f"M{start[0] - 14} {start[1]}C{start[0] - 14} {over - 14} {gap} {start[1] + 18} {gap} {over}"
        f"L{gap} {under}C{gap} {to_y - 18} {end[0]} {under + 14} {end[0]} {end[1]}"
    )


def line(arrow: Arrow) -> str:
    """An arrow: solid blue for what is needed, dashed grey for what helps."""
    color, dash = (BLUE, "") if arrow.kind == "needs" else (GREY, ' stroke-dasharray="5 4"')
    look = f'fill="none" stroke="{color}" stroke-width="1.8"{dash} marker-end="url(#{arrow.kind})"'
    return f'<path d="{path(arrow)}" {look}/>'


def key() -> list[str]:
    """What the lines and the border mean, below the boxes."""
    y = HEIGHT - 14
    return [
        f'<path d="M{EDGE} {y}H{EDGE + 28}" stroke="{BLUE}" stroke-width="1.8" marker-end="url(#needs)"/>',
        f'<text x="{EDGE + 38}" y="{y + 4.5}" class="key">needed</text>',
        f'<path d="M103 {y}H131" stroke="{GREY}" stroke-width="1.8" stroke-dasharray="5 4" marker-end="url(#helps)"/>',
        f'<text x="141" y="{y + 4.5}" class="key">helps</text>',
        f'<rect x="194" y="{y - 8}" width="26" height="16" rx="5" fill="#ffffff" stroke="{BLUE}" stroke-width="3"/>',
        f'<text x="228" y="{y + 4.5}" class="key">can be taught alone</text>',
    ]


def drawing(titles: list[str], found: list[Arrow]) -> str:
    """The picture as SVG, on white paper, which dark mode inverts."""
    tips = [
        f'<marker id="{name}" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="8" markerHeight="8" orient="auto" '
        f'markerUnits="userSpaceOnUse"><path d="M0 0L8 4L0 8Z" fill="{color}"/></marker>'
        for color, name in TIPS
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
    style = "text{font:13px 'DejaVu Sans Condensed',Arial,Helvetica,sans-serif;text-anchor:middle;fill:#000000}"
    single = alone(titles, found)
    return "\n".join([
        head, f"<style>{style}.key{{text-anchor:start}}</style>", "<defs>", *tips, "</defs>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>', *map(line, found),
        *(box(title, title in single) for title in titles), *key(), "</svg>\n",
    ])  # fmt: skip


def main(target: Path = TARGET) -> None:
    """Write the picture."""
    target.write_text(drawing(chapters(), arrows()), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
