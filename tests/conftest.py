"""The built book, shared by tests/book and tests/browser."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools"))


@pytest.fixture(scope="session")
def book(tmp_path_factory) -> Path:
    """Folder of the built pages: the one make test has just built, or a strict build of its own."""
    if "LTT_BOOK" in os.environ:
        return Path(os.environ["LTT_BOOK"])
    output = tmp_path_factory.mktemp("book")
    command = [sys.executable, str(ROOT / "tools" / "build_book.py"), "--output", str(output)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.fail(built.stderr, pytrace=False)
    return output / "_build" / "html"
