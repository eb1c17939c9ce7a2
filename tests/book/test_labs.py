"""Every committed lab: run once from top to bottom, quiet, normalized, and readable where lttlib is missing."""

from pathlib import Path

import nbformat
import pytest
from lab_checks import (
    code_cells,
    long_cells,
    machine_traces,
    noisy_outputs,
    not_executed,
    not_normalized,
    without_lttlib,
)

LABS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=LABS, ids=lambda lab: lab.stem)
def lab(request):
    return nbformat.read(request.param, as_version=4)


@pytest.mark.parametrize("check", [not_executed, noisy_outputs, machine_traces, long_cells, not_normalized])
def test_lab(check, lab):
    assert check(lab) == []


def test_first_cell_says_how_to_install_lttlib(lab):
    assert without_lttlib(code_cells(lab)[0].source) == []
