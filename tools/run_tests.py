"""Every check of the book, stage after stage; the first stage that fails ends the run."""

import os
import shutil
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "_build" / "reports"
# Two workers; loadfile keeps a test file or a lab whole in one of them.
PYTEST = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile"]
NBVAL = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "120"]


def stages() -> list[tuple[str, list[str], str]]:
    """(name, command, what to do when it fails); a stage with nothing to test yet is left out."""
    python = sys.executable
    units = [folder for folder in ("tests/lttlib", "tests/kernels") if any((ROOT / folder).glob("test_*.py"))]
    labs = sorted(str(lab.relative_to(ROOT)) for lab in (ROOT / "notebooks").glob("*.ipynb"))
    listed = [
        ("lint", [python, "-m", "ruff", "check", "."], "many of these mend themselves: .venv/bin/ruff check --fix ."),
        ("format", [python, "-m", "ruff", "format", "--check", "."], "mend it with .venv/bin/ruff format ."),
        ("unit tests", units and [*PYTEST, *units], "the FAILED lines above name file and test"),
        ("labs", labs and [*PYTEST, *NBVAL, *labs], "open the lab with make lab and run it"),
        ("strict book build", [python, "tools/build_book.py"], "a warning is an error here"),
        ("book", [*PYTEST, "tests/book"], "the messages above name page and place"),
        (
            "browser",
            [*PYTEST, "--dist", "loadgroup", "tests/browser"],
            "screenshots of failures are in _build/screenshots",
        ),
    ]
    return [stage for stage in listed if stage[1]]


def closing_line(seconds: float) -> str:
    """All stages in the form of pytest's last line."""
    suites = [suite for file in REPORTS.glob("*.xml") for suite in ElementTree.parse(file).iter("testsuite")]
    skipped = sum(int(suite.get("skipped")) for suite in suites)
    passed = sum(int(suite.get("tests")) for suite in suites) - skipped
    counts = f"{passed} passed" + (f", {skipped} skipped" if skipped else "")
    return f" all stages: {counts} in {seconds:.2f}s ({timedelta(seconds=int(seconds))}) ".center(80, "=")


def main() -> None:
    environment = os.environ | {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    environment |= {"PYTHONHASHSEED": "0", "LTT_BOOK": str(ROOT / "_build" / "html")}
    shutil.rmtree(REPORTS, ignore_errors=True)
    start = time.perf_counter()
    listed = stages()
    for number, (name, command, remedy) in enumerate(listed, start=1):
        print(f"\n[{number}/{len(listed)}] {name} ({time.perf_counter() - start:.0f} s so far)", flush=True)
        report = [f"--junitxml={REPORTS / name}.xml"] if "pytest" in command else []
        code = subprocess.run([*command, *report], cwd=ROOT, env=environment, check=False).returncode
        if code:
            sys.exit(f"\nmake test stopped at stage {number} of {len(listed)}, {name}: {remedy}.")
    print("\n" + closing_line(time.perf_counter() - start))


if __name__ == "__main__":
    main()
