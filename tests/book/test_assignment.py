"""nbgrader's own generate, autograde and feedback on every lab: right answers get all points, no answers none."""

import ast
import shutil
from pathlib import Path

import nbformat
import pytest
from grade_assignment import grade, possible, submissions, table, write_feedback
from make_assignment import AssignmentError, cut, make, with_exercises

ROOT = Path(__file__).parents[2]


def solutions(name: str) -> dict[str, str]:
    """Function to source, with the imports and helpers it may need: private functions, and those that it calls."""
    text = (ROOT / "book" / "solutions" / f"{name}.py").read_text(encoding="utf-8")
    nodes = ast.parse(text).body
    functions = {node.name: ast.get_source_segment(text, node) for node in nodes if isinstance(node, ast.FunctionDef)}
    rest = [ast.get_source_segment(text, node) for node in nodes if not isinstance(node, ast.FunctionDef | ast.Expr)]

    def with_helpers(function: str) -> str:
        source = functions[function]
        helpers = [text for other, text in functions.items()
                   if other != function and (other.startswith("_") or f"{other}(" in source)]  # fmt: skip
        return "\n".join([*rest, *helpers, source])

    return {function: with_helpers(function) for function in functions}


def stub_name(cell) -> str:
    return next(node.name for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef))


def fill(release: Path, target: Path, answers: dict[str, str]) -> list[str]:
    """Save the released notebook with answers in its stubs; return the names of all stubs."""
    lab = nbformat.read(release, as_version=4)
    stubs = [cell for cell in lab.cells if cell.metadata.get("nbgrader", {}).get("solution")]
    names = [stub_name(cell) for cell in stubs]
    for cell, name in zip(stubs, names, strict=True):
        cell.source = answers.get(name, cell.source)
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(lab, target)
    return names


def cheat(notebook: Path, check: str) -> None:
    """Replace a check by something that cannot fail."""
    lab = nbformat.read(notebook, as_version=4)
    next(cell for cell in lab.cells if cell.metadata.nbgrader.grade_id == check).source = "True"
    nbformat.write(lab, notebook)


@pytest.fixture(scope="module", params=with_exercises())
def graded(request, tmp_path_factory):
    """What nbgrader did with one lab: its name, the course's folder, the points, the most points possible."""
    name, course, folder = request.param, tmp_path_factory.mktemp("course"), tmp_path_factory.mktemp("submissions")
    release = make(name, course)
    answers = solutions(name)
    names = fill(release, folder / "right.ipynb", answers)
    fill(release, folder / "untouched" / "handed_in.ipynb", {})
    fill(release, folder / "wrong.ipynb", answers | {names[1]: f"def {names[1]}(*arguments):\n    return 0.0"})
    most = possible(name, course)
    cheat(folder / "wrong.ipynb", list(most)[1])
    assert set(names) <= set(answers)
    return name, course, grade(name, folder, course), most


def test_right_answers_get_every_point(graded):
    _, _, points, most = graded
    assert points["right"] == most
    assert sum(most.values()) > 0


def test_an_untouched_lab_gets_none(graded):
    _, _, points, most = graded
    assert points["untouched"] == dict.fromkeys(most, 0.0)


def test_one_wrong_answer_loses_its_own_points_even_if_its_check_was_edited(graded):
    _, _, points, most = graded
    second = list(most)[1]
    assert points["wrong"] == most | {second: 0.0}


@pytest.mark.parametrize("graded", with_exercises()[:1], indirect=True)
def test_feedback_repeats_the_verdicts(graded):
    name, course, _, _ = graded
    page = write_feedback(name, course) / "wrong" / name / f"{name}.html"
    assert "right: " in page.read_text(encoding="utf-8") and "wrong: " in page.read_text(encoding="utf-8")


def test_the_release_keeps_the_stubs_and_drops_the_experiments(graded):
    name, course, _, most = graded
    released = nbformat.read(course / "release" / name / f"{name}.ipynb", as_version=4)
    lab = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    for cells in (released.cells, lab.cells):
        assert sum(bool(cell.metadata.get("nbgrader", {}).get("grade")) for cell in cells) == len(most)
    stubs = {cell.source for cell in lab.cells if cell.metadata.get("nbgrader", {}).get("solution")}
    assert stubs <= {cell.source for cell in released.cells}
    assert not any(cell.get("outputs") for cell in released.cells)
    assert "recorded/" not in "".join(cell.source for cell in released.cells)


def test_a_lab_without_exercises_is_refused():
    cell = nbformat.v4.new_markdown_cell
    for sections in (["## Two weights"], ["## Exercises"]):
        with pytest.raises(AssignmentError):
            cut(nbformat.v4.new_notebook(cells=[cell("# Lab"), *map(cell, sections)]))


def test_submissions_are_found_in_both_forms_and_odd_folders_are_named(tmp_path):
    with pytest.raises(AssignmentError, match="no submissions"):
        submissions(tmp_path)
    (tmp_path / "anna.ipynb").write_text("{}")
    (tmp_path / "ben").mkdir()
    (tmp_path / "ben" / "lab.ipynb").write_text("{}")
    assert list(submissions(tmp_path)) == ["anna", "ben"]
    shutil.copy(tmp_path / "anna.ipynb", tmp_path / "ben" / "second.ipynb")
    with pytest.raises(AssignmentError, match="which one"):
        submissions(tmp_path)


def test_the_table_says_who_was_not_graded():
    rows = table({"anna": {"a": 1.0, "b": 0.0}, "ben": None}, {"a": 1.0, "b": 2.0})
    assert rows == [
        ["student", "a", "b", "total"],
        ["anna", "1", "0", "1"],
        ["ben", "not graded", "not graded", "not graded"],
        ["(possible)", "1", "2", "3"],
    ]
