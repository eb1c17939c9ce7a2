"""Grade a folder of submissions with nbgrader: python tools/grade_assignment.py LAB FOLDER

FOLDER holds anna.ipynb, ben.ipynb ..., or a folder for each student with one notebook in it. It is never changed.
Grading runs the students' code on this machine.
"""

import argparse
import csv
import shutil
import sys
from pathlib import Path

import nbformat
from make_assignment import COURSE, AssignmentError, make, nbgrader, with_exercises
from nbgrader.api import Gradebook

DONE_BY_NBGRADER = ("submitted", "autograded", "feedback")


def submissions(folder: Path) -> dict[str, Path]:
    """Student to notebook."""
    found = {file.stem: file for file in sorted(folder.glob("*.ipynb"))}
    for student in sorted(place for place in folder.glob("*") if place.is_dir()):
        notebooks = sorted(student.glob("*.ipynb"))
        if len(notebooks) > 1:
            raise AssignmentError(f"{student} holds {len(notebooks)} notebooks; which one is to be graded?")
        if notebooks:
            found[student.name] = notebooks[0]
    if not found:
        raise AssignmentError(
            f"no submissions in {folder}: it should hold anna.ipynb or anna/notebook.ipynb, and so on"
        )
    if odd := [name for name in found if "+" in name]:
        raise AssignmentError(f"nbgrader takes no + in a name: {', '.join(odd)}")
    return found


def grade(name: str, folder: Path, course: Path) -> dict[str, dict[str, float] | None]:
    """Student to check to points; None for a notebook that nbgrader could not grade."""
    notebooks = submissions(folder)
    for done in DONE_BY_NBGRADER:
        for old in (course / done).glob(f"*/{name}"):
            shutil.rmtree(old)
    if not (course / "release" / name).is_dir():  # otherwise graded as handed out
        make(name, course)
    for student, notebook in notebooks.items():
        target = course / "submitted" / student / name / f"{name}.ipynb"
        target.parent.mkdir(parents=True)
        shutil.copy(notebook, target)
    nbgrader(course, "autograde", name, "--force")  # it goes on after a notebook that fails
    points = dict.fromkeys(notebooks)
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        for submission in book.assignment_submissions(name):
            student = submission.student.id
            if (course / "autograded" / student / name / f"{name}.ipynb").is_file():
                points[student] = {one.name: one.auto_score or 0.0 for n in submission.notebooks for one in n.grades}
    return points


def write_feedback(name: str, course: Path) -> Path:
    """A page for each graded student, with answers, verdicts and points."""
    nbgrader(course, "generate_feedback", name, "--force")
    return course / "feedback"


def possible(name: str, course: Path) -> dict[str, float]:
    """Check to the most points it gives, in the order of the lab."""
    lab = nbformat.read(course / "release" / name / f"{name}.ipynb", as_version=4)
    marks = [cell.metadata.nbgrader for cell in lab.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    return {mark["grade_id"]: float(mark["points"]) for mark in marks}


def table(points: dict, most: dict[str, float]) -> list[list[str]]:
    """Header, one row a student, and the points that were possible."""
    rows = [["student", *most, "total"]]
    for student, scores in {**points, "(possible)": most}.items():
        values = ["not graded"] * (len(most) + 1)
        if scores is not None:
            values = [f"{value:g}" for value in [*(scores[check] for check in most), sum(scores.values())]]
        rows.append([student, *values])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lab")
    parser.add_argument("submissions", type=Path)
    parser.add_argument("--course", type=Path, default=COURSE)
    arguments = parser.parse_args()
    name, course = arguments.lab, arguments.course.resolve()
    try:
        if name not in with_exercises():
            raise AssignmentError(f"no exercises in {name}; labs with exercises: {', '.join(with_exercises())}")
        points = grade(name, arguments.submissions.expanduser(), course)
    except AssignmentError as error:
        sys.exit(f"make grade: {error}")
    rows = table(points, possible(name, course))
    with (course / f"grades_{name}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)))
    print(f"\nThe table: {course / f'grades_{name}.csv'}\nFeedback for each student: {write_feedback(name, course)}")
    if failed := [student for student, scores in points.items() if scores is None]:
        sys.exit(f"make grade: nbgrader could not grade {', '.join(failed)}: is it the notebook that was handed out?")


if __name__ == "__main__":
    main()
