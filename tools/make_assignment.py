"""Cut the exercises out of a lab and make an nbgrader assignment of them: python tools/make_assignment.py [LAB ...]"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).parents[1]
LABS = ROOT / "notebooks"
COURSE = ROOT / "_build" / "assignment"
CONFIG = '''"""nbgrader's settings for this book; written by tools/make_assignment.py."""

c = get_config()  # noqa: F821 - nbgrader provides it
c.CourseDirectory.course_id = "sparse"
# The stubs are already what students get. This step would replace their first lines too, and with them the signatures.
c.ClearSolutions.enabled = False
c.Execute.timeout = 60  # seconds a cell, against loops without end
'''


class AssignmentError(Exception):
    """What keeps an assignment from being made or graded, and the remedy."""


def cut(lab):
    """Title, setup and the section "Exercises" of a lab, as a notebook of its own that runs in seconds."""
    sections = [n for n, cell in enumerate(lab.cells) if cell.cell_type == "markdown" and cell.source.startswith("## ")]
    starts = [n for n in sections if lab.cells[n].source.splitlines()[0] == "## Exercises"]
    if not starts:
        raise AssignmentError('the lab has no section "## Exercises"')
    later = [n for n in sections if n > starts[0]]
    exercises = lab.cells[starts[0] : later[0] if later else None]
    if not any(cell.metadata.get("nbgrader", {}).get("grade") for cell in exercises):
        raise AssignmentError("no cell of the section Exercises is graded by nbgrader")
    title, setup = lab.cells[0], next(cell for cell in lab.cells if cell.cell_type == "code")
    title.source = title.source.splitlines()[0]
    imports = new_code_cell("import math\n\nimport numpy as np\nimport torch", id="imports")
    lab.cells = [title, setup, imports, *exercises]
    for cell in lab.cells:
        cell.metadata = nbformat.from_dict({"nbgrader": cell.metadata.get("nbgrader") or _read_only(cell)})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return lab


def _read_only(cell) -> dict:
    """nbgrader restores such a cell before it grades: nobody imports other checks."""
    return {"grade": False, "grade_id": cell.id, "locked": True, "schema_version": 3, "solution": False, "task": False}


def nbgrader(course: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run one nbgrader command in the course's folder, as a lecturer would by hand."""
    command = [sys.executable, "-m", "nbgrader", *arguments]
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # it calls alembic
    environment = os.environ | {"PATH": programs}
    return subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True, check=False)


def make(name: str, course: Path, labs: Path = LABS) -> Path:
    """Write course/source/name/name.ipynb, have nbgrader generate course/release/name/name.ipynb, return the latter."""
    source = course / "source" / name / f"{name}.ipynb"
    source.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(cut(nbformat.read(labs / f"{name}.ipynb", as_version=4)), source)
    (course / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    ran = nbgrader(course, "generate_assignment", name, "--force")
    if ran.returncode:
        raise AssignmentError(f"nbgrader generate_assignment failed:\n{ran.stderr}")
    return course / "release" / name / f"{name}.ipynb"


def with_exercises(labs: Path = LABS) -> list[str]:
    """Labs that have something to grade."""
    read = {path.stem: nbformat.read(path, as_version=4) for path in sorted(labs.glob("*.ipynb"))}
    return [name for name, lab in read.items() if any(c.metadata.get("nbgrader", {}).get("grade") for c in lab.cells)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labs", nargs="*", metavar="LAB")
    parser.add_argument("--course", type=Path, default=COURSE)
    arguments = parser.parse_args()
    known = with_exercises()
    try:
        if unknown := [name for name in arguments.labs if name not in known]:
            raise AssignmentError(f"no exercises in {', '.join(unknown)}; labs with exercises: {', '.join(known)}")
        released = [make(name, arguments.course.resolve()) for name in arguments.labs or known]
    except AssignmentError as error:
        sys.exit(f"make assignment: {error}")
    print("To hand out:\n")
    for file in released:
        print(f"    {file}")
    print("\nTo grade what comes back: make grade LAB=name SUBMISSIONS=folder")


if __name__ == "__main__":
    main()
