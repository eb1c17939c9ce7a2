"""The cells of a grid on an existing Dask cluster: one at a time in each process of a worker. Extra [dask].

A killed worker costs time only: another one computes its cell again. Neither scheduler nor workers write to disk.
"""

import asyncio
import hashlib
import json
import logging
import pickle
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

from tqdm.auto import tqdm

from lttlib.arguments import require
from lttlib.records import provenance

PATIENCE = 8  # seconds in which a scheduler must answer
DEATHS = 4  # workers that may die with one and the same cell in hand

Cell = Mapping[str, object]
Compute = Callable[[Cell], dict]


def completed(name: str, compute: Compute, cells: Sequence[Cell], address: str) -> Iterator[dict]:
    """compute(cell) of every cell, with the worker's `machine`, in the order in which they finish.

    name: of the grid, for Dask's dashboard. address: of the scheduler, host:port. An error of a cell is raised here
    as it is. ConnectionError: no scheduler, it left, or DEATHS workers died with one cell. ValueError: a worker has more
    than one thread, or not the software of this process.
    """
    return _collect(_connect(address), name, compute, cells, address)


@cache  # the code that a process has loaded does not change with its files
def software() -> dict[str, str | None]:
    """What decides the numbers of a process: versions, and a digest of the sources of lttlib and lttkernels."""
    folders = [Path(place) for name in ("lttlib", "lttkernels") for place in find_spec(name).submodule_search_locations]
    sources = [file.read_text(encoding="utf-8") for folder in folders for file in sorted(folder.rglob("*.py"))]
    here = provenance()
    digest = hashlib.sha256("".join(sources).encode()).hexdigest()[:12]
    return {"python": here["python"], **here["versions"], "lttlib": digest}


def _connect(address: str):
    require(find_spec("distributed") is not None, "dask", address, "the packages dask and distributed",
            "get them with .venv/bin/python -m pip install -e '.[dask]'", ImportError)  # fmt: skip
    from distributed import Client

    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # our errors say it in a line
    try:
        with ThreadPoolExecutor(1) as thread:  # asyncio.run needs a thread that Jupyter's loop is not in
            thread.submit(asyncio.run, _greet(address)).result()
        return Client(address, timeout=PATIENCE, set_as_default=False)
    except Exception as error:  # other servers' answers end in errors of any type
        raise ConnectionError(
            f"dask = {address}: expected host:port of a scheduler that answers within {PATIENCE} s ({error!r}); "
            "start one with dask scheduler"
        ) from error


async def _greet(address: str) -> None:
    """Client would wait without end for a port that takes connections and stays silent, as the dashboard's does."""
    from distributed import Security
    from distributed.comm import connect

    async with asyncio.timeout(PATIENCE):
        comm = await connect(address, **Security().get_connection_args("client"))
        await comm.close()


def _collect(client, name: str, compute: Compute, cells: Sequence[Cell], address: str) -> Iterator[dict]:
    from distributed import KilledWorker, as_completed

    run, deaths, submitted = _by_value(partial(_compute, compute, software())), Counter(), {}

    def submit(cells: Sequence[Cell]) -> list:
        keys = [(f"{name}-{uuid4().hex}", json.dumps(cell)) for cell in cells]
        submitted.update(zip(keys, cells, strict=True))
        return client.map(run, cells, key=keys, pure=False)

    with client:  # left by an error or Ctrl-C, it cancels what is not finished
        if not client.nthreads():
            tqdm.write(f"waiting for workers: dask worker {address} --nthreads 1", file=sys.stderr)
        waiting = as_completed(submit(cells), loop=client.loop)
        for future in waiting:
            try:
                finished = future.result()
            except KilledWorker as error:
                deaths[future.key[1]] += error.allowed_failures + 1
                if deaths[future.key[1]] >= DEATHS:
                    raise ConnectionError(
                        f"cell {future.key[1]}: {deaths[future.key[1]]} workers died with it; "
                        "see what their logs say, memory above all; the same command goes on"
                    ) from error
                waiting.update(submit([submitted[future.key]]))
            except CancelledError as error:
                raise ConnectionError(
                    f"dask = {address}: expected a scheduler that stays, this one left or started anew; "
                    "the same command goes on"
                ) from error
            else:
                yield finished


def _by_value(compute: Compute) -> Compute:
    """The scheduler need not import lttlib, and a worker that cannot says so: left to itself, Dask waits without end."""
    import cloudpickle
    from distributed import get_worker

    content = cloudpickle.dumps(compute)

    def run(cell):  # a nested function is sent whole, not as the name of a module
        try:
            compute = pickle.loads(content)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"lttlib of worker {get_worker().address} = {error}: expected that of this process; "
                "install the same commit there and start the worker again"
            ) from None
        return compute(cell)

    return run


def _compute(compute: Compute, ours: dict, cell: Cell) -> dict:
    """On the worker: compute(cell) in a process like the client's, with one thread."""
    from distributed import get_worker

    worker = get_worker()
    require(worker.state.nthreads == 1, f"threads of worker {worker.address}", worker.state.nthreads,
            "1, for a process computes one cell at a time", "start it with dask worker --nthreads 1")  # fmt: skip
    theirs = software()
    differing = [name for name in ours if theirs.get(name) != ours[name]]
    require(not differing, f"software of worker {worker.address}", {name: theirs.get(name) for name in differing},
            {name: ours[name] for name in differing}, "install the same there and start the worker again")  # fmt: skip
    return compute(cell) | {"machine": provenance()["machine"]}
