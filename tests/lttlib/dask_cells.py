"""Cells for test_cluster.py, which workers can import. As a script: the command line, with these cells."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from distributed import KilledWorker

SCRIPT = ("quick", "quick", "waits", "waits", "quick", "quick")  # arms of the script's cells


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def lines(folder: Path) -> int:
    """Finished cells of the grid out.json on disk."""
    partial = folder / "out.json.partial.jsonl"
    return partial.read_text().count("\n") if partial.exists() else 0


def starts(folder: Path, seed: int) -> int:
    """How often the cell of this seed was started."""
    log = folder / f"starts_{seed}"
    return len(log.read_text()) if log.exists() else 0


def run(folder: str, seed: int, arm: str) -> list[dict]:
    """quick; waits: for the file go; the others: until as many cells are on disk as the seed says."""
    place = Path(folder)
    with (place / f"starts_{seed}").open("a") as log:
        log.write("x")
    if arm == "waits":
        wait_until((place / "go").exists)
    elif arm != "quick":
        wait_until(lambda: lines(place) >= seed)
    if arm == "dies once" and starts(place, seed) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if arm.startswith("gives up after "):  # what the scheduler says of a cell whose workers died
        raise KilledWorker("a task", SimpleNamespace(address="a worker"), int(arm.split()[-1]) - 1)
    if arm == "fails" and not (place / "mended").exists():
        raise FloatingPointError("no numbers")
    return [{"seed": seed, "arm": arm, "part": part, "threads": torch.get_num_threads()} for part in range(2)]


def train(seed: int) -> list[dict]:
    """A real run, small: RigL on digits."""
    from lttlib.data import digits
    from lttlib.experiments import dynamic_sparse

    setting = replace(dynamic_sparse.SETTINGS["digits"], hidden=(24, 16), steps=120, interval=20)
    arm = next(name for name in dynamic_sparse.ARMS if name.startswith("RigL"))
    return [dynamic_sparse.density_row(setting, digits(), arm, 0.2, seed)]


def cells(folder: Path, arms) -> list[dict]:
    return [{"folder": str(folder), "seed": seed, "arm": arm} for seed, arm in enumerate(arms)]


def script_cells(data: str, seeds: int) -> list[dict]:
    return cells(Path.cwd(), SCRIPT)


if __name__ == "__main__":
    import dask_cells  # under the name by which workers know it

    import lttlib.experiments.__main__ as command_line
    from lttlib.experiments import optimal_brain_damage

    optimal_brain_damage.run, optimal_brain_damage.cells = dask_cells.run, dask_cells.script_cells
    sys.exit(command_line.main(["optimal_brain_damage", "--out", "out.json", *sys.argv[1:]]))
