"""Re-run labs, each in a fresh kernel, and save them ready to commit: python tools/execute_labs.py [NAME ...]"""

import os
import re
import sys
import time
from pathlib import Path

# One thread and one hash seed: the same lab gives the same numbers again.
os.environ.update({f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}, PYTHONHASHSEED="0")

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from normalize_lab import normalize

LABS = Path(__file__).parents[1] / "notebooks"
SECONDS_PER_CELL = 600


class LabError(Exception):
    """A lab that did not run to its end: which lab, which cell, what happened."""


def execute(path: Path) -> None:
    """Run one lab and replace its file; a lab that fails leaves its file untouched."""
    lab = nbformat.read(path, as_version=4)
    for cell in lab.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    lab.metadata.pop("widgets", None)
    client = NotebookClient(
        lab,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,
        extra_arguments=["--IPKernelApp.log_level=40"],  # errors only
        coalesce_streams=True,
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        reason = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip()  # no colour codes
        raise LabError(f"{path.name}, {_where(lab)}:\n{reason}\n{path.name} is unchanged.") from None
    save(lab, path)


def save(lab, path: Path) -> None:
    """Write the normalized lab in one step, so that a kill never leaves half a file."""
    partial = path.with_suffix(".partial")
    partial.write_text(nbformat.writes(normalize(lab)).rstrip("\n") + "\n", encoding="utf-8")
    os.replace(partial, path)


def _where(lab) -> str:
    """The cell a run stopped in: the last one that started."""
    started = [n for n, cell in enumerate(lab.cells) if cell.cell_type == "code" and _started(cell)]
    number = started[-1] if started else 0
    return f"cell {number + 1} of {len(lab.cells)} (id {lab.cells[number].get('id')})"


def _started(cell) -> bool:
    return bool(cell.execution_count or cell.outputs or "execution" in cell.metadata)


def chosen(names: list[str]) -> list[Path]:
    labs = {path.stem: path for path in sorted(LABS.glob("*.ipynb"))}
    unknown = [name for name in names if name not in labs]
    if unknown:
        raise LabError(f"no lab named {', '.join(unknown)}; there are: {', '.join(labs) or 'none yet'}")
    return [labs[name] for name in names] or list(labs.values())


def main(names: list[str]) -> None:
    for path in chosen(names):
        print(f"{path.stem} ...", end=" ", flush=True)
        start = time.perf_counter()
        execute(path)
        print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except LabError as error:
        sys.exit(f"make execute: {error}")
