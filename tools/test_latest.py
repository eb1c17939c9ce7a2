"""Do the newest releases still work? Unit tests and one lab in .venv-latest, where only torch keeps its pin.

pyproject.toml says which releases are allowed, requirements.txt and constraints.txt which ones the book was made with.
What builds the book (Jupyter Book 1.x and what it needs) is left alone: it is upgraded by hand or not at all.
"""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LATEST = ROOT / ".venv-latest"
PYTHON = LATEST / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
TESTS = ("pytest", "pytest-xdist", "hypothesis", "nbval", "jupyterlab", "distributed")
LAB = "notebooks/why_sparsity.ipynb"
PIN = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    """Name to version, direct and indirect."""
    texts = ((ROOT / file).read_text(encoding="utf-8") for file in ("requirements.txt", "constraints.txt"))
    return {canonical(name): version for text in texts for name, version in PIN.findall(text)}


def allowed() -> list[str]:
    """The ranges of pyproject.toml without torch, which keeps its pin; and what the tests need."""
    ranges = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    return [*(one for one in ranges if not one.startswith("torch>")), *TESTS]


def install() -> None:
    """Make or renew .venv-latest: every package, also the indirect ones, as new as the ranges allow."""
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", LATEST], check=True)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    torch = (
        f"torch=={importlib.metadata.version('torch')}"  # the very build of .venv: +cpu is the smaller one of README.md
    )
    places = ["--extra-index-url", CPU_WHEELS] if "+cpu" in torch else []
    subprocess.run([*pip, "--no-deps", *places, torch], check=True)
    newest = [*pip, "--upgrade", "--upgrade-strategy", "eager", *allowed(), torch, "--editable", "."]
    subprocess.run(newest, cwd=ROOT, check=True)


def installed() -> dict[str, str]:
    command = [PYTHON, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return {canonical(one["name"]): one["version"] for one in listed}


def table(pinned: dict[str, str], latest: dict[str, str]) -> str:
    """The packages whose version differs from its pin, one a line."""
    rows = [(name, pinned[name], latest[name]) for name in sorted(pinned.keys() & latest.keys())]
    rows = [(name, old, new) for name, old, new in rows if old != new.split("+")[0]]
    if not rows:
        return "Every package is at its pin: there is nothing newer in the allowed ranges."
    width = max(len(name) for name, _, _ in rows) + 2
    return "\n".join(f"{name:{width}}{old:>16}{new:>16}" for name, old, new in [("package", "pinned", "newest"), *rows])


def run_tests() -> int:
    """Unit tests, then the lab; the first exit code that is not 0."""
    environment = os.environ | {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    pytest = [PYTHON, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"]
    units = [folder for folder in ("tests/lttlib", "tests/kernels") if any((ROOT / folder).rglob("test_*.py"))]
    lab = [PYTHON, "-m", "pytest", "-q", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "120", LAB]
    codes = [subprocess.run(command, cwd=ROOT, env=environment).returncode for command in ([*pytest, *units], lab)]
    return next((code for code in codes if code), 0)


def main() -> None:
    print("Installing the newest releases into .venv-latest (the first time takes minutes) ...", flush=True)
    try:
        install()
    except subprocess.CalledProcessError:
        sys.exit("make test-latest: the install failed: see above. Check the network, then try again.")
    print(table(pins(), installed()) + "\n", flush=True)
    if run_tests():
        sys.exit("make test-latest: with the releases listed above something fails; the pinned ones are not affected.")
    print("Unit tests and the lab pass with the newest releases.")


if __name__ == "__main__":
    main()
