"""make execute: the same lab twice gives the same file, and a lab that fails is left as it was."""

import os
import subprocess
import sys
from pathlib import Path

import execute_labs
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook


def write_lab(path, *sources):
    cells = [new_code_cell(source, id=f"c{i}") for i, source in enumerate(sources)]
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Lab", id="head"), *cells]), path)
    return path


def test_two_runs_give_one_file(tmp_path):
    lab = write_lab(
        tmp_path / "lab.ipynb",
        "import time\nfrom tqdm.auto import tqdm\nfor _ in tqdm(range(3)):\n    time.sleep(0.01)",
        "print(sum(hash(word) for word in 'one seed for all'.split()))\nprint('two')",
        "from pathlib import Path\nPath.cwd().name",
    )
    execute_labs.execute(lab)
    first = lab.read_bytes()
    execute_labs.execute(lab)
    assert lab.read_bytes() == first
    assert first.endswith(b"}\n")
    cells = nbformat.read(lab, as_version=4).cells[1:]
    assert [cell.execution_count for cell in cells] == [1, 2, 3]
    assert cells[0].outputs == []  # the bar is gone
    assert tmp_path.name in cells[2].outputs[0].data["text/plain"]  # it ran in its own folder


def test_a_failing_lab_stays_and_is_named(tmp_path):
    lab = write_lab(tmp_path / "broken.ipynb", "x = 1", "x / 0", "print('never')")
    before = lab.read_bytes()
    with pytest.raises(execute_labs.LabError, match=r"broken.ipynb, cell 3 of 4 \(id c1\)(.|\n)*ZeroDivisionError"):
        execute_labs.execute(lab)
    assert lab.read_bytes() == before
    assert os.listdir(tmp_path) == ["broken.ipynb"]


def test_an_unknown_name_is_answered():
    tool = Path(execute_labs.__file__)
    ran = subprocess.run([sys.executable, tool, "no_such_lab"], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("make execute: no lab named no_such_lab; there are: ")
    assert len(ran.stderr.splitlines()) == 1
