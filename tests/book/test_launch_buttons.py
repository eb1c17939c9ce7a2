"""Colab and Binder buttons: off without an address, and one changed line of _config.yml turns them on."""

import shutil
import subprocess
import sys
from pathlib import Path

from html_checks import parse
from nbformat.v4 import new_markdown_cell, new_notebook
from nbformat.v4 import writes as notebook_text

ROOT = Path(__file__).parents[2]
ADDRESS = "https://github.com/someone/sparse-book"


def launch_links(html: str) -> list[str]:
    links = [link["href"] for link in parse(html).select("a[href]")]
    return [link for link in links if "colab.research.google.com" in link or "mybinder.org" in link]


def small_book(folder: Path, address: str) -> Path:
    """A book of one page and one lab, with the real configuration and another address in its one line."""
    shutil.copytree(ROOT / "book" / "assets", folder / "book" / "assets")
    shutil.copy(ROOT / "tools" / "book_hooks.py", folder / "book_hooks.py")
    lines = (ROOT / "_config.yml").read_text(encoding="utf-8").splitlines()
    [number] = [number for number, line in enumerate(lines) if line.startswith("  url:")]
    lines[number] = f'  url: "{address}"'
    config = "\n".join(lines).replace("book_hooks: tools", "book_hooks: .")
    (folder / "_config.yml").write_text(config, encoding="utf-8")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n- file: notebooks/lab\n")
    (folder / "book" / "index.md").write_text("# A book\n")
    (folder / "book" / "references.bib").write_text("")
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / "lab.ipynb").write_text(notebook_text(new_notebook(cells=[new_markdown_cell("# A lab")])))
    return folder


def test_one_line_turns_the_buttons_on(tmp_path):
    source = small_book(tmp_path, ADDRESS)
    tool = [sys.executable, str(ROOT / "tools" / "build_book.py")]
    built = subprocess.run([*tool, "--source", source, "--output", source], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    page = source / "_build" / "html" / "notebooks" / "lab.html"
    assert launch_links(page.read_text(encoding="utf-8")) == [
        "https://mybinder.org/v2/gh/someone/sparse-book/main?urlpath=lab/tree/notebooks/lab.ipynb",
        "https://colab.research.google.com/github/someone/sparse-book/blob/main/notebooks/lab.ipynb",
    ]


def test_every_lab_has_the_buttons_that_the_address_asks_for(book):
    address = [
        line for line in (ROOT / "_config.yml").read_text(encoding="utf-8").splitlines() if line.startswith("  url:")
    ]
    wanted = 0 if address == ['  url: ""'] else 2
    for lab in sorted((ROOT / "notebooks").glob("*.ipynb")):
        html = (book / "notebooks" / f"{lab.stem}.html").read_text(encoding="utf-8")
        assert len(launch_links(html)) == wanted, lab.name
