"""make test-latest: which packages it renews, what it prints, and that a failure is one."""

import shutil

import pytest
import test_latest as latest


def test_pins_are_direct_and_indirect():
    pinned = latest.pins()
    assert pinned["torch"] == "2.13.0"
    assert {"numpy", "ipykernel", "jupyter-core", "scikit-learn"} <= pinned.keys()


def test_everything_but_torch_is_renewed():
    allowed = latest.allowed()
    assert {"numpy>=2", "matplotlib>=3.9", "jupyterlab", "nbval", "pytest", "hypothesis"} <= set(allowed)
    assert not [one for one in allowed if one.startswith(("torch", "sphinx", "jupyter-book"))]
    assert not [one for one in allowed if "==" in one]


def test_table_lists_what_differs():
    pinned = {"torch": "2.13.0", "numpy": "2.4.6", "scipy": "1.17.1", "ruff": "0.17.5"}
    newest = {"torch": "2.13.0+cpu", "numpy": "2.5.0", "scipy": "1.17.1", "pip": "26.0"}
    lines = [line.split() for line in latest.table(pinned, newest).splitlines()]
    assert lines == [["package", "pinned", "newest"], ["numpy", "2.4.6", "2.5.0"]]
    assert "nothing newer" in latest.table(pinned, pinned)


@pytest.mark.parametrize("program, said", [("false", "something fails"), ("true", "pass with the newest releases")])
def test_a_failure_is_said_and_returned(monkeypatch, capsys, program, said):
    monkeypatch.setattr(latest, "install", lambda: None)
    monkeypatch.setattr(latest, "installed", latest.pins)
    monkeypatch.setattr(latest, "PYTHON", shutil.which(program))
    try:
        latest.main()
    except SystemExit as ended:
        assert said in str(ended)
    else:
        assert program == "true" and said in capsys.readouterr().out
