"""The two plans on the page for lecturers: their minutes are those of its tables, their slots are not overfull."""

import re
from collections import defaultdict
from pathlib import Path

import draw_prerequisites
import nbformat
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "book" / "for_lecturers.md").read_text(encoding="utf-8")
TITLES = draw_prerequisites.chapters()
COURSE, WORKSHOP = "A course of fourteen weeks", "A workshop of three days"
TABLES = [pytest.param(plan, id=plan) for plan in (COURSE, WORKSHOP)]


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def times() -> dict[str, list[int]]:
    """Minutes of the lecture, the lab and the exercises of each chapter, from the table of times."""
    rows = re.findall(
        r"^\| \[(.+?)\]\(.+?\) \| (\d+) minutes \| (\d+) minutes \| (\d+) minutes \|$", PAGE, re.MULTILINE
    )
    return {title: [int(n) for n in numbers] for title, *numbers in rows}


def exercise_minutes(title: str) -> dict[int, int]:
    """Minutes of each exercise with a check, by its number."""
    part = PAGE.split(f"\n### {title}\n")[1].split("\n### ")[0].split("\n## ")[0]
    return {int(n): int(m) for n, m in re.findall(r"^\| (\d+)\. .+? \| .+? \| (\d+) minutes \| \d+ \|$", part, re.M)}


def items(cell: str) -> list[tuple[str, int]]:
    """(what, minutes) of each part of a cell; what has no minutes, such as "hand in 1", is left out."""
    return [(what, int(minutes)) for what, minutes in re.findall(r"([^:;]+?): (\d+)(?:;|$)\s*", cell.strip())]


def numbered(what: str) -> range:
    """Numbers of the exercises that "exercises 1–3" or "exercise 4" names; none for anything else."""
    match = re.fullmatch(r"exercises? (\d)(?:–(\d))?", what)
    return range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)


def rows(plan: str) -> list[tuple[list[str], list[str]]]:
    """(chapters that a row names, its cells with minutes)."""
    lines = [line for line in section(plan).splitlines() if line.startswith("| ") and re.search(r": \d", line)]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    named = [re.findall(r"\[(.+?)\]\(\w+\.md\)", " ".join(row[:2])) for row in cells]
    first = 1 if plan == COURSE else 2
    return [(names, row[first:]) for names, row in zip(named, cells, strict=True)]


def planned(plan: str) -> dict[str, dict[str, int]]:
    """Minutes that a plan gives each chapter: deck, lab, and the numbers of exercises."""
    found = defaultdict(lambda: {"deck": 0, "lab": 0})
    for names, cells in rows(plan):
        for what, minutes in (item for cell in cells for item in items(cell)):
            for title in set(names) & set(TITLES):
                for kind in ("deck", "lab"):
                    if re.search(rf"\b{kind}\b", what):
                        found[title][kind] += minutes
                for number in numbered(what):
                    found[title][f"exercise {number}"] = found[title].get(f"exercise {number}", 0) + 1
    return found


def test_the_plans_know_the_table():
    assert list(times()) == TITLES
    assert len(rows(COURSE)) == 14 and len(rows(WORKSHOP)) == 9


@pytest.mark.parametrize("title", TITLES)
def test_course_has_all_of_every_chapter(title):
    lecture, lab, total = times()[title]
    exercises = exercise_minutes(title)
    assert sum(exercises.values()) == total
    assert planned(COURSE)[title] == {"deck": lecture, "lab": lab} | {f"exercise {n}": 1 for n in exercises}


def test_workshop_has_whole_decks_and_labs():
    found = planned(WORKSHOP)
    for title, minutes in found.items():
        lecture, lab, _ = times()[title]
        assert minutes["deck"] == lecture and minutes["lab"] in (0, lab), title
        assert max((n for kind, n in minutes.items() if kind.startswith("exercise")), default=1) == 1, title
    left_out = [line for line in section(WORKSHOP).splitlines() if line.startswith("Left out")]
    missing = {title for title in TITLES if title not in found}
    assert missing == {title for title in TITLES if f"*{title}*" in left_out[0].split("*Masks")[0]}


@pytest.mark.parametrize("plan", TABLES)
def test_exercises_take_their_time(plan):
    wrong = []
    for names, cells in rows(plan):
        for what, minutes in (item for cell in cells for item in items(cell)):
            for title in names if numbered(what) else ():
                if sum(exercise_minutes(title)[n] for n in numbered(what)) != minutes:
                    wrong.append((title, what, minutes))
    assert wrong == []


def test_slots_are_not_overfull():
    course = [sum(m for _, m in items(cell)) for _, cells in rows(COURSE) for cell in cells[:2]]
    workshop = [sum(m for _, m in items(cells[0])) for _, cells in rows(WORKSHOP)]
    assert 0 < min(course) and max(course) <= 90 and max(workshop) <= 120
    assert "90 minutes" in section(COURSE) and "120 minutes" in section(WORKSHOP)


@pytest.mark.parametrize("plan", TABLES)
def test_earlier_chapters_come_earlier(plan):
    first = {}
    for number, (names, _) in enumerate(rows(plan)):
        for title in names:
            first.setdefault(title, number)
    late = [
        (arrow.earlier, arrow.chapter)
        for arrow in draw_prerequisites.arrows()
        if arrow.chapter in first
        and not first.get(arrow.earlier, 99 if arrow.kind == "needs" else -1) < first[arrow.chapter]
    ]
    assert late == []


def test_the_longest_decks_and_labs_have_two_weeks():
    weeks = [title for names, _ in rows(COURSE) for title in names if title in TITLES]
    twice = {title for title in weeks if weeks.count(title) == 2}
    by_time = sorted(TITLES, key=lambda title: -sum(times()[title][:2]))
    assert twice == set(by_time[: len(twice)]) and len(weeks) == len(TITLES) + len(twice)
    halves = re.findall(r"of \*(.+?)\*(?: parts)? before \"(.+?)\"", section(COURSE))
    assert {title for title, _ in halves} == twice
    for title, heading in halves:
        lab = nbformat.read(ROOT / "notebooks" / f"{title.lower().replace(' ', '_')}.ipynb", as_version=4)
        starts = [
            c.source.splitlines()[0] for c in lab.cells if c.metadata.get("slideshow", {}).get("slide_type") == "slide"
        ]
        assert f"## {heading}" in starts[len(starts) // 3 : -len(starts) // 3], title


def test_hand_ins_are_the_exercises_of_the_row():
    for names, cells in rows(COURSE):
        if set(names) & set(TITLES):
            (done,) = [what.split()[1] for what, _ in items(cells[1]) if numbered(what)]
            assert re.search(rf"\bhand in {done}$", cells[2]), names


def test_items_by_hand():
    assert items("deck: 60; exercises 1–3: 35; hand in 1–3") == [("deck", 60), ("exercises 1–3", 35)]
    assert items("lab, together: 45") == [("lab, together", 45)] and items("hand in a page") == []
    assert [list(numbered(what)) for what in ("exercises 1–3", "exercise 4", "begin 5")] == [[1, 2, 3], [4], []]
