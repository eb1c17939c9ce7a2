"""make_venv.sh on machines that lack something: what is missing is named, with how to get it."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "make_venv.sh"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="make_venv.sh needs a POSIX shell")

NOTHING = "exit 127"  # a shim of pyenv that leads nowhere
TOO_NEW = 'case "$1" in --version) echo Python 3.14.0;; *) exit 1;; esac'
NO_VENV = f'case "$2" in *ensurepip*) exit 1;; *) exec "{sys.executable}" "$@";; esac'
VENV_FAILS = f'case "$2" in venv) exit 1;; *) exec "{sys.executable}" "$@";; esac'
PIP_FAILS = f"""
case "$2" in
venv) mkdir -p .venv/bin; cp "$0" .venv/bin/python; echo made >>log;;
pip) case "$3" in install) echo installed >>log; exit ${{PIP_CODE:-1}};; esac;;
*) exec "{sys.executable}" "$@";;
esac"""


@pytest.fixture
def machine(tmp_path):
    """A checkout and a PATH that holds the system's tools and the given interpreters only."""
    checkout, path = tmp_path / "my book", tmp_path / "bin"
    (checkout / "tools").mkdir(parents=True)
    shutil.copy(SCRIPT, checkout / "tools")
    for name in ("requirements.txt", "constraints.txt", "pyproject.toml"):
        (checkout / name).write_text(name)
    path.mkdir()
    for tool in ("sh", "cat", "cksum", "dirname", "mkdir", "cp"):
        (path / tool).symlink_to(shutil.which(tool))

    def run(**variables):
        environment = {"PATH": str(path), **variables}
        return subprocess.run(
            ["sh", "tools/make_venv.sh"], cwd=checkout, env=environment, capture_output=True, text=True, check=False
        )

    def add(**interpreters):
        for name, body in interpreters.items():
            file = path / name.replace("_", ".")
            file.write_text(f"#!/bin/sh\n{body}\n")
            file.chmod(file.stat().st_mode | stat.S_IEXEC)

    run.add, run.checkout = add, checkout
    return run


@pytest.mark.parametrize("interpreters, said", [
    ({}, "needs Python 3.11, 3.12 or 3.13, found none."),
    ({"python3": TOO_NEW, "python3_13": NOTHING}, "needs Python 3.11, 3.12 or 3.13, found python3 (Python 3.14.0)."),
    ({"python3": TOO_NEW, "python3_12": NO_VENV}, "python3.12 cannot make virtual environments"),
    ({"python3": VENV_FAILS}, "python3 could not make .venv"),
    ({"python3": PIP_FAILS}, "the install failed"),
])  # fmt: skip
def test_what_is_missing_is_named(machine, interpreters, said):
    machine.add(**interpreters)
    ran = machine()
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"make: {said}")
    assert "python3" in ran.stderr or "then run make again" in ran.stderr
    assert len(ran.stderr.splitlines()) <= 3
    assert not (machine.checkout / ".venv" / ".installed").exists()


def test_it_installs_once_and_again_only_after_a_change(machine):
    machine.add(python3=TOO_NEW, python3_13=PIP_FAILS)
    log = machine.checkout / "log"
    assert machine(PIP_CODE="0").returncode == 0
    assert log.read_text().split() == ["made", "installed"]
    assert machine(PIP_CODE="0").stdout == ""
    assert log.read_text().split() == ["made", "installed"]
    (machine.checkout / "constraints.txt").write_text("changed")
    assert machine(PIP_CODE="0").returncode == 0
    assert log.read_text().split() == ["made", "installed", "installed"]  # the folder itself is kept


def test_a_moved_checkout_makes_a_new_environment(machine):
    machine.add(python3=PIP_FAILS)
    assert machine(PIP_CODE="0").returncode == 0
    stamp = machine.checkout / ".venv" / ".installed"
    stamp.write_text("/elsewhere " + stamp.read_text())
    assert machine(PIP_CODE="0").returncode == 0
    assert (machine.checkout / "log").read_text().split() == ["made", "installed"] * 2


def test_an_interpreter_can_be_named(machine):
    machine.add(python3=TOO_NEW, **{"my own": PIP_FAILS})
    assert machine(PIP_CODE="0", PYTHON="my own").returncode == 0
