"""Command line of the long experiments: python -m lttlib.experiments NAME --data mnist --seeds 5 --out FILE."""

import argparse
import importlib
import pkgutil
import shlex
import sys

import lttlib.experiments
from lttlib.data import DataError
from lttlib.experiments.runner import run_grid


def names() -> list[str]:
    """All experiments: the modules of this package that define a grid."""
    return sorted(
        m.name
        for m in pkgutil.iter_modules(lttlib.experiments.__path__)
        if m.name not in ("runner", "cluster", "__main__")
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one experiment; returns the exit status. Errors of the reader's making are one line, no traceback."""
    parser = argparse.ArgumentParser(prog="python -m lttlib.experiments", description=__doc__)
    parser.add_argument("name", choices=names(), help="which experiment")
    parser.add_argument("--data", default="digits", help="digits, 'disguised digits' or mnist")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 0")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    where.add_argument("--dask", metavar="ADDRESS", help="scheduler of a Dask cluster, host:port, instead of processes")
    parser.add_argument("--out", help="JSON file; default NAME_DATA.json. Started again, it goes on where it stopped")
    options = parser.parse_args(arguments)
    experiment = importlib.import_module(f"lttlib.experiments.{options.name}")
    out = options.out or f"{options.name}_{options.data.replace(' ', '_')}.json"
    command = f"python -m lttlib.experiments {shlex.join([options.name, '--data', options.data, '--seeds', str(options.seeds)])}"
    try:
        cells = experiment.cells(options.data, options.seeds)
        record = run_grid(
            options.name, experiment.run, cells, out=out, command=command, jobs=options.jobs, dask=options.dask
        )
    except (ValueError, OSError, FloatingPointError, ImportError, DataError) as error:
        print("error:", error, *getattr(error, "__notes__", []), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on with {out}.partial.jsonl", file=sys.stderr)
        return 130
    print(f"{out}: {len(record['runs'])} runs, {record['seconds']} s of computing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
