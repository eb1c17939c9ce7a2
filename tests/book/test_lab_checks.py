"""The checks of labs, each shown a lab that is wrong and one that is right."""

import pytest
from lab_checks import (
    long_cells,
    machine_traces,
    noisy_outputs,
    not_executed,
    not_normalized,
    without_lttlib,
)
from nbformat.v4 import new_code_cell, new_notebook, new_output
from normalize_lab import KERNEL, WIDGET, normalize

FIRST_CELL = """
try:
    import lttlib
except ModuleNotFoundError as missing:
    missing._render_traceback_ = lambda: ["lttlib is missing: run pip install -e . in the book's folder"]
    raise
"""


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def html(text, **more):
    return new_output("display_data", data={"text/html": text, "text/plain": "shown"} | more)


def lab(*outputs, count=1, source="show()"):
    cell = new_code_cell(source, id="one", execution_count=count, outputs=list(outputs))
    metadata = {"kernelspec": dict(KERNEL), "language_info": {"name": "python"}}
    return new_notebook(cells=[cell], metadata=metadata)


@pytest.mark.parametrize("check, bad", [
    (not_executed, lab(stream("5"), count=7)),
    (not_executed, lab(stream("5"), count=None)),
    (not_executed, lab()),
    (noisy_outputs, lab(new_output("error", ename="ValueError", evalue="x", traceback=[]))),
    (noisy_outputs, lab(stream("FutureWarning: soon", "stderr"))),
    (machine_traces, lab(stream("saved in /home/someone/result.json"))),
    (machine_traces, lab(stream("<Thing at 0x7f2a91bc10>"))),
    (machine_traces, lab(html("<p>see /tmp/x</p>"))),
    (long_cells, lab(source="x = 1\n" * 26)),
    (not_normalized, lab(stream("100%|##########| 3/3 [00:01<00:00]", "stderr"))),
    (not_normalized, lab(html("<p>5</p>", **{WIDGET: {"model_id": "a"}}))),
])  # fmt: skip
def test_bad_labs_are_found(check, bad):
    assert len(check(bad)) == 1


@pytest.mark.parametrize("check", [not_executed, noisy_outputs, machine_traces, long_cells, not_normalized])
def test_a_good_lab_passes(check):
    picture = '<figure><img src="data:image/png;base64,/tmp/ab"><script>{"png": "/home/a"}</script></figure>'
    good = lab(stream("1 / 2 = .5, see https://arxiv.org/abs/1911.11134\n"), html(picture), source="x = 1\n" * 25)
    assert check(good) == []


def test_normalize_drops_bars_and_timing_and_keeps_the_rest():
    before = lab(
        stream("\r 50%|#####     | 1/2 [00:01<00:01]\n100%|##########| 2/2 [00:02<00:00]", "stderr"),
        stream("a real warning", "stderr"),
        new_output("display_data", data={WIDGET: {"model_id": "a"}, "text/plain": "  0%|     |"}),
        html("<p>5</p>", **{WIDGET: {"model_id": "b"}}),
    )
    before.metadata["widgets"] = {"state": {}}
    before.cells[0].metadata = {"execution": {"iopub.execute_input": "now"}, "tags": ["remove-cell"]}
    after = normalize(before)
    assert [output.get("text") or dict(output.data) for output in after.cells[0].outputs] == [
        "a real warning",
        {"text/html": "<p>5</p>", "text/plain": "shown"},
    ]
    assert after.metadata.keys() == {"kernelspec", "language_info"}
    assert after.cells[0].metadata == {"tags": ["remove-cell"]}
    assert after.cells[0].id == "one"


def test_first_cell_by_hand():
    assert without_lttlib(FIRST_CELL) == []
    assert without_lttlib("print('pip install it')") == ["goes on without lttlib"]
    assert "does not name pip install" in without_lttlib("import lttlib")
    assert any(complaint.startswith("says") for complaint in without_lttlib("import lttlib"))  # a whole traceback
