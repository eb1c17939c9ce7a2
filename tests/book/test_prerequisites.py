"""Which chapter needs which: the file, its picture and what the page says of them agree."""

import re
from graphlib import TopologicalSorter
from pathlib import Path

import draw_prerequisites as drawn
import numpy as np
import pytest
from bs4 import BeautifulSoup
from draw_prerequisites import Arrow
from matplotlib.textpath import TextPath

ROOT = Path(__file__).parents[2]
PAGE = (
    (ROOT / "book" / "for_lecturers.md").read_text(encoding="utf-8").split("## What comes first")[1].split("\n## ")[0]
)
TITLES = drawn.chapters()
ARROWS = drawn.arrows()
NUMBERS = ["none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def chains(needs: dict[str, list[str]]) -> dict[str, int]:
    """Chapters in the longest chain that ends at each; raises CycleError if there is none."""
    longest = {}
    for title in TopologicalSorter(needs).static_order():
        longest[title] = 1 + max((longest[one] for one in needs.get(title, [])), default=0)
    return longest


def earlier(*kinds: str) -> dict[str, list[str]]:
    return {title: [a.earlier for a in ARROWS if a.chapter == title and a.kind in kinds] for title in TITLES}


def test_chapters_are_those_of_the_book():
    assert sorted(drawn.PLACES) == sorted(TITLES)
    assert {title for arrow in ARROWS for title in (arrow.chapter, arrow.earlier)} <= set(TITLES)
    assert {arrow.kind for arrow in ARROWS} == set(drawn.KINDS) and all(arrow.why for arrow in ARROWS)
    assert len({(arrow.chapter, arrow.earlier) for arrow in ARROWS}) == len(ARROWS)


def test_no_cycle_and_the_order_of_the_book():
    chains(earlier(*drawn.KINDS))
    assert [a for a in ARROWS if TITLES.index(a.earlier) >= TITLES.index(a.chapter)] == []


def test_caption_says_what_the_file_says():
    caption = re.search(r"^\*(.+)\*$", PAGE, re.MULTILINE)[1]
    single = drawn.alone(TITLES, ARROWS)
    count, total, names = re.match(r"(\w+) of the (\w+) chapters need no other: (.+?)\.", caption).groups()
    assert (NUMBERS.index(count.lower()), NUMBERS.index(total)) == (len(single), len(TITLES))
    assert names.split(", ") == single
    others = re.search(r"The other (\w+) need", caption)[1]
    assert NUMBERS.index(others) == len(TITLES) - len(single)
    longest = re.search(r"no chain has more than (\w+) chapters", caption)[1]
    assert NUMBERS.index(longest) == max(chains(earlier("needs")).values())


def test_alternative_text_names_every_arrow_that_is_needed():
    alt = re.search(r"^:alt: (.+)$", PAGE, re.MULTILINE)[1]
    missing = [a for a in ARROWS if a.kind == "needs" and not (a.chapter in alt and a.earlier in alt)]
    assert missing == [] and f"The {NUMBERS[len(drawn.alone(TITLES, ARROWS))]} chapters" in alt


def test_committed_picture_is_fresh(tmp_path):
    drawn.main(tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text(encoding="utf-8") == drawn.TARGET.read_text(encoding="utf-8")


def points(path: str) -> np.ndarray:
    """Points along an SVG path of M, L and C: (n, 2)."""
    found = []
    for letter, numbers in re.findall(r"([MLC])([-\d. ]+)", path):
        ends = np.array(numbers.split(), dtype=float).reshape(-1, 2)
        t = np.linspace(0, 1, 60)[:, None]
        if letter == "L":
            ends = found[-1][-1] + t * (ends[0] - found[-1][-1])
        elif letter == "C":
            start, (one, two, end) = found[-1][-1], ends
            ends = (1 - t) ** 3 * start + 3 * t * (1 - t) ** 2 * one + 3 * t**2 * (1 - t) * two + t**3 * end
        found.append(ends)
    return np.concatenate(found)


def inside(spots: np.ndarray, title: str, margin: float = 0.5) -> bool:
    low = np.array(drawn.corner(title)) + margin
    high = low + np.array([drawn.BOX, drawn.TALL]) - 2 * margin
    return bool(((spots > low) & (spots < high)).all(1).any())


@pytest.mark.parametrize("arrow", ARROWS, ids=lambda a: f"{a.earlier} - {a.chapter}")
def test_arrows_run_from_box_to_box_and_through_none(arrow):
    spots = points(drawn.path(arrow))
    assert [title for title in TITLES if inside(spots, title)] == []
    assert inside(spots[:1], arrow.earlier, -1) and inside(spots[-1:], arrow.chapter, -5)


def test_a_line_through_a_box_would_be_noticed():
    assert inside(points("M195 10L195 400"), "Lottery tickets")
    assert inside(points("M0 0C200 0 195 130 195 130"), "Lottery tickets")
    assert not inside(points("M127 10L127 400"), "Lottery tickets")


def test_picture_holds_every_title_whole():
    page = BeautifulSoup(drawn.TARGET.read_text(encoding="utf-8"), "html.parser")
    boxes = [(float(r["x"]), float(r["y"])) for r in page.select("rect[x]")][: len(TITLES)]
    lines = [(float(t["x"]), float(t["y"]), t.text) for t in page.select("text:not(.key)")]
    held = {
        " ".join(s for x, y, s in lines if left < x < left + drawn.BOX and top < y - 9 and y < top + drawn.TALL)
        for left, top in boxes
    }
    assert held == set(TITLES)
    assert max(x for x, _ in boxes) + drawn.BOX < drawn.WIDTH and max(y for _, y in boxes) + drawn.TALL < drawn.HEIGHT


def test_every_line_fits_its_box_in_a_wide_font():
    page = BeautifulSoup(drawn.TARGET.read_text(encoding="utf-8"), "html.parser")
    widths = {t.text: TextPath((0, 0), t.text, size=13).get_extents().width for t in page.select("text:not(.key)")}
    assert {line: round(width) for line, width in widths.items() if width > drawn.BOX - 6} == {}


def test_who_can_be_taught_alone_by_hand():
    found = [Arrow("b", "needs", "a", "x"), Arrow("c", "helps", "a", "x")]
    assert drawn.alone("abc", found) == ["a", "c"]
    assert chains({"b": ["a"], "c": ["b", "a"], "a": [], "d": []}) == {"a": 1, "b": 2, "c": 3, "d": 1}
    with pytest.raises(ValueError):
        chains({"a": ["b"], "b": ["a"]})
