"""A grid of independent runs: every finished run is kept, and a killed grid goes on where it stopped.

Each finished run is one line of FILE.partial.jsonl, written with a single append and forced to disk. When all are
there, FILE is written atomically, with arguments, rows, machine, versions, commit and seconds.
"""

import functools
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from lttlib.arguments import require
from lttlib.experiments.cluster import completed
from lttlib.records import provenance, read_json, write_json

Cell = Mapping[str, object]


def run_grid(
    name: str,
    run: Callable[..., list[dict]],
    cells: Sequence[Cell],
    *,
    out: str | Path,
    command: str,
    jobs: int = 1,
    dask: str | None = None,
    progress: bool = True,
) -> dict:
    """Call run(**cell) for every cell that is not in `out` yet; returns the record, which then stands in `out`.

    run: a function at module level that returns rows (flat dicts of JSON values). cells: keyword arguments of each
    run, JSON values. command: how to make the record anew. jobs: processes, one torch thread each. dask: address of a
    scheduler whose workers take the place of these processes; every run then names its machine.
    """
    require(len(cells) > 0, "cells", "[]", "at least one", "check the seeds")
    out = Path(out)
    partial = out.with_name(out.name + ".partial.jsonl")
    done = _finished(out, partial, name)
    todo = [cell for cell in cells if _key(cell) not in done]
    partial.parent.mkdir(parents=True, exist_ok=True)
    if dask is not None and todo:
        results = completed(name, functools.partial(_timed, run), todo, dask)
    else:
        results = Parallel(n_jobs=jobs, return_as="generator_unordered")(delayed(_timed)(run, cell) for cell in todo)
    bar = tqdm(results, total=len(cells), initial=len(cells) - len(todo), desc=name, disable=not progress)
    for finished in bar:
        _append(partial, finished)
        done[_key(finished["cell"])] = finished
    asked = [_key(cell) for cell in cells]
    runs = [done[key] for key in asked] + [run for key, run in done.items() if key not in asked]
    record = {
        "experiment": name,
        "command": command,
        "provenance": provenance(),
        "seconds": round(sum(finished["seconds"] for finished in runs), 1),
        "runs": runs,
    }
    write_json(out, record)
    partial.unlink(missing_ok=True)
    return record


def rows(record: Mapping, **wanted) -> list[dict]:
    """The rows of a record whose fields equal the wanted ones, in the order of the grid."""
    found = [row for finished in record["runs"] for row in finished["rows"]]
    return [row for row in found if all(row.get(key) == value for key, value in wanted.items())]


def by_seed(found: Sequence[Mapping], field: str, **wanted) -> np.ndarray:
    """One value per seed, in the order of the seeds, of the rows whose fields equal the wanted ones; float64."""
    chosen = [row for row in found if all(row[key] == value for key, value in wanted.items())]
    return np.array([row[field] for row in sorted(chosen, key=lambda row: row["seed"])], dtype=float)


def _timed(run, cell: Cell) -> dict:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same numbers whatever the number of processes
    start = time.perf_counter()
    try:
        found = run(**cell)
    except Exception as error:
        error.add_note(f"(in cell {_key(cell)})")
        raise
    finally:
        torch.set_num_threads(threads)
    return {"cell": dict(cell), "rows": found, "seconds": round(time.perf_counter() - start, 2)}


def _key(cell: Cell) -> str:
    return json.dumps(cell, sort_keys=True)


def _append(path: Path, finished: dict) -> None:
    """One whole line in one write, on disk before we go on: a kill leaves at most one broken last line."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, (json.dumps(finished, allow_nan=False) + "\n").encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def _finished(out: Path, partial: Path, name: str) -> dict[str, dict]:
    """Finished runs of an earlier start, by cell. A line that a kill cut short is dropped from the file."""
    done = {}
    if out.exists():
        record = read_json(out)
        require(record["experiment"] == name, "out", out, f"a record of {name}", "use another file")
        done = {_key(finished["cell"]): finished for finished in record["runs"]}
    if not partial.exists():
        return done
    lines = partial.read_text().splitlines(keepends=True)
    whole = []
    for line in lines:
        try:
            finished = json.loads(line)
        except json.JSONDecodeError:
            continue
        if line.endswith("\n"):
            whole.append(line)
            done[_key(finished["cell"])] = finished
    if len(whole) < len(lines):
        unfinished = partial.with_name(f".{partial.name}.{os.getpid()}")
        unfinished.write_text("".join(whole))
        os.replace(unfinished, partial)
    return done
