"""A grid on a Dask cluster: killed workers, clients and schedulers, wrong workers, no answer; the same rows as here."""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import dask_cells
import pytest
from dask_cells import cells, lines, starts, wait_until
from distributed import Client, LocalCluster
from errors import assert_one_line_error

import lttlib.experiments.__main__ as command_line
from lttlib.experiments import cluster, optimal_brain_damage
from lttlib.experiments.runner import rows, run_grid
from lttlib.records import provenance

HERE = Path(__file__).parent
ROOT = Path(command_line.__file__).parents[2]
WORKER = os.pathsep.join(map(str, (ROOT, ROOT / "kernels", HERE)))


def start(folder: Path, *arguments: str, path: str = WORKER, **settings: str) -> subprocess.Popen:
    """python ARGUMENTS in a group of processes of its own; what it says is in folder/said."""
    places = {"PYTHONPATH": path, "DASK_TEMPORARY_DIRECTORY": str(folder)}
    environment = os.environ | places | settings
    with (folder / "said").open("a") as said:
        return subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, env=environment, stdout=said, stderr=said, start_new_session=True
        )


def start_scheduler(folder: Path) -> tuple[subprocess.Popen, str]:
    """A scheduler that cannot import lttlib and gives a cell up after one death; its address."""
    (folder / "without").mkdir()
    (folder / "without" / "lttlib.py").write_text("raise ImportError('not here')")
    written = folder / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0", "--scheduler-file", str(written))
    failures = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    process = start(folder, "-m", "dask", "scheduler", *options, path=str(folder / "without"), **failures)
    wait_until(lambda: written.exists() and written.read_text().endswith("}"))
    return process, json.loads(written.read_text())["address"]


def stop(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a scheduler with two worker processes, that would compute with two threads each if nobody told them."""
    folder = tmp_path_factory.mktemp("dask")
    scheduler, address = start_scheduler(folder)
    options = ("--nworkers", "2", "--nthreads", "1", "--no-dashboard", "--memory-limit", "0", "--host", "127.0.0.1")
    settings = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    settings |= {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}  # it slows imports down
    workers = start(folder, "-m", "dask", "worker", address, *options, **settings)
    try:
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)
        yield address
    finally:
        stop(workers)
        stop(scheduler)


def grid(folder: Path, arms, dask: str | None, run=dask_cells.run, todo=None) -> dict:
    todo = cells(folder, arms) if todo is None else todo
    return run_grid("grid", run, todo, out=folder / "out.json", command="", dask=dask, progress=False)


def main(folder: Path, monkeypatch, *arguments: str) -> int:
    """The command line, with the cells of dask_cells.py."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(optimal_brain_damage, "run", dask_cells.run)
    monkeypatch.setattr(optimal_brain_damage, "cells", dask_cells.script_cells)
    return command_line.main(["optimal_brain_damage", "--out", "out.json", *arguments])


def test_a_killed_worker_loses_nothing(address, tmp_path, capfd):
    arms = ["quick", "quick", "dies once", "quick", "quick", "follows"]
    found = grid(tmp_path, arms, address)
    assert starts(tmp_path, 2) == 2  # it did die
    assert [run["cell"] for run in found["runs"]] == cells(tmp_path, arms)
    assert rows(found) == [
        {"seed": seed, "arm": arm, "part": part, "threads": 1} for seed, arm in enumerate(arms) for part in range(2)
    ]
    assert json.loads((tmp_path / "out.json").read_text()) == found and lines(tmp_path) == 0
    assert all(run["machine"] == provenance()["machine"] for run in found["runs"])
    (tmp_path / "out.json").rename(tmp_path / "cluster.json")
    (tmp_path / "out.json.partial.jsonl").write_text(json.dumps(found["runs"][5]) + "\n")  # what "follows" waits for
    assert rows(grid(tmp_path, arms, None)) == rows(found)
    assert capfd.readouterr().err == ""


def test_cells_are_kept_in_the_order_in_which_they_finish(address, tmp_path):
    slow = {"folder": str(tmp_path), "seed": 3, "arm": "follows"}  # ends when the three others are on disk
    found = grid(tmp_path, (), address, todo=[slow, *cells(tmp_path, ["quick"] * 3)])
    assert [row["seed"] for row in rows(found, part=0)] == [3, 0, 1, 2]


@pytest.mark.parametrize("allowed", [1, 4])  # deaths until the scheduler gives up: 4 if nobody has changed its settings
def test_a_cell_that_kills_every_worker_stops_the_grid(address, tmp_path, allowed):
    arm = f"gives up after {allowed}"
    words = ('"seed": 1', f'"arm": "{arm}"', "4 workers died", "memory", "goes on")
    assert_one_line_error(lambda: grid(tmp_path, ["quick", arm], address), *words, error=ConnectionError)
    assert lines(tmp_path) == 1 and starts(tmp_path, 1) == 4 // allowed


def test_an_error_in_a_cell_is_one_line_and_names_it(address, tmp_path, monkeypatch, capsys):
    arms = ["quick", "fails", "quick", "quick"]
    monkeypatch.setattr(dask_cells, "SCRIPT", arms)
    assert main(tmp_path, monkeypatch, "--dask", address) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: no numbers (in cell {") and '"arm": "fails"' in said and '"seed": 1' in said
    assert 1 <= lines(tmp_path) <= 3 and not (tmp_path / "out.json").exists()
    (tmp_path / "mended").touch()
    assert main(tmp_path, monkeypatch, "--dask", address) == 0
    assert record_rows(tmp_path) == list(enumerate(arms)) and starts(tmp_path, 0) == 1


def test_an_error_in_a_cell_keeps_its_type(address, tmp_path):
    with pytest.raises(FloatingPointError):
        grid(tmp_path, ["quick", "fails"], address)


def test_killed_midway_it_goes_on_without_dask(address, tmp_path, monkeypatch):
    process = start(tmp_path, str(HERE / "dask_cells.py"), "--dask", address)
    wait_until(lambda: lines(tmp_path) == 2 and starts(tmp_path, 2) and starts(tmp_path, 3))
    stop(process)
    assert process.returncode == -signal.SIGKILL
    wait_until_idle(address, tmp_path)
    assert lines(tmp_path) == 2 and starts(tmp_path, 4) == starts(tmp_path, 5) == 0
    assert main(tmp_path, monkeypatch) == 0
    assert [starts(tmp_path, seed) for seed in range(6)] == [1, 1, 2, 2, 1, 1]
    assert record_rows(tmp_path) == list(enumerate(dask_cells.SCRIPT))


def test_ctrl_c_cancels_what_has_not_begun(address, tmp_path):
    todo = cells(tmp_path, dask_cells.SCRIPT)
    results = cluster.completed("grid", one_cell, todo, address)
    assert {next(results)["cell"]["seed"], next(results)["cell"]["seed"]} == {0, 1}
    wait_until(lambda: starts(tmp_path, 2) and starts(tmp_path, 3))
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)  # as if it came while we wait for a cell
    wait_until_idle(address, tmp_path)
    assert starts(tmp_path, 4) == starts(tmp_path, 5) == 0


def one_cell(cell: dict) -> dict:
    return {"cell": cell, "rows": dask_cells.run(**cell)}


def wait_until_idle(address: str, folder: Path) -> None:
    """Until no cell is known to the scheduler, and then, with the cells that wait let go, none runs on a worker."""
    with Client(address, set_as_default=False) as client:
        wait_until(lambda: client.run_on_scheduler(lambda dask_scheduler: not dask_scheduler.tasks))
        (folder / "go").touch()
        wait_until(lambda: not any(client.run(lambda dask_worker: dask_worker.state.executing_count).values()))


def record_rows(folder: Path) -> list[tuple[int, str]]:
    record = json.loads((folder / "out.json").read_text())
    return [(row["seed"], row["arm"]) for row in rows(record, part=0)]


def test_training_gives_the_same_numbers(address, tmp_path):
    there = grid(tmp_path / "there", (), address, dask_cells.train, [{"seed": 1}])
    here = grid(tmp_path / "here", (), None, dask_cells.train, [{"seed": 1}])
    assert rows(there) == rows(here) and 0.2 < rows(there)[0]["accuracy"] < 1


def test_a_worker_with_two_threads_is_refused(tmp_path):
    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": ":0", "local_directory": str(tmp_path)}
    with LocalCluster(processes=False, **options) as local:
        words = (local.workers[0].address, "= 2", "one cell at a time", "dask worker --nthreads 1")
        assert_one_line_error(lambda: grid(tmp_path, ["quick"], local.scheduler_address), *words)
    assert starts(tmp_path, 0) == 0


def test_a_worker_with_other_software_is_refused(address, tmp_path, monkeypatch):
    ours = cluster.software() | {"torch": "1.0"}
    monkeypatch.setattr(cluster, "software", lambda: ours)
    words = ("software of worker tcp://127.0.0.1", "{'torch': '2.", "{'torch': '1.0'}", "start the worker again")
    assert_one_line_error(lambda: grid(tmp_path, ["quick"], address), *words)
    assert starts(tmp_path, 0) == 0


def test_software_is_versions_and_sources(tmp_path, monkeypatch):
    here = cluster.software()
    assert here["python"] == sys.version.split()[0] and here["torch"] and here["numpy"]
    digests = set()
    for text in ("1", "1", "2"):
        (tmp_path / "deep").mkdir(exist_ok=True)
        (tmp_path / "deep" / "module.py").write_text(text)
        spec = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
        monkeypatch.setattr(cluster, "find_spec", lambda name, spec=spec: spec)
        digests.add(cluster.software.__wrapped__()["lttlib"])
    assert len(digests) == 2 and here["lttlib"] not in digests


class NotThere:
    """A run in a module that workers do not have."""

    def __call__(self, **cell):
        return []

    def __reduce__(self):
        return importlib.import_module, ("lttlib.no_such_module",)


def test_a_worker_without_the_experiment_says_so(address, tmp_path):
    words = ("lttlib of worker tcp://127.0.0.1", "No module named 'lttlib.no_such_module'", "the same commit")
    assert_one_line_error(lambda: grid(tmp_path, ["quick"], address, NotThere()), *words)


@pytest.mark.parametrize("port", ["closed", "silent", "missing"])
def test_no_scheduler_is_one_line(tmp_path, monkeypatch, capfd, port):
    assert cluster.PATIENCE <= 10
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}" if port != "missing" else "127.0.0.1"
        if port == "silent":  # takes connections and never says a word
            listener.listen()
        began = time.monotonic()
        assert main(tmp_path, monkeypatch, "--dask", address) == 2
        assert time.monotonic() - began < 15
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and said.startswith(f"error: dask = {address}: expected host:port")
    assert "dask scheduler" in said and not lines(tmp_path)


def test_a_finished_grid_asks_for_no_cluster(tmp_path):
    assert grid(tmp_path, ["quick"], None)["runs"] == grid(tmp_path, ["quick"], "127.0.0.1:1")["runs"]


def test_no_workers_yet_and_a_scheduler_that_leaves(tmp_path, monkeypatch, capfd, caplog):
    scheduler, address = start_scheduler(tmp_path)
    said = []
    monkeypatch.setattr(cluster.tqdm, "write", lambda text, file: (said.append(text), stop(scheduler)))
    monkeypatch.setattr(cluster, "PATIENCE", 2)
    words = (address, "scheduler that stays", "goes on")
    assert_one_line_error(lambda: grid(tmp_path, ["quick"], address), *words, error=ConnectionError)
    assert said == [f"waiting for workers: dask worker {address} --nthreads 1"]
    assert capfd.readouterr().err == "" and not [one for one in caplog.records if one.name == "distributed.client"]


def test_without_dask_installed(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(tmp_path, monkeypatch, "--dask", "127.0.0.1:8786") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "dask and distributed" in said and "pip install -e '.[dask]'" in said


def test_processes_or_a_cluster(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        main(tmp_path, monkeypatch, "--dask", "127.0.0.1:8786", "--jobs", "2")
    assert caught.value.code == 2 and "not allowed with" in capsys.readouterr().err
    assert "cluster" not in command_line.names()
