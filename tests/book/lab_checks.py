"""Checks of labs, as plain functions: a notebook in, a list of complaints out (empty when all is well)."""

import copy
import re
import subprocess
import sys

from normalize_lab import normalize

LINES_PER_CELL = 25
# A path of the machine it ran on, or the address of an object: both differ elsewhere.
MACHINE = re.compile(r"(?<![\w.:/])/(?:home|work|tmp|root|Users|mnt)/\w[^\s\"'<]*|[A-Z]:\\\w+|\b0x[0-9a-fA-F]{6,}\b")
BLOCKED = """
import sys
sys.modules["lttlib"] = None  # any import of it now fails as if it were not installed
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(colors="nocolor", history_length=0)
sys.exit(0 if shell.run_cell(sys.stdin.read()).success else 1)
"""


def code_cells(lab) -> list:
    return [cell for cell in lab.cells if cell.cell_type == "code"]


def not_executed(lab) -> list[str]:
    """Cells must hold the outputs of one run from top to bottom in a fresh kernel."""
    counts = [cell.execution_count for cell in code_cells(lab) if cell.source.strip()]
    complaints = [] if counts == list(range(1, len(counts) + 1)) else [f"execution counts {counts}"]
    return complaints if any(cell.outputs for cell in code_cells(lab)) else [*complaints, "no outputs"]


def noisy_outputs(lab) -> list[str]:
    """Errors, and anything on stderr: a reader would wonder what went wrong."""
    outputs = [(cell.id, output) for cell in code_cells(lab) for output in cell.outputs]
    errors = [f"{id}: {output.ename}" for id, output in outputs if output.output_type == "error"]
    return errors + [f"{id}: {output.text[:80]}" for id, output in outputs if output.get("name") == "stderr"]


def machine_traces(lab) -> list[str]:
    """Paths and addresses of the machine that ran the lab."""
    complaints = []
    for cell in code_cells(lab):
        for output in cell.outputs:
            texts = [output.get("text", ""), *(text for kind, text in output.get("data", {}).items() if "text" in kind)]
            for text in map(str, texts):
                pictureless = re.sub(r"base64,[\w+/=]+|\"png\": ?\"[\w+/=]+\"", "", text)
                complaints += [f"{cell.id}: {found}" for found in MACHINE.findall(pictureless)]
    return complaints


def long_cells(lab) -> list[str]:
    lengths = [(cell.id, len(cell.source.splitlines())) for cell in code_cells(lab)]
    return [f"{id}: {lines} lines" for id, lines in lengths if lines > LINES_PER_CELL]


def not_normalized(lab) -> list[str]:
    """What make execute would still change."""
    return [] if normalize(copy.deepcopy(lab)) == lab else ["run make execute"]


def without_lttlib(source: str) -> list[str]:
    """What the first code cell says where lttlib is missing: one line naming the remedy, then the lab stops."""
    ran = subprocess.run([sys.executable, "-c", BLOCKED], input=source, capture_output=True, text=True, check=False)
    said = [line for line in (ran.stdout + ran.stderr).splitlines() if line.strip()]
    complaints = [] if len(said) == 1 else [f"says {len(said)} lines"]
    complaints += [] if "pip install" in "".join(said) else ["does not name pip install"]
    return complaints + ([] if ran.returncode else ["goes on without lttlib"])
