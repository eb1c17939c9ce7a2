"""Build the book, every warning an error, and print where to open it."""

import argparse
import contextlib
import io
import shutil
import sys
import time
from pathlib import Path

from jupyter_book.cli.main import main as jupyter_book

ROOT = Path(__file__).parents[1]


def build(source: Path, output: Path) -> Path:
    """Build from nothing into output/_build/html (a warning of an unchanged page counts too); return the first page."""
    html = output / "_build" / "html"
    shutil.rmtree(html, ignore_errors=True)  # pages that left the table of contents must not stay behind
    arguments = ["build", str(source), "--path-output", str(output), "--all", "-W", "-n", "--keep-going", "--quiet"]
    with contextlib.redirect_stdout(io.StringIO()):  # its banners; warnings go to stderr
        jupyter_book(arguments, standalone_mode=False)
    return html / "index.html"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, default=ROOT)
    parser.add_argument("--output", type=Path, default=ROOT, help="folder that gets _build/html")
    arguments = parser.parse_args()
    start = time.perf_counter()
    print("Building the book ...", flush=True)
    try:
        first = build(arguments.source.resolve(), arguments.output.resolve())
    except (RuntimeError, SystemExit):  # Sphinx has printed every warning by now
        sys.exit("The book was not built: each WARNING or ERROR above names its file and line.")
    print(f"Built in {time.perf_counter() - start:.0f} s. Open it in a browser:\n\n    {first.as_uri()}\n")


if __name__ == "__main__":
    main()
