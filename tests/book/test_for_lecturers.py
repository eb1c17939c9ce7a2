"""The page for lecturers says of each lab what the lab says of itself, and every command that a page names exists."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "book" / "for_lecturers.md").read_text(encoding="utf-8")
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [Path(c["file"]).name for part in TOC["parts"] if part["caption"] == "Chapters" for c in part["chapters"]]
HEADING = re.compile(r"### (.+) \(([\w-]+), (.+)\)")
ROW = re.compile(r"^\| (\d.+?) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def title(chapter: str) -> str:
    return (ROOT / "book" / f"{chapter}.md").read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def exercises(chapter: str) -> list[tuple[str, ...]]:
    """(name, level, time, points) of every exercise, from the headings and the checks of the lab."""
    found = []
    for cell in nbformat.read(ROOT / "notebooks" / f"{chapter}.ipynb", as_version=4).cells:
        mark = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "markdown" and (heading := HEADING.match(cell.source)):
            found.append((*heading.groups(), "by hand"))
        elif mark.get("grade"):
            found[-1] = (*found[-1][:3], str(mark["points"]))
    return found


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_exercises_are_those_of_the_lab(chapter):
    section = PAGE.split(f"\n### {title(chapter)}\n")[1].split("\n## ")[0].split("\n### ")[0]
    assert ROW.findall(section) == exercises(chapter) != []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_time_of_all_checked_exercises_is_their_sum(chapter):
    total = sum(int(time.split()[0]) for _, _, time, points in exercises(chapter) if points != "by hand")
    assert re.search(rf"^\| \[{title(chapter)}\].*\| {total} minutes \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "book/how_to_use.md", "book/for_lecturers.md"])
def test_every_make_command_exists(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([\w-]+)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE))
    assert named and named <= targets
