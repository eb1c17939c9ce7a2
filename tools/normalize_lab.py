"""What a committed lab may hold: two runs of the same lab must give the same file."""

import re

WIDGET = "application/vnd.jupyter.widget-view+json"
PROGRESS = re.compile(r"\d+%\|.*\||\d+it \[")  # tqdm's bar, with and without a known length
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
TIMING = ("execution", "ExecuteTime", "trusted", "collapsed")


def normalize(lab):
    """Drop, in place, what differs from run to run or from editor to editor; return the lab (an nbformat notebook)."""
    lab.metadata = type(lab.metadata)(kernelspec=dict(KERNEL), language_info={"name": "python"})
    lab.nbformat, lab.nbformat_minor = 4, 5
    for number, cell in enumerate(lab.cells, start=1):
        cell.setdefault("id", f"cell-{number:02d}")
        for key in TIMING:
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_without_widget, cell.outputs) if not _is_passing(output)]
    return lab


def _without_widget(output):
    """The live widget dies with its kernel; the static HTML beside it is what stays."""
    if "text/html" in output.get("data", {}):
        output.data.pop(WIDGET, None)
    return output


def _is_passing(output) -> bool:
    """Progress bars: a widget without HTML, or lines on stderr that are bars and nothing else."""
    if output.output_type == "stream" and output.name == "stderr":
        lines = [line for line in re.split(r"[\r\n]+", output.text) if line.strip()]
        return all(PROGRESS.search(line) for line in lines)
    return WIDGET in output.get("data", {})
